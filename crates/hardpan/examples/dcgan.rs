//! A generator of pictures: DCGAN learns to draw digits from the built-in MNIST, or from any folder with idx files, such as Fashion-MNIST.
//!
//! `cargo run --release -p hardpan --example dcgan [MINUTES] [FOLDER]`
//!
//! Trains for so many minutes (5), and writes `dcgan.png`: eight rows of made pictures, then one of real ones. Strokes are there after
//! some hundred batches, most digits can be read after 3,500 (a minute of one core that has nothing else to do).

use hardpan::learn::callback::Event;
use hardpan::learn::gan::{GanLearner, GanLoss, GanOptions, noise_to};
use hardpan::prelude::*;
use hardpan::vision::digits::idx::Labelled;
use hardpan::vision::image::{Image, Padding};
use hardpan::vision::models::{basic_critic, basic_generator};
use std::time::{Duration, Instant};

/// Pixels a side, of which 28 are the digit's.
const SIZE: usize = 32;
/// Numbers that a picture is made of.
const NOISE: usize = 64;
/// Pictures in a row of `dcgan.png`.
const COLUMNS: usize = 12;

/// From bytes `[N, 28, 28]` to pictures from -1 to 1 with an empty margin.
fn prepared(x: &Tensor) -> Tensor {
    let x = x.unsqueeze(1).to_dtype(DType::F32) / 127.5 - 1.0;
    functional::pad(&x, &[2, 2, 2, 2], functional::PadMode::Constant(-1.0))
}

/// The pictures `[rows * COLUMNS, 1, SIZE, SIZE]` in a grid.
fn grid(pictures: &Tensor) -> Image {
    let rows = pictures.size(0) / COLUMNS;
    let x = (pictures + 1.0) / 2.0;
    let x = x.reshape([rows, COLUMNS, SIZE, SIZE]).permute(&[0, 2, 1, 3]);
    let image = Image::from_tensor(&x.reshape([1, rows * SIZE, COLUMNS * SIZE]));
    image.crop_pad(-2, -2, image.width() + 4, image.height() + 4, Padding::Zeros)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    manual_seed(42);
    let mut args = std::env::args().skip(1);
    let minutes: f64 = args.next().map_or(Ok(5.0), |m| m.parse())?;
    let digits = match args.next() {
        Some(folder) => Labelled::read_dir(std::path::Path::new(&folder))?.0.dataset(10)?,
        None => mnist::datasets().0,
    };
    let real = prepared(&digits.x().narrow(0, 0, COLUMNS));
    let train = DataLoader::new(digits, 64)?.shuffle(42).drop_last()?;
    let loaders = DataLoaders::train_only(train.map(|x, y| (prepared(&x), y)));

    let generator = basic_generator(SIZE, 1, NOISE, 16);
    let critic = basic_critic(SIZE, 1, 16);
    let start = Instant::now();
    let limit = Duration::from_secs_f64(minutes * 60.0);
    let mut learn = GanLearner::gan(
        noise_to(loaders, &[NOISE]),
        generator,
        critic,
        GanLoss::basic(),
        GanOptions::default(),
    )
    .on(Event::AfterBatch, move |_| match start.elapsed() > limit {
        true => Flow::CancelFit,
        false => Flow::Continue,
    });
    learn.fit(1000, 4e-4)?;
    println!(
        "{} batches in {:.0} s",
        learn.history().raw_losses.len(),
        start.elapsed().as_secs_f64()
    );

    let model = learn.model();
    model.eval();
    let made = no_grad(|| model.generator.forward(&Tensor::randn([8 * COLUMNS, NOISE])));
    grid(&Tensor::cat(&[made, real], 0)).save_png("dcgan.png")?;
    println!("dcgan.png: eight rows of made pictures, one of real ones");
    Ok(())
}
