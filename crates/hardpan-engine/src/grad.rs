//! Automatic differentiation, graph to graph.
//!
//! [`vjp`] is one `match`: for each primitive, the gradients of its sources given that of its result, as ordinary tensors.
//! [`grad`] walks the graph backward with it, so its results can be differentiated again; [`Tensor::backward`] does the same,
//! adds what reaches the leaves into their cells, and lets the history go.

use crate::dtype::{DType, Scalar};
use crate::node::{Node, Tensor, no_grad};
use crate::op::{AttentionParams, BinaryOp, ConvMode, Op, ReduceOp, ScanOp, ScatterOp, UnaryOp};
use crate::shape::Dims;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::sync::atomic::Ordering::Relaxed;

type At = &'static Location<'static>;
/// Node ids are distinct already; hashing only has to spread them.
#[derive(Default)]
struct IdHasher(u64);
impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("ids are u64")
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
type ById<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;
type Grads = SmallVec<[Option<Tensor>; 3]>;

impl Tensor {
    /// Adds the gradient of this scalar to every leaf it depends on, then lets the history go.
    ///
    /// Counterpart: `Tensor.backward()`. Read the result with [`Tensor::grad`]. Gradients add up over calls until
    /// [`Tensor::zero_grad`].
    ///
    /// ```
    /// use hardpan_engine::Tensor;
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3]).requires_grad();
    /// (&x * &x).sum(..).backward();
    /// assert_eq!(x.grad().unwrap().to_vec::<f32>(), vec![2.0, 4.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// When the tensor has more than one element (use [`Tensor::backward_with`]), does not require a gradient, or its
    /// history has already been let go by an earlier `backward`.
    #[track_caller]
    pub fn backward(&self) {
        assert_eq!(
            self.numel(),
            1,
            "backward: expected one element, got shape {:?}; reduce it (.sum(..), .mean(..)) or use backward_with(gradient)",
            self.shape()
        );
        self.backward_with(&self.ones_like());
    }

    /// As [`Tensor::backward`] for any shape, given the gradient of the result.
    #[track_caller]
    pub fn backward_with(&self, gradient: &Tensor) {
        let at = Location::caller();
        must_learn(self);
        let visited = no_grad(|| run_backward(&[self], std::slice::from_ref(gradient), &[], at).1);
        release(&visited);
    }

    /// As [`Tensor::backward`], keeping the history for another pass, and with gradients that can be differentiated again.
    /// Counterpart: `backward(retain_graph=True, create_graph=True)`.
    #[track_caller]
    pub fn backward_retain(&self) {
        let at = Location::caller();
        run_backward(&[self], &[self.ones_like()], &[], at);
    }
}

/// Gradients of the sum of `output` with respect to `inputs`, as tensors that can be differentiated again.
///
/// An input that `output` does not depend on gives zeros. Counterpart: `torch.autograd.grad(create_graph=True)`.
///
/// ```
/// use hardpan_engine::{Tensor, grad};
/// let x = Tensor::scalar(2.0f32).requires_grad();
/// let y = x.pow(3.0);
/// let dy = grad(&y, &[&x]).remove(0);
/// let ddy = grad(&dy, &[&x]).remove(0);
/// assert_eq!((dy.item::<f32>(), ddy.item::<f32>()), (12.0, 12.0));
/// ```
#[track_caller]
pub fn grad(output: &Tensor, inputs: &[&Tensor]) -> Vec<Tensor> {
    grad_with(&[output], &[&output.ones_like()], inputs)
}

/// As [`grad`] for several outputs, each with the gradient that arrives at it.
#[track_caller]
pub fn grad_with(outputs: &[&Tensor], gradients: &[&Tensor], inputs: &[&Tensor]) -> Vec<Tensor> {
    let at = Location::caller();
    assert_eq!(outputs.len(), gradients.len(), "grad: one gradient for each output");
    for i in inputs {
        assert!(
            i.0.requires_grad,
            "grad: an input of shape {:?} does not require grad; make it with .requires_grad()",
            i.shape()
        );
    }
    let seeds: Vec<Tensor> = gradients.iter().map(|g| (*g).clone()).collect();
    run_backward(outputs, &seeds, inputs, at).0
}

#[track_caller]
fn must_learn(result: &Tensor) {
    assert!(
        result.0.requires_grad,
        "backward: the result does not require grad: no source of it does (a leaf is made to by .requires_grad()), or it was made inside \
         no_grad or detached"
    );
}

/// Walks from `outputs` to the leaves. With `inputs` the gradients of those are returned and no cell is touched.
#[track_caller]
fn run_backward(
    outputs: &[&Tensor],
    seeds: &[Tensor],
    inputs: &[&Tensor],
    at: At,
) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut grads: ById<Tensor> = ById::default();
    for (o, s) in outputs.iter().zip(seeds) {
        must_learn(o);
        assert!(
            s.shape() == o.shape(),
            "backward: gradient of shape {:?} for a result of shape {:?}",
            s.shape(),
            o.shape()
        );
        accumulate(&mut grads, o.0.id, s.prim_cast(o.dtype(), at));
    }
    let order = history(outputs, inputs);
    let wanted: HashSet<u64> = inputs.iter().map(|t| t.0.id).collect();
    let mut found: HashMap<u64, Tensor> = HashMap::new();
    for t in order.iter().rev() {
        let node = &t.0;
        let Some(mut g) = grads.remove(&node.id) else { continue };
        if let Some(extra) = node.extra.get() {
            let hooks = extra.hooks.lock().unwrap().clone();
            for (_, hook) in hooks {
                if let Some(new) = hook(&g) {
                    assert_eq!(new.shape(), g.shape(), "a hook changed the shape of a gradient");
                    g = new;
                }
            }
            if wanted.is_empty()
                && let Some(cell) = &extra.grad
            {
                cell.accumulate(g.clone());
                continue;
            }
        }
        if wanted.contains(&node.id) {
            found.insert(node.id, g.clone());
        }
        let sources = t.sources();
        if sources.is_empty() {
            assert!(
                !node.released.load(Relaxed) || node.extra.get().is_some_and(|e| e.grad.is_some()),
                "backward: the history of {}{:?} (built at {}) was let go by an earlier backward; detach() what is carried \
                 from step to step, or use backward_retain()",
                node.op.name(),
                node.shape.as_slice(),
                node.at
            );
            continue;
        }
        if !sources.iter().any(|s| s.0.requires_grad) {
            continue;
        }
        let parts = vjp(node, t, &sources, &g, at);
        for (s, part) in sources.iter().zip(parts) {
            if s.0.requires_grad
                && let Some(p) = part
            {
                debug_assert_eq!(p.shape(), s.shape(), "gradient of {}", node.op.name());
                debug_assert_eq!(p.dtype(), s.dtype(), "gradient of {}", node.op.name());
                accumulate(&mut grads, s.0.id, p);
            }
        }
    }
    let out = inputs
        .iter()
        .map(|t| found.get(&t.0.id).cloned().unwrap_or_else(|| t.filled(Scalar::Int(0), at)))
        .collect();
    (out, order)
}

fn accumulate(grads: &mut ById<Tensor>, id: u64, g: Tensor) {
    match grads.remove(&id) {
        Some(old) => grads.insert(id, &old + &g),
        None => grads.insert(id, g),
    };
}

/// The nodes a gradient flows through, oldest first (ids grow with creation, so this is a topological order).
fn history(outputs: &[&Tensor], stops: &[&Tensor]) -> Vec<Tensor> {
    let mut seen: HashSet<u64, BuildHasherDefault<IdHasher>> = HashSet::default();
    let mut order: Vec<Tensor> = Vec::new();
    let mut stack: Vec<Tensor> = outputs.iter().map(|t| (*t).clone()).collect();
    // Below the oldest input there is nothing to find.
    let oldest = stops.iter().map(|t| t.0.id).min().unwrap_or(0);
    while let Some(t) = stack.pop() {
        if !t.0.requires_grad || t.0.id < oldest || !seen.insert(t.0.id) {
            continue;
        }
        for s in t.0.src.lock().unwrap().iter() {
            if s.0.requires_grad && !seen.contains(&s.0.id) {
                stack.push(s.clone());
            }
        }
        order.push(t);
    }
    order.sort_unstable_by_key(|t| t.0.id);
    order
}

/// Marks used history; what is realised already drops its sources now, the rest when it is realised.
fn release(visited: &[Tensor]) {
    for t in visited {
        t.0.released.store(true, Relaxed);
        if t.0.buffer.get().is_some() {
            let old = std::mem::take(&mut *t.0.src.lock().unwrap());
            drop(old);
        }
    }
}

/// Runs `f` without keeping what it computes for the gradient; it runs again in the backward pass.
///
/// Trades time for memory in deep networks. `f` must be a pure function of `inputs` and of parameters it captures; the
/// gradients of both flow as usual (once: the result cannot be differentiated twice). Random draws inside give the same numbers
/// both times. Counterpart:
/// `torch.utils.checkpoint.checkpoint`.
pub fn checkpoint(
    f: impl Fn(&[Tensor]) -> Tensor + Send + Sync + 'static,
    inputs: &[&Tensor],
) -> Tensor {
    crate::checkpoint::recompute(
        inputs.iter().map(|t| (*t).clone()).collect(),
        std::sync::Arc::new(f),
    )
}

#[cold]
fn not_differentiable(node: &Node) -> ! {
    panic!(
        "backward: {} is not differentiable (built at {}); detach() its input if no gradient should flow",
        node.op.name(),
        node.at
    )
}

/// Gradients of the sources of `node` (whose value is `y`) given the gradient `g` of its result.
fn vjp(node: &Node, y: &Tensor, src: &[Tensor], g: &Tensor, at: At) -> Grads {
    let need = |k: usize| src[k].0.requires_grad;
    let zeros = |t: &Tensor| t.filled(Scalar::Int(0), at);
    let one = |x: Option<Tensor>| -> Grads { SmallVec::from_iter([x]) };
    match &node.op {
        Op::Buffer | Op::Const(_) | Op::Iota | Op::Random(..) => SmallVec::new(),
        Op::ArgSort { .. } => one(None),
        Op::Unary(op) => one(Some(unary_vjp(*op, node, &src[0], y, g))),
        Op::Binary(op) => binary_vjp(*op, node, src, y, g, at),
        Op::Where => SmallVec::from_iter([
            None,
            need(1).then(|| Tensor::prim_where(&src[0], g, &scalar(g, 0.0, at), at)),
            need(2).then(|| Tensor::prim_where(&src[0], &scalar(g, 0.0, at), g, at)),
        ]),
        Op::Cast => one(Some(g.prim_cast(src[0].dtype(), at))),
        Op::Alias | Op::Barrier => one(Some(g.clone())),
        Op::WithGradient(rule) => rule.vjp(src, g).into(),
        Op::Reshape => one(Some(g.prim_reshape(src[0].shape(), at))),
        Op::Permute(axes) => {
            let mut inverse: Dims = axes.clone();
            for (d, a) in axes.iter().enumerate() {
                inverse[*a] = d;
            }
            one(Some(
                transposed_product(g, &inverse, at).unwrap_or_else(|| g.prim_permute(&inverse, at)),
            ))
        }
        Op::Expand => {
            let axes: Dims = (0..src[0].rank())
                .filter(|d| src[0].shape()[*d] == 1 && node.shape[*d] != 1)
                .collect();
            one(Some(g.prim_reduce(ReduceOp::Sum, &axes, at)))
        }
        Op::Pad(pads) => {
            let region: SmallVec<[(usize, isize); 6]> =
                pads.iter().map(|(lo, _)| (*lo, 1)).collect();
            one(Some(g.prim_slice(&region, src[0].shape(), at)))
        }
        Op::Slice(region) => {
            if region.iter().all(|r| r.1 == 1) {
                let pads: SmallVec<[(usize, usize); 6]> = region
                    .iter()
                    .zip(node.shape.iter().zip(src[0].shape()))
                    .map(|((start, _), (n, s))| (*start, s - start - n))
                    .collect();
                return one(Some(g.prim_pad(&pads, at)));
            }
            if node.shape.as_slice() == src[0].shape() {
                // A pure flip is its own inverse.
                return one(Some(g.prim_slice(region, src[0].shape(), at)));
            }
            one(Some(Tensor::prim_update(&zeros(&src[0]), region, g, at)))
        }
        Op::Unfold { dim, size, step } => one(Some(fold(g, &src[0], *dim, *size, *step, at))),
        Op::Reduce(op, axes) => one(reduce_vjp(*op, axes, &src[0], y, g, at)),
        Op::Scan(op, axis) => one(Some(scan_vjp(*op, *axis, node, &src[0], y, g, at))),
        Op::Take => {
            let base = zeros(&src[0]);
            SmallVec::from_iter([
                Some(Tensor::prim_scatter(ScatterOp::Add, &base, &src[1], g, at)),
                None,
            ])
        }
        Op::Scatter(op) => scatter_vjp(*op, src, y, g, at),
        Op::Cat(axis) => {
            let mut start = 0;
            src.iter()
                .map(|s| {
                    let mut region: SmallVec<[(usize, isize); 6]> =
                        SmallVec::from_elem((0, 1), s.rank());
                    region[*axis].0 = start;
                    start += s.shape()[*axis];
                    s.0.requires_grad.then(|| g.prim_slice(&region, s.shape(), at))
                })
                .collect()
        }
        Op::Update(region) => SmallVec::from_iter([
            need(0).then(|| Tensor::prim_update(g, region, &zeros(&src[1]), at)),
            need(1).then(|| g.prim_slice(region, src[1].shape(), at)),
        ]),
        Op::Dot => SmallVec::from_iter([
            need(0).then(|| Tensor::prim_dot(g, &swap_last(&src[1], at), at)),
            need(1).then(|| Tensor::prim_dot(&swap_last(&src[0], at), g, at)),
        ]),
        Op::Attention(p) => attention_vjp(p, y, src, g, at),
        // Who uses the latter brings its gradient along.
        Op::AttentionGrad(_) | Op::Window(..) => not_differentiable(node),
        Op::Conv(mode, p) => {
            use ConvMode::*;
            let conv = |mode, a: &Tensor, b: &Tensor, like: &Tensor| {
                Some(Tensor::prim_conv(mode, p, a, b, like.shape(), at))
            };
            let (a, b) = (&src[0], &src[1]);
            match mode {
                // y = conv(x, w)
                Forward => SmallVec::from_iter([
                    need(0).then(|| conv(InputGrad, g, b, a)).flatten(),
                    need(1).then(|| conv(WeightGrad, a, g, b)).flatten(),
                ]),
                // dx = input_grad(gy, w)
                InputGrad => SmallVec::from_iter([
                    need(0).then(|| conv(Forward, g, b, a)).flatten(),
                    need(1).then(|| conv(WeightGrad, g, a, b)).flatten(),
                ]),
                // dw = weight_grad(x, gy)
                WeightGrad => SmallVec::from_iter([
                    need(0).then(|| conv(InputGrad, b, g, a)).flatten(),
                    need(1).then(|| conv(Forward, a, g, b)).flatten(),
                ]),
            }
        }
        Op::Custom(op) => op.vjp(src, y, g).into(),
    }
}

/// The gradient of a transposed weight is a product that nobody but its transpose reads: `(A B)^T` is computed as `B^T A^T`, so
/// that it comes out in the weight's own order and the update reads it straight.
fn transposed_product(g: &Tensor, axes: &[usize], at: At) -> Option<Tensor> {
    let r = axes.len();
    let swaps = r >= 2
        && axes[..r - 2].iter().enumerate().all(|(d, a)| *a == d)
        && axes[r - 2] == r - 1
        && axes[r - 1] == r - 2;
    let fresh =
        matches!(g.0.op, Op::Dot) && g.0.buffer.get().is_none() && g.0.extra.get().is_none();
    // The caller's handle is the only one, so the first product will never be computed.
    if !swaps || !fresh || std::sync::Arc::strong_count(&g.0) != 1 {
        return None;
    }
    let src = g.sources();
    Some(Tensor::prim_dot(&swap_last(&src[1], at), &swap_last(&src[0], at), at))
}

fn swap_last(t: &Tensor, at: At) -> Tensor {
    let mut axes: Dims = (0..t.rank()).collect();
    let r = t.rank();
    axes.swap(r - 1, r - 2);
    t.prim_permute(&axes, at)
}

/// A number as a rank-0 constant beside `like`.
fn scalar(like: &Tensor, value: f64, at: At) -> Tensor {
    crate::dev::with_device(like.device(), || {
        Tensor::constant(Scalar::Float(value), like.dtype(), at)
    })
}

/// `1 - x^2`
fn complement(x: &Tensor) -> Tensor {
    1.0f32 - x * x
}

fn unary_vjp(op: UnaryOp, node: &Node, x: &Tensor, y: &Tensor, g: &Tensor) -> Tensor {
    use std::f64::consts::{FRAC_2_SQRT_PI, PI};
    match op {
        UnaryOp::Neg => -g,
        UnaryOp::Abs => {
            let sign = x.gt(0.0).to_dtype(x.dtype()) - x.lt(0.0).to_dtype(x.dtype());
            g * sign
        }
        UnaryOp::Exp => g * y,
        UnaryOp::Log => g / x,
        UnaryOp::Sqrt => g * 0.5 / y,
        UnaryOp::Recip => -(g * y * y),
        UnaryOp::Sin => g * x.cos(),
        UnaryOp::Cos => -(g * x.sin()),
        UnaryOp::Tanh => g * complement(y),
        UnaryOp::Erf => g * (-(x * x)).exp() * FRAC_2_SQRT_PI,
        UnaryOp::Erfc => g * (-(x * x)).exp() * -FRAC_2_SQRT_PI,
        UnaryOp::Floor | UnaryOp::Round => g * 0.0,
        UnaryOp::Not => not_differentiable(node),
        UnaryOp::Expm1 => g * (y + 1.0),
        UnaryOp::Log1p => g / (x + 1.0),
        UnaryOp::Tan => g * (y * y + 1.0),
        UnaryOp::Asin => g / complement(x).sqrt(),
        UnaryOp::Acos => -(g / complement(x).sqrt()),
        UnaryOp::Atan => g / (x * x + 1.0),
        UnaryOp::Sinh => g * x.cosh(),
        UnaryOp::Cosh => g * x.sinh(),
        UnaryOp::Asinh => g / (x * x + 1.0).sqrt(),
        UnaryOp::Acosh => g / ((x - 1.0) * (x + 1.0)).sqrt(),
        UnaryOp::Atanh => g / complement(x),
        UnaryOp::Erfinv => g * (y * y).exp() * (PI.sqrt() / 2.0),
        UnaryOp::Lgamma => g * x.digamma(),
        UnaryOp::Digamma => g * x.trigamma(),
        UnaryOp::Trigamma => not_differentiable(node),
        UnaryOp::I0 => g * x.i1(),
        UnaryOp::I1 => {
            let safe = x.ones_like().where_(&x.eq(0.0), x);
            let d = x.i0() - y / safe;
            g * d.full_like(0.5).where_(&x.eq(0.0), &d)
        }
        UnaryOp::Ndtri => g * (y * y * 0.5).exp() * (2.0 * PI).sqrt(),
        UnaryOp::LogNdtr => g / (x * -std::f64::consts::FRAC_1_SQRT_2).erfcx() * (2.0 / PI).sqrt(),
        UnaryOp::Erfcx => g * (x * y * 2.0 - FRAC_2_SQRT_PI),
    }
}

fn binary_vjp(op: BinaryOp, node: &Node, src: &[Tensor], y: &Tensor, g: &Tensor, at: At) -> Grads {
    let (a, b) = (&src[0], &src[1]);
    let (need_a, need_b) = (a.0.requires_grad, b.0.requires_grad);
    let pair = |x: Option<Tensor>, z: Option<Tensor>| -> Grads { SmallVec::from_iter([x, z]) };
    // A rank-0 constant may stand beside any shape; it never requires a gradient.
    match op {
        BinaryOp::Add => pair(need_a.then(|| g.clone()), need_b.then(|| g.clone())),
        BinaryOp::Sub => pair(need_a.then(|| g.clone()), need_b.then(|| -g)),
        BinaryOp::Mul => pair(need_a.then(|| g * b), need_b.then(|| g * a)),
        BinaryOp::Div => pair(need_a.then(|| g / b), need_b.then(|| -(g * y / b))),
        BinaryOp::Rem => pair(
            need_a.then(|| g.clone()),
            need_b.then(|| {
                let q = a / b;
                let whole = q.abs().prim_unary(UnaryOp::Floor, at);
                let cut = (-&whole).where_(&q.lt(0.0), &whole);
                -(g * cut)
            }),
        ),
        BinaryOp::Max | BinaryOp::Min => {
            // The one not taken gets nothing, equals share. A NaN beats nobody and loses to nobody, so both get all.
            let share = 1.0 - a.eq(b).to_dtype(g.dtype()) * 0.5;
            let (up, down) = (a.gt(b), a.lt(b));
            let (lost_a, lost_b) = if op == BinaryOp::Max { (down, up) } else { (up, down) };
            pair(
                need_a.then(|| g * (&share - lost_a.to_dtype(g.dtype()))),
                need_b.then(|| g * (&share - lost_b.to_dtype(g.dtype()))),
            )
        }
        BinaryOp::Pow => pair(
            need_a.then(|| {
                let d = g * (b * Tensor::prim_binary(BinaryOp::Pow, a, &(b - 1.0), at));
                g.full_like(0.0).where_(&b.eq(0.0), &d)
            }),
            need_b.then(|| {
                let d = g * (y * a.log());
                let flat = a.eq(0.0).to_dtype(DType::I64) * b.ge(0.0).to_dtype(DType::I64);
                g.full_like(0.0).where_(&flat.to_dtype(DType::Bool), &d)
            }),
        ),
        BinaryOp::Atan2 => {
            let scale = g / (a * a + b * b);
            pair(need_a.then(|| &scale * b), need_b.then(|| -(&scale * a)))
        }
        // One step of rounding away from `a`: as good as `a` itself. At the goal it is the goal, and PyTorch gives nothing.
        BinaryOp::NextAfter => {
            pair(need_a.then(|| Tensor::prim_where(&a.eq(b), &scalar(g, 0.0, at), g, at)), None)
        }
        _ => not_differentiable(node),
    }
}

fn reduce_vjp(
    op: ReduceOp,
    axes: &[usize],
    x: &Tensor,
    y: &Tensor,
    g: &Tensor,
    at: At,
) -> Option<Tensor> {
    let spread = |t: &Tensor| t.prim_expand(x.shape(), at);
    match op {
        ReduceOp::Sum => Some(spread(g)),
        ReduceOp::Max | ReduceOp::Min => {
            let hit = x.eq(spread(y)).to_dtype(x.dtype());
            let count = hit.prim_reduce(ReduceOp::Sum, axes, at);
            Some(hit * spread(&(g / count)))
        }
        ReduceOp::Prod => {
            // The product of all others, without dividing: products from the left times products from the right.
            let kept: Dims = (0..x.rank()).filter(|d| !axes.contains(d)).collect();
            let mut order = kept.clone();
            order.extend_from_slice(axes);
            let rows: usize = kept.iter().map(|d| x.shape()[*d]).product();
            let len: usize = axes.iter().map(|d| x.shape()[*d]).product();
            if len == 0 {
                return Some(x.filled(Scalar::Int(0), at));
            }
            let moved = x.prim_permute(&order, at);
            let flat = moved.prim_reshape(&[rows, len], at);
            let exclusive = |t: &Tensor| {
                let ones = t.narrow(1, 0, 1).filled(Scalar::Int(1), at);
                Tensor::cat(&[ones, t.narrow(1, 0, len - 1)], 1).prim_scan(ScanOp::Prod, 1, at)
            };
            let others = exclusive(&flat) * exclusive(&flat.flip(1)).flip(1);
            let mut inverse: Dims = order.clone();
            for (d, a) in order.iter().enumerate() {
                inverse[*a] = d;
            }
            let others = others.prim_reshape(moved.shape(), at).prim_permute(&inverse, at);
            Some(spread(g) * others)
        }
        ReduceOp::ArgMax | ReduceOp::ArgMin => None,
    }
}

fn scan_vjp(
    op: ScanOp,
    axis: usize,
    node: &Node,
    x: &Tensor,
    y: &Tensor,
    g: &Tensor,
    at: At,
) -> Tensor {
    let d = axis as isize;
    let backwards = |t: &Tensor, op: ScanOp| t.flip(d).prim_scan(op, axis, at).flip(d);
    match op {
        ScanOp::Sum => backwards(g, ScanOp::Sum),
        ScanOp::Prod => {
            let n = x.shape()[axis];
            if n > 512 {
                return backwards(&(g * y), ScanOp::Sum) / x;
            }
            // d y_j / d x_i = product over k <= j, k != i: the matrix of products with one factor left out.
            let xe = x.unsqueeze(d); // [.., i = 1, k, ..]
            let eye = Tensor::iota(n).reshape([n, 1]).eq(Tensor::iota(n));
            let mut shape = vec![1usize; x.rank() + 1];
            shape[axis] = n;
            shape[axis + 1] = n;
            let eye = eye.reshape(&shape);
            let left_out = xe.ones_like().where_(&eye, &xe);
            let products = left_out.prim_scan(ScanOp::Prod, axis + 1, at);
            let later = Tensor::iota(n).reshape([n, 1]).le(Tensor::iota(n)).reshape(&shape);
            let weighted = products * g.unsqueeze(d);
            let zero = weighted.full_like(0.0);
            weighted.where_(&later, &zero).sum([axis + 1])
        }
        ScanOp::LogSumExp => {
            // dx_i = exp(x_i) * sum over j >= i of g_j exp(-y_j), in logarithms, for each sign of g.
            let part = |g: &Tensor| {
                let log = g.log() - y;
                (backwards(&log, ScanOp::LogSumExp) + x).exp()
            };
            let zero = g.full_like(0.0);
            part(&g.maximum(&zero)) - part(&(-g).maximum(&zero))
        }
        ScanOp::Max | ScanOp::Min => not_differentiable(node),
    }
}

fn scatter_vjp(op: ScatterOp, src: &[Tensor], y: &Tensor, g: &Tensor, at: At) -> Grads {
    let (base, index, value) = (&src[0], &src[1], &src[2]);
    let (need_base, need_value) = (base.0.requires_grad, value.0.requires_grad);
    let taken = |t: &Tensor| t.prim_take(index, at).prim_reshape(value.shape(), at);
    let (b, v) = match op {
        ScatterOp::Add => (need_base.then(|| g.clone()), need_value.then(|| taken(g))),
        ScatterOp::Set => (
            need_base.then(|| {
                let zeros = value.filled(Scalar::Int(0), at);
                Tensor::prim_scatter(ScatterOp::Set, g, index, &zeros, at)
            }),
            need_value.then(|| taken(g)),
        ),
        ScatterOp::Mul => {
            // The product of all others: the product of what is not zero, divided by the own factor; where one factor
            // is zero only that one has a gradient, and where two are none has.
            let (zero_base, zero_value) = (base.eq(0.0), value.eq(0.0));
            let (b, v) = (
                base.ones_like().where_(&zero_base, base),
                value.ones_like().where_(&zero_value, value),
            );
            let product = Tensor::prim_scatter(ScatterOp::Mul, &b, index, &v, at);
            let zeros = Tensor::prim_scatter(
                ScatterOp::Add,
                &zero_base.to_dtype(g.dtype()),
                index,
                &zero_value.to_dtype(g.dtype()),
                at,
            );
            let others = |own: &Tensor, is_zero: &Tensor, product: &Tensor, zeros: &Tensor| {
                let nothing = product.filled(Scalar::Int(0), at);
                let of_zero = product.where_(&zeros.eq(1.0), &nothing);
                let of_rest = (product / own).where_(&zeros.eq(0.0), &nothing);
                of_zero.where_(is_zero, &of_rest)
            };
            (
                need_base.then(|| g * others(&b, &zero_base, &product, &zeros)),
                need_value
                    .then(|| taken(g) * others(&v, &zero_value, &taken(&product), &taken(&zeros))),
            )
        }
        ScatterOp::Max | ScatterOp::Min => {
            let own = base.eq(y).to_dtype(g.dtype());
            let hit = value.eq(taken(y)).to_dtype(g.dtype());
            let count = Tensor::prim_scatter(ScatterOp::Add, &own, index, &hit, at);
            let share = g / count;
            (need_base.then(|| own * &share), need_value.then(|| hit * taken(&share)))
        }
    };
    SmallVec::from_iter([b, None, v])
}

/// The transpose of `unfold`: windows added back where they came from.
fn fold(g: &Tensor, x: &Tensor, dim: usize, size: usize, step: usize, at: At) -> Tensor {
    let rank = x.rank();
    let n = x.shape()[dim];
    let count = g.shape()[dim];
    // Window axis next to its own dimension: [.., count, size, ..]
    let mut order: Dims = (0..=dim).collect();
    order.push(rank);
    order.extend(dim + 1..rank);
    let windows = g.prim_permute(&order, at);
    let mut total: Option<Tensor> = None;
    // Stretches of at most `step` elements of a window never overlap those of the next window.
    for start in (0..size).step_by(step) {
        let len = step.min(size - start);
        let part = windows.narrow(dim as isize + 1, start, len);
        let mut pads: SmallVec<[(usize, usize); 6]> = SmallVec::from_elem((0, 0), rank + 1);
        pads[dim + 1].1 = step - len;
        let full = part.prim_pad(&pads, at);
        let mut shape = x.0.shape.clone();
        shape[dim] = count * step;
        let flat = full.prim_reshape(&shape, at);
        let end = (start + count * step).min(n);
        let cut = flat.narrow(dim as isize, 0, end - start);
        let mut pads: SmallVec<[(usize, usize); 6]> = SmallVec::from_elem((0, 0), rank);
        pads[dim] = (start, n - end);
        let placed = cut.prim_pad(&pads, at);
        total = Some(match total {
            Some(t) => t + placed,
            None => placed,
        });
    }
    total.expect("a window has at least one element")
}

/// The fused kernel where no gradient of this gradient is wanted; else the gradient of the composition.
fn attention_vjp(p: &AttentionParams, y: &Tensor, src: &[Tensor], g: &Tensor, at: At) -> Grads {
    let masked_grad = src.get(3).is_some_and(|m| m.0.requires_grad);
    if crate::is_grad_enabled() || masked_grad {
        return crate::functional::attention_vjp_by_parts(p, src, g).into();
    }
    let all = Tensor::prim_attention_grad(p, src, y, g, at);
    let mut start = 0;
    let mut part = |t: &Tensor| {
        let s = t.shape();
        let region: SmallVec<[(usize, isize); 6]> = SmallVec::from_iter([(start, 1)]);
        let flat = all.prim_slice(&region, &[t.numel()], at);
        start += t.numel();
        // The kernel writes [B, L, H, E].
        let grad = flat.prim_reshape(&[s[0], s[2], s[1], s[3]], at).prim_permute(&[0, 2, 1, 3], at);
        Some(grad.prim_cast(t.dtype(), at))
    };
    let mut out: Grads = src[..3].iter().map(&mut part).collect();
    out.extend(src.get(3).map(|_| None));
    out
}
