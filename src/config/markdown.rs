//! Every key of a configuration as a page of documentation.

use toml::Value;

use super::document::join;
use super::schema::Section;
use super::{ConfigError, Settings};

/// [`Settings::markdown`].
pub(super) fn markdown<C: Settings>() -> Result<String, ConfigError> {
    let defaults = Value::try_from(C::default())?;
    let mut page = format!(
        "# Every key of `{}`\n\nAs `{}` prints them for a file. Keys with a star may change when a run goes on.\n",
        C::COMMAND,
        C::SHOW_COMMAND
    );
    for section in C::SECTIONS {
        let found = section.path.split('.').try_fold(&defaults, |node, name| node.get(name));
        let (heading, values) = match found {
            Some(Value::Array(elements)) => (format!("[[{}]]", section.path), elements.first()),
            values => (format!("[{}]", section.path), values),
        };
        page += &format!("\n## `{heading}`\n\n{}\n\n", text(section.comment));
        page += "| key | default | meaning |\n|---|---|---|\n";
        page.extend(section.keys().map(|(key, comment, _)| row::<C>(section, key, comment, values)));
    }
    Ok(page)
}

fn row<C: Settings>(section: &Section, key: &str, comment: &[&str], values: Option<&Value>) -> String {
    let star = if C::is_changeable(&join(section.path, key)) { " \\*" } else { "" };
    let default = match values.and_then(|values| values.get(key)) {
        // A section of its own states them.
        Some(Value::Array(elements)) if elements.iter().any(Value::is_table) => "below".to_owned(),
        Some(value) => format!("`{value}`"),
        None => "none".to_owned(),
    };
    format!("| `{key}`{star} | {default} | {} |\n", text(comment).replace('|', "\\|"))
}

fn text(comment: &[&str]) -> String {
    comment.concat().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use crate::config::{SearchConfig, Settings, TrainConfig};

    #[test]
    fn page_has_a_row_for_every_key() {
        let (search, train) = (SearchConfig::markdown().unwrap(), TrainConfig::markdown().unwrap());
        for (page, row) in [
            (&search, "| `seed` | `0` | Seed of every random stream. |\n"),
            (&search, "## `[[search.stages]]`"),
            (&search, "| `stages` | below | Stages in their order, at least one. |\n"),
            (&search, "| `threads` \\* | `0` | "),
            (&train, "| `epochs` | `600` | "),
            (&search, "| `image_size` | "),
            (&train, "| `on_bad_image` \\* | "),
        ] {
            assert!(page.contains(row), "{row}: {page}");
        }
        let num_keys = |page: &str| page.lines().filter(|line| line.starts_with("| `")).count();
        let expected =
            |sections: &[super::Section]| sections.iter().map(|section| section.keys().count()).sum::<usize>();
        assert_eq!(num_keys(&search), expected(SearchConfig::SECTIONS));
        assert_eq!(num_keys(&train), expected(TrainConfig::SECTIONS));
    }
}
