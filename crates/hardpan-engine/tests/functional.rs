//! `functional`: known values, gradients against finite differences, and the CPU against the reference device.

mod support;

use hardpan_engine::dev::reference::ReferenceDevice;
use hardpan_engine::dev::register_device;
use hardpan_engine::functional::{self as f, *};
use hardpan_engine::{DType, DeviceId, Tensor, grad, manual_seed, with_device};
use std::sync::OnceLock;
use support::{Numbers, check_gradient};

fn reference() -> DeviceId {
    static ID: OnceLock<DeviceId> = OnceLock::new();
    *ID.get_or_init(|| register_device(Box::new(ReferenceDevice::new())))
}

fn values(seed: u64, shape: &[usize]) -> Vec<f64> {
    Numbers(seed).vec(shape.iter().product())
}

fn tensor(seed: u64, shape: &[usize]) -> Tensor {
    Tensor::from_slice(&values(seed, shape), shape)
}

/// Runs `op` with gradients on both devices; the first output's gradient is that of a fixed weighted sum.
fn both_devices(name: &str, shapes: &[&[usize]], op: impl Fn(&[Tensor]) -> Tensor) {
    let run = |device| {
        with_device(device, || {
            let inputs: Vec<Tensor> = shapes
                .iter()
                .enumerate()
                .map(|(i, s)| tensor(i as u64 + 1, s).to_dtype(DType::F32).requires_grad())
                .collect();
            let y = op(&inputs);
            let weights = tensor(99, y.shape()).to_dtype(y.dtype());
            let loss = (&y * &weights).sum(..);
            let refs: Vec<&Tensor> = inputs.iter().collect();
            let mut all = vec![y.to_vec::<f64>()];
            all.extend(grad(&loss, &refs).iter().map(|g| g.to_vec::<f64>()));
            all
        })
    };
    let (cpu, slow) = (run(DeviceId::CPU), run(reference()));
    for (k, (a, b)) in cpu.iter().zip(&slow).enumerate() {
        assert_eq!(a.len(), b.len(), "{name}");
        for (i, (x, y)) in a.iter().zip(b).enumerate() {
            assert!(
                (x - y).abs() <= 1e-5 * (1.0 + y.abs()) || (x.is_nan() && y.is_nan()),
                "{name}: array {k}, element {i}: cpu {x}, reference {y}"
            );
        }
    }
}

type Case = (&'static str, Vec<&'static [usize]>, fn(&[Tensor]) -> Tensor);

fn cases() -> Vec<Case> {
    fn target(n: usize, classes: i64) -> Tensor {
        let t: Vec<i64> = (0..n as i64).map(|i| (i * 7 + 3) % classes).collect();
        Tensor::from_slice(&t, [n])
    }
    vec![
        ("gelu", vec![&[3, 5]], |x| f::gelu(&x[0])),
        ("silu", vec![&[3, 5]], |x| f::silu(&x[0])),
        ("mish", vec![&[7]], |x| f::mish(&x[0])),
        ("softplus", vec![&[7]], |x| f::softplus(&x[0], 2.0, 20.0)),
        ("glu", vec![&[3, 6]], |x| f::glu(&x[0], -1)),
        ("softmax", vec![&[3, 5]], |x| f::softmax(&x[0], 1)),
        ("log_softmax", vec![&[3, 5, 2]], |x| f::log_softmax(&x[0], 1)),
        ("conv1d same", vec![&[2, 3, 7], &[4, 3, 4], &[4]], |x| {
            let options = ConvOptions { padding: Padding::Same, ..Default::default() };
            f::conv1d(&x[0], &x[1], Some(&x[2]), options)
        }),
        ("conv2d", vec![&[2, 4, 6, 7], &[6, 2, 3, 2], &[6]], |x| {
            let options = ConvOptions {
                stride: [2, 1].into(),
                padding: 1.into(),
                dilation: [1, 2].into(),
                groups: 2,
            };
            f::conv2d(&x[0], &x[1], Some(&x[2]), options)
        }),
        ("conv3d dilated", vec![&[1, 1, 5, 5, 5], &[1, 1, 3, 3, 3]], |x| {
            let options = ConvOptions { dilation: 2.into(), ..Default::default() };
            f::conv3d(&x[0], &x[1], None, options)
        }),
        ("conv_transpose2d", vec![&[2, 4, 3, 4], &[4, 2, 3, 3], &[4]], |x| {
            let options = ConvTransposeOptions {
                stride: 2.into(),
                padding: 1.into(),
                output_padding: 1.into(),
                groups: 2,
                ..Default::default()
            };
            f::conv_transpose2d(&x[0], &x[1], Some(&x[2]), options)
        }),
        ("max_pool2d", vec![&[2, 3, 6, 8]], |x| f::max_pool2d(&x[0], 2, Default::default())),
        ("max_pool2d overlapping", vec![&[2, 3, 7, 8]], |x| {
            let options = MaxPoolOptions {
                stride: Some(2.into()),
                padding: 1.into(),
                ceil_mode: true,
                ..Default::default()
            };
            f::max_pool2d(&x[0], 3, options)
        }),
        ("avg_pool2d", vec![&[2, 3, 6, 8]], |x| f::avg_pool2d(&x[0], [2, 4], Default::default())),
        ("avg_pool2d padded", vec![&[2, 7, 8]], |x| {
            let options = AvgPoolOptions {
                stride: Some(2.into()),
                padding: 1.into(),
                count_include_pad: false,
                ceil_mode: true,
                ..Default::default()
            };
            f::avg_pool2d(&x[0], 3, options)
        }),
        ("adaptive_avg_pool2d", vec![&[2, 3, 7, 6]], |x| f::adaptive_avg_pool2d(&x[0], [3, 4])),
        ("adaptive_avg_pool2d one", vec![&[2, 3, 7, 6]], |x| f::adaptive_avg_pool2d(&x[0], 1)),
        ("adaptive_max_pool1d", vec![&[2, 3, 7]], |x| f::adaptive_max_pool1d(&x[0], 4)),
        ("adaptive_max_pool3d of its size", vec![&[1, 2, 3, 2, 4]], |x| {
            f::adaptive_max_pool3d(&x[0], [None, None, None])
        }),
        ("layer_norm", vec![&[4, 6], &[6], &[6]], |x| {
            f::layer_norm(&x[0], &[6], Some(&x[1]), Some(&x[2]), 1e-5)
        }),
        ("rms_norm", vec![&[4, 6], &[6]], |x| f::rms_norm(&x[0], &[6], Some(&x[1]), Some(1e-6))),
        ("group_norm", vec![&[2, 4, 3, 3], &[4], &[4]], |x| {
            f::group_norm(&x[0], 2, Some(&x[1]), Some(&x[2]), 1e-5)
        }),
        ("batch_norm", vec![&[3, 4, 2, 3], &[4], &[4]], |x| {
            let options = BatchNormOptions {
                weight: Some(&x[1]),
                bias: Some(&x[2]),
                training: true,
                ..Default::default()
            };
            f::batch_norm(&x[0], options).output
        }),
        ("instance_norm", vec![&[3, 4, 2, 3]], |x| {
            f::instance_norm(&x[0], BatchNormOptions { training: true, ..Default::default() })
                .output
        }),
        ("local_response_norm", vec![&[2, 5, 3]], |x| {
            f::local_response_norm(&x[0], 3, 0.5, 0.75, 1.0)
        }),
        ("normalize", vec![&[3, 4]], |x| f::normalize(&x[0], 3.0, 1, 1e-12)),
        ("cosine_similarity", vec![&[3, 4], &[3, 4]], |x| {
            f::cosine_similarity(&x[0], &x[1], 1, 1e-8)
        }),
        ("cross_entropy", vec![&[6, 5]], |x| f::cross_entropy(&x[0], &target(6, 5))),
        ("cross_entropy weighted", vec![&[6, 5], &[5]], |x| {
            let weight = x[1].abs() + 0.5;
            let options = CrossEntropyOptions {
                weight: Some(&weight.detach()),
                ignore_index: 2,
                label_smoothing: 0.1,
                ..Default::default()
            };
            f::cross_entropy_with(&x[0], &target(6, 5), options) + x[1].sum(..) * 0.0
        }),
        ("cross_entropy of probabilities", vec![&[4, 5, 2], &[4, 5, 2]], |x| {
            f::cross_entropy(&x[0], &f::softmax(&x[1], 1))
        }),
        ("nll_loss", vec![&[6, 5]], |x| {
            f::nll_loss(&f::log_softmax(&x[0], 1), &target(6, 5), Default::default())
        }),
        ("binary_cross_entropy", vec![&[6]], |x| {
            let t = f::sigmoid(&(tensor(5, &[6]) * 3.0)).to_dtype(x[0].dtype());
            f::binary_cross_entropy(&f::sigmoid(&x[0]), &t, None, Reduction::Mean)
        }),
        ("huber_loss", vec![&[9], &[9]], |x| f::huber_loss(&x[0], &x[1], Reduction::Sum, 0.5)),
        ("smooth_l1_loss", vec![&[9], &[9]], |x| {
            f::smooth_l1_loss(&x[0], &x[1], Reduction::Mean, 0.3)
        }),
        ("triplet_margin_loss", vec![&[4, 3], &[4, 3], &[4, 3]], |x| {
            let options = TripletOptions { swap: true, p: 3.0, ..Default::default() };
            f::triplet_margin_loss(&x[0], &x[1], &x[2], options)
        }),
        ("multilabel_margin_loss", vec![&[2, 4]], |x| {
            let t = Tensor::from_slice(&[3i64, 0, -1, 1, 2, -1, 0, 0], [2, 4]);
            f::multilabel_margin_loss(&x[0], &t, Reduction::Mean)
        }),
        ("interpolate bilinear", vec![&[1, 2, 4, 5]], |x| {
            let options = InterpolateOptions {
                size: Some(vec![7, 3]),
                mode: InterpolateMode::Linear,
                ..Default::default()
            };
            f::interpolate(&x[0], options)
        }),
        ("interpolate smooth", vec![&[1, 2, 8, 9]], |x| {
            let options = InterpolateOptions {
                size: Some(vec![3, 4]),
                mode: InterpolateMode::Bicubic,
                antialias: true,
                ..Default::default()
            };
            f::interpolate(&x[0], options)
        }),
        ("grid_sample", vec![&[1, 2, 4, 5], &[1, 3, 3, 2]], |x| {
            let mode = GridSampleMode::Bicubic;
            f::grid_sample(&x[0], &(&x[1] * 1.3), mode, GridPadding::Reflection, false)
        }),
        ("affine_grid", vec![&[2, 2, 3]], |x| f::affine_grid(&x[0], &[2, 1, 3, 4], false)),
        ("pad reflect", vec![&[2, 3, 4]], |x| f::pad(&x[0], &[3, 1], PadMode::Reflect)),
        ("pad circular", vec![&[2, 3, 4]], |x| f::pad(&x[0], &[3, -1], PadMode::Circular)),
        ("pad constant", vec![&[2, 3, 4]], |x| {
            f::pad(&x[0], &[-1, 2, 1, 0], PadMode::Constant(3.0))
        }),
        ("unfold", vec![&[1, 2, 5, 6]], |x| {
            let options = FoldOptions { stride: 2.into(), padding: 1.into(), ..Default::default() };
            f::unfold(&x[0], 3, options)
        }),
        ("fold", vec![&[1, 8, 12]], |x| f::fold(&x[0], [4, 5], 2, FoldOptions::default())),
        ("attention", vec![&[2, 4, 5], &[2, 3, 5], &[2, 3, 2]], |x| {
            let options = AttentionOptions { is_causal: true, ..Default::default() };
            f::scaled_dot_product_attention(&x[0], &x[1], &x[2], options)
        }),
        ("embedding", vec![&[5, 3]], |x| {
            let options = EmbeddingOptions { padding_idx: None, ..Default::default() };
            f::embedding(&Tensor::from_slice(&[0i64, 3, 3, 1], [2, 2]), &x[0], options)
        }),
        ("embedding_bag", vec![&[5, 3]], |x| {
            let (i, o) = (
                Tensor::from_slice(&[0i64, 3, 3, 1, 4], [5]),
                Tensor::from_slice(&[0i64, 2, 2], [3]),
            );
            let options =
                EmbeddingBagOptions { offsets: Some(&o), mode: BagMode::Max, ..Default::default() };
            f::embedding_bag(&i, &x[0], options)
        }),
        ("bilinear", vec![&[3, 2], &[3, 4], &[5, 2, 4], &[5]], |x| {
            f::bilinear(&x[0], &x[1], &x[2], Some(&x[3]))
        }),
        ("linear", vec![&[2, 3, 4], &[5, 4], &[5]], |x| f::linear(&x[0], &x[1], Some(&x[2]))),
    ]
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (name, shapes, op) in cases() {
        let inputs: Vec<Tensor> =
            shapes.iter().enumerate().map(|(i, s)| tensor(i as u64 + 1, s)).collect();
        if name == "embedding_bag" || name == "cross_entropy weighted" {
            continue; // ties of a maximum; a detached weight
        }
        check_gradient(name, &inputs, op);
    }
}

#[test]
fn the_cpu_agrees_with_the_reference_device() {
    for (name, shapes, op) in cases() {
        both_devices(name, &shapes, op);
    }
}

#[test]
fn the_first_of_equal_maxima_gets_the_gradient() {
    let x = Tensor::from_slice(&[1.0f32, 1.0, 1.0, 0.0, 2.0, 2.0], [1, 1, 6]).requires_grad();
    let options = MaxPoolOptions { stride: Some(2.into()), ..Default::default() };
    let (y, i) = f::max_pool1d_with_indices(&x, 3, options);
    assert_eq!(y.to_vec::<f32>(), [1.0, 2.0]);
    assert_eq!(i.to_vec::<i64>(), [0, 4]);
    y.sum(..).backward();
    assert_eq!(x.grad().unwrap().to_vec::<f32>(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn dropout_keeps_the_mean_and_repeats_its_mask_backward() {
    manual_seed(3);
    let x = Tensor::ones([4000]).requires_grad();
    let y = f::dropout(&x, 0.25, true);
    y.sum(..).backward();
    let (y, g) = (y.to_vec::<f32>(), x.grad().unwrap().to_vec::<f32>());
    assert_eq!(y, g);
    let kept = y.iter().filter(|v| **v != 0.0).count();
    assert!((2850..3150).contains(&kept), "{kept} of 4000 kept");
    assert!(y.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
    assert_eq!(f::dropout(&x, 0.25, false).to_vec::<f32>(), vec![1.0; 4000]);
    let channels = f::dropout2d(&Tensor::ones([2, 8, 3, 3]), 0.5, true).to_vec::<f32>();
    assert!(channels.chunks(9).all(|c| c.iter().all(|v| *v == c[0])));
}

#[test]
fn class_numbers_out_of_range_are_reported_or_make_the_loss_nan() {
    let x = tensor(1, &[2, 3]);
    let bad = Tensor::from_slice(&[0i64, 3], [2]);
    // Known, it is reported where it is used; computed, it makes the loss NaN.
    let said =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| f::cross_entropy(&x, &bad)));
    let said = *said.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("is out of range"), "{said}");
    assert!(f::cross_entropy(&x, &(&bad + 0)).item::<f64>().is_nan());
    let ignored = Tensor::from_slice(&[0i64, -100], [2]);
    assert!(f::cross_entropy(&x, &ignored).item::<f64>().is_finite());
}

#[test]
fn a_query_that_may_attend_to_nothing_gets_zeros() {
    let (q, k) = (tensor(1, &[2, 3]).requires_grad(), tensor(2, &[2, 3]));
    let mask = Tensor::from_slice(&[true, false, false, false], [2, 2]);
    let options = AttentionOptions { mask: Some(&mask), ..Default::default() };
    let y = f::scaled_dot_product_attention(&q, &k, &k, options);
    assert_eq!(y.to_vec::<f64>()[3..], [0.0; 3]);
    y.sum(..).backward();
    assert!(q.grad().unwrap().to_vec::<f64>().iter().all(|g| g.is_finite()));
}

#[test]
fn batch_norm_tracks_statistics() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 6.0], [4, 1]);
    let (mean, var) = (Tensor::zeros([1]), Tensor::ones([1]));
    let options = BatchNormOptions {
        running_mean: Some(&mean),
        running_var: Some(&var),
        training: true,
        ..Default::default()
    };
    let out = f::batch_norm(&x, options);
    // mean 3, unbiased variance 14 / 3
    assert!((out.running_mean.unwrap().item::<f32>() - 0.3).abs() < 1e-6);
    assert!((out.running_var.unwrap().item::<f32>() - (0.9 + 14.0 / 30.0)).abs() < 1e-6);
    assert!(out.output.sum(..).item::<f32>().abs() < 1e-5);
}

#[test]
fn padding_rows_of_an_embedding_get_no_gradient() {
    let w = tensor(1, &[3, 2]).requires_grad();
    let options = EmbeddingOptions { padding_idx: Some(-1), ..Default::default() };
    let y = f::embedding(&Tensor::from_slice(&[2i64, 0, 2], [3]), &w, options);
    assert_eq!(y.shape(), &[3, 2]);
    y.sum(..).backward();
    assert_eq!(w.grad().unwrap().to_vec::<f64>(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn pixels_go_to_channels_and_back() {
    let x = tensor(1, &[2, 8, 3, 2]);
    let y = f::pixel_shuffle(&x, 2);
    assert_eq!(y.shape(), &[2, 2, 6, 4]);
    assert_eq!(f::pixel_unshuffle(&y, 2).to_vec::<f64>(), x.to_vec::<f64>());
    assert_eq!(y.to_vec::<f64>()[1], x.to_vec::<f64>()[6]);
}

#[test]
fn ctc_of_one_step_is_the_score_of_its_label() {
    let x = f::log_softmax(&tensor(1, &[1, 1, 3]), 2);
    let target = Tensor::from_slice(&[2i64], [1, 1]);
    let loss = f::ctc_loss(&x, &target, &[1], &[1], CtcOptions::default());
    assert!((loss.item::<f64>() + x.to_vec::<f64>()[2]).abs() < 1e-9);
    // Two labels do not fit into one step.
    let long = Tensor::from_slice(&[2i64, 1], [1, 2]);
    let loss = f::ctc_loss(&x, &long, &[1], &[2], CtcOptions::default());
    assert_eq!(loss.item::<f64>(), f64::INFINITY);
}

#[test]
#[should_panic(expected = "has 3 channels")]
fn channels_that_do_not_fit() {
    f::conv2d(&Tensor::ones([1, 3, 4, 4]), &Tensor::ones([2, 4, 3, 3]), None, Default::default());
}

#[test]
fn max_pooling_agrees_with_its_definition_to_the_second_derivative() {
    manual_seed(5);
    let options =
        || f::MaxPoolOptions { stride: Some(2.into()), padding: 1.into(), ..Default::default() };
    let x0 = Tensor::randn([2, 3, 9, 8]).to_vec::<f32>();
    let run = || {
        let x = Tensor::from_slice(&x0, [2, 3, 9, 8]).requires_grad();
        let y = f::max_pool2d(&x, 3, options());
        let weights =
            Tensor::arange(0.0, y.numel() as f64, 1.0).to_dtype(DType::F32).reshape(y.shape());
        let dx = grad(&(&y * &y * &weights).sum(..), &[&x]).remove(0);
        let ddx = grad(&(&dx * &dx).sum(..), &[&x]).remove(0);
        [y, dx, ddx].map(|t| t.to_vec::<f32>())
    };
    let (kernel, parts) = (run(), hardpan_engine::graph::in_parts(run));
    assert_eq!(kernel[0], parts[0]);
    for (a, b) in kernel.iter().zip(&parts).flat_map(|(a, b)| a.iter().zip(b)) {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} and {b}");
    }
}
