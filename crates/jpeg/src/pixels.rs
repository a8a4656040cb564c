//! From the planes of the components to RGB: chroma samples are spread over their pixels, colours converted.
//!
//! Both as the reference library does it by default (`jdsample.c`, `jdcolor.c`), bit for bit: halved chroma is
//! interpolated with the weights 3/4 and 1/4 ("fancy upsampling"), other ratios repeat samples.

use multiversion::multiversion;

use super::{Area, plane::Plane};

/// How the components make colours.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Grey,
    YCbCr,
    Rgb,
    /// Ink, of which files hold the complement, as Adobe writes it and the Python Imaging Library assumes.
    Cmyk,
    /// The same with cyan, magenta and yellow as YCbCr.
    Ycck,
}

/// Rows that are reused from image to image.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Weighted sums of two rows of samples.
    sums: Vec<u16>,
    /// A row of each component, a sample for each pixel.
    spread: [Vec<u8>; 4],
}

/// Writes the pixels of `area`, in the coordinates of the planes' image, `[height, width, 3]`.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
pub(super) fn convert(planes: &[Plane], colour: Colour, area: &Area, rows: &mut Rows, out: &mut [u8]) {
    for (row, out) in out.chunks_exact_mut(area.width * 3).enumerate() {
        let Rows { sums, spread } = rows;
        for (plane, spread) in planes.iter().zip(spread.iter_mut()) {
            if plane.ratio != (1, 1) {
                spread_row(plane, area.top + row, area.left, area.width, sums, spread);
            }
        }
        let slice = |index: usize| -> &[u8] {
            let Some(plane) = planes.get(index) else { return &[] };
            if plane.ratio != (1, 1) {
                return &rows.spread[index][..area.width];
            }
            plane.row(area.top + row).get(area.left - plane.first_column()..).unwrap_or_default()
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(slice);
        match colour {
            Colour::Grey => out.chunks_exact_mut(3).zip(a).for_each(|(pixel, &grey)| pixel.fill(grey)),
            Colour::YCbCr => ycbcr_row(a, b, c, out),
            Colour::Rgb => {
                for (((pixel, &red), &green), &blue) in out.chunks_exact_mut(3).zip(a).zip(b).zip(c) {
                    pixel.copy_from_slice(&[red, green, blue]);
                }
            }
            Colour::Cmyk => inked_row([a, b, c, d], |inks| inks, out),
            Colour::Ycck => inked_row([a, b, c, d], |[y, cb, cr]| rgb(y, cb, cr).map(|value| 255 - value), out),
        }
    }
}

/// Pixels `left..left + width` of a row, in `spread`.
#[inline(always)]
fn spread_row(plane: &Plane, row: usize, left: usize, width: usize, sums: &mut Vec<u16>, spread: &mut Vec<u8>) {
    let (across, down) = plane.ratio;
    let (first, last) = (left / across, (left + width).div_ceil(across));
    let is_fancy = plane.side > 1 && across <= 2 && down <= 2 && (across == 1 || plane.width > 2);
    let begin = plane.first_column();
    let near = plane.row(row / down);
    spread.clear();
    if !is_fancy {
        spread.extend((left..left + width).map(|column| near[(column / across).min(plane.width - 1) - begin]));
        return;
    }
    // Sums of four times a sample where only columns are spread would change the rounding: there it is the sample.
    let far = if down == 1 {
        near
    } else {
        plane.row(if row.is_multiple_of(2) { (row / 2).saturating_sub(1) } else { row / 2 + 1 })
    };
    let (near_weight, far_weight) = if down == 1 { (1, 0) } else { (3, 1) };
    let sum = |(&near, &far): (&u8, &u8)| near_weight * u16::from(near) + far_weight * u16::from(far);
    if across == 1 {
        let bias = if row.is_multiple_of(2) { 1 } else { 2 };
        let columns = first - begin..last - begin;
        spread.extend(near[columns.clone()].iter().zip(&far[columns]).map(|pair| ((sum(pair) + bias) >> 2) as u8));
        return;
    }
    // One more sample on either side; at the image's edges the last one stands for it.
    let end = (last + 1).min(plane.width);
    let columns = first.saturating_sub(1) - begin..end - begin;
    sums.clear();
    let pairs = near[columns.clone()].iter().zip(&far[columns]).map(sum);
    if first == 0 {
        sums.push(sum((&near[0], &far[0])));
    }
    sums.extend(pairs);
    if end < last + 1 {
        sums.push(sums[sums.len() - 1]);
    }
    let (even_bias, odd_bias, shift) = if down == 1 { (1, 2, 2) } else { (8, 7, 4) };
    spread.resize(2 * (last - first), 0);
    let neighbours = sums.iter().zip(&sums[1..]).zip(&sums[2..]);
    for (pair, ((&before, &here), &after)) in spread.chunks_exact_mut(2).zip(neighbours) {
        pair[0] = ((3 * here + before + even_bias) >> shift) as u8;
        pair[1] = ((3 * here + after + odd_bias) >> shift) as u8;
    }
    if left % 2 == 1 {
        spread.remove(0);
    }
}

/// In 16 bits of fixed point.
const CR_RED: i32 = 91_881;
const CB_GREEN: i32 = -22_554;
const CR_GREEN: i32 = -46_802;
const CB_BLUE: i32 = 116_130;
const HALF: i32 = 1 << 15;

#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    [
        y + ((CR_RED * cr + HALF) >> 16),
        y + ((CB_GREEN * cb + CR_GREEN * cr + HALF) >> 16),
        y + ((CB_BLUE * cb + HALF) >> 16),
    ]
    .map(|value| value.clamp(0, 255) as u8)
}

/// Pixels that are converted side by side.
const LANES: usize = 32;

#[inline(always)]
fn ycbcr_row(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let (ys, cbs, crs) = (y.chunks_exact(LANES), cb.chunks_exact(LANES), cr.chunks_exact(LANES));
    let whole = out.len() / 3 / LANES * LANES;
    for (((pixels, y), cb), cr) in out.chunks_exact_mut(3 * LANES).zip(ys).zip(cbs).zip(crs) {
        let (Some(y), Some(cb), Some(cr)) = (y.first_chunk(), cb.first_chunk(), cr.first_chunk()) else { return };
        let [red, green, blue] = rgb_lanes(y, cb, cr);
        for (lane, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[red[lane], green[lane], blue[lane]]);
        }
    }
    let rest = out.chunks_exact_mut(3).zip(y).zip(cb).zip(cr).skip(whole);
    for (((pixel, &y), &cb), &cr) in rest {
        pixel.copy_from_slice(&rgb(y, cb, cr));
    }
}

/// [`rgb`] in 16 bits, which hold all sums when the factors' whole parts are added for themselves.
#[inline(always)]
fn rgb_lanes(y: &[u8; LANES], cb: &[u8; LANES], cr: &[u8; LANES]) -> [[u8; LANES]; 3] {
    // Half of the upper 16 bits of twice the product, rounded.
    let part = |value: i16, factor: i32| ((((2 * i32::from(value) * factor) >> 16) as i16) + 1) >> 1;
    let clamp = |value: i16| value.clamp(0, 255) as u8;
    let [mut red, mut green, mut blue] = [[0; LANES]; 3];
    for lane in 0..LANES {
        let [y, cb, cr] = [y[lane], cb[lane], cr[lane]].map(i16::from);
        let (cb, cr) = (cb - 128, cr - 128);
        red[lane] = clamp(y + cr + part(cr, CR_RED - (1 << 16)));
        let of_green = i32::from(cb) * CB_GREEN + i32::from(cr) * (CR_GREEN + (1 << 16));
        green[lane] = clamp(y - cr + ((of_green + HALF) >> 16) as i16);
        blue[lane] = clamp(y + 2 * cb + part(cb, CB_BLUE - (2 << 16)));
    }
    [red, green, blue]
}

/// `inks`: cyan, magenta and yellow from the first three components.
#[inline(always)]
fn inked_row([a, b, c, black]: [&[u8]; 4], inks: impl Fn([u8; 3]) -> [u8; 3], out: &mut [u8]) {
    for ((((pixel, &a), &b), &c), &light) in out.chunks_exact_mut(3).zip(a).zip(b).zip(c).zip(black) {
        for (value, stored) in pixel.iter_mut().zip(inks([a, b, c])) {
            let product = u32::from(255 - stored) * u32::from(light) + 128;
            *value = light.saturating_sub((((product >> 8) + product) >> 8) as u8);
        }
    }
}
