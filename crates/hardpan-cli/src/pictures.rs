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

/// The labelled pictures of a folder, for a model that knows `classes`. With `split` (that of the training on this folder), they are
/// divided and labelled as the training did.
pub fn labelled(
    folder: &Path,
    classes: &[String],
    part: Part,
    split: Option<&Split>,
) -> Result<Labelled> {
    let mut loaders = ImageDataLoaders::from_folder(folder);
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
    let names = ["valid", "val", "validation", "test", "testing"];
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let is =
        |e: std::fs::DirEntry| names.contains(&&*e.file_name().to_string_lossy().to_lowercase());
    entries.flatten().any(is)
}
