//! Weights that others have trained and published: [`PUBLISHED`], and [`Weights::get`].

use crate::download::{Progress, download, sha256};
use crate::error::{DatasetError, io};
use std::path::{Path, PathBuf};

/// A file of weights trained on ImageNet-1k.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weights {
    /// What it is asked for by: the architecture's name.
    pub name: &'static str,
    /// Where it is.
    pub url: &'static str,
    /// How its SHA-256 begins. PyTorch's and timm's files have it in their names.
    pub sha256_start: &'static str,
    /// Megabytes to be downloaded, about.
    pub megabytes: f64,
    /// Published accuracy on ImageNet's validation pictures in percent, top 1.
    pub top1: f64,
    /// What its makers say.
    pub licence: &'static str,
}

macro_rules! torch {
    ($name:literal, $start:literal, $megabytes:literal, $top1:literal) => {
        Weights {
            name: $name,
            url: concat!("https://download.pytorch.org/models/", $name, "-", $start, ".pth"),
            sha256_start: $start,
            megabytes: $megabytes,
            top1: $top1,
            licence: "BSD-3-Clause (torchvision); trained on ImageNet",
        }
    };
}

/// Those that are known by name. Addresses, sums, sizes and accuracies are torchvision's (0.23, `IMAGENET1K_V1`) and timm's (1.0).
pub const PUBLISHED: &[Weights] = &[
    Weights {
        name: "efficientnet_lite0",
        url: "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/tf_efficientnet_lite0-0aa007d2.pth",
        sha256_start: "0aa007d2",
        megabytes: 18.8,
        top1: 74.8,
        licence: "Apache-2.0 (timm, from Google's); trained on ImageNet",
    },
    torch!("resnet18", "f37072fd", 46.8, 69.8),
    torch!("resnet34", "b627a593", 87.3, 73.3),
    torch!("resnet50", "0676ba61", 102.5, 76.1),
    torch!("resnet101", "63fe2227", 178.8, 77.4),
    torch!("resnet152", "394f9c45", 241.6, 78.3),
    torch!("mobilenet_v3_small", "047dcff4", 10.3, 67.7),
    torch!("mobilenet_v3_large", "8738ca79", 22.1, 74.0),
    torch!("convnext_tiny", "983f1562", 114.4, 82.5),
];

/// The published weights of this name; `-` and `_`, upper and lower case are the same.
pub fn find_weights(name: &str) -> Option<&'static Weights> {
    let plain = |s: &str| s.to_ascii_lowercase().replace('-', "_");
    PUBLISHED.iter().find(|w| w.name == plain(name))
}

impl Weights {
    /// The file in `folder`, as `NAME.pth`: downloaded if it is not there, and removed if it is not the one that was published.
    ///
    /// ```no_run
    /// let weights = hardpan_datasets::find_weights("resnet18").expect("a known name");
    /// let file = weights.get("weights".as_ref(), &mut |p| eprint!("\r{} bytes", p.received))?;
    /// # Ok::<(), hardpan_datasets::DatasetError>(())
    /// ```
    ///
    /// # Errors
    /// If it cannot be had; see [`DatasetError`].
    pub fn get(
        &self,
        folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf, DatasetError> {
        let path = folder.join(format!("{}.pth", self.name));
        if path.is_file() {
            return Ok(path);
        }
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        // Under another name until it is known to be the right one.
        let file = folder.join(format!("{}.download", self.name));
        download(self.url, &file, progress)?;
        let found = sha256(&file)?;
        if !found.starts_with(self.sha256_start) {
            let _ = std::fs::remove_file(&file);
            let expected = format!("{}...", self.sha256_start);
            return Err(DatasetError::Checksum { path: file, what: "SHA-256", found, expected });
        }
        std::fs::rename(&file, &path).map_err(io(&path))?;
        Ok(path)
    }
}
