//! [`Picture`]: pixels to show.

use crate::{Color, Colormap, PlotError};

/// An opaque RGB picture.
///
/// ```
/// use hardpan_plot::Picture;
/// // Two rows of three grey pixels.
/// let picture = Picture::new(3, 2, 1, &[0, 50, 100, 150, 200, 250]);
/// assert_eq!((picture.width(), picture.height(), picture.rgb().len()), (3, 2, 18));
/// assert_eq!(picture.resize(6, 4).width(), 6);
/// assert!(picture.to_png()?.starts_with(b"\x89PNG"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Three bytes a pixel, row by row from the top.
    rgb: Vec<u8>,
}

impl Picture {
    /// From bytes, row by row from the top: `[height, width, channels]` with 1 (grey), 3 (RGB) or 4 channels (the last, opacity,
    /// is taken as on white).
    ///
    /// # Panics
    /// If there are more or fewer bytes, or another number of channels, or no pixels.
    #[track_caller]
    pub fn new(width: usize, height: usize, channels: usize, bytes: &[u8]) -> Picture {
        assert!(width > 0 && height > 0, "Picture: {width} x {height} has no pixels");
        assert_eq!(
            bytes.len(),
            width * height * channels,
            "Picture: {} bytes for {height} rows of {width} pixels of {channels} channels",
            bytes.len()
        );
        let rgb = match channels {
            1 => bytes.iter().flat_map(|&v| [v; 3]).collect(),
            3 => bytes.to_vec(),
            4 => bytes
                .chunks_exact(4)
                .flat_map(|p| Color { r: p[0], g: p[1], b: p[2], a: p[3] }.on_white())
                .collect(),
            _ => panic!("Picture: {channels} channels; expected 1, 3 or 4"),
        };
        Picture { width, height, rgb }
    }

    /// From numbers as a model sees them, channel by channel: `[channels, height, width]`, 1 or 3 channels. The lowest becomes
    /// black and the highest white, over all channels together: so normalized pictures need not be denormalized to be looked at.
    ///
    /// # Panics
    /// If there are more or fewer numbers, or another number of channels, or no pixels.
    #[track_caller]
    pub fn from_chw(channels: usize, height: usize, width: usize, values: &[f32]) -> Picture {
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        values.iter().filter(|v| v.is_finite()).for_each(|&v| {
            low = low.min(v);
            high = high.max(v);
        });
        Picture::from_chw_range(channels, height, width, values, low, high)
    }

    /// As [`from_chw`](Picture::from_chw), with `low` as black and `high` as white.
    ///
    /// # Panics
    /// If there are more or fewer numbers, or another number of channels, or no pixels.
    #[track_caller]
    pub fn from_chw_range(
        channels: usize,
        height: usize,
        width: usize,
        values: &[f32],
        low: f32,
        high: f32,
    ) -> Picture {
        let n = height * width;
        assert_eq!(
            values.len(),
            channels * n,
            "Picture: {} numbers for {channels} channels of {height} rows of {width}",
            values.len()
        );
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let byte = |v: f32| ((v - low) * scale).clamp(0.0, 255.0).round() as u8;
        let bytes: Vec<u8> =
            (0..n).flat_map(|i| (0..channels).map(move |c| byte(values[c * n + i]))).collect();
        Picture::new(width, height, channels, &bytes)
    }

    /// A heat map: `[rows, columns]` numbers, `low` and below in the first colour of the map, `high` and above in the last.
    ///
    /// # Panics
    /// If there are more or fewer numbers, or none.
    #[track_caller]
    pub fn heat_map(
        rows: usize,
        columns: usize,
        values: &[f64],
        (low, high): (f64, f64),
        map: Colormap,
    ) -> Picture {
        assert_eq!(values.len(), rows * columns, "Picture: {rows} rows of {columns}");
        let span = if high > low { high - low } else { 1.0 };
        let rgb: Vec<u8> = values
            .iter()
            .flat_map(|v| {
                let c = map.at((v - low) / span);
                [c.r, c.g, c.b]
            })
            .collect();
        Picture::new(columns, rows, 3, &rgb)
    }

    /// This picture with `other` laid over it, `opacity` from 0 (this) to 1 (the other). The other is stretched to this one's size
    /// (between its pixels by the nearest four). For heat maps of what a model looks at, and for masks.
    #[must_use]
    pub fn overlay(&self, other: &Picture, opacity: f32) -> Picture {
        let other = other.resize(self.width, self.height);
        let mix = |(a, b): (&u8, &u8)| {
            (f32::from(*a) * (1.0 - opacity) + f32::from(*b) * opacity).round() as u8
        };
        Picture { rgb: self.rgb.iter().zip(&other.rgb).map(mix).collect(), ..*self }
    }

    /// The picture at another size. Made smaller, each pixel is the mean of those it covers; made larger, it lies between the
    /// nearest four.
    ///
    /// # Panics
    /// If the new size has no pixels.
    #[must_use]
    #[track_caller]
    pub fn resize(&self, width: usize, height: usize) -> Picture {
        assert!(width > 0 && height > 0, "Picture: {width} x {height} has no pixels");
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let columns = weights(self.width, width);
        let rows = weights(self.height, height);
        let mut between = vec![0f32; self.height * width * 3];
        for y in 0..self.height {
            for (x, taps) in columns.iter().enumerate() {
                for c in 0..3 {
                    between[(y * width + x) * 3 + c] = taps
                        .iter()
                        .map(|&(i, w)| f32::from(self.rgb[(y * self.width + i) * 3 + c]) * w)
                        .sum();
                }
            }
        }
        let mut rgb = vec![0u8; width * height * 3];
        for (y, taps) in rows.iter().enumerate() {
            for x in 0..width * 3 {
                let v: f32 = taps.iter().map(|&(i, w)| between[i * width * 3 + x] * w).sum();
                rgb[y * width * 3 + x] = v.round().clamp(0.0, 255.0) as u8;
            }
        }
        Picture { width, height, rgb }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Three bytes a pixel, row by row from the top.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// A pixel.
    pub(crate) fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let i = (y * self.width + x) * 3;
        [self.rgb[i], self.rgb[i + 1], self.rgb[i + 2]]
    }

    /// As a PNG file. Grey pictures are written as such.
    ///
    /// # Errors
    /// If the encoder fails, which takes a picture larger than the format allows.
    pub fn to_png(&self) -> Result<Vec<u8>, PlotError> {
        let grey = self.rgb.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
        let first: Vec<u8>;
        let (kind, bytes) = if grey {
            first = self.rgb.iter().step_by(3).copied().collect();
            (png::ColorType::Grayscale, &first)
        } else {
            (png::ColorType::Rgb, &self.rgb)
        };
        encode(self.width, self.height, kind, bytes)
    }
}

/// For each of `to` places, which of `from` places it takes how much of.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let ratio = from as f32 / to as f32;
    // A triangle as wide as the step between places, at least 1: a mean of the covered, or a mixture of the nearest two.
    let reach = ratio.max(1.0);
    (0..to)
        .map(|i| {
            let center = (i as f32 + 0.5) * ratio - 0.5;
            let first = (center - reach).ceil().max(0.0) as usize;
            let last = ((center + reach).floor().max(0.0) as usize).min(from - 1);
            let mut taps: Vec<(usize, f32)> = (first..=last)
                .map(|j| (j, 1.0 - (j as f32 - center).abs() / reach))
                .filter(|t| t.1 > 0.0)
                .collect();
            if taps.is_empty() {
                taps.push((first.min(from - 1), 1.0));
            }
            let sum: f32 = taps.iter().map(|t| t.1).sum();
            taps.iter_mut().for_each(|t| t.1 /= sum);
            taps
        })
        .collect()
}

/// A PNG file of these bytes.
pub(crate) fn encode(
    width: usize,
    height: usize,
    kind: png::ColorType,
    bytes: &[u8],
) -> Result<Vec<u8>, PlotError> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(kind);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_pixels() {
        let p = Picture::from_chw(1, 1, 3, &[-1.0, 0.0, 1.0]);
        assert_eq!(p.rgb(), [0, 0, 0, 128, 128, 128, 255, 255, 255]);
        let p = Picture::from_chw(3, 1, 1, &[0.0, 0.5, 1.0]);
        assert_eq!(p.pixel(0, 0), [0, 128, 255]);
        let p = Picture::new(1, 1, 4, &[0, 0, 0, 0]);
        assert_eq!(p.pixel(0, 0), [255; 3], "what is not there is white");
    }

    #[test]
    #[should_panic(expected = "5 bytes for 2 rows of 3 pixels of 1 channels")]
    fn sizes_must_fit() {
        let _ = Picture::new(3, 2, 1, &[0; 5]);
    }

    #[test]
    fn a_resized_picture_keeps_its_mean() {
        let bytes: Vec<u8> = (0..64).map(|i| if i % 2 == 0 { 0 } else { 200 }).collect();
        let small = Picture::new(8, 8, 1, &bytes).resize(2, 2);
        assert!(small.rgb().iter().all(|&v| (80..=120).contains(&v)), "{:?}", small.rgb());
        let large = Picture::new(1, 1, 1, &[77]).resize(5, 4);
        assert!(large.rgb().iter().all(|&v| v == 77) && large.rgb().len() == 60);
    }

    #[test]
    fn png_files_read_back() {
        let p = Picture::new(2, 2, 3, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let bytes = p.to_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut back = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut back).unwrap();
        assert_eq!(back, p.rgb());
    }
}
