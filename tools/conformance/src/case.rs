//! Case files: finding them, reading JSON and arrays.

use hardpan_engine::{DType, HostArray};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// `NAME.json` with the arrays of `NAME.safetensors`.
pub struct CaseFile {
    pub op: String,
    pub kind: String,
    pub tier: String,
    pub cases: Vec<Value>,
    pub arrays: HashMap<String, HostArray>,
}

impl CaseFile {
    /// Reads a case file; `Ok(None)` for JSON that is something else (such as an index).
    pub fn load(path: &Path) -> Result<Option<CaseFile>, String> {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        let mut json: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let text = |key: &str| json[key].as_str().map(str::to_string);
        let (Some(op), Some(kind), Some(tier)) = (text("op"), text("kind"), text("tier")) else {
            return Ok(None);
        };
        let Value::Array(cases) = json["cases"].take() else { return Ok(None) };
        let arrays_path = path.with_extension("safetensors");
        let mut arrays = HashMap::new();
        if arrays_path.exists() {
            let bytes = std::fs::read(&arrays_path).map_err(|e| e.to_string())?;
            let tensors = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
            for (name, view) in tensors.iter() {
                let dtype = match view.dtype() {
                    Dtype::BOOL => DType::Bool,
                    Dtype::U8 => DType::U8,
                    Dtype::I8 => DType::I8,
                    Dtype::I16 => DType::I16,
                    Dtype::I32 => DType::I32,
                    Dtype::I64 => DType::I64,
                    Dtype::F16 => DType::F16,
                    Dtype::BF16 => DType::BF16,
                    Dtype::F32 => DType::F32,
                    Dtype::F64 => DType::F64,
                    other => return Err(format!("{name}: dtype {other:?} is not expected")),
                };
                let array = HostArray::from_bytes(dtype, view.shape(), view.data().to_vec())
                    .ok_or_else(|| format!("{name}: wrong number of bytes"))?;
                arrays.insert(name.to_string(), array);
            }
        }
        Ok(Some(CaseFile { op, kind, tier, cases, arrays }))
    }

    /// The array of that key.
    ///
    /// # Panics
    /// When the file names an array it does not hold.
    pub fn array(&self, key: &str) -> &HostArray {
        self.arrays.get(key).unwrap_or_else(|| panic!("{}: no array named {key}", self.op))
    }
}

/// The case files below the given paths, in the order of `index.json` where there is one, else by name.
pub fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut out = Vec::new();
    for path in paths {
        if path.is_file() {
            out.push(path.clone());
            continue;
        }
        if !path.is_dir() {
            return Err(format!("{}: no such directory", path.display()));
        }
        let index = path.join("index.json");
        if index.exists() {
            let text =
                std::fs::read_to_string(&index).map_err(|e| format!("{}: {e}", index.display()))?;
            let json: Value =
                serde_json::from_str(&text).map_err(|e| format!("{}: {e}", index.display()))?;
            let files = json["files"].as_array().cloned().unwrap_or_default();
            // Paths are given without `.json`; names have dots of their own.
            let name = |p: &str| path.join(format!("{}.json", p.trim_end_matches(".json")));
            out.extend(files.iter().filter_map(|f| f["path"].as_str()).map(name));
        } else {
            scan(path, &mut out)?;
        }
    }
    Ok(out)
}

fn scan(dir: &Path, out: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.sort();
    for p in paths {
        if p.is_dir() {
            scan(&p, out)?;
        } else if p.extension().is_some_and(|e| e == "json") {
            out.push(p);
        }
    }
    Ok(())
}
