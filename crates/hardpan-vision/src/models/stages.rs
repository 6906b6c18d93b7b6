//! [`Stages`]: layers one after the other under names with dots, so that a network can be cut anywhere and keep the names of its
//! weights.

use hardpan_engine::Tensor;
use hardpan_nn::{Forward, IntoLayer, Layer, Module, Visit, Visitor};

/// Layers applied one after the other. Unlike in a `Sequential`, a name may have several parts (`layer1.0`) or none (the layer's own
/// keys stand alone), so that a flat list has the keys of a nested model, and every step of it can be looked at.
#[derive(Default)]
pub struct Stages {
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl Stages {
    /// No layers: the identity.
    pub fn new() -> Stages {
        Stages::default()
    }

    /// With one more layer. An empty name puts the layer's keys beside those of the others.
    #[must_use]
    pub fn with<K>(mut self, name: impl Into<String>, layer: impl IntoLayer<K>) -> Stages {
        self.layers.push((name.into(), layer.into_layer()));
        self
    }

    /// Adds a layer: see [`with`](Stages::with).
    pub fn push<K>(&mut self, name: impl Into<String>, layer: impl IntoLayer<K>) {
        self.layers.push((name.into(), layer.into_layer()));
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Names and layers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &dyn Layer)> {
        self.layers.iter().map(|(n, l)| (n.as_str(), l.as_ref()))
    }

    /// The layers from `at` on, taken out of `self`.
    ///
    /// # Panics
    /// If there are fewer than `at`.
    #[must_use]
    #[track_caller]
    pub fn split_off(&mut self, at: usize) -> Stages {
        assert!(at <= self.len(), "split_off: at {at}, but there are {} layers", self.len());
        Stages { layers: self.layers.split_off(at) }
    }

    /// What each layer gives, in order.
    #[track_caller]
    pub fn forward_each(&self, x: &Tensor) -> Vec<Tensor> {
        let mut out: Vec<Tensor> = Vec::with_capacity(self.len());
        for (_, layer) in &self.layers {
            out.push(layer.forward(out.last().unwrap_or(x)));
        }
        out
    }

    /// Shows `v` the layers under their names, without beginning a module.
    pub(crate) fn visit_layers(&self, v: &mut dyn Visitor) {
        for (name, layer) in &self.layers {
            let parts = name.split('.').filter(|p| !p.is_empty());
            let mut depth = 0;
            for part in parts {
                v.enter(part);
                depth += 1;
            }
            layer.visit(v);
            (0..depth).for_each(|_| v.leave());
        }
    }
}

impl Visit for Stages {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        self.visit_layers(v);
        v.end();
    }
}

impl Module for Stages {}

impl Forward for Stages {
    type Output = Tensor;
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.layers.iter().fold(x.clone(), |x, (_, layer)| layer.forward(&x))
    }
}
