//! From the engine's graph to ONNX nodes.
//!
//! The function is recorded twice, for batches of two and of three items: dimensions that differ are those that follow the batch size.
//! A repetition (`Expand`) is not written down where the next operation would repeat by itself, as elementwise ones do; a value
//! therefore carries for each dimension whether its repetition is still owed.

use crate::proto::{Attribute, Dim, Message, data_type, node, tensor, value_info};
use crate::{OPSET, OnnxError, Options};
use hardpan_engine::graph::{Graph, GraphNode, GraphOp, in_parts};
use hardpan_engine::op::{BinaryOp, ReduceOp, UnaryOp};
use hardpan_engine::{DType, HostArray, Tensor, no_grad};

/// Batch sizes of the two recordings.
const BATCHES: [usize; 2] = [2, 3];

pub(crate) fn model(
    f: &dyn Fn(&Tensor) -> Tensor,
    shape: &[usize],
    o: &Options,
) -> Result<Vec<u8>, OnnxError> {
    let record = |batch: usize| {
        let full: Vec<usize> = [batch].into_iter().chain(shape.iter().copied()).collect();
        // Not all alike, so that nothing can take it for a constant.
        let n = full.iter().product::<usize>();
        let values: Vec<f32> = (0..n).map(|i| (i % 251) as f32 / 251.0).collect();
        let x = Tensor::from_vec(values, &full[..]);
        let y = no_grad(|| in_parts(|| f(&x)));
        (Graph::of(&y), x)
    };
    let (a, x) = record(BATCHES[0]);
    let (b, _) = record(BATCHES[1]);
    let shapes = dims(&a, &b)?;
    drop(b);
    let graph = steps(a, &x, &shapes)?;
    let last = graph.len() - 1;
    let mut t = Translator {
        graph: &graph,
        shapes,
        values: vec![None; graph.len()],
        nodes: Vec::new(),
        constants: Vec::new(),
        input: o.input.clone(),
    };
    for (i, n) in graph.iter().enumerate() {
        if n.depends {
            let value = if n.is_input {
                Value { name: o.input.clone(), owed: vec![false; n.shape.len()] }
            } else {
                t.translate(i, n)?
            };
            t.values[i] = Some(value);
        }
    }
    let result = t.full(last)?;
    t.nodes.push(node("Identity", &[&result], &o.output, &[]));
    let input_shape: Vec<Dim> =
        [Dim::Batch(1)].into_iter().chain(shape.iter().map(|n| Dim::Fixed(*n))).collect();
    let dtype = graph[last].dtype;
    let graph = Message::default()
        .messages(1, &t.nodes)
        .text(2, &o.name)
        .messages(5, &t.constants)
        .message(11, &value_info(&o.input, DType::F32, &input_shape))
        .message(12, &value_info(&o.output, dtype, &t.shapes[last]));
    let opset = Message::default().text(1, "").int(2, OPSET);
    let file = Message::default()
        .int(1, 8)
        .text(2, "hardpan")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &graph)
        .message(8, &opset);
    let texts = o.metadata.iter();
    let texts: Vec<Message> =
        texts.map(|(k, v)| Message::default().text(1, k).text(2, v)).collect();
    Ok(file.messages(14, &texts).0)
}

/// The shape of every node as a function of the batch size.
fn dims(a: &Graph, b: &Graph) -> Result<Vec<Vec<Dim>>, OnnxError> {
    let batch = |problem: &str| OnnxError::Batch { problem: problem.into() };
    if a.nodes.len() != b.nodes.len() {
        return Err(batch("its operations depend on the batch size"));
    }
    let same = |(a, b): (&GraphNode, &GraphNode)| {
        if a.sources != b.sources || a.value.rank() != b.value.rank() {
            return Err(batch("its operations depend on the batch size"));
        }
        let shapes = a.value.shape().iter().zip(b.value.shape());
        shapes
            .map(|(&m, &n)| match (m, n) {
                _ if m == n => Ok(Dim::Fixed(m)),
                _ if m * BATCHES[1] == n * BATCHES[0] && m.is_multiple_of(BATCHES[0]) => {
                    Ok(Dim::Batch(m / BATCHES[0]))
                }
                _ => Err(batch(&format!("a size is {m} for 2 items and {n} for 3"))),
            })
            .collect()
    };
    a.nodes.iter().zip(&b.nodes).map(same).collect()
}

/// Whether the shape depends on the batch size.
fn is_open(shape: &[Dim]) -> bool {
    shape.iter().any(|d| matches!(d, Dim::Batch(_)))
}

/// What is kept of a node.
struct Step {
    op: GraphOp,
    sources: Vec<usize>,
    shape: Vec<usize>,
    dtype: DType,
    is_input: bool,
    /// Whether it depends on the input.
    depends: bool,
    /// The tensor, where its value is to be written into the file.
    constant: Option<Tensor>,
}

/// The nodes without those tensors whose values nobody needs: a flush computes all that somebody holds, and nothing else.
fn steps(graph: Graph, x: &Tensor, shapes: &[Vec<Dim>]) -> Result<Vec<Step>, OnnxError> {
    let nodes = graph.nodes;
    let mut depends = vec![false; nodes.len()];
    for (i, n) in nodes.iter().enumerate() {
        depends[i] = n.value.is_same(x) || n.sources.iter().any(|s| depends[*s]);
    }
    if depends.last() != Some(&true) {
        let problem = "the output does not depend on the input".into();
        return Err(OnnxError::Trace { problem });
    }
    // Constants are written down where they are used, but without what repeats them for each item.
    let mut wanted = vec![false; nodes.len()];
    let used = nodes.iter().zip(&depends).filter(|(_, depends)| **depends);
    let mut todo: Vec<usize> = used.flat_map(|(n, _)| n.sources.iter().copied()).collect();
    let mut seen = vec![false; nodes.len()];
    while let Some(i) = todo.pop() {
        if depends[i] || std::mem::replace(&mut seen[i], true) {
            continue;
        }
        if is_open(&shapes[i]) || nodes[i].op == GraphOp::Expand {
            todo.extend(&nodes[i].sources);
        } else {
            wanted[i] = true;
        }
    }
    let step = |(i, n): (usize, GraphNode)| Step {
        shape: n.value.shape().to_vec(),
        dtype: n.value.dtype(),
        is_input: n.value.is_same(x),
        depends: depends[i],
        constant: wanted[i].then_some(n.value),
        op: n.op,
        sources: n.sources,
    };
    Ok(nodes.into_iter().enumerate().map(step).collect())
}

/// An ONNX value that stands for a node.
#[derive(Clone, Debug)]
struct Value {
    name: String,
    /// Dimensions that have size 1 here and are to be repeated.
    owed: Vec<bool>,
}

struct Translator<'a> {
    graph: &'a [Step],
    shapes: Vec<Vec<Dim>>,
    values: Vec<Option<Value>>,
    nodes: Vec<Message>,
    constants: Vec<Message>,
    input: String,
}

impl Translator<'_> {
    fn fresh(&self) -> String {
        format!("v{}", self.nodes.len() + self.constants.len())
    }

    fn emit(&mut self, op: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        let name = self.fresh();
        self.nodes.push(node(op, inputs, &name, attributes));
        name
    }

    fn constant(&mut self, array: &HostArray) -> String {
        let name = self.fresh();
        self.constants.push(tensor(&name, array));
        name
    }

    fn ints(&mut self, values: &[i64]) -> String {
        self.constant(&HostArray::new(values, &[values.len()]))
    }

    /// The value of a node; repetitions may be owed.
    fn value(&mut self, i: usize) -> Result<Value, OnnxError> {
        if let Some(v) = &self.values[i] {
            return Ok(v.clone());
        }
        let graph = self.graph;
        let n = &graph[i];
        let value = match (&n.op, n.sources.first()) {
            (GraphOp::Expand, Some(&source)) => {
                let inner = self.value(source)?;
                self.owing(i, source, inner)
            }
            // Alike for all items, but with a size that follows the batch: made in the file too.
            _ if is_open(&self.shapes[i]) => self.translate(i, n)?,
            _ => {
                let Some(constant) = &n.constant else {
                    let problem = "a constant was not kept".into();
                    return Err(OnnxError::Trace { problem });
                };
                let array = constant.to_host();
                Value { name: self.constant(&array), owed: vec![false; array.shape().len()] }
            }
        };
        self.values[i] = Some(value.clone());
        Ok(value)
    }

    /// `source` repeated to the shape of node `i`.
    fn owing(&self, i: usize, source: usize, value: Value) -> Value {
        let one = Dim::Fixed(1);
        let owed = (0..self.shapes[i].len())
            .map(|d| value.owed[d] || (self.shapes[source][d] == one && self.shapes[i][d] != one))
            .collect();
        Value { name: value.name, owed }
    }

    /// A shape as the name of an i64 tensor.
    fn shape(&mut self, shape: &[Dim]) -> String {
        if !is_open(shape) {
            let fixed: Vec<i64> = shape.iter().map(|d| self.size(*d)).collect();
            return self.ints(&fixed);
        }
        let input = self.input.clone();
        let whole = self.emit("Shape", &[&input], &[]);
        let zero = self.ints(&[0]);
        let batch = self.emit("Gather", &[&whole, &zero], &[]);
        let parts: Vec<String> = shape
            .iter()
            .map(|d| match d {
                Dim::Fixed(n) => self.ints(&[*n as i64]),
                Dim::Batch(1) => batch.clone(),
                Dim::Batch(k) => {
                    let k = self.ints(&[*k as i64]);
                    self.emit("Mul", &[&batch, &k], &[])
                }
            })
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.emit("Concat", &parts, &[Attribute::Int("axis", 0)])
    }

    fn size(&self, d: Dim) -> i64 {
        match d {
            Dim::Fixed(n) => n as i64,
            Dim::Batch(k) => (k * BATCHES[0]) as i64,
        }
    }

    /// The value of a node with the repetitions of these dimensions made.
    fn made(&mut self, i: usize, which: impl Fn(usize) -> bool) -> Result<Value, OnnxError> {
        let v = self.value(i)?;
        if !v.owed.iter().enumerate().any(|(d, owed)| *owed && which(d)) {
            return Ok(v);
        }
        // Expand leaves alone what it is told has size 1.
        let wanted: Vec<Dim> = (0..v.owed.len())
            .map(|d| if v.owed[d] && which(d) { self.shapes[i][d] } else { Dim::Fixed(1) })
            .collect();
        let shape = self.shape(&wanted);
        let name = self.emit("Expand", &[&v.name, &shape], &[]);
        let owed = v.owed.iter().enumerate().map(|(d, o)| *o && !which(d)).collect();
        Ok(Value { name, owed })
    }

    /// The value of a node with all repetitions made.
    fn full(&mut self, i: usize) -> Result<String, OnnxError> {
        Ok(self.made(i, |_| true)?.name)
    }

    fn translate(&mut self, i: usize, n: &Step) -> Result<Value, OnnxError> {
        let rank = n.shape.len();
        let unsupported = |op: &str| Err(OnnxError::Unsupported { op: op.to_owned() });
        let whole = |name: String| Ok(Value { name, owed: vec![false; rank] });
        match &n.op {
            GraphOp::Value | GraphOp::Constant(_) => {
                let problem = "a value was read before the output was there".into();
                Err(OnnxError::Trace { problem })
            }
            GraphOp::Same => self.value(n.sources[0]),
            GraphOp::Expand => {
                let inner = self.value(n.sources[0])?;
                Ok(self.owing(i, n.sources[0], inner))
            }
            GraphOp::Unary(op) => match unary(*op) {
                Some(name) => self.elementwise(name, n, &[]),
                None => unsupported(op.name()),
            },
            GraphOp::Binary(op) => {
                let bool = self.graph[n.sources[0]].dtype == DType::Bool;
                match binary(*op, bool) {
                    Some("Mod") => self.elementwise("Mod", n, &[Attribute::Int("fmod", 1)]),
                    Some(name) => self.elementwise(name, n, &[]),
                    None => unsupported(op.name()),
                }
            }
            GraphOp::Where => self.elementwise("Where", n, &[]),
            GraphOp::Cast => {
                self.elementwise("Cast", n, &[Attribute::Int("to", data_type(n.dtype))])
            }
            GraphOp::Permute(axes) => {
                let v = self.value(n.sources[0])?;
                let perm = axes.iter().map(|a| *a as i64).collect();
                let name = self.emit("Transpose", &[&v.name], &[Attribute::Ints("perm", perm)]);
                Ok(Value { name, owed: axes.iter().map(|a| v.owed[*a]).collect() })
            }
            GraphOp::Reshape => {
                let x = self.full(n.sources[0])?;
                let shape = self.shapes[i].clone();
                let open = shape.iter().filter(|d| is_open(&[**d])).count();
                let target = if open == 1 {
                    // One size may be left to be found from the others.
                    let sizes: Vec<i64> = shape
                        .iter()
                        .map(|d| if is_open(&[*d]) { -1 } else { self.size(*d) })
                        .collect();
                    self.ints(&sizes)
                } else {
                    self.shape(&shape)
                };
                whole(self.emit("Reshape", &[&x, &target], &[]))
            }
            GraphOp::Pad(pads) => {
                let x = self.made(n.sources[0], |d| pads[d] != (0, 0))?;
                let (before, after) = (pads.iter().map(|p| p.0), pads.iter().map(|p| p.1));
                let all: Vec<i64> = before.chain(after).map(|p| p as i64).collect();
                let pads = self.ints(&all);
                let name = self.emit("Pad", &[&x.name, &pads], &[]);
                Ok(Value { name, owed: x.owed })
            }
            GraphOp::Slice(parts) => self.slice(i, n, parts),
            GraphOp::Unfold { dim, size, step } => {
                let x = self.full(n.sources[0])?;
                let Dim::Fixed(windows) = self.shapes[i][*dim] else {
                    return Err(OnnxError::Batch { problem: "windows over the batch".into() });
                };
                let index: Vec<i64> = (0..windows)
                    .flat_map(|w| (0..*size).map(move |k| (w * step + k) as i64))
                    .collect();
                let index = self.constant(&HostArray::new(&index, &[windows, *size]));
                let y = self.emit("Gather", &[&x, &index], &[Attribute::Int("axis", *dim as i64)]);
                // The window stands beside its position; it belongs last.
                let mut perm: Vec<i64> = (0..rank as i64).collect();
                let window = perm.remove(dim + 1);
                perm.push(window);
                whole(self.emit("Transpose", &[&y], &[Attribute::Ints("perm", perm)]))
            }
            GraphOp::Reduce(op, axes) => {
                let x = self.full(n.sources[0])?;
                let keep = Attribute::Int("keepdims", 1);
                if op.is_arg() {
                    let [axis] = axes[..] else { return unsupported("argmax over several axes") };
                    let name = if *op == ReduceOp::ArgMax { "ArgMax" } else { "ArgMin" };
                    let axis = Attribute::Int("axis", axis as i64);
                    return whole(self.emit(name, &[&x], &[axis, keep]));
                }
                let name = match op {
                    ReduceOp::Sum => "ReduceSum",
                    ReduceOp::Prod => "ReduceProd",
                    ReduceOp::Max => "ReduceMax",
                    _ => "ReduceMin",
                };
                let axes: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
                let axes = self.ints(&axes);
                whole(self.emit(name, &[&x, &axes], &[keep]))
            }
            GraphOp::Take => {
                let (x, index) = (self.full(n.sources[0])?, self.full(n.sources[1])?);
                whole(self.emit("Gather", &[&x, &index], &[Attribute::Int("axis", 0)]))
            }
            GraphOp::Cat(axis) => {
                let parts = n.sources.iter().map(|s| self.full(*s));
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                whole(self.emit("Concat", &parts, &[Attribute::Int("axis", *axis as i64)]))
            }
            GraphOp::Dot => {
                // Leading dimensions are repeated by the product itself.
                let a = self.made(n.sources[0], |d| d + 2 >= rank)?;
                let b = self.made(n.sources[1], |d| d + 2 >= rank)?;
                let name = self.emit("MatMul", &[&a.name, &b.name], &[]);
                Ok(Value {
                    name,
                    owed: a.owed.iter().zip(&b.owed).map(|(a, b)| *a && *b).collect(),
                })
            }
            GraphOp::Conv(p) => {
                let (x, w) = (self.full(n.sources[0])?, self.full(n.sources[1])?);
                let sizes = |i: usize| self.graph[i].shape[2..].to_vec();
                let (input, kernel, output) = (sizes(n.sources[0]), sizes(n.sources[1]), sizes(i));
                let after = (0..kernel.len()).map(|d| {
                    let reach = (output[d] - 1) * p.stride[d] + (kernel[d] - 1) * p.dilation[d] + 1;
                    reach.saturating_sub(input[d] + p.padding[d])
                });
                let after: Vec<usize> = after.collect();
                let ints = |name, v: &[usize]| {
                    Attribute::Ints(name, v.iter().map(|n| *n as i64).collect())
                };
                let pads: Vec<usize> = p.padding.iter().copied().chain(after).collect();
                let attributes = [
                    ints("kernel_shape", &kernel),
                    ints("strides", &p.stride),
                    ints("dilations", &p.dilation),
                    ints("pads", &pads),
                    Attribute::Int("group", p.groups as i64),
                ];
                whole(self.emit("Conv", &[&x, &w], &attributes))
            }
            GraphOp::Other(name) => unsupported(name),
            other => unsupported(&format!("{other:?}")),
        }
    }

    /// An operation of each element: repetitions stay owed where all operands owe them.
    fn elementwise(
        &mut self,
        op: &str,
        n: &Step,
        attributes: &[Attribute],
    ) -> Result<Value, OnnxError> {
        let operands = n.sources.iter().map(|s| self.value(*s));
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = operands.iter().map(|v| v.name.as_str()).collect();
        let name = self.emit(op, &names, attributes);
        // A number without dimensions is the same everywhere.
        let owes = |v: &Value, d: usize| v.owed.get(d).copied().unwrap_or(true);
        let owed = (0..n.shape.len()).map(|d| operands.iter().all(|v| owes(v, d))).collect();
        Ok(Value { name, owed })
    }

    fn slice(&mut self, i: usize, n: &Step, parts: &[(usize, isize)]) -> Result<Value, OnnxError> {
        let source = n.sources[0];
        let v = self.value(source)?;
        let (mut starts, mut ends, mut axes, mut steps) = (vec![], vec![], vec![], vec![]);
        for (d, &(start, step)) in parts.iter().enumerate() {
            let same = self.shapes[i][d] == self.shapes[source][d];
            // All alike along a dimension that is only repeated.
            if v.owed[d] || (same && start == 0 && step == 1) {
                continue;
            }
            let (Dim::Fixed(size), Dim::Fixed(_)) = (self.shapes[i][d], self.shapes[source][d])
            else {
                return Err(OnnxError::Batch { problem: "it takes a part of the batch".into() });
            };
            let last = start as i64 + step as i64 * (size as i64 - 1);
            let end = last + step.signum() as i64;
            starts.push(start as i64);
            // Before the first one: a plain -1 would mean the last.
            ends.push(if end < 0 { i64::MIN + 1 } else { end });
            axes.push(d as i64);
            steps.push(step as i64);
        }
        if axes.is_empty() {
            return Ok(v);
        }
        let lists = [starts, ends, axes, steps].map(|l| self.ints(&l));
        let inputs: Vec<&str> =
            [v.name.as_str()].into_iter().chain(lists.iter().map(String::as_str)).collect();
        let name = self.emit("Slice", &inputs, &[]);
        Ok(Value { name, owed: v.owed })
    }
}

fn unary(op: UnaryOp) -> Option<&'static str> {
    Some(match op {
        UnaryOp::Neg => "Neg",
        UnaryOp::Abs => "Abs",
        UnaryOp::Exp => "Exp",
        UnaryOp::Log => "Log",
        UnaryOp::Sqrt => "Sqrt",
        UnaryOp::Recip => "Reciprocal",
        UnaryOp::Sin => "Sin",
        UnaryOp::Cos => "Cos",
        UnaryOp::Tanh => "Tanh",
        UnaryOp::Erf => "Erf",
        UnaryOp::Floor => "Floor",
        UnaryOp::Round => "Round",
        UnaryOp::Not => "Not",
        UnaryOp::Tan => "Tan",
        UnaryOp::Asin => "Asin",
        UnaryOp::Acos => "Acos",
        UnaryOp::Atan => "Atan",
        UnaryOp::Sinh => "Sinh",
        UnaryOp::Cosh => "Cosh",
        UnaryOp::Asinh => "Asinh",
        UnaryOp::Acosh => "Acosh",
        UnaryOp::Atanh => "Atanh",
        _ => return None,
    })
}

fn binary(op: BinaryOp, bool: bool) -> Option<&'static str> {
    Some(match op {
        BinaryOp::Add => "Add",
        BinaryOp::Sub => "Sub",
        // On truth values these have other names.
        BinaryOp::Mul if bool => "And",
        BinaryOp::Max if bool => "Or",
        BinaryOp::Min if bool => "And",
        BinaryOp::Mul => "Mul",
        BinaryOp::Div => "Div",
        BinaryOp::Rem => "Mod",
        BinaryOp::Max => "Max",
        BinaryOp::Min => "Min",
        BinaryOp::Pow => "Pow",
        BinaryOp::Lt => "Less",
        BinaryOp::Le => "LessOrEqual",
        BinaryOp::Eq => "Equal",
        BinaryOp::And if bool => "And",
        BinaryOp::Or if bool => "Or",
        BinaryOp::Xor if bool => "Xor",
        _ => return None,
    })
}
