//! Seeing inside: what the layers give while a model is trained ([`ActivationStats`]), as [`Figure`]s: SVG, PNG, or in the terminal.
//! Pictures of the training itself: [`Learner::plot_losses`](crate::learner::Learner::plot_losses),
//! [`plot_schedule`](crate::learner::Learner::plot_schedule), [`LrFind::plot`](crate::lr_find::LrFind::plot).

use crate::callback::{Callback, Flow};
use crate::learner::{Context, Task};
use crate::lock::lock;
use hardpan_engine::{DType, Tensor};
use hardpan_nn::Module;
use hardpan_nn::hook::Captured;
use hardpan_plot::Figure;
use hardpan_plot::figures::{self, LayerCurves};
use std::sync::{Arc, Mutex};

/// Bins of the histograms, which reach from 0 to [`TOP`]: as fastai's.
const BINS: usize = 40;
const TOP: f32 = 10.0;
/// Outputs up to this count as near zero: as fastai's.
const NEAR_ZERO: f32 = 0.05;

/// The mean of some numbers, and the sum of the squares of their distances from it. In f64, in which the sums of many f32 lose nothing
/// that matters.
pub(crate) fn moments(values: &[f32]) -> (f64, f64) {
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64;
    (mean, values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum())
}

type Chosen = Arc<dyn Fn(&str, &dyn Module) -> bool + Send + Sync>;

/// Writes down means, standard deviations, shares near zero (at most 0.05) and histograms (40 bins from 0 to 10) of what layers give
/// in training. Clones share what they write: add one to a learner, keep the other. Counterpart: fastai's `ActivationStats`.
///
/// ```
/// # use hardpan_engine::Tensor;
/// # use hardpan_learn::data::{DataLoaders, TensorDataset};
/// # use hardpan_nn::{Linear, MSELoss};
/// # let data = TensorDataset::new(Tensor::rand([64, 8]), Tensor::rand([64, 1]))?;
/// # let loaders = DataLoaders::from_tensors(data.clone(), data, 16, 42)?;
/// use hardpan_learn::insight::ActivationStats;
/// use hardpan_learn::learner::Learner;
/// use hardpan_nn::{ReLU, seq};
/// let stats = ActivationStats::new().every(2);
/// let model = seq![Linear::new(8, 16), ReLU, Linear::new(16, 1)];
/// let mut learn =
///     Learner::with_loss(loaders, model, MSELoss::new()).callback(stats.clone()).silent();
/// learn.fit(2, 0.01)?;
/// let layers = stats.layers();
/// assert_eq!((layers.len(), layers[0].means.len()), (2, 4)); // four of eight batches
/// let (curves, histograms) = (stats.plot().to_svg()?, stats.color_dim().to_svg()?);
/// assert!(curves.contains("<polyline") && histograms.contains("<image"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ActivationStats {
    every: usize,
    chosen: Chosen,
    captured: Arc<Mutex<Option<Captured>>>,
    layers: Arc<Mutex<Vec<LayerCurves>>>,
}

impl Default for ActivationStats {
    fn default() -> ActivationStats {
        ActivationStats::new()
    }
}

impl ActivationStats {
    /// Of every layer that has parameters, in every fourth batch.
    pub fn new() -> ActivationStats {
        ActivationStats::of(|path, m| hardpan_nn::hook::leaf(path, m) && !m.parameters().is_empty())
    }

    /// Of these modules: by path and module, as [hooks](hardpan_nn::hook) choose. To see what comes out of the activations:
    /// `ActivationStats::of(hardpan_nn::hook::is::<hardpan_nn::ReLU>)`.
    pub fn of(
        chosen: impl Fn(&str, &dyn Module) -> bool + Send + Sync + 'static,
    ) -> ActivationStats {
        ActivationStats {
            every: 4,
            chosen: Arc::new(chosen),
            captured: Arc::default(),
            layers: Arc::default(),
        }
    }

    /// In every `n`th batch. Each costs about as much as reading all outputs once.
    ///
    /// # Panics
    /// If `n` is 0.
    #[must_use]
    #[track_caller]
    pub fn every(mut self, n: usize) -> ActivationStats {
        assert!(n > 0, "ActivationStats: every 0th batch is none");
        self.every = n;
        self
    }

    /// What has been written down in the last fit, layer by layer. A layer that is applied several times a batch counts by what it gave
    /// last.
    pub fn layers(&self) -> Vec<LayerCurves> {
        lock(&self.layers).clone()
    }

    /// Means, standard deviations and shares near zero over the batches. Counterpart: fastai's `plot_layer_stats`.
    pub fn plot(&self) -> Figure {
        figures::activation_stats(&self.layers())
    }

    /// The histograms over the batches, one picture a layer. Counterpart: fastai's `color_dim`.
    pub fn color_dim(&self) -> Figure {
        figures::color_dim(&self.layers())
    }

    fn add(&self, path: &str, output: &Tensor) {
        let values = output.to_dtype(DType::F32).to_vec::<f32>();
        let n = values.len().max(1) as f64;
        let (mean, square) = moments(&values);
        let mut bins = vec![0.0; BINS];
        for &v in values.iter().filter(|v| (0.0..=TOP).contains(*v)) {
            bins[((v / TOP * BINS as f32) as usize).min(BINS - 1)] += 1.0;
        }
        let mut layers = lock(&self.layers);
        let at = layers.iter().position(|l| l.name == path).unwrap_or_else(|| {
            layers.push(LayerCurves { name: path.to_owned(), ..LayerCurves::default() });
            layers.len() - 1
        });
        let layer = &mut layers[at];
        layer.means.push(mean);
        // Bessel's correction, as torch.std.
        layer.stds.push((square / (n - 1.0).max(1.0)).sqrt());
        layer.near_zero.push(values.iter().filter(|v| **v <= NEAR_ZERO).count() as f64 / n);
        layer.histograms.push(bins);
    }
}

impl<T: Task> Callback<T> for ActivationStats {
    /// Before all others, as fastai's.
    fn order(&self) -> i32 {
        -20
    }

    fn watches_only(&self) -> bool {
        true
    }

    fn before_fit(&mut self, _: &mut Context<T>) -> Flow {
        lock(&self.layers).clear();
        Flow::Continue
    }

    fn before_batch(&mut self, ctx: &mut Context<T>) -> Flow {
        if ctx.training && ctx.train_iter.is_multiple_of(self.every) {
            let chosen = self.chosen.clone();
            let captured = ctx.hooks.capture(move |path: &str, m: &dyn Module| chosen(path, m));
            *lock(&self.captured) = Some(captured);
        }
        Flow::Continue
    }

    fn after_batch(&mut self, _: &mut Context<T>) -> Flow {
        let Some(captured) = lock(&self.captured).take() else { return Flow::Continue };
        captured.remove();
        let mut seen: Vec<(String, Tensor)> = Vec::new();
        for call in captured.take() {
            let Some(output) = call.tensors.into_iter().find(|t| t.dtype().is_float()) else {
                continue;
            };
            match seen.iter_mut().find(|s| s.0 == call.path) {
                Some(known) => known.1 = output,
                None => seen.push((call.path, output)),
            }
        }
        seen.iter().for_each(|(path, output)| self.add(path, output));
        Flow::Continue
    }
}
