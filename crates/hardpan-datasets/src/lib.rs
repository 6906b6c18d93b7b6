//! The registry of data sets: names, addresses, checksums, licences; download with progress and resume into the user's cache
//! directory; verification; unpacking that is never half done. Any local path is accepted instead of a name, so everything works without
//! a network. Counterpart: fastai's `URLs` and `untar_data`. Pretrained weights are had the same way: [`Weights`].
//!
//! ```no_run
//! let cache = hardpan_datasets::Cache::user()?;
//! let folder = cache.get("imagenette2-160", &mut |p| eprint!("\r{} bytes", p.received))?;
//! # Ok::<(), hardpan_datasets::DatasetError>(())
//! ```

mod cache;
mod download;
mod error;
mod registry;
mod unpack;
mod weights;

pub use cache::Cache;
pub use download::Progress;
pub use error::DatasetError;
pub use registry::{DATA_SETS, DataSet, Kind, Packing, Published, Sum, find};
pub use weights::{PUBLISHED, Weights, find_weights};
