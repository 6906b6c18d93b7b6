//! Seeing inside: pictures of what a training did ([`Learner::plot_losses`], [`Learner::plot_schedule`], [`LrFind::plot`]), and of what
//! the layers gave meanwhile ([`ActivationStats`]). All are [`Figure`]s: SVG, PNG, or in the terminal.

use crate::callback::{Callback, Flow};
use crate::learner::{Context, EpochRecord, History, Learner, Task};
use crate::lr_find::LrFind;
use hardpan_engine::{DType, Tensor};
use hardpan_nn::hook::Captured;
use hardpan_nn::{Forward, Module};
use hardpan_plot::figures::{self, LayerCurves};
use hardpan_plot::{Figure, Series, palette};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bins of the histograms, which reach from 0 to [`TOP`]: as fastai's.
const BINS: usize = 40;
const TOP: f32 = 10.0;
/// Outputs up to this count as near zero: as fastai's.
const NEAR_ZERO: f32 = 0.05;

type Chosen = Arc<dyn Fn(&str, &dyn Module) -> bool + Send + Sync>;

/// Writes down means, standard deviations, shares near zero (at most 0.05) and histograms (40 bins from 0 to 10) of what layers give
/// in training. Clones share what they write: add one to a learner, keep the other. Counterpart: fastai's `ActivationStats`.
///
/// ```no_run
/// use hardpan_learn::insight::ActivationStats;
/// # fn f(learn: &mut hardpan_learn::learner::Learner<hardpan_nn::Sequential>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let stats = ActivationStats::new();
/// learn.add_callback(stats.clone());
/// learn.fit_one_cycle(1, 0.01)?;
/// stats.plot().save("activations.svg")?;
/// stats.color_dim().save("histograms.png")?;
/// # Ok(()) }
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
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl History {
    /// Training loss step by step and validation loss after each epoch. Counterpart: fastai's `recorder.plot_loss`.
    pub fn plot_losses(&self) -> Figure {
        let valid = |at: fn(&(usize, &EpochRecord)) -> f64| -> Vec<(f64, f64)> {
            let known = self.epochs.iter().enumerate();
            known.filter_map(|e| Some((at(&e), e.1.valid_loss?))).collect()
        };
        // A history read from a file has epochs only.
        if self.losses.is_empty() {
            let train = self.epochs.iter().enumerate();
            let train: Vec<(f64, f64)> =
                train.filter_map(|(i, e)| Some(((i + 1) as f64, e.train_loss?))).collect();
            return hardpan_plot::Axes::new("Loss")
                .x_label("epoch")
                .y_label("loss")
                .with(Series::line(train).color(palette(0)).label("training"))
                .with(
                    Series::line(valid(|e| e.0 as f64 + 1.0)).color(palette(1)).label("validation"),
                )
                .into();
        }
        figures::losses(&self.raw_losses, &self.losses, &valid(|e| e.1.steps as f64))
    }

    /// Metrics epoch by epoch. Counterpart: fastai's `ShowGraphCallback`.
    pub fn plot_metrics(&self) -> Figure {
        let names = self.epochs.first().map(|e| e.metrics.iter().map(|m| m.0.clone()));
        let column = |name: String| {
            let values = self.epochs.iter().map(|e| e.get(&name)).collect();
            (name, values)
        };
        figures::metrics(&names.into_iter().flatten().map(column).collect::<Vec<_>>())
    }

    /// The learning rate, and the momentum where there is one, step by step. Counterpart: fastai's `recorder.plot_sched`.
    pub fn plot_schedule(&self) -> Figure {
        let mut curves = vec![("learning rate".to_owned(), self.lrs.clone())];
        if self.moms.iter().any(|m| *m != 0.0) {
            curves.push(("momentum".into(), self.moms.clone()));
        }
        figures::schedules(&curves)
    }
}

impl LrFind {
    /// The loss over the rate, with the suggestions marked. Counterpart: the plot of fastai's `lr_find`.
    pub fn plot(&self) -> Figure {
        let named = [
            ("valley", self.valley),
            ("slide", self.slide),
            ("steep", self.steep),
            ("minimum", self.minimum),
        ];
        let known: Vec<(&str, f64)> =
            named.into_iter().filter_map(|(name, rate)| Some((name, rate?))).collect();
        figures::lr_find(&self.points, &known)
    }
}

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Losses of the last fit: see [`History::plot_losses`].
    pub fn plot_losses(&self) -> Figure {
        self.history().plot_losses()
    }

    /// Metrics of the last fit: see [`History::plot_metrics`].
    pub fn plot_metrics(&self) -> Figure {
        self.history().plot_metrics()
    }

    /// The schedule of the last fit: see [`History::plot_schedule`].
    pub fn plot_schedule(&self) -> Figure {
        self.history().plot_schedule()
    }
}
