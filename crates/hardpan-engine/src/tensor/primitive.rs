//! Builders of primitive nodes: the shape and dtype rule of each operation, and nothing more.
//!
//! Every function takes operands that already fit (promoted, broadcast, with axes resolved); the public methods in the
//! neighbouring files bring them there and report what does not fit in the user's own terms.

use crate::autocast::lowered;
use crate::dtype::{DType, Scalar};
use crate::node::{Sources, Tensor};
use crate::op::{
    AttentionParams, BinaryOp, ConvMode, ConvParams, CustomOp, Op, ReduceOp, ScanOp, ScatterOp,
    UnaryOp, WindowOp, WindowParams,
};
use crate::shape::Dims;
use crate::work::add_multiply_adds;
use smallvec::{SmallVec, smallvec};
use std::panic::Location;
use std::sync::Arc;

type At = &'static Location<'static>;

impl Tensor {
    /// A rank-0 constant. Elementwise primitives accept it beside operands of any shape.
    pub(crate) fn constant(value: Scalar, dtype: DType, at: At) -> Tensor {
        Tensor::new_constant(value.cast(dtype), dtype, at)
    }

    /// The value of a constant, seen through reshapes and expansions.
    pub(crate) fn as_constant(&self) -> Option<Scalar> {
        match self.0.op {
            Op::Const(v) => Some(v),
            Op::Expand | Op::Reshape => {
                self.0.src.lock().unwrap().first().and_then(|s| s.as_constant())
            }
            _ => None,
        }
    }

    pub(crate) fn prim_unary(&self, op: UnaryOp, at: At) -> Tensor {
        Tensor::new(Op::Unary(op), self.dtype(), self.0.shape.clone(), smallvec![self.clone()], at)
    }

    /// Operands: equal dtypes, equal shapes or rank-0 constants.
    pub(crate) fn prim_binary(op: BinaryOp, a: &Tensor, b: &Tensor, at: At) -> Tensor {
        debug_assert_eq!(a.dtype(), b.dtype(), "{}", op.name());
        let shape = if a.rank() >= b.rank() { a.0.shape.clone() } else { b.0.shape.clone() };
        debug_assert!(
            a.0.shape == b.0.shape || a.as_constant().is_some() || b.as_constant().is_some(),
            "{}: {:?} {:?}",
            op.name(),
            a.0.shape,
            b.0.shape
        );
        let dtype = if op.is_comparison() { DType::Bool } else { a.dtype() };
        Tensor::new(Op::Binary(op), dtype, shape, smallvec![a.clone(), b.clone()], at)
    }

    /// `cond`: bool. Shapes equal or rank-0 constants.
    pub(crate) fn prim_where(cond: &Tensor, a: &Tensor, b: &Tensor, at: At) -> Tensor {
        debug_assert_eq!(cond.dtype(), DType::Bool);
        debug_assert_eq!(a.dtype(), b.dtype());
        let shape = [cond, a, b].iter().max_by_key(|t| t.rank()).unwrap().0.shape.clone();
        Tensor::new(Op::Where, a.dtype(), shape, smallvec![cond.clone(), a.clone(), b.clone()], at)
    }

    pub(crate) fn prim_cast(&self, dtype: DType, at: At) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        if let Op::Const(v) = self.0.op {
            return Tensor::constant(v, dtype, at);
        }
        Tensor::new(Op::Cast, dtype, self.0.shape.clone(), smallvec![self.clone()], at)
    }

    pub(crate) fn prim_reshape(&self, shape: &[usize], at: At) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        debug_assert_eq!(self.numel(), crate::shape::numel(shape));
        let mut src = self.clone();
        if matches!(self.0.op, Op::Reshape)
            && self.0.buffer.get().is_none()
            && let Some(s) = self.0.src.lock().unwrap().first()
            && s.0.requires_grad == self.0.requires_grad
            && self.0.extra.get().is_none()
        {
            src = s.clone();
        }
        Tensor::new(Op::Reshape, self.dtype(), Dims::from_slice(shape), smallvec![src], at)
    }

    pub(crate) fn prim_permute(&self, axes: &[usize], at: At) -> Tensor {
        if axes.iter().enumerate().all(|(i, a)| i == *a) {
            return self.clone();
        }
        let shape = axes.iter().map(|a| self.0.shape[*a]).collect();
        Tensor::new(
            Op::Permute(Dims::from_slice(axes)),
            self.dtype(),
            shape,
            smallvec![self.clone()],
            at,
        )
    }

    /// Same rank; sizes of 1 stretched.
    pub(crate) fn prim_expand(&self, shape: &[usize], at: At) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        debug_assert_eq!(self.rank(), shape.len());
        Tensor::new(Op::Expand, self.dtype(), Dims::from_slice(shape), smallvec![self.clone()], at)
    }

    pub(crate) fn prim_pad(&self, pads: &[(usize, usize)], at: At) -> Tensor {
        if pads.iter().all(|p| *p == (0, 0)) {
            return self.clone();
        }
        let shape = self.0.shape.iter().zip(pads).map(|(s, (lo, hi))| s + lo + hi).collect();
        Tensor::new(
            Op::Pad(Box::new(SmallVec::from_slice(pads))),
            self.dtype(),
            shape,
            smallvec![self.clone()],
            at,
        )
    }

    /// Element `i` of dimension `d` is source element `region[d].0 + i * region[d].1`.
    pub(crate) fn prim_slice(&self, region: &[(usize, isize)], shape: &[usize], at: At) -> Tensor {
        if self.shape() == shape && region.iter().all(|r| *r == (0, 1)) {
            return self.clone();
        }
        debug_assert!(region.iter().zip(shape).zip(self.shape()).all(|((r, n), s)| {
            let last = r.0 as isize + r.1 * (*n as isize - 1);
            *n == 0 || (r.0 < *s && last >= 0 && last < *s as isize)
        }));
        Tensor::new(
            Op::Slice(Box::new(SmallVec::from_slice(region))),
            self.dtype(),
            Dims::from_slice(shape),
            smallvec![self.clone()],
            at,
        )
    }

    pub(crate) fn prim_unfold(&self, dim: usize, size: usize, step: usize, at: At) -> Tensor {
        let mut shape = self.0.shape.clone();
        shape[dim] = (shape[dim] - size) / step + 1;
        shape.push(size);
        Tensor::new(
            Op::Unfold { dim, size, step },
            self.dtype(),
            shape,
            smallvec![self.clone()],
            at,
        )
    }

    /// Keeps the rank: reduced axes (ascending) get size 1.
    pub(crate) fn prim_reduce(&self, op: ReduceOp, axes: &[usize], at: At) -> Tensor {
        if axes.is_empty() && !op.is_arg() {
            return self.clone();
        }
        let mut shape = self.0.shape.clone();
        for a in axes {
            shape[*a] = 1;
        }
        let dtype = if op.is_arg() { DType::I64 } else { self.dtype() };
        Tensor::new(
            Op::Reduce(op, Dims::from_slice(axes)),
            dtype,
            shape,
            smallvec![self.clone()],
            at,
        )
    }

    pub(crate) fn prim_scan(&self, op: ScanOp, axis: usize, at: At) -> Tensor {
        Tensor::new(
            Op::Scan(op, axis),
            self.dtype(),
            self.0.shape.clone(),
            smallvec![self.clone()],
            at,
        )
    }

    /// The largest elements (or their places, u8) of windows over the last two dimensions of a float tensor.
    pub(crate) fn prim_window(&self, op: WindowOp, params: &WindowParams, at: At) -> Tensor {
        debug_assert_eq!(self.shape()[self.rank() - 2..], params.size);
        let dtype = if op == WindowOp::Place { DType::U8 } else { self.dtype() };
        let mut shape = self.0.shape.clone();
        shape.truncate(self.rank() - 2);
        shape.extend(params.out);
        Tensor::new(Op::Window(op, Box::new(*params)), dtype, shape, smallvec![self.clone()], at)
    }

    /// The elements at the places (u8) of windows over the last two dimensions of a float tensor.
    pub(crate) fn prim_window_take(&self, place: &Tensor, params: &WindowParams, at: At) -> Tensor {
        debug_assert_eq!(self.shape()[self.rank() - 2..], params.size);
        let op = Op::Window(WindowOp::Take, Box::new(*params));
        let srcs = smallvec![self.clone(), place.clone()];
        Tensor::new(op, self.dtype(), place.0.shape.clone(), srcs, at)
    }

    /// Each window's value added to the element at its place (u8).
    pub(crate) fn prim_window_back(&self, place: &Tensor, params: &WindowParams, at: At) -> Tensor {
        debug_assert_eq!(self.shape(), place.shape());
        let mut shape = self.0.shape.clone();
        shape.truncate(self.rank() - 2);
        shape.extend(params.size);
        let op = Op::Window(WindowOp::Back, Box::new(*params));
        Tensor::new(op, self.dtype(), shape, smallvec![self.clone(), place.clone()], at)
    }

    pub(crate) fn prim_argsort(&self, axis: usize, descending: bool, at: At) -> Tensor {
        Tensor::new(
            Op::ArgSort { axis, descending },
            DType::I64,
            self.0.shape.clone(),
            smallvec![self.clone()],
            at,
        )
    }

    /// `self: [R, inner..]`, `index: i64 [..]` gives `[index.., inner..]`. Indices must lie in `0..R` (checked at run time).
    pub(crate) fn prim_take(&self, index: &Tensor, at: At) -> Tensor {
        debug_assert_eq!(index.dtype(), DType::I64);
        let mut shape = index.0.shape.clone();
        shape.extend_from_slice(&self.0.shape[1..]);
        Tensor::new(Op::Take, self.dtype(), shape, smallvec![self.clone(), index.clone()], at)
    }

    /// `base: [R, inner..]`, `index: i64 [n..]`, `src: [n.., inner..]`.
    pub(crate) fn prim_scatter(
        op: ScatterOp,
        base: &Tensor,
        index: &Tensor,
        src: &Tensor,
        at: At,
    ) -> Tensor {
        debug_assert_eq!(index.dtype(), DType::I64);
        debug_assert_eq!(base.dtype(), src.dtype());
        debug_assert_eq!(
            src.numel() * base.shape()[0].max(1),
            if base.shape()[0] == 0 { src.numel() } else { index.numel() * base.numel() }
        );
        Tensor::new(
            Op::Scatter(op),
            base.dtype(),
            base.0.shape.clone(),
            smallvec![base.clone(), index.clone(), src.clone()],
            at,
        )
    }

    pub(crate) fn prim_cat(parts: &[Tensor], axis: usize, at: At) -> Tensor {
        let mut shape = parts[0].0.shape.clone();
        shape[axis] = parts.iter().map(|p| p.0.shape[axis]).sum();
        Tensor::new(
            Op::Cat(axis),
            parts[0].dtype(),
            shape,
            Sources::from_iter(parts.iter().cloned()),
            at,
        )
    }

    /// `base` with `base[region] = value`; the region has the shape of `value` (same rank).
    pub(crate) fn prim_update(
        base: &Tensor,
        region: &[(usize, isize)],
        value: &Tensor,
        at: At,
    ) -> Tensor {
        debug_assert_eq!(base.dtype(), value.dtype());
        debug_assert_eq!(base.rank(), value.rank());
        if value.numel() == 0 {
            return base.clone();
        }
        Tensor::new(
            Op::Update(Box::new(SmallVec::from_slice(region))),
            base.dtype(),
            base.0.shape.clone(),
            smallvec![base.clone(), value.clone()],
            at,
        )
    }

    /// `[b.., m, k] @ [b.., k, n]`, equal batch dimensions, equal dtypes.
    pub(crate) fn prim_dot(a: &Tensor, b: &Tensor, at: At) -> Tensor {
        let r = a.rank();
        debug_assert!(r == b.rank() && r >= 2 && a.dtype() == b.dtype());
        debug_assert_eq!(a.shape()[..r - 2], b.shape()[..r - 2]);
        debug_assert_eq!(a.shape()[r - 1], b.shape()[r - 2]);
        if let Some((a, b)) = lowered(a, b, at) {
            return Tensor::prim_dot(&a, &b, at).prim_cast(DType::F32, at);
        }
        let mut shape = a.0.shape.clone();
        shape[r - 1] = b.0.shape[r - 1];
        add_multiply_adds((a.numel() * shape[r - 1]) as u64);
        Tensor::new(Op::Dot, a.dtype(), shape, smallvec![a.clone(), b.clone()], at)
    }

    /// `[B, H, L, E]`, `[B, G, S, E]`, `[B, G, S, V]`, and the mask if there is one; see [`AttentionParams`].
    pub(crate) fn prim_attention(
        params: &AttentionParams,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        mask: Option<&Tensor>,
        at: At,
    ) -> Tensor {
        debug_assert_eq!(params.masked, mask.is_some());
        let (qs, rows) = (q.shape(), q.shape()[0] * q.shape()[1] * q.shape()[2]);
        debug_assert!(qs.len() == 4 && k.rank() == 4 && v.rank() == 4);
        let len = rows * v.shape()[3] + rows;
        let mut src = smallvec![q.clone(), k.clone(), v.clone()];
        src.extend(mask.cloned());
        add_multiply_adds((rows * k.shape()[2] * (qs[3] + v.shape()[3])) as u64);
        let op = Op::Attention(Box::new(params.clone()));
        Tensor::new(op, DType::F32, Dims::from_slice(&[len]), src, at)
    }

    /// The gradients of query, key and value, given the sources of an attention node, its value and the gradient of it.
    pub(crate) fn prim_attention_grad(
        params: &AttentionParams,
        src: &[Tensor],
        y: &Tensor,
        g: &Tensor,
        at: At,
    ) -> Tensor {
        let len = src[..3].iter().map(Tensor::numel).sum();
        let mut all =
            smallvec![src[0].clone(), src[1].clone(), src[2].clone(), y.clone(), g.clone()];
        all.extend(src.get(3).cloned());
        let op = Op::AttentionGrad(Box::new(params.clone()));
        Tensor::new(op, DType::F32, Dims::from_slice(&[len]), all, at)
    }

    /// One of the three convolution maps; `shape` is that of the result.
    pub(crate) fn prim_conv(
        mode: ConvMode,
        params: &ConvParams,
        a: &Tensor,
        b: &Tensor,
        shape: &[usize],
        at: At,
    ) -> Tensor {
        if let Some((a, b)) = lowered(a, b, at) {
            return Tensor::prim_conv(mode, params, &a, &b, shape, at).prim_cast(DType::F32, at);
        }
        // Each element of the convolution's result meets one filter.
        let (result, weight): (usize, &[usize]) = match mode {
            ConvMode::Forward => (shape.iter().product(), b.shape()),
            ConvMode::InputGrad => (a.numel(), b.shape()),
            ConvMode::WeightGrad => (b.numel(), shape),
        };
        add_multiply_adds((result * weight[1..].iter().product::<usize>()) as u64);
        Tensor::new(
            Op::Conv(mode, Box::new(params.clone())),
            a.dtype(),
            Dims::from_slice(shape),
            smallvec![a.clone(), b.clone()],
            at,
        )
    }

    /// A fence for fusion: the value gets memory of its own.
    pub(crate) fn prim_barrier(&self, at: At) -> Tensor {
        Tensor::new(Op::Barrier, self.dtype(), self.0.shape.clone(), smallvec![self.clone()], at)
    }

    /// Applies a user's operation. Gradients follow its [`CustomOp::vjp`].
    #[track_caller]
    pub fn custom(op: Arc<dyn CustomOp>, inputs: &[&Tensor]) -> Tensor {
        let at = Location::caller();
        let described: Vec<(DType, &[usize])> =
            inputs.iter().map(|t| (t.dtype(), t.shape())).collect();
        let (dtype, shape) = op.output(&described);
        Tensor::new(Op::Custom(op), dtype, shape, inputs.iter().map(|t| (*t).clone()).collect(), at)
    }
}
