//! `pdarts data pack`: shards of a data set, made by all ranks together.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;

use crate::cli::error::{UsageError, printable};
use crate::cli::logging::Logging;
use crate::cli::numbers::threads;
use crate::cli::output;
use crate::cli::ranks::{agree, join};
use crate::data::shards::Manifest;
use crate::data::shards::pack::{Pack, PackOptions, Packed};
use crate::data::{DataError, RankShare};

const EXAMPLES: &str = "\
Examples:
  pdarts data pack --from ~/imagenet --to /scratch/imagenet
  pdarts data pack --from ~/imagenet --to /scratch/imagenet --max-side 500 --quality 90
  pdarts data pack --from ~/archives --to /scratch/imagenet --skip-bad 3

DIR of --from has train/ and val/ with a folder for each class, or a flat val/ with a file of labels, or Kaggle's tree, or
ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, or the shards of others. Every image is decoded once; one that is
unreadable or cut short is listed. A call that was killed goes on when it is repeated; under mpirun ranks share the work.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PackArguments {
    /// Folder with the images
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Folder for the shards
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Make larger images smaller, so that their longer side has this many pixels; the others are copied as they are
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=65535))]
    max_side: Option<u32>,
    /// JPEG quality of images that are made smaller
    #[arg(long, value_name = "QUALITY", default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Leave out up to so many images that cannot be read
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip_bad: usize,
    /// MiB of a shard, by the sizes of the images before they are made smaller
    #[arg(long, value_name = "MIB", default_value_t = 256.0, value_parser = shard_mib)]
    shard_mib: f64,
    /// CPU threads of a rank; 0 = its share of the cores that it may use
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads())]
    threads: usize,
}

const MIB: f64 = 1_048_576.0;

fn shard_mib(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=65536.0).contains(&number) { Ok(number) } else { Err("not within 0.01 to 65536".to_owned()) }
}

pub fn run(arguments: &PackArguments, logging: &Logging) -> anyhow::Result<()> {
    let ranks = join()?;
    if !ranks.is_root() {
        logging.quieten();
    }
    let options = PackOptions {
        max_side: arguments.max_side,
        quality: arguments.quality,
        skip_bad: arguments.skip_bad,
        shard_bytes: (arguments.shard_mib * MIB) as u64,
    };
    let pack = Pack::open(&arguments.from, &arguments.to, options).map_err(|error| UsageError::new(error).into());
    let pack = agree(&ranks, pack)?;
    if ranks.is_root() {
        pack.notes().for_each(|note| tracing::warn!("{note}"));
    }
    if let Some(manifest) = agree(&ranks, pack.complete().map_err(|error| UsageError::new(error).into()))? {
        return if ranks.is_root() {
            Ok(output::print(report(arguments, &manifest, "was complete already"))?)
        } else {
            Ok(())
        };
    }
    let lock = if ranks.is_root() { pack.begin().map(Some) } else { Ok(None) };
    let refused = |error| match error {
        error @ DataError::Images { .. } => UsageError::new(error).into(),
        // Nothing is complete yet.
        DataError::Write { path, source } => {
            UsageError::new(anyhow!("cannot write {} ({source}): name another folder with --to", path.display())).into()
        }
        error => anyhow::Error::from(error),
    };
    let _lock = agree(&ranks, lock.map_err(refused))?;
    let share = RankShare { rank: ranks.rank, size: ranks.size };
    let bar = super::progress_bar(logging, pack.num_images().div_ceil(ranks.size))?;
    let threads = super::num_threads(arguments.threads, &ranks)?;
    let written = pack.write(share, threads, &mut |images| bar.inc(images as u64));
    bar.finish_and_clear();
    agree(&ranks, written.map_err(anyhow::Error::from))?;
    let packed = if ranks.is_root() { pack.finish().map(Some) } else { Ok(None) };
    let packed = packed.map_err(anyhow::Error::from).and_then(|packed| match packed {
        None => Ok(()),
        Some(Packed::Complete(manifest)) => Ok(output::print(report(arguments, &manifest, "is complete"))?),
        Some(Packed::TooManyBad(bad)) => {
            let lines: Vec<String> =
                bad.iter().map(|image| printable(&format!("{}: {}", image.image, image.reason))).collect();
            output::print(lines.join("\n"))?;
            Err(too_many_bad(bad.len(), arguments))
        }
    });
    agree(&ranks, packed)
}

fn too_many_bad(number: usize, arguments: &PackArguments) -> anyhow::Error {
    let (images, allowed) = (if number == 1 { "image" } else { "images" }, arguments.skip_bad);
    anyhow!(
        "{number} {images} cannot be used and {allowed} may be left out: repair or remove them, or call again with \
         --skip-bad {number}, which keeps the shards that are there"
    )
}

fn report(arguments: &PackArguments, manifest: &Manifest, state: &str) -> String {
    let mut lines = Vec::new();
    for part in &manifest.parts {
        let bytes: u64 = part.shards.iter().map(|shard| shard.bytes).sum();
        let mut line = format!(
            "{}: {} images of {} classes in {} shards, {} MiB",
            part.name,
            part.images,
            manifest.class_names.len(),
            part.shards.len(),
            bytes.div_ceil(1 << 20)
        );
        if !part.left_out.is_empty() {
            line += &format!(", {} bad images left out", part.left_out.len());
        }
        lines.push(line);
    }
    lines.push(format!("{} {state}", arguments.to.display()));
    lines.join("\n")
}
