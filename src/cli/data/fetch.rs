//! `pdarts data fetch`: the official archive, with a progress bar.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::logging::Logging;
use crate::cli::output::{self, check_folder};
use crate::data::DatasetKind;
use crate::data::fetch::{Archive, CIFAR_URL, Fetch, Fetched, Progress};

const EXAMPLES: &str = "\
Examples:
  pdarts data fetch cifar10
  pdarts data fetch cifar100 --dir ~/data

A download that broke goes on when it is called again. On a machine without internet, download
https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz (or cifar-100-binary.tar.gz) on another
and put the file into DIR: that is all that this command does.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FetchArguments {
    /// Which data set
    #[arg(value_name = "DATASET")]
    dataset: Downloadable,
    /// Folder for the archive, which is used as it is
    #[arg(long, value_name = "DIR", default_value = "data")]
    dir: PathBuf,
    /// Folder on a server that has the archive
    #[arg(long, value_name = "BASE", default_value = CIFAR_URL)]
    url: String,
}

#[derive(Copy, Clone, Debug, ValueEnum)]
enum Downloadable {
    Cifar10,
    Cifar100,
}

/// Before a broken connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);

pub fn run(arguments: &FetchArguments, logging: &Logging) -> anyhow::Result<()> {
    let dataset = match arguments.dataset {
        Downloadable::Cifar10 => DatasetKind::Cifar10,
        Downloadable::Cifar100 => DatasetKind::Cifar100,
    };
    let archive = Archive::of(dataset).ok_or_else(|| anyhow::anyhow!("{dataset} needs no download"))?;
    // A folder that is complete may be one that only others write.
    if !arguments.dir.join(archive.name).exists() {
        check_folder("--dir", &arguments.dir)?;
    }
    let bar = logging.bars().add(ProgressBar::no_length());
    bar.set_style(ProgressStyle::with_template(
        "{msg} {bar:30} {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    )?);
    bar.set_message(archive.name);
    let show = &mut |progress: Progress| {
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    };
    let fetched = Fetch { archive, base_url: &arguments.url, dir: &arguments.dir, pause: PAUSE }.run(show);
    bar.finish_and_clear();
    Ok(output::print(report(dataset, &fetched?, &arguments.dir))?)
}

fn report(dataset: DatasetKind, fetched: &Fetched, dir: &Path) -> String {
    let state = match fetched {
        Fetched::AlreadyThere(_) => "was there already",
        Fetched::Downloaded(_) => "downloaded",
    };
    let (path, dir) = (fetched.path().display(), dir.display());
    format!("{dataset}: {path} {state}, its checksum is right; use it with --data {dir}")
}
