//! What a model looks at: Grad-CAM.

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
    /// Where the model sees `class` (by default the most probable one) in a picture, on the grid of the input. `None` if the model's
    /// features are no maps (`mlp`, vision transformers).
    ///
    /// The gradient of the class's score with respect to the features, averaged over places, weighs the features' maps: Selvaraju et
    /// al., <https://arxiv.org/abs/1610.02391>, equations 1 and 2. The cut between body and head is the layer looked at.
    ///
    /// # Panics
    /// If there is no such class.
    #[track_caller]
    pub fn grad_cam(&self, image: &Image, class: Option<usize>) -> Option<HeatMap> {
        let x = self.input.tensor(std::slice::from_ref(image));
        let features = no_grad(|| self.model.body().forward(&x));
        if features.rank() != 4 {
            return None;
        }
        let features = features.detach().requires_grad();
        let scores = enable_grad(|| self.model.head().forward(&features));
        let classes = scores.size(-1);
        let class = class.unwrap_or_else(|| scores.argmax(-1).to_vec::<i64>()[0] as usize);
        assert!(class < classes, "grad_cam: class {class} of {classes}");
        let score = scores.select(1, class as isize).sum(..);
        let slope = grad(&score, &[&features]).remove(0);
        let map = (slope.mean_keepdim([2, 3]) * features.detach()).sum_keepdim(1);
        let (height, width) = (x.size(2), x.size(3));
        let map = enlarge(&f::relu(&map), height, width).to_vec::<f32>();
        let top = map.iter().copied().fold(0.0f32, f32::max);
        let scale = if top > 0.0 { 1.0 / top } else { 0.0 };
        let values = map.iter().map(|v| v * scale).collect();
        let part = self.input.seen(image.width(), image.height());
        let part = part.unwrap_or(CropBox { left: 0.0, top: 0.0, width: 1.0, height: 1.0 });
        Some(HeatMap { width, height, values, class, part })
    }
}
