//! Against the Python Imaging Library: `tests/fixtures/augmentation`.

use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::data::{IMAGE_BYTES, IMAGE_SIDE};

#[derive(Deserialize)]
struct Case {
    operation: String,
    amount: f64,
}

fn operation(case: &Case) -> ImageOperation {
    let amount = case.amount;
    match case.operation.as_str() {
        "shear_x" => ImageOperation::shear_x(amount),
        "shear_y" => ImageOperation::shear_y(amount),
        "translate_x" => ImageOperation::translate_x(amount),
        "translate_y" => ImageOperation::translate_y(amount),
        "rotate" => ImageOperation::rotate(amount, IMAGE_SIDE),
        "auto_contrast" => ImageOperation::AutoContrast,
        "equalize" => ImageOperation::Equalize,
        "invert" => ImageOperation::Invert,
        "solarize" => ImageOperation::Solarize(amount),
        "posterize" => ImageOperation::Posterize(amount as u32),
        "contrast" => ImageOperation::Contrast(amount as f32),
        "color" => ImageOperation::Color(amount as f32),
        "brightness" => ImageOperation::Brightness(amount as f32),
        "sharpness" => ImageOperation::Sharpness(amount as f32),
        other => panic!("{other}"),
    }
}

#[test]
fn every_operation_gives_what_the_python_imaging_library_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/augmentation");
    let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(folder.join("cases.json")).unwrap()).unwrap();
    let images = std::fs::read(folder.join("images.bin")).unwrap();
    let (input, expected) = images.split_at(IMAGE_BYTES);
    assert_eq!(expected.len(), cases.len() * IMAGE_BYTES);
    assert!(cases.len() > 30);
    for (case, expected) in cases.iter().zip(expected.chunks_exact(IMAGE_BYTES)) {
        let mut image = input.to_vec();
        operation(case).apply(&mut image, IMAGE_SIDE);
        let different = image.iter().zip(expected).filter(|(ours, theirs)| ours != theirs).count();
        assert_eq!(different, 0, "{} {}", case.operation, case.amount);
    }
}

#[test]
fn images_of_one_colour_have_nothing_to_stretch_or_level() {
    let image = [77; IMAGE_BYTES];
    for operation in [ImageOperation::AutoContrast, ImageOperation::Equalize] {
        let mut changed = image;
        operation.apply(&mut changed, IMAGE_SIDE);
        assert_eq!(changed, image);
    }
}
