//! Ranks that cannot join, that fail under way, and that do not come.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use pdarts::world::{Label, Pending, ReduceOp, World};
use tch::{Device, Kind, Tensor};

use crate::double::{as_rank, fault, meet, wait_for_call, world};

pub fn all_reduce(world: &World) -> Result<(), Box<dyn Error>> {
    let tensor = Tensor::ones([4], (Kind::Float, Device::Cpu));
    let label = Label::indexed("all-reduce of gradient bucket", 2);
    Ok(world.communicator().all_reduce(&tensor, ReduceOp::Sum, label).and_then(Pending::wait)?)
}

/// Joins the others, then sums until something fails.
#[test]
fn rank_that_sums() {
    as_rank("failures::rank_that_sums", |ranks| {
        // The others find each other, however long that takes on a busy machine.
        let patience = if fault() == "init-hangs" { 1 } else { 60 };
        let world = world(ranks, &[&format!("parallel.nccl_timeout_seconds={patience}")])?;
        for _ in 0..2 {
            all_reduce(&world)?;
        }
        // A failure that nobody is asking about is noticed meanwhile.
        if fault().starts_with("broken-after") {
            wait_for_call("ncclCommAbort");
        }
        let error = all_reduce(&world).err().ok_or("no failure")?;
        let again = all_reduce(&world).err().ok_or("no failure the second time")?;
        assert_eq!(error.to_string(), again.to_string());
        // Nothing is kept that may come from it.
        let settled = world.communicator().settle().err().ok_or("no failure at the end")?.to_string();
        let reason = error.to_string().split_once(": ").map(|(_, reason)| reason.to_owned());
        assert_eq!(settled.split_once(": ").map(|(_, reason)| reason.to_owned()), reason);
        Err(error)
    });
}

/// What each of two ranks says when the library fails so.
fn told_of(fault: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let meeting = meet("failures::rank_that_sums", 2, Some(fault));
    meeting.assert_success();
    let told = meeting.told();
    assert_eq!(told.len(), 2, "{fault}: {told:?} {}", meeting.stderr);
    assert!(told.iter().all(|line| line.lines().count() == 1), "{told:?}");
    (told, meeting.calls())
}

#[test]
fn failures_to_join_name_the_call_and_the_reason() {
    let (told, _) = told_of("no-id");
    let reason = "parallel.communicator = \"nccl\" cannot be used: ncclGetUniqueId: unhandled system error";
    assert_eq!(told, [format!("{reason} (injected: no id)"), format!("{reason} (injected: no id)")]);
    let (told, calls) = told_of("init-fails");
    for line in &told {
        assert!(line.starts_with("parallel.communicator = \"nccl\" cannot be used: "), "{line}");
        assert!(line.contains("ncclCommInitRankConfig: unhandled system error (injected: init fails)"), "{line}");
    }
    assert!(calls.iter().flatten().all(|call| call != "ncclCommAbort"), "{calls:?}");
}

#[test]
fn join_that_never_ends_is_aborted_at_its_deadline() {
    let start = Instant::now();
    let (told, calls) = told_of("init-hangs");
    assert!(start.elapsed() < Duration::from_secs(90));
    for line in &told {
        assert!(line.contains("have not found each other within 1 s (parallel.nccl_timeout_seconds)"), "{line}");
    }
    assert!(calls.iter().all(|calls| calls.last().unwrap() == "ncclCommAbort"), "{calls:?}");
}

#[test]
fn failed_operation_names_what_it_was_for_and_aborts() {
    let (told, calls) = told_of("error-after=2");
    let expected = "ncclAllReduce failed in the all-reduce of gradient bucket 2: remote process exited or there was a \
                    network error (injected: connection closed by remote peer)";
    assert_eq!(told, [expected; 2]);
    let sums = |calls: &Vec<String>| calls.iter().filter(|call| call.starts_with("ncclAllReduce")).count();
    for calls in &calls {
        assert_eq!((sums(calls), calls.last().unwrap().as_str()), (3, "ncclCommAbort"), "{calls:?}");
    }
}

#[test]
fn failure_between_operations_is_noticed_and_nothing_is_begun_after_it() {
    let (told, calls) = told_of("broken-after=2");
    for line in &told {
        assert!(line.contains("gradient bucket 2") && line.contains("injected: network failure"), "{line}");
    }
    let sums = |calls: &Vec<String>| calls.iter().filter(|call| call.starts_with("ncclAllReduce")).count();
    for calls in &calls {
        assert_eq!((sums(calls), calls.last().unwrap().as_str()), (2, "ncclCommAbort"), "{calls:?}");
    }
}

/// Rank 1 comes too late.
#[test]
fn rank_that_waits() {
    as_rank("failures::rank_that_waits", |ranks| {
        let limits = ["parallel.stall_warning_seconds=1", "parallel.stall_abort_seconds=1"];
        let world = world(ranks, &limits)?;
        if world.rank == 1 {
            thread::sleep(Duration::from_secs(3));
            return Ok(());
        }
        all_reduce(&world)
    });
}

#[test]
fn operation_to_which_a_rank_does_not_come_ends_at_its_deadline() {
    let meeting = meet("failures::rank_that_waits", 2, None);
    let told = meeting.told();
    assert!(told[0].contains("gradient bucket 2: not complete after 1 s (parallel.stall_abort_seconds)"), "{told:?}");
}
