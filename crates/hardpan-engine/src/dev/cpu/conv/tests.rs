//! The fast convolutions against their definitions.
use super::winograd::{Choice, with_choice};
use super::*;
use crate::dev::cpu::isa::{available, has_bf16_dots, with_bf16_dots, with_isa};
use crate::dev::cpu::pool::set_threads;
use proptest::prelude::*;
use proptest::sample::select;

fn values(len: usize, seed: u64, whole: bool) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let bits = state >> 33;
            // Whole numbers make every order of summing exact; fractions show the order.
            if whole { (bits % 9) as f32 - 4.0 } else { bits as f32 / (1u64 << 30) as f32 - 1.0 }
        })
        .collect()
}

/// Per axis: out size, kernel, stride, dilation, padding before, and extra input (unused trailing
/// elements, or padding after when negative).
type AxisCase = (usize, usize, usize, usize, usize, isize);

fn axis(max_out: usize) -> impl Strategy<Value = AxisCase> {
    (1..=max_out, 1usize..5, 1usize..4, 1usize..4, 0usize..5, -4isize..4)
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let channels = select(vec![1usize, 2, 3, 5, 8, 16, 17, 33]);
    (1usize..4, 1usize..4, channels.clone(), channels, [axis(3), axis(9), axis(20)], 1usize..4)
        .prop_map(|(batch, groups, from, to, axes, dims)| {
            let mut shape = ConvShape {
                batch,
                groups,
                in_channels: from * groups,
                out_channels: to * groups,
                in_dims: [1; 3],
                out_dims: [1; 3],
                kernel: [1; 3],
                stride: [1; 3],
                padding_lo: [0; 3],
                dilation: [1; 3],
            };
            for (axis, case) in axes.into_iter().enumerate().skip(3 - dims) {
                let (out, kernel, stride, dilation, padding, extra) = case;
                let reach = ((out - 1) * stride + (kernel - 1) * dilation + 1) as isize;
                shape.in_dims[axis] = (reach - padding as isize + extra).max(1) as usize;
                shape.out_dims[axis] = out;
                shape.kernel[axis] = kernel;
                shape.stride[axis] = stride;
                shape.dilation[axis] = dilation;
                shape.padding_lo[axis] = padding;
            }
            shape
        })
        .prop_filter("keep the definition quick", |shape| shape.flops() < 2e6)
}

/// All three results by the fast kernels, without tiles, so that whole numbers are exact. NaN shows an element that is not overwritten.
fn fast(shape: &ConvShape, x: &[f32], w: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
    with_choice(Choice::Direct, || computed(shape, x, w, g))
}

fn computed(shape: &ConvShape, x: &[f32], w: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
    let mut y = vec![f32::NAN; shape.output_len()];
    let mut dx = vec![f32::NAN; shape.input_len()];
    let mut dw = vec![f32::NAN; shape.weight_len()];
    conv_forward(shape, x, w, SharedMut::new(&mut y), None);
    conv_input_grad(shape, g, w, SharedMut::new(&mut dx), None);
    conv_weight_grad(shape, x, g, SharedMut::new(&mut dw));
    [y, dx, dw]
}

fn reference(shape: &ConvShape, x: &[f32], w: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
    let mut y = vec![f32::NAN; shape.output_len()];
    let mut dx = vec![f32::NAN; shape.input_len()];
    let mut dw = vec![f32::NAN; shape.weight_len()];
    conv_forward_reference(shape, x, w, &mut y);
    conv_input_grad_reference(shape, g, w, &mut dx);
    conv_weight_grad_reference(shape, x, g, &mut dw);
    [y, dx, dw]
}

fn check(shape: &ConvShape) -> Result<(), TestCaseError> {
    let data = |whole| {
        (
            values(shape.input_len(), 1, whole),
            values(shape.weight_len(), 2, whole),
            values(shape.output_len(), 3, whole),
        )
    };
    let (x, w, g) = data(true);
    let expected = reference(shape, &x, &w, &g);
    let (xf, wf, gf) = data(false);
    for isa in available() {
        with_isa(isa, || {
            set_threads(1);
            let ones = fast(shape, &xf, &wf, &gf);
            for threads in [1, 2, 3] {
                set_threads(threads);
                let actual = fast(shape, &x, &w, &g);
                for (name, (a, e)) in
                    ["forward", "input", "weight"].iter().zip(actual.iter().zip(&expected))
                {
                    prop_assert!(a == e, "{name} {isa} {threads} threads {shape:?}\n{a:?}\n{e:?}");
                }
                for (a, e) in fast(shape, &xf, &wf, &gf).iter().zip(&ones) {
                    let same = a.iter().zip(e).all(|(a, e)| a.to_bits() == e.to_bits());
                    prop_assert!(same, "bits at {threads} threads differ, {isa} {shape:?}");
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn equals_the_definition_on_every_isa_and_thread_count(shape in shapes()) {
        check(&shape)?;
    }

    #[test]
    fn depthwise_equals_the_definition(shape in depthwise_shapes()) {
        check(&shape)?;
    }

    #[test]
    fn pairs_equal_the_definition(shape in shapes()) {
        if has_bf16_dots() {
            with_bf16_dots(true, || check_pairs(&shape))?;
        }
    }

    #[test]
    fn the_hook_sees_every_element_once_and_final(shape in prop_oneof![shapes(), depthwise_shapes()], threads in 1usize..4) {
        set_threads(threads);
        let w = values(shape.weight_len(), 2, true);
        for forward in [true, false] {
            let (from, to, channels, dims) = if forward {
                (shape.input_len(), shape.output_len(), shape.out_channels, shape.out_dims)
            } else {
                (shape.output_len(), shape.input_len(), shape.in_channels, shape.in_dims)
            };
            let from = values(from, 1, true);
            let points = dims.iter().product::<usize>();
            let mut result = vec![f32::NAN; to];
            let mut expected = vec![f32::NAN; to];
            let shared = SharedMut::new(&mut result);
            // SAFETY: the hook touches only the region it is handed.
            let view = unsafe { shared.share() };
            let done = |tile: ConvTile| {
                for image in tile.image0..tile.image0 + tile.images {
                    for channel in tile.channel0..tile.channel0 + tile.channels {
                        let at = (image * channels + channel) * points + tile.pixel0;
                        // SAFETY: inside the region.
                        unsafe { view.slice(at, tile.pixels) }.iter_mut().for_each(|v| *v = *v * 2.0 + 1.0);
                    }
                }
            };
            if forward {
                with_choice(Choice::Direct, || conv_forward(&shape, &from, &w, shared, Some(&done)));
                conv_forward_reference(&shape, &from, &w, &mut expected);
            } else {
                with_choice(Choice::Direct, || conv_input_grad(&shape, &from, &w, shared, Some(&done)));
                conv_input_grad_reference(&shape, &from, &w, &mut expected);
            }
            expected.iter_mut().for_each(|v| *v = *v * 2.0 + 1.0);
            prop_assert_eq!(&result, &expected);
        }
    }

    #[test]
    fn the_three_computations_are_adjoint_in_f64(shape in shapes()) {
        let data = |len, seed| -> Vec<f64> {
            values(len, seed, true).into_iter().map(f64::from).collect()
        };
        let (x, w, g) =
            (data(shape.input_len(), 1), data(shape.weight_len(), 2), data(shape.output_len(), 3));
        let (mut y, mut dx, mut dw) = (g.clone(), x.clone(), w.clone());
        conv_forward_reference(&shape, &x, &w, &mut y);
        conv_input_grad_reference(&shape, &g, &w, &mut dx);
        conv_weight_grad_reference(&shape, &x, &g, &mut dw);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        prop_assert_eq!(dot(&y, &g), dot(&x, &dx));
        prop_assert_eq!(dot(&y, &g), dot(&w, &dw));
    }
}

/// All three results on pairs of bf16, for whole numbers, whose sums are exact.
fn check_pairs(shape: &ConvShape) -> Result<(), TestCaseError> {
    let (x, w, g) = (
        values(shape.input_len(), 1, true),
        values(shape.weight_len(), 2, true),
        values(shape.output_len(), 3, true),
    );
    let expected = reference(shape, &x, &w, &g);
    let half = |v: &[f32]| v.iter().map(|v| half::bf16::from_f32(*v)).collect::<Vec<_>>();
    let (x, w, g) = (half(&x), half(&w), half(&g));
    let cases = [
        (PairMode::Forward, &x, &w),
        (PairMode::InputGrad, &g, &w),
        (PairMode::WeightGrad, &x, &g),
    ];
    for ((mode, a, b), expected) in cases.into_iter().zip(&expected) {
        for threads in [1, 3] {
            set_threads(threads);
            let new = || PairConv::new(shape, mode);
            let Some(conv) = with_choice(Choice::Direct, new) else { return Ok(()) };
            let mut working = conv.working().map(|len| vec![7u32; len]);
            let [wa, wb] = &mut working;
            let mut result = vec![f32::NAN; expected.len()];
            conv.run(a, b, None, [wa, wb], SharedMut::new(&mut result), None);
            prop_assert!(&result == expected, "{mode:?} {threads} threads {shape:?}");
        }
    }
    Ok(())
}

/// Depthwise shapes.
fn depthwise_shapes() -> impl Strategy<Value = ConvShape> {
    (shapes(), 2usize..40).prop_map(|(shape, channels)| ConvShape {
        groups: channels,
        in_channels: channels,
        out_channels: channels,
        ..shape
    })
}

/// A two-dimensional convolution, as layers have it.
fn layer(
    batch: usize,
    from: usize,
    to: usize,
    size: usize,
    kernel: usize,
    stride: usize,
) -> ConvShape {
    let padding = kernel / 2;
    let out = (size + 2 * padding - kernel) / stride + 1;
    ConvShape {
        batch,
        groups: 1,
        in_channels: from,
        out_channels: to,
        in_dims: [1, size, size],
        out_dims: [1, out, out],
        kernel: [1, kernel, kernel],
        stride: [1, stride, stride],
        padding_lo: [0, padding, padding],
        dilation: [1; 3],
    }
}

#[test]
fn layers_of_common_networks() {
    for (batch, from, to, size, kernel, stride) in [
        (6, 1, 8, 28, 5, 2),
        (6, 8, 16, 14, 3, 2),
        (6, 16, 32, 7, 3, 2),
        (6, 32, 64, 4, 3, 2),
        (2, 64, 64, 8, 3, 1),
        (1, 3, 64, 40, 7, 2),
        (1, 130, 70, 6, 1, 1),
        (1, 96, 160, 5, 3, 1),
        (7, 40, 72, 4, 3, 1),
        (3, 33, 20, 2, 3, 2),
        (2, 24, 40, 12, 1, 1),
        (2, 40, 24, 12, 1, 1),
    ] {
        check(&layer(batch, from, to, size, kernel, stride)).unwrap();
    }
    let grouped = ConvShape { groups: 2, ..layer(2, 8, 12, 12, 1, 1) };
    check(&grouped).unwrap();
    let depthwise = ConvShape { groups: 24, ..layer(3, 24, 24, 9, 3, 1) };
    check(&depthwise).unwrap();
    // A stride beyond the kernel leaves inputs that nothing reads.
    check(&ConvShape { stride: [1, 4, 5], out_dims: [1, 3, 2], ..layer(2, 3, 4, 9, 3, 1) })
        .unwrap();
}

#[test]
fn large_images_are_cut_into_rows() {
    let mut shape = layer(1, 20, 20, 70, 3, 1);
    check(&shape).unwrap();
    shape = layer(1, 2, 3, 200, 3, 2);
    check(&shape).unwrap();
}

#[test]
fn empty_batches_and_channels_give_zeros_or_nothing() {
    let mut shape = layer(0, 2, 3, 5, 3, 1);
    let [y, dx, dw] = fast(&shape, &[], &values(54, 1, true), &[]);
    assert!(y.is_empty() && dx.is_empty());
    assert_eq!(dw, vec![0.0; 54]);
    shape = layer(2, 0, 3, 5, 3, 1);
    let [y, dx, dw] = fast(&shape, &[], &[], &values(150, 1, true));
    assert_eq!(y, vec![0.0; 150]);
    assert!(dx.is_empty() && dw.is_empty());
}

#[test]
fn wrong_lengths_are_refused_with_the_shape() {
    let caught = std::panic::catch_unwind(|| {
        let shape = layer(1, 1, 1, 5, 3, 1);
        conv_forward(&shape, &[0.0; 24], &[0.0; 9], SharedMut::new(&mut [0.0; 25]), None);
    });
    let text = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("input has 24 elements") && text.contains("25"), "{text}");
}

/// 3x3 convolutions of one group, which can go by tiles.
fn tiled_shapes() -> impl Strategy<Value = ConvShape> {
    let channels = select(vec![1usize, 3, 8, 16, 17, 24, 40, 70]);
    (1usize..4, channels.clone(), channels, [1usize..23, 1usize..23], [0usize..4, 0usize..4])
        .prop_filter_map("an image", |(batch, from, to, [height, width], [above, left])| {
            // As much padding behind as before, or one less.
            let size = |out: usize, padding: usize| {
                (out + 2).checked_sub(2 * padding).filter(|len| *len > 0)
            };
            Some(ConvShape {
                batch,
                groups: 1,
                in_channels: from,
                out_channels: to,
                in_dims: [1, size(height, above)?, size(width, left)?],
                out_dims: [1, height, width],
                kernel: [1, 3, 3],
                stride: [1; 3],
                padding_lo: [0, above, left],
                dilation: [1; 3],
            })
        })
}

/// Tiles against the definition in f64, with the rounding errors that they may have.
fn check_tiles(shape: &ConvShape) -> Result<(), TestCaseError> {
    let (x, w, g) = (
        values(shape.input_len(), 1, false),
        values(shape.weight_len(), 2, false),
        values(shape.output_len(), 3, false),
    );
    let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let (xw, ww, gw) = (wide(&x), wide(&w), wide(&g));
    let mut y = vec![0.0; shape.output_len()];
    let mut dx = vec![0.0; shape.input_len()];
    let mut dw = vec![0.0; shape.weight_len()];
    conv_forward_reference(shape, &xw, &ww, &mut y);
    conv_input_grad_reference(shape, &gw, &ww, &mut dx);
    conv_weight_grad_reference(shape, &xw, &gw, &mut dw);
    let points = shape.batch * shape.out_dims.iter().product::<usize>();
    let sums = [shape.in_channels * 9, shape.out_channels * 9, points];
    for isa in available() {
        with_isa(isa, || {
            let mut first: Option<[Vec<f32>; 3]> = None;
            for threads in [1, 2, 3] {
                set_threads(threads);
                let actual = with_choice(Choice::Tiles, || computed(shape, &x, &w, &g));
                for ((a, e), products) in actual.iter().zip([&y, &dx, &dw]).zip(sums) {
                    let allowed = 1e-5 * (products as f64).sqrt().max(2.0);
                    for (at, (a, e)) in a.iter().zip(e).enumerate() {
                        prop_assert!(
                            (f64::from(*a) - e).abs() <= allowed,
                            "{a} for {e} at {at}, {isa} {threads} threads {shape:?}"
                        );
                    }
                }
                let first = first.get_or_insert_with(|| actual.clone());
                for (a, e) in actual.iter().zip(first.iter()) {
                    let same = a.iter().zip(e).all(|(a, e)| a.to_bits() == e.to_bits());
                    prop_assert!(same, "bits at {threads} threads differ, {isa} {shape:?}");
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tiles_equal_the_definition_but_for_rounding(shape in tiled_shapes()) {
        check_tiles(&shape)?;
    }

    #[test]
    fn tiles_tell_the_hook_of_every_element_once(shape in tiled_shapes(), threads in 1usize..4) {
        set_threads(threads);
        let (x, w) = (values(shape.input_len(), 1, false), values(shape.weight_len(), 2, false));
        let points = shape.out_dims.iter().product::<usize>();
        let mut plain = vec![f32::NAN; shape.output_len()];
        let mut hooked = plain.clone();
        with_choice(Choice::Tiles, || {
            conv_forward(&shape, &x, &w, SharedMut::new(&mut plain), None);
            let shared = SharedMut::new(&mut hooked);
            // SAFETY: the hook touches only the region it is handed.
            let view = unsafe { shared.share() };
            conv_forward(&shape, &x, &w, shared, Some(&|tile: ConvTile| {
                for image in tile.image0..tile.image0 + tile.images {
                    for channel in tile.channel0..tile.channel0 + tile.channels {
                        let at = (image * shape.out_channels + channel) * points + tile.pixel0;
                        // SAFETY: inside the region.
                        unsafe { view.slice(at, tile.pixels) }.iter_mut().for_each(|v| *v = *v * 2.0 + 1.0);
                    }
                }
            }));
        });
        plain.iter_mut().for_each(|v| *v = *v * 2.0 + 1.0);
        prop_assert_eq!(&plain, &hooked);
    }
}

#[test]
fn tiles_of_layers_of_common_networks() {
    for (batch, from, to, size) in
        [(2, 64, 64, 16), (5, 24, 64, 31), (3, 256, 40, 7), (1, 40, 200, 9), (70, 20, 20, 4)]
    {
        check_tiles(&layer(batch, from, to, size, 3, 1)).unwrap();
    }
    // Large enough for several blocks of the weights' gradient, of whole images and of rows.
    check_tiles(&layer(90, 33, 40, 16, 3, 1)).unwrap();
    check_tiles(&layer(1, 70, 33, 100, 3, 1)).unwrap();
}

#[test]
fn tiles_are_taken_where_they_pay() {
    let tiles = |shape: &ConvShape, lanes| {
        let forward = winograd::fits(&plan::Plan::forward(shape), lanes);
        assert_eq!(winograd::weight_grad_fits(shape, lanes), forward, "{shape:?}");
        forward
    };
    for lanes in [4, 8, 16] {
        assert!(tiles(&layer(32, 64, 64, 16, 3, 1), lanes));
        assert!(tiles(&layer(8, 256, 256, 14, 3, 1), lanes));
        assert!(tiles(&layer(512, 24, 64, 31, 3, 1), lanes));
        // Strides, other kernels, groups, and images smaller than a tile.
        assert!(!tiles(&layer(32, 64, 64, 16, 3, 2), lanes));
        assert!(!tiles(&layer(32, 64, 64, 16, 5, 1), lanes));
        assert!(!tiles(&ConvShape { groups: 2, ..layer(32, 64, 64, 16, 3, 1) }, lanes));
        assert!(!tiles(&layer(32, 64, 64, 2, 3, 1), lanes));
        // Weights that are transformed for a few tiles only.
        assert!(!tiles(&layer(1, 512, 512, 4, 3, 1), lanes));
    }
}
