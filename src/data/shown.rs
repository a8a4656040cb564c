//! What names in files of others look like in a line.

/// `text` with control characters escaped, and cut where it is longer than a name that anybody reads.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut shown = String::new();
    for letter in text.chars().take(LONGEST) {
        if letter.is_control() {
            shown.extend(letter.escape_debug());
        } else {
            shown.push(letter);
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_line() {
        assert_eq!(shown("a b\u{fc}"), "a b\u{fc}");
        assert_eq!(shown("a\n\u{1b}[31m"), r"a\n\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(300)).len(), 203);
    }
}
