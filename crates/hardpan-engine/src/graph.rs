//! The recorded graph as data, for programs that translate it into another language (ONNX, drawings).
//!
//! Operations only record themselves; until something is read, the whole computation from inputs to outputs is there to be looked at.
//! [`Graph::of`] takes it down. It must be called before a flush (see [`crate::plan`]) drops what is no longer needed: right after the
//! computation was written down, with nothing read in between.
//!
//! ```
//! use hardpan_engine::{Tensor, graph::{Graph, GraphOp}};
//! let x = Tensor::from_slice(&[1.0f32, 2.0], [2]);
//! let y = x.exp();
//! let graph = Graph::of(&y);
//! let last = graph.nodes.last().unwrap();
//! assert!(matches!(last.op, GraphOp::Unary(_)));
//! assert!(graph.nodes[last.sources[0]].value.is_same(&x));
//! ```

use crate::dtype::Scalar;
use crate::node::Tensor;
use crate::op::{BinaryOp, ConvMode, ConvParams, Op, ReduceOp, UnaryOp};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

thread_local! {
    static IN_PARTS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; what it calls for that has a kernel of its own beside a definition by simpler operations (attention) records the
/// definition, which other languages know.
///
/// ```
/// use hardpan_engine::{Tensor, functional as f, graph};
/// let x = Tensor::zeros([1, 2, 4, 8]);
/// let y = graph::in_parts(|| f::scaled_dot_product_attention(&x, &x, &x, Default::default()));
/// let other = |op: &graph::GraphOp| matches!(op, graph::GraphOp::Other(_));
/// assert!(!graph::Graph::of(&y).nodes.iter().any(|n| other(&n.op)));
/// ```
pub fn in_parts<R>(f: impl FnOnce() -> R) -> R {
    /// Sets it back, also when `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            IN_PARTS.set(self.0);
        }
    }
    let _before = Before(IN_PARTS.replace(true));
    f()
}

/// Whether [`in_parts`] is running.
pub(crate) fn is_in_parts() -> bool {
    IN_PARTS.get()
}

/// What a node does. Shapes and dtypes are those of [`GraphNode::value`] and of its sources.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GraphOp {
    /// A value that is there: an input, a parameter.
    Value,
    /// One number everywhere.
    Constant(Scalar),
    /// The source itself.
    Same,
    /// A function of each element.
    Unary(UnaryOp),
    /// A function of pairs of elements; both sources have the shape of the result.
    Binary(BinaryOp),
    /// `(condition, a, b)`
    Where,
    /// Another dtype.
    Cast,
    /// Another shape, in row-major order.
    Reshape,
    /// Dimension `d` is dimension `axes[d]` of the source.
    Permute(Vec<usize>),
    /// Dimensions of size 1 repeated; same rank.
    Expand,
    /// Zeros before and after, per dimension.
    Pad(Vec<(usize, usize)>),
    /// Start and step (perhaps negative) per dimension.
    Slice(Vec<(usize, isize)>),
    /// Windows of `size` at every `step` along `dim`; the window is a new last dimension.
    Unfold {
        /// The dimension.
        dim: usize,
        /// Elements in a window.
        size: usize,
        /// From one window to the next.
        step: usize,
    },
    /// The axes become size 1.
    Reduce(ReduceOp, Vec<usize>),
    /// `(x [R, inner..], index [..])`: whole rows.
    Take,
    /// Sources joined along the axis.
    Cat(usize),
    /// `[b.., m, k] @ [b.., k, n]`
    Dot,
    /// `(x [N, C, ..], weight [O, C / groups, ..])`; zeros after the input as the size of the result needs.
    Conv(ConvParams),
    /// Anything else, by name.
    Other(String),
}

/// One node.
#[derive(Clone)]
pub struct GraphNode {
    /// The result.
    pub value: Tensor,
    /// What makes it.
    pub op: GraphOp,
    /// Indices of the sources in [`Graph::nodes`].
    pub sources: Vec<usize>,
}

/// All nodes that a result is made of, sources before those that use them; the result is last.
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<GraphNode>,
}

impl Graph {
    /// The graph of `output`, back to values that are there.
    pub fn of(output: &Tensor) -> Graph {
        let mut found: HashMap<u64, Tensor> = HashMap::new();
        let mut todo = vec![output.clone()];
        while let Some(t) = todo.pop() {
            if found.insert(t.0.id, t.clone()).is_none() && t.0.buffer.get().is_none() {
                todo.extend(t.sources());
            }
        }
        let mut all: Vec<Tensor> = found.into_values().collect();
        // Sources are always older than what is made of them.
        all.sort_by_key(|t| t.0.id);
        let place: HashMap<u64, usize> = all.iter().enumerate().map(|(i, t)| (t.0.id, i)).collect();
        let nodes = all
            .into_iter()
            .map(|value| {
                let there = value.0.buffer.get().is_some();
                let op = if there { GraphOp::Value } else { public(&value.0.op) };
                let sources = if there { Default::default() } else { value.sources() };
                let mut sources: Vec<usize> = sources.iter().map(|s| place[&s.0.id]).collect();
                if op == GraphOp::Same {
                    sources.truncate(1);
                }
                GraphNode { value, op, sources }
            })
            .collect();
        Graph { nodes }
    }
}

impl Tensor {
    /// Whether both are handles to the same node.
    pub fn is_same(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

fn public(op: &Op) -> GraphOp {
    match op {
        Op::Buffer => GraphOp::Value,
        Op::Const(value) => GraphOp::Constant(*value),
        Op::Alias | Op::WithGradient(_) | Op::Barrier => GraphOp::Same,
        Op::Unary(u) => GraphOp::Unary(*u),
        Op::Binary(b) => GraphOp::Binary(*b),
        Op::Where => GraphOp::Where,
        Op::Cast => GraphOp::Cast,
        Op::Reshape => GraphOp::Reshape,
        Op::Permute(axes) => GraphOp::Permute(axes.to_vec()),
        Op::Expand => GraphOp::Expand,
        Op::Pad(pads) => GraphOp::Pad(pads.to_vec()),
        Op::Slice(parts) => GraphOp::Slice(parts.to_vec()),
        Op::Unfold { dim, size, step } => GraphOp::Unfold { dim: *dim, size: *size, step: *step },
        Op::Reduce(r, axes) => GraphOp::Reduce(*r, axes.to_vec()),
        Op::Take => GraphOp::Take,
        Op::Cat(axis) => GraphOp::Cat(*axis),
        Op::Dot => GraphOp::Dot,
        Op::Conv(ConvMode::Forward, params) => GraphOp::Conv((**params).clone()),
        other => GraphOp::Other(other.name().to_owned()),
    }
}
