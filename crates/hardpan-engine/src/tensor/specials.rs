//! Special functions composed of the primitive ones.

use super::elementwise::wide;
use crate::dtype::DType;
use crate::node::Tensor;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

impl Tensor {
    /// Entropy terms `-x ln(x)`: 0 at 0, minus infinity below. Counterpart: `torch.special.entr`.
    #[track_caller]
    pub fn entr(&self) -> Tensor {
        let x = wide(self);
        let up = x.gt(0.0);
        let safe = x.where_(&up, 1.0);
        let body = -(&safe * safe.log());
        let low = x.full_like(f64::NEG_INFINITY).where_(&x.lt(0.0), 0.0);
        let out = body.where_(&up, low);
        x.where_(&x.isnan(), out).to_dtype(self.dtype().to_float())
    }

    /// `e^-|x| I0(x)`: the Bessel function without its growth. Counterpart: `torch.special.i0e`.
    #[track_caller]
    pub fn i0e(&self) -> Tensor {
        self.scaled_bessel(Tensor::i0, &[1.0, 0.125, 9.0 / 128.0, 75.0 / 1024.0, 3675.0 / 32768.0])
    }

    /// `e^-|x| I1(x)`. Counterpart: `torch.special.i1e`.
    #[track_caller]
    pub fn i1e(&self) -> Tensor {
        let far = [1.0, -0.375, -15.0 / 128.0, -105.0 / 1024.0, -4725.0 / 32768.0];
        let size = self.to_dtype(DType::F64).abs().scaled_bessel(Tensor::i1, &far);
        (size * self.sign().to_dtype(DType::F64)).to_dtype(self.dtype().to_float())
    }

    /// Near by the function itself; far, where that overflows, by its expansion in `1 / x` (DLMF 10.40.1).
    #[track_caller]
    fn scaled_bessel(&self, near: fn(&Tensor) -> Tensor, far: &[f64]) -> Tensor {
        let x = self.to_dtype(DType::F64);
        let size = x.abs();
        let is_far = size.gt(100.0);
        let low = size.ones_like().where_(&is_far, &x);
        let low = (-low.abs()).exp() * near(&low);
        let high = size.where_(&is_far, 100.0);
        let inverse = high.reciprocal();
        let mut series = high.zeros_like();
        for c in far.iter().rev() {
            series = series * &inverse + *c;
        }
        let high = series / (high * (2.0 * PI)).sqrt();
        high.where_(&is_far, low).to_dtype(self.dtype().to_float())
    }

    /// The standard normal distribution function. Counterpart: `torch.special.ndtr`.
    #[track_caller]
    pub fn ndtr(&self) -> Tensor {
        ((wide(self) * -FRAC_1_SQRT_2).erfc() * 0.5).to_dtype(self.dtype().to_float())
    }

    /// The `n`-th derivative of [`Tensor::digamma`]. Counterpart: `torch.polygamma`.
    ///
    /// Beyond the second derivative (for which there is no gradient either) it is the sum over `k` of
    /// `n! (-1)^(n+1) / (x + k)^(n+1)`, with the tail by the Euler-Maclaurin formula (DLMF 25.11.43).
    #[track_caller]
    pub fn polygamma(&self, n: u32) -> Tensor {
        let dtype = self.dtype().to_float();
        if n == 0 {
            return self.digamma();
        }
        let x = self.to_dtype(DType::F64);
        let s = n as f64 + 1.0;
        let sign = if n % 2 == 1 { 1.0 } else { -1.0 };
        let factorial: f64 = (1..=n as u64).map(|k| k as f64).product();
        // Negative arguments by the recurrence: shifting up by whole numbers adds the terms passed over.
        let steps = if x.numel() == 0 {
            0
        } else {
            let low = x.detach().where_(&x.isfinite(), 0.0).amin(..).item::<f64>();
            (-low).clamp(0.0, 1000.0).ceil() as usize
        };
        let shift = steps + 12;
        let mut total = x.zeros_like();
        for k in 0..shift {
            total += (&x + k as f64).pow(-s);
        }
        let y = &x + shift as f64;
        total += y.pow(1.0 - s) / (s - 1.0) + y.pow(-s) * 0.5;
        // Bernoulli numbers over factorials: B2/2!, B4/4!, ...
        let terms = [1.0 / 12.0, -1.0 / 720.0, 1.0 / 30240.0, -1.0 / 1209600.0, 1.0 / 47900160.0];
        let mut rising = s;
        for (j, b) in terms.iter().enumerate() {
            let j = j as f64;
            total += y.pow(-(s + 2.0 * j + 1.0)) * (b * rising);
            rising *= (s + 2.0 * j + 1.0) * (s + 2.0 * j + 2.0);
        }
        (total * (sign * factorial)).to_dtype(dtype)
    }

    /// Logarithm of the multivariate gamma function of dimension `p`. Counterpart: `torch.special.multigammaln`.
    #[track_caller]
    pub fn multigammaln(&self, p: usize) -> Tensor {
        let x = wide(self);
        let constant = p as f64 * (p as f64 - 1.0) / 4.0 * PI.ln();
        let mut total = x.full_like(constant);
        for j in 0..p {
            total += (&x - j as f64 / 2.0).lgamma();
        }
        total.to_dtype(self.dtype().to_float())
    }
}
