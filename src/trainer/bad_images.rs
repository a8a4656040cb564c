//! What a run does about bad images, and how many of them it met.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::{ImageKeys, OnBadImage};
use crate::data::{BadImagePolicy, BadImages};
use crate::world::{CommunicatorError, Label, Ranks};

/// None met yet, of one part of a data set.
pub(super) fn bad_images(keys: &ImageKeys) -> Arc<BadImages> {
    Arc::new(BadImages::new(match keys.on_bad_image {
        OnBadImage::Error => BadImagePolicy::Error,
        OnBadImage::Skip => BadImagePolicy::Skip { limit: keys.bad_image_limit },
    }))
}

/// How many different images of `parts` of a data set were replaced by others on any rank since the run's last start. All
/// ranks call this together.
///
/// # Errors
/// When the ranks cannot be reached.
pub(super) fn count_bad_images(parts: &[Arc<BadImages>], ranks: &Ranks) -> Result<usize, CommunicatorError> {
    let own: Vec<(usize, u32)> =
        parts.iter().enumerate().flat_map(|(part, met)| met.numbers().into_iter().map(move |n| (part, n))).collect();
    let all = ranks.gather(&own, Label::new("exchange of bad images"))?;
    Ok(all.into_iter().flatten().collect::<BTreeSet<_>>().len())
}
