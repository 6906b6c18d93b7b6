//! The MNIST database of handwritten digits, all 70,000 of them, inside the program: training can
//! start on a machine with no network and no files.
//!
//! [`train()`] and [`test()`] each give a [`Split`]: grey 28x28 images and their labels, as bytes, in the
//! order of the original files. The first call decompresses (about 0.3 s for the training split, 0.05 s
//! for the test split, in a release build); later calls return the same memory. [`both()`] decompresses
//! the two at the same time; [`load()`] gives them away instead of keeping them.
//!
//! ```
//! let test = hardpan_data_mnist::test();
//! assert_eq!(test.len(), 10_000);
//! assert_eq!(test.labels[0], 7);
//! assert_eq!(test.image(0).len(), 28 * 28);
//! ```
//!
//! Source, terms, and how the embedded files were made are in the crate's README.
use ruzstd::decoding::FrameDecoder;
use std::fmt;
use std::sync::OnceLock;

/// Height of every image, in pixels.
pub const ROWS: usize = 28;
/// Width of every image, in pixels.
pub const COLS: usize = 28;
/// Number of classes: the digits 0 to 9.
pub const CLASSES: usize = 10;
/// Number of training images.
pub const TRAIN_LEN: usize = 60_000;
/// Number of test images.
pub const TEST_LEN: usize = 10_000;
/// Mean of all pixels of the training images on the scale 0 to 1, for normalization.
pub const MEAN: f64 = 0.1306604762738429;
/// Standard deviation of all pixels of the training images on the scale 0 to 1.
pub const STD: f64 = 0.3081078038564622;

/// Images with their labels.
pub struct Split {
    /// `[n, 28, 28]` row by row, one byte a pixel: 0 is paper (shown black), 255 is ink (shown white).
    pub images: Vec<u8>,
    /// `[n]`, each 0 to 9.
    pub labels: Vec<u8>,
}

impl Split {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images (there always are).
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of image `i`: 784 bytes, row by row.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Split::len).
    #[track_caller]
    pub fn image(&self, i: usize) -> &[u8] {
        assert!(i < self.len(), "image {i} of a split that has {}", self.len());
        &self.images[i * ROWS * COLS..(i + 1) * ROWS * COLS]
    }
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Split({} images of {ROWS}x{COLS})", self.len())
    }
}

/// The 60,000 training images, decompressed once.
pub fn train() -> &'static Split {
    static SPLIT: OnceLock<Split> = OnceLock::new();
    SPLIT.get_or_init(decode_train)
}

/// The 10,000 test images, decompressed once.
pub fn test() -> &'static Split {
    static SPLIT: OnceLock<Split> = OnceLock::new();
    SPLIT.get_or_init(decode_test)
}

/// Training and test images as the caller's own, decompressed anew on two threads: for programs that bring them into another
/// form and do not want to keep 55 MB for ever.
pub fn load() -> (Split, Split) {
    std::thread::scope(|s| {
        let small = s.spawn(decode_test);
        let large = decode_train();
        (large, small.join().expect("decoding embedded data cannot fail"))
    })
}

fn decode_train() -> Split {
    decode(include_bytes!("../data/train.zst"), TRAIN_LEN)
}

fn decode_test() -> Split {
    decode(include_bytes!("../data/test.zst"), TEST_LEN)
}

/// `(train(), test())`, decompressed side by side on two threads.
pub fn both() -> (&'static Split, &'static Split) {
    std::thread::scope(|s| {
        let small = s.spawn(test);
        let large = train();
        (large, small.join().expect("decoding embedded data cannot fail"))
    })
}

/// Each embedded file is one zstd frame: `n` images, then `n` labels. Its bytes are part of the program,
/// so anything wrong with them is a broken build and not the user's business: hence `expect`.
fn decode(frame: &[u8], n: usize) -> Split {
    let image_bytes = n * ROWS * COLS;
    let mut images = vec![0; image_bytes + n];
    let got = FrameDecoder::new().decode_all(frame, &mut images).expect("embedded zstd frame");
    assert_eq!(got, image_bytes + n, "embedded zstd frame has a wrong size");
    let labels = images[image_bytes..].to_vec();
    images.truncate(image_bytes);
    Split { images, labels }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
