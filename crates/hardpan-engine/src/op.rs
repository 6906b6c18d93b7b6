//! The op table: every primitive the engine knows, each defined once.
//!
//! A primitive here has a name and an arity; its shape and dtype rules sit where it is built ([`crate::tensor`]), its gradient
//! in one `match` in `grad`, its meaning on one element in [`crate::scalar`]. Everything else in the library (softmax, losses,
//! pooling, attention, ...) is composed of these.

use crate::dtype::Scalar;
use crate::shape::Dims;
use smallvec::SmallVec;
use std::sync::Arc;

macro_rules! op_kind {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $v:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $v),* }
        impl $name {
            /// Every member, in order.
            pub const ALL: &'static [$name] = &[$($name::$v),*];
            /// The lower-case name used in traces, dumps and errors.
            pub const fn name(self) -> &'static str {
                match self { $($name::$v => $text),* }
            }
        }
    };
}

op_kind! {
    /// Functions of one element. Input and output have the same dtype.
    UnaryOp {
        /// `-x`
        Neg = "neg",
        /// `|x|`
        Abs = "abs",
        /// `e^x`
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Square root.
        Sqrt = "sqrt",
        /// `1 / x`
        Recip = "recip",
        /// Sine of radians.
        Sin = "sin",
        /// Cosine of radians.
        Cos = "cos",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Error function.
        Erf = "erf",
        /// Largest whole number not above.
        Floor = "floor",
        /// Nearest whole number, ties to even.
        Round = "round",
        /// Logical not: 1 where zero, else 0.
        Not = "not",
        /// `e^x - 1`, accurate near 0.
        Expm1 = "expm1",
        /// `ln(1 + x)`, accurate near 0.
        Log1p = "log1p",
        /// Tangent.
        Tan = "tan",
        /// Inverse sine.
        Asin = "asin",
        /// Inverse cosine.
        Acos = "acos",
        /// Inverse tangent.
        Atan = "atan",
        /// Hyperbolic sine.
        Sinh = "sinh",
        /// Hyperbolic cosine.
        Cosh = "cosh",
        /// Inverse hyperbolic sine.
        Asinh = "asinh",
        /// Inverse hyperbolic cosine.
        Acosh = "acosh",
        /// Inverse hyperbolic tangent.
        Atanh = "atanh",
        /// `1 - erf(x)`, accurate for large x.
        Erfc = "erfc",
        /// Inverse error function.
        Erfinv = "erfinv",
        /// Logarithm of the absolute gamma function.
        Lgamma = "lgamma",
        /// Derivative of lgamma.
        Digamma = "digamma",
        /// Second derivative of lgamma.
        Trigamma = "trigamma",
        /// Modified Bessel function of order 0.
        I0 = "i0",
        /// Modified Bessel function of order 1.
        I1 = "i1",
        /// Inverse of the standard normal distribution function.
        Ndtri = "ndtri",
        /// Logarithm of the standard normal distribution function.
        LogNdtr = "log_ndtr",
        /// `e^(x^2) erfc(x)`.
        Erfcx = "erfcx",
    }
}

impl UnaryOp {
    /// Cheap enough to compute again instead of storing.
    pub const fn is_cheap(self) -> bool {
        matches!(self, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Floor | UnaryOp::Round | UnaryOp::Not)
    }
}

op_kind! {
    /// Functions of two elements of one dtype. Comparisons give bool, the others the operands' dtype.
    BinaryOp {
        /// `a + b`
        Add = "add",
        /// `a - b`
        Sub = "sub",
        /// `a * b`
        Mul = "mul",
        /// `a / b`; integers truncate toward zero.
        Div = "div",
        /// Remainder with the sign of `a` (C's `fmod`).
        Rem = "rem",
        /// Larger of two; NaN if either is.
        Max = "max",
        /// Smaller of two; NaN if either is.
        Min = "min",
        /// `a` to the power `b`.
        Pow = "pow",
        /// Angle of the point (b, a).
        Atan2 = "atan2",
        /// `a < b`
        Lt = "lt",
        /// `a <= b`
        Le = "le",
        /// `a == b`
        Eq = "eq",
        /// Bits of both (integers and bool).
        And = "and",
        /// Bits of either (integers and bool).
        Or = "or",
        /// Bits of one of the two (integers and bool).
        Xor = "xor",
        /// Bits moved up.
        Shl = "shl",
        /// Bits moved down, keeping the sign.
        Shr = "shr",
        /// Next representable value of `a` toward `b`.
        NextAfter = "nextafter",
    }
}

impl BinaryOp {
    /// True for `Lt`, `Le`, `Eq`: the result is bool.
    pub const fn is_comparison(self) -> bool {
        matches!(self, BinaryOp::Lt | BinaryOp::Le | BinaryOp::Eq)
    }

    /// Cheap enough to compute again instead of storing.
    pub const fn is_cheap(self) -> bool {
        !matches!(
            self,
            BinaryOp::Div | BinaryOp::Rem | BinaryOp::Pow | BinaryOp::Atan2 | BinaryOp::NextAfter
        )
    }
}

op_kind! {
    /// Ways to fold the elements of some axes into one.
    ReduceOp {
        /// Sum. Half types accumulate in f32; integers wrap.
        Sum = "sum",
        /// Product.
        Prod = "prod",
        /// Largest; NaN if any is.
        Max = "max",
        /// Smallest; NaN if any is.
        Min = "min",
        /// Flat index (over the reduced axes, row-major) of the first largest; NaN counts as largest.
        ArgMax = "argmax",
        /// Flat index of the first smallest; NaN counts as smallest.
        ArgMin = "argmin",
    }
}

impl ReduceOp {
    /// True for `ArgMax` and `ArgMin`, whose result is i64.
    pub const fn is_arg(self) -> bool {
        matches!(self, ReduceOp::ArgMax | ReduceOp::ArgMin)
    }
}

op_kind! {
    /// Running folds along one axis.
    ScanOp {
        /// Running sum.
        Sum = "cumsum",
        /// Running product.
        Prod = "cumprod",
        /// Running maximum; NaN sticks.
        Max = "cummax",
        /// Running minimum; NaN sticks.
        Min = "cummin",
        /// Running log of the sum of exponentials.
        LogSumExp = "logcumsumexp",
    }
}

op_kind! {
    /// What is computed of the windows of an image.
    WindowOp {
        /// The largest element; NaN counts as larger than all else.
        Max = "window_max",
        /// Its place in the window, row-major; the first of equal ones.
        Place = "window_place",
        /// The element at a given place of each window.
        Take = "window_take",
        /// A value for each window added to the element at its place.
        Back = "window_back",
    }
}

op_kind! {
    /// What happens where several source rows meet one target row.
    ScatterOp {
        /// Added to the base, in source order (deterministic).
        Add = "scatter_add",
        /// Overwrites; the last in source order wins.
        Set = "scatter_set",
        /// Multiplied onto the base.
        Mul = "scatter_mul",
        /// Maximum with the base.
        Max = "scatter_max",
        /// Minimum with the base.
        Min = "scatter_min",
    }
}

op_kind! {
    /// Which of the three maps a convolution node computes.
    ConvMode {
        /// `(x, w) -> y`
        Forward = "conv",
        /// `(g, w) -> dx`: also the forward map of a transposed convolution.
        InputGrad = "conv_input_grad",
        /// `(x, g) -> dw`
        WeightGrad = "conv_weight_grad",
    }
}

op_kind! {
    /// What a random leaf draws.
    Distribution {
        /// f32 in [0, 1), 24 random bits.
        Uniform = "uniform",
        /// Standard normal f32 (Box-Muller on two uniforms).
        Normal = "normal",
        /// 32 random bits as i64 in [0, 2^32).
        Bits = "bits",
    }
}

/// The geometry of a convolution over 1 to 3 spatial dimensions, shared by its three maps.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvParams {
    /// Step of the window, per spatial dimension.
    pub stride: SmallVec<[usize; 3]>,
    /// Zeros added before, per spatial dimension (those after follow from the output size).
    pub padding: SmallVec<[usize; 3]>,
    /// Distance between kernel elements, per spatial dimension.
    pub dilation: SmallVec<[usize; 3]>,
    /// Channel groups.
    pub groups: usize,
}

/// Scaled dot-product attention, shared by the map and its gradient.
///
/// Sources are strided views of rank 4: query `[B, H, L, E]`, key `[B, G, S, E]`, value `[B, G, S, V]` (G divides H: query head
/// `h` looks at key head `h / (H / G)`), f32 or a half type, and, if `masked`, an f32 mask `[B, H, L, S]` that is added to the
/// scores. The result is one f32 row: the output as `[B, L, H, V]`, then the logarithm of each row's sum of exponentials,
/// `[B, H, L]`. The gradient's further sources are that result and the gradient of it; its result is one f32 row with the
/// gradients of query `[B, L, H, E]`, key `[B, S, G, E]` and value `[B, S, G, V]`.
///
/// Source: Dao et al., <https://arxiv.org/abs/2205.14135>: weights are never stored, and computed again for the gradient.
#[derive(Clone, PartialEq, Debug)]
pub struct AttentionParams {
    /// Factor of the scores.
    pub scale: f32,
    /// Query `i` looks at keys `0..=i` only.
    pub causal: bool,
    /// Whether a mask is the fourth source.
    pub masked: bool,
    /// Probability of dropping a weight; the others are divided by one minus it.
    pub dropout: f32,
    /// Stream of random numbers that decides which are dropped: weight `(b, h, i, j)` is where the uniform number of that row-major
    /// position after `offset` is below `dropout`.
    pub seed: u64,
    /// Position in the stream.
    pub offset: u64,
}

impl AttentionParams {
    /// The words that a plan depends on: all but seed and offset.
    pub(crate) fn words(&self) -> [u64; 2] {
        let bits = (self.scale.to_bits() as u64) << 32 | self.dropout.to_bits() as u64;
        [bits, self.causal as u64 | (self.masked as u64) << 1]
    }
}

/// Windows over the last two dimensions, of at most 255 elements each. What they reach outside the image does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WindowParams {
    /// Rows and columns of the image.
    pub size: [usize; 2],
    /// Windows down and across.
    pub out: [usize; 2],
    /// Rows and columns of a window.
    pub kernel: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// How far the first window reaches out.
    pub padding: [usize; 2],
}

impl WindowParams {
    /// The words that a plan depends on.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        [self.size, self.out, self.kernel, self.stride, self.padding]
            .into_iter()
            .flatten()
            .map(|n| n as u64)
    }
}

/// A user's operation: its meaning on host arrays, and its gradient.
///
/// Implement it for work that cannot be composed of tensor operations, then call [`crate::Tensor::custom`].
pub trait CustomOp: Send + Sync {
    /// A short name for traces and errors.
    fn name(&self) -> &str;
    /// Distinguishes instances of the same type with other parameters; instances with equal `name` and `key` must compute
    /// the same function, since plans are shared between them.
    fn key(&self) -> u64;
    /// The dtype and shape of the result for inputs of the given dtypes and shapes; panics on inputs that do not fit.
    fn output(&self, inputs: &[(crate::DType, &[usize])]) -> (crate::DType, Dims);
    /// Computes the result from contiguous row-major inputs.
    fn run(&self, inputs: &[crate::HostArray]) -> crate::HostArray;
    /// Gradients for each input given that of the output, `None` for an input that has none.
    ///
    /// The default says clearly that the operation is not differentiable.
    fn vjp(
        &self,
        _inputs: &[crate::Tensor],
        _output: &crate::Tensor,
        _grad: &crate::Tensor,
    ) -> Vec<Option<crate::Tensor>> {
        panic!(
            "custom op '{}' has no gradient: implement CustomOp::vjp or detach its inputs",
            self.name()
        )
    }
}

/// Gradients for the sources of a node that stands for its first source's value; see [`crate::Tensor::with_gradient`].
pub(crate) trait GradientRule: Send + Sync {
    fn vjp(&self, sources: &[crate::Tensor], grad: &crate::Tensor) -> Vec<Option<crate::Tensor>>;
}

/// One node's operation with its parameters. Sources and shapes live in the node.
#[derive(Clone)]
pub(crate) enum Op {
    /// A realised array (also what a detached or parameter tensor is).
    Buffer,
    /// One value everywhere; rank 0.
    Const(Scalar),
    /// 0, 1, 2, ... along one dimension, i64.
    Iota,
    /// Counter-based random numbers: element `i` depends on (seed, offset + i) alone.
    Random(Distribution, u64, u64),
    Unary(UnaryOp),
    Binary(BinaryOp),
    /// `(condition: bool, a, b)`.
    Where,
    Cast,
    /// The same value with its history cut (`detach`), or a leaf that a gradient is wanted for.
    Alias,
    /// The value of the first source; the gradients of all sources come from the given rule.
    WithGradient(Arc<dyn GradientRule>),
    Reshape,
    /// Output dimension `d` is source dimension `axes[d]`.
    Permute(Dims),
    /// Dimensions of size 1 stretched; same rank.
    Expand,
    /// Zeros around: (before, after) per dimension.
    Pad(Box<SmallVec<[(usize, usize); 6]>>),
    /// Start and step (never 0, may be negative) per dimension; the sizes are the node's shape.
    Slice(Box<SmallVec<[(usize, isize); 6]>>),
    /// Windows of `size` at every `step` along `dim`; the window is a new last dimension.
    Unfold {
        dim: usize,
        size: usize,
        step: usize,
    },
    /// The given axes (ascending) become size 1.
    Reduce(ReduceOp, Dims),
    Scan(ScanOp, usize),
    /// `(x [.., size])` for the first two, with the result `[.., out]`; `(g [.., out], place u8 [.., out])` for the way back.
    Window(WindowOp, Box<WindowParams>),
    /// `(x [R, inner..], index i64 [..]) -> [index.., inner..]`: whole rows.
    Take,
    /// `(base [R, inner..], index i64 [n..], src [n.., inner..]) -> like base`.
    Scatter(ScatterOp),
    /// Sources joined along the axis.
    Cat(usize),
    /// `(base, value)`: base with the region that starts at .. with step .. replaced.
    Update(Box<SmallVec<[(usize, isize); 6]>>),
    /// `[b.., m, k] @ [b.., k, n]`, equal batch dimensions.
    Dot,
    /// For gradients the shape of the result is the node's shape.
    Conv(ConvMode, Box<ConvParams>),
    /// `(query, key, value[, mask])`; see [`AttentionParams`].
    Attention(Box<AttentionParams>),
    /// `(query, key, value, result, gradient[, mask])`.
    AttentionGrad(Box<AttentionParams>),
    /// Indices (i64) that sort along the axis; stable.
    ArgSort {
        axis: usize,
        descending: bool,
    },
    /// A fence: the value is stored contiguously and fusion stops here.
    Barrier,
    Custom(Arc<dyn CustomOp>),
}

impl Op {
    /// The name in traces, dumps and errors.
    pub(crate) fn name(&self) -> &str {
        match self {
            Op::Buffer => "buffer",
            Op::Const(_) => "const",
            Op::Iota => "iota",
            Op::Random(d, ..) => d.name(),
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Where => "where",
            Op::Cast => "cast",
            Op::Alias => "alias",
            Op::WithGradient(_) => "with_gradient",
            Op::Reshape => "reshape",
            Op::Permute(_) => "permute",
            Op::Expand => "expand",
            Op::Pad(_) => "pad",
            Op::Slice(_) => "slice",
            Op::Unfold { .. } => "unfold",
            Op::Reduce(r, _) => r.name(),
            Op::Scan(s, _) => s.name(),
            Op::Window(w, _) => w.name(),
            Op::Take => "take",
            Op::Scatter(s) => s.name(),
            Op::Cat(_) => "cat",
            Op::Update(_) => "update",
            Op::Dot => "dot",
            Op::Conv(m, _) => m.name(),
            Op::Attention(_) => "attention",
            Op::AttentionGrad(_) => "attention_grad",
            Op::ArgSort { .. } => "argsort",
            Op::Barrier => "barrier",
            Op::Custom(c) => c.name(),
        }
    }

    /// A view in the same row-major order: its source's memory can be read in its place.
    pub(crate) fn keeps_order(&self) -> bool {
        matches!(self, Op::Alias | Op::WithGradient(_) | Op::Reshape)
    }

    /// True when the op only renames positions: no arithmetic, no storage of its own.
    pub(crate) fn is_view(&self) -> bool {
        matches!(
            self,
            Op::Alias
                | Op::WithGradient(_)
                | Op::Reshape
                | Op::Permute(_)
                | Op::Expand
                | Op::Pad(_)
                | Op::Slice(_)
                | Op::Unfold { .. }
        )
    }
}
