//! Sums, means, maxima and broadcasts of all types, and the calls behind them.

use pdarts::world::{CommunicatorError, Label, ReduceOp};
use tch::{Device, Kind, Tensor};

use crate::double::{as_rank, meet, world};

const KINDS: [Kind; 4] = [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Int64];
const OPS: [ReduceOp; 3] = [ReduceOp::Sum, ReduceOp::Average, ReduceOp::Max];
/// Of one value, of a part of what the double moves at once, and of several such parts.
const LENGTHS: [i64; 3] = [1, 1000, 100_003];
const LABEL: Label = Label::new("test");

/// Small integers, so that sums are exact in every type; other ones on every rank.
fn values_of(rank: usize, length: i64, kind: Kind) -> Tensor {
    let index = Tensor::arange(length, (Kind::Int64, Device::Cpu));
    ((index + 3 * rank as i64).remainder(7) * (6 * (rank as i64 + 1))).to_kind(kind)
}

fn expected(size: usize, length: i64, kind: Kind, op: ReduceOp) -> Tensor {
    let all: Vec<Tensor> = (0..size).map(|rank| values_of(rank, length, Kind::Int64)).collect();
    let all = Tensor::stack(&all, 0);
    let sum = all.sum_dim_intlist([0i64].as_slice(), false, Kind::Int64);
    match op {
        ReduceOp::Sum => sum.to_kind(kind),
        ReduceOp::Average if kind == Kind::Int64 => sum.divide_scalar_mode(size as i64, "trunc"),
        ReduceOp::Average => (sum.to_kind(Kind::Double) / size as f64).to_kind(kind),
        ReduceOp::Max => all.amax([0i64].as_slice(), false).to_kind(kind),
    }
}

#[test]
fn rank_of_all_types() {
    as_rank("collectives::rank_of_all_types", |ranks| {
        let world = world(ranks, &[])?;
        let (rank, size) = (world.rank, world.size);
        let communicator = world.communicator();
        assert_eq!(communicator.name(), "nccl");
        for kind in KINDS {
            for length in LENGTHS {
                for op in OPS {
                    let tensor = values_of(rank, length, kind);
                    communicator.all_reduce(&tensor, op, LABEL)?.wait()?;
                    assert_eq!(tensor, expected(size, length, kind, op), "{kind:?} {length} {op:?}");
                }
                let tensor = values_of(rank, length, kind);
                communicator.broadcast(&tensor, size - 1, LABEL)?.wait()?;
                assert_eq!(tensor, values_of(size - 1, length, kind));
            }
        }
        // A slice of a larger buffer, as a bucket of gradients is.
        let buffer = Tensor::ones([10], (Kind::Float, Device::Cpu));
        communicator.all_reduce(&buffer.narrow(0, 3, 4), ReduceOp::Sum, LABEL)?.wait()?;
        assert_eq!(buffer.sum(Kind::Float).double_value(&[]), 6.0 + 4.0 * size as f64);
        communicator.settle()?;
        Ok(())
    });
}

#[test]
fn all_ranks_make_the_same_calls_and_get_the_right_values() {
    for num_ranks in [2, 3] {
        let meeting = meet("collectives::rank_of_all_types", num_ranks, None);
        meeting.assert_success();
        assert_eq!(meeting.told(), [""; 0]);
        let mut calls = meeting.calls();
        assert_eq!(calls.len(), num_ranks);
        let ids = calls.iter().flatten().filter(|call| *call == "ncclGetUniqueId").count();
        assert_eq!(ids, 1, "rank 0 alone makes an id");
        let mut joined: Vec<String> = Vec::new();
        for calls in &mut calls {
            calls.retain(|call| call != "ncclGetUniqueId");
            joined.push(calls.remove(0));
            assert_eq!(calls.split_off(calls.len() - 2), ["ncclCommFinalize", "ncclCommDestroy"]);
        }
        joined.sort();
        let expected: Vec<_> =
            (0..num_ranks).map(|rank| format!("ncclCommInitRankConfig rank {rank} of {num_ranks}")).collect();
        assert_eq!(joined, expected);
        assert!(calls.iter().all(|others| *others == calls[0]));
        assert_eq!(calls[0].len(), KINDS.len() * LENGTHS.len() * (OPS.len() + 1) + 1);
        // Types and operations by NCCL's numbers: float32, sum; then the mean, the maximum, and bytes of the last rank.
        let root = num_ranks - 1;
        assert_eq!(
            calls[0][..4],
            [
                "ncclAllReduce count 1 type 7 op 0".to_owned(),
                "ncclAllReduce count 1 type 7 op 4".to_owned(),
                "ncclAllReduce count 1 type 7 op 2".to_owned(),
                format!("ncclBroadcast count 4 type 1 root {root}"),
            ]
        );
    }
}

#[test]
fn rank_of_what_cannot_be_sent() {
    as_rank("collectives::rank_of_what_cannot_be_sent", |ranks| {
        let world = world(ranks, &[])?;
        let refused = |tensor: &Tensor| world.communicator().all_reduce(tensor, ReduceOp::Sum, LABEL).err().unwrap();
        let half = Tensor::ones([2], (Kind::Half, Device::Cpu));
        assert!(matches!(refused(&half), CommunicatorError::Kind { library: "NCCL", kind: Kind::Half, .. }));
        let transposed = Tensor::ones([2, 3], (Kind::Float, Device::Cpu)).transpose(0, 1);
        assert!(matches!(refused(&transposed), CommunicatorError::Tensor { .. }));
        // Neither has reached the others.
        world
            .communicator()
            .all_reduce(&Tensor::ones([1], (Kind::Float, Device::Cpu)), ReduceOp::Sum, LABEL)?
            .wait()?;
        Ok(())
    });
}

#[test]
fn what_cannot_be_sent_is_refused_on_each_rank() {
    let meeting = meet("collectives::rank_of_what_cannot_be_sent", 2, None);
    meeting.assert_success();
    assert_eq!(meeting.told(), [""; 0]);
}
