//! The loop that all targets share: changed inputs, one after the other, of which each must be read or refused.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::allocations::peak_bytes;
use crate::mutate::Mutator;

/// Memory that an input may take however small it is.
const BASE_BYTES: usize = 64 << 20;
/// Inputs that were refused for a reason that none before had are changed further, up to so many.
const MOST_KEPT: usize = 300;

/// Of an input that is changed further.
const LONGEST_CHANGED: usize = 1 << 15;

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

/// Seed of all targets: `PDARTS_SOAK_SEED`, else 1.
fn seed() -> u64 {
    std::env::var("PDARTS_SOAK_SEED").map_or(1, |seed| seed.parse().expect("PDARTS_SOAK_SEED is a number"))
}

impl Target {
    /// Gives `read` the corpus and then `executions` changed inputs. It returns why an input is refused.
    ///
    /// Each is written to a file before it is read, so that it is known whatever ends the process.
    pub fn run(self, executions: usize, mut read: impl FnMut(&[u8]) -> Result<(), String>) {
        let (start, seed) = (Instant::now(), seed());
        let kept = Kept::new(self.name);
        let mut check = |number: usize, input: &[u8]| {
            kept.write(input);
            let (outcome, bytes) = peak_bytes(|| catch_unwind(AssertUnwindSafe(|| read(input))));
            let place =
                || format!("{} at execution {number} of seed {seed}, input in {}", self.name, kept.path.display());
            let refusal = outcome.unwrap_or_else(|_| panic!("panicked: {}", place())).err();
            let most = BASE_BYTES + input.len() * self.expansion;
            assert!(bytes <= most, "took {bytes} bytes for an input of {}: {}", input.len(), place());
            refusal
        };
        for (number, input) in self.valid.iter().enumerate() {
            let refusal = check(0, input);
            assert_eq!(refusal, None, "{}: input {number} of the corpus", self.name);
        }
        self.hostile.iter().for_each(|input| drop(check(0, input)));
        let (mut rng, mutator) = (ChaCha8Rng::seed_from_u64(seed), Mutator { tokens: self.tokens });
        let mut corpus: Vec<Vec<u8>> = [self.valid, self.hostile].concat();
        // The others take their time.
        corpus.retain(|input| input.len() <= LONGEST_CHANGED);
        let (mut reasons, most) = (HashSet::new(), corpus.len() + MOST_KEPT);
        let mut num_read = 0;
        for number in 1..=executions {
            let input = mutator.next(&corpus, &mut rng);
            match check(number, &input) {
                None => num_read += 1,
                Some(line) => {
                    if corpus.len() < most && reasons.insert(outline(&line)) {
                        corpus.push(input);
                    }
                }
            }
        }
        kept.remove();
        let (seconds, refused) = (start.elapsed().as_secs_f64(), executions - num_read);
        println!(
            "{}: {executions} executions of seed {seed} ({num_read} read, {refused} refused, {} reasons), {:.0} a second",
            self.name,
            reasons.len(),
            executions as f64 / seconds
        );
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
