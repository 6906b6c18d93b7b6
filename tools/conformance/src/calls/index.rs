//! Gathers, scatters, masks, subscripts.

use super::{Output, many, one};
use crate::arg::{Arg, Args};
use hardpan_engine::{Item, ScatterReduce, Tensor};

/// `None`: not of this family.
pub fn call(name: &str, a: &Args) -> Option<Vec<Output>> {
    let x = || a.tensor(0, "input");
    let index = || a.tensor(2, "index");
    let dim = || a.dim(1, "dim", 0);
    match name {
        "__getitem__" | "Tensor.__getitem__" => one(x().i(items(a.arg(1, "items")))),
        "__setitem__" | "Tensor.__setitem__" => {
            one(x().set_at(items(a.arg(1, "items")), a.arg(2, "value")))
        }
        "narrow" => {
            let (x, d) = (x(), dim());
            let start = a.dim(2, "start", 0);
            let n = x.size(d) as isize;
            let start = if start < 0 { start + n } else { start };
            one(x.narrow(d, start as usize, a.int(3, "length", 0) as usize))
        }
        "select" => one(x().select(dim(), a.dim(2, "index", 0))),
        "slice" => {
            let bound = |i: usize, name: &str| a.opt_int(i, name).map(|v| v as isize);
            one(x().slice(dim(), bound(2, "start"), bound(3, "end"), a.int(4, "step", 1) as usize))
        }
        "slice_scatter" => {
            let bound = |i: usize, name: &str| a.opt_int(i, name).map(|v| v as isize);
            one(x().slice_scatter(
                &a.tensor(1, "src"),
                a.dim(2, "dim", 0),
                bound(3, "start"),
                bound(4, "end"),
                a.int(5, "step", 1) as usize,
            ))
        }
        "select_scatter" => {
            one(x().select_scatter(&a.tensor(1, "src"), a.dim(2, "dim", 0), a.dim(3, "index", 0)))
        }
        "gather" => {
            let _ = a.named("sparse_grad");
            one(x().gather(dim(), &index()))
        }
        "scatter" => {
            let key = if a.has(3, "value") { "value" } else { "src" };
            let source = a.arg(3, key);
            let how = match a.opt_str(4, "reduce") {
                None => return one(x().scatter(dim(), &index(), source)),
                Some("add") => ScatterReduce::Sum,
                Some("multiply") => ScatterReduce::Prod,
                Some(_) => return None,
            };
            one(x().scatter_reduce(dim(), &index(), source, how, true))
        }
        "scatter_add" => one(x().scatter_add(dim(), &index(), a.arg(3, "src"))),
        "scatter_reduce" => one(x().scatter_reduce(
            dim(),
            &index(),
            a.arg(3, "src"),
            ScatterReduce::from_name(a.opt_str(4, "reduce")?)?,
            a.bool(5, "include_self", true),
        )),
        "index_select" => one(x().index_select(dim(), &index())),
        "index_add" => {
            let source = a.tensor(3, "source");
            let alpha = a.scalar(4, "alpha").unwrap_or(hardpan_engine::Scalar::Int(1));
            one(x().index_add(dim(), &index(), &source, alpha))
        }
        "index_copy" => one(x().index_copy(dim(), &index(), &a.tensor(3, "source"))),
        "index_fill" => one(x().index_fill(dim(), &index(), a.arg(3, "value"))),
        "index_reduce" => one(x().index_reduce(
            dim(),
            &index(),
            &a.tensor(3, "source"),
            ScatterReduce::from_name(a.opt_str(4, "reduce")?)?,
            a.bool(5, "include_self", true),
        )),
        "index_put" => {
            // Here None is a whole dimension, not a new one.
            let whole = || Item::Range { start: None, stop: None, step: 1 };
            let list: Vec<Item> = items(a.arg(1, "indices"))
                .into_iter()
                .map(|i| if matches!(i, Item::New) { whole() } else { i })
                .collect();
            let value = a.arg(2, "values");
            if a.bool(3, "accumulate", false) {
                one(x().add_at(list, value))
            } else {
                one(x().set_at(list, value))
            }
        }
        "masked_fill" => one(x().masked_fill(&a.tensor(1, "mask"), a.arg(2, "value"))),
        "masked_select" => one(x().masked_select(&a.tensor(1, "mask"))),
        "masked_scatter" => one(x().masked_scatter(&a.tensor(1, "mask"), &a.tensor(2, "source"))),
        "take" => one(x().take(&a.tensor(1, "index"))),
        "put" => one(x().put(
            &a.tensor(1, "index"),
            &a.tensor(2, "source"),
            a.bool(3, "accumulate", false),
        )),
        "take_along_dim" => {
            let (x, index) = (x(), a.tensor(1, "indices"));
            match a.opt_int(2, "dim") {
                Some(d) => one(x.take_along_dim(&index, d as isize)),
                None => one(x.ravel().take_along_dim(&index.ravel(), 0)),
            }
        }
        "nonzero" => match a.named("as_tuple") {
            Some(Arg::Bool(true)) => many(x().nonzero_tuple()),
            _ => one(x().nonzero()),
        },
        "argwhere" => one(x().argwhere()),
        "where" if a.len() == 1 => many(a.tensor(0, "condition").nonzero_tuple()),
        _ => None,
    }
}

/// What stands between the brackets.
fn items(arg: &Arg) -> Vec<Item> {
    let Arg::List(list) = arg else { return vec![item(arg)] };
    list.iter().map(item).collect()
}

fn item(arg: &Arg) -> Item {
    match arg {
        Arg::Int(i) => Item::At(*i as isize),
        Arg::None => Item::New,
        Arg::Ellipsis => Item::Dots,
        Arg::Slice([start, stop, step]) => Item::Range {
            start: start.map(|s| s as isize),
            stop: stop.map(|s| s as isize),
            step: step.unwrap_or(1) as usize,
        },
        Arg::Tensor(t) => Item::Tensor(t.clone()),
        Arg::Bool(b) => Item::Tensor(Tensor::scalar(*b)),
        Arg::List(_) => Item::Tensor(nested(arg)),
        _ => panic!("not an index"),
    }
}

/// A nested list of integers or bools as a tensor.
fn nested(arg: &Arg) -> Tensor {
    match arg {
        Arg::List(l) if l.is_empty() => Tensor::from_slice(&[] as &[i64], [0]),
        Arg::List(l) => Tensor::stack(&l.iter().map(nested).collect::<Vec<_>>(), 0),
        Arg::Bool(b) => Tensor::scalar(*b),
        other => Tensor::scalar(other.int().expect("an integer in an index list")),
    }
}
