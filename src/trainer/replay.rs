//! Work that a GPU repeats without being told every kernel: each kind of it runs once as it is, is recorded the second time, and
//! replayed from then on.
//!
//! What a replay reads and writes stands where it stood when it was recorded: parameters, statistics, gradients and the state of
//! optimizers in their flat buffers, what changes from step to step in tensors that are kept here. All work of a state shares the
//! memory for what is between, for it is replayed one after the other.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tch::{Device, Kind, Tensor, no_grad};

use super::TrainError;
use crate::config::GRAPHS_NOT_WANTED;
use crate::torch::{Cut, Graph, TorchError, gpu_kernels_serve};

/// Whether CUDA has refused to record something in this process: what comes later would be refused as well.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// Whether somebody was told why nothing is recorded.
static TOLD: AtomicBool = AtomicBool::new(false);

/// The recorded work of one state, by its kind `K`.
#[derive(Debug)]
pub(super) struct Replays<K, R = Graph> {
    /// The GPU; none where nothing is recorded.
    device: Option<usize>,
    works: HashMap<(K, Shapes), Option<Recorded<R>>>,
    launches: u64,
}

/// Sizes and types of a work's inputs.
type Shapes = Vec<(Vec<i64>, Kind)>;

#[derive(Debug)]
struct Recorded<R> {
    recording: R,
    inputs: Vec<Tensor>,
    /// What was told at each cut.
    cuts: Vec<usize>,
}

/// Cuts work while it is recorded. Each replay tells the number when it comes there.
pub type CutBehind = Arc<dyn Fn(usize) -> Result<(), TrainError> + Send + Sync>;

/// How work is done.
pub(super) enum Doing {
    /// At once.
    Now,
    /// It is only recorded, and may be cut if that was said.
    Recording(CutBehind),
}

/// What a GPU repeats; see [`Graph`].
pub(super) trait Recording: Sized {
    /// See [`Graph::record`].
    fn record(
        device: usize,
        shares: Option<&Self>,
        may_be_cut: bool,
        work: impl FnOnce(Cut) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError>;

    /// See [`Graph::replay`].
    fn replay(&self, part: usize, probability: f64) -> Result<(), TorchError>;

    /// See [`Graph::size`].
    fn size(&self) -> usize;
}

impl Recording for Graph {
    fn record(
        device: usize,
        shares: Option<&Self>,
        may_be_cut: bool,
        work: impl FnOnce(Cut) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        Self::record(device, shares, may_be_cut, work)
    }

    fn replay(&self, part: usize, probability: f64) -> Result<(), TorchError> {
        self.replay(part, probability)
    }

    fn size(&self) -> usize {
        self.size()
    }
}

impl<K, R> Default for Replays<K, R> {
    fn default() -> Self {
        Self { device: None, works: HashMap::new(), launches: 0 }
    }
}

impl<K: Copy + Eq + Hash, R: Recording> Replays<K, R> {
    /// On `device`, if it is a GPU and nothing is in the way: `obstacle` says why the state's work should not be recorded. The
    /// first obstacle is told.
    pub fn on(device: Device, obstacle: Option<&'static str>) -> Self {
        let Device::Cuda(index) = device else { return Self::default() };
        if REFUSED.load(Ordering::Relaxed) {
            return Self::default();
        }
        let composed = (!gpu_kernels_serve()).then_some("the program's own GPU kernels do not serve");
        match obstacle.or(composed) {
            Some(obstacle) => {
                if obstacle != GRAPHS_NOT_WANTED && !TOLD.swap(true, Ordering::Relaxed) {
                    tracing::info!("steps are not replayed as CUDA graphs, which would be faster: {obstacle}");
                }
                Self::default()
            }
            None => Self { device: Some(index), ..Self::default() },
        }
    }

    /// Tells of an `obstacle` to `part` of the work, where the rest is replayed; of the first.
    pub fn tell_of(&self, part: &str, obstacle: Option<&'static str>) {
        if let (Some(obstacle), Some(_)) = (obstacle, self.device)
            && !TOLD.swap(true, Ordering::Relaxed)
        {
            tracing::info!("{part} are not replayed as CUDA graphs, which would be faster: {obstacle}");
        }
    }

    /// Kernels and copies of all work that was replayed so far.
    pub fn launches(&self) -> u64 {
        self.launches
    }

    /// Does `work` on `inputs`, computed or replayed. Work of one kind on inputs of one shape queues the same kernels, leaves what
    /// it leaves in tensors that stay, and draws what it draws with `probability`. Nothing of it may wait for the device.
    ///
    /// # Errors
    /// Those of `work`. Where CUDA refuses to record it, it is computed, with a warning, and nothing is recorded any more.
    pub fn run(
        &mut self,
        kind: K,
        inputs: &[&Tensor],
        probability: f64,
        work: impl Fn(&[&Tensor]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        self.run_in_parts(kind, inputs, probability, |inputs, _| work(inputs), None)
    }

    /// The same of work that is cut while it is recorded, if there is something to do `between` its parts: when they are replayed
    /// that is told the number of each cut.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_in_parts(
        &mut self,
        kind: K,
        inputs: &[&Tensor],
        probability: f64,
        work: impl Fn(&[&Tensor], Doing) -> Result<(), TrainError>,
        between: Option<&dyn Fn(usize)>,
    ) -> Result<(), TrainError> {
        let Some(device) = self.device else { return work(inputs, Doing::Now) };
        let shapes = inputs.iter().map(|input| (input.size(), input.kind())).collect();
        let key = (kind, shapes);
        match self.works.get(&key) {
            // The first of a kind: libraries make their choices and take their memory.
            None => {
                self.works.insert(key, None);
                return work(inputs, Doing::Now);
            }
            Some(None) => match Recorded::new(device, self.shares(), between.is_some(), inputs, &work) {
                Ok(recorded) => {
                    tracing::debug!("recorded a CUDA graph of {} nodes", recorded.recording.size());
                    self.works.insert(key.clone(), Some(recorded));
                }
                Err(error) => {
                    tracing::warn!("no step is replayed as a CUDA graph from now on, which is slower: {error}");
                    REFUSED.store(true, Ordering::Relaxed);
                    self.device = None;
                    self.works.clear();
                    return work(inputs, Doing::Now);
                }
            },
            Some(Some(_)) => {}
        }
        match self.works.get(&key) {
            Some(Some(recorded)) => {
                self.launches += recorded.recording.size() as u64;
                recorded.replay(inputs, probability, between)
            }
            _ => work(inputs, Doing::Now),
        }
    }

    /// Whose memory other work can be recorded in.
    fn shares(&self) -> Option<&R> {
        self.works.values().flatten().map(|recorded| &recorded.recording).next()
    }
}

impl<R: Recording> Recorded<R> {
    fn new(
        device: usize,
        shares: Option<&R>,
        may_be_cut: bool,
        inputs: &[&Tensor],
        work: impl Fn(&[&Tensor], Doing) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let kept = no_grad(|| inputs.iter().map(|input| input.f_detach_copy()).collect::<Result<Vec<_>, _>>())?;
        let cuts = Arc::new(Mutex::new(Vec::new()));
        let recording = R::record(device, shares, may_be_cut, |cut| {
            let cuts = Arc::clone(&cuts);
            let cut_behind = move |number| {
                cut()?;
                cuts.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                Ok(())
            };
            work(&kept.iter().collect::<Vec<_>>(), Doing::Recording(Arc::new(cut_behind)))
        })?;
        let cuts = mem::take(&mut *cuts.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Self { recording, inputs: kept, cuts })
    }

    fn replay(&self, inputs: &[&Tensor], probability: f64, between: Option<&dyn Fn(usize)>) -> Result<(), TrainError> {
        no_grad(|| -> Result<(), TrainError> {
            for (kept, input) in self.inputs.iter().zip(inputs) {
                kept.shallow_clone().f_copy_(input)?;
            }
            Ok(())
        })?;
        for (part, &number) in self.cuts.iter().enumerate() {
            self.recording.replay(part, probability)?;
            if let Some(between) = between {
                between(number);
            }
        }
        Ok(self.recording.replay(self.cuts.len(), probability)?)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    type Kernel = Box<dyn Fn()>;

    thread_local! {
        /// What is recorded by now, in parts; none where work is done at once.
        static TAPE: RefCell<Option<Vec<Vec<Kernel>>>> = const { RefCell::new(None) };
    }

    /// Does `work`, or records it, as a GPU does with a kernel.
    fn queue(work: impl Fn() + 'static) {
        TAPE.with_borrow_mut(|tape| match tape {
            Some(parts) => parts.last_mut().unwrap().push(Box::new(work)),
            None => work(),
        });
    }

    /// Stands in for a CUDA graph where there is no GPU.
    struct Tape(Vec<Vec<Kernel>>);

    impl Recording for Tape {
        fn record(
            _: usize,
            _: Option<&Self>,
            _: bool,
            work: impl FnOnce(Cut) -> Result<(), TrainError>,
        ) -> Result<Self, TrainError> {
            TAPE.set(Some(vec![Vec::new()]));
            let cut = || {
                TAPE.with_borrow_mut(|tape| tape.iter_mut().for_each(|parts| parts.push(Vec::new())));
                Ok(())
            };
            let result = work(Arc::new(cut));
            let tape = TAPE.take().unwrap_or_default();
            result.map(|()| Self(tape))
        }

        fn replay(&self, part: usize, _: f64) -> Result<(), TorchError> {
            self.0[part].iter().for_each(|kernel| kernel());
            Ok(())
        }

        fn size(&self) -> usize {
            self.0.iter().map(Vec::len).sum()
        }
    }

    /// Adds up what it is given.
    struct Subject {
        replays: Replays<char, Tape>,
        sum: Tensor,
        calls: Cell<usize>,
        refused: bool,
    }

    impl Subject {
        fn new(refused: bool) -> Self {
            let replays = Replays { device: Some(0), ..Replays::default() };
            Self { replays, sum: Tensor::from(0.0), calls: Cell::new(0), refused }
        }

        /// Adds the sum of `count` times `value`; says how often the work was asked for, and what the sum came to.
        fn add(&mut self, kind: char, value: f64, count: i64) -> (usize, f64) {
            let (calls, before) = (self.calls.get(), f64::try_from(&self.sum).unwrap());
            let input = Tensor::full([count], value, (Kind::Double, Device::Cpu));
            let work = |inputs: &[&Tensor]| {
                self.calls.set(self.calls.get() + 1);
                let (input, sum) = (inputs[0].shallow_clone(), self.sum.shallow_clone());
                queue(move || drop(sum.shallow_clone().g_add_(&input.sum(Kind::Double))));
                let records = TAPE.with_borrow(Option::is_some);
                if self.refused && records { Err(TrainError::NoStage(0)) } else { Ok(()) }
            };
            self.replays.run(kind, &[&input], 0.0, work).unwrap();
            (self.calls.get() - calls, f64::try_from(&self.sum).unwrap() - before)
        }
    }

    #[test]
    fn work_is_done_then_recorded_then_replayed() {
        let mut subject = Subject::new(false);
        assert_eq!(subject.add('a', 1.0, 2), (1, 2.0));
        assert_eq!(subject.replays.launches(), 0);
        assert_eq!(subject.add('a', 3.0, 2), (1, 6.0));
        assert_eq!(subject.add('a', 5.0, 2), (0, 10.0));
        assert_eq!(subject.add('a', 7.0, 2), (0, 14.0));
        assert_eq!(subject.replays.launches(), 3);
    }

    #[test]
    fn other_kinds_and_other_shapes_are_other_work() {
        let mut subject = Subject::new(false);
        for (kind, count) in [('a', 2), ('b', 2), ('a', 3)] {
            let calls = [1.0, 3.0, 5.0].map(|value| {
                let (calls, added) = subject.add(kind, value, count);
                assert_eq!(added, value * count as f64, "{kind} {count}");
                calls
            });
            assert_eq!(calls, [1, 1, 0], "{kind} {count}");
        }
        assert_eq!(subject.add('a', 9.0, 2), (0, 18.0));
    }

    #[test]
    fn work_is_cut_and_something_done_between_its_parts() {
        let mut subject = Subject::new(false);
        let told = RefCell::new(Vec::new());
        let mut multiply = |value: f64| {
            let sum = subject.sum.shallow_clone();
            let work = |inputs: &[&Tensor], doing: Doing| {
                let (input, own) = (inputs[0].shallow_clone(), sum.shallow_clone());
                queue(move || drop(own.shallow_clone().g_add_(&input)));
                if let Doing::Recording(cut) = doing {
                    cut(7)?;
                }
                let own = sum.shallow_clone();
                queue(move || drop(own.shallow_clone().g_mul_scalar_(2.0)));
                Ok(())
            };
            let between = |number| told.borrow_mut().push((number, f64::try_from(&sum).unwrap()));
            let input = Tensor::from(value);
            subject.replays.run_in_parts('c', &[&input], 0.0, work, Some(&between)).unwrap();
            f64::try_from(&sum).unwrap()
        };
        assert_eq!([1.0, 3.0, 5.0].map(&mut multiply), [2.0, 10.0, 30.0]);
        // The first was computed at once.
        assert_eq!(*told.borrow(), [(7, 5.0), (7, 15.0)]);
        assert_eq!(subject.replays.launches(), 4);
    }

    #[test]
    fn work_that_cannot_be_recorded_is_done_as_before() {
        let mut subject = Subject::new(true);
        assert_eq!(subject.add('a', 1.0, 2), (1, 2.0));
        // The recording, then the work itself.
        assert_eq!(subject.add('a', 3.0, 2), (2, 6.0));
        assert!(subject.replays.device.is_none() && REFUSED.load(Ordering::Relaxed));
        assert_eq!(subject.add('a', 5.0, 2), (1, 10.0));
        assert_eq!(subject.replays.launches(), 0);
    }
}
