//! Rows of a table chosen by number, alone or in bags, and one-hot vectors.

use super::{DType, Tensor, beside, iota_along, number, pick, value_with_gradient_of};
use crate::op::ScatterOp;
use crate::shape::Dims;
use std::panic::Location;

/// Options of [`embedding`].
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingOptions {
    /// A row that gets no gradient; negative counts from the end.
    pub padding_idx: Option<isize>,
    /// Rows longer than this are used at this length.
    pub max_norm: Option<f64>,
    /// Which norm `max_norm` means. Default 2.
    pub norm_type: f64,
    /// Divide a row's gradient by how often it was chosen. Default false.
    pub scale_grad_by_freq: bool,
}

impl Default for EmbeddingOptions {
    fn default() -> Self {
        EmbeddingOptions {
            padding_idx: None,
            max_norm: None,
            norm_type: 2.0,
            scale_grad_by_freq: false,
        }
    }
}

/// The rows of `weight: [n, D]` that `index` (any integer dtype and shape) names: `[index.., D]`.
///
/// Counterpart: `torch.nn.functional.embedding` (which shortens rows above `max_norm` in the table itself; here only in the
/// result).
///
/// # Panics
/// When `weight` is no matrix or an index is no integer; at run time when an index is out of range.
#[track_caller]
pub fn embedding(index: &Tensor, weight: &Tensor, options: EmbeddingOptions) -> Tensor {
    let at = Location::caller();
    assert!(weight.rank() == 2, "embedding: expected a table [n, D], got {:?}", weight.shape());
    assert!(
        !index.dtype().is_float(),
        "embedding: indices must be integers, got {}",
        index.dtype()
    );
    crate::tensor::index::check_known("embedding", "index", index, weight.shape()[0], None);
    let index = index.to_dtype(DType::I64);
    let rows = weight.prim_take(&index, at);
    let mut y = rows.clone();
    if let Some(limit) = options.max_norm {
        let plain = super::widen(&rows.detach());
        let axes = Dims::from_slice(&[plain.rank() - 1]);
        let norm = super::distance::norm_keepdim(&plain, options.norm_type, &axes);
        let factor = pick(&norm.gt(limit), limit / (&norm + 1e-7), &number(&norm, 1.0));
        let short = (plain * factor).to_dtype(rows.dtype());
        y = value_with_gradient_of(&short, &y);
    }
    if options.scale_grad_by_freq && y.is_requires_grad() {
        let flat = index.reshape([index.numel()]);
        let ones = beside(&index, || Tensor::ones([index.numel()]));
        let none = beside(&index, || Tensor::zeros([weight.shape()[0]]));
        let count = Tensor::prim_scatter(ScatterOp::Add, &none, &flat, &ones, at);
        let share = count.prim_take(&index, at).reciprocal().to_dtype(y.dtype());
        y = value_with_gradient_of(&y, &(&y * share.unsqueeze(-1)));
    }
    if let Some(p) = options.padding_idx
        && y.is_requires_grad()
    {
        let is_padding = index.eq(row_number(p, weight.shape()[0])).unsqueeze(-1);
        y = pick(&is_padding, y.detach(), &y);
    }
    y
}

#[track_caller]
fn row_number(i: isize, n: usize) -> i64 {
    let n = n as i64;
    let i = i as i64;
    assert!((-n..n).contains(&i), "embedding: padding_idx {i} is out of range for {n} rows");
    if i < 0 { i + n } else { i }
}

/// How [`embedding_bag`] joins the rows of a bag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// Their largest, by column.
    Max,
}

/// Options of [`embedding_bag`].
#[derive(Clone, Default)]
pub struct EmbeddingBagOptions<'a> {
    /// Where each bag starts, for indices of rank 1.
    pub offsets: Option<&'a Tensor>,
    /// The last offset is the end of the last bag. Default false.
    pub include_last_offset: bool,
    /// Default: mean.
    pub mode: BagMode,
    /// A factor for each index; only with the sum.
    pub per_sample_weights: Option<&'a Tensor>,
    /// A row that bags leave out; negative counts from the end.
    pub padding_idx: Option<isize>,
    /// Rows longer than this are used at this length.
    pub max_norm: Option<f64>,
    /// Which norm `max_norm` means. Default 2.
    pub norm_type: Option<f64>,
    /// Divide a row's gradient by how often it was chosen. Default false.
    pub scale_grad_by_freq: bool,
}

/// The rows of `weight: [n, D]` joined by bags: `[bags, D]`. `index: [bags, size]`, or `[count]` with `offsets: [bags]`. An
/// empty bag gives zeros.
///
/// Counterpart: `torch.nn.functional.embedding_bag`.
///
/// # Panics
/// When shapes do not fit.
#[track_caller]
pub fn embedding_bag(index: &Tensor, weight: &Tensor, options: EmbeddingBagOptions<'_>) -> Tensor {
    let o = options;
    assert!(
        weight.rank() == 2 && (index.rank() == 2) == o.offsets.is_none() && index.rank() <= 2,
        "embedding_bag: expected indices [bags, size], or [count] with offsets; got {:?} for a table {:?}",
        index.shape(),
        weight.shape()
    );
    assert!(
        o.per_sample_weights.is_none_or(|w| o.mode == BagMode::Sum && w.shape() == index.shape()),
        "embedding_bag: per_sample_weights need mode Sum and the shape of the indices"
    );
    let index = index.to_dtype(DType::I64);
    // Bags of one length: shorter ones repeat an index and are masked.
    let (index, factors, mut present) = match o.offsets {
        None => (index.clone(), o.per_sample_weights.cloned(), None),
        Some(offsets) => {
            let (place, present) = bags(&index, offsets, o.include_last_offset);
            let at = Location::caller();
            let pick_from = |t: &Tensor| {
                if t.numel() == 0 {
                    beside(t, || Tensor::zeros_dtype(place.shape(), t.dtype()))
                } else {
                    t.prim_take(&place, at)
                }
            };
            (pick_from(&index), o.per_sample_weights.map(pick_from), Some(present))
        }
    };
    if let Some(p) = o.padding_idx {
        let kept = index.ne(row_number(p, weight.shape()[0]));
        present = Some(match present {
            Some(m) => m * kept,
            None => kept,
        });
    }
    let rows = embedding(
        &index,
        weight,
        EmbeddingOptions {
            max_norm: o.max_norm,
            norm_type: o.norm_type.unwrap_or(2.0),
            scale_grad_by_freq: o.scale_grad_by_freq,
            ..Default::default()
        },
    );
    let dtype = rows.dtype();
    let rows = super::widen(&rows);
    let (count, size, d) = (rows.shape()[0], rows.shape()[1], rows.shape()[2]);
    if size == 0 {
        return beside(weight, || Tensor::zeros_dtype([count, d], dtype));
    }
    let mask = present.map(|m| m.unsqueeze(-1));
    let masked = |fill: f64, t: &Tensor| match &mask {
        Some(m) => pick(&m.logical_not(), number(t, fill), t),
        None => t.clone(),
    };
    let y = match o.mode {
        BagMode::Sum => {
            let rows = match factors {
                Some(f) => rows * super::widen(&f).unsqueeze(-1),
                None => rows,
            };
            masked(0.0, &rows).sum(1)
        }
        BagMode::Mean => {
            let total = masked(0.0, &rows).sum(1);
            match &mask {
                None => total / size as f64,
                Some(m) => total / m.to_dtype(DType::I64).sum(1).maximum(1).to_dtype(rows.dtype()),
            }
        }
        BagMode::Max => {
            let columns = masked(f64::NEG_INFINITY, &rows).permute([0, 2, 1]);
            let top = super::pool::first_max(&columns, 1, false).0;
            match &mask {
                None => top,
                Some(m) => {
                    let empty = m.to_dtype(DType::I64).sum(1).eq(0);
                    pick(&empty, number(&top, 0.0), &top)
                }
            }
        }
    };
    y.to_dtype(dtype)
}

/// For each bag the places of its indices (`[bags, longest]`) and which of those are real.
#[track_caller]
fn bags(index: &Tensor, offsets: &Tensor, include_last: bool) -> (Tensor, Tensor) {
    let mut starts = offsets.to_vec::<i64>();
    if !include_last {
        starts.push(index.numel() as i64);
    }
    let bounds: Vec<(i64, i64)> = starts.windows(2).map(|w| (w[0], w[1])).collect();
    assert!(
        bounds.iter().all(|(a, b)| 0 <= *a && a <= b && *b <= index.numel() as i64),
        "embedding_bag: offsets must rise from 0 and stay within the {} indices",
        index.numel()
    );
    let longest = bounds.iter().map(|(a, b)| b - a).max().unwrap_or(0);
    let mut place = Vec::new();
    let mut present = Vec::new();
    for (a, b) in &bounds {
        for i in 0..longest {
            place.push(if a + i < *b { a + i } else { 0 });
            present.push(a + i < *b);
        }
    }
    let shape = [bounds.len(), longest as usize];
    beside(index, || (Tensor::from_slice(&place, shape), Tensor::from_slice(&present, shape)))
}

/// Vectors (i64) with 1 at the place each element names: `[index.., classes]`. Without `classes` it is one more than the largest
/// element, which is read. Counterpart: `torch.nn.functional.one_hot`.
///
/// # Panics
/// When there are no elements to find the number of classes from, or a number is out of range. (Where the numbers are many or not known
/// yet, those out of range give all zeros instead.)
#[track_caller]
pub fn one_hot(index: &Tensor, classes: Option<usize>) -> Tensor {
    let n = classes.unwrap_or_else(|| {
        assert!(index.numel() > 0, "one_hot: no elements to find the number of classes from");
        let top = index.amax(..).item::<i64>() + 1;
        usize::try_from(top).expect("one_hot: class numbers must not be negative")
    });
    crate::tensor::index::check_known("one_hot", "class", index, n, None);
    let rank = index.rank() + 1;
    let columns = iota_along(index, n, rank - 1, rank);
    columns.eq(index.to_dtype(DType::I64).unsqueeze(-1)).to_dtype(DType::I64)
}
