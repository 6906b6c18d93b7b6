//! [`DataBlock::summary`]: what happens to one item, step by step, until something fails.

use super::blocks::listing;
use super::{Block, DataBlock};
use crate::data::DataError;
use std::fmt::{Debug, Write};
use std::path::Path;

impl<I, X, Y> DataBlock<I, X, Y>
where
    I: Debug + Send + Sync + 'static,
    X: Block,
    Y: Block,
{
    /// Tells how a source becomes batches: what was found, how it is split, what each step makes of the first training item, and what a
    /// batch of `batch_size` looks like. If a step fails, the text ends with what was wrong there. Counterpart: fastai's
    /// `DataBlock.summary`.
    pub fn summary(self, source: impl AsRef<Path>, batch_size: usize) -> String {
        let mut out = format!("Items from {}\n", source.as_ref().display());
        match self.find(source.as_ref()) {
            Ok(items) => self.narrate(items, batch_size, &mut out),
            Err(e) => failed(&mut out, &e),
        }
        out
    }

    /// As [`summary`](DataBlock::summary) for items that are there.
    pub fn summary_of(self, items: Vec<I>, batch_size: usize) -> String {
        let mut out = String::from("Items as given\n");
        self.narrate(items, batch_size, &mut out);
        out
    }

    fn narrate(self, items: Vec<I>, batch_size: usize, out: &mut String) {
        let _ = writeln!(out, "  found {} items", items.len());
        let data = match self.datasets_of(items) {
            Ok(data) => data,
            Err(e) => return failed(out, &e),
        };
        let (train, valid) = (data.train().items().len(), data.valid().items().len());
        let _ = writeln!(out, "  split: {train} to train on, {valid} to validate on");
        for (what, name, vocab) in [
            ("inputs", data.x().name(), data.x().vocab()),
            ("targets", data.y().name(), data.y().vocab()),
        ] {
            let _ = writeln!(out, "  {what}: {name}");
            if !vocab.is_empty() {
                let _ = writeln!(out, "    {} classes: {}", vocab.len(), listing(vocab));
            }
        }
        if let Err(e) = data.train().narrate(out) {
            return failed(out, &e);
        }
        let _ = writeln!(out, "A batch of {batch_size}");
        let first = data.loaders(batch_size).and_then(|loaders| {
            let raw = data.train().first_batch(batch_size)?;
            let _ = writeln!(
                out,
                "  collated: {}; {}",
                data.x().describe_batch(&raw.0),
                data.y().describe_batch(&raw.1)
            );
            let (mut x, mut y) = raw;
            for tfm in data.batch_tfms() {
                (x, y) = tfm.encode(x, y);
                let _ = writeln!(
                    out,
                    "  {}: {}; {}",
                    tfm.name(),
                    data.x().describe_batch(&x),
                    data.y().describe_batch(&y)
                );
            }
            Ok(loaders)
        });
        match first {
            Ok(loaders) => {
                let valid = loaders.valid.map_or(0, |v| v.len());
                let _ = writeln!(
                    out,
                    "An epoch: {} batches to train on, {valid} to validate on",
                    loaders.train.len()
                );
            }
            Err(e) => failed(out, &e),
        }
    }
}

fn failed(out: &mut String, e: &DataError) {
    let _ = writeln!(out, "  FAILED: {e}");
}
