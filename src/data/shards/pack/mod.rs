//! Makes shards of a data set: every image read, checked, and copied or made smaller.
//!
//! Ranks take shards in turn; within one, threads prepare images and one writes them in order. A shard gets its name
//! when it is whole, and then a small index of its own (`.train-000000.index`), by which a later call knows it. When all
//! are there, rank 0 joins the indices into one and writes the manifest, last.
//!
//! - `plan`: which image goes where; `convert`: one image; `shard`: the tar file; `overlap`: where none may be made

mod convert;
mod overlap;
mod plan;
mod shard;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::convert::{Converted, convert};
use self::plan::Plan;
use self::shard::ShardWriter;
use super::index::{BLOCK, Entry, Index, ShardFile};
use super::manifest::{self, LeftOut, Manifest, PartManifest, ShardManifest, hexadecimal};
use super::{index_path, mismatch, split_name};
use crate::data::{DataError, Images, RankShare, Source, Split, StoredImage, parallel};
use crate::files::{remove_partial_files, replace};

/// Held while shards are written.
const LOCK: &str = ".lock";

/// What shards are to be like.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// Longest side of an image in pixels; none: all stay as they are.
    pub max_side: Option<u32>,
    /// Quality of JPEG of images that are made smaller, 1 to 100.
    pub quality: u8,
    /// Unreadable images that may be left out.
    pub skip_bad: usize,
    /// About the bytes of a shard.
    pub shard_bytes: u64,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self { max_side: None, quality: 90, skip_bad: 0, shard_bytes: 256 << 20 }
    }
}

/// Shards to be made of a data set.
pub struct Pack {
    to: PathBuf,
    parts: Vec<Part>,
    options: PackOptions,
}

struct Part {
    split: Split,
    images: Arc<Images>,
    plan: Plan,
}

impl Part {
    /// Of all shards, or of those that `plan` is the digest of.
    fn empty_index(&self, plan: [u8; 32]) -> Index {
        Index { has_checksums: true, classes: self.images.class_names().to_vec(), plan, ..Index::default() }
    }
}

/// What all calls together have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packed {
    /// All shards are there.
    Complete(Manifest),
    /// All but more unreadable images than may be left out.
    TooManyBad(Vec<LeftOut>),
}

impl Pack {
    /// Opens the data set in `from`, of which shards are to be made in `to`.
    ///
    /// # Errors
    /// When there are no images that can be used, or `to` and their folders lie within one another.
    pub fn open(from: &Path, to: &Path, options: PackOptions) -> Result<Self, DataError> {
        overlap::refuse(from, to)?;
        let parts = Images::open_all(from)?;
        parts.iter().try_for_each(|(_, images)| overlap::refuse_classes(images, to))?;
        let plan = |(split, images): (Split, Images)| {
            let plan = Plan::new(&images, split, &options)?;
            Ok(Part { split, images: Arc::new(images), plan })
        };
        let parts = parts.into_iter().map(plan).collect::<Result<_, DataError>>()?;
        Ok(Self { to: to.to_owned(), parts, options })
    }

    /// What to tell the user once.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().flat_map(|part| part.images.notes())
    }

    /// Number of images.
    pub fn num_images(&self) -> usize {
        self.parts.iter().map(|part| part.images.len()).sum()
    }

    /// The manifest, if all is done already and still there.
    ///
    /// # Errors
    /// When there are shards of other images or options, and not of these with some images replaced.
    pub fn complete(&self) -> Result<Option<Manifest>, DataError> {
        let Some(manifest) = Manifest::read(&self.to)? else { return Ok(None) };
        if !self.is_of(&manifest) {
            if self.has_mostly_these(&manifest) {
                return Ok(None);
            }
            let problem = "holds shards of other images or options: choose another folder with --to, or remove it";
            return Err(DataError::images(&self.to, problem.into()));
        }
        let is_whole = |part: &Part| {
            Index::read(&index_path(&self.to, part.split)).is_ok_and(|index| mismatch(&self.to, &index).is_none())
        };
        if !self.parts.iter().all(is_whole) {
            return Ok(None);
        }
        let left_out = manifest.parts.iter().map(|part| part.left_out.len()).sum::<usize>();
        Ok((left_out <= self.options.skip_bad).then_some(manifest))
    }

    /// Whether `manifest` is of these images and options.
    fn is_of(&self, manifest: &Manifest) -> bool {
        let plans = self.parts.iter().map(|part| hexadecimal(&part.plan.digest));
        plans.eq(manifest.parts.iter().map(|part| part.plan.clone()))
    }

    /// Whether `manifest` has as many images, and at least half of its shards are as they are to be: some images were
    /// replaced. Of a set of the same names in another size all shards differ.
    fn has_mostly_these(&self, manifest: &Manifest) -> bool {
        let has_as_many = |part: &Part| {
            let noted = manifest.part(part.split);
            noted.is_some_and(|noted| noted.images + noted.left_out.len() == part.images.len())
        };
        if manifest.parts.len() != self.parts.len() || !self.parts.iter().all(has_as_many) {
            return false;
        }
        let is_kept = |&(part, number): &(&Part, usize)| {
            let shard = manifest.part(part.split).and_then(|part| part.shards.get(number));
            shard.is_some_and(|shard| shard.plan == hexadecimal(&part.plan.shard_digest(number)))
        };
        2 * self.shards().filter(is_kept).count() >= self.shards().count()
    }

    /// Makes the folder and takes it for this process and those that work with it; removes what a killed one left half
    /// written, and what one with other options left. One rank does that before the others write.
    ///
    /// # Errors
    /// When the folder cannot be made, another process writes there, or it has shards that no pack made.
    pub fn begin(&self) -> Result<Lock, DataError> {
        let failed = |source: io::Error| DataError::Write { path: self.to.clone(), source };
        fs::create_dir_all(&self.to).map_err(failed)?;
        let path = self.to.join(LOCK);
        let (is_complete, is_begun) = (Manifest::path(&self.to).is_file(), is_unfinished(&self.to));
        if !is_complete && !is_begun && has_shards(&self.to) {
            let problem =
                "has tar files or an index that pdarts data pack did not make: choose another folder with --to";
            return Err(DataError::images(&self.to, problem.into()));
        }
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(DataError::images(&self.to, "is being written by another process: wait for it".into()));
            }
            Err(TryLockError::Error(source)) if !matches!(source.raw_os_error(), Some(libc::ENOSYS | libc::ENOLCK)) => {
                return Err(failed(source));
            }
            // Some cluster file systems have no locks.
            _ => {}
        }
        let lock = Lock { path, _file: file };
        remove_partial_files(&self.to).map_err(failed)?;
        let manifest = Manifest::read(&self.to)?;
        if let Some(manifest) = &manifest {
            self.note_whole_shards(manifest)?;
        }
        if !manifest.is_some_and(|manifest| self.is_of(&manifest)) {
            self.remove_shards_of_other_plans()?;
        }
        // More bad images than may be: what has them is made again, for they may have been repaired.
        if self.left_out().len() > self.options.skip_bad {
            for (part, number) in self.shards() {
                if self.finished(part, number).is_some_and(|index| !index.left_out.is_empty()) {
                    let path = self.sidecar(part.split, number);
                    fs::remove_file(&path).map_err(|source| DataError::Write { path, source })?;
                }
            }
        }
        Ok(lock)
    }

    /// Leaves beside each shard of a complete pack that is still whole, and still as it is to be, the index of its own that
    /// it had before.
    fn note_whole_shards(&self, manifest: &Manifest) -> Result<(), DataError> {
        for part in &self.parts {
            let Ok(joined) = Index::read(&index_path(&self.to, part.split)) else { continue };
            let mut entries = vec![Vec::new(); joined.shards.len()];
            joined.iter().for_each(|entry| entries[entry.shard as usize].push(Entry { shard: 0, ..entry }));
            for (number, (shard, mut entries)) in joined.shards.iter().zip(entries).take(part.plan.len()).enumerate() {
                let plan = part.plan.shard_digest(number);
                let noted = manifest.part(part.split).and_then(|part| part.shards.get(number));
                let is_as_planned =
                    joined.plan == part.plan.digest || noted.is_some_and(|noted| noted.plan == hexadecimal(&plan));
                // Of images that were left out the index has no entry.
                if !is_as_planned || entries.len() != part.plan.shard(number).len() {
                    continue;
                }
                entries.sort_unstable_by_key(|entry| entry.offset);
                let mut index = Index { shards: vec![shard.clone()], ..part.empty_index(plan) };
                if mismatch(&self.to, &index).is_none() && entries.into_iter().all(|entry| index.push(entry)) {
                    let path = self.sidecar(part.split, number);
                    replace(&path, |writer| index.write(writer)).map_err(|source| DataError::Write { path, source })?;
                }
            }
        }
        Ok(())
    }

    /// Removes shards that an unfinished pack with other options has left, which readers would take for some of these.
    fn remove_shards_of_other_plans(&self) -> Result<(), DataError> {
        let failed = |source: io::Error| DataError::Write { path: self.to.clone(), source };
        let own: BTreeSet<String> = self.shards().map(|(part, number)| shard_stem(part.split, number)).collect();
        for entry in fs::read_dir(&self.to).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if stem_of_pack(&name).is_some_and(|stem| !own.contains(stem)) {
                fs::remove_file(&path).map_err(|source| DataError::Write { path, source })?;
            }
        }
        Ok(())
    }

    /// Writes this rank's shards, as far as they are not there. `progress` hears of images.
    ///
    /// # Errors
    /// When the disk refuses or the system refuses a thread. Unreadable images are not errors here.
    pub fn write(
        &self,
        share: RankShare,
        num_threads: NonZeroUsize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), DataError> {
        for (turn, (part, number)) in self.shards().enumerate() {
            if turn % share.size != share.rank {
                continue;
            }
            if self.finished(part, number).is_some() {
                progress(part.plan.shard(number).len());
            } else {
                self.write_shard(part, number, num_threads, progress)?;
            }
        }
        Ok(())
    }

    /// Joins the indices of all shards and writes the manifest. One rank does that when all have written theirs.
    ///
    /// # Errors
    /// When a shard is not there or the disk refuses.
    pub fn finish(&self) -> Result<Packed, DataError> {
        let left_out = self.left_out();
        if left_out.len() > self.options.skip_bad {
            return Ok(Packed::TooManyBad(left_out));
        }
        let parts = self.parts.iter().map(|part| self.join(part)).collect::<Result<_, _>>()?;
        let manifest = Manifest {
            version: manifest::VERSION,
            max_side: self.options.max_side,
            quality: self.options.quality,
            class_names: self.parts.first().map_or(&[][..], |part| part.images.class_names()).to_vec(),
            parts,
        };
        let path = Manifest::path(&self.to);
        let text = |writer: &mut dyn Write| {
            serde_json::to_writer_pretty(&mut *writer, &manifest)?;
            writer.write_all(b"\n")
        };
        replace(&path, text).map_err(|source| DataError::Write { path, source })?;
        for (part, number) in self.shards() {
            let path = self.sidecar(part.split, number);
            fs::remove_file(&path).map_err(|source| DataError::Write { path, source })?;
        }
        Ok(Packed::Complete(manifest))
    }

    /// All shards of all parts.
    fn shards(&self) -> impl Iterator<Item = (&Part, usize)> {
        self.parts.iter().flat_map(|part| (0..part.plan.len()).map(move |number| (part, number)))
    }

    /// Images that were found unreadable so far.
    fn left_out(&self) -> Vec<LeftOut> {
        let indices = self.shards().filter_map(|(part, number)| self.finished(part, number));
        indices.flat_map(|index| index.left_out).map(|(image, reason)| LeftOut { image, reason }).collect()
    }

    fn sidecar(&self, split: Split, number: usize) -> PathBuf {
        self.to.join(format!(".{}.index", shard_stem(split, number)))
    }

    /// The index of a shard that is whole.
    fn finished(&self, part: &Part, number: usize) -> Option<Index> {
        let index = Index::read(&self.sidecar(part.split, number)).ok()?;
        (index.plan == part.plan.shard_digest(number) && mismatch(&self.to, &index).is_none()).then_some(index)
    }

    fn write_shard(
        &self,
        part: &Part,
        number: usize,
        num_threads: NonZeroUsize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<(), DataError> {
        let name = format!("{}.tar", shard_stem(part.split, number));
        let path = self.to.join(&name);
        let mut index = part.empty_index(part.plan.shard_digest(number));
        let indices = part.plan.shard(number);
        let (images, options) = (Arc::clone(&part.images), self.options);
        let converted = parallel::stream(indices.to_vec(), num_threads, move |image: u32| {
            let mut bytes = Vec::new();
            Ok(match images.read(image, &mut bytes) {
                Ok(StoredImage::Encoded(bytes)) => convert(bytes, &options),
                Ok(StoredImage::Pixels { .. }) => Err("it is not a file".to_owned()),
                Err(DataError::Image { reason, .. }) => Err(reason),
                Err(error) => return Err(error),
            })
        })?;
        let mut failure = None;
        let mut size = (0, [0; 32]);
        let written = replace(&path, |writer| {
            let mut shard = ShardWriter::new(writer);
            for (&image, result) in indices.iter().zip(converted) {
                match result {
                    Ok(result) => put(&mut shard, &mut index, &part.images, image, result)?,
                    Err(error) => {
                        failure = Some(error);
                        return Err(io::Error::other("an image could not be prepared"));
                    }
                }
                progress(1);
            }
            size = shard.finish()?;
            Ok(())
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        written.map_err(|source| DataError::Write { path, source })?;
        index.shards.push(ShardFile { name, bytes: size.0, images: index.len() as u64, sha256: size.1 });
        let path = self.sidecar(part.split, number);
        replace(&path, |writer| index.write(writer)).map_err(|source| DataError::Write { path, source })
    }

    /// One index of a part's shards, in the order of its images.
    fn join(&self, part: &Part) -> Result<PartManifest, DataError> {
        let mut images: Vec<(u32, Entry)> = Vec::with_capacity(part.images.len());
        let mut joined = part.empty_index(part.plan.digest);
        for number in 0..part.plan.len() {
            let path = self.sidecar(part.split, number);
            let index = self
                .finished(part, number)
                .ok_or_else(|| DataError::images(&path, "is not there or not as it was written: call again".into()))?;
            let entries = (0..index.len()).filter_map(|position| index.entry(position));
            // Images that were left out have no bytes.
            let kept = part.plan.shard(number).iter().zip(entries).filter(|(_, entry)| entry.bytes > 0);
            let before = images.len();
            images.extend(kept.map(|(&image, entry)| (image, Entry { shard: number as u32, ..entry })));
            let count = (images.len() - before) as u64;
            joined.shards.extend(index.shards.into_iter().map(|shard| ShardFile { images: count, ..shard }));
            joined.left_out.extend(index.left_out);
        }
        images.sort_unstable_by_key(|(image, _)| *image);
        let mut images_per_class = vec![0; joined.classes.len()];
        for (_, entry) in images {
            images_per_class[entry.label as usize] += 1;
            joined.push(entry);
        }
        let path = index_path(&self.to, part.split);
        replace(&path, |writer| joined.write(writer)).map_err(|source| DataError::Write { path, source })?;
        let shard = |(number, shard): (usize, &ShardFile)| ShardManifest {
            name: shard.name.clone(),
            bytes: shard.bytes,
            images: shard.images,
            sha256: hexadecimal(&shard.sha256),
            plan: hexadecimal(&part.plan.shard_digest(number)),
        };
        Ok(PartManifest {
            name: split_name(part.split).to_owned(),
            images: joined.len(),
            images_per_class,
            plan: hexadecimal(&part.plan.digest),
            index_sha256: joined.digest(),
            shards: joined.shards.iter().enumerate().map(shard).collect(),
            left_out: joined.left_out.into_iter().map(|(image, reason)| LeftOut { image, reason }).collect(),
        })
    }
}

/// Appends one image to a shard and its index, or says in the index why it was left out.
fn put(
    shard: &mut ShardWriter<&mut dyn Write>,
    index: &mut Index,
    images: &Images,
    image: u32,
    result: Result<Converted, String>,
) -> io::Result<()> {
    let label = images.label(image).unwrap_or_default();
    let entry = match result {
        Ok(converted) => shard.push(image, &images.file_name(image), label, &converted)?,
        Err(reason) => {
            index.left_out.push((images.location(image), reason));
            Entry { shard: 0, offset: BLOCK, bytes: 0, label, crc: 0 }
        }
    };
    if index.push(entry) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::FileTooLarge)) }
}

fn shard_stem(split: Split, number: usize) -> String {
    format!("{}-{number:06}", split_name(split))
}

/// As [`shard_stem`] makes it, of a file that is such a shard or its own index.
fn stem_of_pack(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".tar").or_else(|| name.strip_prefix('.')?.strip_suffix(".index"))?;
    let number = ["train-", "val-"].iter().find_map(|prefix| stem.strip_prefix(prefix))?;
    (number.len() >= 6 && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(stem)
}

/// Whether `dir` has a file with such a name.
fn has_file(dir: &Path, is_such: impl Fn(&str) -> bool) -> bool {
    fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|entry| is_such(&entry.file_name().to_string_lossy())))
}

/// Whether `dir` has what a pack leaves only when it was killed or refused.
pub(super) fn is_unfinished(dir: &Path) -> bool {
    has_file(dir, |name| name == LOCK || name.starts_with('.') && stem_of_pack(name).is_some())
}

/// Whether `dir` has shards or indices.
fn has_shards(dir: &Path) -> bool {
    has_file(dir, |name| !name.starts_with('.') && (name.ends_with(".tar") || name.ends_with(".index")))
}

/// Held while shards are written; removed when that has ended.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Left behind, it would hinder nobody.
        let _ = fs::remove_file(&self.path);
    }
}
