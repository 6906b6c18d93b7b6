//! Statistics: variance and its relatives, covariance, histograms.

use super::arguments::Axes;
use super::elementwise::wide;
use super::fold::folds;
use crate::dtype::DType;
use crate::node::Tensor;
use crate::op::ScatterOp;
use std::panic::Location;

/// Variance and mean in the working type, reduced axes kept with size 1.
#[track_caller]
fn moments(x: &Tensor, axes: &[usize], correction: f64) -> (Tensor, Tensor) {
    let x = wide(x);
    let at = Location::caller();
    let n: usize = axes.iter().map(|a| x.shape()[*a]).product();
    let mean = x.mean_at(axes, true, at);
    let d = &x - &mean;
    let total = (&d * &d).sum_at(axes, true, at);
    (total / (n as f64 - correction).max(0.0), mean)
}

/// Square root with gradient 0 (not infinite) at 0.
#[track_caller]
pub(crate) fn safe_sqrt(x: &Tensor) -> Tensor {
    let zero = x.eq(0.0);
    x.zeros_like().where_(&zero, x.ones_like().where_(&zero, x).sqrt())
}

impl Tensor {
    /// Variance over `dims`, the squared distances divided by `n - correction` (1: the unbiased estimate). Counterpart:
    /// `torch.var(dim, correction=..)`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3]);
    /// assert_eq!(x.var(.., 1.0).item::<f32>(), 1.0);
    /// ```
    #[track_caller]
    pub fn var(&self, dims: impl Axes, correction: f64) -> Tensor {
        let axes = dims.axes("var", self.rank());
        let (v, _) = moments(self, &axes, correction);
        v.drop_axes(&axes, Location::caller()).to_dtype(self.dtype().to_float())
    }

    /// As [`Tensor::var`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn var_keepdim(&self, dims: impl Axes, correction: f64) -> Tensor {
        let axes = dims.axes("var", self.rank());
        moments(self, &axes, correction).0.to_dtype(self.dtype().to_float())
    }

    /// Standard deviation over `dims`. Its gradient is 0 where it is 0. Counterpart: `torch.std(dim, correction=..)`.
    #[track_caller]
    pub fn std(&self, dims: impl Axes, correction: f64) -> Tensor {
        let axes = dims.axes("std", self.rank());
        let (v, _) = moments(self, &axes, correction);
        safe_sqrt(&v).drop_axes(&axes, Location::caller()).to_dtype(self.dtype().to_float())
    }

    /// As [`Tensor::std`], keeping the dimensions with size 1.
    #[track_caller]
    pub fn std_keepdim(&self, dims: impl Axes, correction: f64) -> Tensor {
        let axes = dims.axes("std", self.rank());
        safe_sqrt(&moments(self, &axes, correction).0).to_dtype(self.dtype().to_float())
    }

    /// Variance and mean over `dims`. Counterpart: `torch.var_mean`.
    #[track_caller]
    pub fn var_mean(&self, dims: impl Axes, correction: f64) -> (Tensor, Tensor) {
        let axes = dims.axes("var_mean", self.rank());
        let (v, m) = moments(self, &axes, correction);
        let end =
            |t: Tensor| t.drop_axes(&axes, Location::caller()).to_dtype(self.dtype().to_float());
        (end(v), end(m))
    }

    /// Standard deviation and mean over `dims`. Counterpart: `torch.std_mean`.
    #[track_caller]
    pub fn std_mean(&self, dims: impl Axes, correction: f64) -> (Tensor, Tensor) {
        let axes = dims.axes("std_mean", self.rank());
        let (v, m) = moments(self, &axes, correction);
        let end =
            |t: Tensor| t.drop_axes(&axes, Location::caller()).to_dtype(self.dtype().to_float());
        (end(safe_sqrt(&v)), end(m))
    }

    /// Covariance matrix of variables (rows) over observations (columns), which may be weighted by whole numbers `fweights`
    /// and by real ones `aweights`. Counterpart: `torch.cov`.
    #[track_caller]
    pub fn cov(
        &self,
        correction: f64,
        fweights: Option<&Tensor>,
        aweights: Option<&Tensor>,
    ) -> Tensor {
        assert!(self.rank() <= 2, "cov: expected at most 2 dimensions, got {:?}", self.shape());
        let dtype = self.dtype().to_float();
        let dtype = aweights.map_or(dtype, |a| dtype.promote(a.dtype()));
        let x = wide(self);
        let x = match x.rank() {
            0 => x.reshape([1, 1]),
            1 => x.unsqueeze(0),
            _ => x,
        };
        let n = x.shape()[1];
        let weights = match (fweights, aweights) {
            (Some(f), Some(a)) => Some(f.to_dtype(x.dtype()) * a.to_dtype(x.dtype())),
            (Some(f), None) => Some(f.to_dtype(x.dtype())),
            (None, Some(a)) => Some(a.to_dtype(x.dtype())),
            (None, None) => None,
        };
        let (centred, weighted, norm) = match &weights {
            None => {
                let d = &x - x.mean_keepdim(1);
                let norm = Tensor::full([0usize; 0], n as f64 - correction).to_dtype(x.dtype());
                (d.clone(), d, norm)
            }
            Some(w) => {
                let total = w.sum(..);
                let d = &x - (&x * w).sum_keepdim(1) / &total;
                let norm = match (aweights, correction == 0.0) {
                    (_, true) => total,
                    (None, false) => total - correction,
                    (Some(a), false) => {
                        let a = a.to_dtype(x.dtype());
                        &total - (w * a).sum(..) / &total * correction
                    }
                };
                (d.clone(), d * w, norm)
            }
        };
        let out = weighted.matmul(&centred.t()) / norm.clamp_min(0.0);
        let out = if out.numel() == 1 { out.reshape([0usize; 0]) } else { out };
        out.to_dtype(dtype)
    }

    /// Correlation matrix of variables (rows) over observations (columns). Counterpart: `torch.corrcoef`.
    #[track_caller]
    pub fn corrcoef(&self) -> Tensor {
        let c = wide(self).cov(1.0, None, None);
        if c.rank() == 0 {
            return c.div(&c).to_dtype(self.dtype().to_float());
        }
        let n = c.shape()[0];
        let diagonal =
            c.reshape([n * n]).prim_take(&(Tensor::iota(n) * (n + 1)), Location::caller());
        let s = diagonal.sqrt();
        let r = c / s.unsqueeze(1) / s.unsqueeze(0);
        r.clamp(-1.0, 1.0).to_dtype(self.dtype().to_float())
    }

    /// Counts of elements in `bins` equal intervals of `[min, max]`, in the dtype of `self`; elements outside are left out.
    /// With `min == max` the range is that of the data. Counterpart: `torch.histc`.
    #[track_caller]
    pub fn histc(&self, bins: usize, min: f64, max: f64) -> Tensor {
        let x = self.detach().to_dtype(DType::F64).reshape([self.numel()]);
        let (mut lo, mut hi) = (min, max);
        if lo == hi && x.numel() > 0 {
            lo = x.amin(..).item::<f64>();
            hi = x.amax(..).item::<f64>();
        }
        if lo == hi {
            (lo, hi) = (lo - 1.0, hi + 1.0);
        }
        let inside = x.ge(lo).logical_and(x.le(hi));
        let place = ((&x - lo) * (bins as f64 / (hi - lo))).floor().clamp(0.0, bins as f64 - 1.0);
        let place = place.where_(&inside, bins as f64).to_dtype(DType::I64);
        count(&place, bins + 1).narrow(0, 0, bins).to_dtype(self.dtype())
    }

    /// How often each of `0, 1, ..` occurs (i64), or the sum of the `weights` there; at least `minlength` numbers. Reads the
    /// largest element. Counterpart: `torch.bincount`.
    #[track_caller]
    pub fn bincount(&self, weights: Option<&Tensor>, minlength: usize) -> Tensor {
        assert!(
            self.rank() == 1 && !self.dtype().is_float(),
            "bincount: expected one dimension of integers, got {}{:?}",
            self.dtype(),
            self.shape()
        );
        let at = Location::caller();
        let x = self.to_dtype(DType::I64);
        let n = if x.numel() == 0 { 0 } else { x.amax(..).item::<i64>() as usize + 1 };
        let n = n.max(minlength);
        match weights {
            None => count(&x, n),
            Some(w) => {
                let dtype = if w.dtype() == DType::F32 { DType::F32 } else { DType::F64 };
                if n == 0 || x.numel() == 0 {
                    return Tensor::zeros_dtype([n], dtype);
                }
                let base = Tensor::zeros_dtype([n], dtype);
                Tensor::prim_scatter(ScatterOp::Add, &base, &x, &w.to_dtype(dtype), at)
            }
        }
    }
}

/// How often each of `0..n` occurs in a list of i64.
#[track_caller]
fn count(places: &Tensor, n: usize) -> Tensor {
    let base = Tensor::zeros_dtype([n], DType::I64);
    if n == 0 || places.numel() == 0 {
        return base;
    }
    let ones = places.ones_like();
    Tensor::prim_scatter(ScatterOp::Add, &base, places, &ones, Location::caller())
}

folds! {
    /// `sqrt(mean(x^2))` over `dims`: the root mean square.
    rms, rms_keepdim => rms;
}

fn rms(x: &Tensor, axes: &[usize], at: &'static Location<'static>) -> Tensor {
    let x32 = wide(x);
    safe_sqrt(&(&x32 * &x32).mean_at(axes, true, at)).prim_cast(x.dtype().to_float(), at)
}
