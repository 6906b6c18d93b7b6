//! From the word on the command line to the data: a name, or a folder.

use anyhow::{Context, Result, bail};
use hardpan::learn::data::idx::Labelled;
use std::path::Path;

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
    if !path.exists() {
        let names: Vec<&str> = NAMED.iter().map(|n| n.name).collect();
        bail!(
            "no data set is named `{word}`, and there is no such folder; names: {}; \
             a folder must have the four idx files of a data set like MNIST",
            if names.is_empty() { "none in this build".to_owned() } else { names.join(", ") }
        );
    }
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
        assert!(
            e.starts_with("no data set is named `mnits`, and there is no such folder; names: "),
            "{e}"
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
