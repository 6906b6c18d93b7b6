//! Interpretations against numbers worked out by hand or by scikit-learn, and the pictures of a training.

use hardpan_engine::{Tensor, functional::cross_entropy, manual_seed};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_learn::insight::ActivationStats;
use hardpan_learn::interpret::*;
use hardpan_learn::learner::Learner;
use hardpan_nn::{Linear, ReLU, seq};
use hardpan_plot::Picture;

/// Logits that say these classes, surely or less so.
fn said(classes: usize, picks: &[(usize, f32)]) -> Tensor {
    let rows: Vec<f32> = picks
        .iter()
        .flat_map(|&(k, v)| (0..classes).map(move |c| if c == k { v } else { 0.0 }))
        .collect();
    Tensor::from_slice(&rows, [picks.len(), classes])
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

/// Length of the bar of this name in a chart, and what is written at its end.
fn bar(svg: &str, name: &str) -> (f64, String) {
    let mut lines = svg.lines().skip_while(|l| !l.contains(&format!(">{name}</text>"))).skip(1);
    let mut after = |key: &str, end: char| {
        let line = lines.next().expect("a bar after its name");
        line.split_once(key).and_then(|l| l.1.split_once(end)).expect(key).0.to_owned()
    };
    (after("width=\"", '"').parse().unwrap(), after(">", '<'))
}

fn six() -> ClassificationInterpretation {
    let logits = said(3, &[(0, 2.0), (0, 1.0), (1, 3.0), (2, 1.0), (2, 2.0), (0, 4.0)]);
    let labels = Tensor::from_slice(&[0i64, 1, 1, 2, 2, 2], [6]);
    ClassificationInterpretation::new(&logits, &labels, ["a", "b", "c"])
}

#[test]
fn classification() {
    let seen = six();
    assert_eq!(seen.confusion_matrix(), [1, 0, 0, 1, 1, 0, 1, 0, 2]);
    assert!(close(seen.accuracy(), 4.0 / 6.0));
    assert_eq!(seen.most_confused(1), [("b", "a", 1), ("c", "a", 1)]);
    assert!(seen.most_confused(2).is_empty());
    let top = seen.top_losses(2);
    assert_eq!((top[0].item, top[0].actual, top[0].predicted), (5, 2, 0));
    assert!(close(top[0].loss, (4f64.exp() + 2.0).ln()));
    assert_eq!(top[1].item, 1);
    // scikit-learn 1.7: classification_report(y, pred, output_dict=True)
    let report = seen.report();
    let row = |i: usize| {
        let r = &report.rows[i];
        [r.precision, r.recall, r.f1, r.support as f64]
    };
    for (i, want) in
        [[1.0 / 3.0, 1.0, 0.5, 1.0], [1.0, 0.5, 2.0 / 3.0, 2.0], [1.0, 2.0 / 3.0, 0.8, 3.0]]
            .into_iter()
            .enumerate()
    {
        assert!(row(i).iter().zip(want).all(|(a, b)| close(*a, b)), "{i}: {:?}", row(i));
    }
    assert!(close(report.macro_average.f1, (0.5 + 2.0 / 3.0 + 0.8) / 3.0));
    assert!(close(report.weighted_average.precision, (1.0 / 3.0 + 2.0 + 3.0) / 6.0));
    let text = report.to_string();
    assert!(text.contains("macro avg") && text.contains("0.667"), "{text}");
}

#[test]
fn from_probabilities_is_the_same() {
    let logits = said(3, &[(0, 2.0), (1, 1.0)]);
    let one = ClassificationInterpretation::new(
        &logits,
        &Tensor::from_slice(&[0i64, 2], [2]),
        ["a", "b", "c"],
    );
    let soft = hardpan_engine::functional::softmax(&logits, -1);
    let two = ClassificationInterpretation::from_probabilities(&soft, &[0, 2], ["a", "b", "c"]);
    assert_eq!(one.predicted(), two.predicted());
    assert!(one.losses().iter().zip(two.losses()).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn calibration_of_one_who_is_too_sure() {
    // Says 0.881 and is right half of the time.
    let logits = said(2, &[(0, 2.0), (0, 2.0), (1, 2.0), (1, 2.0)]);
    let labels = Tensor::from_slice(&[0i64, 1, 1, 0], [4]);
    let seen = ClassificationInterpretation::new(&logits, &labels, ["a", "b"]).calibration(10);
    let confidence = 1.0 / (1.0 + (-2f64).exp());
    assert!(close(seen.error, confidence - 0.5), "{seen:?}");
    assert_eq!(seen.bins[8].2, 4);
    assert!(close(seen.bins[8].0, confidence) && close(seen.bins[8].1, 0.5));
    assert_eq!(seen.bins[0], (0.0, 0.0, 0));
}

#[test]
#[should_panic(expected = "label 3 of 3 classes")]
fn labels_must_be_classes() {
    let _ = ClassificationInterpretation::new(
        &said(3, &[(0, 1.0)]),
        &Tensor::from_slice(&[3i64], [1]),
        ["a", "b", "c"],
    );
}

#[test]
#[should_panic(expected = "expected [2, 3]")]
fn shapes_must_fit() {
    let _ = ClassificationInterpretation::new(
        &said(2, &[(0, 1.0)]),
        &Tensor::from_slice(&[0i64, 1], [2]),
        ["a", "b", "c"],
    );
}

#[test]
fn multi_label() {
    let logits = Tensor::from_slice(&[2f32, -1., 3., -2., 1., -3.], [3, 2]);
    let targets = Tensor::from_slice(&[1f32, 1., 1., 0., 0., 0.], [3, 2]);
    let seen = MultiLabelInterpretation::new(&logits, &targets, ["sea", "sky"], 0.5);
    assert_eq!(seen.counts(), [[2, 1, 0, 0], [0, 0, 1, 2]]);
    assert!(close(seen.accuracy(), 4.0 / 6.0) && close(seen.exact_match(), 1.0 / 3.0));
    let report = seen.report();
    assert!(close(report.rows[0].f1, 0.8) && close(report.rows[1].f1, 0.0));
    assert!(close(report.micro.unwrap().f1, 4.0 / 6.0));
    let svg = seen.plot_f1().to_svg().unwrap();
    let (sea, sky) = (bar(&svg, "sea"), bar(&svg, "sky"));
    assert!(svg.contains("F1 of each label") && sea.1 == "0.8" && sky.1 == "0", "{sea:?} {sky:?}");
    // Of none there is a sliver, so that it can be seen to be none.
    assert!(sea.0 > 100.0 && sky.0 < 1.0, "{sea:?} {sky:?}");
    let (has, given) = seen.item(0);
    assert_eq!((has, given.len(), given[0].0), (vec!["sea", "sky"], 1, "sea"));
    // Binary cross entropy of a logit z: softplus(-z) where the label is there, softplus(z) where not.
    let softplus = |z: f64| z.exp().ln_1p();
    let losses = [(softplus(-2.0) + softplus(1.0)) / 2.0, (softplus(1.0) + softplus(-3.0)) / 2.0];
    let top = seen.top_losses(2);
    assert_eq!((top[0].0, top[1].0), (0, 2));
    assert!((top[0].1 - losses[0]).abs() < 1e-6 && (top[1].1 - losses[1]).abs() < 1e-6);
}

#[test]
fn regression() {
    let pred = Tensor::from_slice(&[2.5f64, 0.0, 2.0, 8.0], [4, 1]);
    let y = Tensor::from_slice(&[3.0f64, -0.5, 2.0, 7.0], [4, 1]);
    let seen = RegressionInterpretation::new(&pred, &y);
    // The example of scikit-learn's r2_score.
    assert!((seen.r2() - 0.9486081370449679).abs() < 1e-12);
    assert!(
        close(seen.mae(), 0.5) && close(seen.rmse(), 0.375f64.sqrt()) && close(seen.bias(), 0.25)
    );
    assert_eq!(seen.top_losses(1), [(3, 1.0)]);
    seen.plot().to_png().unwrap();
}

#[test]
fn segmentation() {
    // Two pictures of two pixels and two classes; 255 is void.
    let logits = Tensor::from_slice(&[1f32, 0., 0., 1., 1., 1., 0., 0.], [2, 2, 1, 2]);
    let y = Tensor::from_slice(&[0i64, 1, 1, 255], [2, 1, 2]);
    let mut seen = SegmentationInterpretation::new(["road", "car"], Some(255));
    seen.add(&logits, &y);
    assert_eq!(seen.confusion_matrix(), [1, 0, 1, 1]);
    assert!(close(seen.pixel_accuracy(), 2.0 / 3.0));
    assert_eq!(seen.iou(), [("road", Some(0.5)), ("car", Some(0.5))]);
    assert!(close(seen.mean_iou(), 0.5));
    assert_eq!(seen.dice()[0].1, Some(2.0 / 3.0));
    assert_eq!(seen.worst(1), [(1, 1.0)]);

    // As bars; a class that is neither there nor predicted has none.
    let mut third = SegmentationInterpretation::new(["road", "car", "sky"], None);
    third.add_picture([0, 0, 0, 1], [0, 0, 0, 0]);
    assert_eq!(third.iou(), [("road", Some(0.75)), ("car", Some(0.0)), ("sky", None)]);
    let svg = third.plot_iou().to_svg().unwrap();
    assert!(svg.contains("Intersection over union"), "{svg}");
    let bars = ["road", "car", "sky"].map(|name| bar(&svg, name));
    assert_eq!(bars.each_ref().map(|b| b.1.as_str()), ["0.75", "0", "0"]);
    assert!(bars[0].0 > 100.0 && bars[1].0 < 1.0 && bars[2].0 < 1.0, "{bars:?}");

    // Pixel by pixel it is the same, and a picture without pixels that count has nothing wrong.
    let mut one_by_one = SegmentationInterpretation::new(["road", "car"], Some(255));
    one_by_one.add_picture([0, 0], [255, 255]);
    one_by_one.add_picture([0, 1], [0, 1]);
    one_by_one.add_picture([0, 0], [1, 255]);
    assert_eq!(one_by_one.confusion_matrix(), seen.confusion_matrix());
    assert_eq!(one_by_one.worst(3), [(2, 1.0), (0, 0.0), (1, 0.0)]);
    assert_eq!(one_by_one.sums(1), (1, 2, 1));
}

#[test]
fn a_training_in_pictures() {
    manual_seed(3);
    let x = Tensor::randn([320, 6]).eval().clone();
    let y = x.narrow(1, 0, 3).argmax(1);
    let data = TensorDataset::new(x, y.eval().clone()).unwrap();
    let (train, valid) = data.split_at(240);
    let loaders = DataLoaders::new(
        DataLoader::new(train, 24).unwrap().shuffle(1),
        DataLoader::new(valid, 40).unwrap(),
    );
    let model = seq![Linear::new(6, 24), ReLU, Linear::new(24, 3)];
    let stats = ActivationStats::new().every(2);
    let relu = ActivationStats::of(hardpan_nn::hook::is::<ReLU>).every(2);
    let mut learn = Learner::new(loaders, model, cross_entropy)
        .silent()
        .callback(stats.clone())
        .callback(relu.clone())
        .metric(hardpan_learn::metric::Mean::new("accuracy", hardpan_learn::metric::accuracy));
    learn.fit_one_cycle(4, 0.02).unwrap();

    let layers = stats.layers();
    assert_eq!(layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["0", "2"]);
    assert!(layers.iter().all(|l| l.means.len() == 20 && l.histograms.len() == 20));
    assert!(layers.iter().all(|l| l.stds.iter().all(|s| *s > 0.05 && *s < 20.0)), "{layers:?}");
    let rectified = &relu.layers()[0];
    assert!(rectified.near_zero.iter().all(|s| *s > 0.2 && *s < 0.9), "about half: {rectified:?}");
    let counted: f64 = rectified.histograms[0].iter().sum();
    assert_eq!(counted, 24.0 * 24.0, "all are in 0 to 10");

    let found = learn.lr_find().unwrap();
    for figure in [
        learn.plot_losses(),
        learn.plot_schedule(),
        learn.plot_metrics(),
        found.plot(),
        stats.plot(),
        stats.color_dim(),
    ] {
        let svg = figure.to_svg().unwrap();
        assert!(svg.contains("<polyline") && !svg.contains("NaN"), "{}", figure.title());
    }
    let valid = learn.context().loaders.valid.clone().unwrap();
    let seen = ClassificationInterpretation::of(&learn, &valid, ["x", "y", "z"]).unwrap();
    let accuracy = learn.history().last_metric("accuracy").unwrap();
    assert!((seen.accuracy() - accuracy).abs() < 1e-6, "{} {accuracy}", seen.accuracy());
    let worst = seen.plot_top_losses(3, |_| Picture::new(1, 1, 1, &[9])).to_svg().unwrap();
    assert_eq!(worst.matches("<image").count(), 3);
    assert!(seen.plot_confusion_matrix(true).to_svg().unwrap().contains("predicted"));
    let text = learn.plot_losses().to_text(70);
    assert!(text.contains("validation"), "{text}");
}
