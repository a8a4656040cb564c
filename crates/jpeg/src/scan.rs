//! A scan of a sequential JPEG: Huffman codes to coefficients to samples, block by block.
//!
//! Codes have no index, so every block before the region's last row is decoded; but a block outside of the region is
//! only skipped, several coefficients at a look, and rows below the region are not looked at.

use multiversion::{multiversion, target::match_target};

#[cfg(target_arch = "x86_64")]
use super::idct_avx2;
use super::{
    JpegError,
    bits::{BitReader, EntropyCoded},
    huffman::{HuffmanTable, LOOK_BITS, Look},
    idct::{self, Block, COLUMNS},
    plane::Plane,
};

/// Where the coefficients stand in a [`Block`], in the order in which they are written.
pub(super) const ZIGZAG: [u8; 64] = {
    const NATURAL: [u8; 64] = [
        0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14,
        21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60,
        61, 54, 47, 55, 62, 63,
    ];
    let mut places = [0; 64];
    let mut position = 0;
    while position < 64 {
        let (row, frequency) = (NATURAL[position] / 8, NATURAL[position] % 8);
        places[position] = row * 8 + COLUMNS[frequency as usize] as u8;
        position += 1;
    }
    places
};

/// A file's quantisers where a [`Block`] has the coefficients that they belong to.
pub(super) fn in_place(quantiser: &[u16; 64]) -> Block {
    let mut block = [0; 64];
    for (&place, &factor) in ZIGZAG.iter().zip(quantiser) {
        block[usize::from(place)] = factor as i16;
    }
    block
}

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
    /// In the order of a [`Block`].
    pub quantiser: Block,
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
    let full = match_target! {
        "x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma" => |block: &Block, quantiser: &Block| idct_avx2::full(block, quantiser),
        _ => |block: &Block, quantiser: &Block| idct::full(block, quantiser),
    };
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
                        let last = coefficients(bits, component.ac, &mut block)?;
                        block[0] = *prediction as i16;
                        write(&mut block, &component.quantiser, last, plane, place, full);
                    }
                }
            }
            Ok(())
        },
    )
}

/// Writes a block's samples to where they begin in `plane`, and clears it; `last` is the position of its last coefficient.
#[inline(always)]
pub(super) fn write(
    block: &mut Block,
    quantiser: &Block,
    last: u32,
    plane: &mut Plane,
    place: usize,
    full: impl Fn(&Block, &Block) -> [u64; 8],
) {
    let (samples, stride) = (&mut plane.samples[place..], plane.stride);
    if last == 0 || plane.side == 1 {
        idct::flat(block[0].wrapping_mul(quantiser[0]), plane.side, samples, stride);
        if last == 0 {
            return;
        }
    } else {
        match plane.side {
            8 => {
                for (row, out) in full(block, quantiser).into_iter().zip(samples.chunks_mut(stride)) {
                    if let Some(out) = out.first_chunk_mut() {
                        *out = row.to_le_bytes();
                    }
                }
            }
            4 => idct::half(block, quantiser, samples, stride),
            _ => idct::quarter(block, quantiser, samples, stride),
        }
    }
    *block = [0; 64];
}

const NO_CODE: JpegError = JpegError::Damaged("has a code that its tables do not");

/// The difference of a block's mean to the one before. Leaves bits for [`LOOKS`] looks.
#[inline(always)]
pub(super) fn difference(bits: &mut BitReader, table: &HuffmanTable) -> Result<i32, JpegError> {
    bits.refill();
    let difference = table.next_difference(bits);
    if difference.bits() > 0 {
        bits.consume(difference.bits());
        return Ok(difference.value());
    }
    let size = table.symbol(bits).filter(|&size| size < 16).ok_or(NO_CODE)?;
    let value = bits.take_signed(size.into());
    bits.refill();
    Ok(value)
}

/// Looks at AC codes between two refills.
const LOOKS: usize = 3;

/// Reads a block's other coefficients; returns the position of the last.
#[inline(always)]
fn coefficients(bits: &mut BitReader, table: &HuffmanTable, block: &mut Block) -> Result<u32, JpegError> {
    let place = |position: u32| usize::from(ZIGZAG[position as usize & 63] & 63);
    let looks = looks(table)?;
    let mut position = 0;
    loop {
        for _ in 0..LOOKS {
            let look = looks[bits.peek::<LOOK_BITS>()];
            let reach = position + look.reach();
            if look.first() == 0 || reach > 63 {
                if look.bits() > 0 && look.first() == 0 {
                    bits.consume(look.bits());
                    return Ok(position);
                }
                // A long code, or a look that leads into the next block.
                let Some((advance, value)) = single(bits, table)? else { return Ok(position) };
                position += advance;
                if position > 63 {
                    return Err(NO_CODE);
                }
                block[place(position)] = value as i16;
                if position == 63 {
                    return Ok(position);
                }
                break;
            }
            bits.consume(look.bits());
            block[place(position + look.first())] = look.first_value();
            position = reach - u32::from(look.is_end());
            block[place(position)] = look.last_value();
            if look.is_end() || position == 63 {
                return Ok(position);
            }
        }
        bits.refill();
    }
}

/// Passes over a block's other coefficients.
#[inline(always)]
fn skip(bits: &mut BitReader, table: &HuffmanTable) -> Result<(), JpegError> {
    let looks = looks(table)?;
    let mut position = 0;
    loop {
        for _ in 0..LOOKS {
            let look = looks[bits.peek::<LOOK_BITS>()];
            let reach = position + look.reach();
            if look.bits() == 0 || reach > 63 {
                let Some((advance, _)) = single(bits, table)? else { return Ok(()) };
                position += advance;
                if position > 63 {
                    return Err(NO_CODE);
                }
                if position == 63 {
                    return Ok(());
                }
                break;
            }
            bits.consume(look.bits());
            position = reach;
            if look.is_end() || position == 63 {
                return Ok(());
            }
        }
        bits.refill();
    }
}

#[inline(always)]
fn looks(table: &HuffmanTable) -> Result<&[Look; 1 << LOOK_BITS], JpegError> {
    table.by_next_bits().first_chunk().ok_or(NO_CODE)
}

/// Takes one code with its coefficient, however long: by how much it advances, and the value; `None` at the end of a block.
#[inline(always)]
fn single(bits: &mut BitReader, table: &HuffmanTable) -> Result<Option<(u32, i32)>, JpegError> {
    bits.refill();
    let symbol = table.symbol(bits).ok_or(NO_CODE)?;
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    match (run, size) {
        (0, 0) => Ok(None),
        (15, 0) => Ok(Some((16, 0))),
        (_, 0) => Err(NO_CODE),
        _ => Ok(Some((run + 1, bits.take_signed(size)))),
    }
}
