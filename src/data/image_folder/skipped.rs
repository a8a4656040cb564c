//! What was left out of a folder or a shard, counted by reason, for one line that tells of it.

use std::collections::BTreeMap;
use std::fmt;

use crate::data::shown::shown;

/// Why something is not used.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::data) enum Reason {
    /// Begins with a dot.
    Hidden,
    /// What macOS writes beside files: `._x.jpg`, `.DS_Store`, `__MACOSX`.
    MacOs,
    /// Not the name of a JPEG or PNG file.
    OtherFormat,
    /// Compressed, or an archive other than a tar file.
    Packed,
    /// An image in a folder within a class's folder.
    Deeper,
    /// An image beside the folders of classes.
    Beside,
    /// A link to nothing.
    Dangling,
    /// A file without a byte.
    Empty,
    /// A sample without an image, in a shard.
    WithoutImage,
    /// A sample without a label, in a shard.
    WithoutLabel,
    /// The same, though it has a description in JSON.
    JsonWithoutLabel,
    /// The same, though there is a label behind a second dot: `a.1.jpg`, `a.1.cls`.
    DotInKey,
    /// An image and a label of one key with others between them, in a shard.
    Apart,
    /// An image of a sample that has one already.
    FurtherImage,
    /// A hard or symbolic link within a tar file.
    Link,
    /// What follows the end of a tar file.
    BehindEnd,
}

impl Reason {
    /// One, and several.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Hidden => ["hidden file or folder", "hidden files and folders"],
            Self::MacOs => ["macOS side file", "macOS side files"],
            Self::OtherFormat => ["file of another format", "files of other formats"],
            Self::Packed => ["archive that is not unpacked", "archives that are not unpacked"],
            Self::Deeper => ["image one folder too deep", "images one folder too deep"],
            Self::Beside => ["image beside the folders of classes", "images beside the folders of classes"],
            Self::Dangling => ["link to nothing", "links to nothing"],
            Self::Empty => ["empty file", "empty files"],
            Self::WithoutImage => ["sample without a JPEG or PNG image", "samples without a JPEG or PNG image"],
            Self::WithoutLabel => ["sample without a label", "samples without a label"],
            Self::JsonWithoutLabel => ["sample whose JSON has no label", "samples whose JSON has no label"],
            Self::DotInKey => [
                "sample with a dot in its key, which ends at the first",
                "samples with a dot in their keys, which end at the first",
            ],
            Self::Apart => [
                "sample whose image and label do not follow each other, as after tar --sort=name",
                "samples whose image and label do not follow each other, as after tar --sort=name",
            ],
            Self::FurtherImage => ["further image of a sample", "further images of samples"],
            Self::Link => ["link in a tar file", "links in tar files"],
            Self::BehindEnd => [
                "tar file that goes on behind its end, as after cat of two",
                "tar files that go on behind their ends, as after cat of two",
            ],
        }
    }
}

/// Counts by reason, each with the first of its kind by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::data) struct Skipped(BTreeMap<Reason, (u64, String)>);

impl Skipped {
    /// Counts `number` more for `reason`.
    pub fn add(&mut self, reason: Reason, number: u64, example: &str) {
        if number == 0 {
            return;
        }
        let (count, first) = self.0.entry(reason).or_insert_with(|| (0, example.to_owned()));
        *count += number;
        // The order of a folder's entries is the file system's.
        if example < first.as_str() {
            *first = example.to_owned();
        }
    }

    /// Adds what was left out of `folder`.
    pub fn extend(&mut self, folder: &str, other: &Self) {
        for (&reason, (count, example)) in &other.0 {
            let example = if folder.is_empty() { example.clone() } else { format!("{folder}/{example}") };
            self.add(reason, *count, &example);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first by name that was left out for `reason`.
    pub fn example(&self, reason: Reason) -> Option<&str> {
        self.0.get(&reason).map(|(_, example)| example.as_str())
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (reason, (count, example))) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            let [one, several] = reason.words();
            let (words, as_in) = if *count == 1 { (one, "") } else { (several, "as ") };
            write!(f, "{separator}{count} {words} ({as_in}{})", shown(example))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_with_the_first_example_whatever_the_order() {
        let mut inner = Skipped::default();
        inner.add(Reason::OtherFormat, 1, "notes.txt");
        inner.add(Reason::OtherFormat, 1, "a.gif");
        inner.add(Reason::Deeper, 0, "none");
        let mut outer = Skipped::default();
        outer.add(Reason::Hidden, 1, ".cache");
        outer.extend("n01", &inner);
        assert_eq!(outer.to_string(), "1 hidden file or folder (.cache), 2 files of other formats (as n01/a.gif)");
    }
}
