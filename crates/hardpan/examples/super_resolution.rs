//! From picture to picture: a U-Net learns to enlarge photographs three times.
//!
//! `cargo run --release -p hardpan --example super_resolution FOLDER [MINUTES]`
//!
//! The pictures of the folder are made small and large again (bicubic), and the network learns what is missing, by an L1 loss. After
//! so many minutes (10) it is measured on pictures it has not seen, and `super_resolution.png` shows some of them: as they were enlarged,
//! as the network gives them, as they are.
//!
//! On 2,300 pictures of Caltech-101 (shorter side 128), with 230 to judge by, 139 batches (a minute of one core that has nothing else to do)
//! took it to 23.52 dB where the bicubic pictures have 22.68 dB.
//!
//! The way is that of fastai's lesson on super-resolution: data are a `DataBlock` of two pictures, the low one made by an item transform,
//! and any loss will do; for sharper pictures add that of a critic, see `dcgan.rs`.

use hardpan::learn::callback::Event;
use hardpan::learn::data::Draw;
use hardpan::learn::data::block::{
    BoxError, DataBlock, ItemTransform, RandomSplitter, image_files,
};
use hardpan::learn::metric::mae;
use hardpan::prelude::*;
use hardpan::vision::data::{ImageBlock, Stats};
use hardpan::vision::image::{Filter, Image};
use hardpan::vision::models::{ModelOptions, create};
use hardpan::vision::plane::crop::{Flip, RandomCrop};
use hardpan::vision::unet::{DynamicUnet, UnetOptions};
use std::time::{Duration, Instant};

/// How much smaller pictures are made.
const FACTOR: usize = 3;
/// Pixels a side of the parts that are trained on.
const SIZE: usize = 48;
/// Parts in a batch.
const BATCH: usize = 16;
/// Pictures that are shown.
const SHOWN: usize = 6;

/// Takes the details away from the input; the target keeps them.
struct Coarsen;

impl ItemTransform<Image, Image> for Coarsen {
    fn name(&self) -> String {
        format!("{FACTOR} times smaller and back")
    }
    fn is_random(&self) -> bool {
        false
    }
    fn apply(&self, x: Image, y: Image, _: &mut Draw) -> Result<(Image, Image), BoxError> {
        let (w, h) = (x.width(), x.height());
        let small = x.resize(w / FACTOR, h / FACTOR, Filter::Bicubic);
        Ok((small.resize(w, h, Filter::Bicubic), y))
    }
}

/// The picture with what a U-Net adds to it.
#[derive(Module)]
struct Enlarger {
    unet: DynamicUnet,
}

impl Forward for Enlarger {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        x + self.unet.forward(x)
    }
}

/// Peak signal-to-noise ratio of each picture in dB, of bytes `[N, 3, H, W]` as f32.
fn psnr(x: &Tensor, y: &Tensor) -> Vec<f32> {
    let error = (x - y).square().mean(&[1, 2, 3]);
    error.to_vec::<f32>().iter().map(|e| 10.0 * (255.0 * 255.0 / e.max(1e-3)).log10()).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    manual_seed(42);
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("which folder of pictures?")?;
    let minutes: f64 = args.next().map_or(Ok(10.0), |m| m.parse())?;
    let files = image_files(&folder).map_err(|e| format!("{folder}: {e}"))?;
    let datasets = DataBlock::new(ImageBlock::new(3), ImageBlock::new(3))
        .get_x(|path: &std::path::PathBuf| Ok(path.clone()))
        .get_y(|path| Ok(path.clone()))
        // Both move alike.
        .item_tfm(RandomCrop::new(SIZE, SIZE))
        .item_tfm(Flip::default())
        .item_tfm(Coarsen)
        .splitter(RandomSplitter::new(0.1, 42))
        .seed(42)
        .datasets_of(files)?;
    let stats = Stats::imagenet(3);
    let both = stats.clone();
    let mut loaders =
        datasets.loaders(BATCH)?.map(move |x, y| (both.normalize(&x), both.normalize(&y)));
    loaders.train = loaders.train.workers(2);

    let encoder = create("resnet9_tiny", &ModelOptions::default())?;
    let options = UnetOptions { narrow: true, ..UnetOptions::default() };
    let unet = DynamicUnet::new(encoder, 3, 3, (SIZE, SIZE), &options);
    // At first nothing is added: it starts as good as the bicubic picture.
    for (name, p) in unet.named_parameters() {
        if name.starts_with("last.") {
            p.set(p.value().zeros_like());
        }
    }
    let start = Instant::now();
    let limit = Duration::from_secs_f64(minutes * 60.0);
    let valid = loaders.valid.take().ok_or("too few pictures: a tenth is for validation")?;
    let l1 = |pred: &Tensor, y: &Tensor| mae(pred, y);
    let mut learn =
        Learner::new(loaders, Enlarger { unet }, l1).on(Event::AfterBatch, move |ctx| {
            // As much of a one-cycle schedule as there is time for: a tenth up, then down.
            let at = start.elapsed().as_secs_f64() / limit.as_secs_f64();
            let rate = if at < 0.1 { at * 10.0 } else { ((1.0 - at) / 0.9).max(0.0) };
            ctx.opt.set_hyper(Hyper::Lr, 3e-3 * rate + 1e-5);
            if at < 1.0 { Flow::Continue } else { Flow::CancelFit }
        });
    learn.fit(1000, 1e-5)?;
    let batches = learn.history().raw_losses.len();
    println!("{batches} batches of {BATCH} in {:.0} s", start.elapsed().as_secs_f64());

    let model = learn.model();
    model.eval();
    let (mut low, mut ours, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for batch in valid.batches(0).take(16) {
        let (x, y) = batch?;
        let made = stats.denormalize(&no_grad(|| model.forward(&x))).round();
        let (x, y) = (stats.denormalize(&x).round(), stats.denormalize(&y).round());
        low.extend(psnr(&x, &y));
        ours.extend(psnr(&made, &y));
        if rows.is_empty() {
            let shown = SHOWN.min(y.size(0));
            rows = [x, made, y].map(|t| t.narrow(0, 0, shown)).to_vec();
        }
    }
    let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
    println!(
        "{} pictures: bicubic {:.2} dB, the network {:.2} dB",
        ours.len(),
        mean(&low),
        mean(&ours)
    );
    let shown = rows[0].size(0);
    let grid = Tensor::stack(&rows, 0).permute(&[2, 0, 3, 1, 4]) / 255.0;
    Image::from_tensor(&grid.reshape([3, 3 * SIZE, shown * SIZE]))
        .save_png("super_resolution.png")?;
    println!("super_resolution.png: enlarged (bicubic), by the network, as they are");
    Ok(())
}
