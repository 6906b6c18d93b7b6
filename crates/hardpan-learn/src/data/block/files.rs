//! Finding files.

use super::BoxError;
use std::path::{Path, PathBuf};

/// Endings of image files, without the dot, in lower case.
///
/// ```
/// use hardpan_learn::data::block::image_extensions;
/// assert!(image_extensions().contains(&"jpeg") && !image_extensions().contains(&"txt"));
/// ```
pub const fn image_extensions() -> &'static [&'static str] {
    &[
        "jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "dib", "webp", "tif", "tiff", "pgm",
        "ppm", "pbm", "pnm", "ico", "heic", "avif",
    ]
}

/// The way down through folders, to see when a link leads back up.
///
/// ```
/// use hardpan_learn::data::block::Descent;
/// let root = std::env::temp_dir();
/// assert!(Descent::default().enter(&root).is_some());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Descent {
    /// Where the links on the way led.
    links: Vec<PathBuf>,
}

impl Descent {
    /// The way into `folder`, which lies in the folder reached so far; `None` if it is a link to a folder that contains it, or one that
    /// was taken before on this way: everything in it has been or will be seen.
    pub fn enter(&self, folder: &Path) -> Option<Descent> {
        if !folder.is_symlink() {
            return Some(self.clone());
        }
        let target = folder.canonicalize().ok()?;
        let here = folder.parent().and_then(|p| p.canonicalize().ok())?;
        if here.starts_with(&target) || self.links.contains(&target) {
            return None;
        }
        let mut links = self.links.clone();
        links.push(target);
        Some(Descent { links })
    }
}

/// All files below `path` (subdirectories too, links followed unless they lead back up) whose ending is one of `extensions`, in any case (all files if
/// there are none); sorted. Names that begin with a dot are left out, files and directories alike; `folders`, if not empty, are the only
/// directories right below `path` that are looked into. Counterpart: fastai's `get_files`.
///
/// ```
/// use hardpan_learn::data::block::files_in;
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// # for file in ["cat/1.jpg", "cat/2.PNG", "dog/1.jpg", "notes.txt"] {
/// #     std::fs::create_dir_all(dir.join(file).parent().unwrap())?;
/// #     std::fs::write(dir.join(file), "")?;
/// # }
/// // A folder with cat/1.jpg, cat/2.PNG, dog/1.jpg and notes.txt.
/// assert_eq!(files_in(dir, &[], &[])?.len(), 4);
/// assert_eq!(files_in(dir, &["png"], &[])?, [dir.join("cat/2.PNG")]);
/// assert_eq!(files_in(dir, &[], &["dog"])?, [dir.join("dog/1.jpg")]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
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
        walk(path, extensions, &mut found, &Descent::default())?;
    } else {
        for folder in folders {
            walk(&path.join(folder), extensions, &mut found, &Descent::default())?;
        }
    }
    found.sort();
    Ok(found)
}

fn walk(
    path: &Path,
    extensions: &[&str],
    found: &mut Vec<PathBuf>,
    way: &Descent,
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
        if is_dir {
            if let Some(way) = way.enter(&entry) {
                walk(&entry, extensions, found, &way)?;
            }
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
/// ```
/// use hardpan_learn::data::block::image_files;
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// # for file in ["cat/1.jpg", "cat/2.PNG", "dog/1.jpg", "notes.txt"] {
/// #     std::fs::create_dir_all(dir.join(file).parent().unwrap())?;
/// #     std::fs::write(dir.join(file), "")?;
/// # }
/// // A folder with cat/1.jpg, cat/2.PNG, dog/1.jpg and notes.txt.
/// assert_eq!(image_files(dir)?, ["cat/1.jpg", "cat/2.PNG", "dog/1.jpg"].map(|f| dir.join(f)));
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
///
/// # Errors
/// If a directory cannot be read.
pub fn image_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, BoxError> {
    files_in(path, image_extensions(), &[])
}

/// All `.txt` files below `path`; see [`files_in`]. Counterpart: fastai's `get_text_files`.
///
/// ```
/// use hardpan_learn::data::block::text_files;
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// # for file in ["cat/1.jpg", "cat/2.PNG", "dog/1.jpg", "notes.txt"] {
/// #     std::fs::create_dir_all(dir.join(file).parent().unwrap())?;
/// #     std::fs::write(dir.join(file), "")?;
/// # }
/// // A folder with cat/1.jpg, cat/2.PNG, dog/1.jpg and notes.txt.
/// assert_eq!(text_files(dir)?, [dir.join("notes.txt")]);
/// # Ok::<(), hardpan_learn::data::block::BoxError>(())
/// ```
///
/// # Errors
/// If a directory cannot be read.
pub fn text_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, BoxError> {
    files_in(path, &["txt"], &[])
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_but_not_back_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("data/a")).unwrap();
        std::fs::create_dir_all(at("other")).unwrap();
        std::fs::write(at("data/a/1.png"), "").unwrap();
        std::fs::write(at("other/2.png"), "").unwrap();
        symlink(at("data"), at("data/a/up")).unwrap();
        symlink(at("data/a"), at("data/a/self")).unwrap();
        symlink(at("other"), at("data/linked")).unwrap();
        symlink(at("data"), at("other/back")).unwrap();
        let found = image_files(at("data")).unwrap();
        let names: Vec<_> =
            found.iter().map(|f| f.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        // Once as it is, and once by the link back from the other folder; not for ever.
        let expected = ["data/a/1.png", "data/linked/2.png", "data/linked/back/a/1.png"];
        assert_eq!(names, expected);
    }
}
