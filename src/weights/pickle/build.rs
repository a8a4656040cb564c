//! The Python objects that weights need, and what calling them comes to.

use std::borrow::Cow;

use tch::Kind;

use super::machine::Machine;
use super::value::{Id, NumpyType, StorageRef, TensorRef, Value};
use crate::weights::error::quoted;
use crate::weights::{WeightsProblem, kinds};

/// Of a tensor; libtorch's own limit.
const MOST_DIMENSIONS: usize = 64;

/// A Python object that a pickle of weights names.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum Global {
    /// `collections.OrderedDict`, or a dictionary that counts.
    Dict,
    /// `torch._utils._rebuild_tensor` (PyTorch before 0.4) and `_rebuild_tensor_v2`.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: the storage does not know its type.
    RebuildUntypedTensor,
    /// `torch._utils._rebuild_parameter`, also with attributes.
    RebuildParameter,
    /// `torch.Size`, a tuple.
    Size,
    /// A storage class; `None` is the untyped one.
    Storage(Option<Kind>),
    /// `torch.float32` and the like.
    Dtype(Kind),
    /// `numpy.dtype`.
    NumpyType,
    /// `numpy.core.multiarray.scalar`.
    NumpyScalar,
    /// `_codecs.encode`, with which protocol 2 writes bytes.
    Encode,
}

impl Global {
    /// The object `module.name`.
    ///
    /// # Errors
    /// [`WeightsProblem::Refused`] for all that weights do not need.
    pub fn find(module: &str, name: &str) -> Result<Self, WeightsProblem> {
        let global = match (module, name) {
            ("collections", "OrderedDict" | "Counter") => Some(Self::Dict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_tensor_v3") => Some(Self::RebuildUntypedTensor),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Some(Self::RebuildParameter),
            ("torch", "Size") => Some(Self::Size),
            ("torch.storage", "UntypedStorage" | "_UntypedStorage") => Some(Self::Storage(None)),
            ("torch" | "torch.cuda", class) if kinds::of_storage_class(class).is_some() => {
                Some(Self::Storage(kinds::of_storage_class(class)))
            }
            ("torch", dtype) => kinds::of_python_dtype(dtype).map(Self::Dtype),
            ("numpy", "dtype") => Some(Self::NumpyType),
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Some(Self::NumpyScalar),
            ("_codecs", "encode") => Some(Self::Encode),
            _ => None,
        };
        global.ok_or_else(|| WeightsProblem::Refused { global: quoted(&format!("{module}.{name}")) })
    }
}

/// What calling `callable` on the tuple `arguments` comes to.
///
/// # Errors
/// Arguments that the object would not take.
pub fn call<'a>(machine: &Machine<'a>, callable: Id, arguments: Id) -> Result<Value<'a>, WeightsProblem> {
    let values = Arguments { arena: &machine.arena, ids: tuple(&machine.arena, arguments)? };
    let Value::Global(global) = &machine.arena[callable] else {
        return Err(WeightsProblem::damaged(format!("it calls {}", machine.arena[callable].type_name())));
    };
    match global {
        Global::Dict => values.dictionary(),
        Global::RebuildTensor => values.tensor(None),
        Global::RebuildUntypedTensor => match values.get(6)? {
            Value::Global(Global::Dtype(kind)) => values.tensor(Some(*kind)),
            other => Err(unexpected("a tensor's dtype", other)),
        },
        Global::RebuildParameter => match values.get(0)? {
            Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
            other => Err(unexpected("a parameter", other)),
        },
        Global::Size => Ok(Value::Tuple(sequence(&machine.arena, values.id(0)?)?.to_vec())),
        Global::NumpyType => values.numpy_type(),
        Global::NumpyScalar => values.numpy_scalar(),
        Global::Encode => values.encoded(),
        Global::Storage(_) | Global::Dtype(_) => Err(WeightsProblem::damaged("it calls a type")),
    }
}

/// Gives `object` the attributes or the inner state `state`.
///
/// # Errors
/// An object that has none in weights.
pub fn set_state(machine: &mut Machine<'_>, object: Id, state: Id) -> Result<(), WeightsProblem> {
    let big_endian = match &machine.arena[state] {
        Value::Tuple(parts) => parts.get(1).is_some_and(|&order| matches!(machine.arena[order], Value::Text(">"))),
        _ => false,
    };
    match &mut machine.arena[object] {
        // `_metadata` of a state dict: version numbers of its modules.
        Value::Dict(_) => Ok(()),
        Value::NumpyType(numpy) => {
            numpy.big_endian = big_endian;
            Ok(())
        }
        other => Err(WeightsProblem::damaged(format!("it sets the state of {}", other.type_name()))),
    }
}

/// The storage that a persistent id names: `('storage', class, key, location, number of elements[, view])`.
///
/// # Errors
/// Another persistent id: a whole module with its source code has one.
pub fn persistent<'a>(machine: &Machine<'a>, id: Id) -> Result<StorageRef<'a>, WeightsProblem> {
    let values = Arguments { arena: &machine.arena, ids: tuple(&machine.arena, id)? };
    if !matches!(values.get(0)?, Value::Text("storage")) {
        return Err(WeightsProblem::unsupported(
            "it holds a whole Python module; save only the weights: torch.save(model.state_dict(), FILE)",
        ));
    }
    let Value::Global(Global::Storage(kind)) = *values.get(1)? else {
        return Err(unexpected("a storage's type", values.get(1)?));
    };
    let Value::Text(key) = *values.get(2)? else { return Err(unexpected("a storage's key", values.get(2)?)) };
    let element = kind.map_or(1, |kind| kind.elt_size_in_bytes() as u64);
    let bytes = |elements: &Value<'_>| match elements {
        Value::Int(count) => u64::try_from(*count).ok().and_then(|count| count.checked_mul(element)),
        _ => None,
    };
    let impossible = || WeightsProblem::damaged(format!("the size of storage {} is impossible", quoted(key)));
    let num_bytes = bytes(values.get(4)?).ok_or_else(impossible)?;
    let part = match values.ids.get(5).map(|&view| &machine.arena[view]) {
        // Before PyTorch 0.4 a storage could be a part of another: (key, start, length).
        Some(Value::Tuple(view)) => {
            let view = Arguments { arena: &machine.arena, ids: view };
            (bytes(view.get(1)?).ok_or_else(impossible)?, bytes(view.get(2)?).ok_or_else(impossible)?)
        }
        _ => (0, num_bytes),
    };
    Ok(StorageRef { key, kind, num_bytes, part })
}

/// The arguments of a call.
struct Arguments<'m, 'a> {
    arena: &'m [Value<'a>],
    ids: &'m [Id],
}

impl<'m, 'a> Arguments<'m, 'a> {
    fn id(&self, index: usize) -> Result<Id, WeightsProblem> {
        self.ids.get(index).copied().ok_or_else(|| WeightsProblem::damaged("a call in it lacks arguments"))
    }

    fn get(&self, index: usize) -> Result<&'m Value<'a>, WeightsProblem> {
        self.id(index).map(|id| &self.arena[id])
    }

    fn integers(&self, index: usize) -> Result<Vec<i64>, WeightsProblem> {
        let integer = |&id: &Id| match &self.arena[id] {
            Value::Int(value) => Ok(*value),
            other => Err(unexpected("a tensor's size", other)),
        };
        let items = sequence(self.arena, self.id(index)?)?;
        if items.len() > MOST_DIMENSIONS {
            return Err(WeightsProblem::damaged(format!("a tensor in it has {} dimensions", items.len())));
        }
        items.iter().map(integer).collect()
    }

    /// `(storage, offset, size, stride, ...)`; what follows concerns training alone.
    fn tensor(&self, kind: Option<Kind>) -> Result<Value<'a>, WeightsProblem> {
        let Value::Storage(storage) = self.get(0)? else { return Err(unexpected("a tensor's storage", self.get(0)?)) };
        let Value::Int(offset) = *self.get(1)? else { return Err(unexpected("a tensor's offset", self.get(1)?)) };
        let kind = kind.or(storage.kind).ok_or_else(|| WeightsProblem::damaged("a tensor in it has no type"))?;
        let (size, stride) = (self.integers(2)?, self.integers(3)?);
        Ok(Value::Tensor(Box::new(TensorRef { storage: **storage, kind, offset, size, stride })))
    }

    /// `()`, `(dict,)` or `([[key, value], ...],)`, as Python 2 wrote it.
    fn dictionary(&self) -> Result<Value<'a>, WeightsProblem> {
        let Some(&content) = self.ids.first() else { return Ok(Value::Dict(Vec::new())) };
        if let Value::Dict(pairs) = &self.arena[content] {
            return Ok(Value::Dict(pairs.clone()));
        }
        let pair = |&id: &Id| match *sequence(self.arena, id)? {
            [key, value] => Ok((key, value)),
            _ => Err(WeightsProblem::damaged("an item of a dictionary is not a pair")),
        };
        let pairs: Result<_, _> = sequence(self.arena, content)?.iter().map(pair).collect();
        Ok(Value::Dict(pairs?))
    }

    /// `(text, 'latin1')`.
    fn encoded(&self) -> Result<Value<'a>, WeightsProblem> {
        let (Value::Text(text), Value::Text("latin1" | "latin-1")) = (self.get(0)?, self.get(1)?) else {
            return Err(WeightsProblem::damaged("it encodes what is not Latin-1"));
        };
        let bytes: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
        let bytes = bytes.ok_or_else(|| WeightsProblem::damaged("it encodes what is not Latin-1"))?;
        Ok(Value::Bytes(Cow::Owned(bytes)))
    }

    /// `('f8', ...)`.
    fn numpy_type(&self) -> Result<Value<'a>, WeightsProblem> {
        let Value::Text(name) = *self.get(0)? else { return Err(unexpected("a numpy type", self.get(0)?)) };
        match name.as_bytes() {
            [class @ (b'f' | b'i' | b'u' | b'b'), size @ b'1'..=b'8'] => {
                let size = usize::from(size - b'0');
                Ok(Value::NumpyType(NumpyType { class: *class, size, big_endian: false }))
            }
            _ => Err(WeightsProblem::unsupported(format!("it holds a numpy value of type {}", quoted(name)))),
        }
    }

    /// `(dtype, bytes)`.
    fn numpy_scalar(&self) -> Result<Value<'a>, WeightsProblem> {
        let Value::NumpyType(NumpyType { class, size, big_endian }) = *self.get(0)? else {
            return Err(unexpected("a numpy value's type", self.get(0)?));
        };
        let bytes: &[u8] = match self.get(1)? {
            Value::Bytes(bytes) => bytes,
            Value::Text(text) => text.as_bytes(),
            other => return Err(unexpected("a numpy value", other)),
        };
        if bytes.len() != size {
            return Err(WeightsProblem::damaged("a numpy value in it has another size than its type"));
        }
        let mut little = bytes.to_vec();
        if big_endian {
            little.reverse();
        }
        numpy_value(class, &little).ok_or_else(|| WeightsProblem::unsupported("it holds a numpy value of a rare type"))
    }
}

/// The number that numpy keeps in the bytes `little`, least first.
fn numpy_value<'a>(class: u8, little: &[u8]) -> Option<Value<'a>> {
    let negative = class == b'i' && little.last().is_some_and(|last| last & 0x80 != 0);
    let mut padded = [if negative { 0xff } else { 0 }; 8];
    padded.get_mut(..little.len())?.copy_from_slice(little);
    Some(match (class, little) {
        (b'b', _) => Value::Bool(padded[0] != 0),
        (b'f', &[a, b, c, d]) => Value::Float(f32::from_le_bytes([a, b, c, d]).into()),
        (b'f', bytes) if bytes.len() == 8 => Value::Float(f64::from_le_bytes(padded)),
        (b'i', _) => Value::Int(i64::from_le_bytes(padded)),
        (b'u', _) => Value::Int(i64::try_from(u64::from_le_bytes(padded)).ok()?),
        _ => return None,
    })
}

fn tuple<'m>(arena: &'m [Value<'_>], id: Id) -> Result<&'m [Id], WeightsProblem> {
    match &arena[id] {
        Value::Tuple(items) => Ok(items),
        other => Err(unexpected("the arguments of a call", other)),
    }
}

fn sequence<'m>(arena: &'m [Value<'_>], id: Id) -> Result<&'m [Id], WeightsProblem> {
    match &arena[id] {
        Value::Tuple(items) | Value::List(items) => Ok(items),
        other => Err(unexpected("a sequence", other)),
    }
}

fn unexpected(what: &str, found: &Value<'_>) -> WeightsProblem {
    WeightsProblem::damaged(format!("{what} is {}", found.type_name()))
}
