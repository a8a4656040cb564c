//! Accuracies, losses and schedules over the epochs of a run, with the stages of a search marked.

use super::plot::{Axis, Plot};
use super::svg::{Anchor, Rect, Stroke, Svg, TextStyle};
use super::theme::{self, BAND, INK, LABEL_SIZE, LINE, MARGIN, MUTED, SERIES, SMALL_SIZE};

/// Panels above each other, over the same epochs.
#[derive(Clone, Debug)]
pub struct Curves {
    pub title: String,
    /// Stages in order; none for a run without stages. Lines break between stages, as weights start afresh.
    pub stages: Vec<Stage>,
    pub panels: Vec<Panel>,
}

/// A stretch of epochs with a name.
#[derive(Clone, Debug)]
pub struct Stage {
    pub name: String,
    pub num_epochs: usize,
}

/// Curves that share a value axis.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What is shown, with its unit.
    pub title: String,
    pub series: Vec<Series>,
    /// Schedules take a thin panel whose axis starts at zero.
    pub thin: bool,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// One value after each epoch, through all stages; NaN where nothing was measured.
    pub values: Vec<f64>,
}

const LEFT: f64 = MARGIN + 36.0;
const WIDTH: f64 = 860.0;
const TOP: f64 = 54.0;
const STAGE_NAME_HEIGHT: f64 = 22.0;
/// Above each panel, for its title and legend.
const HEADER_HEIGHT: f64 = 28.0;
const PANEL_GAP: f64 = 16.0;
/// Below the last panel, for the epochs.
const FOOTER_HEIGHT: f64 = 46.0;

/// Draws the curves of a run.
pub fn curves_svg(curves: &Curves) -> String {
    let staged = curves.stages.iter().map(|stage| stage.num_epochs).sum();
    let measured = curves.panels.iter().flat_map(|panel| &panel.series).map(|series| series.values.len()).max();
    let x = Axis::epochs(measured.unwrap_or(0).max(staged), 10);

    let mut top = TOP + if curves.stages.is_empty() { 0.0 } else { STAGE_NAME_HEIGHT };
    let mut plots = Vec::new();
    for panel in &curves.panels {
        top += HEADER_HEIGHT;
        let (height, y) = axis_of(panel);
        plots.push(Plot { area: Rect { x: LEFT, y: top, width: WIDTH - LEFT - MARGIN, height }, x, y });
        top += height + PANEL_GAP;
    }
    let mut svg = Svg::new(&curves.title, WIDTH, top + FOOTER_HEIGHT);
    draw_stages(&mut svg, &curves.stages, &plots);
    for (panel, plot) in curves.panels.iter().zip(&plots) {
        draw_panel(&mut svg, plot, panel, &curves.stages);
    }
    if let Some(last) = plots.last() {
        last.draw_x_labels(&mut svg);
    }
    svg.finish()
}

/// Height of a panel in pixels and its value axis.
fn axis_of(panel: &Panel) -> (f64, Axis) {
    let values = panel.series.iter().flat_map(|series| series.values.iter().copied());
    match panel.thin {
        true => (64.0, Axis::from_zero(values, 2)),
        false => (170.0, Axis::covering(values, 5)),
    }
}

/// Shades every second stage through all panels and names each above the first.
fn draw_stages(svg: &mut Svg, stages: &[Stage], plots: &[Plot]) {
    let mut start = 0;
    for (index, stage) in stages.iter().enumerate() {
        let end = start + stage.num_epochs;
        for plot in plots {
            let Rect { y, height, .. } = plot.area;
            let (left, right) = (plot.x_at(start as f64), plot.x_at(end as f64));
            if index % 2 == 0 {
                svg.fill(Rect { x: left, y, width: right - left, height }, BAND);
            }
            if start > 0 {
                let boundary = Stroke { colour: LINE, width: 1.0, dashed: true };
                svg.line((left, y), (left, y + height), &boundary);
            }
        }
        if let Some(plot) = plots.first() {
            let (left, right) = (plot.x_at(start as f64), plot.x_at(end as f64));
            let name = theme::fit(&stage.name, LABEL_SIZE, right - left - 8.0);
            let style = TextStyle::sans(LABEL_SIZE, MUTED, Anchor::Middle);
            svg.text(((left + right) / 2.0, TOP + 8.0), &name, &style);
        }
        start = end;
    }
}

fn draw_panel(svg: &mut Svg, plot: &Plot, panel: &Panel, stages: &[Stage]) {
    plot.draw_grid(svg);
    plot.draw_y_labels(svg);
    let title_y = plot.area.y - 13.0;
    svg.text((plot.area.x, title_y), &panel.title, &TextStyle::sans(LABEL_SIZE, INK, Anchor::Start).bold());

    // Schedules do not take the colours of training and validation.
    let first_colour = if panel.thin { 2 } else { 0 };
    let coloured: Vec<_> = panel.series.iter().zip(SERIES.iter().copied().cycle().skip(first_colour)).collect();
    for (series, colour) in &coloured {
        for (start, values) in stage_slices(&series.values, stages) {
            plot.draw_line(svg, start + 1, values, &Stroke::solid(colour, 1.8));
        }
    }
    let entry_width = |series: &Series| 22.0 + theme::sans_width(&legend_text(series), SMALL_SIZE);
    let legend_width: f64 = panel.series.iter().map(|series| entry_width(series) + 16.0).sum();
    let mut x = plot.area.right() - legend_width + 16.0;
    for (series, colour) in coloured {
        svg.line((x, title_y), (x + 16.0, title_y), &Stroke::solid(colour, 2.6));
        svg.text((x + 22.0, title_y), &legend_text(series), &TextStyle::sans(SMALL_SIZE, INK, Anchor::Start));
        x += entry_width(series) + 16.0;
    }
}

/// What a curve is called and where it stands now.
fn legend_text(series: &Series) -> String {
    match series.values.iter().rfind(|value| value.is_finite()) {
        Some(&value) => format!("{} {}", series.name, theme::significant(value)),
        None => series.name.clone(),
    }
}

/// The part of `values` in each stage, and what lies behind the last one, each with the epochs before it.
fn stage_slices<'a>(values: &'a [f64], stages: &[Stage]) -> Vec<(usize, &'a [f64])> {
    let mut slices = Vec::with_capacity(stages.len() + 1);
    let (mut start, mut rest) = (0, values);
    for stage in stages {
        let (in_stage, behind) = rest.split_at(stage.num_epochs.min(rest.len()));
        slices.push((start, in_stage));
        start += in_stage.len();
        rest = behind;
    }
    slices.push((start, rest));
    slices
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::assert_well_formed;
    use super::*;
    use proptest::prelude::*;

    fn series(name: &str, values: Vec<f64>) -> Series {
        Series { name: name.to_owned(), values }
    }

    fn stage(name: &str, num_epochs: usize) -> Stage {
        Stage { name: name.to_owned(), num_epochs }
    }

    fn one_panel(values: Vec<f64>, stages: Vec<Stage>) -> Curves {
        let panel = Panel { title: "loss".to_owned(), series: vec![series("training", values)], thin: false };
        Curves { title: "Search".to_owned(), stages, panels: vec![panel] }
    }

    #[test]
    fn titles_stages_and_last_values_are_labelled() {
        let svg = curves_svg(&one_panel(vec![2.0, 1.5, f64::NAN], vec![stage("stage 1 & more", 4)]));
        assert_well_formed(&svg);
        for label in ["Search", ">loss<", "training 1.50", "stage 1 &amp; more", ">epoch<"] {
            assert!(svg.contains(label), "{label}");
        }
    }

    #[test]
    fn lines_break_between_stages() {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let stages = [stage("a", 2), stage("b", 3), stage("c", 9)];
        let slices = stage_slices(&values, &stages);
        assert_eq!(slices, [(0, &values[..2]), (2, &values[2..5]), (5, &values[5..]), (7, &[][..])]);
        let svg = curves_svg(&one_panel(values.clone(), stages.to_vec()));
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(curves_svg(&one_panel(values, vec![])).matches("<polyline").count(), 1);
    }

    #[test]
    fn one_epoch_is_a_dot_and_none_is_an_empty_panel() {
        let one = curves_svg(&one_panel(vec![2.3], vec![stage("stage 1", 1)]));
        assert_well_formed(&one);
        assert_eq!(one.matches("<circle").count(), 1);
        for values in [vec![], vec![f64::NAN; 3]] {
            let svg = curves_svg(&one_panel(values, vec![]));
            assert_well_formed(&svg);
            assert!(!svg.contains("<polyline") && !svg.contains("<circle"));
        }
    }

    proptest! {
        #[test]
        fn any_values_give_well_formed_figures(
            values in prop::collection::vec(any::<f64>(), 0..40),
            lengths in prop::collection::vec(0usize..20, 0..5),
            thin in any::<bool>(),
        ) {
            let stages = lengths.iter().map(|&length| stage("stage", length)).collect();
            let mut curves = one_panel(values, stages);
            curves.panels[0].thin = thin;
            assert_well_formed(&curves_svg(&curves));
        }
    }
}
