//! Max pooling with windows at places drawn by chance.

use super::spatial::check_rank;
use super::{DType, Spatial, Tensor, beside, floor, iota_along};
use std::panic::Location;

/// The largest elements, and their row-major places (i64) in the spatial dimensions.
#[track_caller]
fn fractional_max_pool(
    op: &str,
    n: usize,
    x: &Tensor,
    kernel: Spatial,
    out: Spatial,
    samples: Option<&Tensor>,
) -> (Tensor, Tensor) {
    let at = Location::caller();
    check_rank(op, x, n);
    let lead = x.rank() - n;
    let (k, out) = (kernel.fit(op, "kernel size", n), out.fit(op, "output size", n));
    let size = &x.shape()[lead..];
    for d in 0..n {
        assert!(
            k[d] > 0 && out[d] > 0 && out[d] + k[d] <= size[d] + 1,
            "{op}: {} windows of {} do not fit into dimension {} of size {} (shape {:?}); at most {} do",
            out[d],
            k[d],
            lead + d,
            size[d],
            x.shape(),
            (size[d] + 1).saturating_sub(k[d])
        );
    }
    let planes: usize = x.shape()[..lead].iter().product();
    let dtype = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let samples = match samples {
        Some(s) => {
            assert!(
                s.numel() == planes * n && s.size(-1) == n,
                "{op}: samples of shape [N, C, {n}] were expected for an input {:?}, got {:?}",
                x.shape(),
                s.shape()
            );
            s.to_dtype(dtype)
        }
        None => beside(x, || Tensor::rand([planes, n])).to_dtype(dtype),
    };
    let samples = samples.reshape([planes, n]);
    // [planes, out.., kernel..]: places, from the sum of each dimension's own.
    let mut place: Option<Tensor> = None;
    for d in 0..n {
        // PyTorch reads the two numbers of a plane as (width, height), but the three of a volume in order.
        let sample = samples.narrow(1, if n == 2 { 1 - d } else { d }, 1);
        let starts = starts(&sample, size[d], k[d], out[d]);
        let stride: usize = size[d + 1..].iter().product();
        let mut shape = vec![1usize; 1 + 2 * n];
        (shape[0], shape[1 + d]) = (planes, out[d]);
        let own = starts.reshape(&shape[..]) + iota_along(x, k[d], 1 + n + d, 1 + 2 * n);
        let own = own * stride as i64;
        place = Some(match place {
            Some(p) => p + own,
            None => own,
        });
    }
    let place = place.expect("at least one dimension");
    let (windows, inside): (usize, usize) = (out.iter().product(), k.iter().product());
    let place = place.reshape([planes, windows * inside]);
    let flat = x.reshape([planes, size.iter().product()]);
    let (values, best) = flat.gather(1, &place).reshape([planes, windows, inside]).max_dim(-1);
    let places = place.reshape([planes, windows, inside]).gather(-1, &best.unsqueeze(-1));
    let mut shape = x.shape()[..lead].to_vec();
    shape.extend(&out);
    (values.prim_reshape(&shape, at), places.reshape(&shape[..]))
}

/// Where the windows of each plane begin, `[planes, out]` (i64): about evenly spread, shifted by the sample, the last at the end.
fn starts(sample: &Tensor, size: usize, kernel: usize, out: usize) -> Tensor {
    let planes = sample.size(0);
    let last = (size - kernel) as i64;
    let end = beside(sample, || Tensor::full_dtype([planes, 1], last, DType::I64));
    if out == 1 {
        return end;
    }
    let step = last as f64 / (out - 1) as f64;
    let i = iota_along(sample, out - 1, 1, 2).to_dtype(sample.dtype());
    let first = floor(&((i + sample) * step)) - floor(&(sample * step));
    Tensor::cat(&[first.to_dtype(DType::I64), end], 1)
}

macro_rules! fractional_pools {
    ($($n:literal $name:ident $with:ident $input:literal),*) => {$(
        #[doc = concat!("The largest element of each of `out` windows of `", $input, "` (with or without N), whose places are drawn by chance:")]
        /// about evenly spread, so that sizes may shrink by less than 2, and other ones for every channel of every item.
        ///
        #[doc = concat!("`samples: [N, C, ", stringify!($n), "]` within `0..1` say where they lie; without, they come from the generator (`manual_seed`).")]
        #[doc = concat!("Counterpart: `torch.nn.functional.", stringify!($name), "`; Graham, <https://arxiv.org/abs/1412.6071>.")]
        ///
        /// # Panics
        /// When a dimension has no room for so many windows.
        #[track_caller]
        pub fn $name(
            x: &Tensor,
            kernel: impl Into<Spatial>,
            out: impl Into<Spatial>,
            samples: Option<&Tensor>,
        ) -> Tensor {
            $with(x, kernel, out, samples).0
        }

        #[doc = concat!("As [`", stringify!($name), "`], with the row-major places (i64) of the elements in the spatial dimensions.")]
        #[track_caller]
        pub fn $with(
            x: &Tensor,
            kernel: impl Into<Spatial>,
            out: impl Into<Spatial>,
            samples: Option<&Tensor>,
        ) -> (Tensor, Tensor) {
            fractional_max_pool(stringify!($name), $n, x, kernel.into(), out.into(), samples)
        }
    )*};
}
fractional_pools! {
    2 fractional_max_pool2d fractional_max_pool2d_with_indices "[N, C, H, W]",
    3 fractional_max_pool3d fractional_max_pool3d_with_indices "[N, C, D, H, W]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::from_vec((0..n).map(|i| (i as f64 * 0.7).sin()).collect(), shape)
    }

    /// PyTorch 2.15 on the same samples.
    #[test]
    fn places_are_pytorchs() {
        let samples =
            Tensor::from_vec(vec![0.1f64, 0.6, 0.35, 0.9, 0.75, 0.2, 0.05, 0.5], [2, 2, 2]);
        let x = wave(&[2, 2, 7, 9]).requires_grad();
        let (y, places) =
            fractional_max_pool2d_with_indices(&x, [2usize, 3], [3usize, 4], Some(&samples));
        let expected = [
            11i64, 11, 4, 17, 38, 38, 31, 44, 56, 56, 49, 62, 11, 11, 4, 17, 29, 29, 22, 35, 47,
            47, 49, 62, 2, 2, 4, 17, 29, 29, 31, 44, 47, 47, 49, 62, 2, 2, 4, 17, 20, 20, 22, 35,
            47, 47, 49, 62,
        ];
        assert_eq!((y.shape(), places.to_vec::<i64>()), (&[2, 2, 3, 4][..], expected.to_vec()));
        // An element that is the largest of two windows gets the gradient of both.
        y.sum(..).backward();
        let grad = x.grad().unwrap().to_vec::<f64>();
        assert_eq!((grad[11], grad[4], grad[0], grad.iter().sum()), (2.0, 1.0, 0.0, 48.0));
        let samples = Tensor::from_vec(vec![0.1f64, 0.6, 0.3, 0.35, 0.9, 0.8], [1, 2, 3]);
        let (y, places) = fractional_max_pool3d_with_indices(
            &wave(&[1, 2, 5, 6, 7]),
            2,
            [2usize, 3, 4],
            Some(&samples),
        );
        let expected = [
            1i64, 2, 11, 47, 56, 65, 66, 20, 29, 38, 74, 83, 127, 128, 137, 173, 182, 191, 192,
            146, 155, 164, 164, 209, 8, 44, 53, 54, 63, 17, 17, 26, 35, 79, 80, 34, 169, 178, 178,
            132, 141, 142, 151, 187, 196, 205, 206, 160,
        ];
        assert_eq!((y.shape(), places.to_vec::<i64>()), (&[1, 2, 2, 3, 4][..], expected.to_vec()));
    }

    #[test]
    fn without_samples_every_plane_has_its_own_places() {
        let x = wave(&[1, 1, 20, 20]).expand([1, 64, 20, 20]);
        let places = fractional_max_pool2d_with_indices(&x, 2, 13, None).1.to_vec::<i64>();
        let first = &places[..169];
        assert!(places.chunks(169).any(|p| p != first));
    }
}
