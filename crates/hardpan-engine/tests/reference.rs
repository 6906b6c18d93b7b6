//! Graphs on the reference device: the planner and the gradients, with no fast code involved.

use hardpan_engine::dev::reference::ReferenceDevice;
use hardpan_engine::{DeviceId, Tensor, grad, no_grad, with_device};
use std::sync::OnceLock;

fn reference() -> DeviceId {
    static ID: OnceLock<DeviceId> = OnceLock::new();
    *ID.get_or_init(|| hardpan_engine::dev::register_device(Box::new(ReferenceDevice::new())))
}

fn on_reference(f: impl FnOnce()) {
    with_device(reference(), f)
}

#[test]
fn softmax_and_views() {
    on_reference(|| {
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 1.0, 1.0, 1.0], [2, 3]);
        let e = (&x - x.amax_keepdim(-1)).exp();
        let p = &e / e.sum_keepdim(-1);
        let v = p.to_vec::<f32>();
        assert!((v[0] - 0.09003057).abs() < 1e-6 && (v[4] - 1.0 / 3.0).abs() < 1e-6, "{v:?}");
        let t = x.t().reshape([6]).to_vec::<f32>();
        assert_eq!(t, vec![1.0, 1.0, 2.0, 1.0, 3.0, 1.0]);
        let padded = x.pad_zeros(&[(1, 0), (0, 1)]).exp().to_vec::<f32>();
        assert_eq!(&padded[..5], &[1.0, 1.0, 1.0, 1.0, 1.0f32.exp()]);
        assert_eq!(x.flip(1).to_vec::<f32>(), vec![3.0, 2.0, 1.0, 1.0, 1.0, 1.0]);
        let c = Tensor::cat(&[&x, &(&x * 2.0)], 1);
        assert_eq!(c.to_vec::<f32>()[3..6], [2.0, 4.0, 6.0]);
    });
}

#[test]
fn backward_through_matmul_and_broadcast() {
    on_reference(|| {
        let w = Tensor::from_slice(&[1.0f32, -2.0, 0.5, 3.0, 1.5, -1.0], [3, 2]).requires_grad();
        let b = Tensor::from_slice(&[0.1f32, 0.2], [2]).requires_grad();
        let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, -1.0, 0.5, 2.0], [2, 3]);
        let y = (x.matmul(&w) + &b).maximum(0.0);
        let loss = (&y * &y).sum(..);
        loss.backward();
        // y = [6.6, 1.2], [2.35, 1.7]
        let gb = b.grad().unwrap().to_vec::<f32>();
        assert!(
            (gb[0] - 2.0 * (6.6 + 2.35)).abs() < 1e-4 && (gb[1] - 2.0 * (1.2 + 1.7)).abs() < 1e-4,
            "{gb:?}"
        );
        let gw = w.grad().unwrap().to_vec::<f32>();
        assert!((gw[0] - 2.0 * (6.6 - 2.35)).abs() < 1e-4, "{gw:?}");
        assert!(no_grad(|| &w + 1.0).grad().is_none());
    });
}

#[test]
fn higher_order() {
    on_reference(|| {
        let x = Tensor::from_slice(&[0.3f64, -1.2], [2]).requires_grad();
        let y = (&x * &x * &x).sum(..);
        let d1 = grad(&y, &[&x]).remove(0);
        let d2 = grad(&d1.sum(..), &[&x]).remove(0);
        let d3 = grad(&d2.sum(..), &[&x]).remove(0);
        let v = d2.to_vec::<f64>();
        assert!((v[0] - 1.8).abs() < 1e-12 && (v[1] + 7.2).abs() < 1e-12);
        assert_eq!(d3.to_vec::<f64>(), vec![6.0, 6.0]);
    });
}

#[test]
fn donation_updates_in_place() {
    on_reference(|| {
        let mut p = Tensor::from_slice(&[1.0f32; 8], [8]);
        for _ in 0..3 {
            let g = Tensor::ones([8]);
            p = &p - g * 0.5;
            p.eval();
        }
        assert_eq!(p.to_vec::<f32>(), vec![-0.5; 8]);
    });
}
