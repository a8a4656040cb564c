//! Files that say which class each image of a flat folder has.
//!
//! | file | a line | classes |
//! |---|---|---|
//! | `LOC_val_solution.csv` (Kaggle) | `ILSVRC2012_val_00000001,n01751748 111 108 ...` | names |
//! | `val_annotations.txt` (Tiny ImageNet) | `val_0.JPEG n03444034 0 32 44 62` | names |
//! | `val.txt`, `val_map.txt`, `ILSVRC2012_val.txt` (Caffe) | `ILSVRC2012_val_00000001.JPEG 65` | numbers from 0, or names |
//! | `imagenet_2012_validation_synset_labels.txt` | `n01751748`, in the order of images | names |
//! | `ILSVRC2012_validation_ground_truth.txt` (devkit) | `490`, in the order of images | the devkit's numbers from 1 |

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::DataError;

/// How a file counts classes that it gives as numbers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// In the order of names, from 0.
    FromZero,
    /// `ILSVRC2012_ID` of ImageNet's devkit, from 1.
    Devkit,
}

/// A label file as it was read.
#[derive(Clone, Debug)]
pub(super) struct LabelFile {
    pub path: PathBuf,
    pub numbers: Numbers,
    pub truth: Truth,
}

/// Classes, as names or numbers in text.
#[derive(Clone, Debug)]
pub(super) enum Truth {
    /// Of images by their names without extension.
    Named(Vec<(String, String)>),
    /// Of image number 1, 2, ...
    InOrder(Vec<String>),
}

/// How a line is read.
#[derive(Copy, Clone)]
enum Line {
    Csv,
    NameAndClass,
    Class,
}

const KNOWN: [(&str, Line, Numbers); 7] = [
    ("LOC_val_solution.csv", Line::Csv, Numbers::FromZero),
    ("val_annotations.txt", Line::NameAndClass, Numbers::FromZero),
    ("imagenet_2012_validation_synset_labels.txt", Line::Class, Numbers::FromZero),
    ("val.txt", Line::NameAndClass, Numbers::FromZero),
    ("val_map.txt", Line::NameAndClass, Numbers::FromZero),
    ("ILSVRC2012_val.txt", Line::NameAndClass, Numbers::FromZero),
    ("ILSVRC2012_validation_ground_truth.txt", Line::Class, Numbers::Devkit),
];
/// Files of lists of classes, a line each that begins with its name.
const CLASS_LISTS: [&str; 4] = ["LOC_synset_mapping.txt", "synsets.txt", "synset_words.txt", "wnids.txt"];

/// Names of the label files, for messages.
pub(super) fn known_names() -> String {
    KNOWN.map(|(name, ..)| name).join(", ")
}

/// The first label file in `folders`.
///
/// # Errors
/// When it cannot be read or a line is not as it should be.
pub(super) fn find(folders: &[PathBuf]) -> Result<Option<LabelFile>, DataError> {
    for (name, line, numbers) in KNOWN {
        for folder in folders {
            let path = folder.join(name);
            if path.is_file() {
                let truth = read(&path, line)?;
                // Kaggle's ImageSets have lists of images under such a name: name and position.
                if !is_list_of_positions(&truth) {
                    return Ok(Some(LabelFile { path, numbers, truth }));
                }
            }
        }
    }
    Ok(None)
}

/// The classes that a list in `folders` names, sorted.
///
/// # Errors
/// When it cannot be read.
pub(super) fn class_list(folders: &[PathBuf]) -> Result<Option<Vec<String>>, DataError> {
    let paths = CLASS_LISTS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let Some(path) = paths.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    let text = text(&path)?;
    let mut classes: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    classes.sort_unstable();
    classes.dedup();
    Ok(Some(classes))
}

/// A name without its folders and its extension.
pub(super) fn stem(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    match name.rsplit_once('.') {
        Some((stem, _)) if super::is_image_name(name.as_bytes()) => stem,
        _ => name,
    }
}

pub(super) fn text(path: &Path) -> Result<String, DataError> {
    let bytes = fs::read(path).map_err(|error| DataError::images(path, format!("cannot be read ({error})")))?;
    let text = String::from_utf8(bytes).map_err(|_| DataError::images(path, "is not text".into()))?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn read(path: &Path, form: Line) -> Result<Truth, DataError> {
    let text = text(path)?;
    let mut named = Vec::new();
    let mut in_order = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let refused = || {
            let expected = match form {
                Line::Csv => "an image's name, a comma and its class",
                Line::NameAndClass => "an image's name and its class",
                Line::Class => "one class",
            };
            DataError::images(path, format!("line {} is `{}`, expected {expected}", number + 1, shortened(line)))
        };
        let mut words = line.split_whitespace();
        match form {
            Line::Csv => {
                if number == 0 && line.starts_with("ImageId") {
                    continue;
                }
                let (name, rest) = line.split_once(',').ok_or_else(refused)?;
                let class = rest.split_whitespace().next().ok_or_else(refused)?;
                named.push((stem(name.trim()).to_owned(), class.trim_matches('"').to_owned()));
            }
            Line::NameAndClass => {
                let (name, class) = words.next().zip(words.next()).ok_or_else(refused)?;
                named.push((stem(name).to_owned(), class.to_owned()));
            }
            Line::Class => match (words.next(), words.next()) {
                (Some(class), None) => in_order.push(class.to_owned()),
                _ => return Err(refused()),
            },
        }
    }
    if named.is_empty() && in_order.is_empty() {
        return Err(DataError::images(path, "has no labels".into()));
    }
    Ok(if named.is_empty() { Truth::InOrder(in_order) } else { Truth::Named(named) })
}

fn shortened(line: &str) -> String {
    line.chars().take(60).collect()
}

fn is_list_of_positions(truth: &Truth) -> bool {
    match truth {
        Truth::Named(pairs) => {
            pairs.len() > 1 && pairs.iter().enumerate().all(|(at, (_, class))| *class == (at + 1).to_string())
        }
        Truth::InOrder(_) => false,
    }
}
