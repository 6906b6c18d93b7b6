//! The graph as a whole: fused equals unfused, threads share it, empty tensors are fine.

mod support;

use hardpan_engine::{DType, Tensor, flush_all, with_eager};
use support::Numbers;

/// A random graph of elementwise, movement and fold operations over a few shapes.
fn random_graph(seed: u64) -> Vec<Tensor> {
    let mut r = Numbers(seed);
    let (a, b, c) = (1 + r.below(5), 1 + r.below(7), 1 + r.below(40));
    let mut pool: Vec<Tensor> = (0..3)
        .map(|_| {
            let data: Vec<f32> = r.vec(a * b * c).iter().map(|x| *x as f32).collect();
            Tensor::from_slice(&data, [a, b, c])
        })
        .collect();
    pool.push(Tensor::from_slice(&[0.5f32; 1], [1, 1, 1]));
    for _ in 0..12 {
        let pick = |r: &mut Numbers| pool[r.below(pool.len())].clone();
        let x = pick(&mut r);
        let y = pick(&mut r);
        let fits = hardpan_engine::shape::broadcast(x.shape(), y.shape()).is_some();
        let new = match r.below(12) {
            0 if fits => &x + &y,
            1 if fits => &x * &y,
            2 if fits => x.maximum(&y),
            3 if fits => x.where_(&x.lt(&y), &y),
            4 => x.tanh(),
            5 => (-&x).exp() * 0.25f32,
            6 => x.flip([r.below(3)]),
            7 => x.sum_keepdim([r.below(3)]) * 0.1f32,
            8 => x.amax_keepdim(-1),
            9 => {
                let n = x.numel();
                let s = x.shape().to_vec();
                x.reshape([n]).reshape([s[0] * s[1], s[2]]).reshape(&s)
            }
            10 => {
                let d = r.below(3);
                let lo = r.below(2);
                let mut pads = [(0, 0); 3];
                pads[d] = (lo, 1);
                let n = x.shape()[d];
                x.pad_zeros(&pads).narrow(d as isize, 0, n)
            }
            _ => x.transpose(0, 1).contiguous().transpose(0, 1),
        };
        pool.push(new);
    }
    pool.split_off(4)
}

#[test]
fn fused_equals_eager_bit_for_bit() {
    for seed in 0..150 {
        let fused: Vec<Vec<f32>> = {
            let graph = random_graph(seed);
            flush_all();
            graph.iter().map(|t| t.to_vec()).collect()
        };
        let eager: Vec<Vec<f32>> =
            with_eager(true, || random_graph(seed).iter().map(|t| t.to_vec()).collect());
        for (k, (f, e)) in fused.iter().zip(&eager).enumerate() {
            for (x, y) in f.iter().zip(e) {
                // Elementwise results are exact; folds may group differently in another layout.
                let close =
                    x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-5 * (1.0 + y.abs());
                assert!(close, "seed {seed}, tensor {k}: fused {x}, eager {y}");
            }
        }
    }
}

#[test]
fn elementwise_fusion_is_exact() {
    let mut r = Numbers(3);
    let data: Vec<f32> = r.vec(1003).iter().map(|x| *x as f32 * 3.0).collect();
    let work = || {
        let x = Tensor::from_slice(&data, [1003]);
        let y = (&x * 1.7f32 + 0.3f32).tanh() / (x.exp() + 1.0f32);
        (y.sqrt().maximum(&x) - x.erf() * &y).to_vec::<f32>()
    };
    let (fused, eager) = (work(), with_eager(true, work));
    assert!(fused.iter().zip(&eager).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn threads_share_tensors() {
    let x = Tensor::rand([100]) + 1.0f32;
    let parts: Vec<Tensor> = std::thread::scope(|s| {
        let handles: Vec<_> = (0..4)
            .map(|k| {
                let x = x.clone();
                s.spawn(move || x * k as f32)
            })
            .collect();
        handles.into_iter().map(|h| h.join().unwrap()).collect()
    });
    let base = x.to_vec::<f32>();
    for (k, p) in parts.iter().enumerate() {
        let v = p.to_vec::<f32>();
        assert!(v.iter().zip(&base).all(|(a, b)| *a == b * k as f32));
    }
}

#[test]
fn zero_sized_tensors() {
    let x = Tensor::zeros([0, 3]);
    assert_eq!((&x + 1.0f32).to_vec::<f32>(), Vec::<f32>::new());
    assert_eq!(x.sum(..).item::<f32>(), 0.0);
    assert_eq!(x.sum(0).to_vec::<f32>(), vec![0.0; 3]);
    assert_eq!(x.t().matmul(&x).to_vec::<f32>(), vec![0.0; 9]);
    assert_eq!(Tensor::zeros([3, 0]).matmul(&Tensor::zeros([0, 2])).shape(), &[3, 2]);
    let leaf = Tensor::zeros([0, 3]).requires_grad();
    (leaf.exp().sum(..)).backward();
    assert_eq!(leaf.grad().unwrap().shape(), &[0, 3]);
}

#[test]
fn casts_follow_torch() {
    let x = Tensor::from_slice(&[-1.7f32, 0.0, 2.5, 300.0], [4]);
    assert_eq!(x.to_dtype(DType::I64).to_vec::<i64>(), vec![-1, 0, 2, 300]);
    assert_eq!(x.to_dtype(DType::Bool).to_vec::<bool>(), vec![true, false, true, true]);
    let i = Tensor::from_slice(&[250i64, 10], [2]).to_dtype(DType::U8);
    assert_eq!((&i + &i).to_vec::<u8>(), vec![244, 20]);
}

#[test]
fn an_epilogue_on_a_single_element_sees_the_finished_product() {
    let one = |x: f32| Tensor::from_slice(&[x], [1, 1]);
    for k in 0..20 {
        let y = (one(2.0).matmul(&one(k as f32)) + one(1.0)).exp().log();
        assert!((y.item::<f32>() - (2.0 * k as f32 + 1.0)).abs() < 1e-4);
    }
}

#[test]
fn folds_over_axes_of_size_one() {
    let w = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [6, 1, 1]);
    let best = w.argmax(-1).unsqueeze(-1);
    let picked = w.where_(&Tensor::iota(1).eq(&best), 0.0).sum([1, 2]);
    assert_eq!(picked.to_vec::<f32>(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}
