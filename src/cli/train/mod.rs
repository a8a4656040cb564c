//! `pdarts train`: from a cell and a configuration to a run directory with a trained network and its accuracy.
//!
//! - `single`: one training
//! - `seeds`: several that differ in their seeds
//! - `text`: what a person reads at the end

mod seeds;
mod single;
mod text;

use std::path::PathBuf;

use clap::Args;

pub(super) use self::single::{Outcome, Start, Task};
use super::logging::Logging;
use super::ranks::agree;
use super::run_arguments::RunArguments;
use super::run_weights::weights_file;
use crate::config::TrainConfig;
use crate::run::SeedsFile;
use crate::trainer::StopSignal;
use crate::world::{Label, Ranks};

const EXAMPLES: &str = "\
Examples:
  pdarts train --config configs/train-quickstart.toml --genotype PDARTS_C10
  pdarts train --config configs/train-cifar10.toml --genotype runs/my-search --data DIR --seeds 0,1,2,3
  pdarts train --resume runs/my-training
  pdarts train --from runs/my-training --config configs/train-cifar10.toml --set train.epochs=100";

/// Train a network of a cell from fresh weights, then score it on the test set, once
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TrainArguments {
    #[command(flatten)]
    run: RunArguments,
    /// The cell: a search's run or genotype.json (its result), another file, the text Genotype(...), or a published
    /// cell as listed by `pdarts genotype list`
    #[arg(long, value_name = "GENOTYPE", required_unless_present_any = ["resume", "from"], conflicts_with = "resume")]
    genotype: Option<String>,
    /// Begin with the weights of this run (or in this file) instead of fresh ones: a training that has ended goes on
    /// under a new schedule, that of --config; the cell is its own, or that of --genotype, which must then fit
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Train once with each of these seeds, in folders of the run directory; the summary has mean and deviation
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', conflicts_with = "resume")]
    seeds: Vec<u64>,
    /// Score the test set after every epoch too, for curves; the summary says so
    #[arg(long)]
    test_every_epoch: bool,
}

impl TrainArguments {
    /// The file of weights that `--from` names.
    fn initial(&self) -> Option<PathBuf> {
        let from = self.from.as_ref()?;
        Some(if from.is_dir() { weights_file(from, false) } else { from.clone() })
    }

    /// The configuration with what has an option of its own.
    fn apply(&self, mut config: TrainConfig) -> TrainConfig {
        self.run.apply_data(config.data.dataset, &mut config.data.dir);
        config.train.test_every_epoch |= self.test_every_epoch;
        config
    }
}

/// Returns the signal that stopped it.
pub fn run(arguments: &TrainArguments, logging: &Logging) -> anyhow::Result<Option<i32>> {
    let stop = arguments.run.listen()?;
    let ranks = arguments.run.join_ranks(logging)?;
    let continues_seeds = arguments.run.resume.as_deref().is_some_and(SeedsFile::is_in);
    // Ranks that see other folders than rank 0 are told so where they read it.
    let continues_seeds = ranks.gather(&continues_seeds, Label::new("kind of the folder"))?.swap_remove(0);
    let call = Call { arguments, logging, stop, ranks };
    if arguments.run.dry_run {
        rehearse(&call)?;
        return Ok(None);
    }
    let signal = match arguments.seeds.is_empty() && !continues_seeds {
        true => single::run(&call)?,
        false => seeds::run(&call)?,
    };
    arguments.run.write_trace(&call.ranks)?;
    Ok(signal)
}

/// Tells what the call would take.
fn rehearse(call: &Call) -> anyhow::Result<()> {
    let Call { arguments, ranks, .. } = call;
    let stated = || -> anyhow::Result<_> {
        if arguments.seeds.is_empty() {
            let config = arguments.apply(arguments.run.load_config()?);
            return Ok((config, single::read_cell(call)?, arguments.initial()));
        }
        let SeedsFile { config, cell, initial, .. } = seeds::stated(call)?;
        Ok((config, cell, initial))
    };
    let (config, cell, initial) = agree(ranks, stated())?;
    single::Prepared::new(config, cell, initial, ranks)?.rehearse(call)
}

/// What all trainings of one call share.
struct Call<'a> {
    arguments: &'a TrainArguments,
    logging: &'a Logging,
    stop: StopSignal,
    ranks: Ranks,
}
