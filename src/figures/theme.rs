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
/// Boxes of a cell's inputs, nodes and output.
pub const INPUT_BOX: &str = "#dbe7f5";
pub const NODE_BOX: &str = "#fdf3d3";
pub const OUTPUT_BOX: &str = "#dff0e0";

/// Space around each figure, in pixels.
pub const MARGIN: f64 = 24.0;
pub const TITLE_SIZE: f64 = 16.0;
pub const LABEL_SIZE: f64 = 12.0;
pub const SMALL_SIZE: f64 = 11.0;

/// Colours of curves that are no operations, in order of appearance.
pub const SERIES: [&str; 8] = ["#2563b0", "#d1680a", "#2e8540", "#7b3fb5", "#b3243f", "#0b7a8c", "#8a6d00", "#5a6573"];

/// Of a name that is no operation.
const UNKNOWN_OPERATION: &str = "#475569";

/// What takes the place of each colour on a dark page.
const DARK: [(&str, &str); 28] = [
    (BACKGROUND, "#15191e"),
    (INK, "#e6eaee"),
    (MUTED, "#a3afba"),
    (GRID, "#2a323b"),
    (BAND, "#1d242b"),
    (LINE, "#6b7887"),
    (INPUT_BOX, "#1f334b"),
    (NODE_BOX, "#3d3618"),
    (OUTPUT_BOX, "#1e3a25"),
    ("#2563b0", "#6ea8f0"),
    ("#d1680a", "#f0994a"),
    ("#2e8540", "#63bf78"),
    ("#7b3fb5", "#b98aec"),
    ("#b3243f", "#ef7d92"),
    ("#0b7a8c", "#4fc0d1"),
    ("#8a6d00", "#cfae3a"),
    ("#5a6573", "#9aa7b5"),
    ("#7d8590", "#8d96a0"),
    ("#1f5fbf", "#6aa3f2"),
    ("#0a93ad", "#3dbdd6"),
    ("#c4172d", "#f2707f"),
    ("#dd8500", "#f0a53a"),
    ("#85511b", "#c08a52"),
    ("#35a04a", "#5cc272"),
    ("#7a3db8", "#b488ea"),
    ("#cc3d98", "#ea7cc2"),
    ("#6f7a00", "#b0bb3a"),
    (UNKNOWN_OPERATION, "#94a3b8"),
];

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
    OPERATIONS.get(operation_rank(name)).map_or(UNKNOWN_OPERATION, |&(_, colour)| colour)
}

/// Place of an operation in legends; unknown ones come last.
pub fn operation_rank(name: &str) -> usize {
    OPERATIONS.iter().position(|&(known, _)| known == name).unwrap_or(OPERATIONS.len())
}

/// Colour of the curve at `index` among several, by which a table can name it.
pub fn series_colour(index: usize) -> &'static str {
    SERIES[index % SERIES.len()]
}

/// Every colour of the figures with what takes its place on a dark page: background, ink, muted ink, grid and band first.
pub fn dark_colours() -> &'static [(&'static str, &'static str)] {
    &DARK
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

    /// Contrast of two colours, from 1 to 21. Source: WCAG 2.1.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| -> f64 {
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
        one.max(other) / one.min(other)
    }

    #[test]
    fn every_colour_has_a_dark_one_and_is_seen_on_either_page() {
        let dark = |colour: &str| DARK.iter().find(|(light, _)| *light == colour).unwrap().1;
        let boxes = [BACKGROUND, INPUT_BOX, NODE_BOX, OUTPUT_BOX];
        let lines = SERIES.into_iter().chain(OPERATIONS.map(|(_, colour)| colour)).chain([LINE, UNKNOWN_OPERATION]);
        let text = boxes.map(|page| (INK, page, 7.0)).into_iter().chain([(MUTED, BACKGROUND, 4.5)]);
        for (colour, page, least) in text.chain(lines.map(|colour| (colour, BACKGROUND, 2.7))) {
            assert!(contrast(colour, page) >= least, "{colour} on {page}: {}", contrast(colour, page));
            let (colour, page) = (dark(colour), dark(page));
            assert!(contrast(colour, page) >= least, "{colour} on {page}: {}", contrast(colour, page));
        }
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
