//! The one line that shows on a terminal how far a run is, and how long it still takes.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::page::duration;

/// A part of a run whose steps are alike: an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    /// As in `stage 1/3, epoch 4/25`.
    pub name: String,
    pub num_steps: u64,
    /// What a step costs, relative to those of other stretches.
    pub cost: f64,
}

/// Where a run stands among its stretches.
struct Plan {
    stretches: Vec<Stretch>,
    steps_done: u64,
    /// When this process began, and what lay behind it then.
    start: Instant,
    cost_before: f64,
}

/// Shows nothing before it begins, and unless standard error is a terminal.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    plan: Plan,
    shares: String,
    /// What the last steps came to; the first to be cut where the terminal is narrow.
    figures: String,
}

impl Plan {
    fn new(stretches: Vec<Stretch>, steps_done: u64) -> Self {
        let mut plan = Self { stretches, steps_done, start: Instant::now(), cost_before: 0.0 };
        plan.cost_before = plan.cost_done();
        plan
    }

    /// Of all steps that are done.
    fn cost_done(&self) -> f64 {
        let mut left = self.steps_done;
        let cost = |stretch: &Stretch| {
            let steps = left.min(stretch.num_steps);
            left -= steps;
            steps as f64 * stretch.cost
        };
        self.stretches.iter().map(cost).sum()
    }

    fn skip_to(&mut self, steps_done: u64) {
        let before = self.cost_done();
        self.steps_done = steps_done;
        // What was not taken says nothing of how fast steps are.
        self.cost_before += self.cost_done() - before;
    }

    /// The stretch under way.
    fn name(&self) -> &str {
        let mut end = 0;
        let under_way = self.stretches.iter().find(|stretch| {
            end += stretch.num_steps;
            self.steps_done < end
        });
        under_way.or(self.stretches.last()).map_or("", |stretch| &stretch.name)
    }

    /// Seconds to the end of the run, after `elapsed` seconds of this process; none before its first step.
    fn seconds_left(&self, elapsed: f64) -> Option<f64> {
        let done = self.cost_done();
        let total: f64 = self.stretches.iter().map(|stretch| stretch.num_steps as f64 * stretch.cost).sum();
        let own = done - self.cost_before;
        (own > 0.0).then(|| (total - done).max(0.0) * elapsed / own)
    }
}

impl ProgressLine {
    pub fn hidden() -> Self {
        let plan = Plan::new(Vec::new(), 0);
        Self { bar: ProgressBar::hidden(), plan, figures: String::new(), shares: String::new() }
    }

    /// Shows the line of a run of these `stretches`, of which `steps_done` steps are behind.
    pub fn begin(bars: &MultiProgress, stretches: Vec<Stretch>, steps_done: u64) -> Self {
        let steps = stretches.iter().map(|stretch| stretch.num_steps).sum();
        let bar = bars.add(ProgressBar::new(steps).with_position(steps_done));
        // What is wide is cut to the terminal, so that the line stays one. The template is a constant; without one the
        // bar has indicatif's default style.
        if let Ok(style) = ProgressStyle::with_template("{bar:10} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(500));
        let line = Self { bar, plan: Plan::new(stretches, steps_done), ..Self::hidden() };
        line.show();
        line
    }

    pub fn advance(&mut self) {
        self.plan.steps_done += 1;
        self.bar.inc(1);
        self.show();
    }

    /// The steps up to this one are behind, or are never taken.
    pub fn skip_to(&mut self, steps_done: u64) {
        self.plan.skip_to(steps_done);
        self.bar.set_position(self.plan.steps_done);
        self.show();
    }

    /// So many steps are to be taken again.
    pub fn go_back(&mut self, steps: u64) {
        self.plan.steps_done = self.plan.steps_done.saturating_sub(steps);
        self.bar.set_position(self.plan.steps_done);
        self.show();
    }

    /// What the last steps came to.
    pub fn set_figures(&mut self, figures: String) {
        self.figures = figures;
        self.show();
    }

    /// Which operations lead.
    pub fn set_shares(&mut self, shares: String) {
        self.shares = shares;
        self.show();
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let left = self.plan.seconds_left(self.plan.start.elapsed().as_secs_f64());
        let left = left.map_or("time unknown".to_owned(), |seconds| format!("{} left", duration(seconds)));
        let parts = [left.as_str(), self.plan.name(), &self.shares, &self.figures];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.bar.set_message(parts.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(name: &str, num_steps: u64, cost: f64) -> Stretch {
        Stretch { name: name.to_owned(), num_steps, cost }
    }

    #[test]
    fn time_left_is_of_all_stretches_by_their_cost() {
        let stretches = vec![stretch("a", 10, 1.0), stretch("b", 10, 3.0)];
        let mut plan = Plan::new(stretches.clone(), 0);
        assert_eq!((plan.name(), plan.seconds_left(5.0)), ("a", None));
        plan.steps_done = 5;
        // Five steps of cost 1 in 10 seconds: 2 seconds a unit, and 35 units are left.
        assert_eq!((plan.name(), plan.seconds_left(10.0)), ("a", Some(70.0)));
        plan.steps_done = 20;
        assert_eq!((plan.name(), plan.seconds_left(80.0)), ("b", Some(0.0)));

        // A run that goes on knows only its own time.
        let mut plan = Plan::new(stretches, 10);
        assert_eq!((plan.name(), plan.seconds_left(1.0)), ("b", None));
        plan.steps_done = 15;
        assert_eq!(plan.seconds_left(30.0), Some(30.0));
    }

    #[test]
    fn steps_that_are_never_taken_count_as_behind_but_say_nothing_of_the_time() {
        let stretches = ["a", "b", "c"].map(|name| stretch(name, 10, 1.0)).to_vec();
        let mut plan = Plan::new(stretches, 0);
        plan.steps_done = 10;
        plan.skip_to(20);
        // Ten steps in 10 seconds, and ten are left.
        assert_eq!((plan.name(), plan.seconds_left(10.0)), ("c", Some(10.0)));
    }
}
