//! The look all figures share: colours, fonts, sizes and the names of a cell's states.
//!
//! Text cannot be measured without a font, so widths are estimates on the safe side. Operation names are set
//! in a monospaced font, whose widths are the same everywhere.

/// States of a cell that come from outside: the outputs of the two previous cells.
pub const NUM_INPUTS: usize = 2;

pub const SANS: &str =
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif";
pub const MONO: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

pub const BACKGROUND: &str = "#ffffff";
pub const INK: &str = "#1f2933";
pub const MUTED: &str = "#52606d";
pub const GRID: &str = "#e4e7eb";
pub const BAND: &str = "#f3f5f7";
pub const LINE: &str = "#8792a0";

/// Space around each figure, in pixels.
pub const MARGIN: f64 = 24.0;
pub const TITLE_SIZE: f64 = 16.0;
pub const LABEL_SIZE: f64 = 12.0;
pub const SMALL_SIZE: f64 = 11.0;

/// Colours of curves that are no operations, in order of appearance.
pub const SERIES: [&str; 4] = ["#2563b0", "#d1680a", "#2e8540", "#7b3fb5"];

/// Operations by published name with their colours, in the order of legends: the search space, then the rest.
const OPERATIONS: [(&str, &str); 10] = [
    ("none", "#7d8590"),
    ("max_pool_3x3", "#1f5fbf"),
    ("avg_pool_3x3", "#0a93ad"),
    ("skip_connect", "#c4172d"),
    ("sep_conv_3x3", "#dd8500"),
    ("sep_conv_5x5", "#85511b"),
    ("dil_conv_3x3", "#35a04a"),
    ("dil_conv_5x5", "#7a3db8"),
    ("sep_conv_7x7", "#cc3d98"),
    ("conv_7x1_1x7", "#6f7a00"),
];

/// Colour of an operation, by its published name; slate for a name that has none.
pub fn operation_colour(name: &str) -> &'static str {
    OPERATIONS.get(operation_rank(name)).map_or("#475569", |&(_, colour)| colour)
}

/// Place of an operation in legends; unknown ones come last.
pub fn operation_rank(name: &str) -> usize {
    OPERATIONS.iter().position(|&(known, _)| known == name).unwrap_or(OPERATIONS.len())
}

/// Name of a state in the markup of [`Svg::text`](super::svg::Svg::text): `c_{k-2}`, `c_{k-1}`, then the nodes from `0`.
pub fn state_name(state: usize) -> String {
    match state.checked_sub(NUM_INPUTS) {
        Some(node) => node.to_string(),
        None => format!("c_{{k\u{2212}{}}}", NUM_INPUTS - state),
    }
}

/// Width in pixels of monospaced text.
pub fn mono_width(text: &str, size: f64) -> f64 {
    0.605 * size * text.chars().count() as f64
}

/// Width in pixels that proportional text stays below in common fonts: the widths of DejaVu Sans, a wide one.
pub fn sans_width(text: &str, size: f64) -> f64 {
    let em = |character| match character {
        'i' | 'j' | 'l' | ' ' | '.' | ',' | ':' | ';' => 0.34,
        'f' | 'r' | 't' | '-' | '(' | ')' => 0.42,
        'm' | 'w' | 'M' | 'W' | '%' => 0.99,
        'A'..='Z' => 0.77,
        '\u{20}'..='\u{7e}' => 0.64,
        _ => 1.0,
    };
    size * text.chars().map(em).sum::<f64>()
}

/// Shortens proportional text so that it stays within `width` pixels; empty if nothing sensible fits.
pub fn fit(text: &str, size: f64, width: f64) -> String {
    if sans_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while short.pop().is_some() {
        let candidate = format!("{}\u{2026}", short.trim_end());
        if sans_width(&candidate, size) <= width && short.len() > 2 {
            return candidate;
        }
    }
    String::new()
}

/// A number for a legend: three significant digits, an exponent where it would grow long.
pub fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e5).contains(&magnitude) {
        return format!("{value:.1e}");
    }
    let decimals = (2.0 - magnitude.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_own_colour() {
        let names = OPERATIONS.map(|(name, _)| name);
        let colours: std::collections::BTreeSet<_> = names.map(operation_colour).into();
        assert_eq!(colours.len(), names.len());
        assert!(!colours.contains(operation_colour("unknown")));
    }

    #[test]
    fn text_is_shortened_to_its_room() {
        assert_eq!(fit("stage 1", 12.0, 200.0), "stage 1");
        assert_eq!(fit("stage 1: five cells", 10.0, 50.0), "stage 1\u{2026}");
        assert!(sans_width("stage 1\u{2026}", 10.0) <= 50.0);
        assert_eq!(fit("stage 1", 10.0, 15.0), "");
    }

    #[test]
    fn legend_numbers_keep_three_digits() {
        assert_eq!(significant(0.025), "0.0250");
        assert_eq!(significant(97.234), "97.2");
        assert_eq!(significant(1.2345), "1.23");
        assert_eq!(significant(123.4), "123");
        assert_eq!(significant(0.000012), "1.2e-5");
        assert_eq!(significant(0.0), "0");
    }
}
