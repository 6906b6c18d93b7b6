//! The Python functions and classes that files of weights may name: nothing else is let in, and none of them is run.

use hardpan_engine::DType;

/// An allowed function or class, by what it means here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// A dictionary that may be given pairs.
    Dict,
    /// A list, tuple or size of its only argument.
    Tuple,
    /// `_rebuild_tensor(storage, offset, size, stride)` and what came after it.
    Tensor,
    /// The tensor that is its first argument.
    Parameter,
    /// Elements of one type in a row.
    Storage(DType),
    /// Elements of a type said elsewhere.
    Untyped,
    /// A bag of named settings.
    Settings,
    /// Harmless, and of no use for weights.
    Inert,
}

impl Global {
    /// What `module.name` means, if it is allowed.
    pub fn find(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("collections", "OrderedDict" | "defaultdict" | "Counter") => Global::Dict,
            ("torch", "Size")
            | ("builtins" | "__builtin__", "list" | "tuple" | "set" | "frozenset") => Global::Tuple,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
                Global::Tensor
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Global::Parameter
            }
            ("torch" | "torch.cuda", _) if storage(name).is_some() => {
                Global::Storage(storage(name)?)
            }
            ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Global::Untyped,
            ("torch", _) if is_dtype(name) => Global::Inert,
            ("torch", "device") => Global::Inert,
            (
                "builtins" | "__builtin__",
                "int" | "float" | "bool" | "str" | "complex" | "bytearray" | "slice",
            ) => Global::Inert,
            ("argparse", "Namespace") => Global::Settings,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => {
                Global::Inert
            }
            ("numpy", "dtype" | "ndarray" | "float64" | "float32" | "int64") => Global::Inert,
            ("_codecs", "encode") => Global::Inert,
            ("pathlib", "PosixPath" | "PurePosixPath" | "WindowsPath" | "PureWindowsPath") => {
                Global::Inert
            }
            ("datetime", "datetime" | "timedelta") => Global::Inert,
            _ => return None,
        })
    }
}

fn storage(name: &str) -> Option<DType> {
    Some(match name {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "CharStorage" => DType::I8,
        "ByteStorage" => DType::U8,
        "BoolStorage" => DType::Bool,
        _ => return None,
    })
}

fn is_dtype(name: &str) -> bool {
    matches!(
        name,
        "float32"
            | "float64"
            | "float16"
            | "bfloat16"
            | "int64"
            | "int32"
            | "int16"
            | "int8"
            | "uint8"
            | "bool"
    )
}
