//! Axes and lines over epochs, shared by the probability panels and the curves.

use super::svg::{Anchor, Point, Rect, Stroke, Svg, TextStyle};
use super::theme::{GRID, MUTED, SMALL_SIZE};

/// Values that a line shows; NaN, infinities and what only a diverged run produces leave a gap.
fn drawable(value: f64) -> bool {
    value.abs() < 1e9
}

/// A linear axis whose ticks are multiples of 1, 2 or 5 times a power of ten.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Axis {
    pub min: f64,
    pub max: f64,
    pub step: f64,
}

impl Axis {
    /// An axis of about `num_ticks` ticks from zero (or lower) to just above the largest of `values`.
    pub fn from_zero(values: impl Iterator<Item = f64>, num_ticks: usize) -> Self {
        Self::covering(values.chain([0.0]), num_ticks)
    }

    /// An axis of about `num_ticks` ticks that covers all `values` that can be drawn.
    pub fn covering(values: impl Iterator<Item = f64>, num_ticks: usize) -> Self {
        let (mut min, mut max) = values
            .filter(|&value| drawable(value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value), max.max(value)));
        if min > max {
            (min, max) = (0.0, 1.0); // nothing to show
        }
        if max - min <= 1e-9 * max.abs() {
            max += if max == 0.0 { 1.0 } else { 0.1 * max.abs() };
        }
        let step = nice_step((max - min) / num_ticks as f64);
        Self { min: (min / step + 1e-9).floor() * step, max: (max / step - 1e-9).ceil() * step, step }
    }

    /// The axis of `num_epochs` epochs, ticked at whole epochs. A value measured after the n-th epoch lies at n.
    pub fn epochs(num_epochs: usize, num_ticks: usize) -> Self {
        let max = num_epochs.max(1) as f64;
        Self { min: 0.0, max, step: nice_step(max / num_ticks as f64).max(1.0) }
    }

    pub fn ticks(self) -> impl Iterator<Item = f64> {
        let first = (self.min / self.step - 1e-9).ceil();
        let last = (self.max / self.step + 1e-9).floor();
        (0..=(last - first) as usize).map(move |index| (first + index as f64) * self.step)
    }

    pub fn label(self, tick: f64) -> String {
        let largest = self.min.abs().max(self.max.abs());
        if largest >= 1e5 || self.step < 1e-4 {
            return if tick == 0.0 { "0".to_owned() } else { format!("{tick:.0e}") };
        }
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        format!("{tick:.decimals$}")
    }

    fn fraction(self, value: f64) -> f64 {
        (value - self.min) / (self.max - self.min)
    }
}

fn nice_step(at_least: f64) -> f64 {
    let magnitude = 10f64.powf(at_least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * magnitude >= at_least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * magnitude
}

/// A panel: a place in the figure with an axis of epochs and one of values.
pub struct Plot {
    pub area: Rect,
    pub x: Axis,
    pub y: Axis,
}

impl Plot {
    pub fn x_at(&self, epochs: f64) -> f64 {
        self.area.x + self.area.width * self.x.fraction(epochs)
    }

    pub fn y_at(&self, value: f64) -> f64 {
        self.area.bottom() - self.area.height * self.y.fraction(value)
    }

    /// Horizontal grid lines at the ticks of the value axis.
    pub fn draw_grid(&self, svg: &mut Svg) {
        for tick in self.y.ticks() {
            let y = self.y_at(tick);
            svg.line((self.area.x, y), (self.area.right(), y), &Stroke::solid(GRID, 1.0));
        }
    }

    pub fn draw_y_labels(&self, svg: &mut Svg) {
        let style = TextStyle::sans(SMALL_SIZE, MUTED, Anchor::End);
        for tick in self.y.ticks() {
            svg.text((self.area.x - 6.0, self.y_at(tick)), &self.y.label(tick), &style);
        }
    }

    /// Ticks, their numbers and the word "epoch" below the panel.
    pub fn draw_x_labels(&self, svg: &mut Svg) {
        let style = TextStyle::sans(SMALL_SIZE, MUTED, Anchor::Middle);
        let bottom = self.area.bottom();
        for tick in self.x.ticks() {
            let x = self.x_at(tick);
            svg.line((x, bottom), (x, bottom + 4.0), &Stroke::solid(MUTED, 1.0));
            svg.text((x, bottom + 13.0), &self.x.label(tick), &style);
        }
        svg.text((self.area.middle().0, bottom + 29.0), "epoch", &style);
    }

    /// A line through `values`, the first of which was measured after epoch `first_epoch`.
    ///
    /// Values that cannot be drawn leave a gap; a value with gaps (or ends) on both sides becomes a dot.
    pub fn draw_line(&self, svg: &mut Svg, first_epoch: usize, values: &[f64], stroke: &Stroke) {
        let mut epoch = first_epoch;
        for run in values.chunk_by(|&a, &b| drawable(a) == drawable(b)) {
            let points: Vec<Point> = run
                .iter()
                .enumerate()
                .filter(|&(_, &value)| drawable(value))
                .map(|(index, &value)| (self.x_at((epoch + index) as f64), self.y_at(value)))
                .collect();
            match points[..] {
                [] => {}
                [point] => svg.dot(point, stroke.width + 0.8, stroke.colour),
                _ => svg.polyline(&points, stroke),
            }
            epoch += run.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: Axis) -> Vec<String> {
        axis.ticks().map(|tick| axis.label(tick)).collect()
    }

    #[test]
    fn axes_end_on_round_numbers() {
        assert_eq!(ticks(Axis::from_zero([0.1, 0.43].into_iter(), 5)), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(ticks(Axis::covering([31.0, 88.0].into_iter(), 4)), ["20", "40", "60", "80", "100"]);
        assert_eq!(ticks(Axis::from_zero([0.025].into_iter(), 3)), ["0.00", "0.01", "0.02", "0.03"]);
        assert_eq!(ticks(Axis::covering([-0.3, 0.3].into_iter(), 3)), ["-0.4", "-0.2", "0.0", "0.2", "0.4"]);
    }

    #[test]
    fn constant_and_missing_values_give_an_axis() {
        for values in [vec![], vec![f64::NAN], vec![0.0, 0.0], vec![5.0], vec![-5.0], vec![1e300]] {
            let axis = Axis::covering(values.into_iter(), 4);
            assert!(axis.max > axis.min && axis.step.is_finite(), "{axis:?}");
        }
    }

    #[test]
    fn epochs_are_ticked_at_whole_numbers() {
        assert_eq!(ticks(Axis::epochs(1, 5)), ["0", "1"]);
        assert_eq!(ticks(Axis::epochs(25, 5)), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(ticks(Axis::epochs(600, 6)), ["0", "100", "200", "300", "400", "500", "600"]);
        assert_eq!(ticks(Axis::epochs(0, 5)), ["0", "1"]);
    }

    #[test]
    fn values_that_cannot_be_drawn_leave_gaps() {
        let area = Rect { x: 0.0, y: 0.0, width: 100.0, height: 100.0 };
        let plot = Plot { area, x: Axis::epochs(10, 5), y: Axis::from_zero([1.0].into_iter(), 5) };
        let mut svg = Svg::new("", 100.0, 100.0);
        let values = [0.1, 0.2, f64::NAN, 0.4, f64::INFINITY, 0.6, 0.7];
        plot.draw_line(&mut svg, 1, &values, &Stroke::solid(MUTED, 1.0));
        let text = svg.finish();
        assert_eq!(text.matches("<polyline").count(), 2);
        assert!(text.contains(r#"points="10,90 20,80""#));
        assert!(text.contains(r#"circle cx="40" cy="60""#));
        assert!(text.contains(r#"points="60,40 70,30""#));
    }
}
