//! The gradient of every primitive against central differences in f64, and what is not differentiable says so.

// One input or several: written the same way.
#![allow(clippy::cloned_ref_to_slice_refs)]

mod support;

use hardpan_engine::op::{BinaryOp, UnaryOp};
use hardpan_engine::{DType, Tensor, checkpoint, functional, grad, no_grad};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Numbers, check_gradient};

fn input(seed: u64, shape: &[usize], scale: f64, shift: f64) -> Tensor {
    let n = shape.iter().product();
    let data: Vec<f64> = Numbers(seed).vec(n).iter().map(|x| x * scale + shift).collect();
    Tensor::from_slice(&data, shape)
}

#[test]
fn every_unary_primitive() {
    for op in UnaryOp::ALL {
        // A range inside the domain of each function, away from its kinks.
        let (scale, shift) = match op {
            UnaryOp::Log | UnaryOp::Sqrt | UnaryOp::Recip => (0.4, 1.0),
            UnaryOp::Lgamma | UnaryOp::Digamma => (0.8, 2.0),
            UnaryOp::Acosh => (0.4, 2.0),
            UnaryOp::Floor | UnaryOp::Round => (0.2, 0.25),
            UnaryOp::Abs => (0.4, -0.5),
            UnaryOp::Ndtri => (0.4, 0.5),
            UnaryOp::Not | UnaryOp::Trigamma => continue,
            _ => (0.8, 0.05),
        };
        check_gradient(op.name(), &[input(3, &[2, 3], scale, shift)], |x| apply_unary(*op, &x[0]));
    }
}

fn apply_unary(op: UnaryOp, x: &Tensor) -> Tensor {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.log(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Recip => x.reciprocal(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Erf => x.erf(),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Round => x.round(),
        UnaryOp::Expm1 => x.expm1(),
        UnaryOp::Log1p => x.log1p(),
        UnaryOp::Tan => x.tan(),
        UnaryOp::Asin => x.asin(),
        UnaryOp::Acos => x.acos(),
        UnaryOp::Atan => x.atan(),
        UnaryOp::Sinh => x.sinh(),
        UnaryOp::Cosh => x.cosh(),
        UnaryOp::Asinh => x.asinh(),
        UnaryOp::Acosh => x.acosh(),
        UnaryOp::Atanh => x.atanh(),
        UnaryOp::Erfc => x.erfc(),
        UnaryOp::Erfinv => x.erfinv(),
        UnaryOp::Lgamma => x.lgamma(),
        UnaryOp::Digamma => x.digamma(),
        UnaryOp::I0 => x.i0(),
        UnaryOp::I1 => x.i1(),
        UnaryOp::Ndtri => x.ndtri(),
        UnaryOp::LogNdtr => x.log_ndtr(),
        UnaryOp::Erfcx => x.erfcx(),
        UnaryOp::Not | UnaryOp::Trigamma => unreachable!("not differentiable"),
    }
}

#[test]
fn every_binary_primitive() {
    for op in BinaryOp::ALL {
        let a = input(5, &[2, 3], 0.6, 1.3);
        let b = input(11, &[2, 3], 0.4, 1.1);
        let f: fn(&Tensor, &Tensor) -> Tensor = match op {
            BinaryOp::Add => |a, b| a + b,
            BinaryOp::Sub => |a, b| a - b,
            BinaryOp::Mul => |a, b| a * b,
            BinaryOp::Div => |a, b| a / b,
            BinaryOp::Rem => |a, b| a.fmod(b),
            BinaryOp::Max => |a, b| a.maximum(b),
            BinaryOp::Min => |a, b| a.minimum(b),
            BinaryOp::Pow => |a, b| a.pow(b),
            BinaryOp::Atan2 => |a, b| a.atan2(b),
            _ => continue,
        };
        check_gradient(op.name(), &[a, b], |x| f(&x[0], &x[1]));
    }
}

#[test]
fn movement() {
    let x = input(2, &[2, 3, 4], 1.0, 0.0);
    check_gradient("permute+reshape", &[x.clone()], |x| {
        x[0].permute([2, 0, 1]).reshape([4, 6]).exp()
    });
    check_gradient("expand", &[input(1, &[3, 1], 1.0, 0.0)], |x| x[0].expand([2, 3, 4]).sin());
    check_gradient("pad", &[x.clone()], |x| x[0].pad_zeros(&[(1, 0), (0, 2), (1, 1)]).cos());
    check_gradient("narrow", &[x.clone()], |x| x[0].narrow(1, 1, 2).exp());
    check_gradient("flip", &[x.clone()], |x| x[0].flip([0, 2]).exp() * &x[0]);
    check_gradient("cat", &[x.clone(), input(9, &[2, 1, 4], 1.0, 0.0)], |x| {
        Tensor::cat(&[&x[0], &x[1]], 1).exp()
    });
    for (size, step) in [(2, 2), (3, 1), (2, 3), (4, 2), (1, 1), (3, 2)] {
        check_gradient("unfold", &[input(4, &[2, 9], 1.0, 0.0)], |x| {
            x[0].unfold(1, size, step).exp()
        });
    }
}

#[test]
fn folds() {
    let x = input(6, &[2, 3, 4], 1.0, 0.1);
    check_gradient("sum", &[x.clone()], |x| x[0].sum([0, 2]).exp());
    check_gradient("mean", &[x.clone()], |x| x[0].mean_keepdim(1) * &x[0]);
    check_gradient("amax", &[x.clone()], |x| x[0].amax([1, 2]));
    check_gradient("amin", &[x.clone()], |x| x[0].amin(..));
    check_gradient("prod", &[x.clone()], |x| x[0].prod(1));
    check_gradient("cumsum", &[x.clone()], |x| x[0].cumsum(1).exp());
    check_gradient("cumprod", &[x.clone()], |x| x[0].cumprod(2));
    check_gradient("logcumsumexp", &[x.clone()], |x| x[0].logcumsumexp(0));
    check_gradient("softmax", &[x.clone()], |x| x[0].softmax(-1) * &x[0]);
}

#[test]
fn products_with_zeros_have_exact_gradients() {
    let x = Tensor::from_slice(&[2.0f64, 0.0, 3.0, 0.0, 0.0, 5.0], [2, 3]);
    check_gradient("prod with zeros", &[x.clone()], |x| x[0].prod(1));
    check_gradient("cumprod with zeros", &[x], |x| x[0].cumprod(1));
}

#[test]
fn contractions() {
    let (a, b) = (input(1, &[2, 3, 4], 1.0, 0.0), input(2, &[4, 5], 1.0, 0.0));
    check_gradient("matmul", &[a.clone(), b], |x| x[0].matmul(&x[1]).sin());
    check_gradient("matmul batched", &[a, input(3, &[1, 4, 2], 1.0, 0.0)], |x| {
        x[0].matmul(&x[1]).sin()
    });
}

#[test]
fn second_derivatives() {
    let x = input(8, &[5], 0.5, 1.0);
    check_gradient("d/dx of (d/dx sum(x^3 exp x))", &[x], |x| {
        let y = (x[0].pow(3.0) * x[0].exp()).sum(..);
        if x[0].is_requires_grad() {
            grad(&y, &[&x[0]]).remove(0)
        } else {
            let leaf = x[0].requires_grad();
            let y = (leaf.pow(3.0) * leaf.exp()).sum(..);
            grad(&y, &[&leaf]).remove(0).detach()
        }
    });
}

/// The variance inside a norm is written so that its gradient is short: all orders must still be those of the variance.
#[test]
fn norms_have_exact_second_derivatives() {
    let norm = |x: &Tensor, w: &Tensor| functional::layer_norm(x, &[4], Some(w), None, 1e-3);
    let (x, w) = (input(21, &[3, 4], 1.5, 0.2), input(22, &[4], 0.5, 1.0));
    check_gradient("layer norm", &[x.clone(), w.clone()], |p| norm(&p[0], &p[1]));
    check_gradient("gradient of layer norm", &[x, w], |p| {
        let live = p[0].is_requires_grad();
        let x = if live { p[0].clone() } else { p[0].requires_grad() };
        let y = norm(&x, &p[1]);
        let g = grad(&(&y * &y * &y).sum(..), &[&x]).remove(0);
        if live { g } else { g.detach() }
    });
}

#[test]
fn checkpoint_gives_the_same_gradients() {
    let w = input(1, &[4, 4], 0.5, 0.0).requires_grad();
    let x = input(2, &[3, 4], 1.0, 0.0).requires_grad();
    let calls = Arc::new(AtomicUsize::new(0));
    let block = {
        let (w, calls) = (w.clone(), calls.clone());
        move |x: &[Tensor]| {
            calls.fetch_add(1, Ordering::Relaxed);
            x[0].matmul(&w).tanh()
        }
    };
    let plain = block(&[x.clone()]).sum(..);
    plain.backward();
    let want = (w.grad().unwrap().to_vec::<f64>(), x.grad().unwrap().to_vec::<f64>());
    w.zero_grad();
    x.zero_grad();
    let before = calls.load(Ordering::Relaxed);
    let y = checkpoint(block, &[&x]);
    y.sum(..).backward();
    assert_eq!(calls.load(Ordering::Relaxed) - before, 2, "once forward, once backward");
    assert_eq!(w.grad().unwrap().to_vec::<f64>(), want.0);
    assert_eq!(x.grad().unwrap().to_vec::<f64>(), want.1);
}

#[test]
fn gradients_accumulate_and_hooks_see_them() {
    let x = Tensor::from_slice(&[1.0f32, 2.0], [2]).requires_grad();
    (&x * 3.0).sum(..).backward();
    (&x * 4.0).sum(..).backward();
    assert_eq!(x.grad().unwrap().to_vec::<f32>(), vec![7.0, 7.0]);
    x.zero_grad();
    let y = &x * 2.0;
    y.register_hook(|g| Some(g * 10.0));
    y.sum(..).backward();
    assert_eq!(x.grad().unwrap().to_vec::<f32>(), vec![20.0, 20.0]);
}

#[test]
fn reading_the_loss_before_backward_changes_nothing() {
    let x = Tensor::from_slice(&[0.5f32, -0.25], [2]).requires_grad();
    let loss = (x.exp() * &x).tanh().sum(..);
    let value = loss.item::<f32>();
    assert!(value.is_finite());
    loss.backward();
    let early = x.grad().unwrap().to_vec::<f32>();
    x.zero_grad();
    (x.exp() * &x).tanh().sum(..).backward();
    assert_eq!(early, x.grad().unwrap().to_vec::<f32>());
}

#[test]
#[should_panic(expected = "let go by an earlier backward")]
fn a_second_backward_says_what_to_do() {
    let x = Tensor::from_slice(&[1.0f32], [1]).requires_grad();
    let y = x.exp();
    let first = (&y * 2.0).sum(..);
    first.backward();
    hardpan_engine::flush_all();
    y.eval();
    (&y * 3.0).sum(..).backward();
}

#[test]
#[should_panic(expected = "does not require grad")]
fn backward_without_history() {
    let x = Tensor::ones([2]).requires_grad();
    no_grad(|| x.sum(..)).backward();
}

#[test]
#[should_panic(expected = "not differentiable")]
fn a_gradient_never_stops_silently() {
    let x = Tensor::from_slice(&[1.5f64], [1]).requires_grad();
    x.trigamma().sum(..).backward();
}

#[test]
#[should_panic(expected = "only floating point")]
fn integers_have_no_gradients() {
    Tensor::zeros_dtype([2], DType::I64).requires_grad();
}
