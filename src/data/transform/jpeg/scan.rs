//! A scan of a sequential JPEG: Huffman codes to coefficients to samples, block by block.
//!
//! Codes have no index, so every block before the region's last row is decoded; but a block outside of the region is
//! only skipped, several coefficients at a look, and rows below the region are not looked at.

use multiversion::multiversion;

use super::{
    JpegError,
    bits::{BitReader, EntropyCoded},
    huffman::{END_OF_BLOCK, HuffmanTable},
    idct::{self, Block},
    plane::Plane,
};

/// Where the coefficients stand in a block, in the order in which they are written.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// Where the units of a scan stand: of all its components together, or the blocks of its only one.
#[derive(Debug)]
pub(super) struct Units {
    pub across: usize,
    /// Rows of units from the first that is needed to behind the last.
    pub needed: std::ops::Range<usize>,
    /// Units between two restart markers; 0 without.
    pub restart_interval: usize,
}

/// What a scan needs to know of one of its components.
pub(super) struct ScanComponent<'a> {
    /// Number of its plane.
    pub plane: usize,
    /// Blocks of a unit.
    pub across: usize,
    pub down: usize,
    pub dc: &'a HuffmanTable,
    pub ac: &'a HuffmanTable,
    /// In the order of [`ZIGZAG`].
    pub quantiser: &'a [u16; 64],
}

/// Calls `unit` with row and column of each unit from the first needed one on, and with the reader of its segment,
/// `restart` at the beginning of each segment.
#[inline(always)]
pub(super) fn for_each_unit<S>(
    units: &Units,
    data: &EntropyCoded,
    state: &mut S,
    restart: impl Fn(&mut S),
    mut unit: impl FnMut(&mut S, &mut BitReader, usize, usize) -> Result<(), JpegError>,
) -> Result<(), JpegError> {
    let interval = if units.restart_interval == 0 { usize::MAX } else { units.restart_interval };
    // Segments can be jumped over.
    let mut segment = (units.needed.start * units.across) / interval;
    let (mut row, mut column) = (segment * interval / units.across, segment * interval % units.across);
    while row < units.needed.end {
        let mut bits = data.segment(segment).map_err(|_| JpegError::Damaged("has too few restart markers"))?;
        restart(state);
        let mut left = interval;
        while left > 0 && row < units.needed.end {
            let done = unit(state, &mut bits, row, column);
            if bits.is_overrun() {
                return Err(JpegError::Damaged("ends before its last pixels"));
            }
            done?;
            left -= 1;
            column += 1;
            if column == units.across {
                (row, column) = (row + 1, 0);
            }
        }
        segment += 1;
    }
    Ok(())
}

/// Decodes a scan into the planes of its components.
///
/// # Errors
/// Data that is no such scan.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
pub(super) fn decode(
    units: &Units,
    components: &[ScanComponent],
    data: &EntropyCoded,
    planes: &mut [Plane],
) -> Result<(), JpegError> {
    let mut predictions = [0_i32; 4];
    let mut block: Block = [0; 64];
    for_each_unit(
        units,
        data,
        &mut predictions,
        |predictions| predictions.fill(0),
        |predictions, bits, row, column| {
            for (component, prediction) in components.iter().zip(predictions) {
                let plane = &mut planes[component.plane];
                for down in 0..component.down {
                    for across in 0..component.across {
                        *prediction = prediction.wrapping_add(difference(bits, component.dc)?);
                        let place = plane.place(row * component.down + down, column * component.across + across);
                        let Some(place) = place else {
                            skip(bits, component.ac)?;
                            continue;
                        };
                        let last = coefficients(bits, component.ac, component.quantiser, &mut block)?;
                        block[0] = prediction.wrapping_mul(component.quantiser[0].into()) as i16;
                        write(&mut block, last, plane.side, &mut plane.samples[place..], plane.stride);
                    }
                }
            }
            Ok(())
        },
    )
}

/// Writes a block's samples and clears it; `last` is the position of its last coefficient.
#[inline(always)]
pub(super) fn write(block: &mut Block, last: u32, side: usize, samples: &mut [u8], stride: usize) {
    if last == 0 || side == 1 {
        idct::flat(block[0], side, samples, stride);
        if last == 0 {
            return;
        }
    } else {
        match side {
            8 => idct::full(block, samples, stride),
            4 => idct::half(block, samples, stride),
            _ => idct::quarter(block, samples, stride),
        }
    }
    *block = [0; 64];
}

const NO_CODE: JpegError = JpegError::Damaged("has a code that its tables do not");

/// The difference of a block's mean to the one before.
#[inline(always)]
pub(super) fn difference(bits: &mut BitReader, table: &HuffmanTable) -> Result<i32, JpegError> {
    bits.refill();
    let step = table.next_step(bits);
    if step.bits() > 0 {
        bits.consume(step.bits());
        return Ok(step.value());
    }
    let size = table.symbol(bits).filter(|&size| size < 16).ok_or(NO_CODE)?;
    Ok(bits.take_signed(size.into()))
}

/// Reads a block's other coefficients; returns the position of the last.
#[inline(always)]
fn coefficients(
    bits: &mut BitReader,
    table: &HuffmanTable,
    quantiser: &[u16; 64],
    block: &mut Block,
) -> Result<u32, JpegError> {
    let mut position = 0;
    while position < 63 {
        bits.refill();
        let step = table.next_step(bits);
        let (advance, value) = if step.bits() > 0 {
            bits.consume(step.bits());
            (step.advance(), step.value())
        } else {
            long_step(bits, table)?
        };
        if advance == END_OF_BLOCK {
            break;
        }
        position += advance;
        if position > 63 {
            return Err(NO_CODE);
        }
        let value = value.wrapping_mul(quantiser[position as usize & 63].into());
        block[usize::from(ZIGZAG[position as usize & 63] & 63)] = value as i16;
    }
    Ok(position)
}

/// A code that does not fit into one look with its coefficient.
#[inline(always)]
fn long_step(bits: &mut BitReader, table: &HuffmanTable) -> Result<(u32, i32), JpegError> {
    let symbol = table.symbol(bits).ok_or(NO_CODE)?;
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    match (run, size) {
        (0, 0) => Ok((END_OF_BLOCK, 0)),
        (15, 0) => Ok((16, 0)),
        (_, 0) => Err(NO_CODE),
        _ => Ok((run + 1, bits.take_signed(size))),
    }
}

/// Passes over a block's other coefficients.
#[inline(always)]
fn skip(bits: &mut BitReader, table: &HuffmanTable) -> Result<(), JpegError> {
    let mut position = 0;
    while position < 63 {
        bits.refill();
        let skip = table.next_skip(bits);
        let advance = skip.advance();
        let is_end = advance >= END_OF_BLOCK;
        // The codes of one look may go on into the next block, which only the coefficients so far tell.
        let last = if is_end { END_OF_BLOCK + 62 } else { 63 };
        if skip.bits() > 0 && position + advance <= last {
            bits.consume(skip.bits());
            if is_end {
                return Ok(());
            }
            position += advance;
            continue;
        }
        let (advance, _) = long_step(bits, table)?;
        if advance == END_OF_BLOCK {
            return Ok(());
        }
        position += advance;
        if position > 63 {
            return Err(NO_CODE);
        }
    }
    Ok(())
}
