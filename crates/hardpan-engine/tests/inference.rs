//! Repeated forward passes: what is kept between them never outlives a change, and fused epilogues give the bits of their parts.

use hardpan_engine::functional::{ConvOptions, conv_transpose2d, conv2d};
use hardpan_engine::{DType, Tensor, manual_seed, no_grad};

fn stored(t: Tensor) -> Tensor {
    t.eval();
    t
}

/// The same contents in other memory, beside which nothing is kept.
fn fresh(t: &Tensor) -> Tensor {
    let bytes: Vec<f32> = t.to_dtype(DType::F32).to_vec();
    stored(Tensor::from_slice(&bytes, t.shape()).to_dtype(t.dtype()))
}

#[test]
fn convolutions_see_weights_that_were_changed_in_place() {
    manual_seed(3);
    for (dtype, points) in [(DType::F32, 7), (DType::F32, 20), (DType::BF16, 7)] {
        no_grad(|| {
            let x = stored(Tensor::randn([2, 24, points, points]).to_dtype(dtype));
            let mut w = stored(Tensor::randn([24, 24, 3, 3]).to_dtype(dtype));
            for step in 0..9 {
                if step % 3 == 2 {
                    // The old weights are read by nobody else, so the new ones take their memory.
                    w = stored(w * 0.5 + 0.125);
                }
                let forward = |w: &Tensor| conv2d(&x, w, None, ConvOptions::default());
                let adjoint = |w: &Tensor| conv_transpose2d(&x, w, None, Default::default());
                let other = fresh(&w);
                assert_eq!(
                    forward(&w).to_dtype(DType::F32).to_vec::<f32>(),
                    forward(&other).to_dtype(DType::F32).to_vec::<f32>(),
                    "{dtype} {points} step {step}"
                );
                assert_eq!(
                    adjoint(&w).to_dtype(DType::F32).to_vec::<f32>(),
                    adjoint(&other).to_dtype(DType::F32).to_vec::<f32>(),
                    "{dtype} {points} step {step}, adjoint"
                );
            }
        });
    }
}

#[test]
fn a_fused_norm_and_activation_give_the_bits_of_their_parts() {
    manual_seed(4);
    for (batch, channels, points) in [(1, 40, 3), (1, 130, 8), (3, 24, 16), (2, 20, 25)] {
        no_grad(|| {
            let x = stored(Tensor::randn([batch, 16, points, points]));
            let w = stored(Tensor::randn([channels, 16, 3, 3]));
            let by_channel = || stored(Tensor::rand([channels]) + 0.5);
            let [mean, var, weight, bias] =
                [by_channel(), by_channel(), by_channel(), by_channel()];
            let shape = [1, channels, 1, 1];
            let convolved = || {
                conv2d(&x, &w, None, ConvOptions { padding: 1usize.into(), ..Default::default() })
            };
            let residual = stored(Tensor::randn([batch, channels, points, points]));
            let parts = {
                let y = stored(convolved());
                let y = stored(y - mean.reshape(shape));
                let y = stored(y * stored((&var + 1e-5).sqrt().reciprocal()).reshape(shape));
                let y = stored(y * weight.reshape(shape));
                let y = stored(y + bias.reshape(shape));
                stored(stored(y + &residual).relu())
            };
            // Code is generated at the second launch.
            for _ in 0..3 {
                let y = convolved();
                let scale = (&var + 1e-5).sqrt().reciprocal();
                let y = (y - mean.reshape(shape)) * scale.reshape(shape);
                let y = y * weight.reshape(shape) + bias.reshape(shape);
                let y = stored((y + &residual).relu());
                assert_eq!(y.to_vec::<f32>(), parts.to_vec::<f32>(), "{batch} {channels} {points}");
            }
        });
    }
}
