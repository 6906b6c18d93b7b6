//! The same changes for a batch of tensors, on its device and in f32.

use super::Drawn;
use super::light::GREY;
use crate::data::BoxBatch;
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

    /// Moves the points of a batch `[N, points, 2]`, from -1 (left or upper edge) to 1 as [`PointBlock`](crate::data::PointBlock) has them, as
    /// [`apply_batch`](Drawn::apply_batch) moves the pictures of this width and height that they lie on.
    ///
    /// # Panics
    /// As [`apply_batch`](Drawn::apply_batch), or if there are no points of two coordinates.
    #[track_caller]
    pub fn apply_points(points: &Tensor, drawn: &[Drawn], size: (usize, usize)) -> Tensor {
        let &[n, count, 2] = points.shape() else {
            panic!("apply_points: expected [N, points, 2], got {:?}", points.shape())
        };
        assert!(n == drawn.len(), "apply_points: {n} items but {} draws", drawn.len());
        check_sideways(size, drawn);
        if drawn.iter().all(Drawn::stays_in_place) {
            return points.clone();
        }
        // As a row (x, y, 1), times the transposed matrix.
        let matrices: Vec<f32> = drawn
            .iter()
            .flat_map(|d| d.place_in(size).0.into_iter().flatten())
            .map(|v| v as f32)
            .collect();
        let matrices = Tensor::from_slice(&matrices, [n, 3, 3]);
        let rows = Tensor::cat(&[points.clone(), points.narrow(2, 0, 1).ones_like()], 2);
        let moved = rows.matmul(&matrices.mt());
        debug_assert_eq!(moved.shape(), [n, count, 3]);
        moved.narrow(2, 0, 2) / moved.narrow(2, 2, 1)
    }

    /// Moves the boxes of a batch alike: the smallest upright boxes around the moved corners, cut off at the edges. What is beyond them
    /// becomes background: an empty box of class 0.
    ///
    /// # Panics
    /// As [`apply_points`](Drawn::apply_points).
    #[track_caller]
    pub fn apply_boxes(batch: &BoxBatch, drawn: &[Drawn], size: (usize, usize)) -> BoxBatch {
        let &[n, count, 4] = batch.boxes.shape() else {
            panic!("apply_boxes: expected [N, boxes, 4], got {:?}", batch.boxes.shape())
        };
        // Left, top, right, bottom: which of them make the corners.
        let corner = |x: usize, y: usize| {
            Tensor::cat(&[batch.boxes.narrow(2, x, 1), batch.boxes.narrow(2, y, 1)], 2)
        };
        let corners = Tensor::cat(&[corner(0, 1), corner(2, 1), corner(0, 3), corner(2, 3)], 1);
        let moved = Drawn::apply_points(&corners, drawn, size).reshape([n, 4, count, 2]);
        let (low, high) = (moved.amin(1).clamp(-1.0, 1.0), moved.amax(1).clamp(-1.0, 1.0));
        let seen = (&high - &low).amin(2).gt(0.0);
        let boxes = Tensor::cat(&[low, high], 2);
        BoxBatch {
            boxes: boxes.where_(&seen.unsqueeze(2), &boxes.zeros_like()),
            labels: batch.labels.where_(&seen, &batch.labels.zeros_like()),
        }
    }

    /// Whether nothing changes its place.
    fn stays_in_place(&self) -> bool {
        self.dihedral == 0 && self.map == Homography::IDENTITY
    }

    /// Where places of a picture of this size go, in coordinates from -1 to 1 between its edges.
    fn place_in(&self, (w, h): (usize, usize)) -> Homography {
        // From new places to old ones, in pixels.
        let map = turned(self.dihedral).after(&self.map);
        let map = map.to_pixels((w, h), (w, h), self.align_corners());
        let to_pixels =
            Homography::scale_shift(w as f64 / 2.0, h as f64 / 2.0, w as f64 / 2.0, h as f64 / 2.0);
        let back = Homography::scale_shift(2.0 / w as f64, 2.0 / h as f64, -1.0, -1.0);
        let map = back.after(&map).after(&to_pixels);
        map.inverse().unwrap_or(Homography::IDENTITY)
    }

    #[track_caller]
    fn warp_batch(x: &Tensor, drawn: &[Drawn], mode: GridSampleMode) -> Tensor {
        let (n, h, w) = (x.shape()[0], x.shape()[2], x.shape()[3]);
        check_sideways((w, h), drawn);
        if drawn.iter().all(Drawn::stays_in_place) {
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

#[track_caller]
fn check_sideways((w, h): (usize, usize), drawn: &[Drawn]) {
    let sideways = |d: &Drawn| [3, 5, 6, 7].contains(&d.dihedral);
    assert!(
        h == w || !drawn.iter().any(sideways),
        "apply_batch: pictures of {w}x{h} cannot be turned on their side in one batch"
    );
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
