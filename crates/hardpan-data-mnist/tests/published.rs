//! The embedded digits are the published ones: the four original idx files, rebuilt from them, have
//! the SHA-256 sums of the originals.
use hardpan_data_mnist::{COLS, MEAN, ROWS, STD, Split, both, test, train};
use sha2::{Digest, Sha256};

fn sha(magic: u32, sizes: &[u32], body: &[u8]) -> String {
    let mut h = Sha256::new();
    h.update(magic.to_be_bytes());
    sizes.iter().for_each(|n| h.update(n.to_be_bytes()));
    h.update(body);
    h.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

fn sums(s: &Split) -> (String, String) {
    let n = s.len() as u32;
    (sha(2051, &[n, ROWS as u32, COLS as u32], &s.images), sha(2049, &[n], &s.labels))
}

#[test]
fn training_files_are_the_originals() {
    let (images, labels) = sums(train());
    assert_eq!(images, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db");
    assert_eq!(labels, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5");
}

#[test]
fn test_files_are_the_originals() {
    let (images, labels) = sums(test());
    assert_eq!(images, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7");
    assert_eq!(labels, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2");
}

#[test]
fn label_counts_are_the_known_ones() {
    let count = |s: &Split| {
        let mut c = [0; 10];
        s.labels.iter().for_each(|&l| c[l as usize] += 1);
        c
    };
    let (tr, te) = both();
    assert_eq!(count(tr), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(count(te), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
}

#[test]
fn stated_mean_and_deviation_are_those_of_the_training_pixels() {
    let px = &train().images;
    let n = px.len() as f64;
    let sum: u64 = px.iter().map(|&p| p as u64).sum();
    let squares: u64 = px.iter().map(|&p| p as u64 * p as u64).sum();
    let mean = sum as f64 / n / 255.0;
    let std = (squares as f64 / n / (255.0 * 255.0) - mean * mean).sqrt();
    assert!((mean - MEAN).abs() < 1e-7, "mean {mean}");
    assert!((std - STD).abs() < 1e-7, "std {std}");
}
