//! Refuses, before anything is computed, a batch of which a BatchNorm would see one value for each channel: that has no
//! variance, and would leave NaN in the running ones.

use crate::config::{BatchNormMode, ConfigError, Violation};

/// What a part of a step holds for a BatchNorm.
#[derive(Copy, Clone, Debug)]
pub(super) struct NormalisedBatch {
    /// The table of `global_batch` and `accumulate_steps`.
    pub section: &'static str,
    /// Images of a step, over all ranks.
    pub global_batch: usize,
    /// Parts of a step; all have the same number of images on all ranks, as ranks and parts divide a batch.
    pub parts: usize,
    /// Whose images are normalised together.
    pub batch_norm: BatchNormMode,
    /// Pixels of the smallest state that is normalised.
    pub smallest_area: u64,
    /// Whether the network has an auxiliary head.
    pub auxiliary_head: bool,
}

/// Checks that every BatchNorm sees two values of a channel or more in training on `num_ranks` ranks.
///
/// # Errors
/// [`ConfigError::Violation`], which names the keys that give it more.
pub(super) fn check_normalised_values(batch: &NormalisedBatch, num_ranks: usize) -> Result<(), ConfigError> {
    let NormalisedBatch { section, global_batch, parts, .. } = *batch;
    let ranks = match batch.batch_norm {
        BatchNormMode::Rank => num_ranks,
        BatchNormMode::Sync => 1,
    };
    let values = (global_batch / (ranks * parts)) as u64 * batch.smallest_area;
    if values > 1 {
        return Ok(());
    }
    let mut ways = vec![format!("state {} or more", 2 * ranks * parts)];
    if parts > 1 {
        ways.push(format!("lower {section}.accumulate_steps"));
    }
    if ranks > 1 {
        ways.push("use fewer ranks or model.batch_norm = \"sync\"".to_owned());
    }
    if batch.auxiliary_head {
        ways.push("switch model.auxiliary_head off, which sees the smallest images".to_owned());
    }
    let share = match (ranks, parts) {
        (1, 1) => String::new(),
        _ => format!(" in each of {parts} parts on each of {num_ranks} ranks"),
    };
    let message = format!(
        "{global_batch} is 1 image{share}, of which a BatchNorm sees 1 value per channel, which has no variance; {}",
        ways.join(", or ")
    );
    Err(Violation { key: format!("{section}.global_batch"), message }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many images as one of the auxiliary head's pixels, on one rank.
    const ONE: NormalisedBatch = NormalisedBatch {
        section: "train",
        global_batch: 1,
        parts: 1,
        batch_norm: BatchNormMode::Rank,
        smallest_area: 1,
        auxiliary_head: true,
    };

    fn check(batch: NormalisedBatch, num_ranks: usize) -> Result<(), String> {
        check_normalised_values(&batch, num_ranks).map_err(|error| error.to_string())
    }

    #[test]
    fn one_image_is_refused_where_the_auxiliary_head_reads_one_pixel() {
        assert_eq!(
            check(ONE, 1).unwrap_err(),
            "train.global_batch: 1 is 1 image, of which a BatchNorm sees 1 value per channel, which has no variance; state \
             2 or more, or switch model.auxiliary_head off, which sees the smallest images"
        );
        assert_eq!(check(NormalisedBatch { global_batch: 2, ..ONE }, 1), Ok(()));
        assert_eq!(check(NormalisedBatch { smallest_area: 4, auxiliary_head: false, ..ONE }, 1), Ok(()));
        let search = NormalisedBatch { section: "search", parts: 2, global_batch: 2, auxiliary_head: false, ..ONE };
        let line = check(search, 1).unwrap_err();
        assert!(line.starts_with("search.global_batch: 2 is 1 image in each of 2 parts"), "{line}");
        assert!(line.ends_with("state 4 or more, or lower search.accumulate_steps"), "{line}");
    }

    #[test]
    fn ranks_and_parts_leave_each_its_share() {
        let sizes = |global_batch, parts, batch_norm| NormalisedBatch { global_batch, parts, batch_norm, ..ONE };
        let line = check(sizes(8, 2, BatchNormMode::Rank), 4).unwrap_err();
        assert!(line.contains("in each of 2 parts on each of 4 ranks") && line.contains("state 16 or more"), "{line}");
        assert!(line.contains("lower train.accumulate_steps") && line.contains("batch_norm = \"sync\""), "{line}");
        assert_eq!(check(sizes(16, 2, BatchNormMode::Rank), 4), Ok(()));
        // Statistics of all ranks' images are of one part all the same.
        assert_eq!(check(sizes(8, 2, BatchNormMode::Sync), 4), Ok(()));
        let line = check(sizes(8, 8, BatchNormMode::Sync), 1).unwrap_err();
        assert!(line.contains("state 16 or more, or lower train.accumulate_steps"), "{line}");
    }
}
