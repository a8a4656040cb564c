//! Changes bytes as a broken disk, a cut transfer or somebody hostile would.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// Numbers at which sizes, counts and signs go wrong.
const NUMBERS: [u64; 16] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    1 << 60,
    1 << 63,
    u64::MAX,
];
/// The same as texts, with what else a number may be.
const TEXTS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "2147483648",
    "1152921504606846976",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "-0.0",
    "1e999",
    "nan",
    "\u{0}",
];
/// An input grows no further than this beyond the corpus.
const MOST_BYTES: usize = 1 << 16;

/// Makes new inputs of old ones.
pub struct Mutator<'a> {
    /// Words of the format.
    pub tokens: &'a [&'a str],
}

impl Mutator<'_> {
    /// One of `corpus`, changed in one to eight places.
    pub fn next(&self, corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut bytes = corpus.choose(rng).cloned().unwrap_or_default();
        for _ in 0..1 << rng.random_range(0..4) {
            self.change(&mut bytes, corpus, rng);
        }
        bytes.truncate(corpus.iter().map(Vec::len).max().unwrap_or(0) + MOST_BYTES);
        bytes
    }

    fn change(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) {
        let place = rng.random_range(0..=bytes.len());
        match rng.random_range(0..12) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = rng.random();
                }
            }
            3 => bytes.truncate(place),
            4 => drop(bytes.drain(block(bytes.len(), place, rng))),
            5 => {
                // Up to here of one, from somewhere on of another.
                let other = corpus.choose(rng).map_or(&[][..], Vec::as_slice);
                let from = rng.random_range(0..=other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
            6 | 7 => overwrite(bytes, place, rng),
            8 => {
                let repeated = bytes[block(bytes.len(), place, rng)].repeat(1 << rng.random_range(0..10));
                insert(bytes, place, &repeated);
            }
            9 => insert(bytes, place, TEXTS.choose(rng).copied().unwrap_or_default().as_bytes()),
            10 => self.replace_number(bytes, place, rng),
            _ => insert(bytes, place, self.tokens.choose(rng).copied().unwrap_or_default().as_bytes()),
        }
    }

    /// Puts another number, or a token, in the place of the next digits.
    fn replace_number(&self, bytes: &mut Vec<u8>, place: usize, rng: &mut ChaCha8Rng) {
        let Some(start) = bytes[place..].iter().position(u8::is_ascii_digit).map(|offset| place + offset) else {
            return;
        };
        let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let words = if rng.random_ratio(1, 4) { self.tokens } else { &TEXTS };
        let text = words.choose(rng).copied().unwrap_or_default();
        bytes.splice(start..start + length, text.bytes());
    }
}

fn insert(bytes: &mut Vec<u8>, place: usize, inserted: &[u8]) {
    let room = MOST_BYTES.min(inserted.len());
    bytes.splice(place..place, inserted[..room].iter().copied());
}

/// Writes a number over what stands at `place`, in either order of bytes.
fn overwrite(bytes: &mut [u8], place: usize, rng: &mut ChaCha8Rng) {
    let number = NUMBERS.choose(rng).copied().unwrap_or_default();
    let width = 1 << rng.random_range(0..4);
    let written =
        if rng.random() { number.to_le_bytes()[..width].to_vec() } else { number.to_be_bytes()[8 - width..].to_vec() };
    bytes[place..].iter_mut().zip(written).for_each(|(byte, new)| *byte = new);
}

/// Some bytes from `place` on, mostly few.
fn block(length: usize, place: usize, rng: &mut ChaCha8Rng) -> std::ops::Range<usize> {
    let most = 1 << rng.random_range(0..9);
    place..length.min(place + rng.random_range(1..=most))
}
