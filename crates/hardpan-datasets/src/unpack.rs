//! Unpacking: into a folder beside the wanted one, renamed when all is there. Entries that lead out of it are refused.

use crate::error::{DatasetError, io};
use crate::registry::Packing;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

/// Unpacks `archive` to the new folder `target`.
pub(crate) fn unpack(archive: &Path, packing: Packing, target: &Path) -> Result<(), DatasetError> {
    let parent = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io(parent))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let fresh = parent.join(format!(".{name}.unpacking-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&fresh);
    std::fs::create_dir(&fresh).map_err(io(&fresh))?;
    let result = match packing {
        Packing::TarGz => untar(archive, &fresh),
        Packing::Zip => unzip(archive, &fresh),
        Packing::File => {
            let name = archive.file_name().unwrap_or_default();
            std::fs::copy(archive, fresh.join(name)).map(|_| ()).map_err(io(archive))
        }
    };
    let result = result.and_then(|()| std::fs::rename(&fresh, target).map_err(io(target)));
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&fresh);
    }
    result
}

/// Where an entry goes; `None` if it is nowhere inside.
fn inside(root: &Path, entry: &Path) -> Option<PathBuf> {
    let mut out = root.to_owned();
    for part in entry.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(out)
}

fn write(to: &Path, from: &mut dyn Read) -> Result<(), DatasetError> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(io(parent))?;
    }
    let mut file = File::create(to).map_err(io(to))?;
    std::io::copy(from, &mut file).map_err(io(to)).map(|_| ())
}

fn untar(archive: &Path, root: &Path) -> Result<(), DatasetError> {
    let fail = |e: std::io::Error| DatasetError::Archive {
        path: archive.to_owned(),
        reason: e.to_string(),
    };
    let file = BufReader::new(File::open(archive).map_err(io(archive))?);
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries().map_err(fail)? {
        let mut entry = entry.map_err(fail)?;
        let path = entry.path().map_err(fail)?.into_owned();
        let kind = entry.header().entry_type();
        let refused =
            || DatasetError::Unsafe { path: archive.to_owned(), entry: path.display().to_string() };
        let to = inside(root, &path).ok_or_else(refused)?;
        if kind.is_dir() {
            std::fs::create_dir_all(&to).map_err(io(&to))?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            write(&to, &mut entry).map_err(|e| archive_error(archive, e))?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            return Err(refused());
        }
    }
    Ok(())
}

/// What stops in the middle is the archive's fault, unless the disk is full.
fn archive_error(archive: &Path, e: DatasetError) -> DatasetError {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match e {
        DatasetError::Io { source, .. }
            if matches!(source.kind(), UnexpectedEof | InvalidData | InvalidInput) =>
        {
            DatasetError::Archive { path: archive.to_owned(), reason: source.to_string() }
        }
        e => e,
    }
}

fn unzip(archive: &Path, root: &Path) -> Result<(), DatasetError> {
    let fail = |e: zip::result::ZipError| DatasetError::Archive {
        path: archive.to_owned(),
        reason: e.to_string(),
    };
    let file = BufReader::new(File::open(archive).map_err(io(archive))?);
    let mut zip = zip::ZipArchive::new(file).map_err(fail)?;
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(fail)?;
        let name = entry.name().map_err(fail)?.into_owned();
        let refused = || DatasetError::Unsafe { path: archive.to_owned(), entry: name.clone() };
        let to = inside(root, Path::new(&name.replace('\\', "/"))).ok_or_else(refused)?;
        if entry.is_symlink() {
            return Err(refused());
        }
        if entry.is_dir() {
            std::fs::create_dir_all(&to).map_err(io(&to))?;
        } else {
            write(&to, &mut entry).map_err(|e| archive_error(archive, e))?;
        }
    }
    Ok(())
}

/// The only folder in a folder, if there is nothing else: what archives mostly hold.
pub(crate) fn inner(folder: &Path) -> PathBuf {
    let Ok(entries) = std::fs::read_dir(folder) else { return folder.to_owned() };
    let visible: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|e| e.path())
        .collect();
    match &visible[..] {
        [only] if only.is_dir() => only.clone(),
        _ => folder.to_owned(),
    }
}
