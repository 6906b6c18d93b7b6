//! A model as an HTTP server: a documented JSON API, and a page where one drops or draws a picture.
//!
//! A [`Model`] says how bytes become an input and inputs become answers; [`Server`] does the rest. A request flows so:
//!
//! ```text
//! connection -> route -> Model::read (several at once) -> queue -> Model::predict (one batch at a time) -> JSON
//! ```
//!
//! Requests that arrive while a batch is computed make up the next one, so nobody waits for a batch to fill. Everything is bounded:
//! the size and time of a request, connections, the queue. Whatever a client does, the others are served: a bad picture is
//! answered with 400, one too large with 413, a slow one with 408, a full queue with 503; a panic in the model with 500.
//!
//! ```no_run
//! use hardpan_serve::{About, Model, Options, Server};
//!
//! /// Says how long the text is.
//! struct Length;
//!
//! impl Model for Length {
//!     type Input = String;
//!     type Output = usize;
//!     fn about(&self) -> About {
//!         About { name: "length".into(), task: "text".into(), ..About::default() }
//!     }
//!     fn read(&self, bytes: &[u8]) -> Result<String, String> {
//!         String::from_utf8(bytes.to_vec()).map_err(|e| e.to_string())
//!     }
//!     fn predict(&self, inputs: &[String], _top: usize) -> Vec<usize> {
//!         inputs.iter().map(String::len).collect()
//!     }
//! }
//!
//! let server = Server::bind("127.0.0.1:8080", Options::default())?;
//! println!("listening on http://{}", server.address());
//! server.run(Length)?;
//! # Ok::<(), std::io::Error>(())
//! ```

mod answer;
mod batch;
mod contents;
mod metrics;
mod model;
mod routes;
mod server;

pub use model::{About, InputShape, Model};
pub use server::{Options, Server, Stop};
