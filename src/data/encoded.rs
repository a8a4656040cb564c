//! The bytes of image files: whether they are whole, and what they show.

use image::{ImageFormat, RgbImage};

use super::{ImageDecoder, Shrink, StoredImage};

/// Format of a file by its first bytes; names do not say it (ImageNet has a PNG file that is called `.JPEG`).
pub(super) fn format(bytes: &[u8]) -> Option<ImageFormat> {
    image::guess_format(bytes).ok().filter(|format| matches!(format, ImageFormat::Jpeg | ImageFormat::Png))
}

/// Decodes an image that must be whole, as a run does.
///
/// # Errors
/// The reason, as the rest of a line.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut decoder = ImageDecoder::default();
    let picture = decoder.open(StoredImage::Encoded(bytes)).map_err(|error| error.to_string())?;
    let decoded = decoder.decode(&picture, &picture.area(), Shrink::Full).map_err(|error| error.to_string())?;
    let [width, height] = [decoded.area.width, decoded.area.height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    RgbImage::from_raw(width, height, decoded.pixels.to_vec()).ok_or_else(|| "it has too few pixels".to_owned())
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;

    use super::*;

    #[test]
    fn cut_files_are_refused_wherever_they_are_cut() {
        let image = RgbImage::from_fn(67, 41, |x, y| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x * y) as u8]));
        let mut whole = Vec::new();
        JpegEncoder::new(&mut whole).encode_image(&image).unwrap();
        assert_eq!(decode(&whole).unwrap().dimensions(), (67, 41));
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
        whole.extend_from_slice(b"what cameras append");
        decode(&whole).unwrap();
        assert!(decode(b"GIF89a").unwrap_err().contains("not a JPEG or a PNG"));
    }

    #[test]
    fn files_of_every_kind_are_whole() {
        for file in walk(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/imagefolder/train").as_ref()) {
            let bytes = std::fs::read(&file).unwrap();
            decode(&bytes).unwrap_or_else(|reason| panic!("{}: {reason}", file.display()));
            let cut = decode(&bytes[..bytes.len() * 6 / 10]).unwrap_err();
            assert_eq!(cut.lines().count(), 1, "{cut}");
        }
    }

    fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
    }
}
