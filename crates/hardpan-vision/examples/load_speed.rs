//! How many pictures a second come out of a loader: `load_speed FOLDER [SIZE] [WORKERS] [raw|aug]`.
//!
//! The folder holds JPEG files named `CLASS_NUMBER.jpg`. The work is that of a usual training on photos: decode, resize the shorter
//! side to 256/224 of the size, cut out a random square, mirror half of them, normalize; batches of 32. `aug` adds
//! fastai's transforms. Epochs after the first come from disk again: nothing is cached.

use hardpan_learn::data::block::image_files;
use hardpan_vision::augment::AugTransforms;
use hardpan_vision::data::{AugmentChoice, ImageDataLoaders};
use hardpan_vision::plane::crop::{Flip, Presize, RandomCrop, TrainOnly};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, or: usize| args.get(i).map_or(Ok(or), |a| a.parse());
    let folder = args.get(1).ok_or("load_speed FOLDER [SIZE] [WORKERS] [raw|aug]")?;
    let (size, workers) = (number(2, 224)?, number(3, 2)?);
    let augmented = args.get(4).is_some_and(|a| a == "aug");
    let loaders = ImageDataLoaders::from_name_re(image_files(folder)?, "^([^_]+)_")
        .size(size)
        .batch_size(32)
        .valid_fraction(0.0)
        .workers(workers)
        .cache(0);
    let loaders = match augmented {
        true => loaders.augment(AugmentChoice::Transforms(AugTransforms::default(), 0.75)),
        false => loaders
            .item_tfm(Presize::new(size * 256 / 224))
            .item_tfm(TrainOnly(RandomCrop::new(size, size)))
            .item_tfm(Flip::default())
            .augment(AugmentChoice::Off),
    };
    let data = loaders.build()?;
    for epoch in 0..6 {
        let (start, mut items) = (Instant::now(), 0);
        for batch in data.loaders.train.batches(epoch) {
            let (x, _) = batch?;
            items += x.shape()[0];
            x.eval();
        }
        println!("{:.0} pictures/s", items as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}
