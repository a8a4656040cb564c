//! From the bytes of an image file to RGB, as far as a crop needs them.
//!
//! JPEG and PNG, by content, not by name: one of ImageNet's `.JPEG` files is a PNG. All give what the Python Imaging
//! Library's `convert("RGB")` gives: grey is repeated, palettes are looked up, alpha is dropped, 16 bits lose their
//! lower 8, ink becomes light. As in torchvision's `ImageFolder`, an orientation noted in EXIF data is not applied.
//!
//! A file that was cut short is an error, however little is missing: the end marker of a JPEG and the end chunk of a
//! PNG must be there, what comes after them is not looked at. Memory is bounded by [`MAX_PIXELS`] and by what the bytes
//! of a file can hold, before any of it is taken.

use std::io::Cursor;

use pdarts_jpeg::{Area, Frame, JpegDecoder, JpegError, Shrink};

use crate::data::{CHANNELS, StoredImage};

/// Pixels that an image may have: the limit of the Python Imaging Library, twice 256 MiB of RGB.
pub const MAX_PIXELS: usize = 178_956_970;

/// The most bytes that one byte of compressed data can become.
const MAX_INFLATION: usize = 1032;

/// Why a file gives no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A JPEG that is damaged, cut short or of a rare kind.
    #[error(transparent)]
    Jpeg(#[from] JpegError),
    /// A PNG that is damaged or cut short.
    #[error("it is a damaged PNG: {0}")]
    Png(String),
    /// Another format, or none.
    #[error("it is {0}, not a JPEG or a PNG")]
    Format(&'static str),
    /// More than [`MAX_PIXELS`].
    #[error("it has {width} x {height} pixels, more than the {MAX_PIXELS} that are allowed")]
    TooLarge {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
    },
    /// What a transform cannot bring to its size.
    #[error("it cannot be resized: {0}")]
    Resize(String),
}

/// An image of which a part can be decoded.
#[derive(Debug)]
pub struct Picture<'a> {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    form: Form<'a>,
}

#[derive(Debug)]
enum Form<'a> {
    Pixels(&'a [u8]),
    Jpeg(&'a [u8], Frame),
    Png(&'a [u8]),
}

impl<'a> Picture<'a> {
    /// The whole image.
    pub fn area(&self) -> Area {
        Area { left: 0, top: 0, width: self.width, height: self.height }
    }
}

/// A part of an image, perhaps shrunken.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// `[area.height, area.width, 3]`.
    pub pixels: &'a [u8],
    /// What part it is, in pixels of the shrunken image.
    pub area: Area,
    /// How much smaller than the file's the image is.
    pub shrink: Shrink,
}

/// Decodes one image after the other with the same memory.
#[derive(Debug, Default)]
pub struct ImageDecoder {
    jpeg: JpegDecoder,
    pixels: Vec<u8>,
    samples: Vec<u8>,
}

impl ImageDecoder {
    /// Looks at the header of an image.
    ///
    /// # Errors
    /// When it is no image that can be decoded, as far as its header tells.
    pub fn open<'a>(&mut self, image: StoredImage<'a>) -> Result<Picture<'a>, ImageError> {
        match image {
            StoredImage::Encoded(file) => self.open_file(file),
            StoredImage::Pixels { bytes, width, height } => {
                let is_whole = width > 0 && height > 0 && bytes.len() == width * height * CHANNELS;
                let picture = Picture { width, height, form: Form::Pixels(bytes) };
                is_whole.then_some(picture).ok_or(ImageError::Format("not as large as it says"))
            }
        }
    }

    fn open_file<'a>(&mut self, file: &'a [u8]) -> Result<Picture<'a>, ImageError> {
        let (width, height, form) = if file.starts_with(&[0xff, 0xd8]) {
            let frame = self.jpeg.open(file)?;
            (frame.width, frame.height, Form::Jpeg(file, frame))
        } else if file.starts_with(b"\x89PNG\r\n\x1a\n") {
            let reader = png_reader(file)?;
            let (width, height) = (reader.info().width as usize, reader.info().height as usize);
            let bits = reader.info().color_type.samples() * reader.info().bit_depth as usize;
            if width.saturating_mul(height).saturating_mul(bits) / 8 > file.len() * MAX_INFLATION {
                return Err(ImageError::Png(format!("{} bytes cannot hold {width} x {height} pixels", file.len())));
            }
            (width, height, Form::Png(file))
        } else {
            return Err(ImageError::Format(format_name(file)));
        };
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(ImageError::TooLarge { width, height });
        }
        Ok(Picture { width, height, form })
    }

    /// Decodes at least `area` of a picture that this decoder has opened, at most so much smaller as `shrink` says.
    ///
    /// # Errors
    /// When the file was cut short or is damaged.
    pub fn decode<'d>(
        &'d mut self,
        picture: &Picture<'d>,
        area: &Area,
        shrink: Shrink,
    ) -> Result<Decoded<'d>, ImageError> {
        match &picture.form {
            Form::Pixels(pixels) => Ok(Decoded { pixels, area: picture.area(), shrink: Shrink::Full }),
            Form::Jpeg(file, frame) => {
                let shrink = frame.shrink(shrink);
                let area = self.jpeg.decode(file, frame, area, shrink, &mut self.pixels)?;
                Ok(Decoded { pixels: &self.pixels[..area.width * area.height * CHANNELS], area, shrink })
            }
            Form::Png(file) => {
                self.decode_png(file)?;
                Ok(Decoded { pixels: &self.pixels, area: picture.area(), shrink: Shrink::Full })
            }
        }
    }

    fn decode_png(&mut self, file: &[u8]) -> Result<(), ImageError> {
        let mut reader = png_reader(file)?;
        let size = reader.output_buffer_size().ok_or_else(|| ImageError::Png("it is too large".into()))?;
        self.samples.resize(size, 0);
        reader.next_frame(&mut self.samples).map_err(png_error)?;
        reader.finish().map_err(png_error)?;
        let (colour, _) = reader.output_color_type();
        let channels = colour.samples();
        self.pixels.clear();
        if channels == CHANNELS {
            std::mem::swap(&mut self.pixels, &mut self.samples);
        } else if channels > CHANNELS {
            self.pixels.extend(self.samples.chunks_exact(channels).flat_map(|pixel| &pixel[..CHANNELS]));
        } else {
            self.pixels.extend(self.samples.chunks_exact(channels).flat_map(|pixel| [pixel[0]; CHANNELS]));
        }
        Ok(())
    }
}

type PngReader<'a> = png::Reader<Cursor<&'a [u8]>>;

fn png_reader(file: &[u8]) -> Result<PngReader<'_>, ImageError> {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    // Colours without their palette, 8 bits a sample.
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let reader = decoder.read_info().map_err(png_error)?;
    // The library panics on a palette that is no list of at most 256 colours.
    let palette = reader.info().palette.as_deref().unwrap_or_default();
    if !palette.len().is_multiple_of(CHANNELS) || palette.len() > 256 * CHANNELS {
        return Err(ImageError::Png(format!("its palette has {} bytes, which are no colours", palette.len())));
    }
    Ok(reader)
}

fn png_error(error: png::DecodingError) -> ImageError {
    match error {
        png::DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Png("it was cut short".into())
        }
        error => ImageError::Png(error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}

/// What a file is that is neither of the formats, by its first bytes.
fn format_name(file: &[u8]) -> &'static str {
    match file {
        [] => "an empty file",
        [b'G', b'I', b'F', b'8', ..] => "a GIF",
        [b'B', b'M', ..] => "a BMP",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "a WebP",
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF",
        _ if file.iter().all(|&byte| byte == 0) => "a file of zeros",
        _ => "a file of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of a PNG file.
    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut checksum = flate2::Crc::new();
        checksum.update(kind);
        checksum.update(data);
        let (length, sum) = ((data.len() as u32).to_be_bytes(), checksum.sum().to_be_bytes());
        [&length[..], kind, data, &sum].concat()
    }

    #[test]
    fn palettes_that_are_no_colours_are_refused() {
        for (bytes, is_right) in [(6, true), (5, false), (768, true), (769, false), (771, false)] {
            let file = [
                b"\x89PNG\r\n\x1a\n".to_vec(),
                chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0]),
                chunk(b"PLTE", &vec![7; bytes]),
                // A stored block of a row: no filter, colour 0.
                chunk(b"IDAT", &[0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, 0, 0, 2, 0, 1]),
                chunk(b"IEND", &[]),
            ]
            .concat();
            let mut decoder = ImageDecoder::default();
            let read = decoder.open(StoredImage::Encoded(&file)).and_then(|picture| {
                let area = picture.area();
                decoder.decode(&picture, &area, Shrink::Full).map(|decoded| decoded.pixels.to_vec())
            });
            assert_eq!(read.is_ok(), is_right, "{bytes} bytes: {read:?}");
        }
    }
}
