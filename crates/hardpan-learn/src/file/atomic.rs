//! Files that are there whole or not at all.

use super::FileError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Writes a file by way of a temporary one beside it: a crash, a kill or a full disk leaves what was there before.
///
/// ```
/// use hardpan_learn::file::write_atomic;
/// use std::io::Write;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("notes.txt");
/// write_atomic(&path, |file| file.write_all(b"first"))?;
/// // What fails leaves it as it was.
/// let fails = write_atomic(&path, |file| {
///     file.write_all(b"sec")?;
///     Err(std::io::Error::other("the disk is full"))
/// });
/// assert!(fails.is_err());
/// assert_eq!(std::fs::read_to_string(&path)?, "first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// What `write` or the system said; the temporary file is removed.
pub fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let fail = |e| FileError::io(path, e);
    let name = path.file_name().ok_or_else(|| {
        fail(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))
    })?;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Relaxed);
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = path.with_file_name(hidden);
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        write(&mut file)?;
        file.flush()?;
        // On the disk before it gets its name, or a power cut could leave the name with nothing behind it.
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)
    })();
    match result {
        Ok(()) => {
            sync_directory(path);
            Ok(())
        }
        Err(e) => {
            let _ = fs::remove_file(&temporary);
            Err(fail(e))
        }
    }
}

/// The renaming itself. Not all systems can do this, and the data is safe without.
fn sync_directory(path: &Path) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Ok(dir) = File::open(parent) {
        let _ = dir.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_half_way_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.hardpan");
        write_atomic(&path, |f| f.write_all(b"old")).unwrap();
        let e = write_atomic(&path, |f| {
            f.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(e, Err(FileError::DiskFull { .. })), "{e:?}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_atomic(&path, |f| f.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary files: {left:?}");
    }

    #[test]
    fn places_that_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let into = |p: &Path| write_atomic(p, |f| f.write_all(b"x")).unwrap_err().to_string();
        assert!(into(&dir.path().join("missing/m.hardpan")).contains("missing/m.hardpan: "));
        fs::create_dir(dir.path().join("sub")).unwrap();
        into(&dir.path().join("sub"));
        into(Path::new("/"));
    }
}
