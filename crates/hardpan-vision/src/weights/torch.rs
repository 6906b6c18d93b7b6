//! Files of `torch.save`: a zip archive since PyTorch 1.6, several pickles in a row before that.

use super::error::Problem;
use super::global::Global;
use super::pickle::{self, Id, Pickle, Value};
use hardpan_engine::{DType, HostArray, Tensor};
use hardpan_nn::StateDict;
use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};

/// The first pickle of a file without an archive: the number 0x1950a86a20f9469cfc6c.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.";

/// Storages by key: their bytes, little-endian.
type Storages = HashMap<String, Vec<u8>>;

fn damaged<T>(problem: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(problem.into()))
}

/// The tensors in a zip archive.
pub(super) fn read_zip(bytes: &[u8]) -> Result<StateDict, Problem> {
    let zip = |e: zip::result::ZipError| Problem::Damaged(format!("its zip archive: {e}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(zip)?;
    let names = archive.file_names().map(|n| n.map(|n| n.into_owned()));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(zip)?;
    let Some(main) = names.iter().find(|n| n.ends_with("/data.pkl") || *n == "data.pkl") else {
        let problem = if names.iter().any(|n| n.ends_with(".npy")) {
            "a zip archive of numpy arrays"
        } else {
            "a zip archive without data.pkl"
        };
        return Err(Problem::Foreign(problem.into()));
    };
    let folder = main.strip_suffix("data.pkl").unwrap_or("").to_owned();
    if names.contains(&format!("{folder}constants.pkl")) {
        return Err(Problem::Unsupported(
            "a TorchScript program; save model.state_dict() instead".into(),
        ));
    }
    let mut entry = |name: &str, most: u64| -> Result<Vec<u8>, Problem> {
        let file = archive.by_name(name).map_err(zip)?;
        let mut out = Vec::new();
        // What an entry says of its size is not to be believed.
        let read = file.take(most.saturating_add(1)).read_to_end(&mut out);
        read.map_err(|e| Problem::Damaged(format!("{name} in its zip archive: {e}")))?;
        if out.len() as u64 > most {
            return damaged(format!("{name} in its zip archive is longer than it should be"));
        }
        Ok(out)
    };
    let main = main.clone();
    // Pickles of weights are small; those of a whole training state may be some hundred MB.
    let text = entry(&main, 1 << 30)?;
    let big_endian = match names.contains(&format!("{folder}byteorder")) {
        true => entry(&format!("{folder}byteorder"), 16)? == b"big",
        false => false,
    };
    let pickle = pickle::read(&text)?;
    let mut storages = Storages::new();
    for (key, wanted) in wanted(&pickle)? {
        let mut data = entry(&format!("{folder}data/{key}"), wanted.bytes()?)?;
        if data.len() as u64 != wanted.bytes()? {
            return damaged(format!(
                "storage {key} has {} bytes, {} elements were announced",
                data.len(),
                wanted.elements
            ));
        }
        if big_endian {
            data.chunks_exact_mut(wanted.dtype.size()).for_each(<[u8]>::reverse);
        }
        storages.insert(key, data);
    }
    Builder { pickle: &pickle, storages: &storages, left: budget(bytes.len()) }.state()
}

/// The tensors in a file of pickles in a row.
pub(super) fn read_legacy(bytes: &[u8]) -> Result<StateDict, Problem> {
    let mut at = LEGACY.len();
    let mut next = || -> Result<Pickle, Problem> {
        let pickle = pickle::read(&bytes[at.min(bytes.len())..])?;
        at += pickle.length;
        Ok(pickle)
    };
    let protocol = next()?;
    if protocol.int(protocol.root) != Some(1001) {
        return damaged("the protocol of torch.save is not 1001");
    }
    let system = next()?;
    let little = system.dict(system.root).unwrap_or(&[]).iter().find_map(|(k, v)| {
        (system.text(*k) == Some("little_endian")).then(|| system.values[*v] == Value::Bool(true))
    });
    let pickle = next()?;
    let keys = next()?;
    let mut announced = wanted(&pickle)?;
    let mut storages = Storages::new();
    for &key in keys.list(keys.root).unwrap_or(&[]) {
        let Some(key) = keys.text(key) else { return damaged("a storage whose key is no text") };
        let Some(wanted) = announced.remove(key) else {
            return damaged(format!("a storage {key} that no tensor announced"));
        };
        let rest = &bytes[at.min(bytes.len())..];
        let elements = rest.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
        if elements != Some(wanted.elements) {
            return damaged(format!(
                "storage {key} does not have the {} elements announced",
                wanted.elements
            ));
        }
        let length = usize::try_from(wanted.bytes()?).unwrap_or(usize::MAX);
        let Some(data) = rest.get(8..).and_then(|r| r.get(..length)) else {
            return damaged(format!("it ends inside storage {key}"));
        };
        let mut data = data.to_vec();
        if little == Some(false) {
            data.chunks_exact_mut(wanted.dtype.size()).for_each(<[u8]>::reverse);
        }
        storages.insert(key.to_owned(), data);
        at += 8 + length;
    }
    Builder { pickle: &pickle, storages: &storages, left: budget(bytes.len()) }.state()
}

/// Bytes that all tensors of a file may have together: views may overlap, but not without end.
fn budget(file: usize) -> usize {
    file.saturating_mul(16).saturating_add(1 << 26)
}

/// A storage as the pickle announces it.
struct Wanted {
    dtype: DType,
    elements: u64,
}

impl Wanted {
    fn bytes(&self) -> Result<u64, Problem> {
        let bytes = self.elements.checked_mul(self.dtype.size() as u64);
        bytes.ok_or_else(|| Problem::Damaged(format!("a storage of {} elements", self.elements)))
    }
}

/// A persistent id: `("storage", type, key, location, elements)`, then perhaps a view `(key, offset, elements)`.
fn storage_of(pickle: &Pickle, id: Id) -> Result<(String, Wanted, u64), Problem> {
    let bad = || Problem::Damaged("a persistent id that is no storage".into());
    let Value::Persistent(tuple) = pickle.values[id] else { return Err(bad()) };
    let items = pickle.list(tuple).ok_or_else(bad)?;
    let [kind, class, key, _, elements, rest @ ..] = items else { return Err(bad()) };
    if pickle.text(*kind) != Some("storage") {
        return Err(bad());
    }
    let dtype = match pickle.values[*class] {
        Value::Global(Global::Storage(dtype)) => dtype,
        Value::Global(Global::Untyped) => DType::U8,
        _ => return Err(bad()),
    };
    let key = match &pickle.values[*key] {
        Value::Str(s) => s.clone(),
        Value::Int(n) => n.to_string(),
        _ => return Err(bad()),
    };
    let elements = pickle.int(*elements).and_then(|n| u64::try_from(n).ok()).ok_or_else(bad)?;
    let view = rest.first().and_then(|v| pickle.list(*v));
    let offset = view.and_then(|v| pickle.int(*v.get(1)?)).unwrap_or(0);
    Ok((key, Wanted { dtype, elements }, u64::try_from(offset).map_err(|_| bad())?))
}

/// All storages that the pickle refers to.
fn wanted(pickle: &Pickle) -> Result<BTreeMap<String, Wanted>, Problem> {
    let mut out = BTreeMap::new();
    for id in 0..pickle.values.len() {
        if matches!(pickle.values[id], Value::Persistent(_)) {
            let (key, wanted, _) = storage_of(pickle, id)?;
            out.insert(key, wanted);
        }
    }
    Ok(out)
}

/// Makes tensors of a pickle and its storages.
struct Builder<'a> {
    pickle: &'a Pickle,
    storages: &'a Storages,
    /// Bytes that may still be made.
    left: usize,
}

/// Names under which checkpoints keep the weights of their model.
const INSIDE: &[&str] = &[
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
];

impl Builder<'_> {
    fn state(mut self) -> Result<StateDict, Problem> {
        let mut root = self.pickle.root;
        // Down to where the weights are: a checkpoint has other things beside them.
        for _ in 0..8 {
            let Some(entries) = self.pickle.dict(root) else { break };
            let inner = INSIDE.iter().find_map(|name| {
                let found = entries.iter().find(|(k, _)| self.pickle.text(*k) == Some(name));
                found.map(|(_, v)| *v).filter(|v| self.pickle.dict(*v).is_some())
            });
            match inner {
                Some(inner) => root = inner,
                None => break,
            }
        }
        let mut out = StateDict::new();
        if self.is_tensor(root) {
            out.insert("", self.tensor(root)?);
            return Ok(out);
        }
        if self.pickle.dict(root).is_none() && self.pickle.list(root).is_none() {
            return Err(Problem::Unsupported("it holds no dictionary of tensors".into()));
        }
        self.collect(root, "", 0, &mut out)?;
        match out.is_empty() {
            true => Err(Problem::Unsupported("it holds no tensors".into())),
            false => Ok(out),
        }
    }

    /// Adds the tensors under `id`, names joined by dots.
    fn collect(
        &mut self,
        id: Id,
        prefix: &str,
        depth: usize,
        out: &mut StateDict,
    ) -> Result<(), Problem> {
        // Weights are never so deep nor so many; a cycle would go on for ever.
        if depth > 16 || out.len() > 1 << 20 {
            return damaged("its dictionaries are nested without end");
        }
        let pickle = self.pickle;
        let entries: Vec<(String, Id)> = match &pickle.values[id] {
            Value::Dict(entries) => entries
                .iter()
                .filter_map(|(k, v)| match &pickle.values[*k] {
                    Value::Str(s) => Some((s.clone(), *v)),
                    Value::Int(n) => Some((n.to_string(), *v)),
                    _ => None,
                })
                .collect(),
            Value::List(items) => {
                items.iter().enumerate().map(|(i, v)| (i.to_string(), *v)).collect()
            }
            _ => return Ok(()),
        };
        for (name, value) in entries {
            let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            if self.is_tensor(value) {
                let tensor = self.tensor(value)?;
                out.insert(name, tensor);
            } else {
                self.left = match self.left.checked_sub(1) {
                    Some(left) => left,
                    None => return damaged("its dictionaries are nested without end"),
                };
                self.collect(value, &name, depth + 1, out)?;
            }
        }
        Ok(())
    }

    fn is_tensor(&self, id: Id) -> bool {
        matches!(self.pickle.values[id], Value::Call(Global::Tensor, _))
    }

    fn tensor(&mut self, id: Id) -> Result<Tensor, Problem> {
        let Value::Call(_, args) = &self.pickle.values[id] else { return damaged("no tensor") };
        let [storage, offset, size, stride, ..] = args[..] else {
            return damaged("a tensor without storage, offset, size and stride");
        };
        let p = self.pickle;
        let (key, wanted, view) = storage_of(p, storage)?;
        let Some(data) = self.storages.get(&key) else {
            return damaged(format!("there is no storage {key}"));
        };
        let offset = p.int(offset).and_then(|n| usize::try_from(n).ok());
        let (Some(offset), Some(size), Some(stride)) = (offset, p.sizes(size), p.sizes(stride))
        else {
            return damaged("a tensor whose offset, size or stride are no numbers from 0 on");
        };
        let offset = usize::try_from(view).ok().and_then(|v| v.checked_add(offset));
        let array = strided(data, wanted.dtype, offset, &size, &stride, &mut self.left)?;
        Ok(Tensor::from_host(&array))
    }
}

/// The elements of a view, in row-major order.
fn strided(
    data: &[u8],
    dtype: DType,
    offset: Option<usize>,
    size: &[usize],
    stride: &[usize],
    left: &mut usize,
) -> Result<HostArray, Problem> {
    let bad = || {
        Problem::Damaged(format!(
            "a tensor of {size:?} with strides {stride:?} from {offset:?} does not lie in its storage of {} elements",
            data.len() / dtype.size()
        ))
    };
    if size.len() != stride.len() || size.len() > 32 {
        return Err(bad());
    }
    let count = size.iter().try_fold(1usize, |n, s| n.checked_mul(*s)).ok_or_else(bad)?;
    let bytes = count.checked_mul(dtype.size()).ok_or_else(bad)?;
    *left = left.checked_sub(bytes).ok_or_else(|| {
        Problem::Damaged(format!(
            "a tensor of {size:?} and those before it are far larger than the file"
        ))
    })?;
    if count == 0 {
        return HostArray::from_bytes(dtype, size, Vec::new()).ok_or_else(bad);
    }
    let offset = offset.ok_or_else(bad)?;
    let last = size.iter().zip(stride).try_fold(offset, |at, (n, step)| {
        (n - 1).checked_mul(*step).and_then(|d| at.checked_add(d))
    });
    if last.ok_or_else(bad)? >= data.len() / dtype.size() {
        return Err(bad());
    }
    let each = dtype.size();
    let mut dense = 1;
    let contiguous = size.iter().zip(stride).rev().all(|(n, step)| {
        let fits = *n == 1 || *step == dense;
        dense *= n;
        fits
    });
    let mut out = if contiguous {
        data[offset * each..][..bytes].to_vec()
    } else {
        let mut out = Vec::with_capacity(bytes);
        let mut index = vec![0usize; size.len()];
        let mut at = offset;
        for _ in 0..count {
            out.extend_from_slice(&data[at * each..][..each]);
            for d in (0..size.len()).rev() {
                index[d] += 1;
                at += stride[d];
                if index[d] < size[d] {
                    break;
                }
                at -= stride[d] * size[d];
                index[d] = 0;
            }
        }
        out
    };
    if dtype == DType::Bool {
        // Truth values are 0 or 1 in memory; files may hold any byte.
        out.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    HostArray::from_bytes(dtype, size, out).ok_or_else(bad)
}
