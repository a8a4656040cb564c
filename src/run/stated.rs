//! Files that state what is run, `seeds.json` and `experiment.json`, which anybody may have changed.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::RunError;

/// The content `text` of the file at `path`.
///
/// # Errors
/// [`RunError::Config`] for what is no such file, and for an integer that a configuration cannot hold, with its key.
pub(super) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, RunError> {
    let damaged = |error| RunError::config(path, json_problem(text, &error));
    let stated: Value = serde_json::from_str(text).map_err(damaged)?;
    if let Some((key, number)) = beyond_integers(&stated) {
        let largest = i64::MAX;
        return Err(RunError::config(path, format!("cannot be used ({key}: {number} is above {largest})")));
    }
    serde_json::from_str(text).map_err(damaged)
}

/// What is wrong with the JSON `text`, whose reading has ended with `error`, as the rest of a sentence: "x.json is empty".
pub fn json_problem(text: &str, error: &serde_json::Error) -> String {
    match error.classify() {
        _ if text.trim().is_empty() => "is empty".to_owned(),
        Category::Eof => "is cut off".to_owned(),
        Category::Io | Category::Syntax | Category::Data => format!("is damaged ({error})"),
    }
}

/// The first number that no integer of TOML is, with its key.
fn beyond_integers(value: &Value) -> Option<(String, String)> {
    let below = |name: String, child: &Value| {
        let (key, number) = beyond_integers(child)?;
        Some((if key.is_empty() { name } else { format!("{name}.{key}") }, number))
    };
    match value {
        Value::Number(number) => {
            let is_beyond =
                number.as_i64().is_none() && number.as_f64().is_some_and(|number| number >= i64::MAX as f64);
            is_beyond.then(|| (String::new(), number.to_string()))
        }
        Value::Array(elements) => {
            elements.iter().enumerate().find_map(|(index, child)| below(index.to_string(), child))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, child)| below(name.clone(), child)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_json_is_told_without_the_parser() {
        for (text, expected) in
            [("\n", "is empty"), ("{\"a\": [1,", "is cut off"), ("[}", "is damaged (expected value")]
        {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert!(json_problem(text, &error).starts_with(expected), "{text}");
        }
    }

    #[test]
    fn integer_that_no_configuration_holds_is_named_by_its_key() {
        let parse = |text: &str| parse::<Value>(Path::new("seeds.json"), text);
        parse(r#"{"seed": 9223372036854775807, "rate": 1e3, "least": -3}"#).unwrap();
        for (text, expected) in [
            (r#"{"config": {"run": {"seed": 9223372036854775808}}}"#, "config.run.seed: 9223372036854775808 is above"),
            (r#"{"seeds": [1, 99999999999999999999]}"#, "seeds.1: 1e+20 is above 9223372036854775807"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(expected), "{error}");
        }
    }
}
