//! What a model looks at: Grad-CAM.

use super::Predictor;
use crate::image::Image;
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
}

impl HeatMap {
    /// The map laid over a picture of any size: `strength` (0 to 1) of red where the map is 1, of nothing where it is 0.
    pub fn over(&self, image: &Image, strength: f32) -> Image {
        let (w, h) = (image.width(), image.height());
        let map = Tensor::from_slice(&self.values, [1, 1, self.height, self.width]);
        let map = enlarge(&map, h, w).to_vec::<f32>();
        let mut out = image.clone().with_channels(3);
        for (pixel, heat) in out.pixels_mut().chunks_exact_mut(3).zip(map) {
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
        Some(HeatMap { width, height, values, class })
    }
}
