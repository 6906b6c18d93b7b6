//! Grey pictures: reading them from PNG files, resizing, and [`Grey::to_digit`], which turns a scan, a photograph or a
//! drawing of one digit into what a network trained on MNIST knows: bright ink on a dark ground, the digit
//! in a box of 20x20, its centre of mass in the middle of 28x28.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

/// Pictures with more pixels than this are refused: nobody's digit needs 100 megapixels, and a
/// file of a few bytes can claim them.
const MAX_PIXELS: u64 = 100_000_000;

/// A grey picture.
///
/// ```
/// use hardpan_vision::digits::grey::Grey;
/// // A vertical stroke of ink (0 is black) on white paper.
/// let pixels = (0..40 * 30).map(|i| if i % 30 == 15 && i / 30 > 5 { 0.0 } else { 1.0 }).collect();
/// let scan = Grey::new(30, 40, pixels);
/// assert!(scan.is_dark_on_light());
/// let digit = scan.to_digit();
/// assert_eq!((digit.width, digit.height), (28, 28));
/// assert!(digit.pixels[14 * 28 + 14] > 0.5 && digit.pixels[0] == 0.0); // bright, in the middle
/// assert_eq!(scan.resize(15, 20).pixels.len(), 15 * 20);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grey {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `[height, width]` row by row, 0 is black and 1 is white.
    pub pixels: Vec<f32>,
}

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GreyError {
    /// Opening or reading the file failed.
    #[error("{}: cannot read it: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a PNG file, or a damaged one.
    #[error("{}: not a readable PNG picture: {reason}", .path.display())]
    Png {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// More pixels than will be read.
    #[error(
        "{}: the picture claims {width}x{height} pixels; at most {MAX_PIXELS} in all are read: scale it down first", .path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

impl Grey {
    /// A picture of `height` rows of `width` pixels.
    ///
    /// # Panics
    /// If there are more or fewer pixels than that.
    #[track_caller]
    pub fn new(width: usize, height: usize, pixels: Vec<f32>) -> Grey {
        assert!(
            pixels.len() == width * height,
            "Grey: {width}x{height} are {} pixels, not {}",
            width * height,
            pixels.len()
        );
        Grey { width, height, pixels }
    }

    /// Reads a PNG file of any kind: grey, colour or palette, 1 to 16 bits, with or without transparency, interlaced
    /// or not. Colours become their luminance (Rec. 601); what is transparent becomes the paper (see [`Grey::decode_png`]).
    ///
    /// # Errors
    /// If the file cannot be read, is not PNG, is damaged or cut short, or has more than 100 million pixels.
    pub fn read_png(path: impl AsRef<Path>) -> Result<Grey, GreyError> {
        let path = path.as_ref();
        let io = |source| GreyError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(io(io::ErrorKind::IsADirectory.into()));
        }
        Grey::decode_png(BufReader::new(file), path)
    }

    /// Reads a PNG picture from memory or a stream; `path` is only for messages. Transparent pictures are laid on white, or on black if what
    /// is drawn on them is bright.
    ///
    /// # Errors
    /// As [`Grey::read_png`].
    pub fn decode_png(
        data: impl BufRead + Seek,
        path: impl AsRef<Path>,
    ) -> Result<Grey, GreyError> {
        let path = path.as_ref();
        let fail = |e: png::DecodingError| match e {
            png::DecodingError::IoError(source)
                if source.kind() != io::ErrorKind::UnexpectedEof =>
            {
                GreyError::Io { path: path.to_owned(), source }
            }
            png::DecodingError::IoError(_) => {
                GreyError::Png { path: path.to_owned(), reason: "it ends too early".to_owned() }
            }
            e => GreyError::Png { path: path.to_owned(), reason: e.to_string() },
        };
        let mut decoder = png::Decoder::new_with_limits(data, png::Limits { bytes: 1 << 30 });
        // Palettes become colours, few bits become 8, a transparent colour becomes an alpha channel.
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().map_err(fail)?;
        let (width, height) = (reader.info().width, reader.info().height);
        if width as u64 * height as u64 > MAX_PIXELS {
            return Err(GreyError::TooLarge { path: path.to_owned(), width, height });
        }
        let (color, depth) = reader.output_color_type();
        let size = reader.output_buffer_size().ok_or_else(|| GreyError::TooLarge {
            path: path.to_owned(),
            width,
            height,
        })?;
        let mut raw = vec![0; size];
        reader.next_frame(&mut raw).map_err(fail)?;

        let samples: Vec<f32> = match depth {
            png::BitDepth::Sixteen => {
                raw.as_chunks().0.iter().map(|&b| u16::from_be_bytes(b) as f32 / 65535.0).collect()
            }
            _ => raw.iter().map(|&b| b as f32 / 255.0).collect(),
        };
        let pixels = match color {
            png::ColorType::Grayscale => samples,
            png::ColorType::GrayscaleAlpha => {
                on_paper(samples.as_chunks::<2>().0.iter().map(|p| (p[0], p[1])))
            }
            png::ColorType::Rgba => {
                on_paper(samples.as_chunks::<4>().0.iter().map(|p| (luminance(&p[..3]), p[3])))
            }
            _ => samples.as_chunks::<3>().0.iter().map(|p| luminance(p)).collect(),
        };
        Ok(Grey::new(width as usize, height as usize, pixels))
    }

    /// Every pixel `p` becomes `1 - p`.
    #[must_use]
    pub fn invert(mut self) -> Grey {
        self.pixels.iter_mut().for_each(|p| *p = 1.0 - *p);
        self
    }

    /// Whether the picture is dark ink on light paper: whether most of its border is bright.
    pub fn is_dark_on_light(&self) -> bool {
        let (w, h) = (self.width, self.height);
        let edge = |x: usize, y: usize| x == 0 || y == 0 || x + 1 == w || y + 1 == h;
        let border: Vec<f32> = (0..h)
            .flat_map(|y| (0..w).map(move |x| (x, y)))
            .filter(|&(x, y)| edge(x, y))
            .map(|(x, y)| self.pixels[y * w + x])
            .collect();
        let bright = border.iter().filter(|&&p| p > 0.5).count();
        2 * bright > border.len()
    }

    /// The picture in another size. Each new pixel is a weighted mean over all old pixels it covers, so
    /// nothing is lost or made jagged when shrinking ("antialias" in Pillow and torchvision: a triangle filter, stretched by
    /// the scale when shrinking).
    ///
    /// # Panics
    /// If the old or the new size has no pixels.
    #[must_use]
    #[track_caller]
    pub fn resize(&self, width: usize, height: usize) -> Grey {
        assert!(
            self.width * self.height * width * height > 0,
            "resize: from {}x{} to {width}x{height}: a picture needs a pixel",
            self.width,
            self.height
        );
        let columns = Weights::new(self.width, width);
        let rows = Weights::new(self.height, height);
        let mut narrow = vec![0.0; self.height * width];
        for (to, from) in narrow.chunks_mut(width).zip(self.pixels.chunks(self.width)) {
            for (x, p) in to.iter_mut().enumerate() {
                let (start, w) = columns.of(x);
                *p = w.iter().zip(&from[start..]).map(|(w, p)| w * p).sum();
            }
        }
        let mut pixels = vec![0.0; height * width];
        for (y, to) in pixels.chunks_mut(width).enumerate() {
            let (start, w) = rows.of(y);
            for (w, from) in w.iter().zip(narrow[start * width..].chunks(width)) {
                to.iter_mut().zip(from).for_each(|(t, f)| *t += w * f);
            }
        }
        Grey { width, height, pixels }
    }

    /// The digit on this picture as MNIST would show it: 28x28, bright ink on black.
    ///
    /// Dark ink on light paper is inverted. A picture that is 28x28 is otherwise left as it is. Any other is treated as the
    /// makers of MNIST did: the part with ink is scaled, keeping its proportions, to fit a box of 20x20, and its
    /// centre of mass is put in the middle of 28x28. Faint paper is cut off and the contrast stretched first.
    /// A picture without any ink comes out black.
    ///
    /// Source: LeCun et al., *Gradient-based learning applied to document recognition*, 1998, section III-A.
    #[must_use]
    pub fn to_digit(&self) -> Grey {
        let dark = self.is_dark_on_light();
        if dark { self.clone().invert().bright_to_digit() } else { self.bright_to_digit() }
    }

    /// As [`to_digit`](Grey::to_digit) for a picture that is known to be bright ink on dark paper.
    #[must_use]
    pub fn bright_to_digit(&self) -> Grey {
        const SIDE: usize = 28;
        const BOX: f32 = 20.0;
        if (self.width, self.height) == (SIDE, SIDE) {
            return self.clone();
        }
        let blank = Grey::new(SIDE, SIDE, vec![0.0; SIDE * SIDE]);
        let Some(ink) = self.clone().stretch_contrast().crop_to_ink() else { return blank };
        let scale = BOX / ink.width.max(ink.height) as f32;
        let fit = |n: usize| ((n as f32 * scale).round() as usize).clamp(1, BOX as usize);
        let small = ink.resize(fit(ink.width), fit(ink.height));
        let (cx, cy) = small.centre_of_mass();
        // The middle of 28 pixels is between pixels 13 and 14: at 14 when pixel centres are at i + 0.5.
        let place = |c: f32, n: usize| {
            ((SIDE as f32 / 2.0 - c).round() as isize).clamp(0, (SIDE - n) as isize) as usize
        };
        let (left, top) = (place(cx, small.width), place(cy, small.height));
        let mut out = blank;
        for (y, row) in small.pixels.chunks(small.width).enumerate() {
            let at = (top + y) * SIDE + left;
            out.pixels[at..at + small.width].copy_from_slice(row);
        }
        out
    }

    /// The paper (median of the picture) becomes 0 and the brightest ink 1; what is within a tenth of the paper
    /// is paper.
    fn stretch_contrast(mut self) -> Grey {
        let mut sorted = self.pixels.clone();
        let middle = sorted.len() / 2;
        let paper = match sorted.get_mut(..) {
            Some(s) if !s.is_empty() => *s.select_nth_unstable_by(middle, f32::total_cmp).1,
            _ => 0.0,
        };
        let ink = self.pixels.iter().copied().fold(paper, f32::max);
        // With less contrast than this there is paper only.
        if ink - paper < 0.05 {
            self.pixels.fill(0.0);
            return self;
        }
        for p in &mut self.pixels {
            let v = (*p - paper) / (ink - paper);
            *p = if v < 0.1 { 0.0 } else { v };
        }
        self
    }

    /// The smallest part that has all the ink; `None` if there is none. Specks far fainter than the ink do not count.
    fn crop_to_ink(&self) -> Option<Grey> {
        let w = self.width;
        let is_ink = |i: usize| self.pixels[i] > 0.2;
        let inked = (0..self.pixels.len()).filter(|&i| is_ink(i)).map(|i| (i % w, i / w));
        let none = (usize::MAX, usize::MAX, 0, 0);
        let (x0, y0, x1, y1) = inked.fold(none, |(x0, y0, x1, y1), (x, y)| {
            (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1))
        });
        if x0 >= x1 {
            return None;
        }
        let rows = (y0..y1).flat_map(|y| &self.pixels[y * w + x0..y * w + x1]);
        Some(Grey::new(x1 - x0, y1 - y0, rows.copied().collect()))
    }

    /// In pixels from the upper left corner; pixel `i` has its centre at `i + 0.5`.
    fn centre_of_mass(&self) -> (f32, f32) {
        let (mut x_sum, mut y_sum, mut mass) = (0.0, 0.0, 0.0);
        for (i, &p) in self.pixels.iter().enumerate() {
            x_sum += p * ((i % self.width) as f32 + 0.5);
            y_sum += p * ((i / self.width) as f32 + 0.5);
            mass += p;
        }
        if mass > 0.0 {
            (x_sum / mass, y_sum / mass)
        } else {
            (self.width as f32 / 2.0, self.height as f32 / 2.0)
        }
    }
}

/// Rec. 601, as Pillow's "L" and OpenCV's grey.
fn luminance(rgb: &[f32]) -> f32 {
    0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
}

/// Lays (grey, alpha) pixels on paper: white, or black if what is drawn is bright and would vanish on white.
fn on_paper(pixels: impl Iterator<Item = (f32, f32)> + Clone) -> Vec<f32> {
    let (drawn, alpha) =
        pixels.clone().fold((0.0, 0.0), |(d, a), (p, q)| (d + (p * q) as f64, a + q as f64));
    let opaque = pixels.clone().all(|(_, a)| a == 1.0);
    let paper = if !opaque && drawn > 0.5 * alpha { 0.0 } else { 1.0 };
    pixels.map(|(p, a)| p * a + paper * (1.0 - a)).collect()
}

/// For each new pixel of a line, which old pixels it is made of, and how much of each.
struct Weights {
    /// Old pixel of the first weight, and place of the first weight.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Weights {
    fn new(from: usize, to: usize) -> Weights {
        let scale = from as f64 / to as f64;
        // When shrinking, the filter is as wide as the old pixels that one new pixel stands for.
        let reach = scale.max(1.0);
        let mut out = Weights { starts: Vec::with_capacity(to + 1), weights: Vec::new() };
        for i in 0..to {
            let centre = (i as f64 + 0.5) * scale;
            let first = (centre - reach).floor().max(0.0) as usize;
            let last = ((centre + reach).ceil() as usize).min(from);
            let place = out.weights.len();
            out.starts.push((first, place));
            let triangle = |j: usize| (1.0 - (j as f64 + 0.5 - centre).abs() / reach).max(0.0);
            let sum: f64 = (first..last).map(triangle).sum();
            out.weights.extend((first..last).map(|j| (triangle(j) / sum) as f32));
        }
        out.starts.push((0, out.weights.len()));
        out
    }

    fn of(&self, i: usize) -> (usize, &[f32]) {
        let (start, place) = self.starts[i];
        (start, &self.weights[place..self.starts[i + 1].1])
    }
}
