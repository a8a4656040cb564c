//! The figures of a search, from its records: each a file name and its SVG.

use super::{panel, series};
use crate::config::SearchConfig;
use crate::figures::{
    CellEdge, CellGraph, Curves, EdgeProbabilities, Stage, StageProbabilities, cell_svg, curves_svg, probabilities_svg,
};
use crate::genotype::{Alphas, CellKind, Edge, Genotype, NUM_INPUTS, NUM_NODES, Operation, Switches, edges, softmax};
use crate::run::AlphasFile;
use crate::trainer::SearchEpochRecord;

/// Both cells of the result.
pub fn genotype_figures(genotype: &Genotype) -> Vec<(String, String)> {
    let figure = |kind: CellKind| {
        let title = format!("Result: {kind} cell");
        (format!("result-{kind}.svg"), cell_svg(&CellGraph::of_genotype(title, genotype, kind)))
    };
    CellKind::ALL.map(figure).to_vec()
}

/// Of stage `stage` (from 1): for both cells, the strongest operation of each edge and the course of all operations'
/// probabilities, of which `history` holds a record of each epoch that is known.
pub fn stage_figures(
    stage: usize,
    frozen_epochs: usize,
    switches: &Switches,
    alphas: &Alphas,
    history: &[AlphasFile],
) -> Vec<(String, String)> {
    CellKind::ALL
        .into_iter()
        .flat_map(|kind| {
            let strongest = strongest_operations(format!("Stage {stage}: {kind} cell"), kind, switches, alphas);
            let course = StageProbabilities {
                title: format!("Stage {stage}: operations of the {kind} cell"),
                edges: edges().map(|edge| edge_probabilities(edge, kind, switches, history)).collect(),
                frozen_epochs,
            };
            [
                (format!("stage{stage}-{kind}.svg"), cell_svg(&strongest)),
                (format!("stage{stage}-{kind}-probabilities.svg"), probabilities_svg(&course)),
            ]
        })
        .collect()
}

/// Accuracy, loss and schedules over the epochs that are recorded.
pub fn search_curves(config: &SearchConfig, epochs: &[SearchEpochRecord]) -> String {
    let num_epochs = config.search.epochs;
    let place = |record: &SearchEpochRecord| (record.stage - 1) * num_epochs + record.epoch - 1;
    let series = |name: &str, value: fn(&SearchEpochRecord) -> Option<f64>| series(name, epochs, place, value);
    let stages = 1..=config.search.stages.len();
    curves_svg(&Curves {
        title: format!("Search on {}", config.data.dataset),
        stages: stages.map(|number| Stage { name: format!("stage {number}"), num_epochs }).collect(),
        panels: vec![
            panel(
                "top-1, %",
                false,
                vec![
                    series("weight steps", |epoch| Some(epoch.train_top1)),
                    series("alpha steps", |epoch| epoch.alpha_top1),
                    series("validation", |epoch| epoch.valid_top1),
                ],
            ),
            panel(
                "loss",
                false,
                vec![
                    series("weight steps", |epoch| Some(epoch.train_loss)),
                    series("alpha steps", |epoch| epoch.alpha_loss),
                    series("validation", |epoch| epoch.valid_loss),
                ],
            ),
            panel("skip dropout", true, vec![series("skip dropout", |epoch| Some(epoch.skip_dropout))]),
            panel("learning rate", true, vec![series("learning rate", |epoch| Some(epoch.learning_rate))]),
        ],
    })
}

/// The most probable operation of each edge, `none` apart.
fn strongest_operations(title: String, kind: CellKind, switches: &Switches, alphas: &Alphas) -> CellGraph {
    let strongest = |edge: Edge| {
        let operations = switches.cell(kind).live(edge.index).iter().zip(softmax(&alphas.cell(kind)[edge.index]));
        let best = operations.filter(|(op, _)| **op != Operation::None).max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let (operation, probability) = (best.0.to_string(), Some(best.1));
        Some(CellEdge { source: edge.source, node: edge.node, operation, probability })
    };
    let concat = (NUM_INPUTS..NUM_INPUTS + NUM_NODES).collect();
    CellGraph { title, edges: edges().filter_map(strongest).collect(), concat }
}

fn edge_probabilities(edge: Edge, kind: CellKind, switches: &Switches, history: &[AlphasFile]) -> EdgeProbabilities {
    let last = history.iter().map(|file| file.epoch).max().unwrap_or(0);
    let mut epochs = vec![Vec::new(); last];
    for file in history {
        epochs[file.epoch - 1] = softmax(&file.alphas.cell(kind)[edge.index]);
    }
    EdgeProbabilities {
        source: edge.source,
        node: edge.node,
        operations: switches.cell(kind).live(edge.index).iter().map(ToString::to_string).collect(),
        epochs,
    }
}
