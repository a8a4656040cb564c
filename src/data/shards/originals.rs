//! ImageNet as it is published: a tar file of a tar file for each class, and a tar file of all validation images.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::Shards;
use super::index::{Entry, Index, ShardFile};
use super::scan::{self, Found, Member, Section};
use crate::data::image_folder::{self, Names, Reason, Skipped, Tree, is_image_name};
use crate::data::{DataError, Split, parallel};

const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VALIDATION: &str = "ILSVRC2012_img_val.tar";

/// The archives in a folder.
#[derive(Clone, Debug)]
pub(in crate::data) struct Originals {
    dir: PathBuf,
    train: Train,
}

/// How training images are kept.
#[derive(Clone, Debug)]
enum Train {
    None,
    /// `ILSVRC2012_img_train.tar`.
    One,
    /// What it holds, unpacked: a tar file for each class, by their paths below the folder.
    Classes(Vec<String>),
}

/// Whether each of `archives` has a folder of its name beside it, as after unpacking ImageNet class by class.
pub(in crate::data) fn are_unpacked(mut archives: impl Iterator<Item = PathBuf>) -> bool {
    archives.all(|archive| archive.with_extension("").is_dir())
}

impl Originals {
    /// The archives in `dir`; none if there is none.
    pub fn find(dir: &Path) -> Option<Self> {
        let train = if dir.join(TRAIN).is_file() {
            Train::One
        } else {
            let folders = ["train", ""].map(|folder| class_archives(dir, folder));
            let usable =
                |names: &Vec<String>| !names.is_empty() && !are_unpacked(names.iter().map(|name| dir.join(name)));
            folders.into_iter().find(usable).map_or(Train::None, Train::Classes)
        };
        let found = Self { dir: dir.into(), train };
        (found.has(Split::Train) || found.has(Split::Test)).then_some(found)
    }

    /// Whether there is an archive of `split`.
    pub fn has(&self, split: Split) -> bool {
        match split {
            Split::Train => !matches!(self.train, Train::None),
            Split::Test => self.dir.join(VALIDATION).is_file(),
        }
    }

    /// The images of one part, to be read from the archives as they are.
    ///
    /// # Errors
    /// When an archive cannot be read or is cut short, or validation images have no labels.
    pub fn open(&self, split: Split) -> Result<Shards, DataError> {
        match (split, &self.train) {
            (Split::Test, _) => self.open_validation(),
            (Split::Train, Train::Classes(names)) => self.open_classes(names),
            (Split::Train, _) => self.open_train(),
        }
    }

    fn open_train(&self) -> Result<Shards, DataError> {
        let path = self.dir.join(TRAIN);
        let (file, bytes) = open(&path)?;
        let refused = |problem: String| DataError::images(&path, problem);
        let mut archives = class_members(&file, bytes).map_err(refused)?;
        archives.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let inner = parallel::map(archives.len(), parallel::readers(), |number| {
            images(Section::new(&file, archives[number].offset, archives[number].bytes))
                .map_err(|problem| refused(format!("holds {}, which {problem}", archives[number].name)))
        })?;
        let mut builder = Builder::default();
        for (archive, inner) in archives.iter().zip(inner) {
            builder.add_class(class_of(&archive.name), inner?, &path)?;
        }
        builder.end_shard(TRAIN, bytes);
        Ok(builder.finish(&self.dir, Split::Train))
    }

    fn open_classes(&self, names: &[String]) -> Result<Shards, DataError> {
        let found = parallel::map(names.len(), parallel::readers(), |number| {
            let path = self.dir.join(&names[number]);
            let (file, bytes) = open(&path)?;
            let found = images(Section::new(&file, 0, bytes)).map_err(|problem| DataError::images(&path, problem))?;
            Ok((bytes, found))
        })?;
        let mut builder = Builder::default();
        for (name, found) in names.iter().zip(found) {
            let (bytes, found) = found?;
            builder.add_class(class_of(name), found, &self.dir.join(name))?;
            builder.end_shard(name, bytes);
        }
        Ok(builder.finish(&self.dir, Split::Train))
    }

    fn open_validation(&self) -> Result<Shards, DataError> {
        let path = self.dir.join(VALIDATION);
        let (file, bytes) = open(&path)?;
        let found = images(Section::new(&file, 0, bytes)).map_err(|problem| DataError::images(&path, problem))?;
        let (mut members, skipped) = found;
        members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut names = Names::default();
        for member in &members {
            names.push(member.name.rsplit('/').next().unwrap_or_default().as_bytes());
        }
        let train = match &self.train {
            Train::None => None,
            Train::Classes(names) => Some(names.iter().map(|name| class_of(name)).collect()),
            Train::One => {
                let path = self.dir.join(TRAIN);
                let (file, bytes) = open(&path)?;
                let members = class_members(&file, bytes).map_err(|problem| DataError::images(&path, problem))?;
                let mut classes: Vec<String> = members.iter().map(|member| class_of(&member.name)).collect();
                classes.sort_unstable();
                Some(classes)
            }
        };
        let tree = Tree { dir: self.dir.clone(), base: self.dir.clone(), train: None, validation: None };
        let labelled = image_folder::label(&tree, &path, &names, train)?;
        let mut builder = Builder { skipped, notes: labelled.notes, ..Builder::default() };
        builder.index.classes = labelled.classes;
        for (member, label) in members.iter().zip(labelled.labels) {
            builder.push(member, label, &path)?;
        }
        builder.end_shard(VALIDATION, bytes);
        Ok(builder.finish(&self.dir, Split::Test))
    }
}

/// Puts an index together.
#[derive(Default)]
struct Builder {
    index: Index,
    skipped: Skipped,
    notes: Vec<String>,
    /// Images before the shard under way.
    before: usize,
}

impl Builder {
    fn add_class(&mut self, class: String, found: (Vec<Member>, Skipped), path: &Path) -> Result<(), DataError> {
        let (mut members, skipped) = found;
        if members.is_empty() {
            return Err(DataError::images(path, format!("has no images of class {class}")));
        }
        members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.skipped.extend(&class, &skipped);
        let label = self.index.classes.len() as u32;
        self.index.classes.push(class);
        members.iter().try_for_each(|member| self.push(member, label, path))
    }

    fn push(&mut self, member: &Member, label: u32, path: &Path) -> Result<(), DataError> {
        let bytes = u32::try_from(member.bytes).ok();
        let entry = bytes.map(|bytes| Entry {
            shard: self.index.shards.len() as u32,
            offset: member.offset,
            bytes,
            label,
            crc: 0,
        });
        match entry.is_some_and(|entry| self.index.push(entry)) {
            true => Ok(()),
            false => Err(DataError::images(path, format!("has a file {} that is too large", member.name))),
        }
    }

    fn end_shard(&mut self, name: &str, bytes: u64) {
        let images = (self.index.len() - self.before) as u64;
        self.before = self.index.len();
        self.index.shards.push(ShardFile { name: name.to_owned(), bytes, images, sha256: [0; 32] });
    }

    fn finish(mut self, dir: &Path, split: Split) -> Shards {
        if !self.skipped.is_empty() {
            self.notes.push(format!("{}: left out {}", dir.display(), self.skipped));
        }
        Shards::new(dir, split, self.index, self.notes)
    }
}

/// The images of a tar file, and what else it has.
fn images(section: Section<'_>) -> Result<(Vec<Member>, Skipped), String> {
    let (mut members, mut skipped) = (Vec::new(), Skipped::default());
    scan::members(section, |found| {
        let member = match found {
            Found::File(member) => member,
            Found::Link(name) => {
                skipped.add(Reason::Link, 1, &name);
                return Ok(());
            }
            Found::Rest(byte) => {
                skipped.add(Reason::BehindEnd, 1, &format!("byte {byte}"));
                return Ok(());
            }
        };
        let base = member.name.rsplit('/').next().unwrap_or_default();
        match image_folder::hidden_reason(base.as_bytes()) {
            Some(reason) => skipped.add(reason, 1, &member.name),
            None if !is_image_name(base.as_bytes()) => skipped.add(Reason::OtherFormat, 1, &member.name),
            None if member.bytes == 0 => skipped.add(Reason::Empty, 1, &member.name),
            None => members.push(member),
        }
        Ok(())
    })?;
    Ok((members, skipped))
}

/// The tar files within a tar file.
fn class_members(file: &File, bytes: u64) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    scan::members(Section::new(file, 0, bytes), |found| {
        if let Found::File(member) = found
            && member.name.ends_with(".tar")
        {
            members.push(member);
        }
        Ok(())
    })?;
    if members.is_empty() { Err("has no tar files of classes in it".to_owned()) } else { Ok(members) }
}

/// Names of the tar files of classes (`n01440764.tar`) in `folder` of `dir`, in order.
fn class_archives(dir: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir.join(folder)) else { return Vec::new() };
    let is_class = |name: &String| {
        name.strip_suffix(".tar")
            .and_then(|stem| stem.strip_prefix('n'))
            .is_some_and(|digits| digits.len() >= 8 && digits.as_bytes()[..8].iter().all(u8::is_ascii_digit))
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(is_class);
    let mut names: Vec<String> =
        names.map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") }).collect();
    names.sort_unstable();
    names
}

/// `n01440764` of `train/n01440764.tar`.
fn class_of(name: &str) -> String {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.strip_suffix(".tar").unwrap_or(base).to_owned()
}

fn open(path: &Path) -> Result<(File, u64), DataError> {
    let failed = |error: std::io::Error| DataError::images(path, format!("cannot be read ({error})"));
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((file, bytes))
}
