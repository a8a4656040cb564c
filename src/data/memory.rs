//! A labelled set of small colour images, held in memory as bytes.
//!
//! photodigits and CIFAR fit in memory (184 MB for 60,000 images) and need no decoding. They are stored channels last,
//! the layout the networks compute in.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{CHANNELS, Colours, DataError, Pixels, Source, StoredImage};

/// Labelled images `[N, side, side, 3]` and what is known of their classes and colours.
#[derive(Debug)]
pub struct MemorySource {
    images: Pixels,
    labels: Vec<u32>,
    /// Height and width of every image in pixels.
    side: usize,
    class_names: Vec<String>,
    colours: Colours,
    /// Each file that was read, with the number of its first image.
    files: Vec<(PathBuf, usize)>,
}

impl MemorySource {
    /// An empty set of images of `side` x `side` pixels with one class for each name.
    pub(super) fn new(class_names: &[&str], side: usize, colours: Colours) -> Self {
        let class_names = class_names.iter().map(ToString::to_string).collect();
        Self { images: Pixels::default(), labels: Vec::new(), side, class_names, colours, files: Vec::new() }
    }

    /// Appends one record of a file: red, green and blue planes, the way CIFAR stores an image.
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
        let num_classes = self.class_names.len();
        let label = u32::try_from(label)
            .ok()
            .filter(|&label| (label as usize) < num_classes)
            .ok_or_else(|| DataError::Label { path: path.into(), record, label, num_classes })?;
        if self.files.last().is_none_or(|(last, _)| last != path) {
            self.files.push((path.into(), self.labels.len()));
        }
        let plane_bytes = self.side * self.side;
        let (red, rest) = planes.split_at(plane_bytes);
        let (green, blue) = rest.split_at(plane_bytes);
        let images = self.images.bytes_mut();
        let first = images.len();
        images.resize(first + plane_bytes * CHANNELS, 0);
        let image = &mut images[first..];
        // Without iterators, of which an unoptimised build would call several functions a byte.
        let mut pixel = 0;
        while pixel < plane_bytes {
            image[pixel * CHANNELS] = red[pixel];
            image[pixel * CHANNELS + 1] = green[pixel];
            image[pixel * CHANNELS + 2] = blue[pixel];
            pixel += 1;
        }
        self.labels.push(label);
        Ok(())
    }

    /// Image `index` as `[side, side, 3]` bytes, or `None` past the last one.
    pub(super) fn image(&self, index: u32) -> Option<&[u8]> {
        self.images.bytes().chunks_exact(self.side * self.side * CHANNELS).nth(index as usize)
    }
}

impl Source for MemorySource {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn side(&self) -> Option<usize> {
        Some(self.side)
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: u32) -> Option<u32> {
        self.labels.get(index as usize).copied()
    }

    fn read<'a>(&'a self, index: u32, _buffer: &'a mut Vec<u8>) -> Result<StoredImage<'a>, DataError> {
        let bytes = self.image(index).ok_or(DataError::SampleOutOfRange { index, len: self.len() })?;
        Ok(StoredImage::Pixels { bytes, width: self.side, height: self.side })
    }

    fn pixels(&self) -> Option<&Pixels> {
        Some(&self.images)
    }

    fn location(&self, index: u32) -> String {
        let index = index as usize;
        match self.files.iter().rfind(|(_, first)| *first <= index) {
            Some((path, first)) => format!("{} (record {}, counted from 0)", path.display(), index - first),
            None => format!("image {index}"),
        }
    }

    fn fingerprint(&self) -> String {
        let labels: Vec<u8> = self.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        format!("{:x}", Sha256::new().chain_update(self.images.bytes()).chain_update(labels).finalize())
    }

    fn colours(&self) -> Colours {
        self.colours
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 4;
    const COLOURS: Colours = Colours { mean: [0.0; 3], std: [1.0; 3] };

    fn image(label: i64, path: &str, record: usize, source: &mut MemorySource) {
        let planes: Vec<u8> = (0..48).map(|i| (i / 16 * 100 + i % 16 / SIDE) as u8).collect();
        source.push_record(&planes, label, Path::new(path), record).unwrap();
    }

    #[test]
    fn planes_become_channels_last() {
        let mut source = MemorySource::new(&["one", "two"], SIDE, COLOURS);
        image(1, "file", 0, &mut source);
        assert_eq!((source.len(), source.label(0), source.label(1)), (1, Some(1), None));
        let mut buffer = Vec::new();
        let Ok(StoredImage::Pixels { bytes, width: SIDE, height: SIDE }) = source.read(0, &mut buffer) else {
            panic!()
        };
        assert_eq!((&bytes[..3], &bytes[45..]), (&[0, 100, 200][..], &[3, 103, 203][..]));
        let error = source.read(1, &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "image 1 was asked for, but the data set has only 1");
    }

    #[test]
    fn images_are_located_in_their_files_and_labels_count_in_the_fingerprint() {
        let source = || {
            let mut source = MemorySource::new(&["one", "two"], SIDE, COLOURS);
            for (path, record) in [("a.bin", 0), ("a.bin", 1), ("b.bin", 0)] {
                image(0, path, record, &mut source);
            }
            source
        };
        let same = source();
        assert_eq!(same.location(1), "a.bin (record 1, counted from 0)");
        assert_eq!(source().fingerprint(), same.fingerprint());
        let mut other = MemorySource { labels: vec![0, 0, 1], ..source() };
        assert_ne!(same.fingerprint(), other.fingerprint());
        other.labels = vec![0; 3];
        assert_eq!(same.fingerprint(), other.fingerprint());
        other.images.bytes_mut()[7] ^= 1;
        assert_ne!(same.fingerprint(), other.fingerprint());
    }
}
