//! What loading costs a training: `ready_batches FOLDER [ARCH] [SIZE] [BATCHES]`.
//!
//! The same steps are taken with pictures read, cut, mirrored and changed by fastai's transforms as the training goes, and with batches
//! that lie ready in memory, in turns. The folder has a folder for each class.

use hardpan_engine::Tensor;
use hardpan_learn::callback::ShortEpoch;
use hardpan_learn::data::{DataLoaders, TensorDataset};
use hardpan_vision::data::ImageDataLoaders;
use hardpan_vision::learner::{VisionOptions, vision_learner};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, or: usize| args.get(i).map_or(Ok(or), |a| a.parse());
    let folder = args.get(1).ok_or("ready_batches FOLDER [ARCH] [SIZE] [BATCHES]")?;
    let arch = args.get(2).map_or("xresnet18", |a| a);
    let (size, batches) = (number(3, 128)?, number(4, 20)?);
    let data = ImageDataLoaders::from_folder(folder).size(size).batch_size(32).cache(0).build()?;
    let mut loaders = data.loaders.clone();
    loaders.valid = None;

    let mut ready = (Vec::new(), Vec::new());
    for batch in loaders.train.batches(0).take(batches) {
        let (x, y) = batch?;
        ready.0.push(x.eval().clone());
        ready.1.push(y.eval().clone());
    }
    let pictures = ready.0.iter().map(|x| x.shape()[0]).sum::<usize>();
    let all = |each: &[Tensor]| Tensor::cat(&each.iter().collect::<Vec<_>>(), 0).eval().clone();
    let ready = TensorDataset::new(all(&ready.0), all(&ready.1))?;
    let mut ready = DataLoaders::from_tensors(ready.clone(), ready, 32, 42)?;
    ready.valid = None;
    let share = batches as f64 / loaders.train.len() as f64;

    let options =
        VisionOptions { channels: 3, image_size: size, ..VisionOptions::new(data.classes.len()) };
    let learner = |loaders| vision_learner(loaders, arch, &options).map(|l| l.silent());
    let mut from_files = learner(loaders)?;
    let mut from_memory = learner(ready)?;
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..6 {
        let learners = [(&mut from_files, share), (&mut from_memory, 1.0)];
        for ((learn, share), rates) in learners.into_iter().zip(&mut rates) {
            let start = Instant::now();
            learn.fit_with(1, vec![Box::new(ShortEpoch::new(share))])?;
            // The first round is a warm-up.
            if round > 0 {
                rates.push(pictures as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    for (name, rates) in ["read as it goes", "ready"].into_iter().zip(&mut rates) {
        rates.sort_by(f64::total_cmp);
        println!("{name:<16} {:.1} pictures/s ({:.1} to {:.1})", rates[2], rates[0], rates[4]);
    }
    println!("share of the speed: {:.2}", rates[0][2] / rates[1][2]);
    Ok(())
}
