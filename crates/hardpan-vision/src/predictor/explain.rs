//! What a model looks at: Grad-CAM, and what it misses when it is covered, for models without maps.

use super::Predictor;
use crate::image::{CropBox, Image};
use hardpan_engine::{Tensor, enable_grad, functional as f, grad, no_grad};
use hardpan_nn::Forward;

/// How much each place of a picture speaks for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Number of columns.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Row by row, from 0 to 1; all 0 if nothing speaks for the class.
    pub values: Vec<f32>,
    /// The class.
    pub class: usize,
    /// Where on the picture the map lies, in shares of the picture's width and height: [`InputSpec::seen`](super::InputSpec::seen).
    pub part: CropBox,
}

impl HeatMap {
    /// The value at a place of the picture, given in shares of its width and height, between the centres of the map's cells along
    /// straight lines; 0 where the model saw nothing.
    pub fn at(&self, x: f64, y: f64) -> f32 {
        let (x, y) =
            ((x - self.part.left) / self.part.width, (y - self.part.top) / self.part.height);
        if !(0.0..=1.0).contains(&x) || !(0.0..=1.0).contains(&y) || self.values.is_empty() {
            return 0.0;
        }
        let cell = |share: f64, n: usize| {
            let at = (share * n as f64 - 0.5).clamp(0.0, (n - 1) as f64);
            let low = at.floor();
            (low as usize, (low as usize + 1).min(n - 1), (at - low) as f32)
        };
        let ((x0, x1, dx), (y0, y1, dy)) = (cell(x, self.width), cell(y, self.height));
        let row = |y: usize| {
            let of = |x: usize| self.values[y * self.width + x];
            of(x0) * (1.0 - dx) + of(x1) * dx
        };
        row(y0) * (1.0 - dy) + row(y1) * dy
    }

    /// The map laid over the picture it is of, in any size: `strength` (0 to 1) of red where the map is 1, of nothing where it is 0.
    pub fn over(&self, image: &Image, strength: f32) -> Image {
        let (w, h) = (image.width(), image.height());
        let mut out = image.clone().with_channels(3);
        for (i, pixel) in out.pixels_mut().chunks_exact_mut(3).enumerate() {
            let middle = |i: usize, n: usize| (i as f64 + 0.5) / n as f64;
            let heat = self.at(middle(i % w, w), middle(i / w, h));
            let share = (heat * strength).clamp(0.0, 1.0);
            for (p, colour) in pixel.iter_mut().zip([255.0, 32.0, 0.0]) {
                *p = (f32::from(*p) * (1.0 - share) + colour * share).round() as u8;
            }
        }
        out
    }
}

fn enlarge(map: &Tensor, height: usize, width: usize) -> Tensor {
    let options = f::InterpolateOptions {
        size: Some(vec![height, width]),
        mode: f::InterpolateMode::Linear,
        ..Default::default()
    };
    f::interpolate(map, options)
}

impl Predictor {
    /// What an answer rests on, for any model: [`grad_cam`](Predictor::grad_cam) where the model's features are maps, else
    /// [`occlusion`](Predictor::occlusion).
    ///
    /// ```no_run
    /// # use hardpan_vision::image::Image;
    /// # use hardpan_vision::predictor::Predictor;
    /// let predictor = Predictor::load("pets.hardpan")?;
    /// let cat = Image::open("cat.jpg")?;
    /// predictor.explain(&cat, None).over(&cat, 0.6).save_png("why.png")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such class.
    #[track_caller]
    pub fn explain(&self, image: &Image, class: Option<usize>) -> HeatMap {
        self.grad_cam(image, class).unwrap_or_else(|| self.occlusion(image, class))
    }

    /// How much less probable `class` (by default the most probable one) becomes when a place is covered with the mean colour, in squares
    /// of an eighth of the input's sides: the fall of the logarithm of its odds; places without which it is more probable count as 0. It works for every model and runs it 65 times. Source: Zeiler and Fergus 2013, <https://arxiv.org/abs/1311.2901>, section 4.2.
    ///
    /// # Panics
    /// If there is no such class.
    #[track_caller]
    pub fn occlusion(&self, image: &Image, class: Option<usize>) -> HeatMap {
        let x = self.input.tensor(std::slice::from_ref(image));
        let scores = |x: &Tensor| no_grad(|| self.model.forward(x));
        let whole = scores(&x);
        let class = chosen(&whole, class);
        let whole = log_odds(&whole, class)[0];
        let (height, width) = (x.size(2), x.size(3));
        let (rows, columns) = (height.min(SQUARES), width.min(SQUARES));
        let squares: Vec<usize> = (0..rows * columns).collect();
        let mut falls = Vec::with_capacity(squares.len());
        for chunk in squares.chunks(self.batch_size) {
            let seen = |i: usize, square: usize| {
                let covered = (i / width) * rows / height == square / columns
                    && (i % width) * columns / width == square % columns;
                f32::from(u8::from(!covered))
            };
            let masks = chunk.iter().flat_map(|&s| (0..height * width).map(move |i| seen(i, s)));
            let masks = Tensor::from_vec(masks.collect(), [chunk.len(), 1, height, width]);
            let covered = log_odds(&scores(&(&x * masks)), class);
            falls.extend(covered.into_iter().map(|odds| (whole - odds).max(0.0) as f32));
        }
        self.heat_map(image, &Tensor::from_vec(falls, [1, 1, rows, columns]), class)
    }

    /// Where the model sees `class` (by default the most probable one) in a picture, on the grid of the input. `None` if the model's
    /// features are no maps (`mlp`, vision transformers); see [`explain`](Predictor::explain).
    ///
    /// The gradient of the class's score with respect to the features, averaged over places, weighs the features' maps: Selvaraju et
    /// al., <https://arxiv.org/abs/1610.02391>, equations 1 and 2. The cut between body and head is the layer looked at.
    ///
    /// # Panics
    /// If there is no such class.
    #[track_caller]
    pub fn grad_cam(&self, image: &Image, class: Option<usize>) -> Option<HeatMap> {
        let x = self.input.tensor(std::slice::from_ref(image));
        let features = no_grad(|| self.model().body().forward(&x));
        if features.rank() != 4 {
            return None;
        }
        let features = features.detach().requires_grad();
        let scores = enable_grad(|| self.model().head().forward(&features));
        let class = chosen(&scores, class);
        let score = scores.select(1, class as isize).sum(..);
        let slope = grad(&score, &[&features]).remove(0);
        let map = (slope.mean_keepdim([2, 3]) * features.detach()).sum_keepdim(1);
        Some(self.heat_map(image, &f::relu(&map), class))
    }

    /// From values on any grid to a map of the input's size, 1 where it is largest.
    fn heat_map(&self, image: &Image, map: &Tensor, class: usize) -> HeatMap {
        let (height, width) = (self.input.pipeline.height, self.input.pipeline.width);
        let map = enlarge(map, height, width).to_vec::<f32>();
        let top = map.iter().copied().fold(0.0f32, f32::max);
        let scale = if top > 0.0 { 1.0 / top } else { 0.0 };
        let values = map.iter().map(|v| v * scale).collect();
        let part = self.input.seen(image.width(), image.height());
        let part = part.unwrap_or(CropBox { left: 0.0, top: 0.0, width: 1.0, height: 1.0 });
        HeatMap { width, height, values, class, part }
    }
}

/// Squares to a side of the input in [`Predictor::occlusion`].
const SQUARES: usize = 8;

/// The logarithm of the odds of a class for each row of scores `[N, classes]`. Unlike that of the probability it does not end at 0, so
/// that it also tells of answers that are beyond doubt.
fn log_odds(scores: &Tensor, class: usize) -> Vec<f64> {
    let of_row = |row: &[f64]| {
        let others = row.iter().enumerate().filter(|(c, _)| *c != class).map(|(_, s)| *s);
        let top = others.clone().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = others.map(|s| (s - top).exp()).sum();
        row[class] - if sum > 0.0 { top + sum.ln() } else { 0.0 }
    };
    scores.to_vec::<f64>().chunks(scores.size(-1)).map(of_row).collect()
}

/// The class that is asked for, or the most probable one.
#[track_caller]
fn chosen(scores: &Tensor, class: Option<usize>) -> usize {
    let classes = scores.size(-1);
    let class = class.unwrap_or_else(|| scores.argmax(-1).to_vec::<i64>()[0] as usize);
    assert!(class < classes, "explain: class {class} of {classes}");
    class
}
