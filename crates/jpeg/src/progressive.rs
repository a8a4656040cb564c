//! The scans of a progressive JPEG: each adds bits to the coefficients of the whole image.

use multiversion::{multiversion, target::match_target};

#[cfg(target_arch = "x86_64")]
use super::idct_avx2;
use super::{
    JpegError,
    bits::{BitReader, EntropyCoded},
    huffman::HuffmanTable,
    idct::{self, Block},
    plane::Plane,
    scan::{Units, ZIGZAG, difference, for_each_unit, in_place, write},
};

/// All coefficients of a component, block after block.
#[derive(Debug, Default)]
pub(super) struct Coefficients {
    pub values: Vec<i16>,
    /// Blocks of a row, those beyond the image's edge included.
    pub across: usize,
}

impl Coefficients {
    fn block(&mut self, row: usize, column: usize) -> Result<&mut [i16; 64], JpegError> {
        let start = (row * self.across + column) * 64;
        let block = self.values.get_mut(start..).and_then(|values| values.first_chunk_mut());
        block.ok_or(JpegError::Damaged("has a block outside of the image"))
    }
}

/// Which coefficients a scan has, and which of their bits.
#[derive(Copy, Clone, Debug)]
pub(super) struct Band {
    pub first: usize,
    pub last: usize,
    /// Whether the bits refine what a scan before has given.
    pub is_refinement: bool,
    /// Number of the lowest bit.
    pub low_bit: u32,
}

/// What a scan needs to know of one of its components.
pub(super) struct ProgressiveComponent<'a> {
    /// Number of its coefficients.
    pub index: usize,
    /// Blocks of a unit.
    pub across: usize,
    pub down: usize,
    /// For DC or AC, whichever the scan has; refinements of DC need none.
    pub table: Option<&'a HuffmanTable>,
}

const NO_CODE: JpegError = JpegError::Damaged("has a code that its tables do not");
const NO_TABLE: JpegError = JpegError::Damaged("lacks a Huffman table");

/// A scan of the means.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
pub(super) fn decode_dc(
    units: &Units,
    components: &[ProgressiveComponent],
    band: Band,
    data: &EntropyCoded,
    coefficients: &mut [Coefficients],
) -> Result<(), JpegError> {
    let mut predictions = [0_i32; 4];
    for_each_unit(
        units,
        data,
        &mut predictions,
        |predictions| predictions.fill(0),
        |predictions, bits, row, column| {
            for (component, prediction) in components.iter().zip(predictions) {
                for (down, across) in
                    (0..component.down).flat_map(|down| (0..component.across).map(move |across| (down, across)))
                {
                    let (row, column) = (row * component.down + down, column * component.across + across);
                    let block = coefficients[component.index].block(row, column)?;
                    if band.is_refinement {
                        bits.refill();
                        block[0] |= (bits.take(1) << band.low_bit) as i16;
                    } else {
                        let table = component.table.ok_or(NO_TABLE)?;
                        *prediction = prediction.wrapping_add(difference(bits, table)?);
                        block[0] = prediction.wrapping_shl(band.low_bit) as i16;
                    }
                }
            }
            Ok(())
        },
    )
}

/// A scan of a band of the other coefficients, of one component.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
pub(super) fn decode_ac(
    units: &Units,
    component: &ProgressiveComponent,
    band: Band,
    data: &EntropyCoded,
    coefficients: &mut [Coefficients],
) -> Result<(), JpegError> {
    let table = component.table.ok_or(NO_TABLE)?;
    // Blocks to come that have nothing new but refinements.
    let mut end_run = 0_u32;
    let coefficients = &mut coefficients[component.index];
    for_each_unit(
        units,
        data,
        &mut end_run,
        |end_run| *end_run = 0,
        |end_run, bits, row, column| {
            let block = coefficients.block(row, column)?;
            if band.is_refinement {
                refine(bits, table, band, end_run, block)
            } else {
                first(bits, table, band, end_run, block)
            }
        },
    )
}

#[inline(always)]
fn first(
    bits: &mut BitReader,
    table: &HuffmanTable,
    band: Band,
    end_run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), JpegError> {
    if *end_run > 0 {
        *end_run -= 1;
        return Ok(());
    }
    let mut position = band.first;
    while position <= band.last {
        bits.refill();
        let symbol = table.symbol(bits).ok_or(NO_CODE)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size > 0 {
            position += run as usize;
            let place = ZIGZAG.get(position).filter(|_| position <= band.last).ok_or(NO_CODE)?;
            block[usize::from(*place)] = bits.take_signed(size).wrapping_shl(band.low_bit) as i16;
            position += 1;
        } else if run == 15 {
            position += 16;
        } else {
            *end_run = (1 << run) - 1 + bits.take(run);
            break;
        }
    }
    Ok(())
}

#[inline(always)]
fn refine(
    bits: &mut BitReader,
    table: &HuffmanTable,
    band: Band,
    end_run: &mut u32,
    block: &mut [i16; 64],
) -> Result<(), JpegError> {
    let bit = 1_i16.wrapping_shl(band.low_bit);
    let mut position = band.first;
    while *end_run == 0 && position <= band.last {
        bits.refill();
        let symbol = table.symbol(bits).ok_or(NO_CODE)?;
        let (run, size) = (u32::from(symbol >> 4), symbol & 15);
        let value = match size {
            0 if run < 15 => {
                *end_run = (1 << run) + bits.take(run);
                break;
            }
            0 => 0,
            1 => {
                if bits.take(1) == 1 {
                    bit
                } else {
                    -bit
                }
            }
            _ => return Err(NO_CODE),
        };
        position = refine_until(bits, position, band.last, run, bit, block);
        if value != 0 {
            let place = ZIGZAG.get(position).filter(|_| position <= band.last).ok_or(NO_CODE)?;
            block[usize::from(*place)] = value;
        }
        position += 1;
    }
    if *end_run > 0 {
        refine_until(bits, position, band.last, u32::MAX, bit, block);
        *end_run -= 1;
    }
    Ok(())
}

/// Refines the coefficients from `position` on until a zero comes after `zeros` others; returns its position.
#[inline(always)]
fn refine_until(
    bits: &mut BitReader,
    mut position: usize,
    last: usize,
    mut zeros: u32,
    bit: i16,
    block: &mut [i16; 64],
) -> usize {
    while position <= last {
        let value = &mut block[usize::from(ZIGZAG[position & 63])];
        if *value == 0 {
            if zeros == 0 {
                break;
            }
            zeros -= 1;
        } else {
            bits.refill();
            if bits.take(1) == 1 && *value & bit == 0 {
                *value = value.wrapping_add(if *value > 0 { bit } else { -bit });
            }
        }
        position += 1;
    }
    position
}

/// The samples of the region from the complete coefficients.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
pub(super) fn transform(
    coefficients: &mut Coefficients,
    quantiser: &[u16; 64],
    plane: &mut Plane,
) -> Result<(), JpegError> {
    let full = match_target! {
        "x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma" => |block: &Block, quantiser: &Block| idct_avx2::full(block, quantiser),
        _ => |block: &Block, quantiser: &Block| idct::full(block, quantiser),
    };
    let quantiser = in_place(quantiser);
    for row in plane.rows.clone() {
        for column in plane.columns.clone() {
            let mut block = *coefficients.block(row, column)?;
            if let Some(place) = plane.place(row, column) {
                write(&mut block, &quantiser, 63, plane, place, full);
            }
        }
    }
    Ok(())
}
