//! The bytes of image files: whether they are whole, and what they show.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, RgbImage};

/// Format of a file by its first bytes; names do not say it (ImageNet has a PNG file that is called `.JPEG`).
pub(super) fn format(bytes: &[u8]) -> Option<ImageFormat> {
    image::guess_format(bytes).ok().filter(|format| matches!(format, ImageFormat::Jpeg | ImageFormat::Png))
}

/// Decodes an image that must be whole.
///
/// # Errors
/// The reason, as the rest of a line.
pub(super) fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let format = format(bytes).ok_or_else(|| "it is neither JPEG nor PNG".to_owned())?;
    let image = ImageReader::with_format(Cursor::new(bytes), format).decode();
    // Some decoders end their messages with a line break.
    let image = image.map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
    // The decoder fills what is missing with grey.
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err("it is cut short: the JPEG's end is missing".to_owned());
    }
    Ok(image.into_rgb8())
}

/// Whether a JPEG goes on to its end marker, through all of its scans.
fn has_end(bytes: &[u8]) -> bool {
    // ITU-T T.81, annex B: markers are 0xff and a byte; most have a length, and what follows a scan's header goes on to
    // the next marker, in which 0xff00 is a value and 0xffd0 to 0xffd7 are restarts.
    let mut at = 2;
    loop {
        let Some(&[first, marker]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) else { return false };
        if first != 0xff || matches!(marker, 0x00 | 0xff | 0x01 | 0xd0..=0xd7) {
            at += 1;
            continue;
        }
        if marker == 0xd9 {
            return true;
        }
        let Some(&length) = bytes.get(at + 2..).and_then(|rest| rest.first_chunk::<2>()) else { return false };
        at += 2 + usize::from(u16::from_be_bytes(length));
    }
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
        assert_eq!(decode(b"GIF89a").unwrap_err(), "it is neither JPEG nor PNG");
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
