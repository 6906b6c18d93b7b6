//! The kernel description: the one language between the planner and every device.
//!
//! A [`Kernel`] reads numbered input buffers, writes numbered output buffers and takes scalar arguments. The general one is
//! [`Fused`]: a straight-line program of elementwise operations and reductions over a box of indices. Contractions carry an
//! optional `Fused` *epilogue* that is applied to their result while it is in cache. All arrays are row-major and contiguous;
//! views have become affine address expressions.

use crate::dtype::DType;
use crate::op::{
    AttentionParams, BinaryOp, ConvParams, CustomOp, Distribution, ReduceOp, ScanOp, ScatterOp,
    UnaryOp, WindowOp, WindowParams,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// `base + sum(coef[d] * index[d])` over the kernel's dimensions.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Affine {
    /// Factor of each kernel dimension's index.
    pub coef: SmallVec<[isize; 6]>,
    /// Value at index zero.
    pub base: isize,
}

impl Affine {
    /// The constant `base` over `rank` dimensions.
    pub fn constant(base: isize, rank: usize) -> Affine {
        Affine { coef: SmallVec::from_elem(0, rank), base }
    }
    /// Value at an index.
    pub fn at(&self, index: &[usize]) -> isize {
        self.base + self.coef.iter().zip(index).map(|(c, i)| c * *i as isize).sum::<isize>()
    }
    /// `self + other * factor`.
    pub fn add_scaled(&mut self, other: &Affine, factor: isize) {
        self.base += other.base * factor;
        for (c, o) in self.coef.iter_mut().zip(&other.coef) {
            *c += o * factor;
        }
    }
    /// Smallest and largest value over a box of sizes (none of them 0).
    pub fn range(&self, dims: &[usize]) -> (isize, isize) {
        let (mut lo, mut hi) = (self.base, self.base);
        for (c, d) in self.coef.iter().zip(dims) {
            let reach = c * (*d as isize - 1);
            if reach < 0 { lo += reach } else { hi += reach }
        }
        (lo, hi)
    }
    /// True when no index matters.
    pub fn is_constant(&self) -> bool {
        self.coef.iter().all(|c| *c == 0)
    }
}

/// The condition `0 <= at < size`: where it fails a guarded load gives zero and reads nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Guard {
    /// The position that must lie inside.
    pub at: Affine,
    /// Exclusive upper bound.
    pub size: isize,
}

/// Where a load reads from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// The kernel's input buffer of this number.
    Input(usize),
    /// The contraction's own result at the same flat position (epilogues only). Always at the identity address.
    Result,
}

/// One way of reading an input buffer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Load {
    /// Which buffer.
    pub source: Source,
    /// Its element type.
    pub dtype: DType,
    /// Element offset as a function of the kernel's index.
    pub at: Affine,
    /// All must hold, else the value is zero.
    pub guards: Vec<Guard>,
}

/// Index of a value in [`Fused::values`]; operands always come before their users.
pub type V = usize;

/// One step of a fused program.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Instr {
    /// `loads[i]` at this index.
    Load(usize),
    /// Scalar argument `i`, given at launch.
    Scalar(usize),
    /// The position itself, as i64.
    Index(Affine),
    /// Random number of element `at`; `seed` and `offset` are scalar arguments holding the bits of u64.
    Random {
        /// What to draw.
        dist: Distribution,
        /// Argument number of the seed.
        seed: usize,
        /// Argument number of the counter offset added to `at`.
        offset: usize,
        /// Element number.
        at: Affine,
    },
    /// Bool: all guards hold here.
    Inside(Vec<Guard>),
    /// Operand and result have the value's dtype.
    Unary(UnaryOp, V),
    /// Operands share a dtype; comparisons give bool.
    Binary(BinaryOp, V, V),
    /// `(bool, a, b)`
    Where(V, V, V),
    /// From the operand's dtype to the value's: float to int cuts the fraction, to bool is `!= 0`, narrow ints wrap,
    /// half types are rounded here even though lanes stay f32.
    Cast(V),
    /// Folds the reduced dimensions (row-major order for the arg variants).
    Reduce(ReduceOp, V),
}

/// How much of the index a value depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// One value for the launch.
    Uniform,
    /// One value per row (kept index): reductions and what is computed from them.
    Row,
    /// One value per (kept, reduced) index.
    Full,
}

/// A value of the program.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Value {
    /// How it is computed.
    pub instr: Instr,
    /// Its logical dtype. Lanes compute in `dtype.lane()`; bool is 0/1 in an i32 lane; narrow ints wrap after each operation.
    pub dtype: DType,
    /// What it depends on. An operand of a lower level is broadcast.
    pub level: Level,
}

/// One output of the program. Every element of the output's (sub)region is written exactly once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Store {
    /// Output buffer number.
    pub output: usize,
    /// Element type of that buffer (equals the value's dtype).
    pub dtype: DType,
    /// What is written. A value below `level` is broadcast.
    pub value: V,
    /// `Full`: for every index. `Row`: once per row (`at` has no reduced coefficients).
    pub level: Level,
    /// Element offset.
    pub at: Affine,
}

/// A straight-line program over a box of indices, `kept` dimensions first, then the reduced ones.
///
/// Meaning: for every kept index compute all values, `Full` ones for every reduced index; a `Reduce` folds a `Full` value over
/// the reduced dimensions. With no reduced dimensions everything is elementwise. `Full` values may depend on `Row` values that
/// come from a `Reduce` only if the planner saw that a row is short ([`Fused::ROW_LIMIT`]); longer rows hold reductions of
/// plain `Full` values, followed by `Row` arithmetic only; plain `Full` values (those that depend on no fold) may still be stored
/// for every index there.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Fused {
    /// Sizes: kept dimensions, then reduced ones.
    pub dims: SmallVec<[usize; 6]>,
    /// Number of kept dimensions.
    pub kept: usize,
    /// The distinct reads.
    pub loads: Vec<Load>,
    /// The program.
    pub values: Vec<Value>,
    /// The writes.
    pub stores: Vec<Store>,
}

impl Fused {
    /// Longest row (elements over the reduced dimensions) whose `Full` values may be kept in scratch memory between a
    /// reduction and its use in the same kernel.
    pub const ROW_LIMIT: usize = 8192;

    /// Number of rows: product of the kept dimensions.
    pub fn rows(&self) -> usize {
        self.dims[..self.kept].iter().product()
    }
    /// Elements of a row: product of the reduced dimensions, 1 when there are none.
    pub fn row_len(&self) -> usize {
        self.dims[self.kept..].iter().product()
    }
    /// True when some value folds a row.
    pub fn has_reduce(&self) -> bool {
        self.values.iter().any(|v| matches!(v.instr, Instr::Reduce(..)))
    }
}

/// An operand of a matrix product: a strided view of an input buffer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Operand {
    /// Input buffer number.
    pub input: usize,
    /// Its element type.
    pub dtype: DType,
    /// Element offset of the first element.
    pub base: usize,
    /// Element stride of each batch dimension (0 repeats).
    pub batch: SmallVec<[isize; 4]>,
    /// Element stride of the row index.
    pub row: isize,
    /// Element stride of the column index.
    pub col: isize,
}

/// `C[b, m, n] = sum_k A[b, m, k] * B[b, k, n]`, f16 and bf16 accumulated in f32.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DotKernel {
    /// Batch dimensions.
    pub batch: SmallVec<[usize; 4]>,
    /// Rows of A and C.
    pub m: usize,
    /// Columns of B and C.
    pub n: usize,
    /// Inner size.
    pub k: usize,
    /// Left operand, `[m, k]`.
    pub a: Operand,
    /// Right operand, `[k, n]`.
    pub b: Operand,
    /// Element type of the product (that of the operands).
    pub dtype: DType,
}

/// A convolution map; both inputs and the result are contiguous `[N, C, spatial..]` / `[O, I / groups, kernel..]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvKernel {
    /// Which map.
    pub mode: crate::op::ConvMode,
    /// Stride, padding, dilation, groups.
    pub params: ConvParams,
    /// `[N, C, spatial..]` of the image side.
    pub x: SmallVec<[usize; 6]>,
    /// `[O, I / groups, kernel..]`.
    pub w: SmallVec<[usize; 6]>,
    /// `[N, O, spatial..]` of the output side.
    pub y: SmallVec<[usize; 6]>,
    /// Input buffer numbers of the two operands, in the order of [`crate::op::ConvMode`].
    pub inputs: [usize; 2],
    /// Element type of everything.
    pub dtype: DType,
}

/// A strided view of rank 4 of an input buffer.
#[derive(Clone, PartialEq, Debug)]
pub struct AttentionOperand {
    /// Input buffer number.
    pub input: usize,
    /// Its element type.
    pub dtype: DType,
    /// Element offset of the first element.
    pub base: usize,
    /// Element stride of each dimension (0 repeats).
    pub strides: [usize; 4],
}

/// Windows over `planes` images; [`WindowOp`] says what is computed. All arrays are contiguous.
#[derive(Clone, PartialEq, Debug)]
pub struct WindowKernel {
    /// What is computed.
    pub op: WindowOp,
    /// Number of images.
    pub planes: usize,
    /// The windows.
    pub params: WindowParams,
    /// Element type (places are u8).
    pub dtype: DType,
}

/// Attention or its gradient; [`AttentionParams`] says what goes in and out. Scalar arguments: seed and offset (bits of u64).
#[derive(Clone, PartialEq, Debug)]
pub struct AttentionKernel {
    /// B
    pub batch: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
    /// L
    pub queries: usize,
    /// S
    pub keys: usize,
    /// E
    pub size: usize,
    /// V
    pub value_size: usize,
    /// Scale, causality, dropout (seed and offset here are not used).
    pub params: AttentionParams,
    /// `[B, H, L, E]`
    pub q: AttentionOperand,
    /// `[B, G, S, E]`
    pub k: AttentionOperand,
    /// `[B, G, S, V]`
    pub v: AttentionOperand,
    /// `[B, H, L, S]`, f32.
    pub mask: Option<AttentionOperand>,
    /// For the gradient: the result of the map and the gradient of it, f32 rows (the first stride counts).
    pub result: Option<[AttentionOperand; 2]>,
}

impl AttentionKernel {
    /// Elements of the output part of the result; the rest are logarithms.
    pub fn output_len(&self) -> usize {
        self.batch * self.queries * self.heads * self.value_size
    }
}

/// What a kernel does. Buffer numbers refer to the launch's list of inputs and outputs.
#[derive(Clone)]
pub enum Body {
    /// A fused program.
    Fused(Fused),
    /// A matrix product with epilogue. Without one the result goes to output 0.
    Dot(DotKernel, Option<Fused>),
    /// A convolution map with epilogue. Without one the result goes to output 0.
    Conv(ConvKernel, Option<Fused>),
    /// Attention or its gradient, to output 0.
    Attention(AttentionKernel),
    /// Whole rows of `inner` elements: inputs (x, index i64); output `[count, inner]`.
    Take {
        /// Rows of x.
        rows: usize,
        /// Elements of a row.
        inner: usize,
        /// Number of indices.
        count: usize,
        /// Element type of x.
        dtype: DType,
    },
    /// Inputs (base, index i64, src); output like base. The planner may hand the base's own memory as the output.
    Scatter {
        /// What happens on collision.
        op: ScatterOp,
        /// Rows of base.
        rows: usize,
        /// Elements of a row.
        inner: usize,
        /// Number of indices.
        count: usize,
        /// Element type of base and src.
        dtype: DType,
    },
    /// Something of windows of images, to output 0.
    Window(WindowKernel),
    /// Running fold of input 0, seen as `[outer, len, inner]`, along `len`.
    Scan {
        /// Which fold.
        op: ScanOp,
        /// Product of the dimensions before.
        outer: usize,
        /// The scanned dimension.
        len: usize,
        /// Product of the dimensions after.
        inner: usize,
        /// Element type.
        dtype: DType,
    },
    /// Stable sorting indices (i64) of input 0, seen as `[outer, len, inner]`, along `len`. NaN sorts as largest.
    ArgSort {
        /// Largest first.
        descending: bool,
        /// Product of the dimensions before.
        outer: usize,
        /// The sorted dimension.
        len: usize,
        /// Product of the dimensions after.
        inner: usize,
        /// Element type of the input.
        dtype: DType,
    },
    /// Copies input 0 to output 0, `bytes` long.
    Copy {
        /// Length.
        bytes: usize,
    },
    /// A user's operation on host arrays.
    Custom {
        /// The operation.
        op: Arc<dyn CustomOp>,
        /// Dtypes and shapes of the inputs.
        inputs: Vec<(DType, SmallVec<[usize; 6]>)>,
    },
}

/// A kernel and its buffers' element counts.
#[derive(Clone)]
pub struct Kernel {
    /// What it does.
    pub body: Body,
    /// (dtype, elements) of each input buffer.
    pub inputs: Vec<(DType, usize)>,
    /// (dtype, elements) of each output buffer.
    pub outputs: Vec<(DType, usize)>,
}

impl Kernel {
    /// Short name for traces, such as `fused[exp,sub]`, `dot`, `conv+fused`.
    pub fn name(&self) -> String {
        fn ops(f: &Fused) -> String {
            let mut names: Vec<&str> = Vec::new();
            for v in &f.values {
                let n = match &v.instr {
                    Instr::Unary(u, _) => u.name(),
                    Instr::Binary(b, ..) => b.name(),
                    Instr::Where(..) => "where",
                    Instr::Reduce(r, _) => r.name(),
                    Instr::Random { dist, .. } => dist.name(),
                    _ => continue,
                };
                if !names.contains(&n) {
                    names.push(n);
                }
            }
            if names.is_empty() { "copy".into() } else { names.join(",") }
        }
        match &self.body {
            Body::Fused(f) if f.has_reduce() => format!("row[{}]", ops(f)),
            Body::Fused(f) => format!("map[{}]", ops(f)),
            Body::Dot(_, None) => "dot".into(),
            Body::Dot(_, Some(f)) => format!("dot+[{}]", ops(f)),
            Body::Conv(c, None) => c.mode.name().into(),
            Body::Conv(c, Some(f)) => format!("{}+[{}]", c.mode.name(), ops(f)),
            Body::Attention(a) => {
                let what = if a.result.is_some() { "attention_grad" } else { "attention" };
                let causal = if a.params.causal { "[causal]" } else { "" };
                format!("{what}{causal}")
            }
            Body::Take { .. } => "take".into(),
            Body::Scatter { op, .. } => op.name().into(),
            Body::Window(w) => w.op.name().into(),
            Body::Scan { op, .. } => op.name().into(),
            Body::ArgSort { .. } => "argsort".into(),
            Body::Copy { .. } => "copy".into(),
            Body::Custom { op, .. } => format!("custom[{}]", op.name()),
        }
    }
}
