//! Views, joins, splits, tilings, `einsum`.

use super::{Output, many, one, sizes};
use crate::arg::{Arg, Args};
use hardpan_engine::{Cuts, GridIndexing, Tensor, broadcast_shapes};

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    let x = || a.tensor(0, "input");
    match name {
        "T" | "Tensor.T" => one(x().reverse_dims()),
        "mT" | "Tensor.mT" => one(x().mt()),
        "t" => one(x().t()),
        "clone" => one(x()),
        "contiguous" => one(x().contiguous()),
        "atleast_1d" => each(a, Tensor::atleast_1d),
        "atleast_2d" => each(a, Tensor::atleast_2d),
        "atleast_3d" => each(a, Tensor::atleast_3d),
        "broadcast_to" => one(x().broadcast_to(a.sizes(1, "size"))),
        "expand" => one(x().expand(a.sizes(1, "size"))),
        "expand_as" => one(x().expand_as(&a.tensor(1, "other"))),
        "broadcast_tensors" => many(Tensor::broadcast_tensors(&a.tensors(0, "tensors"))),
        "broadcast_shapes" => {
            let shapes: Vec<Vec<usize>> = (0..a.len())
                .map(|i| a.ints(i, "shapes").into_iter().map(|d| d as usize).collect())
                .collect();
            let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
            sizes(broadcast_shapes(&shapes))
        }
        "cat" | "concat" | "concatenate" => {
            one(Tensor::cat(&a.tensors(0, "tensors"), a.dim(1, "dim", 0)))
        }
        "stack" => one(Tensor::stack(&a.tensors(0, "tensors"), a.dim(1, "dim", 0))),
        "hstack" => one(Tensor::hstack(&a.tensors(0, "tensors"))),
        "vstack" | "row_stack" => one(Tensor::vstack(&a.tensors(0, "tensors"))),
        "dstack" => one(Tensor::dstack(&a.tensors(0, "tensors"))),
        "column_stack" => one(Tensor::column_stack(&a.tensors(0, "tensors"))),
        "block_diag" => one(Tensor::block_diag(&a.tensors(0, "tensors"))),
        "chunk" => many(x().chunk(a.int(1, "chunks", 1) as usize, a.dim(2, "dim", 0))),
        "split" | "split_with_sizes" => {
            let key = if name == "split" { "split_size_or_sections" } else { "split_sizes" };
            let dim = a.dim(2, "dim", 0);
            match a.arg(1, key) {
                Arg::Int(n) => many(x().split(*n as usize, dim)),
                list => many(x().split_sizes(list.ints()?, dim)),
            }
        }
        "tensor_split" => {
            let key = if a.has(1, "indices") { "indices" } else { "indices_or_sections" };
            let key = if a.has(1, "sections") { "sections" } else { key };
            let key = if a.has(1, "tensor_indices_or_sections") {
                "tensor_indices_or_sections"
            } else {
                key
            };
            many(x().tensor_split(cuts(a.arg(1, key)), a.dim(2, "dim", 0)))
        }
        "hsplit" => many(x().hsplit(cuts(split_argument(a)))),
        "vsplit" => many(x().vsplit(cuts(split_argument(a)))),
        "dsplit" => many(x().dsplit(cuts(split_argument(a)))),
        "unbind" => many(x().unbind(a.dim(1, "dim", 0))),
        "diagonal" => {
            one(x().diagonal(a.dim(1, "offset", 0), a.dim(2, "dim1", 0), a.dim(3, "dim2", 1)))
        }
        "linalg.diagonal" => one(x().diagonal(
            named_dim(a, "offset", 0),
            named_dim(a, "dim1", -2),
            named_dim(a, "dim2", -1),
        )),
        "diag_embed" => {
            one(x().diag_embed(a.dim(1, "offset", 0), a.dim(2, "dim1", -2), a.dim(3, "dim2", -1)))
        }
        "diagonal_scatter" => one(x().diagonal_scatter(
            &a.tensor(1, "src"),
            a.dim(2, "offset", 0),
            a.dim(3, "dim1", 0),
            a.dim(4, "dim2", 1),
        )),
        "diag" => one(x().diag(a.dim(1, "diagonal", 0))),
        "diagflat" => one(x().diagflat(a.dim(1, "offset", 0))),
        "tril" => one(x().tril(a.dim(1, "diagonal", 0))),
        "triu" => one(x().triu(a.dim(1, "diagonal", 0))),
        "flatten" => one(x().flatten(a.dim(1, "start_dim", 0), a.dim(2, "end_dim", -1))),
        "unflatten" => one(x().unflatten(a.dim(1, "dim", 0), a.ints(2, "sizes"))),
        "ravel" => one(x().ravel()),
        "reshape" => one(x().reshape(a.sizes(1, "shape"))),
        "view" => match a.arg(1, "dtype") {
            Arg::DType(_) => None,
            _ => one(x().view(a.sizes(1, "shape"))),
        },
        "reshape_as" => one(x().reshape_as(&a.tensor(1, "other"))),
        "view_as" => one(x().view_as(&a.tensor(1, "other"))),
        "flip" => one(x().flip(a.sizes(1, "dims"))),
        "fliplr" => one(x().fliplr()),
        "flipud" => one(x().flipud()),
        "rot90" => {
            let dims = a.opt_ints(2, "dims").unwrap_or(vec![0, 1]);
            one(x().rot90(a.dim(1, "k", 1), [dims[0], dims[1]]))
        }
        "roll" => {
            let shifts = a.ints(1, "shifts");
            match a.opt_ints(2, "dims").filter(|d| !d.is_empty()) {
                Some(dims) => one(x().roll(shifts, dims)),
                None => one(x().roll(shifts, ..)),
            }
        }
        "movedim" | "moveaxis" => one(x().movedim(a.ints(1, "source"), a.ints(2, "destination"))),
        "transpose" | "swapaxes" | "swapdims" => {
            let second = if name == "swapaxes" { ["axis0", "axis1"] } else { ["dim0", "dim1"] };
            one(x().transpose(a.dim(1, second[0], 0), a.dim(2, second[1], 1)))
        }
        "permute" => one(x().permute(a.sizes(1, "dims"))),
        "squeeze" => match a.opt_ints(1, "dim") {
            Some(dims) => one(x().squeeze(dims)),
            None => one(x().squeeze(..)),
        },
        "unsqueeze" => one(x().unsqueeze(a.dim(1, "dim", 0))),
        "repeat" => one(x().repeat(a.sizes(1, "repeats"))),
        "tile" => one(x().tile(a.sizes(1, "dims"))),
        "repeat_interleave" => repeat_interleave(a),
        "unfold" => one(x().unfold(
            a.dim(1, "dimension", 0),
            a.int(2, "size", 1) as usize,
            a.int(3, "step", 1) as usize,
        )),
        "meshgrid" => {
            let indexing = match a.named("indexing") {
                Some(Arg::Str(s)) if s == "xy" => GridIndexing::Xy,
                _ => GridIndexing::Ij,
            };
            many(Tensor::meshgrid(&a.tensors(0, "tensors"), indexing))
        }
        "cartesian_prod" => one(Tensor::cartesian_prod(&a.tensors(0, "tensors"))),
        "combinations" => {
            one(x().combinations(a.int(1, "r", 2) as usize, a.bool(2, "with_replacement", false)))
        }
        "sum_to_size" => one(x().sum_to_size(a.sizes(1, "size"))),
        "einsum" => einsum(a),
        "tensordot" => {
            let y = a.tensor(1, "b");
            match a.opt(2, "dims") {
                None => one(x().tensordot(&y, 2usize)),
                Some(Arg::Int(n)) => one(x().tensordot(&y, *n as usize)),
                Some(Arg::List(l)) => one(x().tensordot(&y, (l[0].ints()?, l[1].ints()?))),
                Some(_) => None,
            }
        }
        _ => None,
    }
}

fn named_dim(a: &Args, name: &str, default: isize) -> isize {
    a.named(name).and_then(Arg::int).map_or(default, |i| i as isize)
}

/// One tensor, or several, or a list of them.
fn each(a: &Args, f: impl Fn(&Tensor) -> Tensor) -> Option<Vec<Output>> {
    many(a.tensors(0, "tensors").iter().map(f))
}

fn split_argument(a: &Args) -> &Arg {
    for name in ["indices_or_sections", "sections", "indices"] {
        if a.has(1, name) {
            return a.arg(1, name);
        }
    }
    a.arg(1, "indices_or_sections")
}

/// A number of parts, or positions, from an argument that may be a tensor.
fn cuts(arg: &Arg) -> Cuts {
    match arg {
        Arg::Int(n) => Cuts::Parts(*n as usize),
        Arg::Tensor(t) if t.rank() == 0 => Cuts::Parts(t.item::<i64>() as usize),
        Arg::Tensor(t) => t.to_vec::<i64>().into(),
        other => other.ints().expect("positions are integers").into(),
    }
}

fn repeat_interleave(a: &Args) -> Option<Vec<Output>> {
    let x = a.tensor(0, "input");
    let _ = a.opt_int(3, "output_size").or(a.named("output_size").and_then(Arg::int));
    if !a.has(1, "repeats") {
        // repeat_interleave(counts): index i repeated counts[i] times.
        return one(Tensor::iota(x.numel()).repeat_interleave_by(&x, 0));
    }
    let dim = a.opt_int(2, "dim").map(|d| d as isize);
    let x = if dim.is_none() { x.ravel() } else { x };
    let dim = dim.unwrap_or(0);
    match a.arg(1, "repeats") {
        Arg::Tensor(t) => one(x.repeat_interleave_by(t, dim)),
        Arg::Int(n) => one(x.repeat_interleave(*n as usize, dim)),
        _ => None,
    }
}

fn einsum(a: &Args) -> Option<Vec<Output>> {
    if let Some(Arg::Str(equation)) = a.opt(0, "equation") {
        return one(Tensor::einsum(equation, &a.tensors(1, "operands")));
    }
    // einsum(op0, [0, 1], op1, [1, 2], [0, 2]): lists of numbers below 52 in place of letters.
    let letters = |list: &[Arg]| -> String {
        list.iter()
            .map(|l| match l {
                Arg::Ellipsis => "...".to_string(),
                l => {
                    let i = l.int().expect("a subscript") as u8;
                    ((if i < 26 { b'A' + i } else { b'a' + i - 26 }) as char).to_string()
                }
            })
            .collect()
    };
    let (mut terms, mut operands, mut output) = (Vec::new(), Vec::new(), None);
    let mut i = 0;
    while i < a.len() {
        match (a.arg(i, "operand"), a.opt(i + 1, "sublist")) {
            (Arg::Tensor(t), Some(Arg::List(l))) => {
                operands.push(t.clone());
                terms.push(letters(l));
                i += 2;
            }
            (Arg::List(l), _) => {
                output = Some(letters(l));
                i += 1;
            }
            _ => return None,
        }
    }
    let mut equation = terms.join(",");
    if let Some(o) = output {
        equation += "->";
        equation += &o;
    }
    one(Tensor::einsum(&equation, &operands))
}
