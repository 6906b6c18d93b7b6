//! What the walk does with the types of the standard library: goes through containers, passes by plain data.

use crate::{Module, Role, Visit, Visitor, visit_field};
use hardpan_engine::{DType, Tensor};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// Plain data: nothing to see.
macro_rules! plain {
    ($($t:ty),* $(,)?) => {
        $(impl Visit for $t {
            fn visit(&self, _: &mut dyn Visitor) {}
        })*
    };
}

plain!(
    (),
    bool,
    char,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    String,
    str,
    std::path::PathBuf,
    std::time::Duration,
    std::ops::Range<usize>,
    DType,
    fn(&Tensor) -> Tensor,
    fn(&Tensor, &Tensor) -> Tensor,
    dyn Fn(&Tensor) -> Tensor + Send + Sync,
    dyn Fn(&Tensor, &Tensor) -> Tensor + Send + Sync,
);

impl<T: ?Sized + Send + Sync> Visit for PhantomData<T> {
    fn visit(&self, _: &mut dyn Visitor) {}
}

/// What points at one thing is that thing.
macro_rules! transparent {
    ($($t:ty),*) => {
        $(impl<T: Visit + ?Sized> Visit for $t {
            fn visit(&self, v: &mut dyn Visitor) {
                (**self).visit(v);
            }
        })*
    };
}

transparent!(Box<T>, Arc<T>, &T);

impl<T: Module + ?Sized> Module for Box<T> {
    fn role(&self) -> Role {
        (**self).role()
    }
}
impl<T: Module + ?Sized> Module for Arc<T> {
    fn role(&self) -> Role {
        (**self).role()
    }
}

impl<T: Visit> Visit for Option<T> {
    fn visit(&self, v: &mut dyn Visitor) {
        if let Some(inner) = self {
            inner.visit(v);
        }
    }
}
impl<T: Module> Module for Option<T> {}

impl<T: Visit> Visit for [T] {
    fn visit(&self, v: &mut dyn Visitor) {
        for (i, x) in self.iter().enumerate() {
            visit_field(v, &i.to_string(), x);
        }
    }
}

impl<T: Visit, const N: usize> Visit for [T; N] {
    fn visit(&self, v: &mut dyn Visitor) {
        self.as_slice().visit(v);
    }
}
impl<T: Module, const N: usize> Module for [T; N] {}

/// Counterpart: `nn.ModuleList`.
impl<T: Visit> Visit for Vec<T> {
    fn visit(&self, v: &mut dyn Visitor) {
        self.as_slice().visit(v);
    }
}
impl<T: Module> Module for Vec<T> {}

/// Counterpart: `nn.ModuleDict`, in the order of the keys. (A `HashMap` has no order, so it cannot be a field.)
impl<K: std::fmt::Display + Ord + Send + Sync, T: Visit> Visit for BTreeMap<K, T> {
    fn visit(&self, v: &mut dyn Visitor) {
        for (k, x) in self {
            visit_field(v, &k.to_string(), x);
        }
    }
}
impl<K: std::fmt::Display + Ord + Send + Sync + 'static, T: Module> Module for BTreeMap<K, T> {}

macro_rules! tuples {
    ($(($($t:ident $i:tt),+))*) => {
        $(
            impl<$($t: Visit),+> Visit for ($($t,)+) {
                fn visit(&self, v: &mut dyn Visitor) {
                    $(visit_field(v, stringify!($i), &self.$i);)+
                }
            }
            impl<$($t: Module),+> Module for ($($t,)+) {}
        )*
    };
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
