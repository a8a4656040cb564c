//! What can go wrong between the files of a data set and a batch.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A failure to load or to batch images; its text is one line that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Neither a folder nor an archive of the data set is there.
    #[error(
        "{dataset} is not in {dir} ({found}): download {archives} and put the file, or the folder unpacked from it, into {dir} \
         (pdarts data fetch does that), or name the folder that it is in with --data"
    )]
    Missing {
        /// The data set's name.
        dataset: &'static str,
        /// Where it was looked for, from the root.
        dir: PathBuf,
        /// What is there instead.
        found: String,
        /// The archives that would do, joined by "or".
        archives: String,
    },
    /// One file of a folder cannot be opened or read.
    #[error("cannot read {path} ({source}): unpack the archive of the data set again, or make the file readable")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An archive is cut off, damaged or no `.tar.gz` at all.
    #[error("cannot unpack {path} ({source}): the archive is damaged or incomplete, download it again")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The decoder's reason.
        source: io::Error,
    },
    /// An archive that only other programs unpack.
    #[error("{path} is {packing}: unpack it, and name the folder")]
    Packing {
        /// The archive.
        path: PathBuf,
        /// How it is packed.
        packing: &'static str,
    },
    /// A readable archive lacks a file of the data set.
    #[error("{path} has no file {member}: it is not the published archive, download it again")]
    ArchiveMember {
        /// The archive.
        path: PathBuf,
        /// The file's name inside it.
        member: String,
    },
    /// A file ends too early.
    #[error("{path} is {} bytes short: it has {found} bytes, expected {expected}; download it again", expected - found)]
    Short {
        /// The file; inside an archive, the archive's path followed by the name inside.
        path: PathBuf,
        /// Bytes it has.
        found: usize,
        /// Bytes it should have.
        expected: usize,
    },
    /// A file goes on after its last record.
    #[error("{path} is {} bytes too long: it has {found} bytes, expected {expected}; download it again", found - expected)]
    Long {
        /// The file.
        path: PathBuf,
        /// Bytes it has.
        found: usize,
        /// Bytes it should have.
        expected: usize,
    },
    /// A file of the Python release does not hold what it should.
    #[error("{path} is not a batch of the Python release: {reason}; download it again")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// A label that the data set does not have.
    #[error("{path}: record {record} (counted from 0) has label {label}, expected 0 to {}", num_classes - 1)]
    Label {
        /// The file.
        path: PathBuf,
        /// Record number in the file, from 0.
        record: usize,
        /// The label found.
        label: i64,
        /// Number of classes of the data set.
        num_classes: usize,
    },
    /// A folder of images, a file of labels or a shard that cannot be used as it is.
    #[error("{} {problem}", path.display())]
    Images {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it and what to do, as the rest of a sentence that begins with the path.
        problem: String,
    },
    /// A file in the place of the folder that it lies in.
    #[error("{} is one file of {dataset}: name the folder that holds all of them", path.display())]
    OneFile {
        /// The file.
        path: PathBuf,
        /// Name of the data set.
        dataset: &'static str,
    },
    /// More bad images than a run may leave out.
    #[error(
        "{found} images cannot be used, data.bad_image_limit allows {limit}; the last: {last} (pdarts data check lists all)"
    )]
    TooManyBad {
        /// Different images met.
        found: usize,
        /// As many may be bad.
        limit: usize,
        /// The error of the one beyond the limit.
        last: String,
    },
    /// The disk refuses what is to be written.
    #[error("cannot write {} ({source}); what is complete is kept, {}call again to go on", path.display(), match source.kind() {
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (ulimit -f) and ",
        _ => "",
    })]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An image file that cannot be decoded.
    #[error("{location} cannot be read as an image ({reason}): copy or unpack it again")]
    Image {
        /// Where it is kept.
        location: String,
        /// The decoder's reason.
        reason: String,
    },
    /// More images asked for one batch than there are.
    #[error("a global batch of {global_batch} is larger than the {num_samples} images it is drawn from")]
    BatchTooLarge {
        /// Images asked for in each step.
        global_batch: usize,
        /// Images there are.
        num_samples: usize,
    },
    /// A batch that leaves some rank without an image.
    #[error(
        "a global batch of {global_batch} is smaller than the number of ranks ({size}): each needs at least one image"
    )]
    BatchTooSmall {
        /// Images asked for in each step.
        global_batch: usize,
        /// Number of ranks.
        size: usize,
    },
    /// No images to draw batches from.
    #[error("there are no images to draw batches from")]
    NoSamples,
    /// The sampler asks for an image that the data set does not have.
    #[error("image {index} was asked for, but the data set has only {len}")]
    SampleOutOfRange {
        /// The index asked for.
        index: u32,
        /// Number of images.
        len: usize,
    },
    /// The system gave no thread to load images on.
    #[error("cannot start a thread to load images: {0}")]
    Thread(#[source] io::Error),
    /// A loader thread died of a defect in the program.
    #[error("a thread that loads images stopped: {0}")]
    Worker(String),
}

impl DataError {
    /// [`DataError::Images`] of `path`.
    pub(super) fn images(path: &Path, problem: String) -> Self {
        Self::Images { path: path.to_owned(), problem }
    }

    /// [`DataError::Image`] of the image that is kept at `location`.
    pub(super) fn image(location: String, reason: String) -> Self {
        Self::Image { location, reason }
    }

    /// Whether the data that the user named is at fault, as it is found when it is opened, rather than a single image, the
    /// machine or the program.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Read { .. }
            | Self::Archive { .. }
            | Self::Packing { .. }
            | Self::ArchiveMember { .. }
            | Self::Short { .. }
            | Self::Long { .. }
            | Self::Pickle { .. }
            | Self::Label { .. }
            | Self::Images { .. }
            | Self::OneFile { .. }
            | Self::BatchTooLarge { .. }
            | Self::BatchTooSmall { .. }
            | Self::NoSamples => true,
            Self::TooManyBad { .. }
            | Self::Write { .. }
            | Self::Image { .. }
            | Self::SampleOutOfRange { .. }
            | Self::Thread(_)
            | Self::Worker(_) => false,
        }
    }

    /// Whether one image is at fault, so that another could be used in its place.
    pub fn is_of_one_image(&self) -> bool {
        matches!(self, Self::Image { .. })
    }
}
