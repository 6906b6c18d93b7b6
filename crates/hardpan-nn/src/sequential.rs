//! [`Sequential`]: layers applied one after the other.

use crate::hook;
use crate::{Forward, IntoLayer, Layer, Module, Visit, Visitor, hooked, visit_field};
use hardpan_engine::Tensor;

/// Layers of any types, applied one after the other. Their names in the state dict are their positions, as in
/// PyTorch (`0.weight`), unless given. Counterpart: `torch.nn.Sequential`.
///
/// Usually written with the macro [`seq!`](crate::seq); functions and closures count as layers without parameters.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Forward, Module, seq};
/// let model = seq![|x: &Tensor| x * 2.0, |x: &Tensor| x + 1.0];
/// let y = model.forward(&Tensor::from_vec(vec![3f32], &[1]));
/// assert_eq!(y.to_vec::<f32>(), [7.]);
/// assert_eq!(model.len(), 2);
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
}

/// Makes a [`Sequential`] of layers, functions and closures.
#[macro_export]
macro_rules! seq {
    ($($layer:expr),* $(,)?) => {
        $crate::Sequential::new()$(.append($layer))*
    };
}

impl Sequential {
    /// No layers yet: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With one more layer, named by its position.
    #[must_use]
    pub fn append<K>(self, layer: impl IntoLayer<K>) -> Sequential {
        let name = self.layers.len().to_string();
        self.append_named(name, layer)
    }

    /// With one more layer of this name.
    ///
    /// # Panics
    /// If there is a layer of that name, or the name is empty or has a dot.
    #[must_use]
    #[track_caller]
    pub fn append_named<K>(
        mut self,
        name: impl Into<String>,
        layer: impl IntoLayer<K>,
    ) -> Sequential {
        let name = name.into();
        assert!(
            !name.is_empty() && !name.contains('.'),
            "Sequential: {name:?} is no name for a layer: it is one part of a key, not empty, no '.'"
        );
        assert!(
            self.layers.iter().all(|(n, _)| *n != name),
            "Sequential: there is a layer named {name:?} already"
        );
        self.layers.push((name, layer.into_layer()));
        self
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Layer `i`, if there is one.
    pub fn get(&self, i: usize) -> Option<&dyn Layer> {
        self.layers.get(i).map(|(_, l)| l.as_ref())
    }

    /// The layers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &dyn Layer> {
        self.layers.iter().map(|(_, l)| l.as_ref())
    }

    /// Names and layers in order, taken apart.
    pub fn into_layers(self) -> Vec<(String, Box<dyn Layer>)> {
        self.layers
    }

    /// Takes the layers from `at` on out of `self`. Both keep their names, so weights still fit by name after
    /// cutting a body from its head. Layers appended later are named by the new positions.
    ///
    /// # Panics
    /// If `at` is greater than the number of layers.
    #[track_caller]
    pub fn split_off(&mut self, at: usize) -> Sequential {
        assert!(at <= self.len(), "split_off: at {at}, but there are {} layers", self.len());
        Sequential { layers: self.layers.split_off(at) }
    }
}

impl Visit for Sequential {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        for (name, layer) in &self.layers {
            visit_field(v, name, layer);
        }
        v.end();
    }
}

impl Module for Sequential {}

impl Forward for Sequential {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => {
            let mut x = x.clone();
            for (name, layer) in &self.layers {
                let call = hook::child(self, name, layer.as_ref(), &x);
                let y = layer.forward(call.input(&x));
                x = call.leave(y);
            }
            x
        })
    }
}
