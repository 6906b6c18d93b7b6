//! [`Tensors`]: what goes into or comes out of modules, seen as a list of tensors.

use hardpan_engine::Tensor;

/// A value made of tensors, which hooks can look at and exchange one by one: a tensor, tuples, lists and options of them.
///
/// For a struct of yours, list its tensors in one order in both functions.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::hook::Tensors;
///
/// #[derive(Clone)]
/// struct Pair { a: Tensor, b: Tensor }
///
/// impl Tensors for Pair {
///     fn tensors(&self) -> Vec<Tensor> {
///         vec![self.a.clone(), self.b.clone()]
///     }
///     fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> Pair {
///         Pair { a: self.a.with(from), b: self.b.with(from) }
///     }
/// }
/// ```
pub trait Tensors {
    /// The tensors in order.
    fn tensors(&self) -> Vec<Tensor>;

    /// The same value with tensors taken from `from`, as many as [`tensors`](Tensors::tensors) lists.
    #[must_use]
    fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> Self;
}

impl Tensors for Tensor {
    fn tensors(&self) -> Vec<Tensor> {
        vec![self.clone()]
    }
    fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> Tensor {
        from.next().unwrap_or_else(|| self.clone())
    }
}

impl Tensors for () {
    fn tensors(&self) -> Vec<Tensor> {
        Vec::new()
    }
    fn with(&self, _: &mut dyn Iterator<Item = Tensor>) {}
}

impl<T: Tensors> Tensors for Option<T> {
    fn tensors(&self) -> Vec<Tensor> {
        self.as_ref().map(Tensors::tensors).unwrap_or_default()
    }
    fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> Option<T> {
        self.as_ref().map(|t| t.with(from))
    }
}

impl<T: Tensors> Tensors for Vec<T> {
    fn tensors(&self) -> Vec<Tensor> {
        self.iter().flat_map(Tensors::tensors).collect()
    }
    fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> Vec<T> {
        self.iter().map(|t| t.with(from)).collect()
    }
}

impl<T: Tensors, const N: usize> Tensors for [T; N] {
    fn tensors(&self) -> Vec<Tensor> {
        self.iter().flat_map(Tensors::tensors).collect()
    }
    fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> [T; N] {
        std::array::from_fn(|i| self[i].with(from))
    }
}

macro_rules! tuples {
    ($(($($t:ident $i:tt),+))*) => {$(
        impl<$($t: Tensors),+> Tensors for ($($t,)+) {
            fn tensors(&self) -> Vec<Tensor> {
                let mut out = Vec::new();
                $(out.extend(self.$i.tensors());)+
                out
            }
            fn with(&self, from: &mut dyn Iterator<Item = Tensor>) -> ($($t,)+) {
                ($(self.$i.with(from),)+)
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}
