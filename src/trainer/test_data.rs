//! The test images that a trained network is asked about.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use super::open::open_part;
use super::resident;
use crate::data::{
    Augment, CentreView, DataError, DatasetKind, Loader, RankShare, SameSize, Sampler, Source, Split, Transform,
};
use crate::world::World;

/// Test images, and what makes batches of them.
pub struct TestData {
    /// Where they are.
    pub source: Arc<dyn Source>,
    /// The images in order, each once over all ranks, without augmentation.
    pub loader: Loader,
}

impl TestData {
    /// Opens the test images of a data set in `dir`, of which all ranks together see `global_batch` at a time. `view` is what
    /// they see of images that have no size of their own.
    ///
    /// # Errors
    /// Missing or damaged data, or fewer images in a batch than ranks.
    pub fn open(
        kind: DatasetKind,
        dir: &Path,
        view: CentreView,
        global_batch: usize,
        world: &World,
    ) -> Result<Self, DataError> {
        let source = open_part(kind, dir, Split::Test, world)?;
        let transform: Arc<dyn Transform> = match source.side() {
            Some(side) => Arc::new(SameSize::new(side, Augment::default(), 0)),
            None => Arc::new(view),
        };
        let rank_share = RankShare { rank: world.rank, size: world.size };
        let sampler = Sampler::sequential(0..source.len() as u32, global_batch, rank_share)?;
        let threads = NonZeroUsize::new(world.threads).unwrap_or(NonZeroUsize::MIN);
        let loader = Loader::new(Arc::clone(&source), sampler, transform, threads);
        let loader = loader.with_windows(resident::stays_on(&*source, world.device));
        Ok(Self { source, loader })
    }
}
