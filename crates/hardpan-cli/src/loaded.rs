//! A model's file, whatever kind of model it is.

use anyhow::Result;
use hardpan::learn::file::ModelFile;
use hardpan::vision::predictor::{InputSpec, MaskPredictor, Predictor};
use hardpan::vision::unet::UNET;
use std::path::Path;

/// A saved model, ready to be used.
pub enum Loaded {
    /// Tells pictures apart.
    Classes(Box<Predictor>),
    /// Tells pixels apart.
    Masks(Box<MaskPredictor>),
}

impl Loaded {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Loaded> {
        let file = ModelFile::read(path)?;
        Ok(match file.header.arch.as_ref().is_some_and(|a| a.name == UNET) {
            true => Loaded::Masks(Box::new(MaskPredictor::from_file(file)?)),
            false => Loaded::Classes(Box::new(Predictor::from_file(file)?)),
        })
    }

    /// What it tells apart.
    pub fn classes(&self) -> &[String] {
        match self {
            Loaded::Classes(p) => p.classes(),
            Loaded::Masks(p) => p.classes(),
        }
    }

    /// How pictures become its input.
    pub fn input(&self) -> &InputSpec {
        match self {
            Loaded::Classes(p) => p.input(),
            Loaded::Masks(p) => p.input(),
        }
    }
}
