//! Models as ONNX files, for programs that run those.
//!
//! [`to_onnx`] runs a function of one tensor once, without computing anything, and translates the graph that the engine recorded, node by
//! node. So it knows no layers, and whatever a model is made of can be exported: what has no counterpart in ONNX is an error that
//! names the operation. Everything that does not depend on the input (weights, the arithmetic of a batch norm's statistics) is computed and
//! stored as constants. The batch size stays open.
//!
//! ```
//! use hardpan_nn::{Conv2d, Flatten, Forward, Linear, Module, ReLU, seq};
//! use hardpan_onnx::{Options, to_onnx};
//!
//! let model = seq![Conv2d::new(1, 4, 3), ReLU, Flatten::new(), Linear::new(4 * 6 * 6, 10)];
//! model.eval();
//! let bytes = to_onnx(|x| model.forward(x), &[1, 8, 8], &Options::default())?;
//! assert!(bytes.len() > 4 * model.num_parameters());
//! # Ok::<(), hardpan_onnx::OnnxError>(())
//! ```

mod proto;
mod translate;

use hardpan_engine::Tensor;
use std::path::{Path, PathBuf};

/// The version of the operator set that files ask for.
pub const OPSET: i64 = 18;

/// Names and texts in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The input's name. Default `input`.
    pub input: String,
    /// The output's name. Default `output`.
    pub output: String,
    /// The name of the graph. Default `hardpan`.
    pub name: String,
    /// Texts by key: class names, versions. Default none.
    pub metadata: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            input: "input".into(),
            output: "output".into(),
            name: "hardpan".into(),
            metadata: Vec::new(),
        }
    }
}

/// Why a model could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// It uses an operation that has no counterpart in ONNX here.
    #[error("the operation `{op}` cannot be exported to ONNX")]
    Unsupported {
        /// The operation.
        op: String,
    },
    /// The computation does something with the batch size that a fixed graph cannot say.
    #[error("the model cannot be exported with an open batch size: {problem}")]
    Batch {
        /// What it does.
        problem: String,
    },
    /// The result does not depend on the input, or values were read while the model ran.
    #[error("the computation cannot be followed from input to output: {problem}")]
    Trace {
        /// What went wrong.
        problem: String,
    },
    /// The file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// The function `f` as the bytes of an ONNX file. `shape` is that of one item: the input is `[N, shape..]` of f32, for any N.
///
/// Models must be in evaluation mode (`model.eval()`). To have preprocessing in the file, put it into `f`:
/// `|x| model.forward(&((x / 255.0 - mean) / std))`.
///
/// # Errors
/// See [`OnnxError`].
pub fn to_onnx(
    f: impl Fn(&Tensor) -> Tensor,
    shape: &[usize],
    options: &Options,
) -> Result<Vec<u8>, OnnxError> {
    translate::model(&f, shape, options)
}

/// Writes [`to_onnx`] to a file.
///
/// # Errors
/// See [`OnnxError`].
pub fn write(
    path: impl AsRef<Path>,
    f: impl Fn(&Tensor) -> Tensor,
    shape: &[usize],
    options: &Options,
) -> Result<(), OnnxError> {
    let bytes = to_onnx(f, shape, options)?;
    let path = path.as_ref();
    std::fs::write(path, bytes).map_err(|source| OnnxError::Write { path: path.to_owned(), source })
}
