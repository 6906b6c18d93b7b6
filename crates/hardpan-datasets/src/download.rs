//! Downloading a file: into `NAME.part`, going on where a download stopped, renamed when it is whole.

use crate::error::{DatasetError, io};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here, those of earlier tries among them.
    pub received: u64,
    /// Bytes of the whole, if the server says.
    pub total: Option<u64>,
}

/// Tries after which it is given up; each goes on where the one before stopped.
const TRIES: usize = 3;

/// Downloads `url` to `path`.
pub(crate) fn download(
    url: &str,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), DatasetError> {
    let part = part_of(path);
    let fail = |reason: String| DatasetError::Download { url: url.to_owned(), reason };
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut last = String::new();
    for _ in 0..TRIES {
        match attempt(&agent, url, &part, progress) {
            Ok(()) => return std::fs::rename(&part, path).map_err(io(path)),
            Err(Attempt::Fatal(e)) => return Err(e),
            Err(Attempt::Refused(reason)) => return Err(fail(reason)),
            Err(Attempt::Broken(reason)) => last = reason,
        }
    }
    Err(fail(last))
}

/// Where an unfinished download lies.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

enum Attempt {
    /// Another try will not help.
    Refused(String),
    /// Another try may help.
    Broken(String),
    /// Nothing to do with the network.
    Fatal(DatasetError),
}

fn attempt(
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Attempt> {
    let here = std::fs::metadata(part).map_or(0, |m| m.len());
    // Bytes as they are on the server: an archive must not be unpacked on the way.
    let mut request = agent.get(url).header("Accept-Encoding", "identity");
    if here > 0 {
        request = request.header("Range", format!("bytes={here}-"));
    }
    let response = request.call().map_err(|e| Attempt::Broken(e.to_string()))?;
    let status = response.status().as_u16();
    let number = |name: &str| {
        let text = response.headers().get(name)?.to_str().ok()?;
        text.rsplit('/').next()?.trim().parse::<u64>().ok()
    };
    let (mut received, total) = match status {
        200 => (0, number("content-length")),
        // "bytes 100-199/200": the whole is after the slash.
        206 => (here, number("content-range")),
        // Nothing lies behind what is here: it is whole already, or longer than the file and useless.
        416 if here > 0 && number("content-range") == Some(here) => return Ok(()),
        416 if here > 0 => {
            std::fs::remove_file(part).map_err(io(part)).map_err(Attempt::Fatal)?;
            return Err(Attempt::Broken("the server answers 416".into()));
        }
        500..=599 => return Err(Attempt::Broken(format!("the server answers {status}"))),
        _ => return Err(Attempt::Refused(format!("the server answers {status}"))),
    };
    let mut options = OpenOptions::new();
    let file = match received {
        0 => options.write(true).create(true).truncate(true).open(part),
        _ => options.append(true).open(part),
    };
    let mut file = file.map_err(io(part)).map_err(Attempt::Fatal)?;
    let mut reader = response.into_body().into_reader();
    let mut block = vec![0u8; 1 << 16];
    loop {
        let n = reader.read(&mut block).map_err(|e| Attempt::Broken(e.to_string()))?;
        if n == 0 {
            break;
        }
        file.write_all(&block[..n]).map_err(io(part)).map_err(Attempt::Fatal)?;
        received += n as u64;
        progress(Progress { received, total });
    }
    file.sync_all().map_err(io(part)).map_err(Attempt::Fatal)?;
    match total {
        Some(total) if received < total => {
            Err(Attempt::Broken(format!("the connection ended after {received} of {total} bytes")))
        }
        _ => Ok(()),
    }
}

/// The SHA-256 of a file in hexadecimal digits.
pub(crate) fn sha256(path: &Path) -> Result<String, DatasetError> {
    sum::<Sha256>(path, u64::MAX)
}

/// The MD5 of the first 2^20 bytes of a file in hexadecimal digits.
pub(crate) fn md5_of_start(path: &Path) -> Result<String, DatasetError> {
    sum::<Md5>(path, 1 << 20)
}

fn sum<D: Digest>(path: &Path, bytes: u64) -> Result<String, DatasetError> {
    let mut file = File::open(path).map_err(io(path))?.take(bytes);
    let mut hash = D::new();
    let mut block = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut block).map_err(io(path))? {
            0 => break,
            n => hash.update(&block[..n]),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_standards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        // The last test vector of RFC 1321, and the first of NIST for SHA-256.
        std::fs::write(&path, "1234567890".repeat(8)).unwrap();
        assert_eq!(md5_of_start(&path).unwrap(), "57edf4a22be3c955ac49da2e2107b67a");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
        // What comes after the first MiB does not count.
        std::fs::write(&path, vec![7; 1 << 20]).unwrap();
        let start = md5_of_start(&path).unwrap();
        std::fs::write(&path, vec![7; (1 << 20) + 1]).unwrap();
        assert_eq!(md5_of_start(&path).unwrap(), start);
    }
}
