//! From recorded names to functions: one file for each family of operations.

mod functional;
mod index;
mod linalg;
mod math;
mod movement;
mod reduce;

use crate::arg::Args;
use hardpan_engine::{DType, Tensor};

/// One opened output of a call.
pub enum Output {
    Tensor(Tensor),
    Int(i64),
    Float(f64),
    Bool(bool),
    DType(DType),
    #[allow(dead_code, reason = "some functions give None among their outputs")]
    None,
}

macro_rules! output_from {
    ($($t:ty => $v:ident),*) => {$(
        impl From<$t> for Output {
            fn from(x: $t) -> Output { Output::$v(x) }
        }
    )*};
}
output_from!(Tensor => Tensor, i64 => Int, f64 => Float, bool => Bool, DType => DType);

/// The single output `x`.
pub fn one(x: impl Into<Output>) -> Option<Vec<Output>> {
    Some(vec![x.into()])
}

/// Outputs in order.
pub fn many<T: Into<Output>>(list: impl IntoIterator<Item = T>) -> Option<Vec<Output>> {
    Some(list.into_iter().map(Into::into).collect())
}

/// A shape, opened into numbers as the format has it.
pub fn sizes(shape: impl IntoIterator<Item = usize>) -> Option<Vec<Output>> {
    Some(shape.into_iter().map(|d| Output::Int(d as i64)).collect())
}

/// Calls the function recorded as `name` (`softmax`, `nn.functional.pad`, `linalg.norm`, ...); `None` when there is none.
///
/// # Panics
/// As the function does, and when an argument was not used.
pub fn call(name: &str, args: &Args) -> Option<Vec<Output>> {
    let families = [math::call, reduce::call, movement::call, index::call, functional::call];
    let out = families.iter().find_map(|f| f(name, args))?;
    let unused = args.unused();
    assert!(unused.is_empty(), "{name}: arguments without effect: {}", unused.join(", "));
    Some(out)
}
