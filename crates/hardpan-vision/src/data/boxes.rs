//! Targets that are places: [`PointBlock`] and [`BoxBlock`].

use super::blocks::describe_tensor;
use crate::plane::{Boxes, Points};
use hardpan_engine::{DType, Tensor};
use hardpan_learn::data::block::{Block, BoxError, Mark, Shown};
use std::collections::BTreeSet;

/// Points on a picture, given in its pixels, equally many for each. Batches are `[N, points, 2]` of f32 from -1 (left or upper edge) to 1.
/// Counterpart: fastai's `PointBlock` with `PointScaler`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PointBlock;

/// Pixels of a picture of `n` to -1..1.
fn scaled(v: f32, n: usize) -> f32 {
    v * 2.0 / n as f32 - 1.0
}

/// Pictures that a batch is decoded for are taken to be so large; places are relative anyway.
const SHOWN: usize = 2;

impl Block for PointBlock {
    type Source = Points;
    type Item = Points;
    type Batch = Tensor;

    fn name(&self) -> String {
        "points".to_owned()
    }
    fn encode(&self, source: Points) -> Result<Points, BoxError> {
        Ok(source)
    }
    fn collate(&self, items: Vec<Points>) -> Result<Tensor, BoxError> {
        let n = items.first().map_or(0, |p| p.points.len());
        if let Some(other) = items.iter().find(|p| p.points.len() != n) {
            return Err(format!("items with {n} and with {} points", other.points.len()).into());
        }
        let place = |p: &Points| -> Vec<f32> {
            let scale = |[x, y]: &[f32; 2]| [scaled(*x, p.width), scaled(*y, p.height)];
            p.points.iter().flat_map(scale).collect()
        };
        let values: Vec<f32> = items.iter().flat_map(place).collect();
        Ok(Tensor::from_slice(&values, [items.len(), n, 2]))
    }
    fn decode(&self, batch: &Tensor) -> Vec<Points> {
        let n = batch.shape()[1] * 2;
        let values = batch.to_dtype(DType::F32).to_vec::<f32>();
        let item = |v: &[f32]| Points {
            width: SHOWN,
            height: SHOWN,
            points: v.chunks(2).map(|p| [p[0] + 1.0, p[1] + 1.0]).collect(),
        };
        values.chunks(n.max(1)).map(item).collect()
    }
    fn show(&self, item: &Points) -> Shown {
        let marks = item.points.iter().map(|&p| Mark::Point(p)).collect();
        Shown::Marks { width: item.width, height: item.height, marks }
    }
    fn describe(&self, item: &Points) -> String {
        let (w, h) = (item.width, item.height);
        format!("{} points on {w}x{h}: {}", item.points.len(), self.show(item).text())
    }
    fn describe_batch(&self, batch: &Tensor) -> String {
        describe_tensor(batch)
    }
    fn blank(&self) -> Option<Points> {
        Some(Points { width: 1, height: 1, points: Vec::new() })
    }
}

/// Boxes of a batch, filled up to the same number with empty boxes of class 0, the background.
#[derive(Clone, Debug)]
pub struct BoxBatch {
    /// `[N, boxes, 4]` of f32: left, top, right, bottom, from -1 to 1.
    pub boxes: Tensor,
    /// `[N, boxes]` of i64.
    pub labels: Tensor,
}

/// Boxes with names on a picture, in its pixels. Class 0 is the background. Counterpart: fastai's `BBoxBlock` and `BBoxLblBlock`
/// with `bb_pad`.
#[derive(Clone, Debug, Default)]
pub struct BoxBlock {
    vocab: Vec<String>,
}

impl BoxBlock {
    /// The names of the training items' boxes, sorted, are the classes 1, 2, ...
    pub fn new() -> BoxBlock {
        BoxBlock::default()
    }
}

impl Block for BoxBlock {
    /// Boxes whose labels are places in the list of names.
    type Source = (Boxes, Vec<String>);
    type Item = Boxes;
    type Batch = BoxBatch;

    fn name(&self) -> String {
        "boxes".to_owned()
    }
    fn wants_setup(&self) -> bool {
        true
    }
    fn setup(&mut self, sources: &[(Boxes, Vec<String>)]) -> Result<(), BoxError> {
        let names: BTreeSet<&String> = sources.iter().flat_map(|(_, names)| names).collect();
        self.vocab =
            std::iter::once("#background#".to_owned()).chain(names.into_iter().cloned()).collect();
        Ok(())
    }
    fn encode(&self, (mut boxes, names): (Boxes, Vec<String>)) -> Result<Boxes, BoxError> {
        if names.len() != boxes.boxes.len() {
            return Err(format!("{} boxes but {} names", boxes.boxes.len(), names.len()).into());
        }
        let find = |name: &String| {
            let found = self.vocab.iter().position(|v| v == name);
            found.ok_or_else(|| format!("the training items have no box named {name:?}"))
        };
        boxes.labels = names.iter().map(find).collect::<Result<_, _>>()?;
        Ok(boxes)
    }
    fn collate(&self, items: Vec<Boxes>) -> Result<BoxBatch, BoxError> {
        let n = items.iter().map(|b| b.boxes.len()).max().unwrap_or(0).max(1);
        let mut places = vec![0f32; items.len() * n * 4];
        let mut labels = vec![0i64; items.len() * n];
        for (i, item) in items.iter().enumerate() {
            for (j, ([l, t, r, b], &label)) in item.boxes.iter().zip(&item.labels).enumerate() {
                let (w, h) = (item.width, item.height);
                let place = [scaled(*l, w), scaled(*t, h), scaled(*r, w), scaled(*b, h)];
                places[(i * n + j) * 4..][..4].copy_from_slice(&place);
                labels[i * n + j] = label as i64;
            }
        }
        Ok(BoxBatch {
            boxes: Tensor::from_slice(&places, [items.len(), n, 4]),
            labels: Tensor::from_slice(&labels, [items.len(), n]),
        })
    }
    fn decode(&self, batch: &BoxBatch) -> Vec<Boxes> {
        let n = batch.labels.shape()[1];
        let (places, labels) = (batch.boxes.to_vec::<f32>(), batch.labels.to_vec::<i64>());
        let item = |(places, labels): (&[f32], &[i64])| {
            let mut out =
                Boxes { width: SHOWN, height: SHOWN, boxes: Vec::new(), labels: Vec::new() };
            for (p, &label) in places.chunks(4).zip(labels).filter(|(_, l)| **l > 0) {
                out.boxes.push([p[0] + 1.0, p[1] + 1.0, p[2] + 1.0, p[3] + 1.0]);
                out.labels.push(label as usize);
            }
            out
        };
        places.chunks(n * 4).zip(labels.chunks(n)).map(item).collect()
    }
    fn show(&self, item: &Boxes) -> Shown {
        let name = |l: &usize| self.vocab.get(*l).cloned().unwrap_or_else(|| format!("class {l}"));
        let boxes = item.boxes.iter().zip(&item.labels);
        let marks = boxes.map(|(b, l)| Mark::Box(*b, name(l))).collect();
        Shown::Marks { width: item.width, height: item.height, marks }
    }
    fn describe_batch(&self, batch: &BoxBatch) -> String {
        format!("{}, {}", describe_tensor(&batch.boxes), describe_tensor(&batch.labels))
    }
    fn vocab(&self) -> &[String] {
        &self.vocab
    }
    fn blank(&self) -> Option<Boxes> {
        Some(Boxes { width: 1, height: 1, boxes: Vec::new(), labels: Vec::new() })
    }
}
