//! Reading a tar file from its start to find its images, where there is no index: shards of others, ImageNet's archives.
//!
//! In a shard, files whose names are the same up to the first dot of the last part are one sample, as WebDataset has
//! it: an image (`jpg`, `jpeg` or `png`, also as in `left.jpg`) and its label (`cls`: a number or a name; `json`: an
//! object with `label` or the like). Only files that follow each other are one sample: a key that comes again later is a
//! sample of its own, and a name that comes twice within one is an error, as in WebDataset.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use super::index::BLOCK;
use crate::data::image_folder::{Reason, Skipped, hidden_reason, is_image_name};
use crate::data::packing::Packing;

/// Tar files are filled up with zeros to a multiple of this many bytes.
const RECORD: usize = 10240;
/// Labels are short; a description in JSON may hold much else.
const MOST_LABEL_BYTES: u64 = 1 << 20;
/// Keys of a label in JSON, most usual first.
const LABEL_KEYS: [&str; 6] = ["label", "cls", "class", "class_id", "label_id", "target"];

/// A file within a tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    /// First byte in the file on disk.
    pub offset: u64,
    pub bytes: u64,
}

/// An image of a shard with what its sample says of its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub image: Member,
    pub label: String,
}

/// Part of a file, read by position: a tar file, or one within another.
pub(super) struct Section<'a> {
    file: &'a File,
    start: u64,
    len: u64,
    at: u64,
}

impl<'a> Section<'a> {
    pub fn new(file: &'a File, start: u64, len: u64) -> Self {
        Self { file, start, len, at: 0 }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..wanted], self.start + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(target) => Some(target),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        self.at = target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// What a tar file has under a name.
pub(super) enum Found {
    File(Member),
    /// A hard or symbolic link of this name.
    Link(String),
    /// Something behind the end, from this byte on.
    Rest(u64),
}

/// Calls `visit` with each regular file and link of a tar file that fills `section`.
///
/// # Errors
/// When it is no tar file, is cut short or sparse, or has a name that leads out of a folder; as the rest of a line.
pub(super) fn members(section: Section<'_>, mut visit: impl FnMut(Found) -> Result<(), String>) -> Result<(), String> {
    let (file, start, len) = (section.file, section.start, section.len);
    if len == 0 {
        return Err("is empty: copy it again".to_owned());
    }
    if let Some(packing) = Packing::at(file, start).ok().flatten().filter(|packing| *packing != Packing::Tar) {
        return Err(packing.advice_on_tar());
    }
    let mut archive = tar::Archive::new(section);
    let mut end = 0;
    // What the library quotes of a damaged header is no text.
    let damaged = |end: u64| match end {
        0 => "is damaged or no tar file: copy it again".to_owned(),
        _ => format!("is damaged after byte {end}: copy it again"),
    };
    for entry in archive.entries_with_seek().map_err(|_| damaged(0))? {
        let entry = entry.map_err(|_| damaged(end))?;
        let (offset, bytes) = (entry.raw_file_position(), entry.size());
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut parts = Path::new(&name).components();
        let kind = entry.header().entry_type();
        if kind.is_gnu_sparse() || parts.clone().any(|part| is_sparse_folder(&part)) {
            return Err(format!("has a sparse file {name}, which is not read: make it anew with tar without --sparse"));
        }
        end = offset.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(BLOCK)).unwrap_or(u64::MAX);
        if end > len {
            return Err(format!(
                "is cut short: {name} goes on to byte {end}, but there are {len} bytes; copy it again"
            ));
        }
        if parts.any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(format!("has a file named {name}, which leads out of a folder: it is not taken for a shard"));
        }
        if kind.is_file() {
            visit(Found::File(Member { name, offset: start + offset, bytes }))?;
        } else if kind.is_hard_link() || kind.is_symlink() {
            visit(Found::Link(name))?;
        }
    }
    let mut last = [1; BLOCK as usize];
    let has_end =
        end + BLOCK <= len && file.read_exact_at(&mut last, start + end).is_ok() && last == [0; BLOCK as usize];
    if !has_end {
        return Err(format!("is cut short: a tar file's end is missing after byte {end}; copy it again"));
    }
    match rest(file, start + end, start + len) {
        Some(byte) => visit(Found::Rest(byte)),
        None => Ok(()),
    }
}

/// The first byte that is not zero behind the end of a tar file at `end`, in the record that it fills and the next.
fn rest(file: &File, end: u64, len: u64) -> Option<u64> {
    let mut bytes = vec![0; usize::try_from(len.saturating_sub(end)).unwrap_or(usize::MAX).min(2 * RECORD)];
    file.read_exact_at(&mut bytes, end).ok()?;
    bytes.iter().position(|&byte| byte != 0).map(|position| end + position as u64)
}

/// The folder that GNU tar names for a sparse file in the POSIX format, whose bytes begin with a map.
fn is_sparse_folder(part: &Component<'_>) -> bool {
    part.as_os_str().as_bytes().starts_with(b"GNUSparseFile.")
}

/// What a shard has.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Images with labels, in order.
    pub samples: Vec<Sample>,
    /// Everything else.
    pub skipped: Skipped,
    /// Keys of samples that came before, with other keys between, and the first of them.
    pub repeated: Option<(u64, String)>,
}

/// The samples of a shard of `len` bytes.
///
/// # Errors
/// Those of [`members`], and a sample that has two files of one name.
pub(super) fn samples(file: &File, len: u64) -> Result<Samples, String> {
    let mut found = Collector::default();
    members(Section::new(file, 0, len), |member| found.add(file, member))?;
    Ok(found.finish())
}

/// Gathers the files of a sample until one of another comes.
#[derive(Default)]
struct Collector {
    found: Samples,
    key: String,
    image: Option<Member>,
    label: Option<String>,
    /// What follows the key in the names of this sample's files.
    extensions: Vec<String>,
    /// Keys of the samples so far.
    seen: HashSet<String>,
    /// Keys of samples that lack an image or a label; why, and the image's name.
    lacking: Vec<(String, Reason, Option<String>)>,
}

impl Collector {
    fn add(&mut self, file: &File, found: Found) -> Result<(), String> {
        let name = match &found {
            Found::File(member) => &member.name,
            Found::Link(name) => name,
            Found::Rest(byte) => {
                self.found.skipped.add(Reason::BehindEnd, 1, &format!("byte {byte}"));
                return Ok(());
            }
        };
        let name = name.strip_prefix("./").unwrap_or(name);
        let base = name.rsplit('/').next().unwrap_or(name);
        if let Some(reason) = hidden_reason(base.as_bytes()) {
            self.found.skipped.add(reason, 1, name);
            return Ok(());
        }
        let Found::File(member) = &found else {
            self.found.skipped.add(Reason::Link, 1, name);
            return Ok(());
        };
        let (stem, extension) = base.split_once('.').unwrap_or((base, ""));
        let key = format!("{}{stem}", &name[..name.len() - base.len()]);
        let extension = extension.to_ascii_lowercase();
        if key != self.key {
            self.end_sample();
            self.key = key;
        }
        if self.extensions.contains(&extension) {
            return Err(format!(
                "has two files {name} in one sample, the key {}: samples that follow each other need different keys",
                self.key
            ));
        }
        match extension.as_str() {
            "cls" | "cls.txt" | "label" => {
                let label = text(file, member)?.trim().to_owned();
                if label.contains('\n') {
                    return Err(format!("has a label {name} of several lines, where one class is expected"));
                }
                self.label = Some(label);
            }
            "json" if self.label.is_none() => self.label = json_label(&text(file, member)?),
            _ if !is_image_name(base.as_bytes()) => {}
            _ if self.image.is_none() => self.image = Some(member.clone()),
            _ => self.found.skipped.add(Reason::FurtherImage, 1, name),
        }
        self.extensions.push(extension);
        Ok(())
    }

    /// Ends the sample under way.
    fn end_sample(&mut self) {
        let (image, label) = (self.image.take(), self.label.take().filter(|label| !label.is_empty()));
        let (key, extensions) = (mem::take(&mut self.key), mem::take(&mut self.extensions));
        match (image, label) {
            (Some(image), _) if image.bytes == 0 => self.found.skipped.add(Reason::Empty, 1, &image.name),
            (Some(image), Some(label)) => {
                self.found.samples.push(Sample { image, label });
                if !self.seen.insert(key.clone()) {
                    self.found.repeated.get_or_insert((0, key)).0 += 1;
                }
            }
            (Some(image), None) => {
                let is_label_of_other_key = |extension: &String| {
                    extension.rsplit_once('.').is_some_and(|(_, last)| matches!(last, "cls" | "json" | "label"))
                };
                let reason = if extensions.iter().any(|extension| extension == "json") {
                    Reason::JsonWithoutLabel
                } else if extensions.iter().any(is_label_of_other_key) {
                    Reason::DotInKey
                } else {
                    Reason::WithoutLabel
                };
                self.lacking.push((key, reason, Some(image.name)));
            }
            (None, _) if key.is_empty() => {}
            (None, _) => self.lacking.push((key, Reason::WithoutImage, None)),
        }
    }

    fn finish(mut self) -> Samples {
        self.end_sample();
        let keys = |has_image: bool| {
            let such = self.lacking.iter().filter(move |(.., image)| image.is_some() == has_image);
            such.map(|(key, ..)| key.as_str()).collect::<HashSet<_>>()
        };
        let (images, labels) = (keys(true), keys(false));
        for (key, reason, image) in &self.lacking {
            match (images.contains(key.as_str()) && labels.contains(key.as_str()), image) {
                (true, Some(_)) => self.found.skipped.add(Reason::Apart, 1, key),
                (true, None) => {}
                (false, image) => self.found.skipped.add(*reason, 1, image.as_ref().unwrap_or(key)),
            }
        }
        self.found
    }
}

fn text(file: &File, member: &Member) -> Result<String, String> {
    let refused = |problem: &str| format!("has a label {} that {problem}", member.name);
    if member.bytes > MOST_LABEL_BYTES {
        return Err(refused(&format!("has {} bytes", member.bytes)));
    }
    let mut bytes = vec![0; member.bytes as usize];
    file.read_exact_at(&mut bytes, member.offset).map_err(|error| refused(&format!("cannot be read ({error})")))?;
    String::from_utf8(bytes).map_err(|_| refused("is not text"))
}

fn json_label(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    if let Some(number) = value.as_u64() {
        return Some(number.to_string());
    }
    LABEL_KEYS.iter().find_map(|key| match value.get(key)? {
        serde_json::Value::String(name) => Some(name.clone()),
        number => number.as_u64().map(|number| number.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // As a hostile file has it: the library refuses to write such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn scan(bytes: &[u8]) -> Result<Samples, String> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        samples(&file, bytes.len() as u64)
    }

    #[test]
    fn samples_of_every_usual_form_are_found() {
        let bytes = tar(&[
            ("./a/0.jpg", b"A"),
            ("./a/0.cls", b" 7\n"),
            ("1.json", br#"{"width": 3, "label": 12}"#),
            ("1.JPEG", b"BB"),
            ("2.left.png", b"C"),
            ("2.cls", b"cat"),
            ("._3.jpg", b"macOS"),
            ("3.webp", b"D"),
            ("3.cls", b"1"),
            ("4.jpg", b"E"),
            ("5.json", br#"{"class": "dog"}"#),
            ("5.jpg", b"F"),
            ("5.txt", b"a caption"),
        ]);
        let Samples { samples, skipped, repeated } = scan(&bytes).unwrap();
        assert_eq!(repeated, None);
        let found: Vec<(&str, &str)> =
            samples.iter().map(|sample| (sample.image.name.as_str(), sample.label.as_str())).collect();
        assert_eq!(found, [("./a/0.jpg", "7"), ("1.JPEG", "12"), ("2.left.png", "cat"), ("5.jpg", "dog")]);
        for sample in &samples {
            let image = &sample.image;
            assert_eq!(bytes[image.offset as usize..][..image.bytes as usize].len(), image.bytes as usize);
        }
        assert_eq!(&bytes[samples[1].image.offset as usize..][..2], b"BB");
        assert_eq!(
            skipped.to_string(),
            "1 macOS side file (._3.jpg), 1 sample without a JPEG or PNG image (3), 1 sample without a label (4.jpg)"
        );
    }

    #[test]
    fn tar_cut_anywhere_is_refused() {
        let whole = tar(&[("0.jpg", &[1; 700]), ("0.cls", b"0"), ("1.jpg", &[2; 100]), ("1.cls", b"1")]);
        assert_eq!(scan(&whole).unwrap().samples.len(), 2);
        // Two blocks of zeros end a tar file, of which one tells.
        for length in (1..whole.len() - 2 * BLOCK as usize).step_by(64).chain([0]) {
            let message = scan(&whole[..length]).unwrap_err();
            assert!(message.lines().count() == 1, "{length}: {message}");
        }
    }

    #[test]
    fn names_that_lead_out_of_a_folder_are_refused() {
        for name in ["../0.jpg", "/etc/0.jpg", "a/../../0.jpg"] {
            let message = scan(&tar(&[(name, b"x")])).unwrap_err();
            assert!(message.contains(name) && message.contains("leads out"), "{message}");
        }
    }

    #[test]
    fn sizes_beyond_the_file_are_refused() {
        let mut bytes = tar(&[("0.jpg", b"x"), ("0.cls", b"0")]);
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes[..512]);
        header.set_size(1 << 60);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        assert!(scan(&bytes).unwrap_err().contains("cut short"), "{:?}", scan(&bytes));
    }
}
