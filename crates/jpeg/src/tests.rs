//! Parts, shrunken images and damaged files; whole images are compared with Pillow's in `src/data/transform/tests.rs`.

use std::fs;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// The JPEG files of `tests/fixtures/transforms/files`, with their names.
fn files() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/transforms/files");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "jpg"))
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 25);
    files
}

fn decoded(
    decoder: &mut JpegDecoder,
    file: &[u8],
    area: Option<Area>,
    shrink: Shrink,
) -> Result<(Area, Vec<u8>), JpegError> {
    let frame = decoder.open(file)?;
    let area = area.unwrap_or(Area { left: 0, top: 0, width: frame.width, height: frame.height });
    let mut out = Vec::new();
    let area = decoder.decode(file, &frame, &area, shrink, &mut out)?;
    assert_eq!(out.len(), area.width * area.height * 3);
    Ok((area, out))
}

#[test]
fn a_part_of_an_image_is_that_part_of_the_whole() {
    let mut decoder = JpegDecoder::default();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for (name, file) in files() {
        let frame = decoder.open(&file).unwrap();
        for shrink in [Shrink::Full, Shrink::Half, Shrink::Quarter, Shrink::Eighth] {
            let (whole_area, whole) = decoded(&mut decoder, &file, None, shrink).unwrap();
            for _ in 0..12 {
                let (left, top) = (rng.random_range(0..frame.width), rng.random_range(0..frame.height));
                let (width, height) =
                    (rng.random_range(1..=frame.width - left), rng.random_range(1..=frame.height - top));
                let asked = Area { left, top, width, height };
                let (area, part) = decoded(&mut decoder, &file, Some(asked), shrink).unwrap();
                let divisor = shrink as usize;
                assert!(area.left * divisor <= left && (area.left + area.width) * divisor >= left + width, "{name}");
                assert!(area.top * divisor <= top && (area.top + area.height) * divisor >= top + height, "{name}");
                for (row, found) in part.chunks_exact(area.width * 3).enumerate() {
                    let start = ((area.top + row) * whole_area.width + area.left) * 3;
                    assert_eq!(found, &whole[start..][..found.len()], "{name}, {asked:?}, {shrink:?}, row {row}");
                }
            }
        }
    }
}

/// One of `points` points of a block's row or column, for each of its 8 samples: the transform of 8 points, of whose
/// frequencies the lowest `points` are transformed back.
fn low_frequencies(points: usize) -> Vec<[f64; 8]> {
    let cosine = |point: usize, frequency: usize, size: usize| {
        let scale = if frequency == 0 { 1.0 } else { 2.0_f64.sqrt() };
        scale * (std::f64::consts::PI * frequency as f64 * (2 * point + 1) as f64 / (2 * size) as f64).cos()
    };
    let weight = |point: usize, sample: usize| {
        let products = (0..points).map(|frequency| cosine(point, frequency, points) * cosine(sample, frequency, 8));
        products.sum::<f64>() / 8.0
    };
    (0..points).map(|point| std::array::from_fn(|sample| weight(point, sample))).collect()
}

/// Chroma of fewer samples is not spread in between, so the image differs a little more then.
#[test]
fn a_shrunken_image_is_the_image_without_its_high_frequencies() {
    let mut decoder = JpegDecoder::default();
    for (name, most) in [
        ("grey.jpg", 0.3),
        ("grey_progressive.jpg", 0.3),
        ("rgb.jpg", 0.3),
        ("cmyk.jpg", 0.3),
        ("baseline_444.jpg", 0.7),
        ("restart_444.jpg", 1.0),
        ("baseline_420.jpg", 2.5),
        ("progressive_420.jpg", 2.5),
    ] {
        let (_, file) = files().into_iter().find(|(found, _)| found == name).unwrap();
        let (area, full) = decoded(&mut decoder, &file, None, Shrink::Full).unwrap();
        for shrink in [Shrink::Half, Shrink::Quarter, Shrink::Eighth] {
            let points = 8 / shrink as usize;
            let weights = low_frequencies(points);
            let (small_area, small) = decoded(&mut decoder, &file, None, shrink).unwrap();
            let (width, height) = (area.width / 8 * points, area.height / 8 * points);
            let mut sum = 0.0;
            for position in 0..width * height * 3 {
                let (row, column, channel) = (position / (width * 3), position / 3 % width, position % 3);
                let (down, across) = (&weights[row % points], &weights[column % points]);
                let expected = (0..64).map(|sample| {
                    let (y, x) = (row / points * 8 + sample / 8, column / points * 8 + sample % 8);
                    down[sample / 8] * across[sample % 8] * f64::from(full[(y * area.width + x) * 3 + channel])
                });
                let expected = expected.sum::<f64>().clamp(0.0, 255.0);
                let found = small[(row * small_area.width + column) * 3 + channel];
                sum += (f64::from(found) - expected).abs();
            }
            let difference = sum / (width * height * 3) as f64;
            // Rounding to bytes is a quarter of it in the mean.
            assert!(difference < most + 0.25, "{name} {shrink:?}: {difference} of 255 in the mean");
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_refused_whatever_is_asked_of_it() {
    let mut decoder = JpegDecoder::default();
    let corner = Area { left: 0, top: 0, width: 1, height: 1 };
    for (name, file) in files().into_iter().filter(|(name, _)| name != "trailing.jpg") {
        for length in 0..file.len() {
            for area in [None, Some(corner)] {
                let found = decoded(&mut decoder, &file[..length], area, Shrink::Full).map(|(area, _)| area);
                assert!(found.is_err(), "{name}, {length} bytes");
                // Data that ends within the pixels must not pass for damage of another kind.
                if length + 200 > file.len() && length > 700 {
                    assert_eq!(found, Err(JpegError::CutShort), "{name}, {length} bytes");
                }
            }
        }
    }
}

#[test]
fn data_that_ends_before_its_pixels_is_refused_though_the_end_is_marked() {
    let mut decoder = JpegDecoder::default();
    for name in ["baseline_420.jpg", "restart_444.jpg", "optimised.jpg"] {
        let (_, file) = files().into_iter().find(|(found, _)| found == name).unwrap();
        let cut = [&file[..file.len() - 300], &[0xff, 0xd9][..]].concat();
        let found = decoded(&mut decoder, &cut, None, Shrink::Full);
        assert!(matches!(found, Err(JpegError::Damaged(_))), "{name}: {found:?}");
    }
}

#[test]
fn no_bytes_make_the_decoder_fail_otherwise_than_by_an_error() {
    let mut decoder = JpegDecoder::default();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut outcomes = [0; 2];
    for (_, file) in files() {
        for round in 0..150 {
            let mut changed = file.clone();
            for _ in 0..1 + round % 6 {
                let position = rng.random_range(0..changed.len());
                match round % 3 {
                    0 => changed[position] = rng.random(),
                    1 => changed[position] ^= 1 << rng.random_range(0..8),
                    _ => {
                        changed.remove(position);
                    }
                }
            }
            let shrink = [Shrink::Full, Shrink::Half, Shrink::Quarter, Shrink::Eighth][round % 4];
            outcomes[usize::from(decoded(&mut decoder, &changed, None, shrink).is_ok())] += 1;
        }
    }
    assert!(outcomes.iter().all(|&number| number > 100), "{outcomes:?}");
    for length in 0..200 {
        let noise: Vec<u8> = [0xff, 0xd8].into_iter().chain((0..length).map(|_| rng.random())).collect();
        assert!(decoded(&mut decoder, &noise, None, Shrink::Full).is_err());
    }
}

#[test]
fn a_damaged_file_leaves_nothing_to_the_next() {
    let (mut decoder, files) = (JpegDecoder::default(), files());
    let (_, file) = files.iter().find(|(name, _)| name == "baseline_420.jpg").unwrap();
    // Without its Huffman tables; those of the file before must not serve.
    let start = file.windows(2).position(|bytes| bytes == [0xff, 0xc4]).unwrap();
    let scan = file.windows(2).position(|bytes| bytes == [0xff, 0xda]).unwrap();
    let bare = [&file[..start], &file[scan..]].concat();
    assert!(decoded(&mut decoder, file, None, Shrink::Full).is_ok());
    let found = decoded(&mut decoder, &bare, None, Shrink::Full);
    assert_eq!(found, Err(JpegError::Damaged("lacks a Huffman table")));
    assert_eq!(
        decoded(&mut decoder, file, None, Shrink::Full),
        decoded(&mut JpegDecoder::default(), file, None, Shrink::Full)
    );
}

#[test]
fn a_header_that_claims_more_than_the_file_can_hold_takes_no_memory() {
    let (_, mut file) = files().into_iter().find(|(name, _)| name == "progressive_444.jpg").unwrap();
    let header = file.windows(2).position(|bytes| bytes == [0xff, 0xc2]).unwrap();
    file[header + 5..header + 9].copy_from_slice(&[0x30, 0, 0x30, 0]);
    let bytes = file.len();
    let found = JpegDecoder::default().open(&file).map(|frame| frame.width);
    assert_eq!(found, Err(JpegError::TooFewBytes { bytes, width: 0x3000, height: 0x3000 }));
}

#[test]
fn rare_kinds_are_named() {
    let (_, file) = files().into_iter().find(|(name, _)| name == "baseline_444.jpg").unwrap();
    let header = file.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    for (code, name) in [(0xc9, "arithmetic"), (0xc3, "lossless")] {
        let mut changed = file.clone();
        changed[header + 1] = code;
        let refusal = JpegDecoder::default().open(&changed).unwrap_err().to_string();
        assert!(refusal.contains(name), "{refusal}");
    }
    let mut changed = file;
    changed[header + 4] = 12;
    assert!(JpegDecoder::default().open(&changed).unwrap_err().to_string().contains("8 bits"));
}

/// The transform of a block in vectors, where this processor has them.
#[multiversion::multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma"))]
fn in_vectors(block: &idct::Block, quantiser: &idct::Block) -> [u64; 8] {
    multiversion::target::match_target! {
        "x86_64+avx2+bmi1+bmi2+lzcnt+popcnt+movbe+fma" => idct_avx2::full(block, quantiser),
        _ => idct::full(block, quantiser),
    }
}

#[test]
fn vectors_compute_the_same_samples_of_any_coefficients() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for round in 0..20_000 {
        let limit = [20, 200, 2000, 32_767][round % 4];
        let block = std::array::from_fn(|_| rng.random_range(-limit..=limit));
        let quantiser = std::array::from_fn(|_| [1, 3, 16][round % 3]);
        assert_eq!(in_vectors(&block, &quantiser), idct::full(&block, &quantiser), "{block:?}");
    }
    for extreme in [i16::MIN, i16::MAX] {
        for place in 0..64 {
            let mut block = [extreme; 64];
            block[place] = 1;
            assert_eq!(in_vectors(&block, &[1; 64]), idct::full(&block, &[1; 64]), "{extreme} but at {place}");
        }
    }
}
