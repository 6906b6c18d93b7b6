//! [`ImageBlock`] and [`MaskBlock`].

use crate::image::{DecodeOptions, Image, Mask};
use hardpan_engine::{DType, Tensor};
use hardpan_learn::data::block::{Block, BoxError, Shown};
use std::path::PathBuf;

pub(super) fn describe_tensor(x: &Tensor) -> String {
    format!("tensor {:?} of {:?}", x.shape(), x.dtype())
}

fn shown(image: &Image) -> Shown {
    Shown::Picture {
        width: image.width(),
        height: image.height(),
        channels: image.channels(),
        pixels: image.pixels().to_vec(),
    }
}

/// Pictures in files. Batches are bytes `[N, C, H, W]`; [`Normalize`](super::Normalize) makes f32 of them. Counterpart: fastai's
/// `ImageBlock`.
#[derive(Clone, Debug)]
pub struct ImageBlock {
    options: DecodeOptions,
}

impl ImageBlock {
    /// Pictures with this number of channels, 3 or 1 (`ImageBlock(PILImageBW)`).
    ///
    /// # Panics
    /// If it is neither.
    #[track_caller]
    pub fn new(channels: usize) -> ImageBlock {
        assert!(channels == 1 || channels == 3, "ImageBlock: 1 or 3 channels, not {channels}");
        ImageBlock { options: DecodeOptions { channels: Some(channels), ..Default::default() } }
    }

    /// Read in another way.
    #[must_use]
    pub fn decode_options(mut self, options: DecodeOptions) -> ImageBlock {
        let channels = options.channels.or(self.options.channels);
        self.options = DecodeOptions { channels, ..options };
        self
    }
}

impl Block for ImageBlock {
    type Source = PathBuf;
    type Item = Image;
    type Batch = Tensor;

    fn name(&self) -> String {
        "image".to_owned()
    }
    fn encode(&self, source: PathBuf) -> Result<Image, BoxError> {
        Ok(self.options.open(source)?)
    }
    fn collate(&self, items: Vec<Image>) -> Result<Tensor, BoxError> {
        let Some(first) = items.first() else { return Err("no pictures".into()) };
        let (w, h, c) = (first.width(), first.height(), first.channels());
        let mut bytes = Vec::with_capacity(items.len() * w * h * c);
        for image in &items {
            if (image.width(), image.height(), image.channels()) != (w, h, c) {
                let hint = "add a transform that brings all to one size, such as Resize";
                return Err(format!("{first:?} and {image:?} differ in size: {hint}").into());
            }
            image.append_planes(&mut bytes);
        }
        Ok(Tensor::from_slice(&bytes, [items.len(), c, h, w]))
    }
    fn decode(&self, batch: &Tensor) -> Vec<Image> {
        let bytes = batch.to_dtype(DType::F32) / 255.0;
        (0..batch.shape()[0]).map(|i| Image::from_tensor(&bytes.select(0, i as isize))).collect()
    }
    fn show(&self, item: &Image) -> Shown {
        shown(item)
    }
    fn describe_batch(&self, batch: &Tensor) -> String {
        describe_tensor(batch)
    }
    fn bytes(&self, item: &Image) -> usize {
        size_of_val(item) + item.pixels().len()
    }
}

/// Masks in files: a class for each pixel. Batches are `[N, H, W]` of i64. Counterpart: fastai's `MaskBlock`.
#[derive(Clone, Debug, Default)]
pub struct MaskBlock {
    codes: Vec<String>,
}

impl MaskBlock {
    /// With these names of the classes 0, 1, ...; there may be none.
    pub fn new<S: Into<String>>(codes: impl IntoIterator<Item = S>) -> MaskBlock {
        MaskBlock { codes: codes.into_iter().map(Into::into).collect() }
    }
}

impl Block for MaskBlock {
    type Source = PathBuf;
    type Item = Mask;
    type Batch = Tensor;

    fn name(&self) -> String {
        "mask".to_owned()
    }
    fn encode(&self, source: PathBuf) -> Result<Mask, BoxError> {
        Ok(Mask::open(source)?)
    }
    fn collate(&self, items: Vec<Mask>) -> Result<Tensor, BoxError> {
        let Some(first) = items.first() else { return Err("no masks".into()) };
        let (w, h) = (first.width(), first.height());
        let mut classes = Vec::with_capacity(items.len() * w * h);
        for mask in &items {
            if (mask.width(), mask.height()) != (w, h) {
                return Err(format!("{first:?} and {mask:?} differ in size").into());
            }
            classes.extend(mask.pixels().iter().map(|&c| i64::from(c)));
        }
        Ok(Tensor::from_slice(&classes, [items.len(), h, w]))
    }
    fn decode(&self, batch: &Tensor) -> Vec<Mask> {
        let &[_, h, w] = batch.shape() else { return Vec::new() };
        let classes = batch.to_vec::<i64>();
        let mask = |c: &[i64]| Mask::new(w, h, c.iter().map(|&c| c.clamp(0, 255) as u8).collect());
        classes.chunks(w * h).map(mask).collect()
    }
    fn show(&self, item: &Mask) -> Shown {
        let pixels = item.pixels().iter().flat_map(|&c| class_colour(c)).collect();
        shown(&Image::new(item.width(), item.height(), 3, pixels))
    }
    fn describe(&self, item: &Mask) -> String {
        let mut seen: Vec<u8> = item.pixels().to_vec();
        seen.sort_unstable();
        seen.dedup();
        format!("{item:?} with classes {seen:?}")
    }
    fn describe_batch(&self, batch: &Tensor) -> String {
        describe_tensor(batch)
    }
    fn vocab(&self) -> &[String] {
        &self.codes
    }
    fn blank(&self) -> Option<Mask> {
        Some(Mask::new(1, 1, vec![0]))
    }
    fn bytes(&self, item: &Mask) -> usize {
        size_of_val(item) + item.pixels().len()
    }
}

/// A colour for a class: different for near numbers, the same for ever. Class 0 is black.
fn class_colour(class: u8) -> [u8; 3] {
    // The bits of the number, spread over the channels, highest first (as the colours of the Pascal VOC masks).
    let mut out = [0u8; 3];
    for bit in 0..8 {
        out[bit % 3] |= (class >> bit & 1) << (7 - bit / 3);
    }
    out
}
