//! The same changes for a batch of tensors, on its device and in f32.

use super::Drawn;
use super::light::GREY;
use crate::image::Padding;
use crate::plane::Homography;
use hardpan_engine::Tensor;
use hardpan_engine::functional::{GridPadding, GridSampleMode, grid_sample};

impl Drawn {
    /// Changes a batch `[N, C, H, W]` with values from 0 to 1, item `i` as `drawn[i]` says, as part of the graph: one grid sampling for
    /// all changes of place, one fused pass for all changes of light. Erasing is left to [`apply`](Drawn::apply).
    ///
    /// # Panics
    /// If there are not equally many, or an item is turned on its side and not square.
    #[track_caller]
    pub fn apply_batch(x: &Tensor, drawn: &[Drawn]) -> Tensor {
        let &[n, c, h, w] = x.shape() else {
            panic!("apply_batch: expected [N, C, H, W], got {:?}", x.shape())
        };
        assert!(n == drawn.len(), "apply_batch: {n} items but {} draws", drawn.len());
        let y = Drawn::warp_batch(x, drawn, GridSampleMode::Bilinear);
        let column = |f: &dyn Fn(&Drawn) -> f64| {
            let v: Vec<f32> = drawn.iter().map(|d| f(d) as f32).collect();
            Tensor::from_slice(&v, [n, 1, 1, 1])
        };
        let any = |f: &dyn Fn(&Drawn) -> bool| drawn.iter().any(f);
        let mut y = y;
        if any(&|d| {
            d.light.brightness != 0.0 || d.light.contrast != 1.0 || d.light.saturation != 1.0
        }) {
            let logits = y.logit(Some(1e-7));
            let mut z = (logits + column(&|d| d.light.brightness)) * column(&|d| d.light.contrast);
            if c == 3 && any(&|d| d.light.saturation != 1.0) {
                let weights = Tensor::from_slice(&GREY.map(|w| w as f32), [1, 3, 1, 1]);
                let grey = (&z * weights).sum_keepdim(1);
                let s = column(&|d| d.light.saturation);
                z = &z * &s + grey * (1.0 - s);
            }
            y = z.sigmoid();
        }
        if c == 3 && any(&|d| d.light.hue != 0.0) {
            y = turn_hue(&y, &column(&|d| d.light.hue));
        }
        let _ = (h, w);
        y
    }

    /// Changes masks `[N, H, W]` of i64 alike: each pixel the class of the nearest one.
    ///
    /// # Panics
    /// As [`apply_batch`](Drawn::apply_batch).
    #[track_caller]
    pub fn apply_masks(masks: &Tensor, drawn: &[Drawn]) -> Tensor {
        let x = masks.unsqueeze(1).to_dtype(hardpan_engine::DType::F32);
        let y = Drawn::warp_batch(&x, drawn, GridSampleMode::Nearest);
        y.squeeze(1).to_dtype(hardpan_engine::DType::I64)
    }

    #[track_caller]
    fn warp_batch(x: &Tensor, drawn: &[Drawn], mode: GridSampleMode) -> Tensor {
        let (n, h, w) = (x.shape()[0], x.shape()[2], x.shape()[3]);
        let sideways = |d: &Drawn| [3, 5, 6, 7].contains(&d.dihedral);
        assert!(
            h == w || !drawn.iter().any(sideways),
            "apply_batch: pictures of {w}x{h} cannot be turned on their side in one batch"
        );
        if drawn.iter().all(|d| d.dihedral == 0 && d.map == Homography::IDENTITY) {
            return x.clone();
        }
        let align = drawn[0].align_corners();
        // A new place, as a row (x, y, 1), times the transposed matrix.
        let line = |n: usize| -> Vec<f32> {
            let at = |i: usize| match align {
                _ if n == 1 => 0.0,
                true => -1.0 + 2.0 * i as f32 / (n as f32 - 1.0),
                false => (2.0 * i as f32 + 1.0) / n as f32 - 1.0,
            };
            (0..n).map(at).collect()
        };
        let (xs, ys) = (line(w), line(h));
        let places: Vec<f32> =
            ys.iter().flat_map(|y| xs.iter().flat_map(move |x| [*x, *y, 1.0])).collect();
        let matrices: Vec<f32> = drawn
            .iter()
            .flat_map(|d| turned(d.dihedral).after(&d.map).0.into_iter().flatten())
            .map(|v| v as f32)
            .collect();
        let places = Tensor::from_slice(&places, [1, h * w, 3]);
        let matrices = Tensor::from_slice(&matrices, [n, 3, 3]);
        let moved = places.matmul(&matrices.mt());
        let grid = moved.narrow(2, 0, 2) / moved.narrow(2, 2, 1);
        let padding = match drawn[0].padding() {
            Padding::Zeros => GridPadding::Zeros,
            Padding::Border => GridPadding::Border,
            Padding::Reflection => GridPadding::Reflection,
        };
        grid_sample(x, &grid.reshape([n, h, w, 2]), mode, padding, align)
    }
}

/// Where the pixels of a picture turned by `k` come from, in coordinates from -1 to 1.
fn turned(k: usize) -> Homography {
    let x = if [1, 3, 4, 7].contains(&k) { -1.0 } else { 1.0 };
    let y = if [2, 4, 5, 7].contains(&k) { -1.0 } else { 1.0 };
    match [3, 5, 6, 7].contains(&k) {
        true => Homography::affine([0.0, x, 0.0], [y, 0.0, 0.0]),
        false => Homography::affine([x, 0.0, 0.0], [0.0, y, 0.0]),
    }
}

/// As for bytes: through HSV and back, where each channel is a trapezoid of the hue.
fn turn_hue(rgb: &Tensor, by: &Tensor) -> Tensor {
    let channel = |k: usize| rgb.narrow(1, k, 1);
    let (r, g, b) = (channel(0), channel(1), channel(2));
    let max = r.maximum(&g).maximum(&b);
    let min = r.minimum(&g).minimum(&b);
    let range = &max - &min;
    let safe = range.ones_like().where_(&range.eq(0.0), &range);
    let red = (&g - &b) / &safe;
    let green = (&b - &r) / &safe + 2.0;
    let blue = (&r - &g) / &safe + 4.0;
    let hue = red.where_(&r.eq(&max), green.where_(&g.eq(&max), &blue));
    let turned = hue / 6.0 + by;
    let h = (&turned - turned.floor()) * 6.0;
    let out: Vec<Tensor> = [5.0, 3.0, 1.0]
        .into_iter()
        .map(|offset| {
            let k = &h + offset;
            let k = &k - (&k / 6.0).floor() * 6.0;
            let share = k.minimum(&(4.0 - &k)).clamp(0.0, 1.0);
            &max - &range * share
        })
        .collect();
    Tensor::cat(&out, 1)
}
