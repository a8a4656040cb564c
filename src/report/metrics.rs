//! A line of `metrics.jsonl`: recorders write it and pages read it by the types here.

use serde::{Deserialize, Serialize};

use crate::trainer::Incident;

/// A line of a run that goes through epochs. It is written of references and read into records.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Metric<S, E> {
    /// An interval of steps.
    Steps(S),
    /// A complete epoch.
    Epoch(E),
    /// `dropped` or `rewound`.
    #[serde(untagged)]
    Incident(Incident),
}

/// A line of a search that trains single cells.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum CellMetric<C> {
    /// An evaluated cell.
    Cell(C),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_str, json, to_string};

    use super::*;
    use crate::genotype::library;
    use crate::trainer::{CellRecord, SearchEpochRecord, SearchStepRecord, TrainEpochRecord, TrainStepRecord};

    type SearchMetric = Metric<SearchStepRecord, SearchEpochRecord>;
    type TrainMetric = Metric<TrainStepRecord, TrainEpochRecord>;

    fn incidents() -> [Value; 2] {
        [
            json!({"kind": "dropped", "step": 6, "what": "the training loss became NaN"}),
            json!({"kind": "rewound", "step": 6, "to_step": 4, "what": "the training loss became NaN"}),
        ]
    }

    /// Lines of a search through stages.
    fn of_search() -> Vec<Value> {
        let steps = json!({
            "kind": "steps", "stage": 1, "epoch": 2, "step": 7, "learning_rate": 0.1, "skip_dropout": 0.0,
            "train_loss": 3.1449930667877197, "train_top1": 12.5, "alpha_loss": null, "alpha_top1": null,
            "images_per_second": 9.5, "data_seconds": 0.00008822499999999999,
        });
        let epoch = json!({
            "kind": "epoch", "stage": 1, "epoch": 2, "step": 8, "learning_rate": 0.1, "skip_dropout": 0.0,
            "train_loss": 2.25, "train_top1": 10.5, "alpha_loss": 2.5, "alpha_top1": 12.0, "images_per_second": 9.5,
            "data_seconds": 0.5, "batch_digest": "0f", "alpha_batch_digest": "1f", "valid_loss": 2.0, "valid_top1": 12.5,
            "normal_entropy": 2.0, "reduction_entropy": 2.0, "penalty": 0.5, "eigenvalue": 1e-7, "goes_back_to": 1,
            "train_seconds": 1.0, "seconds": 1.5,
        });
        [vec![steps, epoch], incidents().to_vec()].concat()
    }

    fn of_training() -> Vec<Value> {
        let steps = json!({
            "kind": "steps", "epoch": 1, "step": 7, "learning_rate": 0.1, "drop_path": 0.0, "train_loss": 2.0,
            "train_top1": 10.0, "images_per_second": 9.0, "data_seconds": 0.5,
        });
        let scores = json!({"loss": 0.1, "top1": 97.0, "top5": 100.0, "samples": 8});
        let epoch = json!({
            "kind": "epoch", "epoch": 1, "step": 7, "learning_rate": 0.1, "drop_path": 0.0, "train_loss": 2.0,
            "train_top1": 10.0, "images_per_second": 9.0, "data_seconds": 0.5, "valid": scores, "valid_ema": scores,
            "test": scores, "test_ema": scores, "train_seconds": 1.0, "seconds": 1.5,
        });
        [vec![steps, epoch], incidents().to_vec()].concat()
    }

    fn of_cells() -> Vec<Value> {
        let genotype = library::find("PDARTS_C10").unwrap().genotype;
        vec![json!({
            "kind": "cell", "number": 3, "parent": 1, "same_as": 2, "skip_connects": 1, "parameters": 2_657_278,
            "multiply_adds": 422_743_680, "valid": {"loss": 2.3055760264396667, "top1": 9.375, "top5": 46.875, "samples": 32},
            "weights_hash": "7499", "seconds": 1.575174156, "genotype": genotype,
        })]
    }

    fn assert_kept<M: Serialize + for<'a> Deserialize<'a>>(lines: &[Value]) {
        for line in lines.iter().map(Value::to_string) {
            let metric: M = from_str(&line).unwrap();
            assert_eq!(to_string(&metric).unwrap(), line);
        }
    }

    #[test]
    fn lines_are_read_as_what_writes_them() {
        assert_kept::<SearchMetric>(&of_search());
        assert_kept::<TrainMetric>(&of_training());
        assert_kept::<CellMetric<CellRecord>>(&of_cells());
    }

    #[test]
    fn incidents_are_read_as_what_they_are() {
        let read = |line: &Value| from_str::<TrainMetric>(&line.to_string()).unwrap();
        let what = || "the training loss became NaN".to_owned();
        let expected =
            [Incident::Dropped { step: 6, what: what() }, Incident::Rewound { step: 6, to_step: 4, what: what() }];
        assert_eq!(incidents().map(|line| read(&line)), expected.map(Metric::Incident));
    }

    #[test]
    fn lines_of_another_kind_of_run_and_without_their_figures_are_refused() {
        for line in
            [&of_training()[..2], &of_cells(), &[json!({}), json!({"kind": "dropped"}), json!({"kind": "epoch"})]]
                .concat()
        {
            assert!(from_str::<SearchMetric>(&line.to_string()).is_err(), "{line}");
        }
        for line in of_search() {
            assert!(from_str::<CellMetric<CellRecord>>(&line.to_string()).is_err(), "{line}");
        }
    }
}
