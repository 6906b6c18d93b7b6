//! Checking every picture of a folder.

use super::folder::is_picture;
use crate::image::{DecodeOptions, Format, ImageError};
use hardpan_learn::data::block::{BoxError, files_in};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What is the matter with a file.
#[derive(Debug)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub error: ImageError,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Number of pictures that were read.
    pub checked: usize,
    /// Those that cannot be, in the order of their names.
    pub problems: Vec<Problem>,
    /// How many there are of each format.
    pub formats: BTreeMap<&'static str, usize>,
    /// Files whose names end like another format than their bytes are of; they are read all the same.
    pub misnamed: Vec<(PathBuf, Format)>,
    /// How many are grey.
    pub grey: usize,
    /// Least and largest width and height, of those that can be read.
    pub smallest: (usize, usize),
    /// See [`smallest`](Report::smallest).
    pub largest: (usize, usize),
    /// Files that are no pictures by their names or their bytes.
    pub other_files: usize,
}

/// Reads every picture below `path`, on this many threads (0: as many as there are cores), completely, as training would, and says what
/// cannot be read and why. `progress` is called now and then with how many are done and how many there are. Counterpart:
/// fastai's `verify_images`.
///
/// # Errors
/// If a directory cannot be listed.
pub fn verify_folder(
    path: impl AsRef<Path>,
    threads: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, BoxError> {
    let all = files_in(path, &[], &[])?;
    let (files, other): (Vec<PathBuf>, Vec<PathBuf>) = all.into_iter().partition(|p| is_picture(p));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { cores } else { threads }.clamp(1, files.len().max(1));
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(Vec::with_capacity(files.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Relaxed);
                    let Some(file) = files.get(i) else { break };
                    let result = check(file);
                    results.lock().unwrap_or_else(|e| e.into_inner()).push((i, result));
                    progress(done.fetch_add(1, Relaxed) + 1, files.len());
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(i, _)| *i);
    let mut report =
        Report { checked: files.len(), other_files: other.len(), ..Default::default() };
    for (i, result) in results {
        match result {
            Ok(seen) => report.add(&files[i], seen),
            Err(error) => report.problems.push(Problem { path: files[i].clone(), error }),
        }
    }
    Ok(report)
}

struct Seen {
    format: Format,
    width: usize,
    height: usize,
    grey: bool,
}

fn check(path: &Path) -> Result<Seen, ImageError> {
    let bytes =
        std::fs::read(path).map_err(|source| ImageError::Io { path: path.to_owned(), source })?;
    let image = DecodeOptions::default().decode(&bytes).map_err(|e| e.in_file(path))?;
    let format = Format::of(&bytes).expect("it was decoded");
    let (width, height) = (image.width(), image.height());
    Ok(Seen { format, width, height, grey: image.channels() == 1 })
}

impl Report {
    fn add(&mut self, path: &Path, seen: Seen) {
        *self.formats.entry(seen.format.name()).or_insert(0) += 1;
        self.grey += usize::from(seen.grey);
        let first = self.smallest == (0, 0);
        let (w, h) = (seen.width, seen.height);
        let (sw, sh) = self.smallest;
        self.smallest = if first { (w, h) } else { (sw.min(w), sh.min(h)) };
        self.largest = (self.largest.0.max(w), self.largest.1.max(h));
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let fits: &[&str] = match seen.format {
            Format::Jpeg => &["jpg", "jpeg", "jpe", "jfif"],
            Format::Png => &["png"],
            Format::Gif => &["gif"],
            Format::Bmp => &["bmp", "dib"],
            Format::WebP => &["webp"],
            Format::Tiff => &["tif", "tiff"],
        };
        if !fits.contains(&&*extension) {
            self.misnamed.push((path.to_owned(), seen.format));
        }
    }

    /// Whether every picture can be read.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let formats: Vec<String> = self.formats.iter().map(|(n, c)| format!("{c} {n}")).collect();
        writeln!(f, "{} pictures ({})", self.checked, formats.join(", "))?;
        let ((sw, sh), (lw, lh)) = (self.smallest, self.largest);
        if lw > 0 {
            writeln!(f, "  {sw} to {lw} wide, {sh} to {lh} high, {} grey", self.grey)?;
        }
        if self.other_files > 0 {
            writeln!(f, "  {} files that are no pictures", self.other_files)?;
        }
        for (path, format) in &self.misnamed {
            writeln!(f, "  note: {} is {}", path.display(), format.name())?;
        }
        match self.problems.len() {
            0 => writeln!(f, "all can be read"),
            n => {
                writeln!(f, "{n} cannot be read:")?;
                self.problems.iter().try_for_each(|p| writeln!(f, "  {}", p.error))
            }
        }
    }
}
