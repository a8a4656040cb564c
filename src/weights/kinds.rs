//! The element types of tensors under the names that each format has for them.

use safetensors::Dtype;
use tch::Kind;

/// libtorch's type, Python's storage class, Python's dtype, safetensors' dtype (none: that format has no name for it).
type Names = (Kind, &'static str, &'static str, Option<Dtype>);

/// Types without a storage class of their own (an empty name) are saved as untyped storages.
const KINDS: [Names; 16] = [
    (Kind::Float, "FloatStorage", "float32", Some(Dtype::F32)),
    (Kind::Double, "DoubleStorage", "float64", Some(Dtype::F64)),
    (Kind::Half, "HalfStorage", "float16", Some(Dtype::F16)),
    (Kind::BFloat16, "BFloat16Storage", "bfloat16", Some(Dtype::BF16)),
    (Kind::Int64, "LongStorage", "int64", Some(Dtype::I64)),
    (Kind::Int, "IntStorage", "int32", Some(Dtype::I32)),
    (Kind::Int16, "ShortStorage", "int16", Some(Dtype::I16)),
    (Kind::Int8, "CharStorage", "int8", Some(Dtype::I8)),
    (Kind::Uint8, "ByteStorage", "uint8", Some(Dtype::U8)),
    (Kind::Bool, "BoolStorage", "bool", Some(Dtype::BOOL)),
    (Kind::ComplexFloat, "ComplexFloatStorage", "complex64", Some(Dtype::C64)),
    (Kind::ComplexDouble, "ComplexDoubleStorage", "complex128", None),
    (Kind::Float8e5m2, "", "float8_e5m2", Some(Dtype::F8_E5M2)),
    (Kind::Float8e4m3fn, "", "float8_e4m3fn", Some(Dtype::F8_E4M3)),
    (Kind::Float8e5m2fnuz, "", "float8_e5m2fnuz", Some(Dtype::F8_E5M2FNUZ)),
    (Kind::Float8e4m3fnuz, "", "float8_e4m3fnuz", Some(Dtype::F8_E4M3FNUZ)),
];

/// The type whose storages are of Python's class `torch.NAME`.
pub(super) fn of_storage_class(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(_, class, ..)| !class.is_empty() && *class == name).map(|(kind, ..)| *kind)
}

/// The type that Python calls `torch.NAME`.
pub(super) fn of_python_dtype(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(_, _, dtype, _)| *dtype == name).map(|(kind, ..)| *kind)
}

/// The type of a tensor in a safetensors file.
pub(super) fn of_safetensors(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(.., name)| *name == Some(dtype)).map(|(kind, ..)| *kind)
}

/// What safetensors calls `kind`.
pub(super) fn to_safetensors(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|(listed, ..)| *listed == kind).and_then(|(.., name)| *name)
}
