//! Ready-made figures of a training, from plain numbers.

use crate::axes::columns;
use crate::{
    Axes, BarChart, Color, Colormap, Figure, ImageGrid, Matrix, Picture, Series, palette, short,
};

/// Training loss step by step, and validation loss where it was measured.
///
/// `raw` is the loss of each step and `smooth` the same smoothed; `valid` are pairs of the number of steps taken and the loss. Each may be
/// empty. Counterpart: fastai's `recorder.plot_loss`.
///
/// ```
/// use hardpan_plot::figures;
/// let raw = [2.0, 1.5, 1.2, 1.0];
/// let figure = figures::losses(&raw, &raw, &[(2.0, 1.4), (4.0, 1.1)]);
/// assert!(figure.to_text(60).contains("step"));
/// ```
pub fn losses(raw: &[f64], smooth: &[f64], valid: &[(f64, f64)]) -> Figure {
    let steps = |values: &[f64]| {
        thin(values).into_iter().map(|(i, v)| (i as f64 + 1.0, v)).collect::<Vec<_>>()
    };
    let mut axes = Axes::new("Loss").x_label("step").y_label("loss");
    if !raw.is_empty() {
        let line = Series::line(steps(raw)).color(palette(0).alpha(0.25)).width(1.0);
        axes =
            axes.with(if smooth.is_empty() { line.label("training") } else { line.background() });
    }
    if !smooth.is_empty() {
        axes = axes.with(Series::line(steps(smooth)).color(palette(0)).label("training"));
    }
    if !valid.is_empty() {
        axes = axes.with(Series::line(valid.to_vec()).color(palette(1)).label("validation"));
        axes = axes.with(Series::points(valid.to_vec()).color(palette(1)));
    }
    axes.into()
}

/// Metrics epoch by epoch, one panel each. Epochs are counted from 1.
///
/// ```
/// use hardpan_plot::figures;
/// // An epoch without a validation leaves a gap.
/// let accuracy = ("accuracy".to_owned(), vec![Some(0.5), None, Some(0.8)]);
/// assert_eq!(figures::metrics(&[accuracy]).panels().len(), 1);
/// ```
pub fn metrics(metrics: &[(String, Vec<Option<f64>>)]) -> Figure {
    let mut figure = Figure::new("Metrics").columns(metrics.len().clamp(1, 2));
    for (i, (name, values)) in metrics.iter().enumerate() {
        let points: Vec<(f64, f64)> = values
            .iter()
            .enumerate()
            .map(|(e, v)| (e as f64 + 1.0, v.unwrap_or(f64::NAN)))
            .collect();
        let axes = Axes::new(name.clone()).x_label("epoch");
        figure = figure.with(
            axes.with(Series::line(points.clone()).color(palette(i + 2)))
                .with(Series::points(points).color(palette(i + 2))),
        );
    }
    figure
}

/// Hyperparameters step by step, one panel each. Counterpart: fastai's `recorder.plot_sched`.
///
/// ```
/// use hardpan_plot::figures;
/// let rates = ("learning rate".to_owned(), vec![0.01, 0.1, 0.01]);
/// assert!(figures::schedules(&[rates]).to_text(60).contains("learning rate"));
/// ```
pub fn schedules(values: &[(String, Vec<f64>)]) -> Figure {
    let mut figure = Figure::new("Schedule").columns(values.len().clamp(1, 2));
    for (name, values) in values {
        let points = thin(values).into_iter().map(|(i, v)| (i as f64 + 1.0, v));
        let axes = Axes::new(name.clone()).x_label("step").y_label(name.clone());
        figure = figure.with(axes.size(460.0, 300.0).with(Series::line(points)));
    }
    figure
}

/// The loss over the learning rate, with suggestions by name. Counterpart: fastai's `lr_find`.
///
/// ```
/// use hardpan_plot::figures;
/// let points = [(1e-3, 2.0), (1e-2, 1.0), (1e-1, 4.0)];
/// let figure = figures::lr_find(&points, &[("valley", 5e-3)]);
/// assert!(figure.to_text(60).contains("valley"));
/// ```
pub fn lr_find(points: &[(f64, f64)], suggestions: &[(&str, f64)]) -> Figure {
    let mut axes = Axes::new("Learning rate finder")
        .x_label("learning rate")
        .y_label("smoothed loss")
        .log_x()
        .with(Series::line(points.to_vec()).color(palette(0)));
    for (i, (name, rate)) in suggestions.iter().enumerate() {
        let color = palette(i + 1);
        let label = format!("{name}: {}", short(*rate));
        let near = points
            .iter()
            .min_by(|a, b| (a.0 / rate).ln().abs().total_cmp(&(b.0 / rate).ln().abs()));
        if let Some(&(_, loss)) = near {
            axes = axes
                .with(Series::vertical(*rate).color(color.alpha(0.5)))
                .with(Series::points([(*rate, loss)]).color(color).width(5.0).label(label));
        }
    }
    axes.into()
}

/// What a layer gave, step by step: for [`activation_stats`] and [`color_dim`].
///
/// ```
/// use hardpan_plot::figures::{self, LayerCurves};
/// let layer = LayerCurves {
///     name: "conv1".into(),
///     means: vec![0.1, 0.2],
///     stds: vec![0.9, 1.0],
///     near_zero: vec![0.4, 0.3],
///     histograms: vec![vec![3.0, 1.0], vec![2.0, 2.0]],
/// };
/// assert_eq!(figures::activation_stats(&[layer.clone()]).panels().len(), 3);
/// assert_eq!(figures::color_dim(&[layer]).panels().len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerCurves {
    /// The layer's name.
    pub name: String,
    /// Mean of its output at each step.
    pub means: Vec<f64>,
    /// Standard deviation at each step.
    pub stds: Vec<f64>,
    /// Share of outputs near zero at each step, 0 to 1.
    pub near_zero: Vec<f64>,
    /// Counts of outputs by size at each step, smallest first.
    pub histograms: Vec<Vec<f64>>,
}

/// Means, standard deviations and shares of outputs near zero of some layers, step by step. Counterpart: fastai's
/// `plot_layer_stats`, for all layers at once.
///
/// ```
/// use hardpan_plot::figures::{LayerCurves, activation_stats};
/// let layer = LayerCurves {
///     name: "conv1".into(),
///     means: vec![0.1, 0.2],
///     stds: vec![0.9, 1.0],
///     near_zero: vec![0.4, 0.3],
///     histograms: vec![vec![3.0, 1.0], vec![2.0, 2.0]],
/// };
/// let svg = activation_stats(&[layer]).to_svg()?;
/// assert!(["Means", "Standard deviations", "Share near zero", "conv1"].iter().all(|t| svg.contains(t)));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
pub fn activation_stats(layers: &[LayerCurves]) -> Figure {
    let panel = |title: &str, values: fn(&LayerCurves) -> &Vec<f64>, legend: bool| {
        let mut axes = Axes::new(title).x_label("step").size(420.0, 320.0);
        for (i, layer) in layers.iter().enumerate() {
            let points = thin(values(layer)).into_iter().map(|(i, v)| (i as f64 + 1.0, v));
            // From first to last layer along a map: more layers than palette colours stay in order.
            let color = match layers.len() {
                0..=8 => palette(i),
                n => Colormap::Viridis.at(i as f64 / n as f64 * 0.9),
            };
            let line = Series::line(points).color(color).width(1.5);
            let named = legend && (layers.len() <= 8 || i == 0 || i + 1 == layers.len());
            axes = axes.with(if named { line.label(layer.name.clone()) } else { line });
        }
        axes
    };
    Figure::new("Activations")
        .columns(3)
        .with(panel("Means", |l| &l.means, false))
        .with(panel("Standard deviations", |l| &l.stds, true))
        .with(panel("Share near zero", |l| &l.near_zero, false).y_range(0.0, 1.0))
}

/// The histogram of each layer's outputs over the steps, as columns of colours on a logarithmic scale: a healthy layer fills its
/// picture evenly; what dies shows a bright line at the bottom. Counterpart: fastai's `color_dim`.
///
/// ```
/// use hardpan_plot::figures::{LayerCurves, color_dim};
/// let layer = LayerCurves {
///     name: "conv1".into(),
///     means: vec![0.1, 0.2],
///     stds: vec![0.9, 1.0],
///     near_zero: vec![0.4, 0.3],
///     histograms: vec![vec![3.0, 1.0], vec![2.0, 2.0]],
/// };
/// let figure = color_dim(&[layer, LayerCurves::default()]);
/// assert_eq!(figure.panels().len(), 1); // a layer without histograms has no picture
/// assert!(figure.to_svg()?.contains("<image"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
pub fn color_dim(layers: &[LayerCurves]) -> Figure {
    let mut figure = Figure::new("Histograms of activations").columns(layers.len().clamp(1, 3));
    for layer in layers {
        let logs: Vec<Vec<f64>> = layer
            .histograms
            .iter()
            .map(|h| h.iter().map(|&n| n.max(0.0).ln_1p()).collect())
            .collect();
        let Some(picture) = columns(&logs, Colormap::Viridis) else { continue };
        let (steps, bins) = (picture.width() as f64, picture.height() as f64);
        figure = figure.with(
            Axes::new(layer.name.clone())
                .x_label("step")
                .y_label("bin")
                .size(380.0, 240.0)
                .with(Series::picture(picture, (0.0, steps), (0.0, bins))),
        );
    }
    figure
}

/// How often each class was taken for which: `counts[actual * classes + predicted]`. Colours are shares of the row. With `normalize`
/// the texts are shares too. Counterpart: fastai's `plot_confusion_matrix`.
///
/// ```
/// use hardpan_plot::figures;
/// let classes = ["cat".to_owned(), "dog".to_owned()];
/// // Rows are what things are, columns what they were taken for.
/// let figure = figures::confusion_matrix(&classes, &[9, 1, 2, 8], false);
/// assert!(figure.to_text(60).contains("dog"));
/// ```
///
/// # Panics
/// If the counts are not classes times classes many.
#[track_caller]
pub fn confusion_matrix(classes: &[String], counts: &[usize], normalize: bool) -> Figure {
    let n = classes.len();
    assert_eq!(counts.len(), n * n, "confusion_matrix: counts for {n} x {n} classes");
    let sums: Vec<usize> = counts.chunks(n.max(1)).map(|row| row.iter().sum()).collect();
    let shares: Vec<f64> =
        (0..n * n).map(|i| counts[i] as f64 / sums[i / n].max(1) as f64).collect();
    let text = |i: usize| match (counts[i], normalize) {
        (0, _) => String::new(),
        (_, true) if shares[i] < 0.005 => "<.01".into(),
        (_, true) => format!("{:.2}", shares[i]),
        (count, false) => count.to_string(),
    };
    let cells = (0..n * n).map(text).collect();
    Matrix::table("Confusion matrix", classes.to_vec(), classes.to_vec(), cells)
        .shades(&shares, Colormap::Blues)
        .axis_labels("actual", "predicted")
        .into()
}

/// Pictures with titles. Counterpart: fastai's `show_images`.
///
/// ```
/// use hardpan_plot::{Picture, figures};
/// let grey = Picture::new(2, 2, 1, &[0, 80, 160, 255]);
/// let figure = figures::images("Batch", [(grey, "seven".to_owned())]);
/// assert!(figure.to_text(40).contains("seven"));
/// ```
pub fn images(title: &str, images: impl IntoIterator<Item = (Picture, String)>) -> Figure {
    let grid = images.into_iter().fold(ImageGrid::new(title), |g, (p, t)| g.image(p, t));
    grid.into()
}

/// Pictures with what they were taken for; the wrong ones in another colour, and marked by a sign.
///
/// ```
/// use hardpan_plot::{Picture, figures};
/// let grey = Picture::new(2, 2, 1, &[0, 80, 160, 255]);
/// let figure = figures::results("Taken for", [(grey, "seven".to_owned(), false)]);
/// assert!(figure.to_text(40).contains("seven ×")); // a wrong one is marked
/// ```
pub fn results(title: &str, images: impl IntoIterator<Item = (Picture, String, bool)>) -> Figure {
    let add = |g: ImageGrid, (p, t, right): (Picture, String, bool)| match right {
        true => g.colored_image(p, t, Color::GOOD),
        false => g.colored_image(p, format!("{t} ×"), Color::BAD),
    };
    images.into_iter().fold(ImageGrid::new(title), add).into()
}

/// Numbers by name.
///
/// ```
/// use hardpan_plot::figures;
/// let figure = figures::bars("F1", [("cat", 0.9), ("dog", 0.7)]);
/// assert!(figure.to_text(40).contains("cat"));
/// ```
pub fn bars<S: Into<String>>(title: &str, bars: impl IntoIterator<Item = (S, f64)>) -> Figure {
    BarChart::new(title).bars(bars).into()
}

/// Whether confidence is deserved: for each bin the mean confidence, the share that was right, and how many predictions there are. Below
/// it, how many predictions each bin has. Counterpart: scikit-learn's `CalibrationDisplay`.
///
/// ```
/// use hardpan_plot::figures;
/// // Mean confidence, share that was right, predictions, for each bin.
/// let figure = figures::calibration(&[(0.6, 0.5, 10), (0.9, 0.9, 40)], 0.02);
/// assert!(figure.to_svg()?.contains("<svg"));
/// # Ok::<(), hardpan_plot::PlotError>(())
/// ```
pub fn calibration(bins: &[(f64, f64, usize)], error: f64) -> Figure {
    let points: Vec<(f64, f64)> = bins.iter().filter(|b| b.2 > 0).map(|b| (b.0, b.1)).collect();
    let n = bins.len().max(1) as f64;
    let total: usize = bins.iter().map(|b| b.2).sum();
    let shares = bins
        .iter()
        .enumerate()
        .map(|(i, b)| (i as f64 / n, (i + 1) as f64 / n, b.2 as f64 / total.max(1) as f64));
    Figure::new(format!("Calibration (expected error {})", short(error)))
        .columns(2)
        .with(
            Axes::new("Right as often as it says?")
                .x_label("confidence")
                .y_label("share right")
                .x_range(0.0, 1.0)
                .y_range(0.0, 1.0)
                .size(380.0, 340.0)
                .with(
                    Series::line([(0.0, 0.0), (1.0, 1.0)])
                        .color(Color::SOFT)
                        .dashed()
                        .width(1.5)
                        .label("perfect"),
                )
                .with(Series::line(points.clone()).color(palette(0)).label("model"))
                .with(Series::points(points).color(palette(0)).width(4.0)),
        )
        .with(
            Axes::new("How sure it is")
                .x_label("confidence")
                .y_label("share of predictions")
                .x_range(0.0, 1.0)
                .size(380.0, 340.0)
                .with(Series::bars(shares)),
        )
}

/// At most 2000 of the values, with their places, evenly chosen: more would not be seen, and make files large.
fn thin(values: &[f64]) -> Vec<(usize, f64)> {
    const MOST: usize = 2000;
    let step = values.len().div_ceil(MOST).max(1);
    let last = values.len().saturating_sub(1);
    values.iter().copied().enumerate().filter(|(i, _)| i % step == 0 || *i == last).collect()
}
