//! How data flows through a module.
//!
//! [`Forward<X>`] is a function from `&X` to an output, both any types: a module with two inputs takes a pair, a translation model a
//! struct of source and target, and nobody casts. What takes a tensor and gives a tensor is a [`Layer`], and layers of
//! different types can be kept in one list as `Box<dyn Layer>`, which is what [`Sequential`](crate::Sequential) does.

use crate::{Module, Visit, Visitor};
use hardpan_engine::Tensor;
use std::any::Any;
use std::sync::Arc;

/// The computation of a module: from `&X` to `Output`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Module};
///
/// #[derive(Module)]
/// struct Distance;
///
/// impl Forward<(Tensor, Tensor)> for Distance {
///     type Output = Tensor;
///     fn forward(&self, (a, b): &(Tensor, Tensor)) -> Tensor {
///         (a - b) * (a - b)
///     }
/// }
///
/// let pair = (Tensor::from_vec(vec![3f32], &[1]), Tensor::from_vec(vec![1f32], &[1]));
/// assert_eq!(Distance.forward(&pair).to_vec::<f32>(), [4.]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no forward pass for an input of type `{X}`",
    note = "implement `Forward<{X}>` for it"
)]
pub trait Forward<X: ?Sized = Tensor> {
    /// What comes out: a tensor, a tuple of them, a struct.
    type Output;

    /// Applies the module to `x`. Shapes that do not fit panic with both shapes.
    #[track_caller]
    fn forward(&self, x: &X) -> Self::Output;
}

macro_rules! through {
    ($($t:ty),*) => {
        $(impl<X: ?Sized, T: Forward<X> + ?Sized> Forward<X> for $t {
            type Output = T::Output;
            #[track_caller]
            fn forward(&self, x: &X) -> T::Output {
                (**self).forward(x)
            }
        })*
    };
}

through!(Box<T>, Arc<T>, &T);

/// One after the other; none at all is the identity.
impl<X: Clone, T: Forward<X, Output = X>> Forward<X> for Vec<T> {
    type Output = X;
    #[track_caller]
    fn forward(&self, x: &X) -> X {
        let mut layers = self.iter();
        let Some(first) = layers.next() else { return x.clone() };
        let mut x = first.forward(x);
        for layer in layers {
            x = layer.forward(&x);
        }
        x
    }
}

/// Tuples are applied one after the other too, and the types in between may differ.
macro_rules! chain {
    ($($first:ident $($t:ident $prev:ident $i:tt)* => $last:ident;)*) => {
        $(
            impl<X: ?Sized, $first: Forward<X> $(, $t: Forward<$prev::Output>)*> Forward<X>
                for ($first, $($t,)*)
            {
                type Output = $last::Output;
                #[track_caller]
                fn forward(&self, x: &X) -> Self::Output {
                    let x = self.0.forward(x);
                    $(let x = self.$i.forward(&x);)*
                    x
                }
            }
        )*
    };
}

chain! {
    A => A;
    A B A 1 => B;
    A B A 1 C B 2 => C;
    A B A 1 C B 2 D C 3 => D;
    A B A 1 C B 2 D C 3 E D 4 => E;
    A B A 1 C B 2 D C 3 E D 4 F E 5 => F;
    A B A 1 C B 2 D C 3 E D 4 F E 5 G F 6 => G;
    A B A 1 C B 2 D C 3 E D 4 F E 5 G F 6 H G 7 => H;
}

/// A module from tensor to tensor. Implemented by itself for everything that is a [`Module`] and has the [`Forward`]; as
/// `Box<dyn Layer>`, layers of different types live in one list or field.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Layer, Linear, ReLU};
/// let layers: Vec<Box<dyn Layer>> = vec![Box::new(Linear::new(4, 8)), Box::new(ReLU)];
/// assert_eq!(layers.forward(&Tensor::ones([2, 4])).shape(), [2, 8]);
/// ```
pub trait Layer: Module + Forward<Tensor, Output = Tensor> {}

impl<T: Module + Forward<Tensor, Output = Tensor>> Layer for T {}

/// A function or closure as a module. It has no parameters: what a closure captures is not seen by the walk.
/// Counterpart: fastai's `Lambda`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Lambda};
/// let double = Lambda(|x: &Tensor| x * 2.0);
/// assert_eq!(double.forward(&Tensor::from_vec(vec![3f32], &[1])).to_vec::<f32>(), [6.]);
/// ```
#[derive(Clone, Copy)]
pub struct Lambda<F>(pub F);

impl<F: Send + Sync + 'static> Visit for Lambda<F> {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        v.end();
    }
}

impl<F: Send + Sync + 'static> Module for Lambda<F> {}

impl<X: ?Sized, Y, F: Fn(&X) -> Y> Forward<X> for Lambda<F> {
    type Output = Y;
    #[track_caller]
    fn forward(&self, x: &X) -> Y {
        (self.0)(x)
    }
}

/// What [`seq!`](crate::seq) and [`Sequential`](crate::Sequential) take: any [`Layer`], and any function or closure from `&Tensor`
/// to [`Tensor`]. The type of a closure's argument must be written: `|x: &Tensor| x * 2.0`.
///
/// `Kind` only tells the two apart for the compiler, which finds it by itself.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Linear};
/// use hardpan_nn::IntoLayer;
/// let layers = [Linear::new(4, 4).into_layer(), (|x: &Tensor| x.abs()).into_layer()];
/// assert!(layers[1].forward(&layers[0].forward(&Tensor::ones([1, 4]))).amin(..).item::<f32>() >= 0.0);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    note = "a layer is a `Module` with `Forward<Tensor, Output = Tensor>`, or a function `fn(&Tensor) -> Tensor`; \
            write the argument type of a closure: `|x: &Tensor| ...`"
)]
pub trait IntoLayer<Kind> {
    /// The layer, boxed.
    fn into_layer(self) -> Box<dyn Layer>;
}

/// Kinds of [`IntoLayer`].
pub mod kind {
    /// It is a layer.
    pub enum IsLayer {}
    /// It is a function.
    pub enum IsFunction {}
}

impl<L: Layer> IntoLayer<kind::IsLayer> for L {
    fn into_layer(self) -> Box<dyn Layer> {
        // What is boxed already is not boxed twice.
        let any: Box<dyn Any> = Box::new(self);
        match any.downcast::<Box<dyn Layer>>() {
            Ok(layer) => *layer,
            Err(any) => any.downcast::<L>().expect("it is what was boxed"),
        }
    }
}

impl<F> IntoLayer<kind::IsFunction> for F
where
    F: Fn(&Tensor) -> Tensor + Send + Sync + 'static,
{
    fn into_layer(self) -> Box<dyn Layer> {
        Box::new(Lambda(self))
    }
}
