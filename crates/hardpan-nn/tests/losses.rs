//! Losses that PyTorch does not have, against fastai 2.8 and torchvision; and what predictions mean under a loss.

use hardpan_engine::functional::Reduction;
use hardpan_engine::{DType, Tensor, manual_seed};
use hardpan_nn::optim::{Adam, Recipe};
use hardpan_nn::*;

fn input(shape: &[usize]) -> Tensor {
    let v: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|i| ((i as f64 * 0.37).sin() * 1.5) as f32)
        .collect();
    Tensor::from_vec(v, shape)
}

#[track_caller]
fn near(got: Tensor, want: f64) {
    let got = got.to_dtype(DType::F64).item::<f64>();
    assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "got {got}, want {want}");
}

#[test]
fn focal() {
    let pair = (input(&[4, 3]), Tensor::from_vec(vec![0i64, 2, 1, 1], [4]));
    near(FocalLoss::new(2.0).forward(&pair), 0.680_398_345);
    let weight = Tensor::from_vec(vec![0.5f32, 1.0, 2.0], [3]);
    let weighted = FocalLoss::new(1.5).weight(weight).reduction(Reduction::Sum);
    near(weighted.forward(&pair), 3.515_353_68);
    let labels = Tensor::from_vec(vec![1f32, 0., 1., 0., 0., 1.], [2, 3]);
    let pair = (input(&[2, 3]), labels);
    near(BinaryFocalLoss::new(2.0).alpha(0.25).forward(&pair), 0.323_760_39);
    near(BinaryFocalLoss::new(2.0).reduction(Reduction::Sum).forward(&pair), 2.725_492_954);
}

#[test]
fn dice() {
    let y = Tensor::from_vec(vec![0i64, 1, 2, 2, 1, 1, 0, 2], [2, 2, 2]);
    let pair = (input(&[2, 3, 2, 2]), y);
    near(DiceLoss::new().forward(&pair), 4.839_250_088);
    let squared = DiceLoss::new().square_in_union(true).reduction(Reduction::Mean);
    near(squared.forward(&pair), 0.741_524_22);
}

#[test]
fn dice_learns_a_mask() {
    manual_seed(1);
    let model = seq![Conv2d::new(1, 8, 3).padding(1), ReLU, Conv2d::new(8, 2, 3).padding(1)];
    let x = Tensor::randn([4, 1, 8, 8]);
    // Few pixels are in the mask.
    let y = x.squeeze(1).gt(1.2).to_dtype(DType::I64);
    let (loss, mut opt) =
        (DiceLoss::new().reduction(Reduction::Mean), Adam::new(0.03).build(&model));
    for _ in 0..60 {
        loss.forward(&(model.forward(&x), y.clone())).backward();
        opt.step_and_zero_grad();
    }
    let pred = model.forward(&x);
    assert!(loss.forward(&(pred.clone(), y.clone())).item::<f32>() < 0.15);
    let wrong = loss.decodes(&loss.activation(&pred)).ne(&y).to_dtype(DType::F32).mean(..);
    assert!(wrong.item::<f32>() < 0.05);
}

#[test]
fn what_predictions_mean() {
    let logits = input(&[2, 3, 2]);
    let p = CrossEntropyLoss::new().activation(&logits);
    let sums = p.sum(1).to_vec::<f32>();
    assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "classes are in dimension 1");
    assert_eq!(CrossEntropyLoss::new().decodes(&p).shape(), [2, 2]);
    assert_eq!(
        CrossEntropyLoss::new().decodes(&p).to_vec::<i64>(),
        NLLLoss::new().decodes(&logits).to_vec::<i64>()
    );
    assert_eq!(MSELoss::new().decodes(&logits).to_vec::<f32>(), logits.to_vec::<f32>());
    let rate = PoissonNLLLoss::new().activation(&Tensor::zeros([1]));
    assert_eq!(rate.to_vec::<f32>(), [1.0]);
    let counts = PoissonNLLLoss::new().log_input(false).activation(&Tensor::zeros([1]));
    assert_eq!(counts.to_vec::<f32>(), [0.0]);
}

#[test]
fn what_margins_distances_and_sequences_mean() {
    let v = |v: &[f32]| Tensor::from_slice(v, [v.len()]);
    // Targets are 1 and -1.
    let soft = SoftMarginLoss::new();
    assert_eq!(soft.activation(&v(&[0.0])).to_vec::<f32>(), [0.5]);
    assert_eq!(soft.decodes(&soft.activation(&v(&[2.0, -0.1]))).to_vec::<f32>(), [1.0, -1.0]);
    // At half the margin both targets lose as much.
    let hinge = HingeEmbeddingLoss::new().margin(3.0);
    assert_eq!(hinge.decodes(&v(&[0.2, 1.4, 1.6])).to_vec::<f32>(), [1.0, 1.0, -1.0]);
    let lost = |x: f32, y: f32| hinge.forward(&(v(&[x]), v(&[y]))).item::<f32>();
    assert!(lost(1.4, 1.0) < lost(1.4, -1.0) && lost(1.6, 1.0) > lost(1.6, -1.0));
    let direction =
        CosineEmbeddingLoss::new().activation(&Tensor::from_vec(vec![3f32, 4.0], [1, 2]));
    assert_eq!(direction.to_vec::<f32>(), [0.6, 0.8]);
    let half = KLDivLoss::new(Reduction::Mean)
        .activation(&v(&[0.5f32.ln(), 0.25f32.ln()]))
        .to_vec::<f32>();
    assert!((half[0] - 0.5).abs() < 1e-6 && (half[1] - 0.25).abs() < 1e-6);
    let place = input(&[2, 3]);
    assert_eq!(TripletMarginLoss::new().decodes(&place).to_vec::<f32>(), place.to_vec::<f32>());
    // Two sequences of six steps: 0 1 1 0 1 2 and 0 0 3 3 0 0, with 0 for nothing.
    let paths = [0i64, 0, 1, 0, 1, 3, 0, 3, 1, 0, 2, 0];
    let pred = hardpan_engine::functional::one_hot(&Tensor::from_slice(&paths, [6, 2]), Some(4));
    let pred = pred.to_dtype(DType::F32) - 1.0;
    let ctc = CTCLoss::new();
    let labels = ctc.decodes(&ctc.activation(&pred));
    assert_eq!((labels.shape(), labels.to_vec::<i64>()), (&[2, 3][..], vec![1, 1, 2, 3, -1, -1]));
    let alone = CTCLoss::new().blank(3).decodes(&pred.select(1, 0));
    assert_eq!(alone.to_vec::<i64>(), [0, 1, 0, 1, 2]);
}

/// PyTorch 2.15's `LinearCrossEntropyLoss` in f64, whole and in chunks.
#[test]
fn cross_entropy_of_a_linear_layer() {
    let number = |n: usize, f: fn(f64) -> f64| (0..n).map(|i| f(i as f64)).collect::<Vec<f64>>();
    let x = Tensor::from_vec(number(20, |i| (i * 0.37).sin() * 1.5), [5, 4]);
    let w = Tensor::from_vec(number(12, |i| (i * 0.91).cos()), [3, 4]);
    let y = Tensor::from_vec(vec![0i64, 2, 1, 1, 2], [5]);
    let weights = || Tensor::from_vec(vec![0.5f64, 1.0, 2.0], [3]);
    let new = CrossEntropyLoss::new;
    let cases = [
        (new(), 3.2913216829141247, 0.2358761755158658),
        (new().weight(weights()), 3.22890936086748, 0.35886410620832725),
        (new().ignore_index(1), 2.9450707472185513, 0.38441215404159923),
        (new().label_smoothing(0.1), 3.1664124995731715, 0.23729524925650697),
        (new().reduction(Reduction::Sum), 16.456608414570624, 1.1793808775793289),
    ];
    for (loss, value, slope) in cases {
        let mut loss = LinearCrossEntropyLoss::new(4, 3).bias(true).loss(loss);
        loss.linear.weight.replace(w.clone());
        loss.linear.bias.as_ref().unwrap().replace(Tensor::from_vec(vec![0.1f64, -0.2, 0.3], [3]));
        for chunk in [0, 1, 2, 4, 9] {
            loss = loss.chunk(chunk);
            loss.zero_grad();
            let got = loss.forward(&(x.clone(), y.clone()));
            got.backward();
            let grad = loss.linear.weight.grad().unwrap().to_vec::<f64>();
            // The inputs were made in f32.
            assert!((got.item::<f64>() - value).abs() < 1e-5 * value, "{chunk}: {value}");
            assert!((grad[0] - slope).abs() < 1e-5, "{chunk}: {} {slope}", grad[0]);
        }
    }
    let each = LinearCrossEntropyLoss::new(4, 3).loss(new().reduction(Reduction::None)).chunk(2);
    let x = x.to_dtype(DType::F32);
    assert_eq!(each.forward(&(x.clone(), y)).shape(), [5]);
    assert_eq!(each.state_dict().keys().collect::<Vec<_>>(), ["linear.weight"]);
    assert_eq!(each.activation(&x).sum(1).shape(), [5]);
}

/// With classes last, or in the middle, every loss of classes is what it is with them in dimension 1.
#[test]
fn classes_in_any_dimension() {
    let same = |a: Tensor, b: Tensor| {
        assert_eq!(a.shape(), b.shape());
        assert!((a - b).abs().amax(..).item::<f32>() < 1e-6);
    };
    let second = input(&[2, 4, 3, 5]);
    let y = Tensor::from_vec((0..30).map(|i| i * 7 % 4).collect::<Vec<i64>>(), [2, 3, 5]);
    let weight = || Tensor::from_vec(vec![0.5f32, 1.0, 2.0, 1.5], [4]);
    for (dim, at) in [(-1, 3), (3, 3), (2, 2), (-2, 2), (0, 0), (1, 1)] {
        let x = second.movedim(1, at);
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            let plain = |x: &Tensor, dim: isize| {
                let loss =
                    CrossEntropyLoss::new().weight(weight()).ignore_index(2).label_smoothing(0.1);
                loss.reduction(reduction).dim(dim).forward(&(x.clone(), y.clone()))
            };
            same(plain(&x, dim), plain(&second, 1));
            let nll = |x: &Tensor, dim: isize| {
                let loss = NLLLoss::new().weight(weight()).reduction(reduction).dim(dim);
                loss.forward(&(x.clone(), y.clone()))
            };
            same(nll(&x, dim), nll(&second, 1));
            let focal = |x: &Tensor, dim: isize| {
                FocalLoss::new(2.0).reduction(reduction).dim(dim).forward(&(x.clone(), y.clone()))
            };
            same(focal(&x, dim), focal(&second, 1));
            let dice = |x: &Tensor, dim: isize| {
                DiceLoss::new().reduction(reduction).dim(dim).forward(&(x.clone(), y.clone()))
            };
            same(dice(&x, dim), dice(&second, 1));
            let soft = hardpan_engine::functional::softmax(&(&second * 2.0), 1);
            let probabilities = |x: &Tensor, y: Tensor, dim: isize| {
                CrossEntropyLoss::new().reduction(reduction).dim(dim).forward(&(x.clone(), y))
            };
            same(probabilities(&x, soft.movedim(1, at), dim), probabilities(&second, soft, 1));
        }
        let loss = CrossEntropyLoss::new().dim(dim);
        let p = loss.activation(&x);
        same(p.sum(dim), Tensor::ones(y.shape()));
        assert_eq!(loss.decodes(&p).to_vec::<i64>(), second.argmax(1).to_vec::<i64>());
        assert_eq!(NLLLoss::new().dim(dim).decodes(&x).shape(), [2, 3, 5]);
    }
    // One item.
    let alone = CrossEntropyLoss::new().dim(-1);
    let pair = (input(&[4]), Tensor::scalar(2i64));
    same(alone.forward(&pair), CrossEntropyLoss::new().forward(&pair));
}

#[test]
#[should_panic(
    expected = "classes (i64) [2, 3] or probabilities [2, 3, 4] were expected, got i64 [2, 4]"
)]
fn targets_of_another_shape() {
    let y = Tensor::zeros([2, 4]).to_dtype(DType::I64);
    CrossEntropyLoss::new().dim(-1).forward(&(input(&[2, 3, 4]), y));
}

/// As a learner calls them: with a prediction and a target.
#[test]
fn losses_of_three_tensors_and_of_sequences() {
    let same = |a: Tensor, b: Tensor| assert_eq!(a.item::<f32>(), b.item::<f32>());
    let (a, b, c) = (input(&[4, 3]), input(&[4, 3]) * 0.5 + 0.1, input(&[4, 3]).flip(0));
    let sign = Tensor::from_vec(vec![1f32, -1.0, 1.0, -1.0], [4]);
    let cosine = CosineEmbeddingLoss::new();
    same(
        cosine.forward(&((a.clone(), b.clone()), sign.clone())),
        cosine.forward(&(a.clone(), b.clone(), sign)),
    );
    let ranking = MarginRankingLoss::new().margin(0.2);
    same(
        ranking.forward(&((a.clone(), b.clone()), a.sign())),
        ranking.forward(&(a.clone(), b.clone(), a.sign())),
    );
    let (gauss, var) = (GaussianNLLLoss::new(), b.abs() + 0.5);
    same(
        gauss.forward(&((a.clone(), var.clone()), c.clone())),
        gauss.forward(&(a.clone(), c.clone(), var)),
    );
    let three = (a, b, c);
    same(
        TripletMarginLoss::new().forward(&(three.clone(), ())),
        TripletMarginLoss::new().forward(&three),
    );

    let x = hardpan_engine::functional::log_softmax(&input(&[6, 3, 4]), -1);
    let labels = Tensor::from_vec(vec![1i64, 2, 3, 1, -1, -1, 2, 2, -1], [3, 3]);
    let ctc = CTCLoss::new().reduction(Reduction::Sum);
    let padded = ctc.forward(&(x.clone(), labels.clone()));
    let zeros = labels.maximum(0);
    same(padded.clone(), ctc.of(&x, &zeros, &[6, 6, 6], &[3, 1, 2]));
    let lengths = |v: &[i64]| Tensor::from_slice(v, [3]);
    let tensors = (x.clone(), (zeros, lengths(&[6, 6, 6]), lengths(&[3, 1, 2])));
    same(padded, ctc.forward(&tensors));
    let one = (x.select(1, 1), Tensor::from_vec(vec![1i64, -1], [2]));
    same(ctc.forward(&one), ctc.of(&one.0, &Tensor::from_vec(vec![1i64], [1]), &[6], &[1]));
    // What is learned by a Learner's call is what `decodes` gives.
    let scores = Param::new(Tensor::zeros([6, 3, 4]));
    let mut opt = Adam::new(0.1).build(vec![scores.clone()]);
    let pred = || hardpan_engine::functional::log_softmax(&scores.value(), -1);
    for _ in 0..100 {
        ctc.forward(&(pred(), labels.clone())).backward();
        opt.step_and_zero_grad();
    }
    assert_eq!(ctc.decodes(&ctc.activation(&pred())).to_vec::<i64>(), labels.to_vec::<i64>());
}

#[test]
#[should_panic(expected = "go on after -1")]
fn labels_end_once() {
    let labels = Tensor::from_vec(vec![1i64, -1, 2], [1, 3]);
    CTCLoss::new().forward(&(input(&[6, 1, 4]), labels));
}
