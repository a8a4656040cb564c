//! Ranks that are threads of this process: the process-wide sum looks up which rank its thread is.

use std::cell::RefCell;
use std::sync::{Arc, Barrier, Mutex, Once};
use std::thread;

use pdarts::torch::synchronise_batch_norm;
use tch::{Tensor, no_grad};

/// What the sum over ranks does on this thread.
#[derive(Clone, Default)]
pub enum Role {
    /// A single rank: nothing.
    #[default]
    Alone,
    /// One of several.
    Rank(usize, Arc<Group>),
    /// Fails with a message from the given call on.
    Failing(usize),
    /// Panics.
    Panicking,
}

/// Ranks that wait for each other.
pub struct Group {
    barrier: Barrier,
    values: Mutex<Vec<Option<Tensor>>>,
    num_calls: Mutex<usize>,
}

thread_local! {
    static ROLE: RefCell<Role> = const { RefCell::new(Role::Alone) };
}

/// From now on this thread's role; synchronises BatchNorm in this process.
pub fn play(role: Role) {
    static START: Once = Once::new();
    START.call_once(|| synchronise_batch_norm(Some(Arc::new(sum_over_ranks))));
    ROLE.set(role);
}

fn sum_over_ranks(tensor: &Tensor) -> Result<(), String> {
    match ROLE.with_borrow(Role::clone) {
        Role::Alone => Ok(()),
        Role::Rank(rank, group) => {
            group.sum(rank, tensor);
            Ok(())
        }
        Role::Failing(0) => Err("rank 1 is gone".into()),
        Role::Failing(calls) => {
            ROLE.set(Role::Failing(calls - 1));
            Ok(())
        }
        Role::Panicking => panic!("the sum panics, as the test wants it to"),
    }
}

impl Group {
    fn sum(&self, rank: usize, tensor: &Tensor) {
        self.values.lock().unwrap()[rank] = Some(tensor.copy());
        if self.barrier.wait().is_leader() {
            *self.num_calls.lock().unwrap() += 1;
        }
        no_grad(|| {
            let mut tensor = tensor.shallow_clone();
            let _ = tensor.zero_();
            for value in self.values.lock().unwrap().iter().flatten() {
                tensor += value;
            }
        });
        self.barrier.wait();
    }
}

/// Runs `body(rank)` on `size` ranks at once. Returns the results in the order of ranks, and how many sums were taken.
pub fn on_ranks<T: Send>(size: usize, body: impl Fn(usize) -> T + Sync) -> (Vec<T>, usize) {
    let group = Arc::new(Group {
        barrier: Barrier::new(size),
        values: Mutex::new((0..size).map(|_| None).collect()),
        num_calls: Mutex::new(0),
    });
    let results = thread::scope(|scope| {
        let ranks: Vec<_> = (0..size)
            .map(|rank| {
                let (group, body) = (Arc::clone(&group), &body);
                scope.spawn(move || {
                    play(Role::Rank(rank, group));
                    body(rank)
                })
            })
            .collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    let num_calls = *group.num_calls.lock().unwrap();
    (results, num_calls)
}

/// Rank `rank`'s equal share of a batch.
pub fn share(batch: &Tensor, rank: usize, size: usize) -> Tensor {
    let images = batch.size()[0] / size as i64;
    batch.narrow(0, rank as i64 * images, images)
}
