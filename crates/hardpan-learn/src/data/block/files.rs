//! Finding files.

use super::BoxError;
use std::path::{Path, PathBuf};

/// Endings of image files, without the dot, in lower case.
pub const fn image_extensions() -> &'static [&'static str] {
    &[
        "jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "dib", "webp", "tif", "tiff", "pgm",
        "ppm", "pbm", "pnm", "ico", "heic", "avif",
    ]
}

/// All files below `path` (subdirectories too, links followed) whose ending is one of `extensions`, in any case (all files if
/// there are none); sorted. Names that begin with a dot are left out, files and directories alike; `folders`, if not empty, are the only
/// directories right below `path` that are looked into. Counterpart: fastai's `get_files`.
///
/// # Errors
/// If a directory cannot be read.
pub fn files_in(
    path: impl AsRef<Path>,
    extensions: &[&str],
    folders: &[&str],
) -> Result<Vec<PathBuf>, BoxError> {
    let path = path.as_ref();
    let mut found = Vec::new();
    if folders.is_empty() {
        walk(path, extensions, &mut found, 0)?;
    } else {
        for folder in folders {
            walk(&path.join(folder), extensions, &mut found, 1)?;
        }
    }
    found.sort();
    Ok(found)
}

/// A link that leads back up must not be followed for ever.
const DEEPEST: usize = 40;

fn walk(
    path: &Path,
    extensions: &[&str],
    found: &mut Vec<PathBuf>,
    depth: usize,
) -> Result<(), BoxError> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(fail)?;
        let entry = entry.path();
        let (is_dir, is_file) = match kind.is_symlink() {
            true => (entry.is_dir(), entry.is_file()),
            false => (kind.is_dir(), kind.is_file()),
        };
        if is_dir && depth < DEEPEST {
            walk(&entry, extensions, found, depth + 1)?;
        } else if is_file && (extensions.is_empty() || has_extension(&entry, extensions)) {
            found.push(entry);
        }
    }
    Ok(())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let Some(extension) = path.extension().and_then(|e| e.to_str()) else { return false };
    extensions.iter().any(|e| e.eq_ignore_ascii_case(extension))
}

/// All image files below `path`; see [`files_in`]. Counterpart: fastai's `get_image_files`.
///
/// # Errors
/// If a directory cannot be read.
pub fn image_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, BoxError> {
    files_in(path, image_extensions(), &[])
}

/// All `.txt` files below `path`; see [`files_in`]. Counterpart: fastai's `get_text_files`.
///
/// # Errors
/// If a directory cannot be read.
pub fn text_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, BoxError> {
    files_in(path, &["txt"], &[])
}
