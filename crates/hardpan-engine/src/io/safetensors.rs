//! `.safetensors`: names, dtypes and shapes as JSON, then the elements. No code inside.
//!
//! Format: <https://github.com/huggingface/safetensors>. Equal contents give equal bytes: tensors are sorted by element size (largest
//! first, so that each starts aligned) and then by name, metadata by key.

use super::{FileError, FormatError, clean_bools, read, write_whole};
use crate::dtype::DType;
use crate::host::HostArray;
use crate::node::Tensor;
use ::safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const FORMAT: &str = "safetensors";

/// What a `.safetensors` file holds.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The free-form text entries (`__metadata__`).
    pub metadata: BTreeMap<String, String>,
}

/// Writes named tensors and text entries to one file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use hardpan_engine::{Tensor, load_safetensors, save_safetensors};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("model.safetensors");
/// let metadata = [("epoch".to_string(), "3".to_string())].into();
/// save_safetensors(&path, [("weight", &Tensor::ones([2, 3]))], &metadata)?;
/// let file = load_safetensors(&path)?;
/// assert_eq!(file.tensors["weight"].shape(), &[2, 3]);
/// assert_eq!(file.metadata["epoch"], "3");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When a name is given twice or is `__metadata__`, or the file cannot be written; an older file of that name is then still whole.
#[track_caller]
pub fn save_safetensors<N: AsRef<str>, T: Borrow<Tensor>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, T)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let mut list: Vec<(N, T)> = tensors.into_iter().collect();
    list.sort_by(|(a, x), (b, y)| {
        let size = |t: &T| t.borrow().dtype().size();
        size(y).cmp(&size(x)).then_with(|| a.as_ref().cmp(b.as_ref()))
    });
    let mut names: Vec<&str> = list.iter().map(|(n, _)| n.as_ref()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|w| w[0] == w[1]).map(|w| w[0]);
    let reserved = names.contains(&"__metadata__").then_some("__metadata__");
    if let Some(name) = twice.or(reserved) {
        let why = if twice.is_some() { "is given twice" } else { "is reserved" };
        let reason = format!("the name {name:?} {why}");
        return Err(FileError::Names { path: path.to_path_buf(), reason });
    }
    let mut header = String::from("{");
    if !metadata.is_empty() {
        header.push_str("\"__metadata__\":{");
        for (i, (key, value)) in metadata.iter().enumerate() {
            header.push_str(if i > 0 { "," } else { "" });
            quote(&mut header, key);
            header.push(':');
            quote(&mut header, value);
        }
        header.push('}');
    }
    let mut offset = 0;
    for (name, t) in &list {
        let t = t.borrow();
        let end = offset + t.numel() * t.dtype().size();
        header.push_str(if header.len() > 1 { "," } else { "" });
        quote(&mut header, name.as_ref());
        let _ = write!(
            header,
            ":{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{offset},{end}]}}",
            name_of(t.dtype()),
            t.shape()
        );
        offset = end;
    }
    header.push('}');
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    // Values are computed before the file is opened: what goes wrong there leaves nothing behind.
    list.iter().for_each(|(_, t)| {
        t.borrow().eval();
    });
    write_whole(path, |w| {
        w.write_all(&(header.len() as u64).to_le_bytes())?;
        w.write_all(header.as_bytes())?;
        list.iter().try_for_each(|(_, t)| w.write_all(t.borrow().to_host().bytes()))
    })
}

/// Reads a `.safetensors` file onto the default device. Unsigned 16-bit integers become `i32`.
///
/// # Errors
/// When the file cannot be read, is something else or damaged, or holds dtypes that tensors do not have (8-bit floats, complex
/// numbers, unsigned 64-bit integers).
#[track_caller]
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Archive, FileError> {
    let path = path.as_ref();
    let bytes = read(path)?;
    let (arrays, metadata) =
        decode(&bytes).map_err(|source| FileError::Format { path: path.to_path_buf(), source })?;
    let tensors = arrays.into_iter().map(|(n, a)| (n, Tensor::from_host(&a))).collect();
    Ok(Archive { tensors, metadata })
}

/// Arrays by name, and the text entries.
pub type Contents = (BTreeMap<String, HostArray>, BTreeMap<String, String>);

/// Reads the contents of a `.safetensors` file.
///
/// # Errors
/// As [`load_safetensors`], without those of the system.
pub fn decode(file: &[u8]) -> Result<Contents, FormatError> {
    let foreign = |reason: &str| FormatError::Foreign { format: FORMAT, reason: reason.into() };
    let damaged = |reason: String| FormatError::Damaged { format: FORMAT, reason };
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        let reason = if file.is_empty() { "it is empty" } else { "it is shorter than 8 bytes" };
        return Err(foreign(reason));
    };
    if file.starts_with(b"PK") {
        return Err(foreign(
            "it is a zip archive, as torch.save writes; convert it with the safetensors package first",
        ));
    }
    let length = u64::from_le_bytes(*length);
    if rest.first() != Some(&b'{') {
        return Err(foreign("there is no JSON header after the first 8 bytes"));
    }
    if length > rest.len() as u64 {
        return Err(damaged(format!(
            "the header should have {length} bytes, the file has only {} more",
            rest.len()
        )));
    }
    let explain = |e: SafeTensorError| {
        match e {
        SafeTensorError::MetadataIncompleteBuffer => damaged(
            "the tensors in the header need another number of bytes than the file has; it was cut or extended".into(),
        ),
        e => damaged(e.to_string()),
    }
    };
    let (_, header) = SafeTensors::read_metadata(file).map_err(explain)?;
    let contents = SafeTensors::deserialize(file).map_err(explain)?;
    let mut arrays = BTreeMap::new();
    for (name, view) in contents.iter() {
        let dtype = match view.dtype() {
            Dtype::BOOL => DType::Bool,
            Dtype::U8 => DType::U8,
            Dtype::I8 => DType::I8,
            Dtype::I16 => DType::I16,
            Dtype::U16 | Dtype::I32 => DType::I32,
            Dtype::U32 => DType::U32,
            Dtype::I64 => DType::I64,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => {
                return Err(FormatError::Unsupported {
                    format: FORMAT,
                    reason: format!("tensor {name:?} has dtype {other:?}"),
                });
            }
        };
        let mut bytes = view.data().to_vec();
        if dtype == DType::Bool {
            clean_bools(&mut bytes);
        }
        if view.dtype() == Dtype::U16 {
            bytes = bytes
                .chunks_exact(2)
                .flat_map(|c| i32::from(u16::from_le_bytes([c[0], c[1]])).to_le_bytes())
                .collect();
        }
        let array = HostArray::from_bytes(dtype, view.shape(), bytes)
            .ok_or_else(|| damaged(format!("tensor {name:?}: its bytes do not fill its shape")))?;
        arrays.insert(name.to_string(), array);
    }
    let metadata = header.metadata().iter().flatten();
    let metadata = metadata.map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((arrays, metadata))
}

fn name_of(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BOOL",
        DType::U8 => "U8",
        DType::I8 => "I8",
        DType::I16 => "I16",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::U32 => "U32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
    }
}

/// Appends `text` as a JSON string.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
