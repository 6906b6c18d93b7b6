//! fastai's layers and blocks, weight parametrizations, positions, and sequences of different lengths, against fastai 2.8, PyTorch 2.15
//! and the course's own code on parameters and inputs made by formula.

use hardpan_engine::{DType, Tensor, manual_seed, no_grad};
use hardpan_nn::init::Init;
use hardpan_nn::*;

/// Every parameter filled by a formula of its name and the position.
fn fill(model: &dyn Module) {
    for (name, p) in model.named_parameters() {
        let one = if name.contains("1.weight") && p.shape().len() == 1 { 1.0 } else { 0.0 };
        let v: Vec<f32> = (0..p.numel())
            .map(|i| ((0.7 * i as f64 + name.len() as f64).sin() * 0.3 + one) as f32)
            .collect();
        p.set(Tensor::from_vec(v, p.shape()));
    }
}

fn input(shape: &[usize]) -> Tensor {
    let v: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|i| ((i as f64 * 0.37).sin() * 1.5) as f32)
        .collect();
    Tensor::from_vec(v, shape)
}

/// The first elements and the sum.
#[track_caller]
fn check(t: &Tensor, first: &[f64], sum: f64) {
    let v: Vec<f64> = t.to_dtype(DType::F64).to_vec();
    for (got, want) in v.iter().zip(first) {
        assert!((got - want).abs() < 2e-5 * want.abs().max(1.0), "{:?}, want {first:?}", &v[..6]);
    }
    let total: f64 = v.iter().sum();
    assert!((total - sum).abs() < 1e-4 * sum.abs().max(1.0), "sum {total}, want {sum}");
}

#[test]
fn residual_blocks() {
    let plain = ResBlockConfig::new(1, 4, 8).stride(2).build();
    let bottleneck = ResBlockConfig::new(4, 2, 4).reduction(2).build();
    let next = ResBlockConfig::se_resnext(2, 4, 8, 2, 4, 64).build();
    let depthwise = ResBlockConfig::new(1, 4, 4).middle(8, 8).depthwise(true).build();
    let zeros = [0.0; 6];
    let cases: [(&ResBlock, &[usize], &[f64], f64); 4] = [
        (&plain, &[2, 4, 5, 5], &[0.0, 0.0, 0.350551, 0.0, 0.0, 0.0], 16.67608),
        (&bottleneck, &[2, 8, 4, 4], &zeros, 234.1385),
        (&next, &[1, 8, 4, 4], &zeros, 117.98569),
        (&depthwise, &[2, 4, 4, 4], &zeros, 194.15975),
    ];
    for (block, shape, first, sum) in cases {
        fill(block);
        block.eval();
        check(&block.forward(&input(shape)), first, sum);
    }
    let keys: Vec<String> = bottleneck.named_parameters().into_iter().map(|(k, _)| k).collect();
    assert_eq!(
        keys[9..13].join(" "),
        "convpath.3.layers.1.0.weight convpath.3.layers.1.0.bias \
                                       convpath.3.layers.2.0.weight convpath.3.layers.2.0.bias"
    );
    assert_eq!(&keys[13..], ["idpath.0.0.weight", "idpath.0.1.weight", "idpath.0.1.bias"]);
}

#[test]
fn a_residual_block_starts_as_the_identity() {
    manual_seed(1);
    let block = ResBlockConfig::new(1, 4, 4).activation(Identity::default).build();
    let x = Tensor::randn([8, 4, 6, 6]);
    // The last norm gives its bias, 0.001.
    let d = (block.forward(&x) - &x - 1e-3).abs().amax(..).item::<f32>();
    assert!(d < 1e-6, "{d}");
}

#[test]
fn layers_that_see_their_input_again() {
    let x = input(&[2, 3, 2]);
    let double = |x: &Tensor| x * 2.0;
    let sum = SequentialEx::new().append(double).add().forward(&x);
    assert_eq!(sum.to_vec::<f32>(), (&x * 2.0 + &x).to_vec::<f32>());
    let product = SequentialEx::new().append(double).product().forward(&x);
    assert_eq!(product.to_vec::<f32>(), (&x * 2.0 * &x).to_vec::<f32>());
    let dense = SequentialEx::new().append(double).cat().forward(&x);
    assert_eq!(dense.to_vec::<f32>(), Tensor::cat(&[&x * 2.0, x.clone()], 1).to_vec::<f32>());
    let cat = Cat::new(vec![Box::new(Lambda(double)), Box::new(ReLU)]).dim(2).forward(&x);
    assert_eq!(cat.shape(), [2, 3, 4]);
}

#[test]
fn weight_norm() {
    let layer = WeightNorm::new(Linear::new(3, 2));
    let keys: Vec<String> = layer.state_dict().keys().map(str::to_owned).collect();
    assert_eq!(
        keys,
        ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    );
    let plain = Linear::new(3, 2);
    // Wrapping changes nothing that the layer computes.
    let before = plain.forward(&input(&[4, 3])).to_vec::<f32>();
    let after = WeightNorm::new(plain).forward(&input(&[4, 3])).to_vec::<f32>();
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5));
    fill(&layer);
    let y = layer.forward(&input(&[4, 3]));
    check(&y, &[-0.091981, -0.531749, 0.413834, -0.849406, 0.207844, -0.556825], -1.86841);
    y.sum(..).backward();
    let grads: Vec<Tensor> = layer.parameters()[1..].iter().map(|p| p.grad().unwrap()).collect();
    check(&grads[0], &[3.189275, -3.16063], 0.02865);
    check(&grads[1], &[-0.210979, 0.093905, 0.892131, 0.590326, -0.038181, -0.288309], 1.03889);
}

#[test]
fn spectral_norm() {
    let layer = SpectralNorm::new(Conv2d::new(2, 3, 2));
    fill(&layer);
    let unit = |v: Vec<f32>| {
        let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt();
        Tensor::from_vec(v.iter().map(|x| x / norm).collect::<Vec<_>>(), [v.len()])
    };
    let mut state = layer.state_dict();
    state.insert("parametrizations.weight.0._u", unit(vec![1., 2., 3.]));
    state.insert("parametrizations.weight.0._v", unit((1..9).map(|i| i as f32).collect()));
    layer.load_state_dict(&state, true).unwrap();
    let y = layer.forward(&input(&[1, 2, 3, 3]));
    let want = [2.084686, 2.599178, 2.462752, 1.8303, 2.045092, 2.078042];
    check(&y, &want, 14.77399);
    y.sum(..).backward();
    let grad = layer.parameters()[1].grad().unwrap();
    check(&grad, &[-0.74761, -3.49638, -2.780442, 0.764405, -3.305269, 1.436758], -1.52462);
    let u = layer.state_dict().get("parametrizations.weight.0._u").unwrap().clone();
    check(&u, &[-0.878958, -0.413645, 0.23734], -1.05526);
    // In evaluation the vectors stay.
    layer.eval();
    check(&layer.forward(&input(&[1, 2, 3, 3])), &want, 14.77399);
    assert_eq!(layer.buffers()[0].value().to_vec::<f32>(), u.to_vec::<f32>());
    // The largest singular value of the weight in use comes to 1.
    layer.train();
    for _ in 0..30 {
        layer.forward(&input(&[1, 2, 3, 3]));
    }
    let w = layer.weight().detach().reshape([3, 8]);
    let gram = w.matmul(&w.t()).to_dtype(DType::F64);
    let mut v = Tensor::ones([3, 1]).to_dtype(DType::F64);
    for _ in 0..200 {
        v = gram.matmul(&v);
        v = &v / (&v * &v).sum(..).sqrt();
        v.eval();
    }
    let largest = (v.t().matmul(&gram).matmul(&v)).sum(..).item::<f64>().sqrt();
    assert!((largest - 1.0).abs() < 1e-4, "{largest}");
}

#[test]
fn attention_between_places_is_what_its_definition_says() {
    manual_seed(4);
    let layer = SelfAttention::new(16);
    layer.gamma.set(Tensor::zeros([1]) + 0.7);
    layer.eval();
    let x = Tensor::randn([2, 16, 3, 4]);
    let w = |k: usize| {
        let list = [&layer.named_parameters()[..]];
        let name = ["query", "key", "value"][k];
        let p = list[0].iter().find(|(n, _)| n.starts_with(name)).unwrap().1.value().detach();
        let (u, v) = {
            let b = layer.named_buffers();
            let get = |end: &str| {
                b.iter().find(|(n, _)| n.starts_with(name) && n.ends_with(end)).unwrap().1.value()
            };
            (get("_u"), get("_v"))
        };
        let p = p.squeeze(-1);
        let sigma = (u * p.matmul(&v)).sum(..);
        p / sigma
    };
    let flat = x.flatten(2, -1);
    let (q, k, v) = (w(0).matmul(&flat), w(1).matmul(&flat), w(2).matmul(&flat));
    // Place j of the result is the mean of the values, weighed by a softmax of query i times key j over i.
    let scores = Tensor::einsum("nci,ncj->nij", &[&q, &k]);
    let e = (&scores - scores.amax_keepdim(1)).exp();
    let weights = &e / e.sum_keepdim(1);
    let want = Tensor::einsum("nci,nij->ncj", &[&v, &weights]) * 0.7 + &flat;
    let got = layer.forward(&x).flatten(2, -1);
    let d = (got - want).abs().amax(..).item::<f32>();
    assert!(d < 1e-5, "{d}");
}

#[test]
fn attention_layers_start_as_the_identity_and_learn_their_share() {
    manual_seed(4);
    let x = Tensor::randn([2, 16, 4, 4]);
    let layers: [Box<dyn Layer>; 3] = [
        Box::new(SelfAttention::new(16)),
        Box::new(PooledSelfAttention2d::new(16)),
        Box::new(SimpleSelfAttention::new(16).symmetric(true)),
    ];
    for layer in layers {
        let y = layer.forward(&x);
        assert_eq!(y.to_vec::<f32>(), x.to_vec::<f32>(), "{}", layer.tree());
        (y * &x).sum(..).backward();
        let gamma = layer.named_parameters().into_iter().find(|(n, _)| n == "gamma").unwrap().1;
        let grad = gamma.grad().unwrap().item::<f32>();
        assert!(grad.is_finite() && grad.abs() > 1e-6, "{grad}");
    }
}

#[test]
fn running_batch_norm_is_the_courses() {
    let layer = RunningBatchNorm::new(2);
    let x1 = input(&[3, 2, 2, 2]);
    check(&layer.forward(&x1), &[-0.216953, 0.511027, 1.140479, 1.586209, 0.852686, 0.811252], 0.0);
    let x2 = (input(&[2, 2, 2, 2]) * 2.0 + 1.0).requires_grad();
    let y = layer.forward(&x2);
    check(&y, &[0.638685, 1.690507, 2.59997, 3.243982, 2.211989, 2.146005], 8.88078);
    (&y * &y * &y).sum(..).backward();
    let want = [-2.463628, 1.243695, 9.637503, 18.491362, 6.822854, 6.322535];
    check(&x2.grad().unwrap(), &want, 73.37736);
    layer.eval();
    let want = [-0.330874, 0.195037, 0.649769, 0.971775, 0.626958, 0.593966];
    check(&layer.forward(&x1), &want, -2.71381);
}

#[test]
fn running_batch_norm_trains_with_batches_of_two() {
    use hardpan_nn::optim::{Adam, Recipe};
    manual_seed(2);
    let model = seq![
        Conv2d::new(1, 4, 3).padding(1),
        RunningBatchNorm::new(4),
        ReLU,
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(4, 2),
    ];
    let mut opt = Adam::new(0.02).build(&model);
    let loss = CrossEntropyLoss::new();
    // Stripes across or along, far from normalized.
    let batch = |seed: u64| {
        manual_seed(seed);
        let rows = Tensor::iota(6).reshape([6, 1]).to_dtype(DType::F32);
        let across = (rows * std::f64::consts::PI).cos().expand([6, 6]);
        let x = Tensor::stack(&[across.clone(), across.t()], 0).unsqueeze(1) * 20.0 + 50.0;
        (x + Tensor::randn([2, 1, 6, 6]) * 5.0, Tensor::from_vec(vec![0i64, 1], [2]))
    };
    for step in 0..80 {
        let (x, y) = batch(step);
        loss.forward(&(model.forward(&x), y)).backward();
        opt.step_and_zero_grad();
    }
    model.eval();
    let hits: f32 = (1000..1010)
        .map(|seed| {
            let (x, y) = batch(seed);
            model.forward(&x).argmax(-1).eq(&y).to_dtype(DType::F32).sum(..).item::<f32>()
        })
        .sum();
    assert!(hits >= 19.0, "{hits} of 20");
}

#[test]
fn sequences_of_different_lengths() {
    let (x, lengths) = (input(&[3, 4, 2]), Tensor::from_vec(vec![2i64, 4, 1], [3]));
    let lstm = LSTM::new(2, 3).layers(2).bidirectional(true).batch_first(true);
    fill(&lstm);
    let (y, (h, c)) = lstm.forward_lengths(&x, &lengths, None);
    check(&y, &[0.068908, 0.040504, 0.040206, -0.002437, -0.167422, -0.260394], -1.33384);
    check(&h, &[0.150728, 0.118128, -0.112116, -0.001948, 0.070045, 0.08424], -1.35772);
    check(&c, &[0.40506, 0.228718, -0.265579, -0.004237, 0.304018, 0.310567], -2.00788);
    // What is in the padding does not matter.
    let other = Tensor::cat(&[x.narrow(1, 0, 1), x.narrow(1, 1, 3) * 100.0], 1);
    let one = Tensor::from_vec(vec![1i64, 1, 1], [3]);
    let a = lstm.forward_lengths(&x, &one, None).0.to_vec::<f32>();
    assert_eq!(a, lstm.forward_lengths(&other, &one, None).0.to_vec::<f32>());

    let gru = GRU::new(2, 3).layers(2).bidirectional(true).batch_first(true);
    fill(&gru);
    let (y, h) = gru.forward_lengths(&x, &lengths, None);
    check(&y, &[0.141617, 0.090747, 0.099551, 0.075763, -0.342339, -0.300011], -0.27929);
    check(&h, &[0.626648, 0.188299, -0.206591, -0.093639, 0.307101, 0.524957], 0.19419);
    (&y * &y).sum(..).backward();
    let named = gru.named_parameters();
    let w = &named.iter().find(|(n, _)| n == "weight_hh_l0_reverse").unwrap().1;
    let want = [-0.000117, -0.000295, 0.000677, -0.00025, -0.000497, 0.000764];
    check(&w.grad().unwrap(), &want, 0.01599);
}

#[test]
fn positions() {
    #[rustfmt::skip]
    let want = [
        0.0, 0.5424231, 1.0114318, 1.3435481, -0.198315, 1.4339801, 1.9025865, 0.8004461, 0.6099361,
        -0.2568674, 0.5770581, -1.2063785,
    ];
    let rotary = RotaryPositions::new(8, 4);
    check(&rotary.forward(&input(&[1, 3, 4])), &want, 6.55985);
    // The last position alone, as when tokens are generated one by one.
    let last = rotary.at(&input(&[1, 3, 4]).narrow(1, 2, 1), 2);
    check(&last, &want[8..], want[8..].iter().sum());
    // Neighbours are halves in another order of the features.
    let order = Tensor::from_vec(vec![0i64, 2, 1, 3], [4]);
    let mixed = input(&[1, 3, 4]).index_select(-1, &order);
    let turned = RotaryPositions::new(8, 4).interleaved(true).forward(&mixed);
    check(&turned.index_select(-1, &order), &want, 6.55985);
    // Lengths stay.
    let (x, y) = (input(&[2, 3, 4]), rotary.forward(&input(&[2, 3, 4])));
    let (a, b) = ((&x * &x).sum(-1).to_vec::<f32>(), (&y * &y).sum(-1).to_vec::<f32>());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    let learned = LearnedPositions::new(5, 4);
    let y = learned.forward(&Tensor::zeros([2, 3, 4]));
    let table = learned.weight.value().narrow(0, 0, 3).to_vec::<f32>();
    assert_eq!(y.select(0, 1).to_vec::<f32>(), table);
}

#[test]
fn enlarged_images_start_without_a_checkerboard() {
    manual_seed(9);
    let up = PixelShuffleICNR::with(6, 3, 2, NormType::Weight, None);
    let y = up.forward(&Tensor::randn([1, 6, 4, 4]));
    assert_eq!(y.shape(), [1, 3, 8, 8]);
    // Each 2x2 cell comes from one place, by equal filters.
    let cells = y.reshape([3, 4, 2, 4, 2]);
    let spread = cells.amax([2, 4]) - cells.amin([2, 4]);
    assert!(spread.abs().amax(..).item::<f32>() < 1e-6);
    assert!(y.to_vec::<f32>().iter().any(|v| v.abs() > 0.1));
    let blurred = PixelShuffleICNR::new(6, 3, 2).blur(true).forward(&Tensor::ones([1, 6, 4, 4]));
    assert_eq!(blurred.shape(), [1, 3, 8, 8]);
}

#[test]
fn small_layers() {
    let x = input(&[2, 3, 4, 4]);
    let both = AdaptiveConcatPool2d::new(1).forward(&x);
    assert_eq!(both.shape(), [2, 6, 1, 1]);
    let (max, mean) = (x.amax([2, 3]).to_vec::<f32>(), x.mean([2, 3]).to_vec::<f32>());
    let got = both.reshape([2, 6]);
    let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(&got.narrow(1, 0, 3).to_vec::<f32>(), &max));
    assert!(near(&got.narrow(1, 3, 3).to_vec::<f32>(), &mean));
    assert_eq!(
        AdaptiveConcatPool1d::new(2).forward(&x.select(0, 0).flatten(1, 2).unsqueeze(0)).shape(),
        [1, 6, 2]
    );

    let range = SigmoidRange::new(-1.0, 5.5);
    let y = range.forward(&Tensor::from_vec(vec![-100f32, 0.0, 100.0], [3]));
    assert!(near(&y.to_vec::<f32>(), &[-1.0, 2.25, 5.5]));

    let linear = Linear::new(4, 2);
    let want = linear.forward(&x).to_vec::<f32>();
    let each = TimeDistributed(linear).forward(&x);
    assert_eq!((each.shape(), each.to_vec::<f32>()), (&[2, 3, 4, 2][..], want));

    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = seen.clone();
    let look = Debugger::new(move |x: &Tensor| into.lock().unwrap().push(x.shape().to_vec()));
    seq![look, ReLU].forward(&x);
    assert_eq!(*seen.lock().unwrap(), [[2, 3, 4, 4]]);

    let head = LinBnDrop::new(4, 3).dropout(0.2).linear_first(true).activation(ReLU).build();
    let kinds: Vec<&str> = head.iter().map(|l| l.type_name()).collect();
    assert_eq!(kinds, ["Linear", "ReLU", "BatchNorm1d", "Dropout"]);
    let zero = ConvLayer::new(2, 4).norm(NormType::BatchZero).no_activation().build();
    let (w, b) = (zero.parameters()[1].value(), zero.parameters()[2].value());
    assert_eq!((w.to_vec::<f32>(), b.to_vec::<f32>()), (vec![0.0; 4], vec![1e-3; 4]));
    let small = Embedding::new(1000, 8).init(Init::TruncatedNormal { std: 0.01 });
    assert!(small.weight.value().abs().amax(..).item::<f32>() <= 0.02);
}

#[test]
fn dropouts_of_language_models() {
    manual_seed(3);
    let ones = Tensor::ones([4, 6, 50]);
    let dropped = RNNDropout::new(0.4).forward(&ones);
    // One mask for all time steps of a sequence, another for the next sequence.
    for t in 1..6 {
        assert_eq!(dropped.select(1, t).to_vec::<f32>(), dropped.select(1, 0).to_vec::<f32>());
    }
    assert_ne!(dropped.select(0, 0).to_vec::<f32>(), dropped.select(0, 1).to_vec::<f32>());
    let kept = dropped.gt(0.0).to_dtype(DType::F32).mean(..).item::<f32>();
    assert!((kept - 0.6).abs() < 0.12, "{kept}");

    let words = EmbeddingDropout::new(Embedding::new(40, 5), 0.5);
    let table = words.emb.weight.value().detach();
    let got = words.forward(&Tensor::iota(40));
    let rows = got.to_vec::<f32>();
    let plain = table.to_vec::<f32>();
    let mut zero = 0;
    for (row, want) in rows.chunks(5).zip(plain.chunks(5)) {
        if row.iter().all(|x| *x == 0.0) {
            zero += 1;
        } else {
            assert!(row.iter().zip(want).all(|(a, b)| (a - 2.0 * b).abs() < 1e-5));
        }
    }
    assert!((8..=32).contains(&zero), "{zero} of 40 rows dropped");
    assert_eq!(words.emb.weight.value().to_vec::<f32>(), plain, "the table itself stays");
    words.eval();
    assert_eq!(words.forward(&Tensor::iota(40)).to_vec::<f32>(), plain);

    let lstm = WeightDropout::new(LSTM::new(3, 4), 1.0, &["weight_hh_l0"]);
    let x = Tensor::randn([5, 2, 3]);
    let (y, _) = lstm.forward(&x);
    // Without the connections in time, and from a state of zeros, only the cell state carries over; the first step is the same either way.
    let (plain, _) = lstm.layer().forward(&x);
    let first = |t: &Tensor| t.select(0, 0).to_vec::<f32>();
    assert_eq!(first(&y), first(&plain));
    assert_ne!(y.to_vec::<f32>(), plain.to_vec::<f32>());
    (&y * &y).sum(..).backward();
    let named = lstm.named_parameters();
    let grad = |name: &str| {
        let p = &named.iter().find(|(n, _)| n == name).unwrap().1;
        p.grad().unwrap().abs().amax(..).item::<f32>()
    };
    assert!(grad("module.weight_hh_l0") == 0.0 && grad("module.weight_ih_l0") > 0.0);
    lstm.eval();
    assert_eq!(no_grad(|| lstm.forward(&x).0.to_vec::<f32>()), plain.to_vec::<f32>());
}

fn kernels(block: &ResBlock) -> Vec<(String, Vec<usize>)> {
    let all = block.named_parameters().into_iter().map(|(name, p)| (name, p.shape()));
    all.filter(|(_, s)| s.len() == 4).collect()
}

/// The shapes that fastai 2.8's `SEBlock` and `SeparableBlock` have, and the settings of `ResBlock` that move them.
#[test]
fn kinds_of_residual_blocks() {
    let is = |config: &ResBlockConfig, want: &[(&str, [usize; 4])]| {
        let block = config.build();
        let want: Vec<_> = want.iter().map(|(n, s)| ((*n).to_owned(), s.to_vec())).collect();
        assert_eq!(kernels(&block), want);
        block
    };
    let block = is(
        &ResBlockConfig::squeeze_excite(4, 2, 4, 2, 16),
        &[
            ("convpath.0.0.weight", [8, 8, 1, 1]),
            ("convpath.1.0.weight", [16, 4, 3, 3]),
            ("convpath.2.0.weight", [16, 16, 1, 1]),
            ("convpath.3.layers.1.0.weight", [8, 16, 1, 1]),
            ("convpath.3.layers.2.0.weight", [16, 8, 1, 1]),
            ("idpath.0.0.weight", [16, 8, 1, 1]),
        ],
    );
    assert_eq!(block.forward(&input(&[2, 8, 6, 6])).shape(), [2, 16, 6, 6]);
    let separable = ResBlockConfig::separable(1, 8, 8);
    is(
        &separable,
        &[("convpath.0.0.weight", [16, 1, 3, 3]), ("convpath.1.0.weight", [8, 16, 3, 3])],
    );
    is(
        &separable.last_groups(4),
        &[("convpath.0.0.weight", [16, 1, 3, 3]), ("convpath.1.0.weight", [8, 4, 3, 3])],
    );
    let strided = ResBlockConfig::new(1, 4, 8).stride(2);
    let (first, last) = (strided.clone().build(), strided.pool_first(false).build());
    assert_eq!(kernels(&first)[2].0, "idpath.1.0.weight", "after the pool");
    assert_eq!(kernels(&last)[2].0, "idpath.0.0.weight", "before it");
    // On one path the order makes no difference to the shape, for odd sizes neither.
    let x = input(&[2, 4, 7, 7]);
    assert_eq!(first.forward(&x).shape(), last.forward(&x).shape());
}

#[test]
fn rotary_positions_of_another_base() {
    let y = RotaryPositions::with_base(8, 4, 100.0).forward(&Tensor::ones([1, 2, 4]));
    // Position 1: the pairs turn by 1 and by 100^(-2/4) = 0.1.
    let turn = |a: f32| [a.cos() - a.sin(), a.cos() + a.sin()];
    let ([a, c], [b, d]) = (turn(1.0), turn(0.1));
    for (got, want) in y.select(1, 1).to_vec::<f32>().iter().zip([a, b, c, d]) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
}

#[test]
fn log_probabilities_of_clusters() {
    manual_seed(12);
    let loss = AdaptiveLogSoftmaxWithLoss::new(8, 20, &[4, 10], 2.0);
    let x = Tensor::randn([5, 8]);
    let all = loss.log_prob(&x);
    assert_eq!(all.shape(), [5, 20]);
    assert!(all.exp().sum(1).to_vec::<f32>().iter().all(|s| (s - 1.0).abs() < 1e-5));
    // The head's share of a cluster is the sum over its classes.
    let head = hardpan_engine::functional::softmax(&loss.head.forward(&x), -1);
    let cluster = all.narrow(1, 4, 6).exp().sum(1) - head.select(1, 4);
    assert!(cluster.abs().amax(..).item::<f32>() < 1e-5);
    let y = Tensor::from_vec(vec![0i64, 3, 4, 11, 19], [5]);
    let (own, mean) = loss.forward(&(x, y.clone()));
    let picked = all.gather(1, &y.unsqueeze(1)).squeeze(1);
    assert!((&own - &picked).abs().amax(..).item::<f32>() < 1e-6);
    assert!((mean + picked.mean(..)).abs().item::<f32>() < 1e-6);
}

#[test]
fn running_batch_norm_before_training() {
    let norm = RunningBatchNorm::new(3);
    norm.eval();
    let x = input(&[2, 3, 4]);
    let off = (norm.forward(&x) - &x).abs().amax(..).item::<f32>();
    assert!(off < 1e-4, "passes its input on, off by {off}");
    norm.train();
    let y = norm.forward(&x);
    norm.eval();
    assert_ne!(norm.forward(&x).to_vec::<f32>(), x.to_vec::<f32>());
    assert!(y.to_vec::<f32>().iter().all(|v| v.is_finite()));
}

#[test]
fn branches_and_blocks_are_left_out_and_the_mean_stays() {
    manual_seed(3);
    let depth = StochasticDepth::new(0.25);
    let y = depth.forward(&Tensor::ones([4000, 2])).to_vec::<f32>();
    assert!(y.chunks(2).all(|r| r[0] == r[1] && (r[0] == 0.0 || (r[0] - 4.0 / 3.0).abs() < 1e-6)));
    let mean = y.iter().sum::<f32>() / y.len() as f32;
    assert!((mean - 1.0).abs() < 0.05, "{mean}");
    let together = StochasticDepth::new(0.25).batch(true);
    for _ in 0..10 {
        let y = together.forward(&Tensor::ones([5, 2])).to_vec::<f32>();
        assert!(y.iter().all(|v| *v == y[0]));
    }
    depth.eval();
    assert_eq!(depth.forward(&Tensor::ones([3, 2])).to_vec::<f32>(), [1.0; 6]);

    for block in [1, 2, 3, 5] {
        let drop = DropBlock2d::new(0.1, block);
        let y = drop.forward(&Tensor::ones([32, 16, 12, 10]));
        let kept = y.ne(0.0).to_dtype(DType::F32);
        let share = kept.mean(..).item::<f32>();
        assert!((share - 0.9).abs() < 0.03, "block {block}: {share} kept");
        assert!((y.mean(..).item::<f32>() - 1.0).abs() < 1e-5);
        // Every dropped pixel lies in a whole block of dropped ones: growing what the blocks fit into gives all of it back.
        let dropped = 1.0f64 - kept;
        let pool = |x: &Tensor, pad: isize| {
            let x = hardpan_engine::functional::pad(
                x,
                &[pad; 4],
                hardpan_engine::functional::PadMode::Constant(0.0),
            );
            MaxPool2d::new(block).stride(1).forward(&x)
        };
        let corners = 1.0f64 - pool(&(1.0f64 - &dropped), 0);
        assert_eq!(pool(&corners, block as isize - 1).to_vec::<f32>(), dropped.to_vec::<f32>());
        drop.eval();
        assert_eq!(drop.forward(&Tensor::ones([1, 1, 4, 4])).to_vec::<f32>(), [1.0; 16]);
    }
    // The whole picture at once where the block is as large.
    let y = DropBlock2d::new(0.5, 9).forward(&Tensor::ones([50, 4, 3, 3]));
    let sums = y.ne(0.0).to_dtype(DType::F32).sum([2, 3]).to_vec::<f32>();
    assert!(sums.iter().all(|s| *s == 0.0 || *s == 9.0) && sums.contains(&0.0));
}
