//! The values that a pickle of weights can hold.

use std::borrow::Cow;

use tch::Kind;

use super::build::Global;

/// Names a value in [`Values`].
pub type Id = usize;

/// What a pickle describes; text and bytes are those of the file.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer that fits.
    Int(i64),
    /// One that does not, which no weights need.
    Long,
    /// A float.
    Float(f64),
    /// A string.
    Text(&'a str),
    /// A `bytes` object.
    Bytes(Cow<'a, [u8]>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A `dict` or an `OrderedDict`, with the attributes of the latter left out.
    Dict(Vec<(Id, Id)>),
    /// A Python object that can be called or named.
    Global(Global),
    /// The type of a numpy scalar.
    NumpyType(NumpyType),
    /// Where elements lie; boxed, for an opcode of one byte makes a value, which should be small.
    Storage(Box<StorageRef<'a>>),
    /// A tensor whose elements have not been read.
    Tensor(Box<TensorRef<'a>>),
}

/// `numpy.dtype` of a number.
#[derive(Copy, Clone, Debug)]
pub struct NumpyType {
    /// `f`, `i`, `u` or `b`, as numpy has it.
    pub class: u8,
    /// Bytes of one number.
    pub size: usize,
    /// Whether the most significant byte stands first.
    pub big_endian: bool,
}

/// Elements in a storage of the file.
#[derive(Copy, Clone, Debug)]
pub struct StorageRef<'a> {
    /// Under which the file keeps them.
    pub key: &'a str,
    /// Their type; `None` for bytes whose type the tensor knows.
    pub kind: Option<Kind>,
    /// Length of the whole storage in bytes.
    pub num_bytes: u64,
    /// Which part of it this is: start and length in bytes.
    pub part: (u64, u64),
}

/// A tensor laid over a storage.
#[derive(Clone, Debug)]
pub struct TensorRef<'a> {
    /// Where its elements lie.
    pub storage: StorageRef<'a>,
    /// Their type.
    pub kind: Kind,
    /// Of its first element, in elements.
    pub offset: i64,
    /// Its shape.
    pub size: Vec<i64>,
    /// Elements from one index to the next along each dimension.
    pub stride: Vec<i64>,
}

/// All values of a pickle, and which of them is the pickled one.
#[derive(Debug)]
pub struct Values<'a> {
    pub(super) arena: Vec<Value<'a>>,
    pub(super) root: Id,
}

impl<'a> Values<'a> {
    /// The pickled value.
    pub fn root(&self) -> Id {
        self.root
    }

    /// The value that `id` names.
    pub fn get(&self, id: Id) -> &Value<'a> {
        // Ids come from this arena alone.
        self.arena.get(id).unwrap_or(&Value::None)
    }

    /// Every value that was made on the way.
    pub fn all(&self) -> impl Iterator<Item = &Value<'a>> {
        self.arena.iter()
    }

    /// The values of a dictionary with text as keys; other keys are passed over.
    pub fn entries(&self, id: Id) -> impl Iterator<Item = (&'a str, Id)> {
        let pairs: &[(Id, Id)] = match self.get(id) {
            Value::Dict(pairs) => pairs,
            _ => &[],
        };
        pairs.iter().filter_map(|&(key, value)| match *self.get(key) {
            Value::Text(key) => Some((key, value)),
            _ => None,
        })
    }

    /// A number, a truth value or a short text, as a text.
    pub fn scalar(&self, id: Id) -> Option<String> {
        const LONGEST: usize = 200;
        match self.get(id) {
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(value.to_string()),
            Value::Text(text) if text.len() <= LONGEST => Some((*text).to_owned()),
            _ => None,
        }
    }

    /// The entry `key` of a dictionary.
    pub fn entry(&self, id: Id, key: &str) -> Option<Id> {
        // Python's dictionaries keep the last of several.
        self.entries(id).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}

impl Value<'_> {
    /// Numbers kept for it besides itself.
    pub fn num_parts(&self) -> usize {
        match self {
            Value::Tuple(items) | Value::List(items) => items.len(),
            Value::Dict(pairs) => 2 * pairs.len(),
            Value::Tensor(tensor) => tensor.size.len() + tensor.stride.len(),
            // Others are a part of the file.
            Value::Bytes(Cow::Owned(bytes)) => bytes.len() / size_of::<Id>(),
            _ => 0,
        }
    }

    /// How Python would call its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) | Value::Long => "an int",
            Value::Float(_) => "a float",
            Value::Text(_) => "a str",
            Value::Bytes(_) => "bytes",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Global(_) => "a class or function",
            Value::NumpyType(_) => "a dtype",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
        }
    }
}
