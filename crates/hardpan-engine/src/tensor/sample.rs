//! Random tensors beyond `rand` and `randn`: whole numbers, permutations, draws from given probabilities.
//!
//! All draw from the generator that [`crate::manual_seed`] seeds, so equal seeds give equal results for any number of threads.

use super::arguments::{IntoSizes, Operand, shape_of};
use crate::dev::with_device;
use crate::dtype::{DType, Scalar};
use crate::node::{Tensor, no_grad};
use crate::op::{BinaryOp, Distribution, ScanOp};
use crate::shape::Dims;
use std::panic::Location;

type At = &'static Location<'static>;

impl Tensor {
    /// Whole numbers drawn evenly from `low..high`, i64. Counterpart: `torch.randint`.
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let dice = Tensor::randint(1, 7, [100]);
    /// assert!(dice.to_vec::<i64>().iter().all(|d| (1..=6).contains(d)));
    /// ```
    ///
    /// # Panics
    /// When the range is empty.
    #[track_caller]
    pub fn randint(low: i64, high: i64, shape: impl IntoSizes) -> Tensor {
        let at = Location::caller();
        assert!(low < high, "randint: the range {low}..{high} is empty");
        let shape = shape_of("randint", &shape);
        let range = high.wrapping_sub(low);
        let bits = Tensor::random_at(&shape, Distribution::Bits, at);
        let number = |v: i64| Tensor::constant(Scalar::Int(v), DType::I64, at);
        let binary = |op, a: &Tensor, b: &Tensor| super::math::binary(op, a, b, at);
        let offset = if (1..=i64::from(i32::MAX)).contains(&range) {
            // The upper word of bits * range: as even as 32 bits allow, without a division.
            binary(BinaryOp::Shr, &(bits * range), &number(32))
        } else {
            assert!(range > 0, "randint: the range {low}..{high} has more than 2^63 - 1 numbers");
            let high_bits = Tensor::random_at(&shape, Distribution::Bits, at);
            let high_bits = binary(BinaryOp::And, &high_bits, &number(0x7fff_ffff));
            let wide = binary(BinaryOp::Shl, &high_bits, &number(32)) + bits;
            binary(BinaryOp::Rem, &wide, &number(range))
        };
        offset + low
    }

    /// The numbers `0..n` in random order, i64. Counterpart: `torch.randperm`.
    #[track_caller]
    pub fn randperm(n: usize) -> Tensor {
        let at = Location::caller();
        // 63 random bits a number: equal keys, which would keep their order, are out of the question.
        let high = Tensor::random_at(&[n], Distribution::Bits, at);
        let low = Tensor::random_at(&[n], Distribution::Bits, at);
        let shift = Tensor::constant(Scalar::Int(31), DType::I64, at);
        let keys = super::math::binary(BinaryOp::Shl, &high, &shift, at);
        super::math::binary(BinaryOp::Xor, &keys, &low, at).prim_argsort(0, false, at)
    }

    /// Evenly distributed in `[low, high)`, f32. Counterpart: `Tensor.uniform_`.
    #[track_caller]
    pub fn uniform(low: f64, high: f64, shape: impl IntoSizes) -> Tensor {
        assert!(low <= high, "uniform: the range {low}..{high} is reversed");
        Tensor::rand(shape) * (high - low) + low
    }

    /// Normally distributed around `mean` with standard deviation `std`, f32. Counterpart: `torch.normal`.
    #[track_caller]
    pub fn normal(mean: f64, std: f64, shape: impl IntoSizes) -> Tensor {
        assert!(std >= 0.0, "normal: the standard deviation must not be negative, got {std}");
        Tensor::randn(shape) * std + mean
    }

    /// Normally distributed around `self`, elementwise, with standard deviation `std` (a number or a tensor that broadcasts).
    ///
    /// Counterpart: `torch.normal(mean, std)`.
    #[track_caller]
    pub fn normal_around(&self, std: impl Operand) -> Tensor {
        let at = Location::caller();
        let mean = self.prim_cast(self.dtype().to_float(), at);
        let std = std.tensor_like(&mean, at);
        let shape = crate::shape::broadcast(mean.shape(), std.shape()).unwrap_or_else(|| {
            panic!("normal_around: shapes {:?} and {:?} differ", mean.shape(), std.shape())
        });
        let noise = mean.draw(&shape, Distribution::Normal, at);
        noise * std + mean
    }

    /// Numbers of `shape` on the device and in the float dtype of `self`.
    fn draw(&self, shape: &[usize], dist: Distribution, at: At) -> Tensor {
        let t = with_device(self.device(), || Tensor::random_at(shape, dist, at));
        t.prim_cast(self.dtype().to_float(), at)
    }

    /// Uniform in [0, 1) with the shape, device and float dtype of `self`. Counterpart: `torch.rand_like`.
    #[track_caller]
    pub fn rand_like(&self) -> Tensor {
        let at = Location::caller();
        // Rounding to a narrow type may reach 1, so f16 and bf16 keep as many bits as they hold.
        let bits = match self.dtype() {
            DType::F16 => 11,
            DType::BF16 => 8,
            _ => return self.draw(self.shape(), Distribution::Uniform, at),
        };
        let scale = f64::from(1u32 << bits);
        let even = with_device(self.device(), || {
            Tensor::random_at(self.shape(), Distribution::Uniform, at)
        });
        let cut = (even * scale).prim_unary(crate::op::UnaryOp::Floor, at) * (1.0 / scale);
        cut.prim_cast(self.dtype(), at)
    }

    /// Standard normal with the shape, device and float dtype of `self`. Counterpart: `torch.randn_like`.
    #[track_caller]
    pub fn randn_like(&self) -> Tensor {
        self.draw(self.shape(), Distribution::Normal, Location::caller())
    }

    /// Whole numbers drawn evenly from `low..high` with the shape, device and dtype of `self`. Counterpart: `torch.randint_like`.
    #[track_caller]
    pub fn randint_like(&self, low: i64, high: i64) -> Tensor {
        let at = Location::caller();
        with_device(self.device(), || Tensor::randint(low, high, self.shape()))
            .prim_cast(self.dtype(), at)
    }

    /// 1 with the probability that the element of `self` gives, else 0, in the dtype of `self`. Probabilities outside `0..=1` act as the
    /// nearer end. No gradient flows. Counterpart: `torch.bernoulli`.
    ///
    /// # Panics
    /// When `self` is not a float tensor.
    #[track_caller]
    pub fn bernoulli(&self) -> Tensor {
        let at = Location::caller();
        assert!(
            self.dtype().is_float(),
            "bernoulli: probabilities must be floats, got {}; see full_like",
            self.dtype()
        );
        no_grad(|| {
            let even = with_device(self.device(), || {
                Tensor::random_at(self.shape(), Distribution::Uniform, at)
            });
            even.lt(self.detach()).prim_cast(self.dtype(), at)
        })
    }

    /// Indices drawn by weight: for each row of `self` (`[k]` or `[rows, k]`, weights not negative, of any positive sum) `samples`
    /// indices, i64, `[samples]` or `[rows, samples]`. Without `replacement` no index is drawn twice in a row.
    ///
    /// Counterpart: `torch.multinomial`. The weights are read, to refuse what is not a distribution.
    ///
    /// # Panics
    /// When weights are negative, not finite, or all zero in a row, or when there are fewer positive ones than samples without
    /// replacement.
    #[track_caller]
    pub fn multinomial(&self, samples: usize, replacement: bool) -> Tensor {
        let at = Location::caller();
        assert!(
            (1..=2).contains(&self.rank()) && self.dtype().is_float(),
            "multinomial: expected float weights [k] or [rows, k], got {} {:?}",
            self.dtype(),
            self.shape()
        );
        assert!(samples > 0, "multinomial: the number of samples must be at least 1");
        let k = self.shape()[self.rank() - 1];
        let rows = self.numel().checked_div(k).unwrap_or(0);
        assert!(k > 0, "multinomial: there are no weights to draw from");
        let weights = self.detach();
        for (r, row) in weights.to_vec::<f64>().chunks(k).enumerate() {
            let mut positive = 0;
            for (i, w) in row.iter().enumerate() {
                assert!(
                    w.is_finite() && *w >= 0.0,
                    "multinomial: weights must be finite and not negative, got {w} at {i} of row {r}"
                );
                positive += usize::from(*w > 0.0);
            }
            let needed = if replacement { 1 } else { samples };
            assert!(
                positive >= needed,
                "multinomial: row {r} has {positive} positive weights, {needed} are needed"
            );
        }
        let mut shape = Dims::from_slice(&self.shape()[..self.rank() - 1]);
        shape.push(samples);
        no_grad(|| {
            let w = weights.prim_cast(DType::F32, at).prim_reshape(&[rows, k], at);
            let draw = |shape: &[usize]| {
                with_device(self.device(), || Tensor::random_at(shape, Distribution::Uniform, at))
            };
            let picked = if replacement {
                // The first index whose running sum of weights exceeds a point drawn evenly below their total.
                let sums = w.prim_scan(ScanOp::Sum, 1, at);
                let point = draw(&[rows, samples]) * sums.narrow(1, k - 1, 1);
                let below = sums.prim_reshape(&[rows, 1, k], at).le(point.unsqueeze(2));
                below.sum(2).minimum(k - 1)
            } else {
                // The largest of weight / exponential are a draw in order without replacement (Efraimidis and Spirakis 2006).
                let wait = -((draw(&[rows, k]) * -1.0).log1p());
                let keys = w / wait.maximum(f32::MIN_POSITIVE);
                keys.prim_argsort(1, true, at).narrow(1, 0, samples)
            };
            picked.prim_reshape(&shape, at)
        })
    }
}
