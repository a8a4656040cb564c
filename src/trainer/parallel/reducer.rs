//! Averages gradients over ranks while the backward pass still computes them.
//!
//! The flat gradient is cut into buckets, ranges in the reverse order of use, which is about the order in which backward
//! completes them. Hooks count down a bucket's parameters; a complete bucket is summed up and handed to the communicator as
//! soon as all buckets before it are, so that every rank sends in one order. The first bucket is small, so that communication
//! begins early. Source: PyTorch Distributed (arXiv:2006.15704), section 3.2.
//!
//! A pass that a GPU replays calls no hooks. While it is recorded they cut it where buckets are complete, and those are sent when
//! the part before is under way.

use std::mem;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Kind, Tensor, no_grad};

use crate::config::{Compression, ParallelSection};
use crate::optim::{FlatGradients, FlatParameters};
use crate::torch::GradientHooks;
use crate::trainer::TrainError;
use crate::trainer::replay::CutBehind;
use crate::world::{Communicator, Label, Pending, ReduceOp};

const MIB: f64 = 1024.0 * 1024.0;

/// Sizes of buckets, and what travels.
#[derive(Copy, Clone, Debug)]
pub struct ReducerOptions {
    /// Of the first bucket.
    pub first_bucket_bytes: usize,
    /// Of the others.
    pub bucket_bytes: usize,
    /// What travels.
    pub compression: Compression,
}

impl From<&ParallelSection> for ReducerOptions {
    fn from(config: &ParallelSection) -> Self {
        let [first_bucket_bytes, bucket_bytes] =
            [config.first_bucket_mib, config.bucket_mib].map(|mib| (mib * MIB) as usize);
        Self { first_bucket_bytes, bucket_bytes, compression: config.compression }
    }
}

/// Averages the gradients of one group of flat parameters.
pub struct Reducer {
    shared: Arc<Shared>,
    /// Released before what they point to.
    _hooks: GradientHooks,
}

struct Shared {
    buckets: Vec<Bucket>,
    /// Of each parameter.
    bucket_of: Vec<usize>,
    communicator: Arc<dyn Communicator>,
    compression: Compression,
    round: Mutex<Round>,
}

/// A range of the flat gradient that is sent at once.
struct Bucket {
    range: Range<i64>,
    /// Whose gradients it holds, by their places in the buffer's order.
    parameters: Range<usize>,
}

/// The sending of one step's gradients.
struct Round {
    gradients: FlatGradients,
    /// Parameters of each bucket whose gradients are not complete.
    missing: Vec<usize>,
    /// What hooks do in the backward pass under way.
    hooks: Hooks,
    /// Buckets that were handed over; those in flight, or why one could not be.
    sent: Vec<Result<InFlight, TrainError>>,
}

/// What hooks do.
enum Hooks {
    /// Nothing: it is not the last pass before the step.
    Rest,
    /// They send what is complete.
    Send,
    /// They cut the recording where buckets are complete.
    Cut {
        cut: CutBehind,
        /// Buckets that are complete by now.
        complete: usize,
        /// Why it could not be cut.
        failure: Option<TrainError>,
    },
}

struct InFlight {
    pending: Pending,
    /// What travels in place of the gradients.
    compressed: Option<Tensor>,
}

impl Reducer {
    /// Hooks into the backward pass of `parameters`.
    ///
    /// # Errors
    /// When libtorch refuses a hook.
    pub fn new(
        parameters: &FlatParameters,
        communicator: Arc<dyn Communicator>,
        options: ReducerOptions,
    ) -> Result<Self, TrainError> {
        let gradients = parameters.flat_gradients().shallow_clone();
        let element_bytes = gradients.buffer().kind().elt_size_in_bytes();
        let ranges: Vec<Range<i64>> = parameters.ranges().collect();
        let buckets = plan_buckets(&ranges, element_bytes, options);
        let mut bucket_of = vec![0; ranges.len()];
        for (index, bucket) in buckets.iter().enumerate() {
            bucket_of[bucket.parameters.clone()].fill(index);
        }
        let shared = Arc::new(Shared {
            buckets,
            bucket_of,
            communicator,
            compression: options.compression,
            round: Mutex::new(Round { gradients, missing: Vec::new(), hooks: Hooks::Rest, sent: Vec::new() }),
        });
        let hooks = {
            let shared = Arc::clone(&shared);
            GradientHooks::new(&parameters.tensors(), move |parameter| shared.ready(parameter))?
        };
        Ok(Self { shared, _hooks: hooks })
    }

    /// Says that the next backward pass is the last before the step: what it completes is sent.
    pub fn arm(&self) {
        self.shared.hook_in(Hooks::Send);
    }

    /// Says that the next backward pass is recorded, and that it is the last before the step: where it completes buckets, it is
    /// cut behind so many of them. When a replay has come there, [`send_up_to`](Self::send_up_to) sends them.
    pub(super) fn arm_recording(&self, cut: CutBehind) {
        self.shared.hook_in(Hooks::Cut { cut, complete: 0, failure: None });
    }

    /// Ends what [`arm_recording`](Self::arm_recording) began.
    ///
    /// # Errors
    /// When the pass could not be cut.
    pub(super) fn end_recording(&self) -> Result<(), TrainError> {
        match mem::replace(&mut self.shared.round().hooks, Hooks::Rest) {
            Hooks::Cut { failure: Some(failure), .. } => Err(failure),
            _ => Ok(()),
        }
    }

    /// Sends the first so many buckets, as far as they are not under way.
    pub(super) fn send_up_to(&self, end: usize) {
        self.shared.send_up_to(&mut self.shared.round(), end);
    }

    /// Sends what backward left out (parameters that the loss does not depend on), waits for all buckets and leaves
    /// the averages in the flat gradient.
    ///
    /// # Errors
    /// When communication failed. Nothing is under way then.
    pub fn finish(&self) -> Result<(), TrainError> {
        let mut round = self.shared.round();
        self.shared.send_up_to(&mut round, self.shared.buckets.len());
        round.wait(&self.shared.buckets)
    }

    /// Waits for what is under way of a round whose backward pass failed, so that the gradients can be used again.
    ///
    /// The other ranks come to what this one has sent, unless they fail too: then the one that has sent least waits for
    /// none, and ends the run.
    pub fn give_up(&self) {
        // The step has failed already.
        let _ = self.shared.round().wait(&self.shared.buckets);
    }
}

impl Shared {
    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hook_in(&self, hooks: Hooks) {
        let mut round = self.round();
        round.missing = self.buckets.iter().map(|bucket| bucket.parameters.len()).collect();
        round.hooks = hooks;
    }

    /// Called by autograd when the gradient of a parameter is complete, at the parameter.
    fn ready(&self, parameter: usize) -> ControlFlow<()> {
        let mut round = self.round();
        if matches!(round.hooks, Hooks::Rest) {
            return ControlFlow::Continue(());
        }
        let missing = &mut round.missing[self.bucket_of[parameter]];
        *missing = missing.saturating_sub(1);
        if *missing > 0 {
            return ControlFlow::Continue(());
        }
        let first_incomplete = round.missing.iter().position(|&missing| missing > 0);
        let end = first_incomplete.unwrap_or(self.buckets.len());
        if matches!(round.hooks, Hooks::Send) {
            self.send_up_to(&mut round, end);
            return ControlFlow::Continue(());
        }
        self.cut_behind(&mut round, end)
    }

    /// Cuts what is recorded when the first so many buckets are complete. What follows on a cut that failed would be computed at
    /// once, on what was recorded only: the pass must end.
    fn cut_behind(&self, round: &mut Round, end: usize) -> ControlFlow<()> {
        let Round { hooks: Hooks::Cut { cut, complete, failure }, gradients, .. } = round else {
            return ControlFlow::Continue(());
        };
        if end == *complete {
            return ControlFlow::Continue(());
        }
        let parameters = |bucket: usize| self.buckets[bucket].parameters.clone();
        let mut buckets = *complete..end;
        *complete = end;
        let added = buckets.try_for_each(|bucket| gradients.accumulate(parameters(bucket)));
        match added.map_err(TrainError::from).and_then(|()| cut(end)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                *failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Sends nothing after a bucket that could not be sent: the other ranks would take it for that one.
    fn send_up_to(&self, round: &mut Round, end: usize) {
        while round.sent.len() < end && !matches!(round.sent.last(), Some(Err(_))) {
            let index = round.sent.len();
            let sent = self.send(round, index);
            round.sent.push(sent);
        }
    }

    fn send(&self, round: &Round, index: usize) -> Result<InFlight, TrainError> {
        let bucket = &self.buckets[index];
        round.gradients.accumulate(bucket.parameters.clone())?;
        let slice = round.slice(bucket);
        let compressed = match self.compression {
            Compression::None => None,
            Compression::Bf16 => Some(no_grad(|| slice.f_to_kind(Kind::BFloat16))?),
        };
        let travels = compressed.as_ref().unwrap_or(&slice);
        let label = Label::indexed("all-reduce of gradient bucket", index);
        let pending = self.communicator.all_reduce(travels, ReduceOp::Average, label)?;
        Ok(InFlight { pending, compressed })
    }
}

impl Round {
    /// Ends the round when all that was sent has arrived, whatever fails: what is under way writes into the gradients.
    ///
    /// # Errors
    /// The first failure.
    fn wait(&mut self, buckets: &[Bucket]) -> Result<(), TrainError> {
        self.hooks = Hooks::Rest;
        let mut outcome = Ok(());
        for (bucket, sent) in buckets.iter().zip(mem::take(&mut self.sent)) {
            let arrived = sent.and_then(|in_flight| self.receive(bucket, in_flight));
            outcome = outcome.and(arrived);
        }
        outcome
    }

    fn receive(&self, bucket: &Bucket, InFlight { pending, compressed }: InFlight) -> Result<(), TrainError> {
        pending.wait()?;
        if let Some(compressed) = compressed {
            no_grad(|| self.slice(bucket).f_copy_(&compressed))?;
        }
        Ok(())
    }

    fn slice(&self, bucket: &Bucket) -> Tensor {
        self.gradients.buffer().narrow(0, bucket.range.start, bucket.range.end - bucket.range.start)
    }
}

/// Cuts the flat buffer of parameters at `ranges` (in order, from 0) into buckets from its end to its start; a bucket
/// ends with the parameter that fills it.
fn plan_buckets(ranges: &[Range<i64>], element_bytes: usize, options: ReducerOptions) -> Vec<Bucket> {
    let mut buckets = Vec::new();
    let mut behind = ranges.len();
    // The last range may be followed by a gap, which need not travel.
    let mut end = ranges.last().map_or(0, |range| range.end);
    for (parameter, range) in ranges.iter().enumerate().rev() {
        let limit = if buckets.is_empty() { options.first_bucket_bytes } else { options.bucket_bytes };
        if (end - range.start) as usize * element_bytes >= limit || range.start == 0 {
            buckets.push(Bucket { range: range.start..end, parameters: parameter..behind });
            (behind, end) = (parameter, range.start);
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::NamedTensor;
    use crate::world::CommunicatorError;

    fn planned(lengths: &[i64], first: usize, others: usize) -> Vec<(Range<i64>, Range<usize>)> {
        let starts = lengths.iter().scan(0, |next, length| {
            *next += length;
            Some(*next - length..*next)
        });
        let compression = Compression::None;
        let options = ReducerOptions { first_bucket_bytes: first, bucket_bytes: others, compression };
        let buckets = plan_buckets(&starts.collect::<Vec<_>>(), 4, options);
        buckets.into_iter().map(|bucket| (bucket.range, bucket.parameters)).collect()
    }

    #[test]
    fn buckets_cover_the_buffer_from_its_end() {
        assert_eq!(planned(&[16, 32, 16, 16], 64, 200), [(64..80, 3..4), (0..64, 0..3)]);
        assert_eq!(planned(&[16, 16, 16], 1, 1), [(32..48, 2..3), (16..32, 1..2), (0..16, 0..1)]);
        assert_eq!(planned(&[16, 16, 16], 1 << 20, 1 << 20), [(0..48, 0..3)]);
        assert_eq!(planned(&[], 1, 1), []);
    }

    /// Doubles what it is given, as two equal ranks' sums do, and notes what that was.
    #[derive(Default)]
    struct Doubling {
        calls: Mutex<Vec<(usize, i64, Kind)>>,
        /// The sum of what it was given, each time.
        totals: Mutex<Vec<f64>>,
        /// The bucket that is refused.
        refused: Option<usize>,
        /// The bucket whose sum fails.
        failing: Option<usize>,
        /// Buckets whose sums were waited for.
        waited_for: Arc<Mutex<Vec<usize>>>,
    }

    impl Communicator for Doubling {
        fn name(&self) -> &'static str {
            "doubling"
        }

        fn all_reduce(&self, tensor: &Tensor, _: ReduceOp, label: Label) -> Result<Pending, CommunicatorError> {
            let index = label.index.unwrap();
            self.calls.lock().unwrap().push((index, tensor.size()[0], tensor.kind()));
            self.totals.lock().unwrap().push(tensor.sum(Kind::Float).double_value(&[]));
            if self.refused == Some(index) {
                return Err(CommunicatorError::Ended(label));
            }
            let mut tensor = tensor.shallow_clone();
            let (fails, waited_for) = (self.failing == Some(index), Arc::clone(&self.waited_for));
            Ok(Pending::new(move || {
                waited_for.lock().unwrap().push(index);
                let _ = no_grad(|| tensor.g_mul_scalar_(2.0));
                if fails { Err(CommunicatorError::Ended(label)) } else { Ok(()) }
            }))
        }

        fn broadcast(&self, _: &Tensor, _: usize, _: Label) -> Result<Pending, CommunicatorError> {
            unreachable!()
        }
    }

    struct Subject {
        tensors: Vec<NamedTensor>,
        flat: FlatParameters,
        communicator: Arc<Doubling>,
        reducer: Reducer,
    }

    /// Three parameters of 16 values, of which the loss uses the first two.
    fn subject(bucket_bytes: usize, compression: Compression) -> Subject {
        subject_on(Doubling::default(), bucket_bytes, compression)
    }

    fn subject_on(communicator: Doubling, bucket_bytes: usize, compression: Compression) -> Subject {
        let named = |name: &str| NamedTensor {
            name: name.into(),
            tensor: Tensor::full([16], 3.0, (Kind::Float, Device::Cpu)).set_requires_grad(true),
        };
        let tensors = vec![named("first"), named("second"), named("unused")];
        let flat = FlatParameters::flatten(&tensors).unwrap();
        let communicator = Arc::new(communicator);
        let options = ReducerOptions { first_bucket_bytes: bucket_bytes, bucket_bytes, compression };
        let reducer = Reducer::new(&flat, Arc::clone(&communicator) as _, options).unwrap();
        Subject { tensors, flat, communicator, reducer }
    }

    impl Subject {
        /// A pass of the loss, as steps do it.
        fn backward(&self) {
            (&self.tensors[0].tensor * &self.tensors[1].tensor).sum(Kind::Float).backward();
            self.flat.accumulate_gradients().unwrap();
        }

        fn gradient(&self, parameter: i64) -> f64 {
            self.flat.gradients().double_value(&[16 * parameter + 15])
        }
    }

    #[test]
    fn gradients_are_reduced_once_in_the_order_of_buckets() {
        for (bucket_bytes, sent) in [(1, vec![16, 16, 16]), (65, vec![32, 16]), (1 << 20, vec![48])] {
            let mut subject = subject(bucket_bytes, Compression::None);
            for _ in 0..2 {
                subject.flat.zero_gradients().unwrap();
                subject.reducer.arm();
                subject.backward();
                subject.reducer.finish().unwrap();
                assert_eq!([0, 1, 2].map(|parameter| subject.gradient(parameter)), [6.0, 6.0, 0.0]);
                let calls: Vec<_> = subject.communicator.calls.lock().unwrap().drain(..).collect();
                let expected: Vec<_> = sent.iter().enumerate().map(|(i, &length)| (i, length, Kind::Float)).collect();
                assert_eq!(calls, expected);
            }
        }
    }

    #[test]
    fn recorded_pass_is_cut_where_buckets_are_complete_and_sends_nothing() {
        let subject = subject(1, Compression::None);
        let cuts = Arc::new(Mutex::new(Vec::new()));
        let cut = {
            let (cuts, gradients) = (Arc::clone(&cuts), Mutex::new(subject.flat.gradients().shallow_clone()));
            move |complete| {
                let sum = gradients.lock().unwrap().sum(Kind::Float).double_value(&[]);
                cuts.lock().unwrap().push((complete, sum));
                Ok(())
            }
        };
        subject.reducer.arm_recording(Arc::new(cut));
        // The last parameter's bucket is the first, and the loss of the first two needs all.
        let [first, second, last] = [0, 1, 2].map(|index: usize| &subject.tensors[index].tensor);
        (first * second * last).sum(Kind::Float).backward();
        subject.reducer.end_recording().unwrap();
        // What is complete is in the sums, where the cut is.
        let sums: Vec<_> = cuts.lock().unwrap().drain(..).collect();
        assert_eq!(sums.last(), Some(&(3, 3.0 * 16.0 * 9.0)));
        assert!(sums.windows(2).all(|pair| pair[0].0 < pair[1].0), "{sums:?}");
        assert!(sums.iter().all(|&(complete, sum)| sum >= complete as f64 * 16.0 * 9.0), "{sums:?}");
        assert!(subject.communicator.calls.lock().unwrap().is_empty());
        // What a replay does at its cuts, and behind the last.
        subject.reducer.send_up_to(1);
        subject.reducer.send_up_to(1);
        assert_eq!(subject.communicator.calls.lock().unwrap().len(), 1);
        subject.reducer.finish().unwrap();
        assert_eq!(subject.communicator.calls.lock().unwrap().iter().map(|call| call.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(|parameter| subject.gradient(parameter)), [18.0; 3]);
    }

    #[test]
    fn recorded_pass_that_cannot_be_cut_ends_there() {
        let subject = subject(1, Compression::None);
        subject.reducer.arm_recording(Arc::new(|_| Err(TrainError::NoStage(7))));
        let [first, second, last] = [0, 1, 2].map(|index: usize| &subject.tensors[index].tensor);
        let failed = (((first * 2.0).relu() * second).relu() * last).sum(Kind::Float).f_backward();
        assert!(failed.is_err() && matches!(subject.reducer.end_recording(), Err(TrainError::NoStage(7))));
        assert!(!first.grad().defined(), "backward went on");
        // The next is computed as ever.
        let mut flat = subject.flat;
        flat.zero_gradients().unwrap();
        subject.reducer.arm();
        (first * second * last).sum(Kind::Float).backward();
        subject.reducer.finish().unwrap();
        assert_eq!(subject.communicator.calls.lock().unwrap().len(), 3);
    }

    #[test]
    fn bucket_that_leaves_during_backward_holds_its_gradients() {
        let subject = subject(65, Compression::None);
        let [first, second, unused] = [0, 1, 2].map(|index: usize| &subject.tensors[index].tensor);
        subject.backward();
        subject.reducer.arm();
        (first * second * 2.0 + unused).sum(Kind::Float).backward();
        // The gradients of the pass before among them.
        let totals = || subject.communicator.totals.lock().unwrap().clone();
        assert_eq!(totals(), [16.0 * (1.0 + 3.0 + 6.0), 16.0 * (3.0 + 6.0)]);
        assert!([first, second, unused].iter().all(|parameter| !parameter.grad().defined()));
        subject.reducer.finish().unwrap();
        assert_eq!([0, 1, 2].map(|parameter| subject.gradient(parameter)), [18.0, 18.0, 2.0]);
        assert_eq!(totals().len(), 2);
    }

    #[test]
    fn gradients_that_a_bucket_waited_for_are_in_it_at_the_end() {
        let subject = subject(1, Compression::None);
        subject.reducer.arm();
        // Of a pass after which nobody accumulates, while the bucket of the unused parameter holds the others back.
        (&subject.tensors[0].tensor * &subject.tensors[1].tensor).sum(Kind::Float).backward();
        subject.reducer.finish().unwrap();
        assert_eq!(*subject.communicator.totals.lock().unwrap(), [0.0, 48.0, 48.0]);
        assert_eq!([0, 1, 2].map(|parameter| subject.gradient(parameter)), [6.0, 6.0, 0.0]);
    }

    #[test]
    fn accumulated_gradients_travel_with_the_last_backward_only() {
        let subject = subject(1, Compression::None);
        subject.backward();
        assert!(subject.communicator.calls.lock().unwrap().is_empty());
        subject.reducer.arm();
        subject.backward();
        // The unused parameter's bucket is the first and holds the others back.
        assert!(subject.communicator.calls.lock().unwrap().is_empty());
        subject.reducer.finish().unwrap();
        assert_eq!([0, 1].map(|parameter| subject.gradient(parameter)), [12.0, 12.0]);
    }

    #[test]
    fn compressed_gradients_travel_as_bfloat16_and_come_back() {
        let subject = subject(1 << 20, Compression::Bf16);
        subject.reducer.arm();
        subject.backward();
        subject.reducer.finish().unwrap();
        assert_eq!(subject.communicator.calls.lock().unwrap()[0].2, Kind::BFloat16);
        assert_eq!(subject.gradient(0), 6.0);
    }

    #[test]
    fn failure_is_told_when_nothing_is_under_way_any_more() {
        let failing = |index| Doubling { failing: Some(index), ..Doubling::default() };
        let refusing = |index| Doubling { refused: Some(index), ..Doubling::default() };
        // Behind a bucket that could not be sent none is: it would meet another one of the other ranks.
        for (communicator, sent, waited_for) in [
            (failing(0), vec![0, 1, 2], vec![0, 1, 2]),
            (failing(1), vec![0, 1, 2], vec![0, 1, 2]),
            (refusing(1), vec![0, 1], vec![0]),
        ] {
            let subject = subject_on(communicator, 1, Compression::None);
            subject.reducer.arm();
            subject.backward();
            let error = subject.reducer.finish().unwrap_err().to_string();
            let named = subject.communicator.failing.or(subject.communicator.refused).unwrap();
            assert!(error.ends_with(&format!("gradient bucket {named}")), "{error}");
            let calls = subject.communicator.calls.lock().unwrap();
            assert_eq!(calls.iter().map(|call| call.0).collect::<Vec<_>>(), sent);
            assert_eq!(*subject.communicator.waited_for.lock().unwrap(), waited_for);
        }
    }

    #[test]
    fn round_that_is_given_up_leaves_nothing_to_the_next() {
        let mut subject = subject(1, Compression::None);
        subject.reducer.arm();
        // The last parameter's bucket is the first.
        (&subject.tensors[2].tensor * 1.0).sum(Kind::Float).backward();
        subject.reducer.give_up();
        assert_eq!(*subject.communicator.waited_for.lock().unwrap(), [0]);
        // Nobody waits for gradients now.
        subject.backward();
        assert_eq!(subject.communicator.calls.lock().unwrap().len(), 1);
        subject.flat.zero_gradients().unwrap();
        subject.reducer.arm();
        subject.backward();
        subject.reducer.finish().unwrap();
        assert_eq!([0, 1, 2].map(|parameter| subject.gradient(parameter)), [6.0, 6.0, 0.0]);
        assert_eq!(*subject.communicator.waited_for.lock().unwrap(), [0, 0, 1, 2]);
    }
}
