//! Products whose two operands come from the same tensor.

use hardpan_engine::{Tensor, grad};

#[test]
fn a_vector_with_itself() {
    let x = Tensor::from_slice(&[1.0f32, 2.0, 4.0, 5.0], [1, 4]);
    assert_eq!(x.matmul(&x.t()).to_vec::<f32>(), vec![46.0]);
    let d = &x - 3.0;
    assert_eq!(d.matmul(&d.t()).to_vec::<f32>(), vec![10.0]);
    let c = &x - x.mean_keepdim(1);
    assert_eq!(c.matmul(&c.t()).to_vec::<f32>(), vec![10.0]);
}

#[test]
fn powers_and_their_gradient() {
    let x = Tensor::from_slice(&[3.0f32], [1, 1]).requires_grad();
    let y = x.matmul(&x);
    let z = y.matmul(&y);
    assert_eq!(z.to_vec::<f32>(), vec![81.0]);
    let g = grad(&z, &[&x]).remove(0);
    assert_eq!(g.to_vec::<f32>(), vec![108.0]);
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]).requires_grad();
    let g = grad(&x.matmul(&x).sum(..), &[&x]).remove(0);
    assert_eq!(g.to_vec::<f32>(), vec![7.0, 11.0, 9.0, 13.0]);
}
