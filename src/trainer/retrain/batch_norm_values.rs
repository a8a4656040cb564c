//! Refuses, before anything is computed, a batch of which a BatchNorm would see one value for each channel: that has no
//! variance, and would leave NaN in the running ones.

use crate::config::{BatchNormMode, ConfigError, TrainConfig, Violation};
use crate::model::NetworkDescription;

/// Checks that every BatchNorm of `network` sees two values of a channel or more in training on `num_ranks` ranks. All
/// parts of all steps have the same number of images on all ranks, as ranks and parts divide a batch.
///
/// # Errors
/// [`ConfigError::Violation`], which names the keys that give it more.
pub fn check_normalised_values(
    config: &TrainConfig,
    network: &NetworkDescription,
    num_ranks: usize,
) -> Result<(), ConfigError> {
    let (batch, parts) = (config.train.global_batch, config.train.accumulate_steps);
    let ranks = match config.model.batch_norm {
        BatchNormMode::Rank => num_ranks,
        BatchNormMode::Sync => 1,
    };
    let values = (batch / (ranks * parts)) as u64 * network.smallest_normalised_area();
    if values > 1 {
        return Ok(());
    }
    let mut ways = vec![format!("state {} or more", 2 * ranks * parts)];
    if parts > 1 {
        ways.push("lower train.accumulate_steps".to_owned());
    }
    if ranks > 1 {
        ways.push("use fewer ranks or model.batch_norm = \"sync\"".to_owned());
    }
    if network.auxiliary_head {
        ways.push("switch model.auxiliary_head off, which sees the smallest images".to_owned());
    }
    let share = match (ranks, parts) {
        (1, 1) => String::new(),
        _ => format!(" in each of {parts} parts on each of {num_ranks} ranks"),
    };
    let message = format!(
        "{batch} is 1 image{share}, of which a BatchNorm sees 1 value per channel, which has no variance; {}",
        ways.join(", or ")
    );
    Err(Violation { key: "train.global_batch".to_owned(), message }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::{NetworkKind, NetworkShape, library};

    fn check(change: impl FnOnce(&mut TrainConfig, &mut NetworkDescription), num_ranks: usize) -> Result<(), String> {
        let mut config = TrainConfig::default();
        let shape = NetworkShape { kind: NetworkKind::Cifar, channels: 4, cells: 4, num_classes: 10, image_size: 32 };
        let genotype = library::find("PDARTS_C10").unwrap().genotype;
        let mut network = NetworkDescription { genotype, shape, auxiliary_head: true };
        change(&mut config, &mut network);
        check_normalised_values(&config, &network, num_ranks).map_err(|error| error.to_string())
    }

    #[test]
    fn one_image_is_refused_where_the_auxiliary_head_reads_one_pixel() {
        assert_eq!(
            check(|config, _| config.train.global_batch = 1, 1).unwrap_err(),
            "train.global_batch: 1 is 1 image, of which a BatchNorm sees 1 value per channel, which has no variance; state \
             2 or more, or switch model.auxiliary_head off, which sees the smallest images"
        );
        assert_eq!(check(|config, _| config.train.global_batch = 2, 1), Ok(()));
        let without_head = |config: &mut TrainConfig, network: &mut NetworkDescription| {
            (config.train.global_batch, network.auxiliary_head) = (1, false);
        };
        assert_eq!(check(without_head, 1), Ok(()));
    }

    #[test]
    fn ranks_and_parts_leave_each_its_share() {
        let sizes = |batch, parts, batch_norm| {
            move |config: &mut TrainConfig, _: &mut NetworkDescription| {
                (config.train.global_batch, config.train.accumulate_steps) = (batch, parts);
                config.model.batch_norm = batch_norm;
            }
        };
        let line = check(sizes(8, 2, BatchNormMode::Rank), 4).unwrap_err();
        assert!(line.contains("in each of 2 parts on each of 4 ranks") && line.contains("state 16 or more"), "{line}");
        assert!(line.contains("lower train.accumulate_steps") && line.contains("batch_norm = \"sync\""), "{line}");
        assert_eq!(check(sizes(16, 2, BatchNormMode::Rank), 4), Ok(()));
        // Statistics of all ranks' images are of one part all the same.
        assert_eq!(check(sizes(8, 2, BatchNormMode::Sync), 4), Ok(()));
        let line = check(sizes(8, 8, BatchNormMode::Sync), 1).unwrap_err();
        assert!(line.contains("state 16 or more, or lower train.accumulate_steps"), "{line}");
    }

    #[test]
    fn images_that_shrink_to_one_pixel_are_refused_without_a_head_too() {
        let of_size = |image_size| {
            move |config: &mut TrainConfig, network: &mut NetworkDescription| {
                (config.train.global_batch, network.auxiliary_head) = (1, false);
                network.shape.image_size = image_size;
            }
        };
        assert!(check(of_size(4), 1).is_err());
        assert_eq!(check(of_size(8), 1), Ok(()));
    }
}
