//! The same curves of several runs on common axes. Which line is which run a table beside it says, by colour.

use super::plot::{Axis, Plot};
use super::svg::{Anchor, Rect, Stroke, Svg, TextStyle};
use super::theme::{self, INK, LABEL_SIZE, MARGIN};

/// Panels above each other, over the same epochs.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub title: String,
    pub panels: Vec<ComparisonPanel>,
}

/// What is compared, with its unit, and a line for each run that has it.
#[derive(Clone, Debug)]
pub struct ComparisonPanel {
    pub title: String,
    pub lines: Vec<Line>,
}

/// The course of one run.
#[derive(Clone, Debug)]
pub struct Line {
    /// Index of its colour, see [`series_colour`](super::series_colour).
    pub colour: usize,
    /// One value after each epoch; NaN where nothing was measured.
    pub values: Vec<f64>,
}

const LEFT: f64 = MARGIN + 36.0;
const WIDTH: f64 = 860.0;
const TOP: f64 = 54.0;
const HEADER_HEIGHT: f64 = 28.0;
const PANEL_HEIGHT: f64 = 190.0;
const PANEL_GAP: f64 = 16.0;
const FOOTER_HEIGHT: f64 = 46.0;

/// Draws the curves of several runs.
pub fn comparison_svg(comparison: &Comparison) -> String {
    let lines = || comparison.panels.iter().flat_map(|panel| &panel.lines);
    let x = Axis::epochs(lines().map(|line| line.values.len()).max().unwrap_or(0), 10);
    let pitch = HEADER_HEIGHT + PANEL_HEIGHT + PANEL_GAP;
    let mut svg = Svg::new(&comparison.title, WIDTH, TOP + pitch * comparison.panels.len() as f64 + FOOTER_HEIGHT);
    let mut last = None;
    for (index, panel) in comparison.panels.iter().enumerate() {
        let y = Axis::covering(panel.lines.iter().flat_map(|line| line.values.iter().copied()), 5);
        let top = TOP + HEADER_HEIGHT + pitch * index as f64;
        let plot = Plot { area: Rect { x: LEFT, y: top, width: WIDTH - LEFT - MARGIN, height: PANEL_HEIGHT }, x, y };
        plot.draw_grid(&mut svg);
        plot.draw_y_labels(&mut svg);
        svg.text((LEFT, top - 13.0), &panel.title, &TextStyle::sans(LABEL_SIZE, INK, Anchor::Start).bold());
        for line in &panel.lines {
            plot.draw_line(&mut svg, 1, &line.values, &Stroke::solid(theme::series_colour(line.colour), 1.8));
        }
        last = Some(plot);
    }
    if let Some(plot) = last {
        plot.draw_x_labels(&mut svg);
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::assert_well_formed;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_run_is_a_line_of_its_colour() {
        let lines = [0, 1, 8].map(|colour| Line { colour, values: vec![1.0, 2.0, f64::NAN] }).to_vec();
        let panels = vec![ComparisonPanel { title: "loss".to_owned(), lines }];
        let svg = comparison_svg(&Comparison { title: "Runs".to_owned(), panels });
        assert_well_formed(&svg);

        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches(&format!("stroke=\"{}\" stroke-width=\"1.8\"", theme::series_colour(0))).count(), 2);
    }

    proptest! {
        #[test]
        fn any_values_give_well_formed_figures(values in prop::collection::vec(any::<f64>(), 0..30)) {
            let panel = ComparisonPanel { title: "x".to_owned(), lines: vec![Line { colour: 3, values }] };
            let panels = vec![panel.clone(), panel];
            assert_well_formed(&comparison_svg(&Comparison { title: "Runs".to_owned(), panels }));
        }
    }
}
