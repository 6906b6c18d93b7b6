//! Metrics against scikit-learn 1.7 and 1.9 and SciPy on given vectors, in uneven batches.

use hardpan_engine::Tensor;
use hardpan_learn::metric::*;

/// The value over batches of 4, 1 and the rest; and the same again after a reset.
fn over(mut metric: impl Metric<Tensor, Tensor>, pred: &Tensor, y: &Tensor) -> f64 {
    assert_eq!(metric.value(), None, "nothing measured yet");
    let n = pred.size(0);
    let mut values = Vec::new();
    for _ in 0..2 {
        metric.reset();
        for (from, to) in [(0, 4.min(n)), (4.min(n), 5.min(n)), (5.min(n), n)] {
            if from < to {
                let part = |t: &Tensor| t.narrow(0, from, to - from);
                metric.accumulate(&part(pred), &part(y), to - from);
            }
        }
        values.push(metric.value().unwrap());
    }
    assert_eq!(values[0], values[1], "a reset starts anew");
    values[0]
}

#[track_caller]
fn near(got: f64, want: f64) {
    assert!((got - want).abs() < 2e-6 * want.abs().max(1.0), "got {got}, want {want}");
}

fn ints(v: &[i64]) -> Tensor {
    Tensor::from_slice(v, [v.len()])
}

fn floats(v: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(v, shape)
}

/// Outputs whose largest is at these classes.
fn outputs(labels: &[i64], classes: usize) -> Tensor {
    let one_hot = ints(labels).unsqueeze(1).eq(Tensor::iota(classes));
    one_hot.to_dtype(hardpan_engine::DType::F32) * 2.0 - 0.5
}

#[test]
fn single_label_classification() {
    let y = ints(&[0, 2, 1, 1, 0, 2, 2, 0, 1, 2, 0]);
    let pred = outputs(&[0, 2, 1, 0, 0, 1, 2, 2, 1, 2, 0], 3);
    let third = 0.722_222_222_222_222_2;
    let (micro, weighted) = (Average::Micro, Average::Weighted);
    near(over(precision_score(Average::Macro), &pred, &y), third);
    near(over(recall_score(Average::Macro), &pred, &y), third);
    near(over(f1_score(micro), &pred, &y), 0.727_272_727_272_727_3);
    near(over(fbeta_score(2.0, weighted), &pred, &y), 0.727_272_727_272_727_3);
    near(over(jaccard_score(Average::Macro), &pred, &y), 0.566_666_666_666_666_8);
    near(over(jaccard_score(micro), &pred, &y), 0.571_428_571_428_571_4);
    near(over(jaccard_score(weighted), &pred, &y), 0.572_727_272_727_272_8);
    near(over(f1_score(Average::Class(1)), &pred, &y), 2.0 / 3.0);
    near(over(balanced_accuracy(), &pred, &y), third);
    near(over(cohen_kappa(0), &pred, &y), 0.5875);
    near(over(cohen_kappa(1), &pred, &y), 0.607_142_857_142_857_2);
    near(over(cohen_kappa(2), &pred, &y), 0.625);
    near(over(matthews_corrcoef(), &pred, &y), 0.5875);
    near(over(hamming_loss(), &pred, &y), 0.272_727_272_727_272_7);
    near(over(Mean::new("accuracy", accuracy), &pred, &y), 8.0 / 11.0);
    near(over(Mean::new("error_rate", error_rate), &pred, &y), 3.0 / 11.0);
}

#[test]
fn classes_that_do_not_occur() {
    // Class 2 is nowhere, class 3 is never predicted, of five classes the model knows.
    let (pred, y) = (outputs(&[0, 1, 1, 1], 5), ints(&[0, 0, 1, 3]));
    near(over(f1_score(Average::Macro), &pred, &y), 0.388_888_888_888_888_8);
    near(over(precision_score(Average::Macro), &pred, &y), 0.444_444_444_444_444_4);
    near(over(balanced_accuracy(), &pred, &y), 0.5);
    near(over(matthews_corrcoef(), &outputs(&[1, 1], 2), &ints(&[1, 1])), 0.0);
}

#[test]
fn multi_label_classification() {
    #[rustfmt::skip]
    let pred = floats(&[
        2.0, -1.0, 0.3,  -0.5, 0.2, -3.0,  0.1, 1.5, 0.7,  -2.0, -0.3, 0.4,  1.2, 0.6, -0.8,
    ], &[5, 3]);
    let y = ints(&[1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0]).reshape([5, 3]);
    let (plain, micro, weighted) = (Average::Macro, Average::Micro, Average::Weighted);
    near(over(precision_multi(plain), &pred, &y), 0.666_666_666_666_666_6);
    near(over(recall_multi(plain), &pred, &y), 0.777_777_777_777_777_7);
    near(over(f1_multi(plain), &pred, &y), 0.711_111_111_111_111_1);
    near(over(f1_multi(micro), &pred, &y), 0.705_882_352_941_176_5);
    near(over(f1_multi(weighted), &pred, &y), 0.7);
    near(over(fbeta_multi(0.5, micro), &pred, &y), 0.681_818_181_818_181_8);
    near(over(fbeta_multi(0.5, weighted), &pred, &y), 0.678_571_428_571_428_6);
    near(over(jaccard_multi(plain), &pred, &y), 0.555_555_555_555_555_5);
    near(over(jaccard_multi(weighted), &pred, &y), 0.541_666_666_666_666_6);
    near(over(hamming_loss_multi(), &pred, &y), 1.0 / 3.0);
    near(over(accuracy_multi(), &pred, &y), 2.0 / 3.0);
    near(over(matthews_corrcoef_multi(), &pred, &y), 0.327_326_835_353_988_5);
    near(over(roc_auc_multi(), &pred, &y), 0.666_666_666_666_666_6);
    near(over(average_precision_multi(), &pred, &y), 0.779_629_629_629_629_6);
    near(over(brier_score_multi(), &pred, &y), 0.242_855_956_125_337);
    // By item: precisions 1, 0, 2/3, 1, 1/2; recalls 1, 0, 1, 1/2, 1; F1 1, 0, 4/5, 2/3, 2/3; Jaccard 1, 0, 2/3, 1/2, 1/2.
    let samples = Average::Samples;
    near(over(precision_multi(samples), &pred, &y), 19.0 / 30.0);
    near(over(recall_multi(samples), &pred, &y), 0.7);
    near(over(f1_multi(samples), &pred, &y), 47.0 / 75.0);
    near(
        over(fbeta_multi(0.5, samples), &pred, &y),
        (1.0 + 5.0 / 7.0 + 5.0 / 6.0 + 5.0 / 9.0) / 5.0,
    );
    near(over(jaccard_multi(samples), &pred, &y), 8.0 / 15.0);
    // Nothing given where nothing is there counts as 0, as scikit-learn has it.
    let nothing = (floats(&[1.0, -1.0, -1.0, -1.0], &[2, 2]), ints(&[1, 0, 0, 0]).reshape([2, 2]));
    near(over(f1_multi(samples), &nothing.0, &nothing.1), 0.5);
    near(over(jaccard_multi(samples), &nothing.0, &nothing.1), 0.5);
    // Probabilities in place of logits, and a threshold nothing passes.
    let p = pred.sigmoid();
    near(over(f1_multi(plain).probabilities(), &p, &y), 0.711_111_111_111_111_1);
    near(over(recall_multi(micro).threshold(0.99), &pred, &y), 0.0);
}

#[test]
fn ranked_scores() {
    let scores = floats(&[0.1, 0.4, 0.35, 0.8, 0.4, 0.2, 0.9, 0.4], &[8]);
    let y = ints(&[0, 0, 1, 1, 1, 0, 1, 0]);
    // One logit, or two whose difference it is.
    let two = Tensor::stack(&[scores.zeros_like() + 0.3, &scores + 0.3], 1);
    for pred in [&scores, &two] {
        near(over(roc_auc_binary(), pred, &y), 0.8125);
        near(over(average_precision_binary(), pred, &y), 0.816_666_666_666_666_7);
        near(over(brier_score(), pred, &y), 0.225_797_129_152_440_8);
    }
    #[rustfmt::skip]
    let pred = floats(&[
        1.0, 0.2, -0.3,  0.1, 0.9, 0.3,  -0.2, 0.4, 1.1,  0.5, 0.6, 0.1,  0.3, -0.1, 0.2,  0.0, 0.7, 0.8,
        0.9, 1.0, -1.0,
    ], &[7, 3]);
    near(over(roc_auc(), &pred, &ints(&[0, 1, 2, 0, 2, 1, 0])), 0.872_222_222_222_222_2);
    assert_eq!(roc_auc_of(&[0.1, 0.2], &[true, true]), None, "one class alone has no curve");
}

#[test]
fn regression() {
    let pred = floats(&[1000.5, 1001.0, 999.2, 1003.3, 1000.0, 998.7, 1002.0], &[7]);
    let y = floats(&[1000.0, 1001.5, 999.0, 1002.0, 1000.9, 998.0, 1002.0], &[7]);
    // f32 holds these to 3e-5.
    let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-4, "got {got}, want {want}");
    close(over(r2_score(), &pred, &y), 0.755_006_940_313_310_6);
    close(over(explained_variance(), &pred, &y), 0.771_762_839_579_622_1);
    close(over(pearson_corrcoef(), &pred, &y), 0.889_772_029_870_959);
    near(over(spearman_corrcoef(), &pred, &y), 0.954_993_710_457_292_5);
    close(over(rmse(), &pred, &y), 0.710_130_772_664_939);
    let (tied, other) = (floats(&[1., 2., 2., 3., 5.], &[5]), floats(&[2., 1., 4., 4., 3.], &[5]));
    near(over(spearman_corrcoef(), &tied, &other), 0.394_736_842_105_263_2);
    let (a, b) = (floats(&[0.5, 1., 2.], &[3]), floats(&[1., 1.5, 1.], &[3]));
    near(over(Mean::new("msle", msle), &a, &b), 0.098_985_324_398_811_54);
    near(over(exp_rmspe(), &a, &b), 1.042_773_335_150_855);
    near(over(Mean::new("mse", mse), &a, &b), 0.5);
    near(over(Mean::new("mae", mae), &a, &b), 2.0 / 3.0);
}

#[test]
fn segmentation() {
    // Two images of 2x2 pixels and three classes; 255 is void.
    let labels = [0i64, 1, 2, 1, 1, 1, 0, 2];
    let pred = outputs(&labels, 3).reshape([2, 2, 2, 3]).permute([0, 3, 1, 2]);
    let y = ints(&[0, 1, 1, 255, 1, 0, 0, 2]).reshape([2, 2, 2]);
    // Without the void pixel: class 0: 2 of 3 found, none wrong; class 1: 2 of 3, one wrong; class 2: 1 of 1, one wrong.
    let mean = |a: f64, b: f64, c: f64| (a + b + c) / 3.0;
    near(over(dice().ignore(255), &pred, &y), 2.0 / 3.0);
    near(over(dice_multi().ignore(255), &pred, &y), mean(0.8, 2.0 / 3.0, 2.0 / 3.0));
    near(over(jaccard_coeff().ignore(255), &pred, &y), 0.5);
    near(over(jaccard_coeff_multi().ignore(255), &pred, &y), mean(2.0 / 3.0, 0.5, 0.5));
    near(over(foreground_acc(0).ignore(255), &pred, &y), 0.75);
}

#[test]
fn likeliest_labels_and_sequences() {
    let pred = floats(&[0.1, 0.5, 0.3, 0.9, 0.2, 0.4, 0.3, 0.1, 0.7], &[3, 3]);
    // The labels come third, first and third.
    let y = ints(&[0, 0, 1]);
    for (k, want) in [(1, 1.0 / 3.0), (2, 1.0 / 3.0), (3, 1.0), (9, 1.0)] {
        near(over(top_k_accuracy(k), &pred, &y), want);
    }
    let pairs = [
        (vec![2i64, 3, 4, 5, 6, 7], vec![2, 3, 4, 5, 6, 8, 9]),
        (vec![3, 3, 4, 5, 6], vec![3, 4, 5, 6, 7]),
    ];
    near(corpus_bleu(&pairs), 0.659_858_515_800_358);
    // The same as padded batches of logits.
    let pred = outputs(&[2, 3, 4, 5, 6, 7, 1, 3, 3, 4, 5, 6, 1, 9], 10).reshape([2, 7, 10]);
    let y = ints(&[2, 3, 4, 5, 6, 8, 9, 3, 4, 5, 6, 7, 1, 1]).reshape([2, 7]);
    near(over(CorpusBleu::new(1), &pred, &y), 0.659_858_515_800_358);
    assert_eq!(corpus_bleu(&[(vec![1, 2, 3], vec![1, 2, 3])]), 0.0, "no run of four");
}

/// Numbers that anyone can make again: C's old `rand`.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> i64 {
        self.0 = (self.0 * 1_103_515_245 + 12_345) % (1 << 31);
        ((self.0 >> 16) % n) as i64
    }

    /// `n` sixteenths around 0.
    fn sixteenths(&mut self, n: usize, range: u64) -> Vec<f32> {
        (0..n).map(|_| (self.below(range) - range as i64 / 2) as f32 / 16.0).collect()
    }
}

/// Four averages of precision, recall, F1, a second F and Jaccard, as scikit-learn 1.9 gives them.
type Table<'a> = &'a [(Average, [f64; 5])];

/// 60 items with five labels; four items have none, one is given none, one label is rare; scores have ties.
#[test]
fn many_labels_by_every_average() {
    let mut r = Numbers(7);
    let (n, labels) = (60, 5);
    let pred = floats(&r.sixteenths(n * labels, 129), &[n, labels]);
    let often = [4, 5, 2, 7, 1];
    let y: Vec<i64> = (0..n * labels).map(|i| (r.below(10) < often[i % labels]).into()).collect();
    let y = ints(&y).reshape([n, labels]);
    #[rustfmt::skip]
    let table: Table = &[
        (Average::Macro, [0.426946386946387, 0.616105808884176, 0.461541668710453, 0.516039812118383, 0.326495636595304]),
        (Average::Micro, [0.432258064516129, 0.632075471698113, 0.513409961685824, 0.578583765112263, 0.345360824742268]),
        (Average::Weighted, [0.584023837797423, 0.632075471698113, 0.585075834489422, 0.601165852605620, 0.431059613580143]),
        (Average::Samples, [0.421666666666667, 0.600000000000000, 0.462103174603175, 0.526168609440668, 0.335833333333333]),
    ];
    for (average, [precision, recall, f1, f2, jaccard]) in table {
        near(over(precision_multi(*average), &pred, &y), *precision);
        near(over(recall_multi(*average), &pred, &y), *recall);
        near(over(f1_multi(*average), &pred, &y), *f1);
        near(over(fbeta_multi(2.0, *average), &pred, &y), *f2);
        near(over(jaccard_multi(*average), &pred, &y), *jaccard);
    }
    near(over(hamming_loss_multi(), &pred, &y), 0.423333333333333);
    for (average, auc, precision) in [
        (Average::Macro, 0.616737507395750, 0.472737431866691),
        (Average::Micro, 0.601439408675355, 0.442359253340364),
        (Average::Weighted, 0.622141640451249, 0.611747980826055),
    ] {
        near(over(roc_auc_multi().average(average), &pred, &y), auc);
        near(over(average_precision_multi().average(average), &pred, &y), precision);
    }
    let samples = Average::Samples;
    near(over(average_precision_multi().average(samples), &pred, &y), 0.580092592592593);
    // Items without a yes or without a no have no curve: scikit-learn refuses, and so do we; without those items:
    let mut metric = roc_auc_multi().average(samples);
    metric.accumulate(&pred, &y, n);
    assert_eq!(metric.value(), None);
    let some = y.sum([1]).to_vec::<i64>();
    let both: Vec<i64> = (0..n as i64).filter(|i| (1..5).contains(&some[*i as usize])).collect();
    let (pred, y) = (pred.index_select(0, &ints(&both)), y.index_select(0, &ints(&both)));
    near(over(roc_auc_multi().average(samples), &pred, &y), 0.568452380952381);
}

/// 80 items of six classes, one of which never occurs and another of which is never given; scores have ties.
#[test]
fn many_classes_by_every_average() {
    let mut r = Numbers(7);
    // As many numbers as the other test draws first.
    for _ in 0..600 {
        r.below(2);
    }
    let (n, classes) = (80, 6);
    let y: Vec<i64> = (0..n).map(|_| r.below(5)).collect();
    let mut scores = r.sixteenths(n * classes, 65);
    for (i, s) in scores.iter_mut().enumerate() {
        let class = (i % classes) as i64;
        *s += if class == y[i / classes] { 1.5 } else { 0.0 } - if class == 4 { 9.0 } else { 0.0 };
    }
    let (pred, y) = (floats(&scores, &[n, classes]), ints(&y));
    #[rustfmt::skip]
    let table: Table = &[
        (Average::Macro, [0.316388888888889, 0.329059829059829, 0.319031134753575, 0.316685696874791, 0.214806286549708]),
        (Average::Micro, [0.4, 0.4, 0.4, 0.4, 0.25]),
        (Average::Weighted, [0.382333333333333, 0.4, 0.386527575683904, 0.383066118095589, 0.261567434210526]),
    ];
    for (average, [precision, recall, f1, half, jaccard]) in table {
        near(over(precision_score(*average), &pred, &y), *precision);
        near(over(recall_score(*average), &pred, &y), *recall);
        near(over(f1_score(*average), &pred, &y), *f1);
        near(over(fbeta_score(0.5, *average), &pred, &y), *half);
        near(over(jaccard_score(*average), &pred, &y), *jaccard);
    }
    near(over(balanced_accuracy(), &pred, &y), 0.394871794871795);
    near(over(cohen_kappa(0), &pred, &y), 0.273552780930761);
    near(over(cohen_kappa(1), &pred, &y), 0.206181945907973);
    near(over(cohen_kappa(2), &pred, &y), 0.118352911456360);
    near(over(matthews_corrcoef(), &pred, &y), 0.286464131694984);
    near(over(hamming_loss(), &pred, &y), 0.6);
    // One item has two classes in second place: the first of them wins, as in PyTorch, where scikit-learn takes the last (0.6).
    near(over(top_k_accuracy(2), &pred, &y), 0.6125);
    near(over(top_k_accuracy(3), &pred, &y), 0.725);
    // Of the classes that occur.
    let five = pred.narrow(1, 0, 5);
    near(over(roc_auc(), &five, &y), 0.845292748858412);
    near(over(roc_auc().average(Average::Weighted), &five, &y), 0.847735201592929);
    near(over(roc_auc().average(Average::Micro), &five, &y), 0.724550781250000);
}
