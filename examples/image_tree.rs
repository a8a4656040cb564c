//! Writes a tree of images for trials and tests: `cargo run --release --example image_tree -- DIR [TRAIN [VAL]]`, with so
//! many images in each of ten classes (200 and 40).

use std::path::Path;
use std::{env, io, process};

#[path = "../tests/program/image_tree.rs"]
mod image_tree;

use image_tree::ImageTree;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |position: usize, default| arguments.get(position).map_or(Ok(default), |text| text.parse());
    let (Some(dir), Ok(train_images), Ok(validation_images)) = (arguments.first(), number(1, 200), number(2, 40))
    else {
        eprintln!("usage: image_tree DIR [TRAIN [VAL]]");
        process::exit(2);
    };
    ImageTree { train_images, validation_images, sides: [96, 320] }.write(Path::new(dir))
}
