//! What [`AttentionKernel`] means, one number at a time.

use crate::dtype::Scalar;
use crate::host::HostArray;
use crate::kernel::{AttentionKernel, AttentionOperand};
use crate::philox;

/// Runs the kernel on host arrays.
pub(super) fn attention(
    k: &AttentionKernel,
    ins: &[HostArray],
    out: &mut HostArray,
    args: &[Scalar],
) {
    let (seed, offset) = (args[0].as_i64() as u64, args[1].as_i64() as u64);
    let get = |o: &AttentionOperand, index: [usize; 4]| {
        let at = o.base + index.iter().zip(o.strides).map(|(i, s)| i * s).sum::<usize>();
        ins[o.input].get(at).as_f64()
    };
    let each = k.heads / k.groups;
    let p = f64::from(k.params.dropout);
    let mut sum = vec![0.0; if k.result.is_some() { out.len() } else { 0 }];
    let dk_start = k.batch * k.queries * k.heads * k.size;
    let dv_start = dk_start + k.batch * k.keys * k.groups * k.size;
    for b in 0..k.batch {
        for h in 0..k.heads {
            let g = h / each;
            for i in 0..k.queries {
                let score = |j: usize| {
                    if k.params.causal && j > i {
                        return f64::NEG_INFINITY;
                    }
                    let dot: f64 = (0..k.size)
                        .map(|x| get(&k.q, [b, h, i, x]) * get(&k.k, [b, g, j, x]))
                        .sum();
                    let mask = k.mask.as_ref().map_or(0.0, |m| get(m, [b, h, i, j]));
                    dot * f64::from(k.params.scale) + mask
                };
                let scores: Vec<f64> = (0..k.keys).map(score).collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weight = |s: &f64| if top == f64::NEG_INFINITY { 0.0 } else { (s - top).exp() };
                let exps: Vec<f64> = scores.iter().map(weight).collect();
                let total: f64 = exps.iter().sum();
                let row = (b * k.heads + h) * k.queries + i;
                let keep = |j: usize| {
                    let at = offset.wrapping_add((row * k.keys + j) as u64);
                    let dropped = p > 0.0 && f64::from(philox::uniform(philox::bits(seed, at))) < p;
                    if dropped { 0.0 } else { 1.0 / (1.0 - p) }
                };
                let weights: Vec<f64> =
                    exps.iter().map(|e| if total > 0.0 { e / total } else { 0.0 }).collect();
                let at_y = |x: usize| ((b * k.queries + i) * k.heads + h) * k.value_size + x;
                let Some([result, grad]) = &k.result else {
                    for x in 0..k.value_size {
                        let y: f64 = (0..k.keys)
                            .map(|j| weights[j] * keep(j) * get(&k.v, [b, g, j, x]))
                            .sum();
                        out.set(at_y(x), Scalar::Float(y));
                    }
                    let log = if total > 0.0 { top + total.ln() } else { f64::INFINITY };
                    out.set(k.output_len() + row, Scalar::Float(log));
                    continue;
                };
                let flat = |o: &AttentionOperand, x: usize| {
                    ins[o.input].get(o.base + x * o.strides[0]).as_f64()
                };
                let shift: f64 =
                    (0..k.value_size).map(|x| flat(result, at_y(x)) * flat(grad, at_y(x))).sum();
                for j in 0..k.keys {
                    let row_k = (b * k.keys + j) * k.groups + g;
                    let mut dweight = 0.0;
                    for x in 0..k.value_size {
                        let dy = flat(grad, at_y(x));
                        dweight += dy * get(&k.v, [b, g, j, x]) * keep(j);
                        sum[dv_start + row_k * k.value_size + x] += weights[j] * keep(j) * dy;
                    }
                    let dscore = weights[j] * (dweight - shift) * f64::from(k.params.scale);
                    for x in 0..k.size {
                        let row_q = (b * k.queries + i) * k.heads + h;
                        sum[row_q * k.size + x] += dscore * get(&k.k, [b, g, j, x]);
                        sum[dk_start + row_k * k.size + x] += dscore * get(&k.q, [b, h, i, x]);
                    }
                }
            }
        }
    }
    for (i, x) in sum.into_iter().enumerate() {
        out.set(i, Scalar::Float(x));
    }
}
