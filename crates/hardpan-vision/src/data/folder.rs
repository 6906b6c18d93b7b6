//! What is in a folder of pictures: classes, files, and which are for validation.

use crate::image::Format;
use hardpan_learn::data::block::{Descent, image_extensions};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a folder cannot be trained on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There are no pictures in it.
    #[error(
        "{}: there are no pictures in it; expected a folder for each class with pictures in it, or `train` and `valid` with \
         such folders", .path.display()
    )]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },
    /// There are pictures, but no folders that say what they are.
    #[error(
        "{}: its {count} pictures lie in no class folders; make a folder for each class and put its pictures there", .path.display()
    )]
    NoClasses {
        /// The folder.
        path: PathBuf,
        /// How many pictures.
        count: usize,
    },
    /// There is nothing to tell apart.
    #[error("{}: all {count} pictures are of one class, {class:?}; at least two are needed to tell apart", .path.display())]
    OneClass {
        /// The folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// How many pictures.
        count: usize,
    },
    /// Classes to judge by that cannot be learned.
    #[error(
        "{}: validation has the classes {classes:?}, of which there are no pictures to train on", .path.display()
    )]
    UnknownClasses {
        /// The folder.
        path: PathBuf,
        /// The classes.
        classes: Vec<String>,
    },
}

/// A picture and its class.
pub(super) type Labelled = (PathBuf, String);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub train: Vec<Labelled>,
    /// `None`: there is no folder for it; a part of `train` is to be taken.
    pub valid: Option<Vec<Labelled>>,
    pub test: Vec<Labelled>,
    /// What users should know.
    pub notes: Vec<String>,
}

const TRAIN: [&str; 2] = ["train", "training"];
const VALID: [&str; 3] = ["valid", "val", "validation"];
const TEST: [&str; 2] = ["test", "testing"];

/// Looks through a folder. `valid`: the name of the folder for validation, if it is not one of the usual ones.
pub(super) fn look(path: &Path, valid: Option<&str>) -> Result<Found, FolderError> {
    let path = &unwrapped(path)?;
    let folders = Entries::of(path)?.folders;
    let named = |names: &[&str]| {
        let name = |f: &PathBuf| f.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        names.iter().find_map(|n| folders.iter().find(|f| name(f) == *n)).cloned()
    };
    let train = named(&TRAIN);
    let test = named(&TEST);
    let wanted = valid.map(|v| path.join(v));
    let mut found = Found::default();
    let Some(train) = train else {
        // Class folders side by side, perhaps with one of them set aside for validation.
        found.train = classes_in(path, wanted.as_deref(), &mut found.notes)?;
        if let Some(valid) = wanted {
            found.valid = Some(classes_in(&valid, None, &mut found.notes)?);
        }
        return check(path, found);
    };
    found.train = classes_in(&train, None, &mut found.notes)?;
    let valid = wanted.or_else(|| named(&VALID));
    if let Some(valid) = &valid {
        found.valid = Some(classes_in(valid, None, &mut found.notes)?);
    }
    if let Some(test) = &test {
        let classes = classes_in(test, None, &mut Vec::new())?;
        if valid.is_some() {
            found.test = classes;
        } else if !classes.is_empty() {
            found.notes.push(
                "there is no folder `valid`: the folder `test` is used for validation".to_owned(),
            );
            found.valid = Some(classes);
        }
    }
    if found.valid.as_ref().is_some_and(Vec::is_empty) {
        found.notes.push("the validation folder has no pictures in class folders: a part of the training pictures is used".to_owned());
        found.valid = None;
    }
    check(path, found)
}

fn check(path: &Path, found: Found) -> Result<Found, FolderError> {
    let path = path.to_owned();
    let classes: BTreeSet<&String> = found.train.iter().map(|(_, c)| c).collect();
    let count = found.train.len();
    match classes.len() {
        0 => {
            let mut loose = Vec::new();
            pictures(&path, &mut loose, &Descent::default())?;
            return Err(match loose.len() {
                0 => FolderError::NoPictures { path },
                count => FolderError::NoClasses { path, count },
            });
        }
        1 => {
            let class = found.train[0].1.clone();
            return Err(FolderError::OneClass { path, class, count });
        }
        _ => {}
    }
    check_classes(&path, &found)?;
    Ok(found)
}

/// At least two classes to learn, and none to judge by that cannot be learned.
pub(super) fn check_classes(path: &Path, found: &Found) -> Result<(), FolderError> {
    let path = path.to_owned();
    let classes: BTreeSet<&String> = found.train.iter().map(|(_, c)| c).collect();
    if classes.len() < 2 {
        let class = classes.into_iter().next().cloned().unwrap_or_default();
        return Err(FolderError::OneClass { path, class, count: found.train.len() });
    }
    let valid = found.valid.iter().flatten().map(|(_, c)| c);
    let unknown: BTreeSet<String> = valid.filter(|c| !classes.contains(c)).cloned().collect();
    if !unknown.is_empty() {
        return Err(FolderError::UnknownClasses { path, classes: unknown.into_iter().collect() });
    }
    Ok(())
}

/// Archives often unpack into one folder that holds the real ones.
fn unwrapped(path: &Path) -> Result<PathBuf, FolderError> {
    let mut path = path.to_owned();
    for _ in 0..3 {
        let entries = Entries::of(&path)?;
        let [only] = &entries.folders[..] else { break };
        let inner = Entries::of(only)?;
        if entries.files.iter().any(|f| is_picture(f)) || inner.folders.len() < 2 {
            break;
        }
        path = only.clone();
    }
    Ok(path)
}

struct Entries {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl Entries {
    /// Sorted; without what is hidden.
    fn of(path: &Path) -> Result<Entries, FolderError> {
        let fail = |source| FolderError::Io { path: path.to_owned(), source };
        let mut entries = Entries { folders: Vec::new(), files: Vec::new() };
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || name == "__MACOSX" {
                continue;
            }
            let path = entry.path();
            let list = if path.is_dir() { &mut entries.folders } else { &mut entries.files };
            list.push(path);
        }
        entries.folders.sort();
        entries.files.sort();
        Ok(entries)
    }
}

/// The pictures of each folder right below `path`, wherever they are inside it; the folder's name is the class.
fn classes_in(
    path: &Path,
    without: Option<&Path>,
    notes: &mut Vec<String>,
) -> Result<Vec<Labelled>, FolderError> {
    let entries = Entries::of(path)?;
    let mut out = Vec::new();
    for folder in entries.folders {
        if without == Some(&*folder) {
            continue;
        }
        let Some(way) = Descent::default().enter(&folder) else { continue };
        let class = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut files = Vec::new();
        pictures(&folder, &mut files, &way)?;
        if files.is_empty() {
            notes.push(format!("{}: no pictures in it, so it is no class", folder.display()));
        }
        out.extend(files.into_iter().map(|f| (f, class.clone())));
    }
    Ok(out)
}

fn pictures(path: &Path, out: &mut Vec<PathBuf>, way: &Descent) -> Result<(), FolderError> {
    let entries = Entries::of(path)?;
    out.extend(entries.files.into_iter().filter(|f| is_picture(f)));
    for folder in entries.folders {
        if let Some(way) = way.enter(&folder) {
            pictures(&folder, out, &way)?;
        }
    }
    Ok(())
}

/// By the ending of the name, or, if that says nothing, by the first bytes.
pub(super) fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if image_extensions().contains(&&*extension) {
        return true;
    }
    let known = ["txt", "csv", "tsv", "json", "md", "xml", "html", "py", "zip", "gz", "tar", "db"];
    if known.contains(&&*extension) {
        return false;
    }
    let mut head = [0u8; 12];
    let read = std::fs::File::open(path).and_then(|mut f| f.read(&mut head));
    read.is_ok_and(|n| Format::of(&head[..n]).is_some())
}

/// How many pictures of each class.
pub(super) fn count(files: &[Labelled]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (_, class) in files {
        *counts.entry(class.as_str()).or_insert(0) += 1;
    }
    counts
}
