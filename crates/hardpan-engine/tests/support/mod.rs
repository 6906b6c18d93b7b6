//! Finite differences and a fixed source of numbers for the tests.
#![allow(dead_code)]

use hardpan_engine::{Tensor, grad};

/// Numbers in [-1, 1) that depend on the seed alone.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let x = self.0 ^ (self.0 >> 33);
        x.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (x >> 29)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next_u64() >> 16) as usize % n
    }
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    }
    pub fn vec(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// Compares the gradients of `f` (summed with fixed weights) with central differences in f64.
pub fn check_gradient(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) {
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::requires_grad).collect();
    let y = f(&leaves);
    let mut numbers = Numbers(7);
    let weights = Tensor::from_slice(&numbers.vec(y.numel()), y.shape());
    let value = |xs: &[Tensor]| (f(xs) * &weights).sum(..).item::<f64>();
    let loss = (y * &weights).sum(..);
    let refs: Vec<&Tensor> = leaves.iter().collect();
    let grads = grad(&loss, &refs);
    let h = 1e-6;
    for (k, x) in inputs.iter().enumerate() {
        let got = grads[k].to_vec::<f64>();
        let data = x.to_vec::<f64>();
        for i in 0..data.len() {
            let at = |delta: f64| {
                let mut moved = data.clone();
                moved[i] += delta;
                let mut xs: Vec<Tensor> = inputs.to_vec();
                xs[k] = Tensor::from_slice(&moved, x.shape());
                value(&xs)
            };
            let want = (at(h) - at(-h)) / (2.0 * h);
            let tolerance = 1e-5 * (1.0 + want.abs());
            assert!(
                (got[i] - want).abs() <= tolerance,
                "{name}: gradient {k}[{i}] is {}, finite differences say {want}",
                got[i]
            );
        }
    }
}
