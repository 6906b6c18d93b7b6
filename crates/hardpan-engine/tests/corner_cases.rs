//! What is easily forgotten: empty tensors, bools and integers, repeated indices. Expected values are PyTorch 2.15's.

use hardpan_engine::functional::{self as f, BatchNormOptions};
use hardpan_engine::tensor::linalg::MatrixNorm;
use hardpan_engine::{DType, Tensor};

fn empty(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape)
}

fn ints(v: &[i64]) -> Tensor {
    Tensor::from_slice(v, [v.len()])
}

fn bools(v: &[bool]) -> Tensor {
    Tensor::from_slice(v, [v.len()])
}

#[track_caller]
fn is_i64(t: Tensor, want: &[i64]) {
    assert_eq!((t.dtype(), t.to_vec::<i64>()), (DType::I64, want.to_vec()));
}

#[track_caller]
fn is_f32(t: Tensor, want: &[f32]) {
    assert_eq!((t.dtype(), t.to_vec::<f32>()), (DType::F32, want.to_vec()));
}

#[track_caller]
fn is_bool(t: Tensor, want: &[bool]) {
    assert_eq!((t.dtype(), t.to_vec::<bool>()), (DType::Bool, want.to_vec()));
}

#[test]
fn norms_of_nothing() {
    for p in [0.0, 1.0, 2.0, 3.0] {
        is_f32(empty(&[0]).norm(p, ..), &[0.0]);
    }
    is_f32(empty(&[0, 3]).norm(2.0, 0), &[0.0; 3]);
    is_f32(empty(&[0, 3]).norm(2.0, 1), &[]);
    is_f32(empty(&[3, 0]).norm(f64::INFINITY, 0), &[]);
    for shape in [[0, 0], [0, 3], [3, 0]] {
        for ord in [
            MatrixNorm::Frobenius,
            MatrixNorm::Nuclear,
            MatrixNorm::One,
            MatrixNorm::Two,
            MatrixNorm::Infinity,
        ] {
            is_f32(empty(&shape).matrix_norm(ord, [-2, -1]), &[0.0]);
        }
    }
    is_f32(empty(&[2, 3, 0]).matrix_norm(MatrixNorm::Two, [-2, -1]), &[0.0; 2]);
}

#[test]
fn batch_norms_of_nothing() {
    let (zeros, ones) = (Tensor::zeros([3]), Tensor::ones([3]));
    for training in [true, false] {
        let options = BatchNormOptions {
            running_mean: Some(&zeros),
            running_var: Some(&ones),
            training,
            ..Default::default()
        };
        assert_eq!(f::batch_norm(&empty(&[0, 3]), options).output.shape(), [0, 3]);
    }
    let training = BatchNormOptions { training: true, ..Default::default() };
    assert_eq!(f::batch_norm(&empty(&[0]), training.clone()).output.shape(), [0]);
    assert_eq!(f::batch_norm(&empty(&[2, 0]), training).output.shape(), [2, 0]);
}

#[test]
fn filling_an_index_twice_gives_its_gradient_once() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]).requires_grad();
    let value = Tensor::scalar(9.0f32).requires_grad();
    let weights = Tensor::from_slice(&[1.0f32, 10.0, 100.0, 1000.0, 1e4, 1e5], [3, 2]);
    let y = x.index_fill(0, &ints(&[2, 0, 2]), &value);
    assert_eq!(y.to_vec::<f32>(), [9.0, 9.0, 3.0, 4.0, 9.0, 9.0]);
    (y * weights).sum(..).backward();
    assert_eq!(value.grad().unwrap().item::<f32>(), 110_011.0);
    assert_eq!(x.grad().unwrap().to_vec::<f32>(), [0.0, 0.0, 100.0, 1000.0, 0.0, 0.0]);
    is_i64(ints(&[1, 2, 3]).index_fill(-1, &ints(&[1]), 7), &[1, 7, 3]);
}

#[test]
fn integers() {
    let (i, j) = (ints(&[-7, 7]), ints(&[2, -2]));
    is_i64(i.floor_divide(&j), &[-4, -4]);
    is_i64(i.remainder(&j), &[1, -1]);
    is_i64(i.fmod(&j), &[-1, 1]);
    is_f32(&ints(&[-7, 7, 5]) / ints(&[2, -2, 0]), &[-3.5, -3.5, f32::INFINITY]);
    is_f32(i.floor_divide(2.0), &[-4.0, 3.0]);
    is_i64(ints(&[2, 3]).pow(ints(&[3, 0])), &[8, 1]);
    is_i64(i.pow(2), &[49, 49]);
    is_f32(ints(&[-7, 7, 5]).clamp(-1, 2.5), &[-1.0, 2.5, 2.5]);
    is_f32(ints(&[-7, 7, 5]).remainder(2.5), &[0.5, 2.0, 0.0]);
    is_i64(ints(&[-7, 7, 5]).relu(), &[0, 7, 5]);
    is_i64(ints(&[-7, 7, 5]).round(), &[-7, 7, 5]);
    is_i64(ints(&[-7, 7, 5]).median(), &[5]);
    let byte = Tensor::from_slice(&[200u8], [1]) + 100;
    assert_eq!((byte.dtype(), byte.to_vec::<u8>()), (DType::U8, vec![44]));
    let small = Tensor::from_slice(&[100i8, -128], [2]);
    assert_eq!((&small * 2).to_vec::<i8>(), [-56, 0]);
    assert_eq!(small.abs().to_vec::<i8>(), [100, -128]);
}

#[test]
fn truths() {
    let b = bools(&[true, false, true]);
    is_i64(b.sum(..), &[2]);
    is_i64(b.cumsum(0), &[1, 1, 2]);
    is_i64(b.cumprod(0), &[1, 0, 0]);
    is_i64(b.prod(..), &[0]);
    is_bool(&b + &b, &[true, false, true]);
    is_bool(&b * &b, &[true, false, true]);
    is_bool(b.max(), &[true]);
    is_bool(b.any(..), &[true]);
    is_bool(b.maximum(&b), &[true, false, true]);
    is_bool(b.sort(0, false).0, &[false, true, true]);
    is_bool(b.sign(), &[true, false, true]);
    is_bool(ints(&[-7, 7, 0]).logical_xor(&b), &[false, true, true]);
    is_bool(Tensor::from_slice(&[0.0f32, f32::NAN], [2]).to_dtype(DType::Bool), &[false, true]);
    is_i64(Tensor::cat(&[&b, &bools(&[true])], 0).to_dtype(DType::I64), &[1, 0, 1, 1]);
    let mixed = Tensor::cat(&[b.clone(), ints(&[-7, 7, 5])], 0);
    is_i64(mixed, &[1, 0, 1, -7, 7, 5]);
    let ratio = (&b / &b).to_vec::<f32>();
    assert!(ratio[0] == 1.0 && ratio[1].is_nan());
    is_i64(b.nonzero(), &[0, 2]);
}

/// What has no answer says so, with the way out.
#[test]
fn what_integers_and_truths_cannot_do() {
    let message = |run: &dyn Fn()| {
        let error = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
        let text = error.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| error.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
    };
    let b = bools(&[true, false]);
    assert!(message(&|| drop(&b - &b)).contains("bool"));
    assert!(message(&|| drop(-&b)).contains("bool"));
    assert!(message(&|| drop(ints(&[2, 3]).pow(-1))).contains("negative"));
}

#[test]
fn activations_far_out() {
    let x = Tensor::from_slice(&[f32::NEG_INFINITY, -1e20, -100.0, 0.0, f32::INFINITY], [5]);
    for y in [f::silu(&x), f::hardswish(&x)] {
        let y = y.to_vec::<f32>();
        assert!(y[0].is_nan(), "-inf * 0");
        assert_eq!(y[1..], [0.0, 0.0, 0.0, f32::INFINITY]);
    }
    let x = Tensor::from_slice(&[-1e20f32, -200.0, 0.0], [3]).requires_grad();
    f::silu(&x).sum(..).backward();
    is_f32(x.grad().unwrap(), &[0.0, 0.0, 0.5]);
}

#[test]
fn negative_numbers_beside_bytes() {
    let bytes = Tensor::from_slice(&[0u8, 6, 255], [3]);
    is_f32(&bytes / -3, &[-0.0, -2.0, -85.0]);
    is_f32(bytes.copysign(-1), &[-0.0, -6.0, -255.0]);
    for limited in [bytes.clamp_min(-3), bytes.clamp_max(300), bytes.clamp(-3, 1000)] {
        assert_eq!(limited.to_vec::<u8>(), [0, 6, 255]);
    }
    assert_eq!(bytes.clamp(-3, 7).to_vec::<u8>(), [0, 6, 7]);
}

#[test]
fn shifts_past_the_end() {
    let x = ints(&[9, -9]);
    for places in [-1, 64, 1000] {
        is_i64(x.bitwise_right_shift(places), &[0, -1]);
        is_i64(x.bitwise_left_shift(places), &[0, 0]);
    }
    is_i64(x.bitwise_right_shift(1), &[4, -5]);
}

#[test]
fn whole_ranges_of_fractions() {
    is_i64(Tensor::arange_dtype(2.1, -2.9, -1.0, DType::I64), &[2, 1, 0, -1, -2]);
    is_i64(Tensor::arange_dtype(0, 5, 1.5, DType::I64), &[0, 1, 2, 3]);
    is_i64(Tensor::arange_dtype(0.0, -8.000001, -4.0, DType::I64), &[0, -4, -8]);
}

#[test]
fn outer_products_of_truths() {
    let (a, b) = (bools(&[true, false]), bools(&[true, false, true]));
    is_bool(a.outer(&b), &[true, false, true, false, false, false]);
    let base = bools(&[false, true, false]);
    is_bool(base.addr(&a, &b, 3, 2), &[true, true, true, false, true, false]);
    is_bool(base.addr(&a, &b, 0, 2), &[true, false, true, false, false, false]);
    is_bool(base.addr(&a, &b, 1, 0), &[false, true, false, false, true, false]);
}

#[test]
fn slices_in_lexicographic_order() {
    let x = Tensor::from_slice(&[0i64, 0, 1, 0, 0, 1, 0, 0], [2, 2, 2]);
    is_i64(x.unique(Some(-1)).values, &[0, 0, 0, 1, 1, 0, 0, 0]);
}

#[test]
fn weights_decide_the_dtype_of_a_covariance() {
    let x = Tensor::ones([2, 3]).to_dtype(DType::F16);
    assert_eq!(x.cov(1.0, None, Some(&Tensor::ones([3]))).dtype(), DType::F32);
    assert_eq!(x.cov(1.0, Some(&ints(&[1, 2, 3])), None).dtype(), DType::F16);
}

#[test]
fn nan_against_a_number() {
    let a = Tensor::from_slice(&[f32::NAN, 1.0, 2.0, 5.0], [4]).requires_grad();
    let b = Tensor::from_slice(&[1.0, f32::NAN, 2.0, 4.0], [4]).requires_grad();
    a.maximum(&b).sum(..).backward();
    is_f32(a.grad().unwrap(), &[1.0, 1.0, 0.5, 1.0]);
    is_f32(b.grad().unwrap(), &[1.0, 1.0, 0.5, 0.0]);
}

/// A factor that leaves the size as it is still moves the nearest places, but not in two dimensions, and not in linear modes.
#[test]
fn resized_to_the_same_size() {
    let resized = |x: &Tensor, mode| {
        let scale_factor = Some(vec![1.2]);
        f::interpolate(x, f::InterpolateOptions { scale_factor, mode, ..Default::default() })
    };
    let row = Tensor::from_slice(&[0.0f32, 1.0, 2.0, 3.0], [1, 1, 4]);
    is_f32(resized(&row, f::InterpolateMode::Nearest), &[0.0, 0.0, 1.0, 2.0]);
    is_f32(resized(&row, f::InterpolateMode::Linear), &[0.0, 1.0, 2.0, 3.0]);
    let image = row.reshape([1, 1, 1, 4]);
    is_f32(resized(&image, f::InterpolateMode::Nearest), &[0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn a_volume_sampled_where_it_is() {
    let x = Tensor::arange(0, 24, 1).to_dtype(DType::F32).reshape([1, 1, 2, 3, 4]);
    let same = [1.0f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let grid = f::affine_grid(&Tensor::from_slice(&same, [1, 3, 4]), x.shape(), false);
    let (mode, padding) = (f::GridSampleMode::Bicubic, f::GridPadding::Border);
    let y = f::grid_sample(&x, &grid, mode, padding, false);
    assert!((y - x).abs().max().item::<f32>() < 1e-4);
}
