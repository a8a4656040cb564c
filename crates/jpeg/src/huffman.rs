//! Huffman tables, laid out so that one look at the next bits gives a coefficient or two.

use multiversion::multiversion;

use super::{
    JpegError,
    bits::{BitReader, signed},
};

/// Bits that one look at AC codes covers: those of one or two coefficients, as a rule.
pub(super) const LOOK_BITS: u32 = 12;
/// The same for a code alone, and for a DC code with its difference.
pub(super) const CODE_BITS: u32 = 11;
const LOOKS: usize = 1 << LOOK_BITS;
const CODES: usize = 1 << CODE_BITS;

/// One table of a file, for DC or AC coefficients.
#[derive(Debug)]
pub(super) struct HuffmanTable {
    /// Number of codes of each length, and the symbols: what the file says. Equal tables are not built again.
    counts: [u8; 16],
    symbols: Vec<u8>,
    is_ac: bool,
    /// By the next bits, of DC tables.
    differences: Box<[Difference]>,
    /// By the next bits, of AC tables.
    looks: Box<[Look]>,
    /// By the next bits: length and symbol of a code that fits; length 0 for longer ones.
    codes: Box<[(u8, u8); CODES]>,
    /// For each length from 1: the end of its codes, aligned to 16 bits, and what added to a code gives its symbol.
    longer: [(u32, i32); 16],
}

/// A DC code with its difference: bits to consume, 0 if they do not fit, and the difference.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Difference(u32);

impl Difference {
    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 & 63
    }

    #[inline(always)]
    pub fn value(self) -> i32 {
        self.0 as i32 >> 16
    }
}

/// What the next bits say of AC coefficients: nothing (the first code with its bits is too long), an end of block, one or
/// two coefficients, or one with the end of block behind it.
///
/// From the lowest on: 6 bits: how many to consume; 1: whether the block ends; 5: by how much the first coefficient
/// advances, 0 if there is none; 6: how far all reaches, the end of the block counting as one; twice 7: the two values.
/// Where there is but one coefficient, it stands for the second too, in the same place.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Look(u32);

impl Look {
    const END: u32 = 1 << 6;
    const REACH: u32 = 63 << 12;

    fn end(bits: u32) -> Look {
        Look(bits | Self::END | 1 << 12)
    }

    /// One coefficient, of whose value 7 bits are kept.
    fn coefficient(bits: u32, advance: u32, value: i32) -> Look {
        let value = value as u32 & 127;
        Look(bits | advance << 7 | advance << 12 | value << 18 | value << 25)
    }

    /// With `next` behind it, for which there must be room.
    #[inline(always)]
    fn followed_by(self, next: Look) -> Look {
        let last = if next.first() > 0 { next } else { self };
        let fields = (self.0 & 0x3_ffff) + (next.0 & (63 | Self::END | Self::REACH));
        Look(fields | self.0 & 127 << 18 | last.0 & 127 << 25)
    }

    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 & 63
    }

    #[inline(always)]
    pub fn is_end(self) -> bool {
        self.0 & Self::END != 0
    }

    /// By how much the first coefficient advances; 0 if there is none.
    #[inline(always)]
    pub fn first(self) -> u32 {
        self.0 >> 7 & 31
    }

    /// By how much all coefficients advance, and one more for the end of the block.
    #[inline(always)]
    pub fn reach(self) -> u32 {
        self.0 >> 12 & 63
    }

    #[inline(always)]
    pub fn first_value(self) -> i16 {
        ((self.0 << 7) as i32 >> 25) as i16
    }

    #[inline(always)]
    pub fn last_value(self) -> i16 {
        (self.0 as i32 >> 25) as i16
    }
}

impl HuffmanTable {
    /// The table that `counts` and `symbols` describe; `previous` if it is that one.
    ///
    /// # Errors
    /// When no code can have such counts.
    pub fn new(
        counts: [u8; 16],
        symbols: &[u8],
        is_ac: bool,
        previous: Option<HuffmanTable>,
    ) -> Result<HuffmanTable, JpegError> {
        if let Some(table) = previous
            && table.is_ac == is_ac
            && table.counts == counts
            && table.symbols == symbols
        {
            return Ok(table);
        }
        let mut table = HuffmanTable {
            counts,
            symbols: symbols.to_vec(),
            is_ac,
            differences: Box::default(),
            looks: Box::default(),
            codes: Box::new([(0, 0); CODES]),
            longer: [(0, 0); 16],
        };
        table.assign_codes()?;
        if is_ac {
            table.looks = table.looks();
        } else {
            table.differences = (0..CODES).map(|next| table.difference(next)).collect();
        }
        Ok(table)
    }

    fn assign_codes(&mut self) -> Result<(), JpegError> {
        let (mut code, mut first) = (0_u32, 0_usize);
        for (position, &count) in self.counts.iter().enumerate() {
            let length = position as u32 + 1;
            let symbols = self.symbols.get(first..first + usize::from(count)).ok_or(JpegError::HuffmanTable)?;
            self.longer[position].1 = first as i32 - code as i32;
            for &symbol in symbols {
                if length <= CODE_BITS {
                    let start = (code << (CODE_BITS - length)) as usize;
                    let entries = self.codes.get_mut(start..start + (1 << (CODE_BITS - length)));
                    entries.ok_or(JpegError::HuffmanTable)?.fill((length as u8, symbol));
                }
                code += 1;
            }
            if code > 1 << length {
                return Err(JpegError::HuffmanTable);
            }
            self.longer[position].0 = code << (16 - length);
            first += usize::from(count);
            code <<= 1;
        }
        Ok(())
    }

    /// The difference that `next` begins with, none if the code and its bits do not fit.
    fn difference(&self, next: usize) -> Difference {
        let (length, size) = self.codes[next];
        let (length, size) = (u32::from(length), u32::from(size));
        let bits = length + size;
        if length == 0 || bits > CODE_BITS {
            return Difference::default();
        }
        let value = next >> (CODE_BITS - bits) & ((1 << size) - 1);
        Difference(bits | (signed(value as i32, size) as u32) << 16)
    }

    /// All looks: at one code each, then with the next one where it fits.
    fn looks(&self) -> Box<[Look]> {
        let mut alone = Box::new([Look::default(); LOOKS]);
        let mut start = 0;
        while start < LOOKS {
            let (length, symbol) = self.codes[start >> (LOOK_BITS - CODE_BITS)];
            let end = start + (LOOKS >> if length == 0 { CODE_BITS } else { length.into() });
            look_at_code(&mut alone[start..end], length.into(), symbol);
            start = end;
        }
        with_what_follows(&alone)
    }

    /// The next DC code with its difference; 0 bits if it needs [`Self::symbol`].
    #[inline(always)]
    pub fn next_difference(&self, bits: &BitReader) -> Difference {
        self.differences.get(bits.peek::<CODE_BITS>()).copied().unwrap_or_default()
    }

    /// By the next [`LOOK_BITS`]; empty of a DC table.
    #[inline(always)]
    pub fn by_next_bits(&self) -> &[Look] {
        &self.looks
    }

    /// Takes the next code; needs 16 bits available. `None` if there is no such code.
    #[inline(always)]
    pub fn symbol(&self, bits: &mut BitReader) -> Option<u8> {
        let (length, symbol) = self.codes[bits.peek::<CODE_BITS>()];
        if length > 0 {
            bits.consume(length.into());
            return Some(symbol);
        }
        self.long_symbol(bits)
    }

    #[cold]
    fn long_symbol(&self, bits: &mut BitReader) -> Option<u8> {
        let next = bits.peek::<16>() as u32;
        let position = self.longer.iter().position(|&(end, _)| next < end)?;
        let code = next >> (15 - position);
        bits.consume(position as u32 + 1);
        self.symbols.get(usize::try_from(code as i32 + self.longer[position].1).ok()?).copied()
    }
}

/// Fills `looks`, all of which begin with the code of `symbol`; 0 for a `length` that does not fit.
fn look_at_code(looks: &mut [Look], length: u32, symbol: u8) {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    let bits = length + size;
    match (run, size) {
        _ if length == 0 || bits > LOOK_BITS => {}
        (0, 0) => looks.fill(Look::end(bits)),
        (15, 0) => looks.fill(Look::coefficient(bits, 16, 0)),
        // Larger values have no room, and a run without a coefficient is no code.
        (_, 0 | 7..) => {}
        _ => {
            for (value, looks) in looks.chunks_exact_mut(1 << (LOOK_BITS - bits)).enumerate() {
                looks.fill(Look::coefficient(bits, run + 1, signed(value as i32, size)));
            }
        }
    }
}

/// Looks at two codes where both fit from those at one each. Without branches, for files often have tables of their own.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
fn with_what_follows(alone: &[Look; LOOKS]) -> Box<[Look]> {
    let mut looks = vec![Look::default(); LOOKS].into_boxed_slice();
    for (next, look) in looks.iter_mut().enumerate() {
        let first = alone[next];
        let second = alone[next << first.bits() & (LOOKS - 1)];
        let fits = (first.first() > 0) & (second.bits() > 0) & (first.bits() + second.bits() <= LOOK_BITS);
        *look = if fits { first.followed_by(second) } else { first };
    }
    looks
}
