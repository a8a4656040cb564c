//! `pdarts export`: weights as a safetensors file under the authors' names, for other programs.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use tch::{Device, Kind};

use super::CheckpointArguments;
use crate::cli::output::{self, OutputFile};
use crate::cli::run_weights::note_misfit_of_head;
use crate::weights::{COLOURS_KEY, IMAGES_KEY, NETWORK_KEY, to_safetensors};

const EXAMPLES: &str = "\
Examples:
  pdarts export --checkpoint runs/train --out cell.safetensors
  pdarts export --checkpoint weights.pt --genotype PDARTS_C10 --out cell.safetensors

In Python: model.load_state_dict(safetensors.torch.load_file('cell.safetensors')), where model is the authors'
NetworkCIFAR or NetworkImageNet. With a known cell the file also says of which cell and size its network is.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArguments {
    #[command(flatten)]
    weights: CheckpointArguments,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub fn run(arguments: &ExportArguments) -> anyhow::Result<()> {
    let file = OutputFile::check("--out", &arguments.out, &arguments.weights.inputs())?;
    let mut state = arguments.weights.read()?;
    // What Python's own writer says, and some readers want.
    let mut metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let knows_cell = state.metadata.contains_key(NETWORK_KEY) || arguments.weights.genotype.is_some();
    if knows_cell {
        let mut description = arguments.weights.describe(&state)?;
        let network = state.build(&description, Device::Cpu, Kind::Float);
        let network = network.map_err(|problem| arguments.weights.error(problem))?;
        note_misfit_of_head(&arguments.weights.file(), &state, &network, "it is left out");
        if state.misfit_of_head(&network).is_some() {
            state.drop_head();
            description.auxiliary_head = false;
        }
        metadata.insert(NETWORK_KEY.to_owned(), serde_json::to_string(&description)?);
    }
    if let Some(colours) = state.colours().map_err(|problem| arguments.weights.error(problem))? {
        metadata.insert(COLOURS_KEY.to_owned(), serde_json::to_string(&colours)?);
    }
    if let Some(images) = state.trained_on().map_err(|problem| arguments.weights.error(problem))? {
        metadata.insert(IMAGES_KEY.to_owned(), serde_json::to_string(&images)?);
    }
    let bytes = to_safetensors(&state.tensors, metadata).map_err(|problem| arguments.weights.error(problem))?;
    file.write(&bytes)?;
    let note = if knows_cell { "" } else { "; without --genotype it does not say of which cell it is" };
    let (count, path) = (state.tensors.len(), arguments.out.display());
    Ok(output::print(format_args!("{path}: {count} tensors, {} bytes{note}", bytes.len()))?)
}
