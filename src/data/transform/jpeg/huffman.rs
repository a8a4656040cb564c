//! Huffman tables, laid out so that one look at the next bits gives a coefficient or skips several.

use super::{
    JpegError,
    bits::{BitReader, signed},
};

/// Bits that one look covers: codes and the bits of their coefficient together are rarely longer.
pub(super) const LOOKUP_BITS: u32 = 11;
const ENTRIES: usize = 1 << LOOKUP_BITS;
/// The advance of an end of block: past the last coefficient from wherever it is met.
pub(super) const END_OF_BLOCK: u32 = 64;

/// One table of a file, for DC or AC coefficients.
#[derive(Debug)]
pub(super) struct HuffmanTable {
    /// Number of codes of each length, and the symbols: what the file says. Equal tables are not built again.
    counts: [u8; 16],
    symbols: Vec<u8>,
    is_ac: bool,
    /// By the next bits: a [`Step`] over a code with its coefficient, if they fit.
    steps: Box<[Step; ENTRIES]>,
    /// By the next bits: the step over as many codes with their coefficients as fit.
    skips: Box<[Step; ENTRIES]>,
    /// By the next bits: length and symbol of a code that fits; length 0 for longer ones.
    codes: Box<[(u8, u8); ENTRIES]>,
    /// For each length from 1: the end of its codes, aligned to 16 bits, and what added to a code gives its symbol.
    longer: [(u32, i32); 16],
}

/// What the next bits say: `bits` to consume (0: look at the code itself), coefficients to advance, value to store.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Step(u32);

impl Step {
    fn new(bits: u32, advance: u32, value: i32) -> Self {
        Self(bits | advance << 8 | (value as u32) << 16)
    }

    #[inline(always)]
    pub fn bits(self) -> u32 {
        self.0 & 0xff
    }

    #[inline(always)]
    pub fn advance(self) -> u32 {
        self.0 >> 8 & 0xff
    }

    #[inline(always)]
    pub fn value(self) -> i32 {
        self.0 as i32 >> 16
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
            steps: Box::new([Step::default(); ENTRIES]),
            skips: Box::new([Step::default(); ENTRIES]),
            codes: Box::new([(0, 0); ENTRIES]),
            longer: [(0, 0); 16],
        };
        table.assign_codes()?;
        for next in 0..ENTRIES {
            table.steps[next] = table.step(next);
        }
        if is_ac {
            for next in 0..ENTRIES {
                table.skips[next] = table.skip(next);
            }
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
                if length <= LOOKUP_BITS {
                    let start = (code << (LOOKUP_BITS - length)) as usize;
                    let entries = self.codes.get_mut(start..start + (1 << (LOOKUP_BITS - length)));
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

    /// The step for `next`, none if the code and its bits do not fit.
    fn step(&self, next: usize) -> Step {
        let (length, symbol) = self.codes[next];
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let bits = u32::from(length) + size;
        if length == 0 || bits > LOOKUP_BITS || (!self.is_ac && run > 0) {
            return Step::default();
        }
        match (self.is_ac, run, size) {
            (true, 0, 0) => Step::new(bits, END_OF_BLOCK, 0),
            (true, 15, 0) => Step::new(bits, 16, 0),
            (true, _, 0) => Step::default(),
            _ => {
                let value = next >> (LOOKUP_BITS - bits) & ((1 << size) - 1);
                Step::new(bits, run + 1, signed(value as i32, size))
            }
        }
    }

    fn skip(&self, next: usize) -> Step {
        let (mut bits, mut advance) = (0, 0);
        while bits < LOOKUP_BITS && advance < END_OF_BLOCK {
            let step = self.steps[next << bits & (ENTRIES - 1)];
            // What comes to a whole block without an end of block is no block: taken in single steps, it is refused.
            let is_too_far = step.advance() < END_OF_BLOCK && advance + step.advance() >= END_OF_BLOCK;
            if step.bits() == 0 || bits + step.bits() > LOOKUP_BITS || is_too_far {
                break;
            }
            bits += step.bits();
            advance += step.advance();
        }
        Step::new(bits, advance, 0)
    }

    /// The step over the next code and its coefficient; 0 bits if it needs [`Self::symbol`].
    #[inline(always)]
    pub fn next_step(&self, bits: &BitReader) -> Step {
        self.steps[bits.peek::<LOOKUP_BITS>()]
    }

    /// The step over the next few codes and their coefficients; 0 bits if not even one fits.
    #[inline(always)]
    pub fn next_skip(&self, bits: &BitReader) -> Step {
        self.skips[bits.peek::<LOOKUP_BITS>()]
    }

    /// Takes the next code; needs 16 bits available. `None` if there is no such code.
    #[inline(always)]
    pub fn symbol(&self, bits: &mut BitReader) -> Option<u8> {
        let (length, symbol) = self.codes[bits.peek::<LOOKUP_BITS>()];
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
