//! What the architecture parameters did during one stage: the softmax of each edge's alphas over the epochs.
//!
//! One small panel per edge, all with the same axes. The panels stand where the cell graph has the labels of
//! their edges: one column for each node, one row for each source.

use std::collections::BTreeSet;

use super::plot::{Axis, Plot};
use super::svg::{Anchor, Rect, Stroke, Svg, TextStyle};
use super::theme::{self, BAND, INK, LABEL_SIZE, MARGIN, MUTED, SMALL_SIZE};

/// The probabilities of one kind of cell during one stage.
#[derive(Clone, Debug)]
pub struct StageProbabilities {
    pub title: String,
    pub edges: Vec<EdgeProbabilities>,
    /// Epochs at the start during which only the weights train; shaded.
    pub frozen_epochs: usize,
}

/// The probabilities of one edge.
#[derive(Clone, Debug)]
pub struct EdgeProbabilities {
    /// State it comes from: 0 and 1 are the inputs, `2 + i` is node `i`.
    pub source: usize,
    /// Node it leads to, counted without the inputs.
    pub node: usize,
    /// Published names of the live operations.
    pub operations: Vec<String>,
    /// After each epoch, one probability for each live operation: `[epoch][operation]`.
    pub epochs: Vec<Vec<f64>>,
}

impl EdgeProbabilities {
    /// Probabilities of one operation, NaN where an epoch lacks it.
    fn of_operation(&self, operation: usize) -> Vec<f64> {
        self.epochs.iter().map(|epoch| epoch.get(operation).copied().unwrap_or(f64::NAN)).collect()
    }

    /// Index and last probability of the operation that leads at the end; `none` cannot enter a cell and does not count.
    fn strongest(&self) -> Option<(usize, f64)> {
        let last = self.epochs.last()?.iter().copied();
        let candidates = self.operations.iter().zip(last).enumerate();
        candidates
            .filter(|(_, (name, probability))| name.as_str() != "none" && probability.is_finite())
            .map(|(index, (_, probability))| (index, probability))
            .max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

const PANEL_WIDTH: f64 = 204.0;
const PANEL_HEIGHT: f64 = 96.0;
const COLUMN_PITCH: f64 = PANEL_WIDTH + 34.0;
const ROW_PITCH: f64 = PANEL_HEIGHT + 42.0;
const LEFT: f64 = MARGIN + 30.0;
const TOP: f64 = 84.0;
const LEGEND_PITCH: f64 = 20.0;

/// Draws one panel of probabilities per edge.
pub fn probabilities_svg(stage: &StageProbabilities) -> String {
    let edges = &stage.edges;
    let num_columns = edges.iter().map(|edge| edge.node + 1).max().unwrap_or(1);
    let num_rows = edges.iter().map(|edge| edge.source + 1).max().unwrap_or(1);
    let legend = legend(stage);
    let first_column_rows = edges.iter().filter(|edge| edge.node == 0).map(|edge| edge.source + 1).max().unwrap_or(0);
    let legend_top = TOP + ROW_PITCH * first_column_rows as f64 + 24.0;
    let panels_bottom = TOP + ROW_PITCH * num_rows as f64;
    let legend_bottom = legend_top + LEGEND_PITCH * legend.len() as f64;

    let width = LEFT + COLUMN_PITCH * num_columns as f64 - (COLUMN_PITCH - PANEL_WIDTH) + MARGIN;
    let mut svg = Svg::new(&stage.title, width, panels_bottom.max(legend_bottom) + 4.0);

    let num_epochs = edges.iter().map(|edge| edge.epochs.len()).max().unwrap_or(0);
    let x = Axis::epochs(num_epochs, 5);
    let all_values = edges.iter().flat_map(|edge| edge.epochs.iter().flatten().copied());
    let y = Axis::from_zero(all_values, 4);
    for edge in edges {
        let area = Rect {
            x: LEFT + COLUMN_PITCH * edge.node as f64,
            y: TOP + ROW_PITCH * edge.source as f64,
            width: PANEL_WIDTH,
            height: PANEL_HEIGHT,
        };
        let plot = Plot { area, x, y };
        draw_panel(&mut svg, &plot, edge, stage.frozen_epochs);
        if !edges.iter().any(|other| other.source == edge.source && other.node < edge.node) {
            plot.draw_y_labels(&mut svg);
        }
        if !edges.iter().any(|other| other.node == edge.node && other.source > edge.source) {
            plot.draw_x_labels(&mut svg);
        }
    }
    for (index, entry) in legend.iter().enumerate() {
        entry.draw(&mut svg, LEFT, legend_top + LEGEND_PITCH * index as f64);
    }
    svg.finish()
}

fn draw_panel(svg: &mut Svg, plot: &Plot, edge: &EdgeProbabilities, frozen_epochs: usize) {
    let area = plot.area;
    let frozen_width = plot.x_at(frozen_epochs as f64).min(area.right()) - area.x;
    if frozen_epochs > 0 {
        svg.fill(Rect { width: frozen_width, ..area }, BAND);
    }
    plot.draw_grid(svg);

    let name = format!("{} \u{2192} {}", theme::state_name(edge.source), edge.node);
    svg.text((area.x, area.y - 12.0), &name, &TextStyle::sans(LABEL_SIZE, INK, Anchor::Start).bold());
    let strongest = edge.strongest();
    for (index, operation) in edge.operations.iter().enumerate() {
        if strongest.is_none_or(|(best, _)| best != index) {
            plot.draw_line(svg, 1, &edge.of_operation(index), &operation_stroke(operation, 1.4));
        }
    }
    if let Some((best, probability)) = strongest {
        let operation = &edge.operations[best];
        plot.draw_line(svg, 1, &edge.of_operation(best), &operation_stroke(operation, 2.6));
        let outcome = format!("{operation} {probability:.2}");
        let (right, y) = (area.right(), area.y - 12.0);
        svg.text((right, y), &outcome, &TextStyle::mono(SMALL_SIZE, INK, Anchor::End));
        let width = theme::mono_width(&outcome, SMALL_SIZE);
        svg.dot((right - width - 8.0, y), 4.0, theme::operation_colour(operation));
    }
}

/// `none` is dashed, as it competes without ever being chosen.
fn operation_stroke(operation: &str, width: f64) -> Stroke {
    Stroke { colour: theme::operation_colour(operation), width, dashed: operation == "none" }
}

enum LegendEntry<'a> {
    Operation(&'a str),
    Frozen,
}

/// The live operations in the order of the search space, then the shading.
fn legend(stage: &StageProbabilities) -> Vec<LegendEntry<'_>> {
    let names = stage.edges.iter().flat_map(|edge| &edge.operations).map(|name| (theme::operation_rank(name), name));
    let names: BTreeSet<_> = names.collect();
    let mut entries: Vec<_> = names.into_iter().map(|(_, name)| LegendEntry::Operation(name)).collect();
    if stage.frozen_epochs > 0 {
        entries.push(LegendEntry::Frozen);
    }
    entries
}

impl LegendEntry<'_> {
    fn draw(&self, svg: &mut Svg, x: f64, y: f64) {
        let text_at = (x + 32.0, y);
        match self {
            Self::Operation(name) => {
                svg.line((x, y), (x + 24.0, y), &operation_stroke(name, 2.6));
                svg.text(text_at, name, &TextStyle::mono(SMALL_SIZE, INK, Anchor::Start));
            }
            Self::Frozen => {
                svg.fill(Rect { x, y: y - 7.0, width: 24.0, height: 14.0 }, BAND);
                svg.text(text_at, "alphas frozen", &TextStyle::sans(SMALL_SIZE, MUTED, Anchor::Start));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::assert_well_formed;
    use super::*;
    use proptest::prelude::*;

    fn stage(operations: &[&str], epochs: &[Vec<f64>], frozen_epochs: usize) -> StageProbabilities {
        let operations: Vec<String> = operations.iter().map(|&name| name.to_owned()).collect();
        let edge =
            |node, source| EdgeProbabilities { source, node, operations: operations.clone(), epochs: epochs.to_vec() };
        let edges = (0..4).flat_map(|node| (0..node + 2).map(move |source| (node, source)));
        let edges = edges.map(|(node, source)| edge(node, source)).collect();
        StageProbabilities { title: "Stage 1, normal cell".to_owned(), edges, frozen_epochs }
    }

    #[test]
    fn every_edge_has_a_panel_and_every_operation_a_legend_entry() {
        let epochs = vec![vec![0.4, 0.35, 0.25], vec![0.5, 0.2, 0.3]];
        let svg = probabilities_svg(&stage(&["none", "skip_connect", "sep_conv_3x3"], &epochs, 1));
        assert_well_formed(&svg);
        assert_eq!(svg.matches("<polyline").count(), 14 * 3);
        for label in ["Stage 1, normal cell", ">0 \u{2192} 3<", ">none<", ">skip_connect<", "alphas frozen"] {
            assert!(svg.contains(label), "{label}");
        }
        assert_eq!(svg.matches(">sep_conv_3x3 0.30<").count(), 14, "the strongest operation other than none");
    }

    #[test]
    fn one_epoch_is_dots() {
        let svg = probabilities_svg(&stage(&["skip_connect", "sep_conv_3x3"], &[vec![0.5, 0.5]], 0));
        let counts = (svg.matches("<polyline").count(), svg.matches("<circle").count());
        assert_eq!(counts, (0, 14 * (2 + 1)), "a dot for each operation and the mark of the strongest");
        assert!(!svg.contains("alphas frozen"));
    }

    proptest! {
        #[test]
        fn any_values_give_well_formed_figures(
            epochs in prop::collection::vec(prop::collection::vec(any::<f64>(), 0..4), 0..8),
            frozen_epochs in 0usize..12,
        ) {
            assert_well_formed(&probabilities_svg(&stage(&["none", "a<b", "c&d"], &epochs, frozen_epochs)));
        }
    }
}
