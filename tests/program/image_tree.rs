//! A tree of images that a small network can tell apart after few epochs: `train/` and `val/` with ten classes.
//!
//! Every image is a crop of one of the pictures of `tests/fixtures/imagefolder`, blended with its class's colour; crops,
//! sizes, qualities and formats vary, and some are grey, so that texture counts too. A function of the arguments.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat, RgbImage, imageops};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Names of the classes; class `k` shows the pictures of class `k % 6` of the fixtures.
pub const CLASSES: [&str; 10] = [
    "n80000000_red",
    "n80000001_orange",
    "n80000002_olive",
    "n80000003_green",
    "n80000004_teal",
    "n80000005_blue",
    "n80000006_violet",
    "n80000007_pink",
    "n80000008_white",
    "n80000009_black",
];
const COLOURS: [[u8; 3]; 10] = [
    [220, 30, 30],
    [240, 140, 20],
    [150, 150, 30],
    [40, 180, 60],
    [20, 160, 160],
    [40, 70, 220],
    [130, 50, 190],
    [250, 130, 190],
    [250, 250, 250],
    [10, 10, 10],
];

/// How many images of which size.
pub struct ImageTree {
    /// In each class of `train/`.
    pub train_images: usize,
    /// In each class of `val/`.
    pub validation_images: usize,
    /// Shortest side of the smallest image and of the largest, in pixels.
    pub sides: [u32; 2],
}

impl ImageTree {
    /// Writes the tree into `dir`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let pictures = pictures()?;
        for (part, images) in [("train", self.train_images), ("val", self.validation_images)] {
            for (class, name) in CLASSES.iter().enumerate() {
                let folder = dir.join(part).join(name);
                fs::create_dir_all(&folder)?;
                for number in 0..images {
                    let seed = ((class * 2 + usize::from(part == "val")) << 32 | number) as u64;
                    let mut random = ChaCha8Rng::seed_from_u64(seed);
                    let image = self.image(&pictures[class % pictures.len()], COLOURS[class], &mut random);
                    let (bytes, extension) = encoded(&image, &mut random)?;
                    fs::write(folder.join(format!("{name}_{number}.{extension}")), bytes)?;
                }
            }
        }
        Ok(())
    }

    fn image(&self, pictures: &[RgbImage], colour: [u8; 3], random: &mut ChaCha8Rng) -> RgbImage {
        let picture = &pictures[random.random_range(0..pictures.len())];
        let shortest = picture.width().min(picture.height());
        let side = random.random_range(shortest / 2..=shortest);
        let [left, top] = [picture.width(), picture.height()].map(|length| random.random_range(0..=length - side));
        let crop = imageops::crop_imm(picture, left, top, side, side).to_image();
        let [width, height] = [0, 1].map(|_| random.random_range(self.sides[0]..=self.sides[1]));
        let mut image = imageops::resize(&crop, width, height, imageops::FilterType::Triangle);
        let weight = random.random_range(0.3..0.6);
        for pixel in image.pixels_mut() {
            for (value, colour) in pixel.0.iter_mut().zip(colour) {
                *value = (f32::from(*value) * (1.0 - weight) + f32::from(colour) * weight) as u8;
            }
        }
        image
    }
}

/// The pictures of the fixtures, class by class.
fn pictures() -> io::Result<Vec<Vec<RgbImage>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imagefolder/train");
    let read = |path: PathBuf| {
        let image = image::ImageReader::open(path)?.with_guessed_format()?.decode().map_err(io::Error::other)?;
        Ok(image.into_rgb8())
    };
    sorted(&root)?.iter().map(|class| sorted(class)?.into_iter().map(read).collect()).collect()
}

fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// A file of a format, quality and mode drawn from `random`, and its extension.
fn encoded(image: &RgbImage, random: &mut ChaCha8Rng) -> io::Result<(Vec<u8>, &'static str)> {
    let mut bytes = Vec::new();
    let kind = random.random_range(0..20);
    if kind == 0 {
        image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(io::Error::other)?;
        return Ok((bytes, "png"));
    }
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, random.random_range(60..=95));
    let (width, height) = image.dimensions();
    if kind == 1 {
        let grey = imageops::grayscale(image);
        encoder.encode(grey.as_raw(), width, height, ExtendedColorType::L8).map_err(io::Error::other)?;
    } else {
        encoder.encode(image.as_raw(), width, height, ExtendedColorType::Rgb8).map_err(io::Error::other)?;
    }
    Ok((bytes, ["JPEG", "jpg", "jpeg"][kind % 3]))
}
