//! `torch.save` before PyTorch 1.6: pickles one after the other (a magic number, the protocol, the system, the object,
//! the keys of its storages), then for each key in that order the number of elements (8 bytes) and the elements.

use std::collections::HashMap;

use super::WeightsProblem;
use super::error::quoted;
use super::pickle::{self, Cursor, Id, StorageRef, Value, Values};
use super::storage::StorageSource;

/// The magic number 0x1950a86a20f9469cfc6c as a pickled integer of 10 bytes, and the end of its pickle.
const MAGIC_NUMBER: [u8; 13] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Before it stand the protocol of pickles and, in a recent one, a frame.
const LONGEST_START: usize = 11;

const PROTOCOL: i64 = 1001;

/// Whether `bytes` starts as such a file does.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(LONGEST_START + MAGIC_NUMBER.len())];
    start.first() == Some(&0x80) && start.windows(MAGIC_NUMBER.len()).any(|window| window == MAGIC_NUMBER)
}

/// The storages of a file, found in its bytes.
pub(super) struct TorchLegacy<'a> {
    storages: HashMap<&'a str, &'a [u8]>,
}

/// The saved object and its storages.
///
/// # Errors
/// A file that is damaged, holds more than weights, or comes from a big-endian machine.
pub(super) fn open(bytes: &[u8]) -> Result<(Values<'_>, TorchLegacy<'_>), WeightsProblem> {
    let mut cursor = Cursor::new(bytes);
    pickle::load(&mut cursor)?;
    let protocol = pickle::load(&mut cursor)?;
    if !matches!(protocol.get(protocol.root()), Value::Int(PROTOCOL)) {
        return Err(WeightsProblem::unsupported(format!(
            "its torch.save protocol is not {PROTOCOL}; load and save it again with a newer PyTorch"
        )));
    }
    let system = pickle::load(&mut cursor)?;
    let little_endian = system.entry(system.root(), "little_endian");
    if little_endian.is_some_and(|id| matches!(system.get(id), Value::Bool(false))) {
        return Err(WeightsProblem::unsupported(
            "it was written on a big-endian machine; load and save it again on this",
        ));
    }
    let values = pickle::load(&mut cursor)?;
    let keys = pickle::load(&mut cursor)?;
    let known = storages_of(&values);
    let mut storages = HashMap::new();
    for key in text_list(&keys, keys.root())? {
        let num_elements = u64::from_le_bytes(cursor.array()?);
        let storage = known
            .get(key)
            .ok_or_else(|| WeightsProblem::damaged(format!("storage {} belongs to no tensor", quoted(key))))?;
        let element = storage.kind.map_or(1, |kind| kind.elt_size_in_bytes() as u64);
        if num_elements.checked_mul(element) != Some(storage.num_bytes) {
            return Err(WeightsProblem::damaged(format!("storage {} has two sizes", quoted(key))));
        }
        storages.insert(key, cursor.take(storage.num_bytes)?);
    }
    Ok((values, TorchLegacy { storages }))
}

/// The storages that the object names, by key.
fn storages_of<'a>(values: &Values<'a>) -> HashMap<&'a str, StorageRef<'a>> {
    let storage = |value: &Value<'a>| match value {
        Value::Storage(storage) => Some((storage.key, **storage)),
        _ => None,
    };
    values.all().filter_map(storage).collect()
}

fn text_list<'a>(values: &Values<'a>, id: Id) -> Result<Vec<&'a str>, WeightsProblem> {
    let Value::List(items) = values.get(id) else {
        return Err(WeightsProblem::damaged("the keys of its storages are not a list"));
    };
    let text = |&id: &Id| match *values.get(id) {
        Value::Text(text) => Ok(text),
        _ => Err(WeightsProblem::damaged("the key of a storage is not a text")),
    };
    items.iter().map(text).collect()
}

impl StorageSource for TorchLegacy<'_> {
    fn bytes(&mut self, key: &str, _num_bytes: u64) -> Result<Vec<u8>, WeightsProblem> {
        let bytes = self.storages.get(key);
        let bytes = bytes.ok_or_else(|| WeightsProblem::damaged(format!("storage {} is missing", quoted(key))))?;
        Ok(bytes.to_vec())
    }
}
