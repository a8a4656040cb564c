//! Whether two groups of figures differ by more than chance.
//!
//! The exact permutation test asks in how many of all ways to divide the figures into two groups of these sizes the means
//! are at least as far apart; it assumes nothing of how they are distributed. Welch's t test assumes normal distributions,
//! not equal variances.

use serde::{Deserialize, Serialize};

use crate::report::Spread;

/// Ways to divide that are tried one by one.
const MAX_DIVISIONS: f64 = 3e6;

/// Two groups beside each other.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Significance {
    /// Mean of the group less that of the reference.
    pub difference: f64,
    /// Figures of the group.
    pub runs: usize,
    /// Figures of the reference.
    pub reference_runs: usize,
    /// Of the exact permutation test, two-sided; none where there are too many ways.
    pub permutation_p: Option<f64>,
    /// The least p that this test can give with so many runs.
    pub least_permutation_p: Option<f64>,
    /// Of Welch's t test, two-sided; none of single figures, and where none varies.
    pub welch_p: Option<f64>,
}

impl Significance {
    /// `None` where a group is empty.
    pub fn of(group: &[f64], reference: &[f64]) -> Option<Self> {
        let (own, other) = (Spread::of(group)?, Spread::of(reference)?);
        let divisions = divisions(group.len(), reference.len());
        let is_exact = divisions <= MAX_DIVISIONS;
        // Of two groups of one size both are the first in some division.
        let extremes = if group.len() == reference.len() { 2.0 } else { 1.0 };
        Some(Self {
            difference: own.mean - other.mean,
            runs: group.len(),
            reference_runs: reference.len(),
            permutation_p: is_exact.then(|| permutation_p(group, reference)),
            least_permutation_p: is_exact.then(|| (extremes / divisions).min(1.0)),
            welch_p: welch_p(&own, &other),
        })
    }
}

/// In how many ways `n + m` figures can be divided into groups of `n` and `m`.
fn divisions(n: usize, m: usize) -> f64 {
    (1..=n).map(|k| (m + k) as f64 / k as f64).product()
}

fn permutation_p(group: &[f64], reference: &[f64]) -> f64 {
    let all: Vec<f64> = group.iter().chain(reference).copied().collect();
    let total: f64 = all.iter().sum();
    let (n, m) = (group.len() as f64, reference.len() as f64);
    let distance = |sum: f64| (sum / n - (total - sum) / m).abs();
    let observed = distance(group.iter().sum());
    // Sums of the same figures in another order differ by rounding.
    let tolerance = 1e-9 * all.iter().map(|value| value.abs()).fold(1.0, f64::max);
    let (mut num_all, mut num_extreme) = (0u64, 0u64);
    each_sum(&all, group.len(), 0.0, &mut |sum| {
        num_all += 1;
        num_extreme += u64::from(distance(sum) >= observed - tolerance);
    });
    num_extreme as f64 / num_all as f64
}

/// Calls `visit` with `so_far` plus the sum of each choice of `count` of `values`.
fn each_sum(values: &[f64], count: usize, so_far: f64, visit: &mut impl FnMut(f64)) {
    if count == 0 {
        return visit(so_far);
    }
    for index in 0..=values.len() - count {
        each_sum(&values[index + 1..], count - 1, so_far + values[index], visit);
    }
}

fn welch_p(one: &Spread, other: &Spread) -> Option<f64> {
    let of_mean = |spread: &Spread| Some(spread.deviation?.powi(2) / spread.count as f64);
    let (a, b) = (of_mean(one)?, of_mean(other)?);
    if a + b == 0.0 {
        return None;
    }
    let t = (one.mean - other.mean) / (a + b).sqrt();
    let freedom = (a + b).powi(2) / (a * a / (one.count as f64 - 1.0) + b * b / (other.count as f64 - 1.0));
    Some(student_t_p(t, freedom))
}

/// The probability that Student's t with this many degrees of freedom is as far from 0 as `t`.
fn student_t_p(t: f64, freedom: f64) -> f64 {
    regularised_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5)
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz and Stegun, 26.5.8).
fn regularised_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on this side.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularised_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let coefficient = |step: usize| {
        let m = (step / 2) as f64;
        match step {
            0 => 1.0,
            _ if step.is_multiple_of(2) => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        }
    };
    // From its far end, where it no longer matters.
    let tail = (1..300).rev().fold(1.0, |below, step| 1.0 + coefficient(step) / below);
    front / tail
}

/// Lanczos's approximation, to some 1e-13.
fn ln_gamma(z: f64) -> f64 {
    const G: f64 = 7.0;
    const SERIES: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if z < 0.5 {
        let pi = std::f64::consts::PI;
        return (pi / (pi * z).sin()).ln() - ln_gamma(1.0 - z);
    }
    let z = z - 1.0;
    let sum = SERIES[0] + SERIES[1..].iter().zip(1..).map(|(c, k)| c / (z + f64::from(k))).sum::<f64>();
    let t = z + G + 0.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (z + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-9 * expected.abs().max(1e-3)
    }

    #[test]
    fn student_t_has_the_tails_of_the_tables() {
        // One degree of freedom is Cauchy's distribution, two have a closed form.
        for t in [0.1, 1.0, 3.0, 40.0] {
            let cauchy = 1.0 - 2.0 * f64::atan(t) / std::f64::consts::PI;
            assert!(close(student_t_p(t, 1.0), cauchy), "{t}: {} {cauchy}", student_t_p(t, 1.0));
            let two = 1.0 - t / (t * t + 2.0).sqrt();
            assert!(close(student_t_p(-t, 2.0), two), "{t}");
        }
        // The 97.5 % points of the printed tables.
        for (freedom, t) in [(4.0, 2.776_445), (10.0, 2.228_139), (30.0, 2.042_272), (120.0, 1.979_930)] {
            assert!((student_t_p(t, freedom) - 0.05).abs() < 1e-6);
        }
    }

    #[test]
    fn welch_is_that_of_a_textbook_example() {
        // Of means 20.82 and 22.99, variances 2.88 and 3.39 apart from rounding, 15 figures each.
        let a = Spread { mean: 20.0, deviation: Some(2.0), count: 4 };
        let b = Spread { mean: 23.0, deviation: Some(2.0), count: 4 };
        // t = -3 / sqrt(2) with 6 degrees of freedom.
        assert!((welch_p(&a, &b).unwrap() - student_t_p(3.0 / 2f64.sqrt(), 6.0)).abs() < 1e-12);
        assert_eq!(welch_p(&Spread { deviation: None, count: 1, ..a }, &b), None);
    }

    #[test]
    fn permutation_counts_every_division() {
        let test = Significance::of(&[5.0, 6.0, 7.0], &[1.0, 2.0, 3.0]).unwrap();
        // The observed division and its mirror, of 20.
        assert_eq!((test.permutation_p, test.least_permutation_p), (Some(0.1), Some(0.1)));
        assert_eq!(test.difference, 4.0);
        assert_eq!(Significance::of(&[1.0, 2.0], &[1.0, 2.0]).unwrap().permutation_p, Some(1.0));
        // 1 of 4 single figures is the largest distance.
        let single = Significance::of(&[9.0], &[1.0, 2.0, 3.0]).unwrap();
        assert_eq!((single.permutation_p, single.welch_p), (Some(0.25), None));
        assert_eq!(Significance::of(&[], &[1.0]), None);
        let many = Significance::of(&[1.0; 20], &[2.0; 20]).unwrap();
        assert_eq!((many.permutation_p, many.welch_p), (None, None));
    }
}
