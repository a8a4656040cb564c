//! The loop that all targets share: changed inputs, one after the other, of which each must be read or refused.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::allocations::peak_bytes;
use crate::corpus::found;
use crate::mutate::Mutator;
use crate::soak::{report, seed};

/// Memory that an input may take however small it is.
const BASE_BYTES: usize = 64 << 20;
/// Inputs that were refused for a reason that none before had are changed further, up to so many.
const MOST_KEPT: usize = 300;
/// Of an input that is changed further; one that is kept for its reason is shorter, as longer ones take their time.
const LONGEST_CHANGED: usize = 1 << 15;
const LONGEST_KEPT: usize = 1 << 12;
/// What any input may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that reads what others have written.
pub struct Target {
    /// Of the file in which the input under way is kept.
    pub name: &'static str,
    /// Inputs that are read.
    pub valid: Vec<Vec<u8>>,
    /// Inputs that need only be survived.
    pub hostile: Vec<Vec<u8>>,
    /// Words of the format.
    pub tokens: &'static [&'static str],
    /// Bytes of memory that each byte of an input may take, beyond what any may.
    pub expansion: usize,
}

impl Target {
    /// Gives `read` the corpus and then `executions` changed inputs. It returns why an input is refused.
    ///
    /// Each is written to a file before it is read, so that it is known whatever ends the process.
    pub fn run(self, executions: usize, mut read: impl FnMut(&[u8]) -> Result<(), String>) {
        let seed = seed();
        let kept = Kept::new(self.name);
        let mut slowest = (Duration::ZERO, 0);
        let mut check = |number: usize, input: &[u8]| {
            kept.write(input);
            let start = Instant::now();
            let (outcome, bytes) = peak_bytes(|| catch_unwind(AssertUnwindSafe(|| read(input))));
            let taken = start.elapsed();
            let place =
                || format!("{} at execution {number} of seed {seed}, input in {}", self.name, kept.path.display());
            let refusal = outcome.unwrap_or_else(|_| panic!("panicked: {}", place())).err();
            let most = BASE_BYTES + input.len() * self.expansion;
            assert!(taken < PATIENCE, "took {taken:?} for an input of {} bytes: {}", input.len(), place());
            slowest = slowest.max((taken, input.len()));
            assert!(bytes <= most, "took {bytes} bytes for an input of {}: {}", input.len(), place());
            refusal
        };
        for (number, input) in self.valid.iter().enumerate() {
            let refusal = check(0, input);
            assert_eq!(refusal, None, "{}: input {number} of the corpus", self.name);
        }
        self.hostile.iter().chain(&found(self.name)).for_each(|input| drop(check(0, input)));
        let (mut rng, mutator) = (ChaCha8Rng::seed_from_u64(seed), Mutator { tokens: self.tokens });
        let are_short = |inputs: &[Vec<u8>]| inputs.iter().filter(|input| input.len() <= LONGEST_CHANGED).count();
        let num_valid = are_short(&self.valid);
        let mut corpus: Vec<Vec<u8>> = [self.valid, self.hostile].concat();
        // The others take their time.
        corpus.retain(|input| input.len() <= LONGEST_CHANGED);
        let (mut reasons, most) = (HashSet::new(), corpus.len() + MOST_KEPT);
        let (mut num_read, start) = (0, Instant::now());
        for number in 1..=executions {
            // Half of them from what is read, to come behind the first check of a reader.
            let inputs = if num_valid > 0 && rng.random() { &corpus[..num_valid] } else { &corpus[..] };
            let input = mutator.next(inputs, &mut rng);
            match check(number, &input) {
                None => num_read += 1,
                Some(line) => {
                    if corpus.len() < most && input.len() <= LONGEST_KEPT && reasons.insert(outline(&line)) {
                        corpus.push(input);
                    }
                }
            }
        }
        kept.remove();
        let (seconds, refused) = (start.elapsed().as_secs_f64(), executions - num_read);
        report(&format!(
            "{}: {executions} executions of seed {seed} ({num_read} read, {refused} refused, {} reasons), {:.0} a second, the \
             slowest took {:.3} s for {} bytes",
            self.name,
            reasons.len(),
            executions as f64 / seconds,
            slowest.0.as_secs_f64(),
            slowest.1
        ));
        assert!(refused > 0, "{}: nothing was refused", self.name);
    }
}

/// A refusal without what it quotes of the input.
fn outline(line: &str) -> String {
    let mut parts = line.split(['`', '\'', '"']).step_by(2);
    let words = parts.by_ref().flat_map(|part| part.chars().filter(|letter| letter.is_ascii_alphabetic()));
    words.take(200).collect()
}

/// The input under way, in a file.
struct Kept {
    path: PathBuf,
    file: File,
}

impl Kept {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("hostile");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.input"));
        let file = File::create(&path).unwrap();
        Self { path, file }
    }

    fn write(&self, input: &[u8]) {
        self.file.set_len(input.len() as u64).unwrap();
        self.file.write_all_at(input, 0).unwrap();
    }

    fn remove(&self) {
        fs::remove_file(&self.path).unwrap();
    }
}
