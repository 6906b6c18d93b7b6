//! Printing, in exact strings.

use hardpan_engine::{DType, Tensor};

#[test]
fn numbers_and_vectors() {
    assert_eq!(Tensor::scalar(2.5f32).to_string(), "tensor(2.5000, shape=[], dtype=f32)");
    assert_eq!(Tensor::scalar(3i64).to_string(), "tensor(3, shape=[], dtype=i64)");
    let t = Tensor::from_slice(&[true, false], [2]);
    assert_eq!(t.to_string(), "tensor([ true, false], shape=[2], dtype=bool)");
    let t = Tensor::from_slice(&[0.0f32, f32::INFINITY, f32::NAN], [3]);
    assert_eq!(t.to_string(), "tensor([0., inf, nan], shape=[3], dtype=f32)");
    assert_eq!(format!("{t:?}"), t.to_string());
}

#[test]
fn empty_shapes_keep_their_sizes() {
    let t = Tensor::zeros_dtype([0, 3], DType::F16);
    assert_eq!(t.to_string(), "tensor([], shape=[0, 3], dtype=f16)");
}

#[test]
fn matrices_align() {
    let t = Tensor::from_slice(&[1.0f32, -2.5, 100.0, 0.125], [2, 2]);
    let want = "\
tensor([[  1.0000,  -2.5000],
        [100.0000,   0.1250]], shape=[2, 2], dtype=f32)";
    assert_eq!(t.to_string(), want);
    let want = "\
tensor([[[0, 1],
         [2, 3]],

        [[4, 5],
         [6, 7]]], shape=[2, 2, 2], dtype=i64)";
    assert_eq!(Tensor::iota(8).reshape([2, 2, 2]).to_string(), want);
}

#[test]
fn scientific_when_far_apart() {
    let t = Tensor::from_slice(&[1e-6f32, 1.0, -2e5], [3]);
    let want = "tensor([ 1.0000e-06,  1.0000e+00, -2.0000e+05], shape=[3], dtype=f32)";
    assert_eq!(t.to_string(), want);
}

#[test]
fn gradients_and_long_suffixes() {
    let t = Tensor::ones([2]).requires_grad();
    let want = "tensor([1., 1.], shape=[2], dtype=f32, requires_grad=true)";
    assert_eq!(t.to_string(), want);
    let t = Tensor::zeros([10, 10]).reshape([100]).requires_grad();
    let text = t.to_string();
    let want = "\
        0., 0., 0., 0., 0., 0., 0., 0., 0., 0.], shape=[100], dtype=f32,
       requires_grad=true)";
    assert!(text.ends_with(want), "{text}");
    assert!(text.lines().all(|l| l.len() <= 82), "{text}");
}

#[test]
fn large_tensors_are_summarized() {
    let want = "tensor([   0,    1,    2,  ..., 1998, 1999, 2000], shape=[2001], dtype=i64)";
    assert_eq!(Tensor::iota(2001).to_string(), want);
    let want = "\
tensor([[   0,    1,    2,  ...,   47,   48,   49],
        [  50,   51,   52,  ...,   97,   98,   99],
        [ 100,  101,  102,  ...,  147,  148,  149],
        ...,
        [2350, 2351, 2352,  ..., 2397, 2398, 2399],
        [2400, 2401, 2402,  ..., 2447, 2448, 2449],
        [2450, 2451, 2452,  ..., 2497, 2498, 2499]], shape=[50, 50], dtype=i64)";
    assert_eq!(Tensor::iota(2500).reshape([50, 50]).to_string(), want);
    // Only long dimensions are cut.
    let text = Tensor::iota(2004).reshape([2, 1002]).to_string();
    assert_eq!(text.matches("...").count(), 2, "{text}");
}
