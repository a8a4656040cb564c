//! The page's style sheet: its own, and the colours that it has in common with the figures.

use crate::figures::dark_colours;

const SHEET: &str = include_str!("page.css");
/// The first colours of the figures by the names that `page.css` uses.
const NAMES: [&str; 6] = ["page", "ink", "muted", "grid", "band", "line"];

/// The whole sheet, for both colour schemes.
pub fn style() -> String {
    let named = || NAMES.iter().zip(dark_colours());
    let light: String = named().map(|(name, (light, _))| format!("--{name}:{light};")).collect();
    let dark: String = named().map(|(name, (_, dark))| format!("--{name}:{dark};")).collect();
    let figures: String = dark_colours().iter().flat_map(in_dark_figures).collect();
    format!(":root{{{light}}}\n{SHEET}\n@media (prefers-color-scheme: dark){{\n:root{{{dark}}}\n{figures}}}\n")
}

/// Rules win over the attributes that figures state their colours in.
fn in_dark_figures((light, dark): &(&str, &str)) -> [String; 2] {
    ["fill", "stroke"].map(|what| format!("svg [{what}=\"{light}\"]{{{what}:{dark}}}\n"))
}
