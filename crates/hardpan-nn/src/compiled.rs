//! [`Compiled`]: a model whose computation is recorded once for each shape of input.

use crate::module::{Item, walk};
use crate::{Buffer, Forward, Mode, Module, Param};
use hardpan_engine::{Captured, DType, Tensor, autocast_dtype, no_grad};
use std::sync::{Arc, Mutex, PoisonError};

/// Shapes that are kept; the one used longest ago goes first.
const SHAPES: usize = 8;

/// A model for predictions, whose computation is recorded once for each shape of input and replayed after that.
///
/// [`forward`](Compiled::forward) gives the bits that the model gives, without gradients, and saves what operations cost beside
/// their arithmetic: that is most of the time where inputs are small (one picture, one row of a table). It sees when a parameter
/// or a buffer has got a new value, and records anew. What cannot be replayed (a model in training mode, one that reads values or draws
/// random numbers on the way) simply runs. Forward hooks are called while it records only.
///
/// Several threads may use it at once. Counterparts: `torch.compile`, `torch.jit.trace`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_nn::{Compiled, Forward, Linear, Module, ReLU, seq};
/// let model = seq![Linear::new(4, 16), ReLU, Linear::new(16, 3)];
/// model.eval();
/// let x = Tensor::ones([1, 4]);
/// let want = model.forward(&x).to_vec::<f32>();
/// let compiled = Compiled::new(model);
/// assert_eq!(compiled.forward(&x).to_vec::<f32>(), want); // records
/// assert_eq!(compiled.forward(&x).to_vec::<f32>(), want); // replays
/// ```
pub struct Compiled<M> {
    model: M,
    params: Vec<Param>,
    buffers: Vec<Buffer>,
    modes: Vec<Mode>,
    recordings: Mutex<Recordings>,
}

#[derive(Default)]
struct Recordings {
    /// The values of parameters and buffers that the entries were made with.
    values: Vec<Tensor>,
    /// Most recently used last.
    entries: Vec<Entry>,
}

struct Entry {
    shape: Vec<usize>,
    dtype: DType,
    autocast: Option<DType>,
    /// `None`: it cannot be captured.
    captured: Option<Arc<Captured>>,
}

impl<M: Module + Forward<Tensor, Output = Tensor>> Compiled<M> {
    /// Of a model, which is used as it is: put it into evaluation mode ([`Module::eval`]). Its structure must not change any more.
    pub fn new(model: M) -> Compiled<M> {
        let mut modes = Vec::new();
        walk(&model, |_, item| {
            if let Item::Mode(m) = item {
                modes.push(m.clone());
            }
        });
        Compiled {
            params: model.parameters(),
            buffers: model.buffers(),
            modes,
            model,
            recordings: Mutex::default(),
        }
    }

    /// The model's output for `x`, without gradients.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match self.captured(x) {
            Some(captured) => captured.run(std::slice::from_ref(x)).remove(0),
            None => no_grad(|| self.model.forward(x)),
        }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, without what was recorded.
    pub fn into_model(self) -> M {
        self.model
    }

    /// How many shapes it has recordings of.
    pub fn recordings(&self) -> usize {
        let r = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        r.entries.iter().filter(|e| e.captured.is_some()).count()
    }

    fn values(&self) -> impl Iterator<Item = Tensor> {
        self.params.iter().map(Param::value).chain(self.buffers.iter().map(Buffer::value))
    }

    fn captured(&self, x: &Tensor) -> Option<Arc<Captured>> {
        if self.modes.iter().any(Mode::is_training) {
            return None;
        }
        let mut r = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        let same = r.values.len() == self.params.len() + self.buffers.len()
            && r.values.iter().zip(self.values()).all(|(a, b)| a.is_same(&b));
        if !same {
            r.entries.clear();
            r.values = self.values().collect();
        }
        let (dtype, autocast) = (x.dtype(), autocast_dtype());
        let known = r
            .entries
            .iter()
            .position(|e| e.shape == x.shape() && e.dtype == dtype && e.autocast == autocast);
        let entry = match known {
            Some(at) => r.entries.remove(at),
            None => Entry {
                shape: x.shape().to_vec(),
                dtype,
                autocast,
                captured: Captured::new(std::slice::from_ref(x), |x| {
                    vec![self.model.forward(&x[0])]
                })
                .ok()
                .map(Arc::new),
            },
        };
        let captured = entry.captured.clone();
        if r.entries.len() == SHAPES {
            r.entries.remove(0);
        }
        r.entries.push(entry);
        captured
    }
}
