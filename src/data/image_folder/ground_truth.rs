//! Validation images that lie in one folder, and their labels from a file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::label_file::{self, LabelFile, Numbers, Truth};
use super::listing::{self, Listing};
use super::names::Names;
use super::tree::{self, Tree};
use super::{ImageFolder, LOOKED_AT, devkit};
use crate::data::{DataError, class_counts};

/// Below a folder of a data set, where files about it are also found.
const BELOW: [&str; 6] =
    ["ILSVRC2012_devkit_t12/data", "ILSVRC2012_devkit_t12", "devkit/data", "data", "meta", "caffe_ilsvrc12"];

/// Whether the images of `part` are not in folders of classes.
pub(super) fn is_flat(part: &Path, root: &Listing) -> bool {
    let has_images_below = || listing::deeper_images(part, &root.folders).is_ok_and(|(number, _)| number > 0);
    (root.images.len() > 0 && !has_images_below()) || is_tiny_imagenet(part, root)
}

/// Tiny ImageNet's `val/images` with `val/val_annotations.txt`.
fn is_tiny_imagenet(part: &Path, root: &Listing) -> bool {
    root.folders == ["images"] && part.join("val_annotations.txt").is_file()
}

/// The images of the flat folder `part` with the labels that a file gives them.
///
/// # Errors
/// When there is no such file, it cannot be read, or it has no label for an image.
pub(super) fn open(tree: &Tree, part: &Path, mut root: Listing) -> Result<ImageFolder, DataError> {
    let mut path = part.to_owned();
    if is_tiny_imagenet(part, &root) {
        path.push("images");
        root = listing::list(&path)?;
    }
    let sizes = (root.images.len() <= LOOKED_AT)
        .then(|| listing::measure(std::slice::from_ref(&path), std::slice::from_mut(&mut root)))
        .transpose()?;
    let train = tree.train.as_deref().map(listing::list).transpose()?.map(|listing| listing.folders);
    let labelled = label(tree, part, &root.images, train)?;
    let mut folder = ImageFolder::empty(labelled.classes);
    folder.sizes = sizes;
    folder.push(path, &root.images, |index| labelled.labels[index])?;
    folder.note_skipped(part, &root.skipped);
    folder.notes.extend(labelled.notes);
    let place = part.display().to_string();
    folder.notes.extend(class_counts::note(&place, &folder.classes, folder.labels.iter().copied()));
    if tree.train.is_none() {
        folder.note_numbers();
    }
    Ok(folder)
}

/// Images that a file gave their labels.
pub(in crate::data) struct Labelled {
    /// Names of classes, in the order of labels.
    pub classes: Vec<String>,
    /// One for each image.
    pub labels: Vec<u32>,
    /// What to tell the user.
    pub notes: Vec<String>,
}

/// Finds the labels of `images`, which lie in `part` (a folder or a tar file), in a file in or beside it; the classes are
/// `train`, where those of the training images are known.
///
/// # Errors
/// When there is no such file, it cannot be read, or it has no label for an image.
pub(in crate::data) fn label(
    tree: &Tree,
    part: &Path,
    images: &Names,
    train: Option<Vec<String>>,
) -> Result<Labelled, DataError> {
    let folders = places(tree, part);
    let file = label_file::find(&folders)?.ok_or_else(|| {
        let problem = format!(
            "has {} images and no folders of classes, and no file with their labels is there or beside it ({}); {}",
            images.len(),
            label_file::known_names(),
            tree::ARRANGEMENT
        );
        DataError::images(part, problem)
    })?;
    let classes = Classes::find(train, &folders, &file)?;
    let (labels, unused) = assign(part, &file, images, &classes.labels(&file)?)?;
    let mut notes: Vec<String> = classes.note.into_iter().collect();
    if unused > 0 {
        let names = file.path.display();
        notes.push(format!("{names} has labels for {unused} images that are not in {}", part.display()));
    }
    Ok(Labelled { classes: classes.names, labels, notes })
}

/// Where files with labels and names of classes are looked for.
fn places(tree: &Tree, part: &Path) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = vec![part.into(), tree.base.clone(), tree.dir.clone()];
    places.extend(part.parent().filter(|parent| *parent != Path::new("")).map(Path::to_owned));
    // Kaggle's files stand beside ILSVRC, three folders above CLS-LOC's parts.
    let base = std::fs::canonicalize(&tree.base).unwrap_or_else(|_| tree.base.clone());
    if base.ends_with("CLS-LOC") {
        places.extend(base.ancestors().skip(1).take(3).map(Path::to_owned));
    }
    let below: Vec<PathBuf> = places.iter().flat_map(|place| BELOW.iter().map(|name| place.join(name))).collect();
    places.extend(below);
    places
}

/// The classes of a data set and how a label file refers to them.
struct Classes {
    /// In the order of labels.
    names: Vec<String>,
    /// Names by the devkit's numbers.
    devkit: Option<HashMap<String, String>>,
    note: Option<String>,
}

impl Classes {
    /// From the folders of training images, else from a list, else from the labels themselves.
    fn find(train: Option<Vec<String>>, folders: &[PathBuf], file: &LabelFile) -> Result<Self, DataError> {
        let are_numbers = file.values().all(|value| value.parse::<u32>().is_ok());
        let uses_devkit = are_numbers && file.numbers == Numbers::Devkit;
        let devkit = if uses_devkit { devkit::synsets(folders)? } else { None };
        let known = train.map_or_else(|| label_file::class_list(folders), |classes| Ok(Some(classes)))?;
        let mut note = None;
        if uses_devkit && devkit.is_none() {
            let is_imagenet =
                known.as_ref().is_none_or(|names| names.len() == 1000 && names.iter().all(|n| is_synset(n)));
            if is_imagenet {
                let problem = "numbers classes as ImageNet's devkit does: put its meta.mat (or map_clsloc.txt), which \
                               says what the numbers mean, beside it, or use Kaggle's LOC_val_solution.csv";
                return Err(DataError::images(&file.path, problem.into()));
            }
            let path = file.path.display();
            note = Some(format!("{path}: there is no meta.mat beside it, so 1 is taken for the first class by name"));
        }
        let names = match (known, &devkit) {
            (Some(names), _) => names,
            (None, Some(devkit)) => sorted(devkit.values().cloned()),
            (None, None) if are_numbers => {
                let largest = file.values().filter_map(|value| value.parse::<u32>().ok()).max().unwrap_or(0);
                if largest >= 1_000_000 {
                    return Err(DataError::images(
                        &file.path,
                        format!("has a class {largest}, more than there can be"),
                    ));
                }
                (0..=largest).map(|number| number.to_string()).collect()
            }
            (None, None) => sorted(file.values().map(str::to_owned)),
        };
        Ok(Self { names, devkit, note })
    }

    /// The label of each line of `file`.
    fn labels(&self, file: &LabelFile) -> Result<Vec<u32>, DataError> {
        let by_name: HashMap<&str, u32> = (0..).zip(&self.names).map(|(label, name)| (name.as_str(), label)).collect();
        let first = u32::from(file.numbers == Numbers::Devkit);
        let label = |value: &str| -> Option<u32> {
            let value = self.devkit.as_ref().map_or(Some(value), |names| names.get(value).map(String::as_str))?;
            let by_number = || value.parse::<u32>().ok()?.checked_sub(first);
            let label = by_name.get(value).copied().or_else(by_number)?;
            (label as usize).lt(&self.names.len()).then_some(label)
        };
        let labels = file.values().enumerate().map(|(number, value)| {
            label(value).ok_or_else(|| {
                let num_classes = self.names.len();
                let advice = match file.numbers {
                    Numbers::FromZero => self.advice_on_numbers(file),
                    Numbers::Devkit if value == "0" => "; this file counts classes from 1",
                    Numbers::Devkit => "",
                };
                let problem = format!(
                    "entry {} has class {value}, which is none of the {num_classes} classes ({}){advice}",
                    number + 1,
                    tree::some_of(&self.names)
                );
                DataError::images(&file.path, problem)
            })
        });
        labels.collect()
    }

    fn advice_on_numbers(&self, file: &LabelFile) -> &'static str {
        let numbers: Option<Vec<u32>> = file.values().map(|value| value.parse().ok()).collect();
        class_counts::advice_on_numbers(numbers.unwrap_or_default().into_iter(), self.names.len())
    }
}

impl LabelFile {
    fn values(&self) -> impl Iterator<Item = &str> {
        let (named, in_order): (&[(String, String)], &[String]) = match &self.truth {
            Truth::Named(pairs) => (pairs, &[]),
            Truth::InOrder(values) => (&[], values),
        };
        named.iter().map(|(_, class)| class.as_str()).chain(in_order.iter().map(String::as_str))
    }
}

/// The label of each image, and how many labels are for images that are not there.
fn assign(path: &Path, file: &LabelFile, images: &Names, labels: &[u32]) -> Result<(Vec<u32>, usize), DataError> {
    let image = |index: usize| String::from_utf8_lossy(images.get(index));
    let mut num_labels = labels.len();
    let found: Vec<Option<u32>> = match &file.truth {
        Truth::Named(pairs) => {
            let mut by_stem: HashMap<&str, u32> = HashMap::with_capacity(pairs.len());
            for ((stem, class), &label) in pairs.iter().zip(labels) {
                if by_stem.insert(stem, label).is_some_and(|before| before != label) {
                    let problem = format!("gives {stem} two classes, {class} the last: an image has one");
                    return Err(DataError::images(&file.path, problem));
                }
            }
            num_labels = by_stem.len();
            (0..images.len()).map(|index| by_stem.get(label_file::stem(&image(index))).copied()).collect()
        }
        Truth::InOrder(values) => {
            let numbers: Option<Vec<usize>> =
                (0..images.len()).map(|index| last_number(label_file::stem(&image(index)))).collect();
            match numbers {
                Some(numbers) if numbers.iter().all(|number| (1..=values.len()).contains(number)) => {
                    numbers.iter().map(|number| labels.get(number - 1).copied()).collect()
                }
                _ if images.len() == values.len() => labels.iter().copied().map(Some).collect(),
                _ => {
                    let problem =
                        format!("has {} labels, but {} has {} images", values.len(), path.display(), images.len());
                    return Err(DataError::images(&file.path, problem));
                }
            }
        }
    };
    let without = found.iter().filter(|label| label.is_none()).count();
    if let Some(first) = found.iter().position(Option::is_none) {
        let problem = format!(
            "has no label for {without} of the {} images of {} (as {})",
            images.len(),
            path.display(),
            image(first)
        );
        return Err(DataError::images(&file.path, problem));
    }
    Ok((found.into_iter().flatten().collect(), num_labels.saturating_sub(images.len())))
}

/// The number that a name ends with: 7 of `ILSVRC2012_val_00000007`.
fn last_number(stem: &str) -> Option<usize> {
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    stem.get(digits..)?.parse().ok()
}

/// Whether a class is named by a number of WordNet, as `n01440764`.
fn is_synset(name: &str) -> bool {
    name.len() == 9 && name.starts_with('n') && name.bytes().skip(1).all(|byte| byte.is_ascii_digit())
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}
