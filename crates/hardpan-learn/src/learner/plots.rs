//! Pictures of the last fit, as [`Figure`]s: SVG, PNG, or in the terminal.

use super::Learner;
use hardpan_nn::{Forward, Module};
use hardpan_plot::Figure;

impl<M, X, Y> Learner<M, X, Y>
where
    M: Module + Forward<X, Output: 'static>,
    X: 'static,
    Y: 'static,
{
    /// Losses of the last fit: see [`History::plot_losses`](super::History::plot_losses).
    pub fn plot_losses(&self) -> Figure {
        self.history().plot_losses()
    }

    /// Metrics of the last fit: see [`History::plot_metrics`](super::History::plot_metrics).
    pub fn plot_metrics(&self) -> Figure {
        self.history().plot_metrics()
    }

    /// The schedule of the last fit: see [`History::plot_schedule`](super::History::plot_schedule).
    pub fn plot_schedule(&self) -> Figure {
        self.history().plot_schedule()
    }
}
