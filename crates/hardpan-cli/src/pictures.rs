//! Files of pictures, read for a model.

use anyhow::{Context, Result, bail};
use hardpan::learn::data::table::Table;
use hardpan::vision::data::ImageDataLoaders;
use hardpan::vision::image::{Image, ImageError};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Reads pictures on all cores, in order. `-` is standard input.
pub fn read_all(paths: &[PathBuf]) -> Vec<Result<Image, ImageError>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots: Vec<Mutex<Option<Result<Image, ImageError>>>> =
        paths.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(paths.len()) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Relaxed);
                    let Some(path) = paths.get(i) else { break };
                    *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(read(path));
                }
            });
        }
    });
    let read = |slot: Mutex<Option<_>>| slot.into_inner().unwrap_or_else(|e| e.into_inner());
    slots.into_iter().map(|s| read(s).expect("every picture was read")).collect()
}

fn read(path: &Path) -> Result<Image, ImageError> {
    if path != Path::new("-") {
        return Image::open(path);
    }
    let mut bytes = Vec::new();
    let stdin = |source| ImageError::Io { path: PathBuf::from("standard input"), source };
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(stdin)?;
    Image::decode(&bytes).map_err(|e| e.in_file("standard input"))
}

/// The files that are meant: of a folder, all pictures in it.
pub fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            out.push(input.clone());
            continue;
        }
        let files = hardpan::learn::data::block::image_files(input)
            .map_err(|e| anyhow::anyhow!("{}: {e}", input.display()))?;
        if files.is_empty() {
            bail!("{}: there are no pictures in this folder", input.display());
        }
        out.extend(files);
    }
    Ok(out)
}

/// Which pictures of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Those for validation, if the folder has such a part, else all
    Auto,
    /// Those to learn from
    Train,
    /// Those for validation
    Valid,
    /// Those in the folder `test`
    Test,
    /// All of them
    All,
}

/// Pictures with the number of each one's class among `classes`.
pub struct Labelled {
    pub files: Vec<PathBuf>,
    pub targets: Vec<usize>,
    /// What part of the data it is.
    pub part: &'static str,
}

/// How a training divided its pictures and what labels it used.
pub struct Split {
    /// The share that was set aside, if it was said.
    pub fraction: Option<f64>,
    /// The folder that was validated on, if one was given.
    pub folder: Option<PathBuf>,
    /// The file of corrected labels.
    pub corrections: Option<PathBuf>,
    /// The column of the classes in a table, if it was said.
    pub target: Option<String>,
    pub seed: u64,
}

impl Split {
    /// Divides and labels alike.
    ///
    /// # Errors
    /// If a file or folder of the training is gone.
    pub fn apply(&self, mut loaders: ImageDataLoaders) -> Result<ImageDataLoaders> {
        loaders = loaders.seed(self.seed);
        if let Some(valid) = &self.folder {
            // Joined to the data's folder by the loaders; an absolute path stays what it is.
            let valid =
                valid.canonicalize().with_context(|| format!("--valid {}", valid.display()))?;
            loaders = loaders.valid_folder(valid.to_string_lossy());
        }
        if let Some(share) = self.fraction {
            loaders = loaders.valid_fraction(share);
        }
        if let Some(file) = &self.corrections {
            loaders = loaders.corrections(corrections(file)?);
        }
        Ok(loaders)
    }
}

/// The columns of a table of pictures.
pub struct Columns {
    pub file: String,
    pub label: String,
    /// Says which rows are for validation.
    pub valid: Option<String>,
}

impl Columns {
    /// The column of names of files that are there (seen from the table's folder), and that of the labels: `target` if it is given, else
    /// the one that is named so, else the only other one. `None` if the table names no pictures.
    ///
    /// # Errors
    /// If it cannot be read, or it is not clear which column has the labels.
    pub fn of(csv: &Path, target: Option<&str>) -> Result<Option<Columns>> {
        let table = Table::read_csv(csv, b',').map_err(anyhow::Error::from_boxed)?;
        let Some(first) = table.rows().first() else {
            bail!("{}: there are no rows below its line of names", csv.display());
        };
        let folder = csv.parent().unwrap_or(Path::new("."));
        let names = table.columns();
        let is_file = |cell: &String| !cell.is_empty() && folder.join(cell).is_file();
        let Some(at) = first.cells().iter().position(is_file) else { return Ok(None) };
        let known =
            |wanted: &[&str]| names.iter().find(|n| wanted.contains(&&*n.to_lowercase())).cloned();
        let valid = known(&["is_valid", "valid", "validation"]);
        let others: Vec<&String> =
            names.iter().filter(|n| **n != names[at] && Some(*n) != valid.as_ref()).collect();
        let label = match (target, known(&["label", "labels", "class", "category", "target"])) {
            (Some(target), _) => names.iter().find(|n| *n == target).cloned(),
            (None, Some(label)) => Some(label),
            (None, None) if others.len() == 1 => Some(others[0].clone()),
            _ => None,
        };
        let Some(label) = label else {
            bail!(
                "{}: which column has the classes? Its columns are {}; say it with --target COLUMN",
                csv.display(),
                names.join(", ")
            );
        };
        Ok(Some(Columns { file: names[at].clone(), label, valid }))
    }
}

/// The labelled pictures of a folder, or of a table (CSV) that names pictures and their classes.
pub fn loaders(source: &Path, target: Option<&str>) -> Result<ImageDataLoaders> {
    if source.is_dir() {
        return Ok(ImageDataLoaders::from_folder(source));
    }
    let Some(columns) = Columns::of(source, target)? else {
        bail!("{}: none of its columns names pictures that are there", source.display());
    };
    let folder = source.parent().unwrap_or(Path::new("."));
    let Columns { file, label, valid } = columns;
    Ok(ImageDataLoaders::from_csv(source, folder, &file, &label, valid.as_deref()))
}

/// Reads lines of `FILE,LABEL` under a line of names, as `hardpan report` writes them; an empty label leaves the file out.
fn corrections(file: &Path) -> Result<BTreeMap<PathBuf, Option<String>>> {
    let table = Table::read_csv(file, b',').map_err(anyhow::Error::from_boxed);
    let table = table.with_context(|| format!("--corrections {}", file.display()))?;
    let mut out = BTreeMap::new();
    for row in table.rows() {
        let get = |column: &str| row.get(column).map_err(anyhow::Error::from_boxed);
        let (path, label) = (get("file")?, get("label")?);
        out.insert(PathBuf::from(path), (!label.is_empty()).then(|| label.to_owned()));
    }
    Ok(out)
}

/// The labelled pictures of a folder or table, for a model that knows `classes`. With `split` (that of the training on this folder), they are
/// divided and labelled as the training did.
pub fn labelled(
    folder: &Path,
    classes: &[String],
    part: Part,
    split: Option<&Split>,
) -> Result<Labelled> {
    let mut loaders = loaders(folder, split.and_then(|s| s.target.as_deref()))?;
    if let Some(split) = split {
        loaders = split.apply(loaders)?;
    }
    let data = loaders.build()?;
    let name = |f: &(PathBuf, usize)| (f.0.clone(), data.classes[f.1].clone());
    let train = || data.train_files.iter().map(name);
    let valid = || data.valid_files.iter().map(name);
    let test = || data.test_files.iter().cloned();
    let (part, files): (_, Vec<(PathBuf, String)>) = match part {
        Part::Train => ("train", train().collect()),
        Part::Valid => ("valid", valid().collect()),
        Part::Test => ("test", test().collect()),
        Part::All => ("all", train().chain(valid()).chain(test()).collect()),
        Part::Auto if split.is_some() || has_parts(folder) => ("valid", valid().collect()),
        Part::Auto => ("all", train().chain(valid()).chain(test()).collect()),
    };
    if files.is_empty() {
        bail!("{}: there are no pictures in its part `{part}`", folder.display());
    }
    let known: BTreeMap<&str, usize> =
        classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
    let mut out = Labelled { files: Vec::new(), targets: Vec::new(), part };
    let mut strange = BTreeMap::new();
    for (file, class) in files {
        match known.get(class.as_str()) {
            Some(&target) => {
                out.files.push(file);
                out.targets.push(target);
            }
            None => *strange.entry(class).or_insert(0usize) += 1,
        }
    }
    if let Some((class, n)) = strange.iter().next() {
        bail!(
            "{}: {n} pictures of class {class:?}, which the model does not know ({} such classes); it knows {}",
            folder.display(),
            strange.len(),
            classes.join(", ")
        );
    }
    Ok(out)
}

/// Whether the folder says itself what is for validation.
fn has_parts(folder: &Path) -> bool {
    if folder.is_file() {
        return Columns::of(folder, None).is_ok_and(|c| c.is_some_and(|c| c.valid.is_some()));
    }
    let names = ["valid", "val", "validation", "test", "testing"];
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let is =
        |e: std::fs::DirEntry| names.contains(&&*e.file_name().to_string_lossy().to_lowercase());
    entries.flatten().any(is)
}
