//! Figures as people read them.

/// A number with its unit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of 100.
    Percent,
    /// Of a loss.
    Loss,
    /// Of parameters and operations.
    Millions,
    Seconds,
    ImagesPerSecond,
    Count,
}

impl Unit {
    /// `value` with the unit where the heading does not name it.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Percent => format!("{value:.2} %"),
            Self::Loss => format!("{value:.4}"),
            Self::Millions => format!("{:.2} M", value / 1e6),
            Self::Seconds => duration(value),
            Self::ImagesPerSecond => format!("{value:.0}"),
            Self::Count => format!("{value}"),
        }
    }

    /// Mean and deviation.
    pub fn show_spread(self, mean: f64, deviation: Option<f64>) -> String {
        match deviation {
            None => self.show(mean),
            Some(deviation) => match self {
                Self::Percent => format!("{mean:.2} ± {deviation:.2} %"),
                Self::Millions => format!("{:.2} ± {:.2} M", mean / 1e6, deviation / 1e6),
                Self::ImagesPerSecond => format!("{mean:.0} ± {deviation:.0}"),
                Self::Count => format!("{mean:.1} ± {deviation:.1}"),
                Self::Loss | Self::Seconds => format!("{} ± {}", self.show(mean), self.show(deviation)),
            },
        }
    }
}

/// `42 s`, `5.8 min`, `3 h 12 min`, `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 100.0 => format!("{seconds:.0} s"),
        0..100 => format!("{:.1} min", seconds / 60.0),
        100..2880 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes / 60 % 24),
    }
}

/// `813 bytes`, `1.4 MB`.
pub fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        _ if count < 1e3 => format!("{count} bytes"),
        _ if count < 1e6 => format!("{:.1} kB", count / 1e3),
        _ if count < 1e9 => format!("{:.1} MB", count / 1e6),
        _ => format!("{:.1} GB", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_unit_of_their_size() {
        let shown = [0.4, 99.0, 348.0, 11520.0, 187_200.0].map(duration);
        assert_eq!(shown, ["0 s", "99 s", "5.8 min", "3 h 12 min", "2 d 4 h"]);
    }

    #[test]
    fn deviations_have_the_unit_of_their_mean() {
        assert_eq!(Unit::Percent.show_spread(96.6, Some(0.721)), "96.60 ± 0.72 %");
        assert_eq!(Unit::Seconds.show_spread(240.0, None), "4.0 min");
        assert_eq!(bytes(1_234_567), "1.2 MB");
    }
}
