//! From the word on the command line to the data: a name, or a folder.

use anyhow::{Context, Result, anyhow, bail};
use hardpan::datasets::{Cache, DATA_SETS, DataSet, PUBLISHED, Progress, find_weights};
use hardpan::vision::digits::idx::Labelled;
use hardpan::vision::weights;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A data set with a name.
pub struct Named {
    pub name: &'static str,
    pub about: &'static str,
    pub terms: &'static str,
    pub place: &'static str,
    pub bytes: u64,
}

/// Every data set this binary knows by name.
pub const NAMED: &[Named] = &[
    #[cfg(feature = "mnist")]
    Named {
        name: "mnist",
        about: "handwritten digits, 60,000 + 10,000 grey images of 28x28, 10 classes",
        terms: "CC BY-SA 3.0 (LeCun, Cortes, Burges)",
        place: "built in",
        bytes: 9_720_546,
    },
];

/// Labelled grey images, in a part to train on and a part to test on.
#[derive(Debug)]
pub struct Digits {
    pub train: Labelled,
    pub test: Labelled,
}

/// The data set that `word` means: a name, or the path of a folder with four idx files.
pub fn open(word: &str) -> Result<Digits> {
    let path = Path::new(word);
    if let Some(digits) = built_in(word) {
        if path.exists() {
            bail!(
                "`{word}` is a data set's name and also a file or folder here; write `./{word}` for the latter"
            );
        }
        return Ok(digits);
    }
    let folder = folder_of(word)?;
    let path = folder.as_path();
    if !path.is_dir() {
        bail!(
            "{word}: expected a folder with the four idx files of a data set like MNIST, this is a file"
        );
    }
    let (train, test) =
        Labelled::read_dir(path).with_context(|| format!("reading the data in {word}"))?;
    if train.is_empty() || test.is_empty() {
        bail!(
            "{word}: {} training and {} test images: both parts need some",
            train.len(),
            test.len()
        );
    }
    if (train.rows, train.cols) != (test.rows, test.cols) {
        bail!(
            "{word}: training images are {}x{}, test images {}x{}: they must be of one size",
            train.rows,
            train.cols,
            test.rows,
            test.cols
        );
    }
    Ok(Digits { train, test })
}

/// Whether `word` means digits in the format of MNIST: the built-in ones, or a folder with idx files.
pub fn is_digits(word: &str) -> bool {
    if NAMED.iter().any(|n| n.name == word) {
        return true;
    }
    let folder = match find(word) {
        Some(set) if !Path::new(word).exists() => present(set),
        _ => Some(PathBuf::from(word)),
    };
    folder.is_some_and(Labelled::is_dir)
}

/// The names of the classes of idx files, which have numbers only: lines of `classes.txt` beside them, or what is known of the set.
pub fn class_names(word: &str) -> Vec<String> {
    const CLOTHES: &str =
        "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot";
    let Ok(folder) = folder_of(word) else { return Vec::new() };
    if let Ok(text) = std::fs::read_to_string(folder.join("classes.txt")) {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        return lines.map(str::to_owned).collect();
    }
    let clothes =
        find("fashion_mnist").is_some_and(|set| present(set).is_some_and(|p| p == folder));
    if clothes { CLOTHES.split(", ").map(str::to_owned).collect() } else { Vec::new() }
}

/// The downloadable set of this name.
pub fn find(word: &str) -> Option<&'static DataSet> {
    hardpan::datasets::find(word)
}

/// Where a set is, if it is on this machine.
pub fn present(set: &DataSet) -> Option<PathBuf> {
    Cache::user().ok()?.present(set)
}

/// The folder that `word` means: a path, or a data set's name. A named set that is not on this machine is downloaded.
pub fn folder_of(word: &str) -> Result<PathBuf> {
    let path = PathBuf::from(word);
    if path.exists() {
        return Ok(path);
    }
    if find(word).is_none() {
        return Err(unknown(word));
    }
    let mut bar = Bar::new(word);
    let folder = Cache::user()?.get(word, &mut |p| bar.show(p))?;
    bar.end();
    Ok(folder)
}

/// The word that finds weights in the cache or in a file: what was given, or the name of published weights, which are downloaded if they
/// are not here.
pub fn weights_of(word: &str) -> Result<String> {
    let Err(missing) = weights::find(word) else { return Ok(word.to_owned()) };
    let Some(published) = find_weights(word) else {
        let names: Vec<&str> = PUBLISHED.iter().map(|w| w.name).collect();
        bail!("{missing}; names that can be downloaded: {}", names.join(", "));
    };
    let folder = weights::cache_dir();
    if weights::find(published.name).is_err() {
        let mut bar = Bar::new(&format!("weights of {}", published.name));
        published.get(&folder, &mut |p| bar.show(p)).with_context(|| {
            format!(
                "the published weights of {0} are not to be had; give the path of a copy, or put it into {1} as {0}.pth",
                published.name,
                folder.display()
            )
        })?;
        bar.end();
    }
    Ok(published.name.to_owned())
}

/// The absolute path that `word` means, if it is no name of a data set.
pub fn place_of(word: &str) -> Option<PathBuf> {
    match NAMED.iter().any(|n| n.name == word) {
        true => None,
        false => Path::new(word).canonicalize().ok(),
    }
}

/// Whether `word` means something here: a name, or a path that is there.
pub fn is_known(word: &str) -> bool {
    NAMED.iter().any(|n| n.name == word) || find(word).is_some() || Path::new(word).exists()
}

/// What is said when `word` is neither a name nor a path.
pub fn unknown(word: &str) -> anyhow::Error {
    let names = NAMED.iter().map(|n| n.name).chain(DATA_SETS.iter().map(|d| d.name));
    let near: Vec<&str> =
        names.filter(|n| n.contains(word) || word.contains(n) || distance(n, word) <= 2).collect();
    let near = match near.is_empty() {
        true => String::new(),
        false => format!(" (did you mean {}?)", near.join(", ")),
    };
    anyhow!(
        "no data set is named `{word}`{near}, and there is no such folder; `hardpan data list` has the names; \
         a folder must have pictures in a folder for each class, or the four idx files of a data set like MNIST"
    )
}

/// Number of letters to add, remove or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// How far a download is, on standard error.
struct Bar {
    name: String,
    shown: Option<Instant>,
}

impl Bar {
    fn new(name: &str) -> Bar {
        Bar { name: name.to_owned(), shown: None }
    }

    fn show(&mut self, p: Progress) {
        let terminal = std::io::stderr().is_terminal();
        let every = Duration::from_millis(if terminal { 100 } else { 5000 });
        if self.shown.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        self.shown = Some(Instant::now());
        let mb = |n: u64| n as f64 / 1e6;
        let of = p.total.map_or(String::new(), |t| format!(" of {:.1}", mb(t)));
        let (start, end) = if terminal { ("\r", "   ") } else { ("", "\n") };
        eprint!("{start}{}: {:.1}{of} MB{end}", self.name, mb(p.received));
    }

    fn end(&self) {
        if self.shown.is_some() && std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

#[cfg(feature = "mnist")]
fn built_in(word: &str) -> Option<Digits> {
    use hardpan_data_mnist::{COLS, ROWS, Split, load};
    let labelled =
        |s: Split| Labelled { images: s.images, labels: s.labels, rows: ROWS, cols: COLS };
    (word == "mnist").then(|| {
        let (train, test) = load();
        Digits { train: labelled(train), test: labelled(test) }
    })
}

#[cfg(not(feature = "mnist"))]
fn built_in(_: &str) -> Option<Digits> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "mnist")]
    #[test]
    fn the_built_in_digits() {
        let d = open("mnist").unwrap();
        assert_eq!((d.train.len(), d.test.len(), d.test.labels[0]), (60_000, 10_000, 7));
    }

    #[test]
    fn unknown_words_say_what_is_known() {
        let e = open("mnits").unwrap_err().to_string();
        assert!(e.starts_with("no data set is named `mnits` (did you mean mnist"), "{e}");
        assert_eq!(
            (distance("mnist", "mnits"), distance("", "ab"), distance("pets", "pet")),
            (2, 2, 1)
        );
        let dir = tempfile::tempdir().unwrap();
        let e = open(dir.path().to_str().unwrap()).unwrap_err();
        assert!(
            format!("{e:#}").contains("no idx files here: expected train-images-idx3-ubyte"),
            "{e:#}"
        );
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        let e = open(file.to_str().unwrap()).unwrap_err().to_string();
        assert!(e.ends_with("this is a file"), "{e}");
    }
}
