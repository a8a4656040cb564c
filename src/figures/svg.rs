//! A small SVG writer: the few shapes the figures need, escaped text, numbers of one decimal.

use super::theme::{self, BACKGROUND, INK, MARGIN, MONO, SANS, TITLE_SIZE};

/// A point in pixels; `y` grows downwards.
pub type Point = (f64, f64);

/// A rectangle in pixels, from its upper left corner.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn middle(&self) -> Point {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// How a line is drawn.
#[derive(Copy, Clone)]
pub struct Stroke {
    pub colour: &'static str,
    pub width: f64,
    pub dashed: bool,
}

impl Stroke {
    pub fn solid(colour: &'static str, width: f64) -> Self {
        Self { colour, width, dashed: false }
    }

    fn attributes(&self) -> String {
        let dashes = if self.dashed { r#" stroke-dasharray="4 3""# } else { "" };
        format!(r#"fill="none" stroke="{}" stroke-width="{}"{dashes}"#, self.colour, number(self.width))
    }
}

/// Which point of a text its position names.
#[derive(Copy, Clone)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text is set.
#[derive(Copy, Clone)]
pub struct TextStyle {
    pub size: f64,
    pub colour: &'static str,
    pub anchor: Anchor,
    pub bold: bool,
    pub mono: bool,
}

impl TextStyle {
    pub fn sans(size: f64, colour: &'static str, anchor: Anchor) -> Self {
        Self { size, colour, anchor, bold: false, mono: false }
    }

    pub fn mono(size: f64, colour: &'static str, anchor: Anchor) -> Self {
        Self { mono: true, ..Self::sans(size, colour, anchor) }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

/// An SVG document in the making.
pub struct Svg {
    title: String,
    width: f64,
    height: f64,
    body: String,
}

impl Svg {
    /// Starts a figure with its title in the upper left corner; grows wider than `width` if the title needs it.
    pub fn new(title: &str, width: f64, height: f64) -> Self {
        let width = width.max(1.1 * theme::sans_width(title, TITLE_SIZE) + 2.0 * MARGIN); // bold
        let mut svg = Self { title: title.to_owned(), width, height, body: String::new() };
        let style = TextStyle::sans(TITLE_SIZE, INK, Anchor::Start).bold();
        svg.text((MARGIN, MARGIN + TITLE_SIZE / 2.0), title, &style);
        svg
    }

    /// A filled rectangle without border.
    pub fn fill(&mut self, rect: Rect, colour: &str) {
        self.element(&format!(r#"rect {} fill="{colour}""#, corners(rect)));
    }

    /// A rounded box with a border, filled with `opacity` of the `fill` colour.
    pub fn boxed(&mut self, rect: Rect, radius: f64, fill: &str, opacity: f64, border: &Stroke) {
        self.element(&format!(
            r#"rect {} rx="{}" stroke="{}" stroke-width="{}" fill="{fill}" fill-opacity="{opacity}""#,
            corners(rect),
            number(radius),
            border.colour,
            number(border.width),
        ));
    }

    /// A path in SVG's path language.
    pub fn path(&mut self, path: &str, stroke: &Stroke) {
        self.element(&format!(r#"path d="{path}" {}"#, stroke.attributes()));
    }

    pub fn line(&mut self, from: Point, to: Point, stroke: &Stroke) {
        self.path(&format!("M{} L{}", point(from), point(to)), stroke);
    }

    pub fn polyline(&mut self, points: &[Point], stroke: &Stroke) {
        let points: Vec<String> = points.iter().copied().map(point).collect();
        let joins = r#"stroke-linejoin="round" stroke-linecap="round""#;
        self.element(&format!(r#"polyline points="{}" {} {joins}"#, points.join(" "), stroke.attributes()));
    }

    /// A filled triangle.
    pub fn triangle(&mut self, corners: [Point; 3], colour: &str) {
        let corners = corners.map(point).join(" ");
        self.element(&format!(r#"polygon points="{corners}" fill="{colour}""#));
    }

    pub fn dot(&mut self, (x, y): Point, radius: f64, colour: &str) {
        let (x, y, radius) = (number(x), number(y), number(radius));
        self.element(&format!(r#"circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}""#));
    }

    /// Text centred vertically on its position; `_{...}` sets a subscript.
    pub fn text(&mut self, (x, y): Point, text: &str, style: &TextStyle) {
        let anchor = match style.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if style.bold { r#" font-weight="600""# } else { "" };
        let family = if style.mono { format!(r#" font-family="{MONO}""#) } else { String::new() };
        // `dominant-baseline` is not drawn alike everywhere; 0.35 em is the middle of digits and small letters.
        self.body.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{anchor}\"{weight}{family}>{}</text>\n",
            number(x),
            number(y + 0.35 * style.size),
            number(style.size),
            style.colour,
            markup(text, style.size),
        ));
    }

    /// The whole document.
    pub fn finish(self) -> String {
        let (title, width, height) = (escape(&self.title), number(self.width), number(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{SANS}\">\n<title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"{BACKGROUND}\"/>\n{}</svg>\n",
            self.body
        )
    }

    fn element(&mut self, content: &str) {
        self.body.push_str(&format!("<{content}/>\n"));
    }
}

/// A coordinate with at most one decimal.
pub fn number(value: f64) -> String {
    let tenths = (value * 10.0).round();
    // Adding zero turns -0 into 0.
    (tenths / 10.0 + 0.0).to_string()
}

/// A point as path and polyline data.
pub fn point((x, y): Point) -> String {
    format!("{},{}", number(x), number(y))
}

fn corners(rect: Rect) -> String {
    let [x, y, width, height] = [rect.x, rect.y, rect.width, rect.height].map(number);
    format!(r#"x="{x}" y="{y}" width="{width}" height="{height}""#)
}

/// Escapes text for XML content and attributes; characters that XML 1.0 does not have become U+FFFD.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escaped text with each `_{...}` lowered and smaller.
fn markup(text: &str, size: f64) -> String {
    let Some((before, rest)) = text.split_once("_{") else {
        return escape(text);
    };
    let Some((subscript, after)) = rest.split_once('}') else {
        return escape(text);
    };
    let (drop, small) = (number(0.25 * size), number(0.75 * size));
    let lowered = format!(r#"<tspan dy="{drop}" font-size="{small}">{}</tspan>"#, escape(subscript));
    if after.is_empty() {
        return format!("{}{lowered}", escape(before));
    }
    // `dy` moves everything that follows, so what follows is raised again. Some renderers drop a space at the
    // start of a tspan, hence `dx`.
    let (space, after) = match after.strip_prefix(' ') {
        Some(after) => (format!(r#" dx="{}""#, number(0.32 * size)), after),
        None => (String::new(), after),
    };
    let raised = format!(r#"<tspan{space} dy="-{drop}">{}</tspan>"#, markup(after, size));
    format!("{}{lowered}{raised}", escape(before))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Panics unless tags balance, attributes are quoted, text is escaped and no coordinate is NaN or infinite.
    pub fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some((text, tail)) = rest.split_once('<') {
            assert_text(text);
            let (tag, tail) = tail.split_once('>').expect("a tag that ends");
            rest = tail;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "closing tag");
                continue;
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
            for value in tag.split('"').skip(1).step_by(2) {
                assert!(!value.contains("NaN") && !value.contains("inf"), "not a number in <{tag}>");
            }
            let name = tag.split_whitespace().next().expect("a tag with a name");
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert_text(rest);
        assert!(open.is_empty(), "left open: {open:?}");
    }

    fn assert_text(text: &str) {
        assert!(!text.contains('>'), "unescaped text: {text}");
        for entity in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)), "bare & in {text}");
        }
    }

    #[test]
    fn numbers_have_at_most_one_decimal() {
        assert_eq!(number(1.0), "1");
        assert_eq!(number(1.26), "1.3");
        assert_eq!(number(-0.01), "0");
    }

    #[test]
    fn subscripts_are_lowered_and_what_follows_is_raised() {
        let expected = r#"c<tspan dy="3" font-size="9">k</tspan><tspan dx="3.8" dy="-3">&lt; 1</tspan>"#;
        assert_eq!(markup("c_{k} < 1", 12.0), expected);
        assert_eq!(markup("sep_conv_3x3", 12.0), "sep_conv_3x3");
        assert_eq!(markup("c_{k", 12.0), "c_{k");
    }

    proptest! {
        #[test]
        fn any_title_gives_well_formed_xml(title in any::<String>()) {
            assert_well_formed(&Svg::new(&title, 100.0, 50.0).finish());
        }
    }
}
