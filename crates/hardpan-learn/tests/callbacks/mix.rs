//! Changed batches and labels: `MixUp`, `CutMix`, `LabelSmoothing`.

use super::*;
use hardpan_engine::manual_seed;
use hardpan_learn::callback::{CollectData, CutMix, LabelSmoothing, MixUp};
use hardpan_learn::data::DataLoader;
use hardpan_nn::optim::SGD;
use hardpan_nn::{CrossEntropyLoss, Forward, Module, Param};

#[test]
fn mixup_mixes_numbers_item_by_item() {
    let _turn = turn();
    manual_seed(3);
    let (collect, data) = CollectData::new();
    let mut learn = line_learner(64, 32).callback(MixUp::default()).callback(collect);
    learn.fit(1, 0.0).unwrap();
    let plain: Vec<Vec<f64>> = rows(learn.context().loaders.train.one_batch().unwrap().0);
    let mut shares = std::collections::BTreeSet::new();
    for batch in data.take() {
        let (x, y) = (rows(batch.x), batch.y.to_vec::<f64>());
        for (x, y) in x.iter().zip(y) {
            // The targets are a linear function of the inputs, so mixtures are on it, too.
            let want = x[0] - 2.0 * x[1] + 0.5 * x[2] + 0.5;
            assert!((y - want).abs() < 1e-5, "{x:?} {y}");
            if batch.training {
                shares.insert((x[0] * 1e6) as i64);
            }
        }
        if !batch.training {
            let (valid, _) = learn.context().loaders.valid.clone().unwrap().one_batch().unwrap();
            assert_eq!(rows(valid), x, "validation is not mixed");
        }
    }
    let untouched = plain.iter().filter(|x| shares.contains(&((x[0] * 1e6) as i64))).count();
    assert!(untouched < 16, "{untouched} of 32 are as they were");
}

fn rows(x: Tensor) -> Vec<Vec<f64>> {
    let width = x.numel() / x.size(0);
    x.to_vec::<f64>().chunks(width).map(<[f64]>::to_vec).collect()
}

/// A model that gives the mixed input back as logits lets the loss be computed by hand.
#[test]
fn the_loss_of_mixed_classes_is_mixed() {
    let _turn = turn();
    let item_losses =
        |pred: &Tensor, y: &Tensor| -pred.log_softmax(1).gather(1, &y.unsqueeze(1)).squeeze(1);
    for items_known in [false, true] {
        manual_seed(4);
        let (collect, data) = CollectData::new();
        let mut model = Linear::new(4, 2, 2);
        model.weight = Param::new(Tensor::eye(2, 2));
        let (train, _) = points(8).split_at(8);
        let loaders = DataLoaders::train_only(DataLoader::new(train.clone(), 8).unwrap());
        let mut learn = Learner::new(loaders, model, cross_entropy)
            .callback(MixUp::default())
            .callback(collect)
            .silent();
        if items_known {
            learn = learn.item_losses(item_losses);
        }
        learn.fit(1, 0.0).unwrap();
        let batch = data.take().remove(0);
        let (plain, mixed) = (rows(train.x().clone()), rows(batch.x.clone()));
        let labels = train.y().to_vec::<i64>();
        let log_p = rows(batch.pred.unwrap().log_softmax(1));
        // Find for each item its partner and share.
        let mut loss = 0.0;
        let mut shares = Vec::new();
        for i in 0..8 {
            let found = (0..8).filter_map(|j| {
                let (a, b) = (&plain[i], &plain[j]);
                let share = if i == j { 1.0 } else { (mixed[i][0] - b[0]) / (a[0] - b[0]) };
                let other = b[1] + share * (a[1] - b[1]);
                let fits = (other - mixed[i][1]).abs() < 1e-5 && (0.499..=1.001).contains(&share);
                fits.then_some((j, share))
            });
            let (j, share) = found.min_by(|a, b| a.1.total_cmp(&b.1)).expect("a partner");
            if share < 0.9999 {
                shares.push(share);
            }
            loss -=
                share * log_p[i][labels[i] as usize] + (1.0 - share) * log_p[i][labels[j] as usize];
        }
        let got = batch.loss.unwrap().item::<f64>();
        assert!((got - loss / 8.0).abs() < 1e-4, "{got} and {}", loss / 8.0);
        let spread = shares.iter().cloned().fold(f64::NEG_INFINITY, f64::max)
            - shares.iter().cloned().fold(f64::INFINITY, f64::min);
        assert_eq!(spread > 1e-3, items_known, "{shares:?}");
    }
}

#[test]
fn cutmix_pastes_a_rectangle() {
    let _turn = turn();
    manual_seed(6);
    // Image i is all i, and so is its target.
    let n = 8;
    let values: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let y = Tensor::from_slice(&values, [n, 1]);
    let x = y.reshape([n, 1, 1, 1]).expand([n, 2, 6, 9]).eval().clone();
    let data = TensorDataset::new(x, y).unwrap();
    #[derive(Module)]
    struct Average(Param);
    impl Forward for Average {
        type Output = Tensor;
        fn forward(&self, x: &Tensor) -> Tensor {
            x.mean([1, 2, 3]).unsqueeze(1) * self.0.value()
        }
    }
    let (collect, seen) = CollectData::new();
    let loader = DataLoader::new(data, n).unwrap();
    let model = Average(Param::new(Tensor::ones([1])));
    let mut learn = Learner::new(DataLoaders::train_only(loader), model, mse)
        .callback(CutMix::default())
        .callback(collect)
        .silent();
    learn.fit(6, 0.0).unwrap();
    let mut pasted = 0;
    for batch in seen.take() {
        let images = rows(batch.x);
        for (i, (image, y)) in images.iter().zip(batch.y.to_vec::<f64>()).enumerate() {
            let other: Vec<f64> = image.iter().copied().filter(|v| *v != i as f64).collect();
            assert!(other.windows(2).all(|w| w[0] == w[1]), "from one other image");
            // Both channels alike, and the target by area.
            assert_eq!(image[..54], image[54..]);
            let mean = image.iter().sum::<f64>() / image.len() as f64;
            assert!((mean - y).abs() < 1e-5, "{mean} {y}");
            pasted += usize::from(!other.is_empty());
        }
        // A prediction of the mean is then right.
        assert!(batch.loss.unwrap().item::<f64>() < 1e-8);
    }
    assert!(pasted > 12, "{pasted} of 48");
}

#[test]
fn smoothed_labels() {
    let (collect, data) = CollectData::new();
    let mut learn = classifier(16).callback(LabelSmoothing::new(0.2)).callback(collect);
    learn.fit(1, 0.1).unwrap();
    for batch in data.take() {
        let share = if batch.training { 0.2 } else { 0.0 };
        let loss = CrossEntropyLoss::new().label_smoothing(share);
        let want = loss.forward(&(batch.pred.unwrap(), batch.y)).item::<f64>();
        assert!((batch.loss.unwrap().item::<f64>() - want).abs() < 1e-6);
    }
    // And it keeps the weights smaller than they would be.
    let size = |smooth: bool| {
        let mut learn = classifier(16).opt(SGD::new(0.5));
        if smooth {
            learn.add_callback(LabelSmoothing::new(0.3));
        }
        learn.fit(20, 0.5).unwrap();
        learn.model().weight.value().abs().sum(..).item::<f64>()
    };
    assert!(size(true) < 0.8 * size(false));
}
