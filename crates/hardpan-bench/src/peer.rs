//! The other side: a Python process that runs the same workloads in PyTorch, one at a time, when told to.

use crate::Record;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The script that is used if no other is given.
const SCRIPT: &str = include_str!("../peer/torch_peer.py");

/// Why the peer cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// It did not start.
    #[error("cannot run {}", .0.display())]
    Start(PathBuf, #[source] std::io::Error),
    /// It ended, or said what is no result.
    #[error("the peer stopped while it ran {0}; what it wrote to standard error says why")]
    Stopped(String),
    /// The script or the pictures could not be written.
    #[error("cannot write files for the peer")]
    Files(#[source] std::io::Error),
}

/// A running peer. It waits between workloads without using the processor.
pub struct Peer {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    _files: tempfile::TempDir,
    /// What it is: versions of Python and its libraries.
    pub versions: String,
}

impl Peer {
    /// Starts `python` on `script` (or on the one that is built in).
    ///
    /// # Errors
    /// If it does not start or lacks PyTorch.
    pub fn start(python: &Path, script: Option<&Path>) -> Result<Peer, PeerError> {
        let files = tempfile::tempdir().map_err(PeerError::Files)?;
        let own = files.path().join("torch_peer.py");
        if script.is_none() {
            std::fs::write(&own, SCRIPT).map_err(PeerError::Files)?;
        }
        let pictures = files.path().join("pictures");
        crate::images::write_pictures(&pictures, 256).map_err(PeerError::Files)?;
        let mut process = Command::new(python)
            .arg(script.unwrap_or(&own))
            .arg("--serve")
            .arg("--pictures")
            .arg(&pictures)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| PeerError::Start(python.to_owned(), e))?;
        let to = process.stdin.take().expect("asked for");
        let from = BufReader::new(process.stdout.take().expect("asked for"));
        let mut peer = Peer { process, to, from, _files: files, versions: String::new() };
        let hello = peer.line("its first lines")?;
        peer.versions = serde_json::from_str::<serde_json::Value>(&hello)
            .ok()
            .and_then(|v| Some(v.get("ready")?.as_str()?.to_owned()))
            .ok_or_else(|| PeerError::Stopped("its first lines".to_owned()))?;
        Ok(peer)
    }

    fn line(&mut self, doing: &str) -> Result<String, PeerError> {
        let mut line = String::new();
        match self.from.read_line(&mut line) {
            Ok(n) if n > 0 => Ok(line),
            _ => Err(PeerError::Stopped(doing.to_owned())),
        }
    }

    /// Runs a workload there. A workload that the peer does not have gives nothing.
    ///
    /// # Errors
    /// If the peer is gone.
    pub fn run(
        &mut self,
        workload: &str,
        threads: usize,
        secs: f64,
        words: &[String],
        compile: bool,
    ) -> Result<Vec<Record>, PeerError> {
        let request = serde_json::json!({
            "workload": workload, "threads": threads, "secs": secs, "words": words, "compile": compile,
        });
        let sent = writeln!(self.to, "{request}").and_then(|()| self.to.flush());
        sent.map_err(|_| PeerError::Stopped(workload.to_owned()))?;
        let mut records = Vec::new();
        loop {
            let line = self.line(workload)?;
            // Libraries may print remarks of their own among the results.
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if value.get("done").is_some() {
                return Ok(records);
            }
            records.extend(serde_json::from_value::<Record>(value));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = writeln!(self.to, "{{\"quit\": true}}");
        let _ = self.to.flush();
        let _ = self.process.wait();
    }
}
