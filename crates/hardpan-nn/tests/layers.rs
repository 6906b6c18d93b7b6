//! Layers as a user meets them: names, starts, what changes in training, and what a step costs the planner.
//! Their numbers are checked against recorded PyTorch cases by `tools/conformance`.

use hardpan_engine::{DType, Tensor, flush_all, live_nodes, manual_seed, no_grad, plan_stats};
use hardpan_nn::init::{Init, fan_in_and_fan_out, orthogonal, truncated_normal};
use hardpan_nn::optim::{Adam, Recipe, SGD, norm_and_bias_params, norm_params};
use hardpan_nn::*;
use std::sync::Mutex;

/// Counters and the random generator are of the whole process, so every test of this file takes its turn.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

fn keys(m: &dyn Module) -> Vec<String> {
    m.state_dict().iter().map(|(k, t)| format!("{k} {:?}", t.shape())).collect()
}

fn std_of(t: &Tensor) -> f32 {
    let v = t.to_vec::<f32>();
    let mean = v.iter().sum::<f32>() / v.len() as f32;
    (v.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / v.len() as f32).sqrt()
}

#[test]
fn names_and_shapes_are_those_of_pytorch() {
    let _alone = alone();
    assert_eq!(keys(&Linear::new(3, 2)), ["weight [2, 3]", "bias [2]"]);
    assert_eq!(keys(&Conv2d::new(4, 6, [3, 5]).groups(2).bias(false)), ["weight [6, 2, 3, 5]"]);
    assert_eq!(keys(&ConvTranspose1d::new(4, 6, 3)), ["weight [4, 6, 3]", "bias [6]"]);
    assert_eq!(
        keys(&BatchNorm2d::new(5)),
        ["weight [5]", "bias [5]", "running_mean [5]", "running_var [5]", "num_batches_tracked []"]
    );
    assert_eq!(
        keys(&LSTM::new(2, 3).bidirectional(true).proj_size(1)),
        [
            "weight_ih_l0 [12, 2]",
            "weight_hh_l0 [12, 1]",
            "bias_ih_l0 [12]",
            "bias_hh_l0 [12]",
            "weight_hr_l0 [1, 3]",
            "weight_ih_l0_reverse [12, 2]",
            "weight_hh_l0_reverse [12, 1]",
            "bias_ih_l0_reverse [12]",
            "bias_hh_l0_reverse [12]",
            "weight_hr_l0_reverse [1, 3]",
        ]
    );
    let config = TransformerConfig::new(8, 2).feedforward(16);
    assert_eq!(
        keys(&TransformerEncoder::new(&config, 1))[..5],
        [
            "layers.0.self_attn.in_proj_weight [24, 8]",
            "layers.0.self_attn.in_proj_bias [24]",
            "layers.0.self_attn.out_proj.weight [8, 8]",
            "layers.0.self_attn.out_proj.bias [8]",
            "layers.0.linear1.weight [16, 8]",
        ]
    );
    let net =
        seq![Conv2d::new(1, 2, 3), BatchNorm2d::new(2), ReLU, Flatten::new(), Linear::new(8, 2)];
    assert_eq!(norm_and_bias_params(&net).len(), 4, "weight and bias of the norm, two biases");
}

#[test]
fn a_signal_keeps_its_size_by_default_and_shrinks_with_the_other_start() {
    let _alone = alone();
    // The experiment of the fast.ai course, lesson 9, "why sqrt(5)?".
    let run = |init: Init| {
        manual_seed(1);
        let conv = |i, o| Conv2d::new(i, o, 5).padding(2).init(init);
        let net = seq![conv(1, 16), ReLU, conv(16, 16), ReLU, conv(16, 16), ReLU, conv(16, 16)];
        std_of(&no_grad(|| net.forward(&Tensor::randn([4, 1, 12, 12]))))
    };
    let (kaiming, torch) = (run(Init::default()), run(Init::PyTorch));
    assert!((0.5..2.5).contains(&kaiming), "{kaiming}");
    assert!(torch < kaiming / 10.0, "{torch} {kaiming}");
}

#[test]
fn initial_values() {
    let _alone = alone();
    manual_seed(5);
    let l = Linear::new(400, 300);
    assert!((std_of(&l.weight.value()) - (2f32 / 400.0).sqrt()).abs() < 1e-3);
    assert_eq!(l.bias.as_ref().unwrap().value().to_vec::<f32>(), [0.0; 300]);
    let first = l.weight.value().to_vec::<f32>();
    manual_seed(5);
    assert_eq!(
        Linear::new(400, 300).weight.value().to_vec::<f32>(),
        first,
        "same seed, same start"
    );
    let t = Linear::new(400, 300).init(Init::PyTorch);
    for v in [t.weight.value(), t.bias.as_ref().unwrap().value()] {
        let v = v.to_vec::<f32>();
        assert!(v.iter().all(|x| x.abs() <= 0.05) && v.iter().any(|x| x.abs() > 0.045));
    }
    assert_eq!(fan_in_and_fan_out(&[8, 4, 3, 3]), (36, 72));
    let u = Init::XavierUniform(1.0).tensor(&[300, 100]);
    assert!((std_of(&u) - (2f32 / 400.0).sqrt()).abs() < 1e-3);
    let n = truncated_normal(&[10_000], 0.5).to_vec::<f32>();
    assert!(n.iter().all(|x| x.abs() <= 1.0) && n.iter().any(|x| x.abs() > 0.9));
    let q = orthogonal(&[3, 10], 2.0);
    let gram = q.matmul(&q.t()).to_vec::<f32>();
    for (i, v) in gram.iter().enumerate() {
        assert!((v - if i % 4 == 0 { 4.0 } else { 0.0 }).abs() < 1e-5, "{gram:?}");
    }
    let same = Conv2d::new(3, 3, 3).padding(1).init(Init::Dirac);
    let x = Tensor::randn([2, 3, 5, 5]);
    assert_eq!(same.forward(&x).to_vec::<f32>(), x.to_vec::<f32>());
}

#[test]
fn batch_norm_statistics_are_part_of_the_step() {
    let _alone = alone();
    manual_seed(2);
    let net = seq![Linear::new(6, 4), BatchNorm1d::new(4), ReLU, Linear::new(4, 1)];
    let x = Tensor::randn([8, 6]).eval().clone();
    let mut opt = SGD::new(0.05).build(&net);
    let mut step = || {
        let y = net.forward(&x);
        let loss = (&y * &y).mean(..);
        loss.backward();
        opt.step_and_zero_grad();
        loss
    };
    for _ in 0..3 {
        step();
    }
    let (before, nodes) = (plan_stats(), live_nodes());
    for _ in 0..20 {
        step();
    }
    let after = plan_stats();
    assert_eq!(after.misses, before.misses);
    assert_eq!(after.hits, before.hits + 20, "one plan for each step");
    assert_eq!(live_nodes(), nodes, "running statistics carry no history");
    let bn = net.get(1).unwrap() as &dyn Module;
    let bn = bn.downcast_ref::<BatchNorm1d>().unwrap();
    assert_eq!(bn.num_batches_tracked.as_ref().unwrap().value().item::<i64>(), 23);
    assert!(!bn.running_mean.as_ref().unwrap().value().is_requires_grad());
}

#[test]
fn batch_norm_by_hand() {
    let _alone = alone();
    let bn = BatchNorm1d::new(1).momentum(0.5).eps(0.0);
    let x = Tensor::from_vec(vec![1f32, 3.0], [2, 1]);
    assert_eq!(bn.forward(&x).to_vec::<f32>(), [-1.0, 1.0]);
    let value = |b: &Option<Buffer>| b.as_ref().unwrap().value().item::<f32>();
    // Mean 2, unbiased variance 2; half way from 0 and 1.
    assert_eq!((value(&bn.running_mean), value(&bn.running_var)), (1.0, 1.5));
    bn.eval();
    let y = bn.forward(&x).to_vec::<f32>();
    assert!((y[1] - 2.0 / 1.5f32.sqrt()).abs() < 1e-6);
    assert_eq!(value(&bn.running_mean), 1.0, "evaluation changes nothing");
    let average = BatchNorm1d::new(1).momentum(None);
    average.forward(&x);
    average.forward(&(&x + 4.0));
    assert!((value(&average.running_mean) - 4.0).abs() < 1e-6, "the mean of 2 and 6");
}

#[test]
fn dropout_and_padding_rows() {
    let _alone = alone();
    manual_seed(4);
    let d = Dropout::new(0.25);
    let y = d.forward(&Tensor::ones([10_000])).to_vec::<f32>();
    let zeros = y.iter().filter(|v| **v == 0.0).count();
    assert!((2300..2700).contains(&zeros), "{zeros}");
    assert!(y.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
    d.eval();
    assert_eq!(d.forward(&Tensor::ones([10])).to_vec::<f32>(), [1.0; 10]);

    let e = Embedding::new(4, 2).padding_idx(-1);
    let i = Tensor::from_vec(vec![3i64, 0, 3], [3]);
    let y = e.forward(&i);
    assert_eq!(y.select(0, 0).to_vec::<f32>(), [0.0; 2]);
    y.sum(..).backward();
    assert_eq!(e.weight.grad().unwrap().to_vec::<f32>(), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

/// The product with the state, the gates, and the state's place in the output.
#[test]
fn a_time_step_of_an_lstm_is_three_kernels() {
    let _alone = alone();
    let lstm = LSTM::new(5, 7);
    let x = Tensor::randn([12, 3, 5]).eval().clone();
    flush_all();
    let kernels = |n: usize| {
        let x = x.narrow(0, 0, n).eval().clone();
        let before = plan_stats().kernels;
        let out = no_grad(|| lstm.forward(&x));
        flush_all();
        drop(out);
        plan_stats().kernels - before
    };
    let (short, long) = (kernels(4), kernels(12));
    assert!(long - short <= 8 * 3, "{} kernels for 8 more steps", long - short);
}

#[test]
fn a_small_convolution_net_learns_a_batch_by_heart() {
    let _alone = alone();
    manual_seed(7);
    let net = seq![
        Conv2d::new(1, 8, 3).padding(1).bias(false),
        BatchNorm2d::new(8),
        ReLU,
        MaxPool2d::new(2),
        Conv2d::new(8, 16, 3).stride(2).padding(1),
        ReLU,
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(16, 4),
    ];
    let x = Tensor::randn([16, 1, 8, 8]).eval().clone();
    let y = Tensor::from_vec((0..16i64).map(|i| i % 4).collect::<Vec<_>>(), [16]);
    let mut opt = Adam::fastai(0.03).build(&net);
    let loss_function = CrossEntropyLoss::new();
    let mut losses = Vec::new();
    for _ in 0..80 {
        let loss = loss_function.forward(&(net.forward(&x), y.clone()));
        loss.backward();
        opt.step_and_zero_grad();
        losses.push(loss);
    }
    let (first, last) = (losses[0].item::<f32>(), losses[79].item::<f32>());
    assert!(first > 1.0 && last < 0.1, "{first} -> {last}");
}

#[test]
fn a_gru_learns_to_remember() {
    let _alone = alone();
    manual_seed(8);
    // The class is the first number of the sequence.
    let (gru, head) = (GRU::new(1, 12).batch_first(true), Linear::new(12, 1));
    let x = Tensor::randn([32, 6, 1]).eval().clone();
    let y = x.select(1, 0).eval().clone();
    let params = gru.parameters().into_iter().chain(head.parameters()).collect::<Vec<_>>();
    let mut opt = Adam::new(0.02).build(params);
    let mut step = || {
        let (out, _) = gru.forward(&x);
        let e = head.forward(&out.select(1, -1)) - &y;
        let loss = (&e * &e).mean(..);
        loss.backward();
        opt.step_and_zero_grad();
        loss
    };
    let first = step().item::<f32>();
    for _ in 0..120 {
        step();
    }
    let last = step().item::<f32>();
    assert!(last < first * 0.1, "{first} -> {last}");
}

#[test]
fn attention_does_not_look_ahead() {
    let _alone = alone();
    manual_seed(9);
    let config = TransformerConfig::new(8, 2).feedforward(16).batch_first(true).norm_first(true);
    let net = TransformerEncoder::new(&config, 2);
    net.eval();
    let x = Tensor::randn([1, 5, 8]).eval().clone();
    let change =
        Tensor::from_vec((0..40).map(|i| if i < 32 { 0f32 } else { 1.0 }).collect(), [1, 5, 8]);
    let (a, b) = (net.apply(&x, &Attend::causal()), net.apply(&(&x + change), &Attend::causal()));
    let (a, b) = (a.to_vec::<f32>(), b.to_vec::<f32>());
    assert_eq!(a[..32], b[..32]);
    assert_ne!(a[32..], b[32..]);
}

#[test]
fn causal_attention_is_attention_with_a_causal_mask() {
    let _alone = alone();
    manual_seed(10);
    let net = MultiheadAttention::new(8, 2).batch_first(true);
    for (l, s) in [(6, 6), (3, 7), (7, 3)] {
        let q = Tensor::randn([2, l, 8]).eval().detach().requires_grad();
        let k = Tensor::randn([2, s, 8]).eval().detach().requires_grad();
        let later: Vec<bool> = (0..l * s).map(|at| at % s > at / s).collect();
        let masked = Attend::new().mask(Tensor::from_vec(later, [l, s]));
        let run = |options: &Attend| {
            let y = net.attend(&q, &k, &k, options).0;
            let grads = hardpan_engine::grad(&y.square().sum(..), &[&q, &k]);
            [&y, &grads[0], &grads[1]].map(|t| t.to_vec::<f32>())
        };
        for (a, b) in run(&Attend::causal()).iter().zip(run(&masked)) {
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
        }
    }
}

#[test]
#[should_panic(expected = "BatchNorm2d(3): expected [N, C, H, W], got shape [2, 4, 5, 5]")]
fn a_wrong_number_of_channels_is_refused() {
    let _alone = alone();
    BatchNorm2d::new(3).forward(&Tensor::ones([2, 4, 5, 5]));
}

#[test]
#[should_panic(expected = "3 input and 4 output channels do not divide into 2 groups")]
fn groups_that_do_not_divide_are_refused() {
    let _alone = alone();
    let _ = Conv2d::new(3, 4, 3).groups(2);
}

#[test]
fn fractional_pools_shrink_by_less_than_two() {
    let _alone = alone();
    let x = Tensor::randn([2, 3, 10, 14]);
    let pool = FractionalMaxPool2d::with_ratio(2, &[0.7, 0.5]);
    assert_eq!(pool.forward(&x).shape(), [2, 3, 7, 7]);
    let samples = Tensor::full([2, 3, 2], 0.5f32);
    let fixed = FractionalMaxPool2d::new(3, (5, 6)).samples(samples);
    let (y, places) = fixed.forward_with_indices(&x);
    assert_eq!(y.to_vec::<f32>(), fixed.forward(&x).to_vec::<f32>());
    let found = x.reshape([2, 3, 140]).gather(-1, &places.reshape([2, 3, 30]));
    assert_eq!(found.to_vec::<f32>(), y.to_vec::<f32>());
    assert_eq!(
        FractionalMaxPool3d::new(2, 3).forward(&Tensor::randn([1, 2, 4, 5, 6])).shape(),
        [1, 2, 3, 3, 3]
    );
}

/// The definition of Torch7, even sizes included; `third` is what PyTorch 2.15 gives too, `last` what it would if its sums let go of the first
/// channel.
#[test]
fn cross_map_lrn_has_torch7s_window() {
    let _alone = alone();
    let x = Tensor::arange(0.0, 10.0, 1.0).to_dtype(DType::F64).reshape([1, 5, 1, 2]) / 3.0;
    for (size, third, last) in [
        (1, 0.8275303442719322, 0.835312994620578),
        (2, 1.0119594363034023, 1.2393921296689157),
        (3, 0.7819690111016118, 1.196198372877541),
        (4, 0.8660254037844386, 1.3839076178777319),
        (5, 0.7062462382985412, 1.4155609498226323),
    ] {
        let y = CrossMapLRN2d::new(size).alpha(0.5).forward(&x).to_vec::<f64>();
        assert!((y[4] - third).abs() < 1e-6 && (y[9] - last).abs() < 1e-6, "{size}: {y:?}");
    }
}

#[test]
fn a_flat_batch_norm_counts_every_place_as_an_item() {
    let _alone = alone();
    let x = Tensor::randn([3, 5, 4]);
    let (flat, plain) = (BatchNorm1dFlat::new(4), BatchNorm1d::new(4));
    assert_eq!(keys(&flat), keys(&plain));
    let (a, b) = (flat.forward(&x), plain.forward(&x.reshape([15, 4])));
    assert_eq!(a.to_vec::<f32>(), b.to_vec::<f32>());
    assert_eq!(
        flat.state_dict().get("running_mean").unwrap().to_vec::<f32>(),
        plain.state_dict().get("running_mean").unwrap().to_vec::<f32>()
    );
}

#[test]
fn ragged_sequences_go_into_one_tensor_and_come_back() {
    let _alone = alone();
    let of = |n: usize, by: f64| Tensor::iota(2 * n).to_dtype(DType::F32).reshape([n, 2]) + by;
    let sequences = [of(2, 0.5), of(4, 10.0), of(0, 0.0)];
    for batch_first in [false, true] {
        let (x, lengths) = pad_sequence(&sequences, batch_first, -1.0);
        assert_eq!(lengths.to_vec::<i64>(), [2, 4, 0]);
        let by_item = if batch_first { x.clone() } else { x.transpose(0, 1) };
        assert_eq!(by_item.shape(), [3, 4, 2]);
        assert_eq!(by_item.select(0, 0).to_vec::<f32>(), [0.5, 1.5, 2.5, 3.5, -1., -1., -1., -1.]);
        let back = unpad_sequence(&x, &lengths, batch_first);
        for (a, b) in sequences.iter().zip(&back) {
            assert_eq!((a.shape(), a.to_vec::<f32>()), (b.shape(), b.to_vec::<f32>()));
        }
        let mask = padding_mask(&lengths, 4);
        let marked = by_item.select(-1, 0).lt(0.0);
        assert_eq!(mask.to_vec::<bool>(), marked.to_vec::<bool>());
    }
}

#[test]
fn a_transposed_convolution_to_a_size() {
    let _alone = alone();
    let m = ConvTranspose2d::new(3, 2, 3).stride(2).padding(1);
    let x = Tensor::randn([1, 3, 4, 5]);
    assert_eq!(m.forward(&x).shape(), &[1, 2, 7, 9]);
    let y = m.forward_to(&x, &[8, 9]);
    assert_eq!(y.shape(), &[1, 2, 8, 9]);
    assert_eq!(m.forward_to(&x, &[1, 2, 7, 9]).to_vec::<f32>(), m.forward(&x).to_vec::<f32>());
    assert_eq!(y.i((.., .., 0..7)).to_vec::<f32>(), m.forward(&x).to_vec::<f32>());
}

#[test]
#[should_panic(expected = "becomes 7 to 8, not 9")]
fn a_transposed_convolution_to_a_size_it_cannot_reach() {
    let _alone = alone();
    let m = ConvTranspose2d::new(3, 2, 3).stride(2).padding(1);
    let _ = m.forward_to(&Tensor::randn([1, 3, 4, 4]), &[9, 7]);
}

/// Weight and spectral norm rewrite a layer's weight: it decays, and is frozen, as without them.
#[test]
fn what_counts_as_a_norm() {
    let _alone = alone();
    let roles = |model: &dyn Module| {
        let mut out = Vec::new();
        model.for_each_module(&mut |path, m| {
            if m.role() != Role::Other {
                out.push(format!("{path} {:?}", m.role()));
            }
        });
        out
    };
    for (norm, want) in [
        (NormType::Weight, vec!["0 Conv"]),
        (NormType::Spectral, vec!["0 Conv"]),
        (NormType::Batch, vec!["0 Conv", "1 BatchNorm"]),
        (NormType::Instance, vec!["0 Conv", "1 Norm"]),
    ] {
        let layer = ConvLayer::new(3, 4).norm(norm).build();
        assert_eq!(roles(&layer), want);
        let norms = norm_params(&layer);
        assert_eq!(norms.len(), if want.len() == 2 { 2 } else { 0 }, "{norm:?}");
        // Of the wrapped convolution only the bias is left out of weight decay.
        assert_eq!(norm_and_bias_params(&layer).len(), if want.len() == 2 { 2 } else { 1 });
        let mut opt = SGD::new(0.1).build(&layer);
        opt.always_train(&norms);
        opt.freeze_to(1);
        let trained = opt.params().filter(|p| !p.is_frozen()).count();
        assert_eq!(trained, norms.len(), "{norm:?}");
    }
    let all = seq![
        Linear::new(2, 2),
        ConvTranspose1d::new(2, 2, 1),
        RunningBatchNorm::new(2),
        BatchNorm1dFlat::new(2),
        GroupNorm::new(1, 2),
        RMSNorm::new(2),
        LocalResponseNorm::new(2),
    ];
    let want = [
        "0 Linear",
        "1 ConvTranspose",
        "2 BatchNorm",
        "3 BatchNorm",
        "3.norm BatchNorm",
        "4 Norm",
        "5 Norm",
        "6 Norm",
    ];
    // A flattened field is met under its owner's path.
    let want: Vec<String> = want.iter().map(|w| w.replace("3.norm", "3")).collect();
    assert_eq!(roles(&all), want);
    assert_eq!(Module::role(&(Box::new(LayerNorm::new(2)) as Box<dyn Layer>)), Role::Norm);
}

/// Every layer with dropout in it is reached, and nothing else.
#[test]
fn dropout_alone_can_be_switched() {
    let _alone = alone();
    manual_seed(5);
    let x = Tensor::ones([3, 2, 8]);
    let norm = BatchNorm1dFlat::new(8);
    norm.eval();
    norm.set_dropout(true);
    assert!(norm.forward(&x).to_vec::<f32>().iter().all(|v| (v - 1.0).abs() < 1e-4));
    let differs = |model: &dyn Module, run: &dyn Fn() -> Tensor| {
        let twice = || run().to_vec::<f32>() != run().to_vec::<f32>();
        model.eval();
        assert!(!twice(), "{}", model.type_name());
        model.set_dropout(true);
        let differs = twice();
        model.set_dropout(false);
        assert!(!twice(), "{}", model.type_name());
        differs
    };
    let lstm = LSTM::new(8, 8).layers(2).dropout(0.5);
    assert!(differs(&lstm, &|| lstm.forward(&x).0));
    let gru = GRU::new(8, 8).layers(2).dropout(0.5);
    assert!(differs(&gru, &|| gru.forward(&x).0));
    let attention = MultiheadAttention::new(8, 2).dropout(0.5);
    assert!(differs(&attention, &|| attention.forward(&x)));
    let encoder = TransformerEncoderLayer::new(&TransformerConfig::new(8, 2).feedforward(16));
    assert!(differs(&encoder, &|| encoder.forward(&x)));
    let dropped = WeightDropout::new(LSTM::new(8, 8), 0.5, &["weight_hh_l0"]);
    assert!(differs(&dropped, &|| dropped.forward(&x).0));
    let sequence = RNNDropout::new(0.5);
    assert!(differs(&sequence, &|| sequence.forward(&x)));
    let slopes = RReLU::new(0.1, 0.3);
    assert!(!differs(&slopes, &|| slopes.forward(&-&x)), "random, but no dropout");
}
