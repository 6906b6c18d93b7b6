//! The engine of Hardpan: tensors, a bounded lazy graph, automatic differentiation, a planner that fuses, and devices.
//!
//! Three types carry it: [`Tensor`] (a handle to a node of the graph), [`kernel::Kernel`] (what the planner makes of pending
//! nodes) and [`dev::Device`] (what runs kernels). Building an operation only appends a node; a flush on reading turns all
//! pending nodes into few kernels and runs them.
//!
//! ```
//! use hardpan_engine::Tensor;
//! let x = Tensor::arange(0, 6, 1).reshape([2, 3]).to_dtype(hardpan_engine::DType::F32);
//! let w = Tensor::ones([3, 1]).requires_grad();
//! let loss = x.matmul(&w).mean(..);
//! loss.backward();
//! assert_eq!(w.grad().unwrap().to_vec::<f32>(), vec![1.5, 2.5, 3.5]);
//! ```

mod autocast;
mod checkpoint;
pub mod dev;
pub mod dtype;
pub mod functional;
pub mod grad;
pub mod graph;
pub mod host;
pub mod io;
pub mod kernel;
pub mod node;
pub mod op;
pub mod philox;
pub mod plan;
pub mod random;
pub mod scalar;
pub mod shape;
pub mod special;
pub mod tensor;
mod work;

pub use autocast::{autocast, autocast_dtype, set_autocast};
pub use dev::{DeviceId, live_bytes, peak_bytes, reset_peak_bytes, with_device};
pub use dtype::{DType, Element, Lane, Scalar};
pub use grad::{checkpoint, grad, grad_with};
pub use host::HostArray;
pub use io::{FileError, FormatError, load_safetensors, save_safetensors};
pub use node::{GradCell, Tensor, enable_grad, is_grad_enabled, live_nodes, no_grad};
pub use op::CustomOp;
pub use plan::{CaptureError, Captured, flush_all, plan_stats, trace, with_eager};
pub use random::{manual_seed, random_words, rng_state, set_rng_state};
pub use tensor::arguments::{Axes, IntoSizes, Operand, result_type};
pub use tensor::arrange::{DimList, broadcast_shapes};
pub use tensor::einops::Fold;
pub use tensor::einsum::PairedDims;
pub use tensor::grid::GridIndexing;
pub use tensor::index::ScatterReduce;
pub use tensor::index::item::{DOTS, Item, NEW, Subscript, ToItem, every};
pub use tensor::split::Cuts;
pub use work::{add_multiply_adds, multiply_adds};
