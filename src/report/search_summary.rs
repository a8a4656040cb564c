//! `summary.json`: a search in a few figures, written last.

use serde::{Deserialize, Serialize};

use crate::config::RunSection;
use crate::genotype::Genotype;
use crate::run::GenotypeFile;
use crate::trainer::{CellRecord, Progress, SearchProgress, SearchResult, StageRecord, best_of};
use crate::world::World;

/// How a run ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// With a result.
    Complete,
    /// By a signal; it can be resumed.
    Stopped,
}

/// What a run took, whatever it computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// Of training and validation, over all starts of the run.
    pub seconds: f64,
    /// Images of all steps in a second of training; none before the first whole epoch.
    pub images_per_second: Option<f64>,
    /// Ranks of the last start.
    pub ranks: usize,
    /// What carried their sums: `none`, `mpi` or `nccl`.
    pub communicator: String,
    /// Steps that were left out because they were not finite.
    #[serde(default)]
    pub dropped_steps: u64,
    /// How often the run went back because a step was not finite.
    #[serde(default)]
    pub rewinds: usize,
}

impl Effort {
    /// Up to `progress`.
    pub(super) fn of<R>(progress: &Progress<R>, world: &World) -> Self {
        Self {
            images_per_second: progress.images_per_second(),
            dropped_steps: progress.dropped_steps,
            rewinds: progress.rewinds,
            ..Self::of_seconds(progress.seconds(), world)
        }
    }

    /// Of so many seconds, where nothing else is counted.
    fn of_seconds(seconds: f64, world: &World) -> Self {
        Self {
            seconds,
            images_per_second: None,
            ranks: world.size,
            communicator: world.communicator().name().to_owned(),
            dropped_steps: 0,
            rewinds: 0,
        }
    }
}

/// The content of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SearchSummary {
    /// How the run ended.
    pub status: Status,
    /// What it took.
    #[serde(flatten)]
    pub effort: Effort,
    /// Every complete stage.
    pub stages: Vec<StageRecord>,
    /// The cell; none unless complete.
    pub result: Option<FoundCell>,
    /// SHA-256 of the last supernet's weights and BatchNorm statistics, the same on all ranks.
    pub weights_hash: Option<String>,
    /// SHA-256 of the last alphas, the same on all ranks.
    pub alphas_hash: Option<String>,
    /// Different images that could not be read and were replaced by others since the last start.
    pub bad_images: usize,
    /// Of a search that trains single cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells: Option<EvaluatedCells>,
    /// Whether the GPU's numbers were compared with the CPU's before the last start; none of a run on CPUs.
    #[serde(default)]
    pub numerics_checked: Option<bool>,
}

/// The cells of a search that trains each for a short time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluatedCells {
    /// So far.
    pub evaluated: usize,
    /// In all.
    pub candidates: usize,
    /// Those of them whose training diverged.
    pub diverged: usize,
    /// Number of the best, from 1.
    pub best: Option<usize>,
    /// Its accuracy on the validation images, percent.
    pub best_valid_top1: Option<f64>,
}

/// The resulting cell and its size in the CIFAR-10 network (36 channels, 20 cells).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FoundCell {
    /// The cell.
    pub genotype: Genotype,
    /// Skip connections of the normal cell.
    pub skip_connects: usize,
    /// Parameters, without the auxiliary head.
    pub parameters: u64,
    /// Of convolutions and linear layers, for one image.
    pub multiply_adds: u64,
}

impl SearchSummary {
    /// Of a search with a result.
    pub fn complete(result: &SearchResult, genotypes: &GenotypeFile, run: &RunSection, world: &World) -> Self {
        Self {
            status: Status::Complete,
            result: FoundCell::of(genotypes),
            weights_hash: Some(result.hashes.weights.clone()),
            alphas_hash: Some(result.hashes.alphas.clone()),
            ..Self::stopped(&result.progress, result.bad_images, run, world)
        }
    }

    /// Of a search that a signal stopped.
    pub fn stopped(progress: &SearchProgress, bad_images: usize, run: &RunSection, world: &World) -> Self {
        Self {
            status: Status::Stopped,
            effort: Effort::of(progress, world),
            stages: progress.records.stages.clone(),
            result: None,
            weights_hash: None,
            alphas_hash: None,
            bad_images,
            numerics_checked: numerics_checked(run, world),
            cells: None,
        }
    }

    /// Of a search of single cells: of all that it was to evaluate if there is a result.
    pub fn of_cells(
        records: &[CellRecord],
        candidates: usize,
        result: Option<&GenotypeFile>,
        run: &RunSection,
        world: &World,
    ) -> Self {
        let best = best_of(records);
        let cells = EvaluatedCells {
            evaluated: records.len(),
            candidates,
            diverged: records.iter().filter(|record| record.evaluation.diverged.is_some()).count(),
            best: best.map(|record| record.number),
            best_valid_top1: best.and_then(CellRecord::valid_top1),
        };
        Self {
            status: if result.is_some() { Status::Complete } else { Status::Stopped },
            effort: Effort::of_seconds(records.iter().map(|record| record.evaluation.seconds).sum(), world),
            stages: Vec::new(),
            result: result.and_then(FoundCell::of),
            weights_hash: None,
            alphas_hash: None,
            bad_images: 0,
            cells: Some(cells),
            numerics_checked: numerics_checked(run, world),
        }
    }
}

impl FoundCell {
    fn of(genotypes: &GenotypeFile) -> Option<Self> {
        genotypes.result().map(|priced| Self {
            genotype: priced.variant.genotype.clone(),
            skip_connects: priced.variant.skip_connects,
            parameters: priced.costs.cifar10.parameters,
            multiply_adds: priced.costs.cifar10.multiply_adds,
        })
    }
}

/// Before the last start of a run; none on CPUs.
pub(super) fn numerics_checked(run: &RunSection, world: &World) -> Option<bool> {
    world.device.is_cuda().then_some(run.check_numerics)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::config::DeviceChoice;

    #[test]
    fn summary_says_whether_the_numbers_of_a_gpu_were_checked() {
        let mut world = World::single(DeviceChoice::Cpu, 1).unwrap();
        let told = |check_numerics, world: &World| {
            let run = RunSection { check_numerics, ..RunSection::default() };
            let summary = SearchSummary::of_cells(&[], 1, None, &run, world);
            serde_json::to_value(summary).unwrap()["numerics_checked"].clone()
        };
        assert!(told(true, &world).is_null() && told(false, &world).is_null());
        world.device = Device::Cuda(0);
        assert_eq!((told(true, &world), told(false, &world)), (true.into(), false.into()));
    }

    #[test]
    fn figures_of_the_effort_lie_among_the_others() {
        let world = World::single(DeviceChoice::Cpu, 1).unwrap();
        let summary = SearchSummary::of_cells(&[], 1, None, &RunSection::default(), &world);
        let text = serde_json::to_string(&summary).unwrap();
        let start = r#"{"status":"stopped","seconds":0.0,"images_per_second":null,"ranks":1,"communicator":"none","dropped_steps":0,"rewinds":0,"stages":[],"#;
        assert!(text.replace("-0.0", "0.0").starts_with(start), "{text}");
        assert_eq!(serde_json::from_str::<SearchSummary>(&text).unwrap().effort, summary.effort);
    }
}
