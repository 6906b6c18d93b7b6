//! The idx format: n-dimensional arrays of numbers, as the MNIST files use it.
//!
//! A file is the bytes `0 0 type rank`, then `rank` sizes (big-endian `u32`), then the elements, row-major and big-endian.
//! [`Idx::read`] checks every claim of the header against the length of the file before it allocates anything, so a
//! file from anywhere is read or refused with a reason, and never more. Files packed by gzip are unpacked while they are read.
//! [`Labelled::read_dir`] reads MNIST-like data sets: a folder with a file of images and a file of labels for training, and for testing.
//!
//! Source: the description on <http://yann.lecun.com/exdb/mnist/>.

use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// No real file has more dimensions; the format could say up to 255.
const MAX_RANK: usize = 8;

/// Deflate makes at most so many bytes of one.
const MAX_DEFLATION: u64 = 1032;

/// An array from an idx file.
///
/// ```
/// use hardpan_vision::digits::idx::{Idx, IdxData};
/// // Two zeros, the type (8: bytes), two dimensions; their sizes 2 and 3; six elements.
/// let file = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6];
/// let array = Idx::from_bytes(&file, "numbers")?;
/// assert_eq!((array.shape, array.data), (vec![2, 3], IdxData::U8(vec![1, 2, 3, 4, 5, 6])));
/// let e = Idx::from_bytes(&file[..15], "numbers").unwrap_err();
/// assert!(e.to_string().contains("cut short"), "{e}");
/// # Ok::<(), hardpan_vision::digits::idx::IdxError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Idx {
    /// Size of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: IdxData,
}

/// The elements of an [`Idx`], in the type the file has them.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum IdxData {
    U8(Vec<u8>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Why a file is not a readable idx file. Each message names the file and says what to do, where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// Opening or reading failed.
    #[error("{}: cannot read it: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is packed in a way that is not unpacked here.
    #[error("{}: the file is {format}-compressed; decompress it first (for instance with `{tool}`)", .path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// Name of the compression.
        format: &'static str,
        /// Program that undoes it.
        tool: &'static str,
    },
    /// The file is packed by gzip and cannot be unpacked.
    #[error("{}: its gzip data is damaged or cut short ({source}); copy or download it again", .path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The first four bytes are not those of an idx file.
    #[error(
        "{}: not an idx file: it starts with the bytes {start:02x?}, expected 00 00, a type (08, 09, 0b, 0c, 0d or 0e), and a \
         number of dimensions from 1 to {MAX_RANK}", .path.display()
    )]
    Magic {
        /// The file.
        path: PathBuf,
        /// Its first bytes, up to four.
        start: Vec<u8>,
    },
    /// The sizes in the header make more bytes than a computer can address.
    #[error("{}: the header claims the shape {shape:?}, which no file can hold: the file is damaged", .path.display())]
    Absurd {
        /// The file.
        path: PathBuf,
        /// The shape it claims.
        shape: Vec<usize>,
    },
    /// The file ends too early or too late.
    #[error(
        "{}: the header ({shape:?}, {size} bytes an element) asks for a file of {expected} bytes, but there are {found}: \
         {}", .path.display(), if found < expected { "it is cut short; copy or download it again" } else { "it is damaged or has something else behind" }
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// The shape it claims; empty if the file ends inside the header.
        shape: Vec<usize>,
        /// Bytes of one element.
        size: usize,
        /// Bytes the file should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The array is a right one but not what was asked for.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// None of the known names is there.
    #[error("{}: no idx files here: expected {expected}", .path.display())]
    NotFound {
        /// The folder.
        path: PathBuf,
        /// Names that would have been read.
        expected: String,
    },
}

impl Idx {
    /// Reads a file, which may be packed by gzip (known by its bytes, not by its name).
    ///
    /// # Errors
    /// If it cannot be read, is no idx file, or is longer or shorter than its header says.
    pub fn read(path: impl AsRef<Path>) -> Result<Idx, IdxError> {
        let path = path.as_ref();
        let io = |source| IdxError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Idx::unpacked(BufReader::new(file), length, path)
    }

    /// Reads the bytes of a file. `path` is only for messages.
    ///
    /// # Errors
    /// As [`Idx::read`].
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Idx, IdxError> {
        Idx::unpacked(bytes, bytes.len() as u64, path.as_ref())
    }

    fn unpacked(mut r: impl BufRead, length: u64, path: &Path) -> Result<Idx, IdxError> {
        let start =
            r.fill_buf().map_err(|source| IdxError::Io { path: path.to_owned(), source })?;
        match start.starts_with(&[0x1f, 0x8b]) {
            true => Idx::read_from(&mut MultiGzDecoder::new(r), Size::Packed(length), path),
            false => Idx::read_from(&mut r, Size::Plain(length), path),
        }
    }

    fn read_from(r: &mut dyn Read, size_of_file: Size, path: &Path) -> Result<Idx, IdxError> {
        let io = |source| match size_of_file {
            Size::Plain(_) => IdxError::Io { path: path.to_owned(), source },
            Size::Packed(_) => IdxError::Gzip { path: path.to_owned(), source },
        };
        let mut start = Vec::with_capacity(4);
        r.take(4).read_to_end(&mut start).map_err(io)?;
        let (kind, rank) = match start[..] {
            [0, 0, kind, rank] if (1..=MAX_RANK).contains(&(rank as usize)) => {
                (kind, rank as usize)
            }
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let (format, tool) = ("zstd", "zstd -d");
                return Err(IdxError::Compressed { path: path.to_owned(), format, tool });
            }
            _ => return Err(IdxError::Magic { path: path.to_owned(), start }),
        };
        let size = match kind {
            0x08 | 0x09 => 1,
            0x0b => 2,
            0x0c | 0x0d => 4,
            0x0e => 8,
            _ => return Err(IdxError::Magic { path: path.to_owned(), start }),
        };
        let header = 4 + 4 * rank as u64;
        let length = |shape, expected, found| IdxError::Length {
            path: path.to_owned(),
            shape,
            size,
            expected,
            found,
        };
        let mut sizes = Vec::with_capacity(4 * rank);
        r.take(4 * rank as u64).read_to_end(&mut sizes).map_err(io)?;
        if sizes.len() < 4 * rank {
            return Err(length(Vec::new(), header, 4 + sizes.len() as u64));
        }
        let shape: Vec<usize> = elements(&sizes, |n| u32::from_be_bytes(n) as usize);
        let bytes = shape.iter().try_fold(size, |a, &n| a.checked_mul(n));
        let Some(bytes) = bytes.filter(|&b| b as u64 <= u64::MAX / 2 && isize::try_from(b).is_ok())
        else {
            return Err(IdxError::Absurd { path: path.to_owned(), shape });
        };
        let expected = header + bytes as u64;
        match size_of_file {
            Size::Plain(found) if found != expected => return Err(length(shape, expected, found)),
            // How much a packed file holds is only known in the end; but there is a most.
            Size::Packed(packed) if expected > packed.saturating_mul(MAX_DEFLATION) => {
                return Err(IdxError::Absurd { path: path.to_owned(), shape });
            }
            _ => {}
        }
        let mut raw = Vec::with_capacity(bytes);
        // One byte more, to see the end of the file, and for gzip its checksum.
        r.take(bytes as u64 + 1).read_to_end(&mut raw).map_err(io)?;
        if raw.len() != bytes {
            return Err(length(shape, expected, header + raw.len() as u64));
        }
        let data = match kind {
            0x08 => IdxData::U8(raw),
            0x09 => IdxData::I8(raw.into_iter().map(|b| b as i8).collect()),
            0x0b => IdxData::I16(elements(&raw, i16::from_be_bytes)),
            0x0c => IdxData::I32(elements(&raw, i32::from_be_bytes)),
            0x0d => IdxData::F32(elements(&raw, f32::from_be_bytes)),
            _ => IdxData::F64(elements(&raw, f64::from_be_bytes)),
        };
        Ok(Idx { shape, data })
    }
}

/// Number of bytes of a file.
#[derive(Clone, Copy)]
enum Size {
    Plain(u64),
    Packed(u64),
}

fn elements<T, const N: usize>(raw: &[u8], f: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|&c| f(c)).collect()
}

impl IdxData {
    fn type_name(&self) -> &'static str {
        match self {
            IdxData::U8(_) => "u8",
            IdxData::I8(_) => "i8",
            IdxData::I16(_) => "i16",
            IdxData::I32(_) => "i32",
            IdxData::F32(_) => "f32",
            IdxData::F64(_) => "f64",
        }
    }
}

/// Grey images with their labels.
///
/// ```
/// use hardpan_vision::digits::idx::Labelled;
/// # let dir = tempfile::tempdir()?;
/// # let dir = dir.path();
/// # for part in ["train", "t10k"] {
/// #     std::fs::write(dir.join(format!("{part}-images-idx3-ubyte")), [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7, 9])?;
/// #     std::fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), [0, 0, 8, 1, 0, 0, 0, 1, 3])?;
/// # }
/// // A folder with the four files of MNIST's format, here of one picture each.
/// let (train, _test) = Labelled::read_dir(dir)?;
/// assert_eq!((train.rows, train.cols, train.len()), (1, 2, 1));
/// assert_eq!((train.images.as_slice(), train.labels.as_slice()), (&[7, 9][..], &[3][..]));
/// assert_eq!(train.dataset(10)?.x().shape(), [1, 1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// `[n, rows, cols]`, one byte a pixel, 255 is ink.
    pub images: Vec<u8>,
    /// `[n]`.
    pub labels: Vec<u8>,
    /// Height of an image.
    pub rows: usize,
    /// Width of an image.
    pub cols: usize,
}

impl Labelled {
    /// Reads a file of images and the file of their labels.
    ///
    /// # Errors
    /// If one cannot be read (see [`Idx::read`]), is not of bytes in 3 and 1 dimensions, or their lengths differ.
    pub fn read(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Labelled, IdxError> {
        let (images, labels) = (images.as_ref(), labels.as_ref());
        let (shape, pixels) = bytes(images, 3, "images: bytes in 3 dimensions")?;
        let (count, labels_data) = bytes(labels, 1, "labels: bytes in 1 dimension")?;
        if shape[0] != count[0] {
            return Err(IdxError::Unexpected {
                path: labels.to_owned(),
                expected: format!(
                    "{} labels, one for each image of {}",
                    shape[0],
                    images.display()
                ),
                found: count[0].to_string(),
            });
        }
        Ok(Labelled { images: pixels, labels: labels_data, rows: shape[1], cols: shape[2] })
    }

    /// Reads the four files of a data set like MNIST (Fashion-MNIST, KMNIST, ...) from a folder: training and test split.
    /// The names are the original ones, such as `train-images-idx3-ubyte`; also `train-images.idx3-ubyte`, `test` for `t10k`, and all of
    /// them packed as `.gz`.
    ///
    /// # Errors
    /// As [`Labelled::read`]; also if a file is not there.
    pub fn read_dir(dir: impl AsRef<Path>) -> Result<(Labelled, Labelled), IdxError> {
        let dir = dir.as_ref();
        let split = |parts: &[&str]| {
            let images = find(dir, parts, "images", "idx3")?;
            Labelled::read(images, find(dir, parts, "labels", "idx1")?)
        };
        Ok((split(&["train"])?, split(&["t10k", "test"])?))
    }

    /// Whether a folder has the training images that [`read_dir`](Labelled::read_dir) reads.
    pub fn is_dir(dir: impl AsRef<Path>) -> bool {
        find(dir.as_ref(), &["train"], "images", "idx3").is_ok()
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

fn bytes(path: &Path, rank: usize, expected: &str) -> Result<(Vec<usize>, Vec<u8>), IdxError> {
    let idx = Idx::read(path)?;
    match idx.data {
        IdxData::U8(data) if idx.shape.len() == rank => Ok((idx.shape, data)),
        other => Err(IdxError::Unexpected {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found: format!("{} in the shape {:?}", other.type_name(), idx.shape),
        }),
    }
}

/// The first that is there of the names that such a file may have.
fn find(dir: &Path, parts: &[&str], what: &str, kind: &str) -> Result<PathBuf, IdxError> {
    for packed in ["", ".gz"] {
        for part in parts {
            for between in ["-", "."] {
                let path = dir.join(format!("{part}-{what}{between}{kind}-ubyte{packed}"));
                if path.is_file() {
                    return Ok(path);
                }
            }
        }
    }
    let expected = format!("{}-{what}-{kind}-ubyte (or .gz)", parts[0]);
    Err(IdxError::NotFound { path: dir.to_owned(), expected })
}
