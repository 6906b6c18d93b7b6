//! What the process counts: nothing leaks, long chains are fine, plans are found again, fusion happens.
//!
//! Counters and the random generator belong to the whole process, so every test here takes the lock and nothing else may live in this file.

use hardpan_engine::functional::{BatchNormOptions, ConvOptions, batch_norm, conv2d};
use hardpan_engine::{Tensor, flush_all, live_bytes, live_nodes, manual_seed, no_grad, plan_stats};
use std::sync::Mutex;

/// Counters are of the whole process, so these tests take turns.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Memory of this process in RAM; 0 where the system does not say.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|p| p.parse::<usize>().ok()).unwrap_or(0) * 4096
}

#[test]
fn a_million_operations_in_a_row() {
    let _alone = alone();
    let start = live_nodes();
    let mut x = Tensor::zeros([4]);
    for _ in 0..1_000_000 {
        x += 1.0f32;
    }
    assert!(live_nodes() - start < 100_000, "{} nodes alive", live_nodes() - start);
    assert_eq!(x.to_vec::<f32>(), vec![1_000_000.0; 4]);
}

#[test]
fn a_long_history_is_dropped_without_recursion() {
    let _alone = alone();
    let before = live_nodes();
    let x = Tensor::ones([2]).requires_grad();
    let mut y = x.clone();
    for _ in 0..200_000 {
        y *= 1.0f32;
    }
    assert!(live_nodes() > before + 200_000);
    drop(y);
    drop(x);
    flush_all();
    assert_eq!(live_nodes(), before);
}

#[test]
fn training_steps_do_not_leak() {
    let _alone = alone();
    manual_seed(1);
    let x = Tensor::randn([16, 8]).eval().clone();
    let t = Tensor::randn([16, 1]).eval().clone();
    let mut w = (Tensor::randn([8, 1]) * 0.1f32).eval().clone();
    let mut m = Tensor::zeros([8, 1]).eval().clone();
    let mut step = |lr: f32| -> Tensor {
        let leaf = w.requires_grad();
        let e = x.matmul(&leaf) - &t;
        let loss = (&e * &e).mean(..);
        loss.backward();
        no_grad(|| {
            m = &m * 0.9f32 + leaf.grad().unwrap();
            w = &w - &m * lr;
        });
        drop((e, leaf));
        flush_all();
        loss
    };
    let first = step(0.01).item::<f32>();
    for k in 0..20 {
        step(0.01 / (k + 1) as f32);
    }
    let (nodes, bytes, stats) = (live_nodes(), live_bytes(), plan_stats());
    let resident = resident_bytes();
    let mut last = 0.0;
    for k in 0..10_000 {
        let loss = step(0.01 / (1.0 + k as f32 * 1e-3));
        if k == 9_999 {
            last = loss.item::<f32>();
        }
    }
    assert!(last < first, "{first} -> {last}");
    assert_eq!(live_nodes(), nodes);
    assert_eq!(live_bytes(), bytes);
    let grown = resident_bytes().saturating_sub(resident);
    assert!(grown < 4 << 20, "resident memory grew by {grown} bytes in 10,000 steps");
    let after = plan_stats();
    assert_eq!(after.misses, stats.misses, "a changing learning rate must find its plan");
    assert!(after.hits >= stats.hits + 10_000);
}

#[test]
fn the_plan_cache_is_bounded() {
    let _alone = alone();
    hardpan_engine::plan::set_plan_cache_limit(8);
    for n in 1..40 {
        (Tensor::ones([n]) + 1.0f32).eval();
    }
    assert!(plan_stats().plans <= 8);
    hardpan_engine::plan::set_plan_cache_limit(1024);
}

#[test]
fn softmax_and_layer_norm_are_one_kernel_each_way() {
    let _alone = alone();
    let x = Tensor::rand([64, 100]).eval().requires_grad();
    let kernels = |f: &dyn Fn() -> Tensor| {
        let before = plan_stats().kernels;
        let _out = f();
        flush_all();
        plan_stats().kernels - before
    };
    let softmax = |x: &Tensor| {
        let e = (x - x.amax_keepdim(-1).detach()).exp();
        &e / e.sum_keepdim(-1)
    };
    let layer_norm = |x: &Tensor| {
        let d = x - x.mean_keepdim(-1);
        let v = (&d * &d).mean_keepdim(-1);
        &d / (v + 1e-5f32).sqrt()
    };
    assert_eq!(kernels(&|| no_grad(|| softmax(&x))), 1);
    assert_eq!(kernels(&|| no_grad(|| layer_norm(&x))), 1);
    let g = Tensor::rand([64, 100]).eval().clone();
    for f in [&softmax as &dyn Fn(&Tensor) -> Tensor, &layer_norm] {
        let y = f(&x);
        y.eval();
        let backward = kernels(&|| {
            y.backward_with(&g);
            x.grad().unwrap()
        });
        x.zero_grad();
        assert_eq!(backward, 1);
    }
}

#[test]
fn an_epilogue_joins_its_product() {
    let _alone = alone();
    let (a, b) = (Tensor::rand([32, 20]).eval().clone(), Tensor::rand([20, 16]).eval().clone());
    let c = Tensor::rand([16]).eval().clone();
    let before = plan_stats().kernels;
    let y = (a.matmul(&b) + &c).maximum(0.0f32);
    y.eval();
    assert_eq!(plan_stats().kernels - before, 1);
    let want = a.matmul(&b).eval().to_vec::<f32>();
    let bias = c.to_vec::<f32>();
    for (i, v) in y.to_vec::<f32>().iter().enumerate() {
        assert_eq!(*v, (want[i] + bias[i % 16]).max(0.0));
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let _alone = alone();
    let draw = || {
        manual_seed(9);
        (Tensor::rand([1000]).to_vec::<f32>(), Tensor::randn([1000]).to_vec::<f32>())
    };
    let (u, n) = draw();
    assert_eq!((u.clone(), n.clone()), draw());
    assert!(u.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = n.iter().sum::<f32>() / 1000.0;
    let var = n.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 1000.0;
    assert!(mean.abs() < 0.1 && (var - 1.0).abs() < 0.15, "{mean} {var}");
    manual_seed(10);
    assert_ne!(Tensor::rand([1000]).to_vec::<f32>(), u);
}

#[test]
fn a_norm_with_known_statistics_joins_the_convolution() {
    let _alone = alone();
    manual_seed(2);
    let [x, w] = [Tensor::randn([2, 4, 9, 9]), Tensor::randn([6, 4, 3, 3])];
    let [mean, var] = [Tensor::randn([6]), Tensor::rand([6]) + 0.5];
    flush_all();
    let before = plan_stats().kernels;
    let options = BatchNormOptions {
        running_mean: Some(&mean),
        running_var: Some(&var),
        ..Default::default()
    };
    let y = no_grad(|| {
        batch_norm(&conv2d(&x, &w, None, ConvOptions::default()), options).output.relu()
    });
    y.eval();
    // The factors by channel, and the convolution with all that follows.
    assert_eq!(plan_stats().kernels - before, 2);
}

#[test]
fn inference_keeps_packed_weights_and_training_none() {
    let _alone = alone();
    manual_seed(5);
    // Once small, and once so large that tiles pay (Winograd's transformed weights are four times as large).
    for (channels, points) in [(24, 6), (64, 32)] {
        let x = Tensor::randn([4, channels, points, points]).eval().clone();
        let mut w = Tensor::randn([channels, channels, 3, 3]).eval().clone();
        let options = || ConvOptions { padding: 1usize.into(), ..Default::default() };
        let start = live_bytes();
        for _ in 0..4 {
            let leaf = w.requires_grad();
            conv2d(&x, &leaf, None, options()).square().mean(..).backward();
            w = (w - leaf.grad().unwrap() * 1e-3).detach().eval().clone();
            flush_all();
        }
        let weights = w.numel() * 4;
        assert!(live_bytes() <= start + weights / 2, "{} bytes more", live_bytes() - start);
        no_grad(|| {
            for _ in 0..3 {
                conv2d(&x, &w, None, options()).eval();
            }
        });
        let kept = live_bytes() - start;
        assert!(kept >= weights && kept <= 6 * weights, "{kept} bytes kept beside {weights}");
        // Written to, the weights have nothing beside them.
        w = (w * 0.5f32).eval().clone();
        assert!(live_bytes() <= start + weights / 2, "{} bytes more", live_bytes() - start);
        drop(w);
    }
}
