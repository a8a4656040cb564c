//! Shards that others made: tar files without an index of this program.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;

use super::index::{Entry, Index, ShardFile};
use super::pack::is_unfinished;
use super::scan::{self, Sample, Samples};
use super::{Shards, index_path, split_name};
use crate::data::image_folder::Skipped;
use crate::data::packing::Packing;
use crate::data::shown::shown;
use crate::data::{DataError, Split, class_counts, parallel};
use crate::files::replace;

/// Words in names of shards that say what they are for.
const TRAIN: [&str; 3] = ["train", "training", "trn"];
const VALIDATION: [&str; 5] = ["val", "valid", "validation", "test", "eval"];
/// Files that name the classes of shards, a line each, in the order of labels.
const CLASS_LISTS: [&str; 4] = ["classes.txt", "classnames.txt", "class_names.txt", "labels.txt"];
/// Labels that are numbers begin at 0; a set has fewer classes than this.
const MOST_CLASSES: u32 = 1_000_000;

/// Tar files of `split` in `dir` or in a folder named for it, in order; by what their names say, else all of them.
///
/// # Errors
/// When `dir` cannot be read.
pub(super) fn shard_names(dir: &Path, split: Split) -> Result<Vec<String>, DataError> {
    let words: &[&str] = if split == Split::Train { &TRAIN } else { &VALIDATION };
    let here = tar_names(dir, "")?;
    let mut named: Vec<String> = here.iter().filter(|name| has_word(name, words)).cloned().collect();
    if named.is_empty() {
        let folders =
            folder_names(dir)?.into_iter().filter(|name| words.iter().any(|word| name.eq_ignore_ascii_case(word)));
        let inner: Result<Vec<_>, _> = folders.map(|name| tar_names(&dir.join(&name), &format!("{name}/"))).collect();
        named = inner?.into_iter().find(|names| !names.is_empty()).unwrap_or_default();
    }
    let says_nothing = |name: &String| !has_word(name, &TRAIN) && !has_word(name, &VALIDATION);
    if named.is_empty() && here.iter().all(says_nothing) {
        // A folder of one part, given by itself.
        let own = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if has_word(&own, words) || split == Split::Train && !has_word(&own, &VALIDATION) {
            named = here;
        }
    }
    Ok(named)
}

/// Names of the folders in `dir`, in order.
fn folder_names(dir: &Path) -> Result<Vec<String>, DataError> {
    let failed = |error: std::io::Error| DataError::images(dir, format!("cannot be read ({error})"));
    let entries = fs::read_dir(dir).map_err(failed)?.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    Ok(names)
}

/// The tar files in `dir`, without hidden ones and ImageNet's archives, each with `prefix` before its name.
pub(super) fn tar_names(dir: &Path, prefix: &str) -> Result<Vec<String>, DataError> {
    let failed = |error: std::io::Error| DataError::images(dir, format!("cannot be read ({error})"));
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".tar") && !name.starts_with('.') && !name.starts_with("ILSVRC2012_") {
            names.push(format!("{prefix}{name}"));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether one of `words` is the last in `name` that says what it is for: `eval-benchmark-train-0.tar` is to train on.
fn has_word(name: &str, words: &[&str]) -> bool {
    let is_among = |part: &str, words: &[&str]| words.iter().any(|word| part.eq_ignore_ascii_case(word));
    let mut parts = name.rsplit(|character: char| !character.is_ascii_alphabetic());
    parts.find(|part| is_among(part, &TRAIN) || is_among(part, &VALIDATION)).is_some_and(|part| is_among(part, words))
}

/// Whether `dir` has other tar files than `index`, or a newer list of classes.
pub(super) fn has_changed(dir: &Path, split: Split, index: &Index) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let made = modified(&index_path(dir, split));
    let is_newer = |name: &&str| modified(&dir.join(name)).is_some_and(|time| made.is_some_and(|made| time > made));
    let indexed = index.shards.iter().map(|shard| &shard.name);
    shard_names(dir, split).is_ok_and(|names| !names.iter().eq(indexed)) || CLASS_LISTS.iter().any(is_newer)
}

/// A note on compressed files beside the shards `names` of `split`, of which there is no tar file as well.
pub(super) fn note_compressed(dir: &Path, split: Split, names: &[&str]) -> Option<String> {
    let folder = names.first().and_then(|name| name.rsplit_once('/')).map_or("", |(folder, _)| folder);
    let words: &[&str] = if split == Split::Train { &TRAIN } else { &VALIDATION };
    let entries = fs::read_dir(dir.join(folder)).ok()?.flatten();
    let packed = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| {
        let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
        let plain = dir.join(folder).join(stem);
        Packing::is_compressed_name(name.as_bytes())
            && (!folder.is_empty() || has_word(name, words))
            && !plain.exists()
            && !plain.with_extension("tar").exists()
    });
    let packed: BTreeSet<String> = packed.collect();
    let path = dir.join(folder).join(packed.first()?);
    let advice = Packing::of(&path)?.advice();
    let others = if packed.len() > 1 { format!(" ({} such files)", packed.len()) } else { String::new() };
    Some(format!("left out beside the shards: {} {advice}{others}", path.display()))
}

/// Reads the shards of `split` in `dir` and leaves an index beside them.
///
/// # Errors
/// When there are none, one cannot be read, or there is no image with a label in them.
pub(super) fn open(dir: &Path, split: Split) -> Result<Shards, DataError> {
    if is_unfinished(dir) {
        let problem = "has shards that are not complete: call pdarts data pack again, as it was called before";
        return Err(DataError::images(dir, problem.into()));
    }
    let names = shard_names(dir, split)?;
    if names.is_empty() {
        let problem = format!("has no shards of {} images (tar files with that in their names)", split_name(split));
        return Err(DataError::images(dir, problem));
    }
    let scanned = parallel::map(names.len(), parallel::readers(), |number| scan_shard(&dir.join(&names[number])))?;
    let scanned: Vec<Scanned> = scanned.into_iter().collect::<Result<_, _>>()?;
    let mut skipped = Skipped::default();
    for (name, shard) in names.iter().zip(&scanned) {
        skipped.extend(name, &shard.skipped);
    }
    if scanned.iter().all(|shard| shard.samples.is_empty()) {
        let files = if names.len() == 1 { "a tar file".to_owned() } else { format!("{} tar files", names.len()) };
        let found = if skipped.is_empty() { "nothing".to_owned() } else { skipped.to_string() };
        let problem = format!(
            "has {files} without an image and its label, but {found}; a sample is KEY.jpg (or .png) followed by KEY.cls or \
             KEY.json"
        );
        return Err(DataError::images(dir, problem));
    }
    let classes = Classes::find(dir, split, &scanned)?;
    let repeated = note_repeated(dir, &names, &scanned);
    let mut index = Index { is_scanned: true, classes: classes.names.clone(), ..Index::default() };
    for (number, (name, shard)) in (0..).zip(names.into_iter().zip(scanned)) {
        for sample in &shard.samples {
            let refused = |problem: String| DataError::images(&dir.join(&name), problem);
            let label = classes.label(&sample.label).ok_or_else(|| {
                let (image, label) = (&sample.image.name, &sample.label);
                refused(format!("gives {image} the class {label}, which is none of its set{}", classes.advice))
            })?;
            let bytes = u32::try_from(sample.image.bytes).ok();
            let entry = bytes.map(|bytes| Entry { shard: number, offset: sample.image.offset, bytes, label, crc: 0 });
            if !entry.is_some_and(|entry| index.push(entry)) {
                return Err(refused(format!("has an image {} that is too large", sample.image.name)));
            }
        }
        let images = shard.samples.len() as u64;
        index.shards.push(ShardFile { name, bytes: shard.bytes, images, sha256: [0; 32] });
    }
    let mut notes: Vec<String> = classes.note.into_iter().chain(repeated).collect();
    if !skipped.is_empty() {
        notes.push(format!("{}: left out {skipped}", dir.display()));
    }
    let path = index_path(dir, split);
    if let Err(error) = replace(&path, |writer| index.write(writer)) {
        notes.push(format!("{} cannot be written ({error}): the shards are read again at each start", path.display()));
    }
    Ok(Shards::new(dir, split, index, notes))
}

/// A note on keys that come again within a shard. In another shard they mean nothing, for names count by shard.
fn note_repeated(dir: &Path, names: &[String], scanned: &[Scanned]) -> Option<String> {
    let repeated = names.iter().zip(scanned).filter_map(|(name, shard)| Some((name, shard.repeated.as_ref()?)));
    let (number, shards) =
        repeated.clone().fold((0, 0), |(number, shards), (_, (more, _))| (number + more, shards + 1));
    let (name, (_, key)) = repeated.into_iter().next()?;
    let (samples, have, keys) =
        if number == 1 { ("sample", "has a key", "is") } else { ("samples", "have keys", "are") };
    let of = if shards == 1 { String::new() } else { format!(" in {shards} shards") };
    Some(format!(
        "{}: {number} {samples}{of} {have} that came before in the same shard (as {} in {name}): each {keys} used as a \
         sample of its own",
        dir.display(),
        shown(key)
    ))
}

struct Scanned {
    bytes: u64,
    samples: Vec<Sample>,
    skipped: Skipped,
    repeated: Option<(u64, String)>,
}

fn scan_shard(path: &Path) -> Result<Scanned, DataError> {
    let failed = |error: std::io::Error| DataError::images(path, format!("cannot be read ({error})"));
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(DataError::images(path, "is called as a tar file and is none: move it elsewhere".to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let found = scan::samples(&file, bytes).map_err(|problem| DataError::images(path, problem))?;
    let Samples { samples, skipped, repeated } = found;
    Ok(Scanned { bytes, samples, skipped, repeated })
}

/// The classes that labels mean.
struct Classes {
    names: Vec<String>,
    by_name: HashMap<String, u32>,
    are_numbers: bool,
    /// What helps where a label is none of them, as the end of a line.
    advice: &'static str,
    note: Option<String>,
}

impl Classes {
    /// From a list beside the shards, else from those of training images, else from the labels.
    fn find(dir: &Path, split: Split, scanned: &[Scanned]) -> Result<Self, DataError> {
        let labels: BTreeSet<&str> =
            scanned.iter().flat_map(|shard| &shard.samples).map(|sample| sample.label.as_str()).collect();
        let numbers: Option<Vec<u32>> = labels.iter().map(|label| label.parse().ok()).collect();
        let mut note = None;
        let of_training =
            || split == Split::Test && shard_names(dir, Split::Train).is_ok_and(|names| !names.is_empty());
        let names = if let Some(path) = CLASS_LISTS.iter().map(|name| dir.join(name)).find(|path| path.is_file()) {
            let text = fs::read_to_string(&path)
                .map_err(|error| DataError::images(&path, format!("cannot be read ({error})")))?;
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
        } else if of_training() {
            Shards::open(dir, Split::Train)?.index.classes
        } else if let Some(numbers) = &numbers {
            let most = numbers.iter().max().copied().unwrap_or(0);
            if most >= MOST_CLASSES {
                return Err(DataError::images(dir, format!("has a label {most}, more than there can be classes")));
            }
            (0..=most).map(|number| number.to_string()).collect()
        } else {
            note = note_on_names(dir, &labels)?;
            labels.into_iter().map(str::to_owned).collect()
        };
        let by_name = names.iter().cloned().zip(0..).collect();
        let advice = class_counts::advice_on_numbers(numbers.iter().flatten().copied(), names.len());
        Ok(Self { names, by_name, are_numbers: numbers.is_some(), advice, note })
    }

    fn label(&self, text: &str) -> Option<u32> {
        let by_number = || text.parse().ok().filter(|&label: &u32| (label as usize) < self.names.len());
        if self.are_numbers { by_number() } else { self.by_name.get(text).copied() }
    }
}

/// A note on labels that are taken for names though some are numbers.
///
/// # Errors
/// When all are numbers, but not such as classes have.
fn note_on_names(dir: &Path, labels: &BTreeSet<&str>) -> Result<Option<String>, DataError> {
    let is_number =
        |label: &&&str| label.bytes().all(|byte| b"0123456789+-.eE".contains(&byte)) && label.parse::<f64>().is_ok();
    let (numbers, names): (Vec<&str>, Vec<&str>) = labels.iter().partition(|label| is_number(label));
    let Some(number) = numbers.first() else { return Ok(None) };
    let Some(name) = names.first() else {
        let wrong = numbers.iter().find(|label| label.parse::<u32>().is_err()).unwrap_or(number);
        let problem = format!("has a label {}: labels that are numbers are whole and begin at 0", shown(wrong));
        return Err(DataError::images(dir, problem));
    };
    let (place, number, name) = (dir.display(), shown(number), shown(name));
    Ok(Some(format!("{place}: some labels are numbers (as {number}), some names (as {name}): all are taken for names")))
}
