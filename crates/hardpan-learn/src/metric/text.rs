//! Metrics of sequences of tokens.

use super::{Mean, Metric, RunningMean};
use hardpan_engine::{DType, Tensor};
use std::collections::HashMap;

/// `e` to the mean loss. Counterpart: fastai's `Perplexity`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{Metric, Perplexity};
/// // A loss of ln 8: as unsure as between eight words.
/// let mut metric = Perplexity::new(|_: &Tensor, _: &Tensor| Tensor::scalar(8f32.ln()));
/// metric.accumulate(&Tensor::zeros([2]), &Tensor::zeros([2]), 2);
/// assert!((metric.value().unwrap() - 8.0).abs() < 1e-5);
/// ```
pub struct Perplexity<F> {
    loss: Mean<F>,
}

impl<F> Perplexity<F> {
    /// Of this loss (the mean of cross entropies, usually).
    pub fn new<P, Y>(loss: F) -> Perplexity<F>
    where
        F: Fn(&P, &Y) -> Tensor + Send,
    {
        Perplexity { loss: Mean::new("perplexity", loss).then(f64::exp) }
    }
}

impl<P, Y, F: Fn(&P, &Y) -> Tensor + Send> Metric<P, Y> for Perplexity<F> {
    fn name(&self) -> &str {
        &self.loss.name
    }
    fn reset(&mut self) {
        self.loss.sum = RunningMean::default();
    }
    fn accumulate(&mut self, pred: &P, y: &Y, items: usize) {
        self.loss.accumulate(pred, y, items);
    }
    fn value(&self) -> Option<f64> {
        Metric::<P, Y>::value(&self.loss)
    }
}

/// How often each run of `n` tokens occurs.
fn grams(tokens: &[i64], n: usize) -> HashMap<&[i64], usize> {
    let mut out = HashMap::new();
    for gram in tokens.windows(n) {
        *out.entry(gram).or_insert(0) += 1;
    }
    out
}

/// BLEU of candidates against one reference each, over the whole corpus, runs of 1 to 4 tokens, without smoothing:
/// Papineni et al. 2002. 0 if some length has no match.
///
/// ```
/// use hardpan_learn::metric::corpus_bleu;
/// let pairs = [(vec![1i64, 2, 3, 4, 5], vec![1, 2, 3, 4, 5])];
/// assert_eq!(corpus_bleu(&pairs), 1.0);
/// ```
pub fn corpus_bleu(pairs: &[(Vec<i64>, Vec<i64>)]) -> f64 {
    let (mut hits, mut counts) = ([0usize; 4], [0usize; 4]);
    for (candidate, reference) in pairs {
        for n in 1..=4 {
            let have = grams(reference, n);
            for (gram, k) in grams(candidate, n) {
                hits[n - 1] += k.min(have.get(gram).copied().unwrap_or(0));
                counts[n - 1] += k;
            }
        }
    }
    let length = |f: fn(&(Vec<i64>, Vec<i64>)) -> usize| pairs.iter().map(f).sum::<usize>() as f64;
    let (candidate, reference) = (length(|p| p.0.len()), length(|p| p.1.len()));
    if hits.contains(&0) {
        return 0.0;
    }
    let logs: f64 = hits.iter().zip(&counts).map(|(h, c)| (*h as f64 / *c as f64).ln()).sum();
    let brevity = if candidate < reference { 1.0 - reference / candidate } else { 0.0 };
    (brevity + logs / 4.0).exp()
}

/// [`corpus_bleu`] of logits `[N, T, V]` (the likeliest token at each place) and tokens `[N, S]`. A sequence ends before its first padding
/// token; that of the target where the target ends, if the model has no end of its own. Counterpart: fastai's `CorpusBLEUMetric`.
///
/// ```
/// use hardpan_engine::Tensor;
/// use hardpan_learn::metric::{CorpusBleu, Metric};
/// let mut metric = CorpusBleu::new(0);
/// // Five tokens of six, each the likeliest where it should be.
/// let tokens = Tensor::from_vec(vec![1i64, 2, 3, 4, 5], [1, 5]);
/// let logits = tokens.unsqueeze(-1).eq(Tensor::iota(6)).to_dtype(hardpan_engine::DType::F32);
/// metric.accumulate(&logits, &tokens, 1);
/// assert!((metric.value().unwrap() - 1.0).abs() < 1e-9);
/// ```
pub struct CorpusBleu {
    padding: i64,
    kept: Vec<(Tensor, Tensor)>,
}

impl CorpusBleu {
    /// With this padding token (fastai's text uses 1).
    pub fn new(padding: i64) -> CorpusBleu {
        CorpusBleu { padding, kept: Vec::new() }
    }
}

impl Metric<Tensor, Tensor> for CorpusBleu {
    fn name(&self) -> &str {
        "corpus_bleu"
    }
    fn reset(&mut self) {
        self.kept.clear();
    }
    fn accumulate(&mut self, pred: &Tensor, y: &Tensor, _: usize) {
        self.kept.push((pred.detach().argmax(-1), y.detach().to_dtype(DType::I64)));
    }
    fn value(&self) -> Option<f64> {
        let until_padding = |row: &[i64]| -> Vec<i64> {
            row.iter().copied().take_while(|t| *t != self.padding).collect()
        };
        let mut pairs = Vec::new();
        for (pred, y) in &self.kept {
            let (p, t) = (pred.to_vec::<i64>(), y.to_vec::<i64>());
            let rows = p.chunks(pred.size(-1).max(1)).zip(t.chunks(y.size(-1).max(1)));
            pairs.extend(rows.map(|(p, t)| (until_padding(p), until_padding(t))));
        }
        (!pairs.is_empty()).then(|| corpus_bleu(&pairs))
    }
}
