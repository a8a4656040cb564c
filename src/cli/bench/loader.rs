//! `pdarts bench loader`: how many photos a second are decoded and transformed for ImageNet networks.
//!
//! It drives what a training or an evaluation drives, batches on threads, and throws the batches away. A pass that is
//! not timed comes first, so that files come from the system's cache. The timed passes follow each other without a break,
//! as the batches of a long epoch do.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::cli::numbers::some_threads;
use crate::cli::output;
use crate::data::{
    CentreView, ColourJitter, DatasetKind, Loader, RankShare, Sampler, Split, TrainingView, Transform, open,
};
use crate::world::{peak_memory_mib, process_seconds};

#[derive(Debug, Args)]
pub struct LoaderArguments {
    /// Images in a folder for each class, in `train` and `val`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// What is made of the images: random crops of 224 pixels, mirrored, or the middle of those resized to 256.
    #[arg(long, value_enum, default_value = "train")]
    transform: View,
    /// Change brightness, contrast, saturation (by 0.4) and hue (by 0.1) of training images too.
    #[arg(long)]
    jitter: bool,
    /// Threads that load.
    #[arg(long, default_value = "1", value_parser = some_threads())]
    workers: NonZeroUsize,
    /// Images of a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    global_batch: u16,
    /// Images that are timed at least, in whole passes over the data.
    #[arg(long, default_value_t = 2000)]
    images: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Copy, Clone, Debug, ValueEnum)]
enum View {
    Train,
    Val,
}

#[derive(Debug, Serialize)]
struct Figures {
    images_per_second: f64,
    images_per_second_per_worker: f64,
    /// Of all threads; other programs change it less than the time.
    cpu_ms_per_image: f64,
    peak_rss_mib: f64,
}

pub fn run(arguments: &LoaderArguments) -> anyhow::Result<()> {
    let (split, transform): (Split, Arc<dyn Transform>) = match arguments.transform {
        View::Train => {
            let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
            let plain = TrainingView::new(224, 0);
            (Split::Train, Arc::new(if arguments.jitter { TrainingView { jitter, ..plain } } else { plain }))
        }
        View::Val => (Split::Test, Arc::new(CentreView::IMAGENET)),
    };
    let source = open(DatasetKind::Images, &arguments.data, split)?;
    let num_images = source.len();
    ensure!(num_images > 0, "{} has no images", arguments.data.display());
    let global_batch = usize::from(arguments.global_batch).min(num_images);
    let sampler = Sampler::sequential(0..u32::try_from(num_images)?, global_batch, RankShare::WHOLE)?;
    let loader = Loader::new(source, sampler, transform, arguments.workers);
    let num_passes = arguments.images.div_ceil(num_images).max(1);
    load(&loader, 0, 1)?;
    let (start, cpu_start) = (Instant::now(), process_seconds());
    let num_loaded = load(&loader, 1, num_passes)?;
    let images_per_second = num_loaded as f64 / start.elapsed().as_secs_f64();
    let cpu_ms_per_image = 1e3 * (process_seconds() - cpu_start) / num_loaded as f64;
    let figures = Figures {
        images_per_second,
        images_per_second_per_worker: images_per_second / arguments.workers.get() as f64,
        cpu_ms_per_image,
        peak_rss_mib: peak_memory_mib()?,
    };
    if arguments.json {
        output::print(serde_json::to_string(&figures)?)?;
    } else {
        output::print(format_args!(
            "{num_loaded} images, {} workers\n  {images_per_second:.0} images/s, {:.0} for each worker\n  \
             {cpu_ms_per_image:.2} ms of a core for each\n  peak memory {:.0} MiB",
            arguments.workers, figures.images_per_second_per_worker, figures.peak_rss_mib
        ))?;
    }
    Ok(())
}

/// Loads every image so many times; returns how many that were.
fn load(loader: &Loader, epoch: u64, num_passes: usize) -> anyhow::Result<usize> {
    let mut num_loaded = 0;
    for batch in loader.batches(epoch, 0..num_passes * loader.num_steps())? {
        num_loaded += batch?.len();
    }
    Ok(num_loaded)
}
