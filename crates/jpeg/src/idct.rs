//! From the coefficients of a block to its samples, at full size or at a half, a quarter or an eighth of it.
//!
//! At full size it is, bit for bit, the accurate integer transform of the reference library (`jidctint.c`), which is
//! what the Python Imaging Library uses: after Loeffler, Ligtenberg and Moschytz, *Practical fast 1-D DCT algorithms
//! with 11 multiplications* (ICASSP 1989). Smaller sizes are the transforms of 4, 2 and 1 points of the lowest
//! frequencies, which is the image with all others removed.
//!
//! Written on arrays of eight numbers, which the compiler turns into vector instructions.

/// Coefficients of a block, or their quantisers: rows of horizontal frequencies in the order of [`COLUMNS`].
pub(super) type Block = [i16; 64];

/// Where each horizontal frequency stands in a row, such that those that are added first stand side by side.
pub(super) const COLUMNS: [usize; 8] = [0, 4, 2, 5, 1, 6, 3, 7];

const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;
/// Bits by which the results of the two passes are rounded.
pub(super) const SHIFTS: [u32; 2] = [CONST_BITS - PASS1_BITS, CONST_BITS + PASS1_BITS + 3];

/// The transform of eight points as the reference library computes it, before its result is rounded to fewer bits.
#[inline(always)]
const fn transform(input: [i32; 8]) -> [i32; 8] {
    const fn scale(value: i32, factor: i32) -> i32 {
        value.wrapping_mul(factor)
    }
    let even = scale(input[2] + input[6], 4433);
    let even2 = even + scale(input[6], -15137);
    let even3 = even + scale(input[2], 6270);
    let even0 = scale(input[0] + input[4], 1 << CONST_BITS);
    let even1 = scale(input[0] - input[4], 1 << CONST_BITS);
    let evens =
        [even0.wrapping_add(even3), even1.wrapping_add(even2), even1.wrapping_sub(even2), even0.wrapping_sub(even3)];
    let z5 = scale(input[7] + input[3] + input[5] + input[1], 9633);
    let z1 = scale(input[7] + input[1], -7373);
    let z2 = scale(input[5] + input[3], -20995);
    let z3 = z5.wrapping_add(scale(input[7] + input[3], -16069));
    let z4 = z5.wrapping_add(scale(input[5] + input[1], -3196));
    let odds = [
        scale(input[1], 12299).wrapping_add(z1.wrapping_add(z4)),
        scale(input[3], 25172).wrapping_add(z2.wrapping_add(z3)),
        scale(input[5], 16819).wrapping_add(z2.wrapping_add(z4)),
        scale(input[7], 2446).wrapping_add(z1.wrapping_add(z3)),
    ];
    [
        evens[0].wrapping_add(odds[0]),
        evens[1].wrapping_add(odds[1]),
        evens[2].wrapping_add(odds[2]),
        evens[3].wrapping_add(odds[3]),
        evens[3].wrapping_sub(odds[3]),
        evens[2].wrapping_sub(odds[2]),
        evens[1].wrapping_sub(odds[1]),
        evens[0].wrapping_sub(odds[0]),
    ]
}

/// What each frequency gives to each point, `[frequency][point]`: the transform is linear and rounds only its result.
pub(super) const POINTS8: [[i32; 8]; 8] = {
    let mut points = [[0; 8]; 8];
    let mut frequency = 0;
    while frequency < 8 {
        let mut unit = [0; 8];
        unit[frequency] = 1;
        points[frequency] = transform(unit);
        frequency += 1;
    }
    points
};

/// The samples of a block, eight bytes a row from the lowest on.
///
/// What is between the passes is kept in 16 bits, which hold it in every image that was made by a forward transform; what
/// a damaged file has beyond is cut off, as in the reference library's vector code.
///
/// Both passes compute eight columns side by side, so that nothing is transposed: the first by the transform's flow
/// graph, the second by its matrix.
#[inline(always)]
pub(super) fn full(block: &Block, quantiser: &Block) -> [u64; 8] {
    let mut rows = [0_i16; 64];
    for column in 0..8 {
        let at = |row: usize| i32::from(value(block, quantiser, row, column));
        let points = transform([at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]);
        for row in 0..8 {
            let point = points[row].wrapping_add(1 << (SHIFTS[0] - 1)) >> SHIFTS[0];
            rows[row * 8 + column] = point.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        }
    }
    std::array::from_fn(|row| {
        let mut sums = [1 << (SHIFTS[1] - 1); 8];
        for frequency in 0..8 {
            for point in 0..8 {
                let value = i32::from(rows[row * 8 + frequency]);
                sums[point] = value.wrapping_mul(POINTS8[frequency][point]).wrapping_add(sums[point]);
            }
        }
        u64::from_le_bytes(sums.map(|sum| level(sum >> SHIFTS[1])))
    })
}

/// The coefficient of a vertical and a horizontal frequency.
#[inline(always)]
fn value(block: &Block, quantiser: &Block, row: usize, column: usize) -> i16 {
    let place = row * 8 + COLUMNS[column];
    block[place].wrapping_mul(quantiser[place])
}

/// Writes the samples of a block of one coefficient, already multiplied by its quantiser.
#[inline(always)]
pub(super) fn flat(coefficient: i16, side: usize, samples: &mut [u8], stride: usize) {
    let value = level((i32::from(coefficient) + 4) >> 3);
    for row in samples.chunks_mut(stride).take(side) {
        row[..side].fill(value);
    }
}

/// Cosines of the transforms of 4 and 2 points, `[point][frequency]`, scaled so that a block keeps its brightness.
const POINTS4: [[f32; 4]; 4] = [
    [0.353_553_4, 0.461_939_8, 0.353_553_4, 0.191_341_7],
    [0.353_553_4, 0.191_341_7, -0.353_553_4, -0.461_939_8],
    [0.353_553_4, -0.191_341_7, -0.353_553_4, 0.461_939_8],
    [0.353_553_4, -0.461_939_8, 0.353_553_4, -0.191_341_7],
];
const POINTS2: [[f32; 2]; 2] = [[0.353_553_4, 0.353_553_4], [0.353_553_4, -0.353_553_4]];

/// Writes the samples of a block at half size, `[4, 4]`.
#[inline(always)]
pub(super) fn half(block: &Block, quantiser: &Block, samples: &mut [u8], stride: usize) {
    reduced(block, quantiser, &POINTS4, samples, stride);
}

/// Writes the samples of a block at a quarter of its size, `[2, 2]`.
#[inline(always)]
pub(super) fn quarter(block: &Block, quantiser: &Block, samples: &mut [u8], stride: usize) {
    reduced(block, quantiser, &POINTS2, samples, stride);
}

#[inline(always)]
fn reduced<const SIDE: usize>(
    block: &Block,
    quantiser: &Block,
    points: &[[f32; SIDE]; SIDE],
    samples: &mut [u8],
    stride: usize,
) {
    // [point, horizontal frequency]
    let columns: [[f32; SIDE]; SIDE] = std::array::from_fn(|point| {
        std::array::from_fn(|frequency| {
            (0..SIDE).map(|row| points[point][row] * f32::from(value(block, quantiser, row, frequency))).sum()
        })
    });
    for (column, out) in columns.iter().zip(samples.chunks_mut(stride)) {
        if let Some(out) = out.first_chunk_mut::<SIDE>() {
            *out = std::array::from_fn(|point| {
                let sum: f32 = (0..SIDE).map(|frequency| points[point][frequency] * column[frequency]).sum();
                level((sum + 128.5).floor() as i32 - 128)
            });
        }
    }
}

/// A sample from its difference to the middle grey.
#[inline(always)]
fn level(value: i32) -> u8 {
    (value.wrapping_add(128)).clamp(0, 255) as u8
}
