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
