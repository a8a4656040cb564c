//! Relations between the shares of a search's training images, one for weights and one for alphas.

use super::{require, used_images};
use crate::config::{ConfigError, SearchConfig, SearchDataSection, Violation};

/// Beyond what sums of fractions are off by.
const ROUNDING: f64 = 1e-9;

/// Images of a class in the two shares of a search, and how many they are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassShares {
    /// The class's name.
    pub class: String,
    /// Images that are used of the class.
    pub images: usize,
    /// Those that train weights.
    pub weights: usize,
    /// Those that train alphas.
    pub alphas: usize,
}

/// Checks the fractions alone.
pub(super) fn validate_fractions(data: &SearchDataSection) -> Result<(), Violation> {
    let (train, alpha) = (data.train_fraction, data.alpha_fraction);
    require(train > 0.0 && train < 1.0, "data.train_fraction", || {
        format!("{train} leaves nothing to split; state a number above 0 and below 1")
    })?;
    require((0.0..1.0).contains(&alpha), "data.alpha_fraction", || {
        format!("{alpha} is no share; state a number from 0 to below 1")
    })?;
    require(train + alpha <= 1.0 + ROUNDING, "data.alpha_fraction", || {
        format!("{alpha} and data.train_fraction = {train} are more than all images; state at most {:.6}", 1.0 - train)
    })
}

impl SearchConfig {
    /// Checks the relations with a data set of `num_images` training images: its size against the limit, and that both
    /// shares fill a batch.
    ///
    /// # Errors
    /// [`ConfigError::Violation`], the first violated relation.
    pub fn validate_with_dataset(&self, num_images: usize) -> Result<(), ConfigError> {
        let used = used_images(self.data.limit, num_images)?;
        let share = |fraction: f64| (fraction * used as f64).floor() as usize;
        let train = share(self.data.train_fraction);
        let alphas = match self.data.alpha_fraction {
            0.0 => used - train,
            fraction => share(fraction),
        };
        let key = if alphas == 0 && self.data.alpha_fraction > 0.0 { "alpha_fraction" } else { "train_fraction" };
        require(train.min(alphas) >= 1, format!("data.{key}"), || {
            format!("splits {used} images into {train} and {alphas}; both parts need images")
        })?;
        Ok(self.validate_batch(train, alphas)?)
    }

    /// Checks that both shares, drawn class by class, have images of every class and fill a batch.
    ///
    /// # Errors
    /// [`ConfigError::Violation`], with the first class that a share lacks.
    pub fn validate_with_classes(&self, classes: &[ClassShares]) -> Result<(), ConfigError> {
        for ClassShares { class, images, weights, alphas } in classes {
            require(*images > 1, if self.data.limit > 0 { "data.limit" } else { "data.train_fraction" }, || {
                format!("class {class} has {images} images in use; it needs one for weights and one for alphas")
            })?;
            for (count, key, fraction, what) in [
                (weights, "data.train_fraction", self.data.train_fraction, "weights"),
                (alphas, "data.alpha_fraction", self.data.alpha_fraction, "alphas"),
            ] {
                require(*count > 0, key, || {
                    let least = (1e3 / *images as f64).ceil() / 1e3;
                    format!(
                        "{fraction} of the {images} images of class {class} is none to train {what}; state {least} or more"
                    )
                })?;
            }
        }
        let total = |count: fn(&ClassShares) -> usize| classes.iter().map(count).sum();
        Ok(self.validate_batch(total(|class| class.weights), total(|class| class.alphas))?)
    }

    /// Checks that shares of `train` and `alphas` images fill a batch.
    fn validate_batch(&self, train: usize, alphas: usize) -> Result<(), Violation> {
        let (batch, most) = (self.search.global_batch, train.min(alphas));
        require(batch <= most, "search.global_batch", || {
            format!(
                "a batch of {batch} is larger than a part of the split \
                 ({train} images for weights, {alphas} for alphas); lower it to at most {most}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn config(train: f64, alpha: f64) -> SearchConfig {
        let mut config = SearchConfig::default();
        (config.data.train_fraction, config.data.alpha_fraction) = (train, alpha);
        config.search.global_batch = 2;
        config
    }

    fn of_class(class: &str, [images, weights, alphas]: [usize; 3]) -> ClassShares {
        ClassShares { class: class.to_owned(), images, weights, alphas }
    }

    #[test]
    fn shares_that_are_more_than_all_images_are_refused() {
        for (train, alpha) in [(0.1, 0.025), (0.5, 0.0), (0.3, 0.7), (0.9, 0.1)] {
            assert_eq!(config(train, alpha).validate(), Ok(()), "{train}, {alpha}");
        }
        assert_eq!(
            config(0.6, 0.5).validate().unwrap_err().to_string(),
            "data.alpha_fraction: 0.5 and data.train_fraction = 0.6 are more than all images; state at most 0.400000"
        );
        assert!(config(0.5, -0.1).validate().is_err() && config(0.5, f64::NAN).validate().is_err());
    }

    #[test]
    fn shares_of_the_whole_set_must_fill_a_batch() {
        assert!(config(0.1, 0.02).validate_with_dataset(100).is_ok());
        let refused = config(0.1, 0.02).validate_with_dataset(99).unwrap_err().to_string();
        assert!(refused.contains("9 images for weights, 1 for alphas"), "{refused}");
        let refused = config(0.1, 0.02).validate_with_dataset(49).unwrap_err().to_string();
        assert_eq!(refused, "data.alpha_fraction: splits 49 images into 4 and 0; both parts need images");
    }

    #[test]
    fn class_that_a_share_lacks_is_named_with_the_fraction_that_it_needs() {
        let refused = |config: SearchConfig, class| config.validate_with_classes(&[class]).unwrap_err().to_string();
        assert_eq!(
            refused(config(0.1, 0.025), of_class("cat", [30, 3, 0])),
            "data.alpha_fraction: 0.025 of the 30 images of class cat is none to train alphas; state 0.034 or more"
        );
        assert!(refused(config(0.1, 0.5), of_class("cat", [9, 0, 4])).starts_with("data.train_fraction: 0.1 of the 9"));
        let mut limited = config(0.5, 0.0);
        limited.data.limit = 10;
        assert!(refused(limited, of_class("cat", [1, 0, 1])).starts_with("data.limit: class cat has 1 images in use"));
        let both = [of_class("cat", [4, 2, 1]), of_class("dog", [4, 2, 1])];
        assert!(config(0.5, 0.25).validate_with_classes(&both).is_ok());
        let refused = config(0.5, 0.25).validate_with_classes(&both[..1]).unwrap_err().to_string();
        assert!(refused.starts_with("search.global_batch: a batch of 2"), "{refused}");
    }
}
