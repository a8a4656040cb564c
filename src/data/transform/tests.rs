//! Views against torchvision's and Pillow's, which `tests/fixtures/transforms/make.py` has stored.

use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixtures().join("transforms").join(name)).unwrap()).unwrap()
}

fn number(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap() as usize
}

fn filter(case: &Value) -> Filter {
    if case["filter"] == "bicubic" { Filter::Bicubic } else { Filter::Bilinear }
}

#[test]
fn decoded_files_are_those_of_pillow() {
    let expected = json("decoded.json");
    let mut decoder = ImageDecoder::default();
    for (name, expected) in expected.as_object().unwrap() {
        let file = fs::read(fixtures().join(name)).unwrap();
        let picture = decoder.open(StoredImage::Encoded(&file)).unwrap();
        assert_eq!((picture.width, picture.height), (number(expected, "width"), number(expected, "height")), "{name}");
        let decoded = decoder.decode(&picture, &picture.area(), Shrink::Full).unwrap();
        let sum: String = Sha256::digest(decoded.pixels).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, expected["sha256"], "{name}");
    }
    assert!(expected.as_object().unwrap().len() >= 90);
}

#[test]
fn views_are_those_of_torchvision() {
    let bytes = fs::read(fixtures().join("transforms/views.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let mut scratch = Scratch::default();
    let mut num_views = 0;
    for (name, case) in cases.as_object().unwrap().iter().filter(|(_, case)| case["file"].is_string()) {
        let stored = fs::read(fixtures().join(case["file"].as_str().unwrap())).unwrap();
        let image = StoredImage::Encoded(&stored);
        let side = number(case, "side");
        let mut found = vec![0; side * side * 3];
        if name.starts_with("crop") {
            let area = Area {
                left: number(case, "left"),
                top: number(case, "top"),
                width: number(case, "width"),
                height: number(case, "height"),
            };
            let picture = scratch.decoder.open(image).unwrap();
            let crop = RandomResizedCrop { filter: filter(case), ..RandomResizedCrop::new(side) };
            crop.crop(&picture, &area, &mut scratch, &mut found).unwrap();
        } else {
            let view = CentreView { resize: number(case, "resize"), crop: side, filter: filter(case) };
            view.apply(image, Draw { epoch: 0, index: 0 }, &mut scratch, &mut found).unwrap();
        }
        let expected = file.tensor(name).unwrap();
        let sum: u32 = found.iter().zip(expected.data()).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum();
        let difference = f64::from(sum) / found.len() as f64;
        assert!(difference < 2.0, "{name}: {difference} of 255 in the mean, {case}");
        num_views += 1;
    }
    assert!(num_views >= 16);
}

#[test]
fn changes_of_colour_are_those_of_torchvision() {
    let bytes = fs::read(fixtures().join("transforms/views.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    for (name, case) in cases.as_object().unwrap().iter().filter(|(_, case)| case["change"].is_string()) {
        let amount = case["amount"].as_f64().unwrap();
        let change = match case["change"].as_str().unwrap() {
            "brightness" => ColourChange::Brightness(amount),
            "contrast" => ColourChange::Contrast(amount),
            "saturation" => ColourChange::Saturation(amount),
            _ => ColourChange::Hue(amount),
        };
        let source = file.tensor(&format!("source.{}", case["source"].as_str().unwrap())).unwrap();
        let mut found = source.data().to_vec();
        change.apply(&mut found);
        let expected = file.tensor(name).unwrap();
        let greatest = found.iter().zip(expected.data()).map(|(&a, &b)| a.abs_diff(b)).max();
        assert!(greatest <= Some(1), "{name}: {greatest:?}");
    }
}

/// Of each measure mean, deviation and quantiles, with the error that 100,000 draws on both sides leave.
#[test]
fn boxes_are_distributed_as_those_of_torchvision() {
    const DRAWS: usize = 100_000;
    let expected = json("boxes.json");
    let levels: Vec<f64> = expected["levels"].as_array().unwrap().iter().map(|level| level.as_f64().unwrap()).collect();
    for (size, expected) in expected["sizes"].as_object().unwrap() {
        let (width, height) = size.split_once('x').unwrap();
        let (width, height): (usize, usize) = (width.parse().unwrap(), height.parse().unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let crop = RandomResizedCrop::new(224);
        let boxes: Vec<Area> = (0..DRAWS).map(|_| crop.draw(width, height, &mut rng)).collect();
        assert!(boxes.iter().all(|area| area.left + area.width <= width && area.top + area.height <= height));
        type Measure<'a> = &'a dyn Fn(&Area) -> f64;
        let measures: [(&str, Measure); 4] = [
            ("area", &|area| (area.width * area.height) as f64 / (width * height) as f64),
            ("log_ratio", &|area| (area.width as f64 / area.height as f64).ln()),
            ("centre_x", &|area| (area.left as f64 + area.width as f64 / 2.0) / width as f64),
            ("centre_y", &|area| (area.top as f64 + area.height as f64 / 2.0) / height as f64),
        ];
        for (name, measure) in measures {
            let expected = &expected[name];
            let values: Vec<f64> = boxes.iter().map(measure).collect();
            let mean = values.iter().sum::<f64>() / DRAWS as f64;
            let std = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / DRAWS as f64).sqrt();
            let (expected_mean, expected_std) = (expected["mean"].as_f64().unwrap(), expected["std"].as_f64().unwrap());
            assert!((mean - expected_mean).abs() < 0.02 * expected_std, "{size} {name}: {mean}, {expected_mean}");
            assert!((std / expected_std - 1.0).abs() < 0.02, "{size} {name}: {std}, {expected_std}");
            for (level, quantile) in levels.iter().zip(expected["quantiles"].as_array().unwrap()) {
                let quantile = quantile.as_f64().unwrap();
                let part = |below: &dyn Fn(f64) -> bool| {
                    values.iter().filter(|value| below(**value)).count() as f64 / DRAWS as f64
                };
                let (under, up_to) = (part(&|value| value < quantile - 1e-9), part(&|value| value <= quantile + 1e-9));
                assert!(under < level + 0.008 && up_to > level - 0.008, "{size} {name} at {level}: {under}..{up_to}");
            }
        }
    }
}

#[test]
fn training_views_follow_from_seed_epoch_and_index_alone() {
    let file = fs::read(fixtures().join("transforms/files/progressive_420.jpg")).unwrap();
    let image = StoredImage::Encoded(&file);
    let view = |seed, epoch, index, scratch: &mut Scratch| {
        let jitter = ColourJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
        let mut out = vec![0; 24 * 24 * 3];
        let view = TrainingView { jitter, ..TrainingView::new(24, seed) };
        view.apply(image, Draw { epoch, index }, scratch, &mut out).unwrap();
        out
    };
    let mut scratch = Scratch::default();
    let first = view(1, 2, 3, &mut scratch);
    for (seed, epoch, index) in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
        assert_ne!(view(seed, epoch, index, &mut scratch), first);
    }
    assert_eq!(view(1, 2, 3, &mut scratch), first);
    assert_eq!(view(1, 2, 3, &mut Scratch::default()), first);
}

#[test]
fn half_of_the_training_views_are_mirrored() {
    // Brighter to the right: what is mirrored is brighter to the left.
    let bytes: Vec<u8> = (0..64 * 64).flat_map(|position| [(position % 64 * 4) as u8; 3]).collect();
    let image = StoredImage::Pixels { bytes: &bytes, width: 64, height: 64 };
    let (mut scratch, mut out) = (Scratch::default(), vec![0; 16 * 16 * 3]);
    let mut is_mirrored = |transform: TrainingView, index| {
        transform.apply(image, Draw { epoch: 0, index }, &mut scratch, &mut out).unwrap();
        assert!(out.chunks_exact(16 * 3).all(|row| row == &out[..16 * 3]));
        out[0] > out[45]
    };
    let mirrored = (0..400).filter(|&index| is_mirrored(TrainingView::new(16, 0), index)).count();
    assert!((150..250).contains(&mirrored), "{mirrored} of 400");
    let straight = TrainingView { horizontal_flip: false, ..TrainingView::new(16, 0) };
    assert!((0..50).all(|index| !is_mirrored(straight, index)));
}

#[test]
fn jitter_changes_what_it_is_told_to_within_its_limits_in_any_order() {
    let jitter = ColourJitter { brightness: 0.4, contrast: 1.5, saturation: 0.0, hue: 0.1 };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut orders = std::collections::HashSet::new();
    let (mut least, mut greatest) = (f64::MAX, f64::MIN);
    for _ in 0..2000 {
        let changes = jitter.draw(&mut rng);
        assert_eq!(changes.len(), 3);
        for change in &changes {
            match *change {
                ColourChange::Brightness(factor) => {
                    (least, greatest) = (least.min(factor), greatest.max(factor));
                }
                ColourChange::Contrast(factor) => assert!((0.0..=2.5).contains(&factor)),
                ColourChange::Saturation(_) => panic!("saturation was not to change"),
                ColourChange::Hue(turn) => assert!((-0.1..=0.1).contains(&turn)),
            }
        }
        orders.insert(changes.iter().map(std::mem::discriminant).collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 6);
    assert!((0.6..0.61).contains(&least) && (1.39..=1.4).contains(&greatest), "{least} to {greatest}");
}

#[test]
fn what_is_no_jpeg_or_png_is_named() {
    let mut decoder = ImageDecoder::default();
    let mut refusal = |bytes: &[u8]| decoder.open(StoredImage::Encoded(bytes)).unwrap_err().to_string();
    assert_eq!(refusal(b""), "it is an empty file, not a JPEG or a PNG");
    assert_eq!(refusal(b"GIF89a.."), "it is a GIF, not a JPEG or a PNG");
    assert_eq!(refusal(&[0; 40]), "it is a file of zeros, not a JPEG or a PNG");
    assert_eq!(refusal(b"<html>"), "it is a file of an unknown kind, not a JPEG or a PNG");
}

#[test]
fn pngs_that_were_cut_short_or_changed_are_refused() {
    let mut decoder = ImageDecoder::default();
    for name in ["palette.png", "grey_alpha.png", "bits.png", "named.JPEG"] {
        let file = fs::read(fixtures().join("transforms/files").join(name)).unwrap();
        let mut refused = |bytes: &[u8]| {
            let decoder = &mut decoder;
            let picture = match decoder.open(StoredImage::Encoded(bytes)) {
                Ok(picture) => picture,
                Err(_) => return true,
            };
            decoder.decode(&picture, &picture.area(), Shrink::Full).is_err()
        };
        assert!(!refused(&file), "{name}");
        for length in 0..file.len() {
            assert!(refused(&file[..length]), "{name}, {length} bytes");
        }
        let mut changed = file.clone();
        changed[file.len() / 2] ^= 16;
        assert!(refused(&changed), "{name}");
    }
}

#[test]
fn pngs_that_claim_more_than_they_can_hold_are_refused() {
    let mut file = fs::read(fixtures().join("transforms/files/grey.png")).unwrap();
    // Width and height of the header, and its checksum.
    file[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x20, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&file[12..29]);
    file[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let refusal = ImageDecoder::default().open(StoredImage::Encoded(&file)).unwrap_err().to_string();
    assert!(refusal.contains("496 bytes cannot hold 16384 x 8192 pixels"), "{refusal}");
}
