//! The graph behind a tensor as a DOT drawing.

use crate::node::Tensor;
use std::collections::HashSet;
use std::fmt::Write as _;

/// The history of `tensor` in the DOT language: one box an operation, with dtype and shape; realised ones are grey, those that
/// require gradients have a bold frame. Draw it with `dot -Tsvg`.
pub fn pending_dot(tensor: &Tensor) -> String {
    let mut out = String::from(
        "digraph hardpan {\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n",
    );
    let mut seen: HashSet<u64> = HashSet::new();
    let mut stack = vec![tensor.clone()];
    while let Some(t) = stack.pop() {
        if !seen.insert(t.0.id) {
            continue;
        }
        let node = &t.0;
        let style = if node.buffer.get().is_some() { "filled" } else { "solid" };
        let width = if node.requires_grad { 2 } else { 1 };
        let _ = writeln!(
            out,
            "  n{} [label=\"{}\\n{}{:?}\", style={style}, fillcolor=lightgrey, penwidth={width}, tooltip=\"{}:{}\"];",
            node.id,
            node.op.name(),
            node.dtype,
            node.shape.as_slice(),
            node.at.file(),
            node.at.line()
        );
        for s in t.sources() {
            let _ = writeln!(out, "  n{} -> n{};", s.0.id, node.id);
            stack.push(s);
        }
    }
    out.push_str("}\n");
    out
}
