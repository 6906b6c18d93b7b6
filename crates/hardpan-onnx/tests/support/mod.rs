//! Reads an ONNX file and runs it, one operation after the other, as the standard says.

use hardpan_engine::{DType, HostArray, Tensor, functional as f};
use std::collections::HashMap;

/// A field of a message: its number and its contents.
enum Field<'a> {
    Int(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut n, mut shift) = (0u64, 0);
        loop {
            let b = bytes[0];
            *bytes = &bytes[1..];
            n |= u64::from(b & 0x7f) << shift;
            shift += 7;
            if b < 0x80 {
                return n;
            }
        }
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Int(varint(&mut bytes)),
            2 => {
                let n = varint(&mut bytes) as usize;
                let (part, rest) = bytes.split_at(n);
                bytes = rest;
                Field::Bytes(part)
            }
            other => panic!("wire type {other}"),
        };
        out.push((key >> 3, field));
    }
    out
}

fn inner<'a>(all: &'a [(u64, Field<'a>)], number: u64) -> impl Iterator<Item = &'a [u8]> {
    all.iter().filter(move |(n, _)| *n == number).filter_map(|(_, f)| match f {
        Field::Bytes(b) => Some(*b),
        Field::Int(_) => None,
    })
}

fn ints(all: &[(u64, Field<'_>)], number: u64) -> Vec<i64> {
    let of = |f: &Field<'_>| match f {
        Field::Int(n) => Some(*n as i64),
        Field::Bytes(_) => None,
    };
    all.iter().filter(|(n, _)| *n == number).filter_map(|(_, f)| of(f)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn first_text(bytes: &[u8], number: u64) -> String {
    inner(&fields(bytes), number).next().map(text).unwrap_or_default()
}

struct Node {
    op: String,
    inputs: Vec<String>,
    output: String,
    attributes: HashMap<String, Vec<i64>>,
}

pub struct File {
    pub input: String,
    pub output: String,
    pub opset: i64,
    pub metadata: Vec<(String, String)>,
    nodes: Vec<Node>,
    constants: HashMap<String, Tensor>,
}

impl File {
    pub fn read(bytes: &[u8]) -> File {
        let model = fields(bytes);
        let graph = fields(inner(&model, 7).next().unwrap());
        let node = |bytes: &[u8]| {
            let n = fields(bytes);
            let attribute = |bytes: &[u8]| {
                let a = fields(bytes);
                let mut values = ints(&a, 3);
                values.extend(ints(&a, 8));
                (inner(&a, 1).next().map(text).unwrap(), values)
            };
            Node {
                op: inner(&n, 4).next().map(text).unwrap(),
                inputs: inner(&n, 1).map(text).collect(),
                output: inner(&n, 2).next().map(text).unwrap(),
                attributes: inner(&n, 5).map(attribute).collect(),
            }
        };
        let constant = |bytes: &[u8]| {
            let t = fields(bytes);
            let shape: Vec<usize> = ints(&t, 1).iter().map(|n| *n as usize).collect();
            let dtype = match ints(&t, 2)[0] {
                1 => DType::F32,
                7 => DType::I64,
                9 => DType::Bool,
                other => panic!("data type {other}"),
            };
            let raw = inner(&t, 9).next().unwrap_or(&[]).to_vec();
            let array = HostArray::from_bytes(dtype, &shape, raw).unwrap();
            (inner(&t, 8).next().map(text).unwrap(), Tensor::from_host(&array))
        };
        let opset = fields(inner(&model, 8).next().unwrap());
        File {
            input: inner(&graph, 11).next().map(|v| first_text(v, 1)).unwrap(),
            output: inner(&graph, 12).next().map(|v| first_text(v, 1)).unwrap(),
            opset: ints(&opset, 2)[0],
            metadata: inner(&model, 14).map(|m| (first_text(m, 1), first_text(m, 2))).collect(),
            nodes: inner(&graph, 1).map(node).collect(),
            constants: inner(&graph, 5).map(constant).collect(),
        }
    }
}

/// What the file makes of `x`.
pub fn run(bytes: &[u8], x: &Tensor) -> Tensor {
    let file = File::read(bytes);
    let mut values = file.constants;
    values.insert(file.input, x.clone());
    for node in file.nodes {
        let inputs: Vec<Tensor> = node.inputs.iter().map(|i| values[i].clone()).collect();
        let y = apply(&node, &inputs);
        values.insert(node.output, y);
    }
    values[&file.output].clone()
}

fn list(t: &Tensor) -> Vec<i64> {
    t.to_vec::<i64>()
}

fn sizes(v: &[i64]) -> Vec<usize> {
    v.iter().map(|n| *n as usize).collect()
}

fn apply(node: &Node, x: &[Tensor]) -> Tensor {
    let of = |name: &str| node.attributes.get(name).cloned().unwrap_or_default();
    let axes = |t: &Tensor| list(t).into_iter().map(|a| a as isize).collect::<Vec<isize>>();
    match node.op.as_str() {
        "Identity" => x[0].clone(),
        "Neg" => -&x[0],
        "Exp" => x[0].exp(),
        "Log" => x[0].log(),
        "Sqrt" => x[0].sqrt(),
        "Reciprocal" => x[0].reciprocal(),
        "Tanh" => x[0].tanh(),
        "Erf" => x[0].erf(),
        "Not" => x[0].logical_not(),
        "Add" => &x[0] + &x[1],
        "Sub" => &x[0] - &x[1],
        "Mul" => &x[0] * &x[1],
        "Div" => &x[0] / &x[1],
        "Max" => x[0].maximum(&x[1]),
        "Min" => x[0].minimum(&x[1]),
        "Pow" => x[0].pow(&x[1]),
        "Less" => x[0].lt(&x[1]),
        "LessOrEqual" => x[0].le(&x[1]),
        "Equal" => x[0].eq(&x[1]),
        "And" => x[0].logical_and(&x[1]),
        "Or" => x[0].logical_or(&x[1]),
        "Where" => {
            let shape = [x[0].shape(), x[1].shape(), x[2].shape()];
            let shape = hardpan_engine::broadcast_shapes(&shape);
            let [c, a, b] = [&x[0], &x[1], &x[2]].map(|t| t.broadcast_to(&shape[..]));
            a.where_(&c, &b)
        }
        "Cast" => match of("to")[0] {
            1 => x[0].to_dtype(DType::F32),
            7 => x[0].to_dtype(DType::I64),
            9 => x[0].to_dtype(DType::Bool),
            other => panic!("cast to {other}"),
        },
        "Shape" => {
            let shape: Vec<i64> = x[0].shape().iter().map(|n| *n as i64).collect();
            Tensor::from_slice(&shape, [shape.len()])
        }
        "Gather" => {
            let axis = of("axis").first().copied().unwrap_or(0) as usize;
            let rows = x[0].index_select(axis as isize, &x[1].reshape([-1isize]));
            let mut shape = x[0].shape()[..axis].to_vec();
            shape.extend(x[1].shape());
            shape.extend(&x[0].shape()[axis + 1..]);
            rows.reshape(&shape[..])
        }
        "Concat" => Tensor::cat(x, of("axis")[0] as isize),
        "Expand" => {
            let want = sizes(&list(&x[1]));
            let shape = hardpan_engine::broadcast_shapes(&[x[0].shape(), &want]);
            x[0].broadcast_to(&shape[..])
        }
        "Reshape" => {
            let shape: Vec<isize> = list(&x[1]).into_iter().map(|n| n as isize).collect();
            x[0].reshape(shape)
        }
        "Transpose" => {
            let perm: Vec<isize> = of("perm").into_iter().map(|n| n as isize).collect();
            x[0].permute(perm)
        }
        "Pad" => {
            let pads = sizes(&list(&x[1]));
            let (before, after) = pads.split_at(pads.len() / 2);
            let pairs: Vec<(usize, usize)> =
                before.iter().copied().zip(after.iter().copied()).collect();
            x[0].pad_zeros(&pairs)
        }
        "Slice" => {
            let parts = [1, 2, 3, 4].map(|i| list(&x[i]));
            let mut y = x[0].clone();
            for i in 0..parts[0].len() {
                let [start, end, axis, step] = [0, 1, 2, 3].map(|k| parts[k][i]);
                let size = y.size(axis as isize) as i64;
                let end = end.clamp(-1 - size, size);
                let index: Vec<i64> = if step > 0 {
                    (start..end).step_by(step as usize).collect()
                } else {
                    let low = if end < -size { -1 } else { end };
                    (low + 1..=start).rev().step_by(-step as usize).collect()
                };
                let n = index.len();
                y = y.index_select(axis as isize, &Tensor::from_vec(index, [n]));
            }
            y
        }
        "ReduceSum" => x[0].sum_keepdim(axes(&x[1])),
        "ReduceMax" => x[0].amax_keepdim(axes(&x[1])),
        "ReduceMin" => x[0].amin_keepdim(axes(&x[1])),
        "MatMul" => x[0].matmul(&x[1]),
        "Conv" => {
            let pads = sizes(&of("pads"));
            let n = pads.len() / 2;
            let around: Vec<(usize, usize)> =
                [(0, 0); 2].into_iter().chain((0..n).map(|d| (pads[d], pads[d + n]))).collect();
            let options = f::ConvOptions {
                stride: sizes(&of("strides")).into(),
                dilation: sizes(&of("dilations")).into(),
                groups: of("group")[0] as usize,
                ..Default::default()
            };
            f::conv2d(&x[0].pad_zeros(&around), &x[1], None, options)
        }
        other => panic!("no {other} here"),
    }
}
