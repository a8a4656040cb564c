//! A position in the bytes of a file; every step is checked against their end.

use crate::weights::WeightsProblem;

/// Reads on from a position.
#[derive(Copy, Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`WeightsProblem::Damaged`] if there are fewer.
    pub fn take(&mut self, length: u64) -> Result<&'a [u8], WeightsProblem> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
            WeightsProblem::damaged(format!(
                "at byte {} it promises {length} more bytes, but ends after {}",
                self.position,
                rest.len()
            ))
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsProblem> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    /// A number of one byte.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn byte(&mut self) -> Result<u8, WeightsProblem> {
        self.array().map(|[byte]| byte)
    }

    /// The text up to the next line end, which is passed over.
    ///
    /// # Errors
    /// [`WeightsProblem::Damaged`] without a line end, or when it is not UTF-8.
    pub fn line(&mut self) -> Result<&'a str, WeightsProblem> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        let length = length.ok_or_else(|| WeightsProblem::damaged("it ends within a name"))?;
        self.position += length + 1;
        text(&rest[..length])
    }
}

/// `bytes` as text.
///
/// # Errors
/// [`WeightsProblem::Damaged`] when they are not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, WeightsProblem> {
    std::str::from_utf8(bytes).map_err(|_| WeightsProblem::damaged("a text in it is not UTF-8"))
}
