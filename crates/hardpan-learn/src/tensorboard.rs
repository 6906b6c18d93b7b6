//! Event files for TensorBoard, written without TensorFlow: [`EventWriter`].
//!
//! An event file is a sequence of records: length, masked CRC-32C of the length, contents, masked CRC-32C of the contents. The
//! contents are protocol buffers of the message `Event`, of which the few fields needed are written here by hand. Source:
//! `tensorflow/core/util/event.proto`, `summary.proto` and the format of TFRecord.
//!
//! ```
//! use hardpan_learn::tensorboard::EventWriter;
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let mut writer = EventWriter::create(dir.join("run1"))?;
//! for step in 0..10 {
//!     writer.scalar("loss", step, 1.0 / (step + 1) as f64)?;
//! }
//! writer.flush()?; // and then: tensorboard --logdir .
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::file::FileError;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one event file. Each call adds a record; [`flush`](EventWriter::flush) (and dropping the writer) hands them to the disk.
/// Counterpart: `torch.utils.tensorboard.SummaryWriter`.
///
/// ```
/// use hardpan_learn::tensorboard::EventWriter;
/// # let dir = tempfile::tempdir()?;
/// let mut writer = EventWriter::create(dir.path().join("run1"))?;
/// writer.scalar("valid_loss", 0, 0.25)?;
/// writer.flush()?;
/// let name = writer.path().file_name().unwrap().to_string_lossy().into_owned();
/// assert!(name.contains("tfevents")); // by which TensorBoard finds it
/// assert!(std::fs::read(writer.path())?.windows(10).any(|w| w == b"valid_loss"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// A new file in `dir`, which is made if need be. A directory is a run: TensorBoard shows each with a colour of its own.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(dir: impl AsRef<Path>) -> Result<EventWriter, FileError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = dir.as_ref();
        fs::create_dir_all(dir).map_err(|e| FileError::io(dir, e))?;
        let seconds = now() as u64;
        let (id, number) = (std::process::id(), COUNT.fetch_add(1, Relaxed));
        // TensorBoard looks for `tfevents` in the name and reads files in the order of their names.
        let path = dir.join(format!("events.out.tfevents.{seconds:010}.hardpan.{id}.{number:06}"));
        let file = File::create(&path).map_err(|e| FileError::io(&path, e))?;
        let mut writer = EventWriter { file: BufWriter::new(file), path };
        writer.event(|e| e.bytes(3, b"brain.Event:2"))?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number, shown as a point of a curve.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<(), FileError> {
        self.summary(tag, step, |v| v.float(2, value as f32))
    }

    /// The distribution of values, in TensorBoard's own buckets (each 10 % wider than the one before).
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn histogram(
        &mut self,
        tag: &str,
        step: usize,
        values: impl IntoIterator<Item = f64>,
    ) -> Result<(), FileError> {
        let histogram = Histogram::of(values);
        self.summary(tag, step, |v| v.message(5, |h| histogram.write(h)))
    }

    /// A picture: the bytes of a PNG file of this size.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn image(
        &mut self,
        tag: &str,
        step: usize,
        width: usize,
        height: usize,
        png: &[u8],
    ) -> Result<(), FileError> {
        self.summary(tag, step, |v| {
            v.message(4, |image| {
                image.varint(1, height as u64);
                image.varint(2, width as u64);
                image.varint(3, 3);
                image.bytes(4, png);
            });
        })
    }

    /// A text, shown as Markdown.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn text(&mut self, tag: &str, step: usize, text: &str) -> Result<(), FileError> {
        self.summary(tag, step, |v| {
            // A tensor of one string, which the plugin `text` shows.
            v.message(9, |metadata| metadata.message(1, |plugin| plugin.bytes(1, b"text")));
            v.message(8, |tensor| {
                tensor.varint(1, 7);
                tensor.message(2, |shape| shape.message(2, |dim| dim.varint(1, 1)));
                tensor.bytes(8, text.as_bytes());
            });
        })
    }

    /// Hands everything to the disk, so that a TensorBoard that is running sees it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.file.flush().map_err(|e| FileError::io(&self.path, e))
    }

    fn summary(
        &mut self,
        tag: &str,
        step: usize,
        value: impl FnOnce(&mut Message),
    ) -> Result<(), FileError> {
        self.event(|event| {
            event.varint(2, step as u64);
            event.message(5, |summary| {
                summary.message(1, |v| {
                    v.bytes(1, tag.as_bytes());
                    value(v);
                });
            });
        })
    }

    fn event(&mut self, fields: impl FnOnce(&mut Message)) -> Result<(), FileError> {
        let mut event = Message::default();
        event.double(1, now());
        fields(&mut event);
        let record = record(&event.0);
        self.file.write_all(&record).map_err(|e| FileError::io(&self.path, e))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn record(contents: &[u8]) -> Vec<u8> {
    let length = (contents.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(contents.len() + 16);
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(contents);
    out.extend(masked_crc(contents).to_le_bytes());
    out
}

/// CRC-32C, rotated and shifted so that the checksum of data that holds checksums is none of them.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The Castagnoli polynomial, bits reversed (RFC 3720, appendix B.4).
const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, b| TABLE[((crc ^ u32::from(*b)) & 255) as usize] ^ crc >> 8)
}

/// A protocol buffer message, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 128 {
            self.0.push(value as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw_varint(field << 3 | wire_type);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    fn doubles(&mut self, field: u64, values: &[f64]) {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed);
    }

    fn message(&mut self, field: u64, fields: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fields(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// The message `HistogramProto`.
struct Histogram {
    min: f64,
    max: f64,
    count: f64,
    sum: f64,
    squares: f64,
    /// Upper limits of buckets, and how many values are in each.
    limits: Vec<f64>,
    counts: Vec<f64>,
}

impl Histogram {
    /// Values that are not finite are left out: no bucket holds them.
    fn of(values: impl IntoIterator<Item = f64>) -> Histogram {
        // 1e-12 times 1.1 to the n, up to 1e20, and the same below zero.
        let mut positive = vec![1e-12];
        while positive[positive.len() - 1] < 1e20 {
            positive.push(positive[positive.len() - 1] * 1.1);
        }
        positive.push(f64::MAX);
        let mut limits: Vec<f64> = positive.iter().rev().map(|v| -v).collect();
        limits.push(0.0);
        limits.extend(positive);
        let mut counts = vec![0.0; limits.len()];
        let mut out = Histogram {
            min: f64::MAX,
            max: f64::MIN,
            count: 0.0,
            sum: 0.0,
            squares: 0.0,
            limits: Vec::new(),
            counts: Vec::new(),
        };
        for v in values.into_iter().filter(|v| v.is_finite()) {
            (out.min, out.max) = (out.min.min(v), out.max.max(v));
            out.count += 1.0;
            out.sum += v;
            out.squares += v * v;
            counts[limits.partition_point(|limit| *limit <= v).min(limits.len() - 1)] += 1.0;
        }
        // Without the empty buckets at both ends, but for one on the left that says where the first one starts.
        let first = counts.iter().position(|c| *c > 0.0).unwrap_or(0).saturating_sub(1);
        let last = counts.iter().rposition(|c| *c > 0.0).unwrap_or(0);
        out.limits = limits[first..=last].to_vec();
        out.counts = counts[first..=last].to_vec();
        out
    }

    fn write(&self, m: &mut Message) {
        m.double(1, self.min);
        m.double(2, self.max);
        m.double(3, self.count);
        m.double(4, self.sum);
        m.double(5, self.squares);
        m.doubles(6, &self.limits);
        m.doubles(7, &self.counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_castagnoli_s() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[255; 32]), 0x62a8_ab43);
        assert_eq!(masked_crc(&[]), 0xa282_ead8);
    }

    #[test]
    fn numbers_have_as_many_bytes_as_they_need() {
        let mut m = Message::default();
        m.varint(1, 150);
        m.message(3, |m| m.bytes(2, b"ab"));
        assert_eq!(m.0, [8, 150, 1, 26, 4, 18, 2, b'a', b'b']);
    }

    #[test]
    fn buckets_hold_every_finite_value() {
        let h = Histogram::of([-3.0, -1e-13, 0.0, 0.5, 0.5, 7.0, f64::NAN, f64::INFINITY]);
        assert_eq!((h.min, h.max, h.count), (-3.0, 7.0, 6.0));
        assert!((h.sum - 5.0).abs() < 1e-9 && (h.squares - 58.5).abs() < 1e-9);
        assert_eq!(h.counts.iter().sum::<f64>(), 6.0);
        assert!(h.limits.windows(2).all(|w| w[0] < w[1]) && *h.limits.last().unwrap() > 7.0);
        let empty = Histogram::of([]);
        assert_eq!(empty.counts, [0.0]);
    }
}
