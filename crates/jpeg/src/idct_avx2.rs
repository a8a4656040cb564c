//! [`super::idct::full`] in vectors of 256 bits, for processors that have them.
//!
//! Each product adds those of two frequencies at once (`vpmaddwd`), and the symmetry of the cosines halves their number:
//! even frequencies give the same to a point and to its mirror image, odd ones the opposite.

use std::arch::x86_64::*;

use super::idct::{Block, COLUMNS, POINTS8, SHIFTS};

/// The factors of two frequencies for the points 0 to 3 as pairs of 16 bits.
const fn factors(first: usize, second: usize) -> [i32; 4] {
    let mut pairs = [0; 4];
    let mut point = 0;
    while point < 4 {
        pairs[point] = POINTS8[first][point] & 0xffff | POINTS8[second][point] << 16;
        point += 1;
    }
    pairs
}

const EVEN: [[i32; 4]; 2] = [factors(0, 4), factors(2, 6)];
const ODD: [[i32; 4]; 2] = [factors(1, 3), factors(5, 7)];
// The order in which the second pass takes pairs from a row.
const _: () = assert!(matches!(COLUMNS, [0, 4, 2, 5, 1, 6, 3, 7]));

/// The samples of a block, eight bytes a row from the lowest on.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn full(block: &Block, quantiser: &Block) -> [u64; 8] {
    let mut rows = [_mm_setzero_si128(); 8];
    for (row, values) in rows.iter_mut().enumerate() {
        *values = _mm_mullo_epi16(load(block, row), load(quantiser, row));
    }
    let (even, odd) = ([[0, 4], [2, 6]], [[1, 3], [5, 7]]);
    let mut pairs = [[_mm256_setzero_si256(); 2]; 2];
    for (pairs, numbers) in pairs.iter_mut().zip([even, odd]) {
        for (pair, [first, second]) in pairs.iter_mut().zip(numbers) {
            // By columns, the values of two vertical frequencies side by side.
            let (first, second) = (rows[first], rows[second]);
            *pair = _mm256_set_m128i(_mm_unpackhi_epi16(first, second), _mm_unpacklo_epi16(first, second));
        }
    }
    let [even, odd] = pairs;
    let rounding = _mm256_set1_epi32(1 << (SHIFTS[0] - 1));
    let mut rows = [_mm256_setzero_si256(); 8];
    for point in 0..4 {
        let even = _mm256_add_epi32(products(even, &EVEN, point), rounding);
        let odd = products(odd, &ODD, point);
        rows[point] = _mm256_srai_epi32::<{ SHIFTS[0] as i32 }>(_mm256_add_epi32(even, odd));
        rows[7 - point] = _mm256_srai_epi32::<{ SHIFTS[0] as i32 }>(_mm256_sub_epi32(even, odd));
    }
    let middle = _mm256_set1_epi16(128);
    let mut samples = [0; 8];
    for half in 0..2 {
        let [a, b, c, d] = [rows[4 * half], rows[4 * half + 1], rows[4 * half + 2], rows[4 * half + 3]];
        let low = _mm256_adds_epi16(second_pass(a, b), middle);
        let high = _mm256_adds_epi16(second_pass(c, d), middle);
        let bytes = _mm256_packus_epi16(low, high);
        samples[4 * half] = _mm256_extract_epi64::<0>(bytes) as u64;
        samples[4 * half + 1] = _mm256_extract_epi64::<2>(bytes) as u64;
        samples[4 * half + 2] = _mm256_extract_epi64::<1>(bytes) as u64;
        samples[4 * half + 3] = _mm256_extract_epi64::<3>(bytes) as u64;
    }
    samples
}

/// What two pairs of frequencies give to a point.
#[target_feature(enable = "avx2")]
#[inline]
fn products(pairs: [__m256i; 2], factors: &[[i32; 4]; 2], point: usize) -> __m256i {
    let first = _mm256_madd_epi16(pairs[0], _mm256_set1_epi32(factors[0][point]));
    let second = _mm256_madd_epi16(pairs[1], _mm256_set1_epi32(factors[1][point]));
    _mm256_add_epi32(first, second)
}

/// The points of two rows, in 16 bits and one in either half, from their horizontal frequencies.
#[target_feature(enable = "avx2")]
#[inline]
fn second_pass(first: __m256i, second: __m256i) -> __m256i {
    let rows = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
    let even = _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_shuffle_epi32::<0x00>(rows), in_both_halves(EVEN[0])),
        _mm256_madd_epi16(_mm256_shuffle_epi32::<0x55>(rows), in_both_halves(EVEN[1])),
    );
    let odd = _mm256_add_epi32(
        _mm256_madd_epi16(_mm256_shuffle_epi32::<0xaa>(rows), in_both_halves(ODD[0])),
        _mm256_madd_epi16(_mm256_shuffle_epi32::<0xff>(rows), in_both_halves(ODD[1])),
    );
    let even = _mm256_add_epi32(even, _mm256_set1_epi32(1 << (SHIFTS[1] - 1)));
    let near = _mm256_srai_epi32::<{ SHIFTS[1] as i32 }>(_mm256_add_epi32(even, odd));
    let mirrored = _mm256_srai_epi32::<{ SHIFTS[1] as i32 }>(_mm256_sub_epi32(even, odd));
    _mm256_packs_epi32(near, _mm256_shuffle_epi32::<0b00_01_10_11>(mirrored))
}

#[target_feature(enable = "avx2")]
#[inline]
fn in_both_halves([a, b, c, d]: [i32; 4]) -> __m256i {
    _mm256_setr_epi32(a, b, c, d, a, b, c, d)
}

/// A row of eight values; it becomes one load.
#[target_feature(enable = "avx2")]
#[inline]
fn load(values: &Block, row: usize) -> __m128i {
    let row = &values[row * 8..][..8];
    _mm_setr_epi16(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7])
}
