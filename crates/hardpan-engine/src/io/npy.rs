//! numpy's `.npy`: a magic word, a header that is a Python dictionary, the elements.
//!
//! Versions 1 to 3 are read, little and big endian, row-major and column-major. `bf16`, which numpy does not know, is written as
//! two-byte records (`<V2`), as the `ml_dtypes` package does. Source: NEP 1 and `numpy.lib.format`.

use super::{FileError, FormatError, clean_bools, read, write_whole};
use crate::dtype::DType;
use crate::host::HostArray;
use crate::node::Tensor;
use std::io::{self, Write};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
const FORMAT: &str = "npy";

fn foreign(reason: impl Into<String>) -> FormatError {
    FormatError::Foreign { format: FORMAT, reason: reason.into() }
}
fn damaged(reason: impl Into<String>) -> FormatError {
    FormatError::Damaged { format: FORMAT, reason: reason.into() }
}
fn unsupported(reason: impl Into<String>) -> FormatError {
    FormatError::Unsupported { format: FORMAT, reason: reason.into() }
}

impl Tensor {
    /// Writes the values as a `.npy` file that `numpy.load` reads. Any dtype; row-major.
    ///
    /// # Errors
    /// When the file cannot be written; an older file of that name is then still whole.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use hardpan_engine::Tensor;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.npy");
    /// Tensor::iota(6).reshape([2, 3]).save_npy(&path)?;
    /// assert_eq!(Tensor::load_npy(&path)?.shape(), &[2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let host = self.to_host();
        write_whole(path.as_ref(), |w| encode(&host, w))
    }

    /// Reads a `.npy` file onto the default device. Unsigned 16-bit integers become `i32`.
    ///
    /// # Errors
    /// When the file cannot be read, is something else or damaged, or holds what tensors cannot (strings, objects, complex
    /// numbers, unsigned 64-bit integers).
    #[track_caller]
    pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor, FileError> {
        let path = path.as_ref();
        let array = decode(&read(path)?)
            .map_err(|source| FileError::Format { path: path.to_path_buf(), source })?;
        Ok(Tensor::from_host(&array))
    }
}

fn description(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U32 => "<u4",
        DType::F16 => "<f2",
        DType::BF16 => "<V2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
    }
}

/// Writes `array` as the contents of a `.npy` file.
///
/// # Errors
/// What `w` reports.
pub fn encode(array: &HostArray, w: &mut dyn Write) -> io::Result<()> {
    let sizes: Vec<String> = array.shape().iter().map(|d| d.to_string()).collect();
    let shape = match sizes.as_slice() {
        [one] => format!("({one},)"),
        all => format!("({})", all.join(", ")),
    };
    let mut header = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': {shape}, }}",
        description(array.dtype())
    );
    // The elements start at a multiple of 64. Version 1 has two bytes for the header's length, version 2 four.
    let wide = header.len() + 80 > u16::MAX as usize;
    let lead = MAGIC.len() + 2 + if wide { 4 } else { 2 };
    let end = (lead + header.len() + 1).next_multiple_of(64) - lead;
    header.extend(std::iter::repeat_n(' ', end - 1 - header.len()));
    header.push('\n');
    w.write_all(MAGIC)?;
    if wide {
        w.write_all(&[2, 0])?;
        w.write_all(&(header.len() as u32).to_le_bytes())?;
    } else {
        w.write_all(&[1, 0])?;
        w.write_all(&(header.len() as u16).to_le_bytes())?;
    }
    w.write_all(header.as_bytes())?;
    w.write_all(array.bytes())
}

/// Reads the contents of a `.npy` file.
///
/// # Errors
/// When they are something else, damaged, or of a type that tensors do not have.
pub fn decode(file: &[u8]) -> Result<HostArray, FormatError> {
    let Some(rest) = file.strip_prefix(MAGIC) else {
        let reason = match file {
            [] => "it is empty",
            [b'P', b'K', ..] => {
                "it is a zip archive, perhaps an .npz; unpack it and load the .npy files inside"
            }
            _ => "it does not start with the magic word",
        };
        return Err(foreign(reason));
    };
    let cut = || damaged("it ends inside the header");
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version[0] {
        1 => {
            let (n, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (u16::from_le_bytes(*n) as usize, rest)
        }
        2 | 3 => {
            let (n, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (u32::from_le_bytes(*n) as usize, rest)
        }
        v => return Err(unsupported(format!("format version {v}"))),
    };
    if length > rest.len() {
        return Err(cut());
    }
    let (header, data) = rest.split_at(length);
    let header =
        std::str::from_utf8(header).map_err(|_| damaged("the header is not valid text"))?;
    let header = Header::parse(header)?;
    let kind = Kind::parse(&header.descr)?;
    let count = header
        .shape
        .iter()
        .try_fold(1usize, |n, d| n.checked_mul(*d))
        .filter(|n| n.checked_mul(kind.size).is_some_and(|b| b <= isize::MAX as usize))
        .ok_or_else(|| damaged(format!("the shape {:?} is too large", header.shape)))?;
    let want = count * kind.size;
    if data.len() < want {
        return Err(damaged(format!(
            "shape {:?} of {} needs {want} bytes of data, the file has {}",
            header.shape,
            header.descr,
            data.len()
        )));
    }
    if data.len() > want {
        return Err(damaged(format!(
            "{} bytes too many after the data of shape {:?}",
            data.len() - want,
            header.shape
        )));
    }
    let mut bytes = data.to_vec();
    if kind.swap {
        bytes.chunks_exact_mut(kind.size).for_each(<[u8]>::reverse);
    }
    if header.fortran {
        bytes = row_major(&bytes, &header.shape, kind.size);
    }
    if kind.dtype == DType::Bool {
        clean_bools(&mut bytes);
    }
    if kind.widen {
        bytes = bytes
            .chunks_exact(2)
            .flat_map(|c| i32::from(u16::from_le_bytes([c[0], c[1]])).to_le_bytes())
            .collect();
    }
    HostArray::from_bytes(kind.dtype, &header.shape, bytes)
        .ok_or_else(|| damaged("sizes do not add up"))
}

/// Column-major elements put in row-major order.
fn row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    if shape.len() < 2 || bytes.is_empty() {
        return bytes.to_vec();
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut step = size;
    for n in shape {
        strides.push(step);
        step *= n;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; shape.len()];
    let mut at = 0;
    while out.len() < bytes.len() {
        out.extend_from_slice(&bytes[at..at + size]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            at += strides[d];
            if index[d] < shape[d] {
                break;
            }
            at -= strides[d] * shape[d];
            index[d] = 0;
        }
    }
    out
}

/// What `descr` says about the elements.
struct Kind {
    dtype: DType,
    /// Bytes in the file.
    size: usize,
    /// Big endian.
    swap: bool,
    /// Unsigned 16 bit, kept as `i32`.
    widen: bool,
}

impl Kind {
    fn parse(descr: &str) -> Result<Kind, FormatError> {
        let (order, rest) = match descr.as_bytes().first() {
            Some(b @ (b'<' | b'>' | b'|' | b'=')) => (*b, &descr[1..]),
            _ => (b'=', descr),
        };
        let (dtype, size) = match rest {
            "b1" | "?" => (DType::Bool, 1),
            "u1" => (DType::U8, 1),
            "i1" => (DType::I8, 1),
            "i2" => (DType::I16, 2),
            "u2" => (DType::I32, 2),
            "i4" => (DType::I32, 4),
            "u4" => (DType::U32, 4),
            "i8" => (DType::I64, 8),
            "f2" => (DType::F16, 2),
            "V2" | "bfloat16" => (DType::BF16, 2),
            "f4" => (DType::F32, 4),
            "f8" => (DType::F64, 8),
            _ => {
                let reason = match rest.as_bytes().first() {
                    Some(b'u') => "64-bit unsigned integers; save them with .astype('int64')",
                    Some(b'c') => "complex numbers",
                    Some(b'O') => "Python objects, which could run code",
                    Some(b'S' | b'U' | b'a') => "strings",
                    Some(b'M' | b'm') => "dates and times",
                    Some(b'V') => "records",
                    Some(b'f' | b'g') => "floats of this size",
                    _ => "an unknown type",
                };
                return Err(unsupported(format!("elements of type {descr:?}: {reason}")));
            }
        };
        let swap = order == b'>' && size > 1;
        Ok(Kind { dtype, size, swap, widen: rest == "u2" })
    }
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Header, FormatError> {
        let mut p = Parser { rest: text };
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        p.expect('{')?;
        while !p.eat('}') {
            let key = p.string()?;
            p.expect(':')?;
            match key {
                "descr" => {
                    if p.next_is('[') {
                        return Err(unsupported("records with several fields"));
                    }
                    descr = Some(p.string()?.to_string());
                }
                "fortran_order" => fortran = Some(p.truth()?),
                "shape" => shape = Some(p.tuple()?),
                other => return Err(damaged(format!("unknown entry {other:?} in the header"))),
            }
            if !p.eat(',') {
                p.expect('}')?;
                break;
            }
        }
        if !p.rest.trim().is_empty() {
            return Err(damaged("there is text after the header's closing brace"));
        }
        let missing = |key: &str| damaged(format!("the header has no entry {key:?}"));
        Ok(Header {
            descr: descr.ok_or_else(|| missing("descr"))?,
            fortran: fortran.ok_or_else(|| missing("fortran_order"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
        })
    }
}

/// The part of Python's literals that headers use.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn next_is(&mut self, c: char) -> bool {
        self.skip();
        self.rest.starts_with(c)
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), FormatError> {
        if self.eat(c) { Ok(()) } else { Err(self.wrong(&format!("{c:?}"))) }
    }

    fn wrong(&self, wanted: &str) -> FormatError {
        let found: String = self.rest.chars().take(12).collect();
        damaged(format!("expected {wanted} in the header, found {found:?}"))
    }

    fn string(&mut self) -> Result<&'a str, FormatError> {
        self.skip();
        let quote = match self.rest.chars().next() {
            Some(c @ ('\'' | '"')) => c,
            _ => return Err(self.wrong("a string")),
        };
        let body = &self.rest[1..];
        let end = body.find(quote).ok_or_else(|| self.wrong("the end of a string"))?;
        self.rest = &body[end + 1..];
        Ok(&body[..end])
    }

    fn truth(&mut self) -> Result<bool, FormatError> {
        self.skip();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.wrong("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, FormatError> {
        self.expect('(')?;
        let mut out = Vec::new();
        while !self.eat(')') {
            self.skip();
            let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
            let size = self.rest[..end].parse().map_err(|_| self.wrong("a size"))?;
            if out.len() == 64 {
                return Err(unsupported("more than 64 dimensions"));
            }
            out.push(size);
            // Python 2 wrote long integers as 3L.
            self.rest = self.rest[end..].strip_prefix('L').unwrap_or(&self.rest[end..]);
            if !self.eat(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(out)
    }
}
