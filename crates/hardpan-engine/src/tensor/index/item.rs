//! What may stand between the brackets: integers, ranges, new axes, an ellipsis, index tensors and masks.

use crate::node::Tensor;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// One entry of a subscript. Usually made from plain Rust values by [`ToItem`].
#[derive(Clone, Debug)]
pub enum Item {
    /// One index; the dimension disappears. Negative counts from the end.
    At(isize),
    /// Elements from `start` to before `stop`, every `step`-th. Negative bounds count from the end; what lies outside is cut off.
    Range {
        /// First element; `None`: 0.
        start: Option<isize>,
        /// The element to stop before; `None`: the end.
        stop: Option<isize>,
        /// At least 1.
        step: usize,
    },
    /// All dimensions that no other entry names.
    Dots,
    /// A new dimension of size 1.
    New,
    /// Integers: indices, broadcast with those of other entries. Bool (or u8): a mask over as many dimensions as it has.
    Tensor(Tensor),
    /// Indices given as a list.
    List(Vec<i64>),
}

/// A new dimension of size 1 in a subscript: `x.i((.., NEW))`. Counterpart: `None` in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewAxis;

/// See [`NewAxis`].
pub const NEW: NewAxis = NewAxis;

/// All dimensions that are not named otherwise: `x.i((DOTS, 0))`. Counterpart: `...` in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ellipsis;

/// See [`Ellipsis`].
pub const DOTS: Ellipsis = Ellipsis;

/// Every `step`-th element of a range: `x.i(every(.., 2))` is Python's `x[::2]`.
///
/// # Panics
/// When `step` is 0.
#[track_caller]
pub fn every(range: impl ToItem, step: usize) -> Item {
    assert!(step > 0, "every: the step must be at least 1; see flip for the reverse order");
    match range.to_item() {
        Item::Range { start, stop, step: inner } => Item::Range { start, stop, step: step * inner },
        _ => panic!("every: a range is needed, such as 1..5 or .."),
    }
}

/// Values that can stand in a subscript.
pub trait ToItem {
    /// The entry.
    fn to_item(self) -> Item;
}

impl ToItem for Item {
    fn to_item(self) -> Item {
        self
    }
}
impl ToItem for NewAxis {
    fn to_item(self) -> Item {
        Item::New
    }
}
impl ToItem for Ellipsis {
    fn to_item(self) -> Item {
        Item::Dots
    }
}
impl ToItem for RangeFull {
    fn to_item(self) -> Item {
        Item::Range { start: None, stop: None, step: 1 }
    }
}
impl ToItem for Tensor {
    fn to_item(self) -> Item {
        Item::Tensor(self)
    }
}
impl ToItem for &Tensor {
    fn to_item(self) -> Item {
        Item::Tensor(self.clone())
    }
}

/// The bound after an inclusive one; after the last element (-1) comes the end.
fn after(last: isize) -> Option<isize> {
    if last == -1 { None } else { Some(last + 1) }
}

macro_rules! item_integer {
    ($($t:ty),*) => {$(
        impl ToItem for $t {
            fn to_item(self) -> Item { Item::At(self as isize) }
        }
        impl ToItem for Range<$t> {
            fn to_item(self) -> Item {
                Item::Range { start: Some(self.start as isize), stop: Some(self.end as isize), step: 1 }
            }
        }
        impl ToItem for RangeFrom<$t> {
            fn to_item(self) -> Item { Item::Range { start: Some(self.start as isize), stop: None, step: 1 } }
        }
        impl ToItem for RangeTo<$t> {
            fn to_item(self) -> Item { Item::Range { start: None, stop: Some(self.end as isize), step: 1 } }
        }
        impl ToItem for RangeInclusive<$t> {
            fn to_item(self) -> Item {
                Item::Range { start: Some(*self.start() as isize), stop: after(*self.end() as isize), step: 1 }
            }
        }
        impl ToItem for RangeToInclusive<$t> {
            fn to_item(self) -> Item { Item::Range { start: None, stop: after(self.end as isize), step: 1 } }
        }
        impl ToItem for Vec<$t> {
            fn to_item(self) -> Item { Item::List(self.into_iter().map(|i| i as i64).collect()) }
        }
        impl ToItem for &[$t] {
            fn to_item(self) -> Item { Item::List(self.iter().map(|i| *i as i64).collect()) }
        }
        impl<const N: usize> ToItem for [$t; N] {
            fn to_item(self) -> Item { Item::List(self.iter().map(|i| *i as i64).collect()) }
        }
    )*};
}
item_integer!(i32, i64, isize, usize);

/// A whole subscript: one entry, a tuple of up to eight, or a list of [`Item`]s.
pub trait Subscript {
    /// The entries in order.
    fn items(self) -> Vec<Item>;
}

impl<T: ToItem> Subscript for T {
    fn items(self) -> Vec<Item> {
        vec![self.to_item()]
    }
}
impl Subscript for () {
    fn items(self) -> Vec<Item> {
        Vec::new()
    }
}
impl Subscript for Vec<Item> {
    fn items(self) -> Vec<Item> {
        self
    }
}
impl Subscript for &[Item] {
    fn items(self) -> Vec<Item> {
        self.to_vec()
    }
}
macro_rules! subscript_tuple {
    ($($t:ident),*) => {
        impl<$($t: ToItem),*> Subscript for ($($t,)*) {
            #[allow(non_snake_case)]
            fn items(self) -> Vec<Item> {
                let ($($t,)*) = self;
                vec![$($t.to_item()),*]
            }
        }
    };
}
subscript_tuple!(A);
subscript_tuple!(A, B);
subscript_tuple!(A, B, C);
subscript_tuple!(A, B, C, D);
subscript_tuple!(A, B, C, D, E);
subscript_tuple!(A, B, C, D, E, F);
subscript_tuple!(A, B, C, D, E, F, G);
subscript_tuple!(A, B, C, D, E, F, G, H);

/// First element and number of elements of a range in a dimension of size `n`, by Python's rules.
pub(super) fn resolve(
    start: Option<isize>,
    stop: Option<isize>,
    step: usize,
    n: usize,
) -> (usize, usize) {
    let clamp = |b: isize| {
        let b = if b < 0 { b.saturating_add(n as isize) } else { b };
        b.clamp(0, n as isize) as usize
    };
    let (a, b) = (start.map_or(0, clamp), stop.map_or(n, clamp));
    let length = b.saturating_sub(a).div_ceil(step);
    (if length == 0 { 0 } else { a }, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_python() {
        assert_eq!(resolve(Some(1), Some(3), 1, 5), (1, 2));
        assert_eq!(resolve(Some(-2), None, 1, 5), (3, 2));
        assert_eq!(resolve(Some(-10), Some(2), 1, 5), (0, 2));
        assert_eq!(resolve(Some(3), Some(1), 1, 5), (0, 0));
        assert_eq!(resolve(Some(0), Some(100), 2, 5), (0, 3));
        assert_eq!(resolve(None, None, 7, 0), (0, 0));
        assert_eq!(resolve(Some(isize::MIN), Some(isize::MAX), 1, 4), (0, 4));
    }
}
