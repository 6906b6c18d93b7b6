//! From JPEG files to batches: decoding, resizing, cropping, flipping.

use crate::Workload;
use crate::measure::{Bench, Rate};
use hardpan_engine::Tensor;
use hardpan_vision::image::{Filter, Image};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Synthetic pictures of 500 x 375 pixels.
const PICTURES: [&[u8]; 3] = [
    include_bytes!("../assets/picture0.jpg"),
    include_bytes!("../assets/picture1.jpg"),
    include_bytes!("../assets/picture2.jpg"),
];
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Writes a folder of `count` JPEG files, the same for both sides of a comparison.
pub(crate) fn write_pictures(folder: &Path, count: usize) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    (0..count)
        .map(|i| {
            let path = folder.join(format!("{}_{i:04}.jpg", i % 4));
            std::fs::write(&path, PICTURES[i % PICTURES.len()])?;
            Ok(path)
        })
        .collect()
}

fn decode(bytes: &[u8]) -> Image {
    Image::decode(bytes).expect("the pictures of the benchmark are sound")
}

/// Bilinear with antialiasing, the shorter side to `side`.
fn resize(picture: &Image, side: usize) -> Image {
    let shorter = picture.width().min(picture.height());
    let to = |n: usize| n * side / shorter;
    picture.resize(to(picture.width()), to(picture.height()), Filter::Bilinear)
}

/// Small generator for crops and flips.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) as usize
}

/// A file as a normalized `[3, crop, crop]`: shorter side to `side`, random crop and flip.
fn prepare(path: &Path, side: usize, crop: usize, mut seed: u64, out: &mut [f32]) {
    let p = resize(&Image::open(path).expect("written before"), side);
    let (width, pixels) = (p.width(), p.pixels());
    let left = next(&mut seed) % (width - crop + 1);
    let top = next(&mut seed) % (p.height() - crop + 1);
    let flip = next(&mut seed) % 2 == 1;
    for c in 0..3 {
        let (scale, shift) = (1.0 / (255.0 * STD[c]), MEAN[c] / STD[c]);
        for y in 0..crop {
            let start = ((top + y) * width + left) * 3 + c;
            let row = &mut out[(c * crop + y) * crop..][..crop];
            for (x, v) in row.iter_mut().enumerate() {
                let x = if flip { crop - 1 - x } else { x };
                *v = f32::from(pixels[start + 3 * x]) * scale - shift;
            }
        }
    }
}

/// One pass over the files in batches, by `workers` threads; returns how many there were.
fn epoch(files: &[PathBuf], batch: usize, side: usize, crop: usize, workers: usize) -> usize {
    let size = 3 * crop * crop;
    let mut seen = 0;
    for (k, part) in files.chunks(batch).enumerate() {
        let mut data = vec![0f32; part.len() * size];
        let taken = AtomicUsize::new(0);
        let slots: Vec<std::sync::Mutex<&mut [f32]>> =
            data.chunks_mut(size).map(std::sync::Mutex::new).collect();
        let work = || {
            while let Some((path, i)) = {
                let i = taken.fetch_add(1, Relaxed);
                part.get(i).map(|p| (p, i))
            } {
                let mut slot = slots[i].lock().unwrap_or_else(|e| e.into_inner());
                prepare(path, side, crop, (k * batch + i) as u64, &mut slot);
            }
        };
        std::thread::scope(|s| {
            (1..workers).for_each(|_| {
                s.spawn(work);
            });
            work();
        });
        drop(slots);
        let x = Tensor::from_vec(data, [part.len(), 3, crop, crop]);
        seen += x.size(0);
    }
    seen
}

pub(crate) fn add(all: &mut Vec<Workload>) {
    let mut push = |name: &str, about: &str, work: fn(&mut Bench<'_>)| {
        all.push(Workload::new("images", name, about, work));
    };
    push("jpeg_decode_500x375", "decoding a JPEG, one thread", |b| {
        let mut i = 0;
        b.time("u8", Rate::of(1, "images/s"), 0.0, || {
            i += 1;
            std::hint::black_box(decode(PICTURES[i % PICTURES.len()]).pixels().len());
        });
    });
    push("resize_to_256", "500 x 375 to 341 x 256, bilinear with antialiasing, one thread", |b| {
        let picture = decode(PICTURES[0]);
        b.time("u8", Rate::of(1, "images/s"), 0.0, || {
            std::hint::black_box(resize(&picture, 256).pixels().len());
        });
    });
    push(
        "imgload_224_b32",
        "files to batches: decode, resize to 256, crop 224, flip, normalize",
        |b| {
            let Ok(folder) = tempfile::tempdir() else { return };
            let count = b.size(256, 2);
            let Ok(files) = write_pictures(folder.path(), count) else { return };
            let workers = b.settings.threads;
            b.time("f32", Rate::of(count, "images/s"), 0.0, || {
                assert_eq!(epoch(&files, 32, 256, 224, workers), count);
            });
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_become_normalized_crops() {
        let folder = tempfile::tempdir().unwrap();
        let files = write_pictures(folder.path(), 2).unwrap();
        let mut out = vec![9f32; 3 * 32 * 32];
        prepare(&files[0], 40, 32, 1, &mut out);
        // Bytes lie between 0 and 255, so values lie between these.
        assert!(out.iter().all(|v| (-2.2..2.7).contains(v)));
        let p = resize(&decode(PICTURES[0]), 256);
        assert_eq!((p.width(), p.height(), p.pixels().len()), (341, 256, 341 * 256 * 3));
    }
}
