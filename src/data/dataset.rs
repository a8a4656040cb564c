//! A labelled set of small colour images, held in memory as bytes.
//!
//! All data sets here have CIFAR's shape, so the images of one set fit in memory (184 MB for 60,000) and need no
//! decoding. They are stored channels last, the layout the networks compute in.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::DataError;

/// Height and width of an image in pixels.
pub const IMAGE_SIDE: usize = 32;
/// Colour channels of an image: red, green, blue.
pub const CHANNELS: usize = 3;
/// Bytes of one image.
pub const IMAGE_BYTES: usize = IMAGE_SIDE * IMAGE_SIDE * CHANNELS;

const PLANE_BYTES: usize = IMAGE_SIDE * IMAGE_SIDE;

/// Labelled images `[N, 32, 32, 3]` and what is known of their classes and colours.
#[derive(Clone, Debug)]
pub struct Dataset {
    images: Vec<u8>,
    labels: Vec<u8>,
    /// Number of classes; every label is below it.
    pub num_classes: usize,
    /// One name per class, in label order.
    pub class_names: &'static [&'static str],
    /// Mean of each channel over the training images, with bytes scaled to 0..1.
    pub mean: [f32; CHANNELS],
    /// Standard deviation of each channel over the training images, with bytes scaled to 0..1.
    pub std: [f32; CHANNELS],
}

impl Dataset {
    /// An empty set with one class for each name; `mean` and `std` as in the fields.
    pub(super) fn new(class_names: &'static [&'static str], mean: [f32; CHANNELS], std: [f32; CHANNELS]) -> Self {
        Dataset { images: Vec::new(), labels: Vec::new(), num_classes: class_names.len(), class_names, mean, std }
    }

    /// Appends one record of a file: red, green and blue planes of 32x32 bytes each, the way CIFAR stores an image.
    ///
    /// # Errors
    /// If there is no such class; the error names `path` and `record`, the record's number in that file.
    pub(super) fn push_record(
        &mut self,
        planes: &[u8],
        label: i64,
        path: &Path,
        record: usize,
    ) -> Result<(), DataError> {
        let label = u8::try_from(label)
            .ok()
            .filter(|&label| usize::from(label) < self.num_classes)
            .ok_or_else(|| DataError::Label { path: path.into(), record, label, num_classes: self.num_classes })?;
        let (red, rest) = planes.split_at(PLANE_BYTES);
        let (green, blue) = rest.split_at(PLANE_BYTES);
        self.images.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
        self.labels.push(label);
        Ok(())
    }

    /// SHA-256, in hexadecimal, of all images and classes.
    pub fn digest(&self) -> String {
        format!("{:x}", Sha256::new().chain_update(&self.images).chain_update(&self.labels).finalize())
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Image `index` as `[32, 32, 3]` bytes, or `None` past the last one.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images.chunks_exact(IMAGE_BYTES).nth(index)
    }

    /// The class of image `index`, or `None` past the last one.
    pub fn label(&self, index: usize) -> Option<u8> {
        self.labels.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_channels_last() {
        let mut dataset = Dataset::new(&["one", "two"], [0.0; 3], [1.0; 3]);
        let planes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i / PLANE_BYTES * 100 + i % PLANE_BYTES / 32) as u8).collect();
        dataset.push_record(&planes, 1, Path::new("file"), 0).unwrap();
        assert_eq!((dataset.len(), dataset.label(0), dataset.label(1)), (1, Some(1), None));
        let image = dataset.image(0).unwrap();
        assert_eq!(&image[..3], [0, 100, 200]);
        assert_eq!(&image[IMAGE_BYTES - 3..], [31, 131, 231]);
        assert!(dataset.image(1).is_none());
    }
}
