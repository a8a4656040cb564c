//! The entropy-coded part of a scan as a stream of bits.
//!
//! Stuffed zeros and restart markers are taken out first, so that the reader can load eight bytes at a time without
//! looking at them. What is read past a segment's end is zeros or the next segment: [`BitReader::is_overrun`] tells.

use super::JpegError;

/// Bytes after the last segment that the reader may load.
const PADDING: usize = 8;

/// The bytes of one scan without stuffing, cut at its restart markers.
#[derive(Debug, Default)]
pub(super) struct EntropyCoded {
    bytes: Vec<u8>,
    /// Where each segment ends in `bytes`.
    ends: Vec<usize>,
}

impl EntropyCoded {
    /// Fills itself with the scan whose data begins at `start` of `file`; returns where the marker after it stands.
    ///
    /// # Errors
    /// [`JpegError::CutShort`] when the file ends before that marker.
    pub fn read(&mut self, file: &[u8], start: usize) -> Result<usize, JpegError> {
        self.bytes.clear();
        self.ends.clear();
        let mut rest = start;
        loop {
            let tail = file.get(rest..).ok_or(JpegError::CutShort)?;
            let run = memchr::memchr(0xff, tail).ok_or(JpegError::CutShort)?;
            self.bytes.extend_from_slice(&tail[..run]);
            let code = *tail.get(run + 1).ok_or(JpegError::CutShort)?;
            match code {
                0 => self.bytes.push(0xff),
                0xd0..=0xd7 => self.ends.push(self.bytes.len()),
                // A fill byte: the marker's own comes later.
                0xff => {
                    rest += run + 1;
                    continue;
                }
                _ => {
                    self.ends.push(self.bytes.len());
                    self.bytes.extend_from_slice(&[0; PADDING]);
                    return Ok(rest + run);
                }
            }
            rest += run + 2;
        }
    }

    /// A reader of the segment that stands `number`th, from 0.
    pub fn segment(&self, number: usize) -> Result<BitReader<'_>, JpegError> {
        let end = *self.ends.get(number).ok_or(JpegError::CutShort)?;
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        Ok(BitReader { bytes: &self.bytes, position: start, end, bits: 0, available: 0 })
    }
}

/// Bits from the highest of each byte on.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    end: usize,
    /// The next bits, from the highest on; below the `available` ones stands what the next refill puts there too.
    bits: u64,
    available: u32,
}

impl BitReader<'_> {
    /// Makes at least 56 bits available.
    #[inline(always)]
    pub fn refill(&mut self) {
        let word = self.bytes.get(self.position..self.position + 8).and_then(|bytes| bytes.first_chunk::<8>());
        let word = word.map_or(0, |bytes| u64::from_be_bytes(*bytes));
        self.bits |= word >> self.available;
        self.position += ((63 - self.available) >> 3) as usize;
        self.available |= 56;
    }

    /// The next `COUNT` bits, which stay. Needs them available.
    #[inline(always)]
    pub fn peek<const COUNT: u32>(&self) -> usize {
        (self.bits >> (64 - COUNT)) as usize
    }

    /// Needs `count` bits available, at most 56.
    #[inline(always)]
    pub fn consume(&mut self, count: u32) {
        self.bits <<= count & 63;
        self.available = self.available.wrapping_sub(count) & 63;
    }

    /// The next `count` bits, at most 16, as a number. Needs them available.
    #[inline(always)]
    pub fn take(&mut self, count: u32) -> u32 {
        // In two steps, because a shift by 64 is none.
        let value = (self.bits >> 1 >> (63 - (count & 31))) as u32;
        self.consume(count);
        value
    }

    /// A coefficient of `size` bits as the format writes it: below half the range means negative.
    #[inline(always)]
    pub fn take_signed(&mut self, size: u32) -> i32 {
        let value = self.take(size) as i32;
        signed(value, size)
    }

    /// Whether more bits were consumed than the segment has.
    #[inline(always)]
    pub fn is_overrun(&self) -> bool {
        (self.position * 8).saturating_sub(self.available as usize) > self.end * 8
    }
}

/// The value that `size` bits stand for.
#[inline(always)]
pub(super) fn signed(bits: i32, size: u32) -> i32 {
    if size == 0 || bits >> (size - 1) != 0 { bits } else { bits - (1 << size) + 1 }
}
