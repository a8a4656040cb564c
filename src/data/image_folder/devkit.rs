//! What the class numbers of ImageNet's devkit mean: `meta.mat`, a MATLAB 5 file, or `map_clsloc.txt`.
//!
//! `meta.mat` holds a struct array `synsets` with a field `ILSVRC2012_ID` and a field `WNID` of each class. Source of the
//! format: MathWorks, *MAT-File Format*, chapter 1 (level 5).

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;

use super::label_file;
use crate::data::DataError;

/// The file of the devkit is 40 kB, 150 kB unpacked: neither may have more, all variables together.
const MOST_BYTES: u64 = 16 << 20;

// Types of elements.
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF16: u32 = 17;
const UINT16: u32 = 4;
/// Class of an array of structs.
const STRUCT: u8 = 2;
const HEADER_BYTES: usize = 128;

/// Names of classes by the devkit's numbers; none if no file in `folders` has them.
///
/// # Errors
/// When there is such a file and it cannot be read.
pub(super) fn synsets(folders: &[PathBuf]) -> Result<Option<HashMap<String, String>>, DataError> {
    for folder in folders {
        let text = folder.join("map_clsloc.txt");
        if text.is_file() {
            let lines = label_file::text(&text)?;
            let pairs = lines.lines().filter_map(|line| {
                let mut words = line.split_whitespace();
                let (name, number) = words.next().zip(words.next())?;
                Some((number.to_owned(), name.to_owned()))
            });
            return Ok(Some(pairs.collect()));
        }
        let path = folder.join("meta.mat");
        if path.is_file() {
            return read(&path).map(Some);
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<HashMap<String, String>, DataError> {
    let refused =
        |problem: &str| DataError::images(path, format!("is not the devkit's file ({problem}): copy it again"));
    let file = fs::File::open(path).map_err(|error| refused(&error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| refused(&error.to_string()))?;
    let mut unpacked_left = MOST_BYTES;
    let mut rest = bytes.get(HEADER_BYTES..).ok_or_else(|| refused("it is too short"))?;
    while let Some(element) = Element::next(&mut rest) {
        let unpacked;
        let mut element = element;
        if element.kind == COMPRESSED {
            let mut buffer = Vec::new();
            let decoder = ZlibDecoder::new(element.data).take(unpacked_left);
            { decoder }.read_to_end(&mut buffer).map_err(|error| refused(&error.to_string()))?;
            unpacked_left -= buffer.len() as u64;
            unpacked = buffer;
            let mut inner = unpacked.as_slice();
            element = Element::next(&mut inner).ok_or_else(|| refused("a variable is cut short"))?;
        }
        if let Some(pairs) = struct_array(element.data).filter(|pairs| !pairs.is_empty()) {
            return Ok(pairs);
        }
    }
    Err(refused("it has no synsets"))
}

/// A typed piece of the file.
struct Element<'a> {
    kind: u32,
    data: &'a [u8],
}

impl<'a> Element<'a> {
    /// Takes the element at the start of `rest`; none at its end, or if it is cut short.
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let first = word(rest, 0)?;
        let (kind, data, length) = if first >> 16 != 0 {
            // Up to four bytes stand in the tag itself.
            let size = (first >> 16) as usize;
            (first & 0xffff, rest.get(4..4 + size)?, 8)
        } else {
            let size = word(rest, 4)? as usize;
            let padded = if first == COMPRESSED { size } else { size.checked_next_multiple_of(8)? };
            (first, rest.get(8..8 + size)?, 8 + padded)
        };
        *rest = rest.get(length..).unwrap_or_default();
        Some(Self { kind, data })
    }
}

/// Numbers and names of a struct array with the devkit's fields.
fn struct_array(mut matrix: &[u8]) -> Option<HashMap<String, String>> {
    let flags = Element::next(&mut matrix)?;
    if *flags.data.first()? != STRUCT {
        return None;
    }
    let (_dimensions, _name) = (Element::next(&mut matrix)?, Element::next(&mut matrix)?);
    let length = Element::next(&mut matrix)?.data.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    let names = Element::next(&mut matrix)?.data;
    let fields: Vec<&[u8]> = names
        .chunks_exact((length as usize).max(1))
        .map(|name| name.split(|&byte| byte == 0).next().unwrap_or_default())
        .collect();
    let position = |wanted: &[u8]| fields.iter().position(|field| *field == wanted);
    let (number, name) = (position(b"ILSVRC2012_ID")?, position(b"WNID")?);
    let mut pairs = HashMap::new();
    let mut record = Vec::new();
    while let Some(field) = Element::next(&mut matrix) {
        record.push(field);
        if record.len() == fields.len() {
            pairs.insert(number_of(&record[number])?.to_string(), text_of(&record[name])?);
            record.clear();
        }
    }
    Some(pairs)
}

/// The values of an array: its fourth element, after flags, dimensions and name.
fn values<'a>(array: &Element<'a>) -> Option<Element<'a>> {
    let mut rest = (array.kind == MATRIX).then_some(array.data)?;
    (0..3).try_for_each(|_| Element::next(&mut rest).map(drop))?;
    Element::next(&mut rest)
}

fn number_of(array: &Element) -> Option<u64> {
    let values = values(array)?;
    let data = values.data;
    Some(match (values.kind, data.len()) {
        (9, 8) => f64::from_le_bytes(data.try_into().ok()?) as u64,
        (7, 4) => f32::from_le_bytes(data.try_into().ok()?) as u64,
        (_, 1..=8) => data.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)),
        _ => return None,
    })
}

fn text_of(array: &Element) -> Option<String> {
    let values = values(array)?;
    let step = if matches!(values.kind, UINT16 | UTF16) { 2 } else { 1 };
    Some(values.data.iter().step_by(step).map(|&byte| char::from(byte)).collect())
}
