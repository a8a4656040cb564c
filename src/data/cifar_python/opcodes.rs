//! What the pickle of a batch may do. The decoder follows every reference and copies what it leads to, and goes into
//! values as deep as they nest: a short pickle could fill the memory or the stack. A batch needs neither, so a pickle that
//! does is refused before it is decoded.
//!
//! Source: Python's `pickletools`, which describes every opcode.

use std::collections::HashMap;

/// Lists, tuples and dictionaries of a batch; it has about ten.
const MOST_CONTAINERS: usize = 100;
/// Groups of values; a list is written in groups of 1,000.
const MOST_GROUPS: usize = 1_000;
/// Of a text that is referred to again: a name.
const LONGEST_NAME: usize = 100;

/// Whether the pickle `bytes` does only what that of a batch does.
///
/// # Errors
/// What else it does, and where.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut at, mut containers, mut groups) = (0, 0, 0);
    // Length of the text that stands on the stack's top, by which it may be kept for later; none of other values.
    let mut top = None;
    let mut kept = HashMap::new();
    loop {
        let start = at;
        let refuse = |what: &str| Err(format!("{what} at byte {start}, as no batch has"));
        let cut = || format!("it ends within byte {start} and what belongs to it");
        let code = *bytes.get(at).ok_or_else(cut)?;
        let argument = |width: usize| {
            let digits = bytes.get(start + 1..start + 1 + width)?;
            Some(digits.iter().rev().fold(0, |number, &digit| number << 8 | u64::from(digit)))
        };
        let text = |width: usize| {
            let length = usize::try_from(argument(width)?).ok()?;
            Some((1 + width).checked_add(length)?).map(|size| (size, Some(length)))
        };
        let (size, pushed) = match code {
            b'.' => return Ok(()),
            // Numbers, truth values, none, and calls.
            b'N' | 0x88 | 0x89 | b'R' | b'b' => Some((1, None)),
            0x80 | b'K' => Some((2, None)),
            b'M' => Some((3, None)),
            b'J' => Some((5, None)),
            b'G' => Some((9, None)),
            // A frame, for reading alone.
            0x95 => Some((9, top)),
            0x8a => argument(1).map(|length| (2 + length as usize, None)),
            b'U' | b'C' | 0x8c => text(1),
            b'T' | b'X' | b'B' => text(4),
            0x8d | 0x8e | 0x96 => text(8),
            b'c' => {
                let mut ends = bytes[at..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
                ends.nth(1).map(|(end, _)| (end + 1, Some(0)))
            }
            0x93 => Some((1, Some(0))),
            b'(' => {
                groups += 1;
                Some((1, None))
            }
            b']' | b'}' | b')' | b't' | b'l' | b'd' | 0x85..=0x87 => {
                containers += 1;
                Some((1, None))
            }
            b'a' | b'e' | b's' | b'u' => Some((1, None)),
            b'q' | b'r' | 0x94 => {
                let width =
                    [(b'q', 1), (b'r', 4)].iter().find(|(known, _)| *known == code).map_or(0, |(_, width)| *width);
                let key = if width == 0 { Some(kept.len() as u64) } else { argument(width) };
                key.map(|key| {
                    kept.insert(key, top);
                    (1 + width, top)
                })
            }
            b'h' | b'j' => {
                let width = if code == b'h' { 1 } else { 4 };
                match argument(width).and_then(|key| kept.get(&key)) {
                    Some(&Some(length)) if length <= LONGEST_NAME => Some((1 + width, Some(length))),
                    _ => return refuse("it refers to a value again"),
                }
            }
            _ => return refuse(&format!("it has the opcode 0x{code:02x}")),
        }
        .ok_or_else(cut)?;
        if containers > MOST_CONTAINERS || groups > MOST_GROUPS {
            return refuse("it has more lists");
        }
        (at, top) = (at.checked_add(size).filter(|&at| at < bytes.len()).ok_or_else(cut)?, pushed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pickles_that_grow_or_nest_are_refused() {
        // Each list holds the one before twice; tuples in tuples; a list of itself; the top twice.
        let doubling = [b"\x80\x02]q\x00".to_vec(), b"](h\x00h\x00eq\x00".repeat(40), b".".to_vec()].concat();
        let nested = [b"\x80\x02N".to_vec(), vec![0x85; 100_000], b".".to_vec()].concat();
        let open = [b"\x80\x02".to_vec(), b"(".repeat(100_000), b".".to_vec()].concat();
        let twice = b"\x80\x02]2a.".to_vec();
        let long = [b"\x80\x02X\xff\x00\x00\x00".to_vec(), vec![b'a'; 255], b"q\x00h\x00.".to_vec()].concat();
        for pickle in [doubling, nested, open, twice, long] {
            let refusal = check(&pickle).unwrap_err();
            assert!(refusal.ends_with("as no batch has"), "{refusal}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_a_cut() {
        for pickle in [&b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"X\xff\xff\xff\xff", b"c", b"\x8a", b"", b"N"] {
            assert!(check(pickle).unwrap_err().starts_with("it ends within"), "{pickle:?}");
        }
    }
}
