//! Attention and its gradient, a block of queries at a time: the scores of a block live in scratch memory and are never stored.
//!
//! A block's scores are one matrix product; a row kernel turns them into weights; a second product gives the output. The
//! gradient computes the weights again from the stored logarithm of each row's sum. Keys behind a causal block are never touched. Each task
//! owns one head (forward: a run of its queries) and walks its blocks in order, so the bits do not depend on the number of threads.
//!
//! Source: Dao et al., <https://arxiv.org/abs/2205.14135>; the definition is the composition in `functional::attention`.
use super::gemm::scratch::Scratch;
use super::gemm::{Batch, Element, GemmShape, Operand, gemm};
use super::isa::Isa;
use super::lanes::math;
use super::lanes::random::drawing;
use super::pool::{SharedMut, parallel_for, threads};
use crate::dtype::{DType, Scalar};
use crate::kernel::{AttentionKernel, AttentionOperand};
use crate::op::Distribution;
use half::{bf16, f16};

/// Scores of a block: a quarter of a second-level cache.
const BLOCK_SCORES: usize = 1 << 16;
/// Work worth starting another thread for.
const TASK_FLOPS: usize = 200_000;
/// Separate sums of a row kernel.
const LANES: usize = 64;

/// Runs the kernel.
///
/// # Safety
/// Buffers are as the kernel describes them.
pub unsafe fn run(
    isa: Isa,
    kernel: &AttentionKernel,
    inputs: &[*const u8],
    lens: &[usize],
    output: *mut u8,
    args: &[Scalar],
) {
    let random = (args[0].as_i64() as u64, args[1].as_i64() as u64);
    // SAFETY: as promised.
    unsafe {
        match kernel.q.dtype {
            DType::BF16 => typed::<bf16>(isa, kernel, inputs, lens, output, random),
            DType::F16 => typed::<f16>(isa, kernel, inputs, lens, output, random),
            _ => typed::<f32>(isa, kernel, inputs, lens, output, random),
        }
    }
}

/// An operand's memory.
struct View<'a, T> {
    data: &'a [T],
    base: usize,
    strides: [usize; 4],
}

impl<'a, T: Copy> View<'a, T> {
    /// # Safety
    /// The input holds as many elements as said.
    unsafe fn new(o: &AttentionOperand, inputs: &[*const u8], lens: &[usize]) -> View<'a, T> {
        // SAFETY: as promised; blocks are aligned for every type.
        let data = unsafe { std::slice::from_raw_parts(inputs[o.input].cast(), lens[o.input]) };
        View { data, base: o.base, strides: o.strides }
    }

    fn at(&self, b: usize, h: usize, i: usize) -> usize {
        self.base + b * self.strides[0] + h * self.strides[1] + i * self.strides[2]
    }

    /// Rows from `i` on of one head, as a matrix.
    fn rows(&self, b: usize, h: usize, i: usize) -> Operand<'a, T> {
        Operand {
            data: self.data,
            base: self.at(b, h, i),
            batch: Batch::Stride(0),
            row_stride: self.strides[2],
            col_stride: self.strides[3],
        }
    }
}

struct Job<'a, T> {
    isa: Isa,
    k: &'a AttentionKernel,
    q: View<'a, T>,
    key: View<'a, T>,
    v: View<'a, T>,
    mask: Option<View<'a, f32>>,
    random: (u64, u64),
    output: *mut f32,
    /// Queries in a block.
    block: usize,
}

// SAFETY: tasks write disjoint parts of the output, and the rest is shared reading.
unsafe impl<T: Sync> Sync for Job<'_, T> {}

/// # Safety
/// As [`run`].
unsafe fn typed<T: Element>(
    isa: Isa,
    k: &AttentionKernel,
    inputs: &[*const u8],
    lens: &[usize],
    output: *mut u8,
    random: (u64, u64),
) {
    // SAFETY: as promised.
    unsafe {
        let job = Job {
            isa,
            k,
            q: View::<T>::new(&k.q, inputs, lens),
            key: View::new(&k.k, inputs, lens),
            v: View::new(&k.v, inputs, lens),
            mask: k.mask.as_ref().map(|m| View::new(m, inputs, lens)),
            random,
            output: output.cast(),
            block: (BLOCK_SCORES / k.keys.max(1)).clamp(8, 64).min(k.queries),
        };
        match &k.result {
            None => job.forward(),
            Some([result, grad]) => {
                let flat = |o: &AttentionOperand| View::<f32>::new(o, inputs, lens);
                job.backward(&flat(result), &flat(grad));
            }
        }
    }
}

fn product<A: Element, B: Element>(
    (m, n, k): (usize, usize, usize),
    a: Operand<'_, A>,
    b: Operand<'_, B>,
    c: &mut [f32],
    accumulate: bool,
) {
    gemm(GemmShape { batch: 1, m, n, k }, a, b, SharedMut::new(c), accumulate, None);
}

impl<T: Element> Job<'_, T> {
    /// Keys that the queries before `end` may look at.
    fn reach(&self, end: usize) -> usize {
        if self.k.params.causal { end.min(self.k.keys) } else { self.k.keys }
    }

    /// Scores of queries `i0..i0 + rows` for the first `n` keys, not yet scaled.
    fn scores(&self, b: usize, h: usize, i0: usize, rows: usize, n: usize, out: &mut [f32]) {
        let g = h / (self.k.heads / self.k.groups);
        let keys = self.key.rows(b, g, 0).transposed();
        product((rows, n, self.k.size), self.q.rows(b, h, i0), keys, out, false);
    }

    /// The row of the mask for one query: start and step.
    fn mask_row(&self, b: usize, h: usize, i: usize) -> (*const f32, usize) {
        match &self.mask {
            None => (std::ptr::null(), 0),
            Some(m) => (m.data[m.at(b, h, i)..].as_ptr(), m.strides[3]),
        }
    }

    /// Which weights of a query stay: numbers to compare with the probability of dropping, for the first `n` keys.
    fn draw(&self, b: usize, h: usize, i: usize, n: usize, out: &mut [f32]) {
        let k = self.k;
        let row = ((b * k.heads + h) * k.queries + i) as u64;
        let first = self.random.1.wrapping_add(row * k.keys as u64);
        // SAFETY: there is room for n numbers.
        unsafe {
            let draw = drawing(self.isa, Distribution::Uniform);
            (draw.run)(out[..n].as_mut_ptr().cast(), self.random.0, first, n);
        }
    }

    /// # Safety
    /// The output has room for the result.
    unsafe fn forward(&self) {
        let k = self.k;
        let heads = k.batch * k.heads;
        let blocks = k.queries.div_ceil(self.block);
        let work = heads * k.queries * k.keys * (k.size + k.value_size);
        let run = |from: usize, to: usize| {
            let mut scores = Scratch::take(self.block * k.keys + LANES);
            let mut values = Scratch::take(self.block * k.value_size);
            let mut random = Scratch::take(k.keys + LANES);
            for at in from..to {
                let (head, block) = (at / blocks, at % blocks);
                let scratch = [scores.as_mut_slice(), values.as_mut_slice(), random.as_mut_slice()];
                // SAFETY: each block writes its own queries.
                unsafe { self.forward_block(head / k.heads, head % k.heads, block, scratch) };
            }
        };
        let all = heads * blocks;
        let tasks = (work / TASK_FLOPS).clamp(1, threads() * 4).min(all);
        parallel_for(tasks, |t| run(t * all / tasks, (t + 1) * all / tasks));
    }

    /// # Safety
    /// As [`Job::forward`]; no other task writes these queries.
    unsafe fn forward_block(&self, b: usize, h: usize, block: usize, scratch: [&mut [f32]; 3]) {
        let k = self.k;
        let [scores, values, random] = scratch;
        let i0 = block * self.block;
        let rows = self.block.min(k.queries - i0);
        let n = self.reach(i0 + rows);
        self.scores(b, h, i0, rows, n, scores);
        let logs = self.output.wrapping_add(k.output_len() + (b * k.heads + h) * k.queries + i0);
        let p = k.params.dropout;
        for r in 0..rows {
            let (mask, mask_step) = self.mask_row(b, h, i0 + r);
            let row = scores[r * n..].as_mut_ptr();
            let seen = if k.params.causal { (i0 + r + 1).min(k.keys) } else { n };
            let args = Row { row, n, seen, scale: k.params.scale, mask, mask_step, ..Row::EMPTY };
            // SAFETY: the row has n scores, the mask as many, the result one logarithm for each query.
            unsafe { *logs.add(r) = (rows_of::<Softmax>(self.isa))(&args) };
            if p > 0.0 {
                self.draw(b, h, i0 + r, n, random);
                let args = Row { row, n, other: random.as_ptr(), scale: p, ..Row::EMPTY };
                // SAFETY: as above.
                unsafe { (rows_of::<Thin>(self.isa))(&args) };
            }
        }
        let g = h / (k.heads / k.groups);
        let weights = Operand::row_major(&scores[..rows * n], rows, n);
        product((rows, k.value_size, n), weights, self.v.rows(b, g, 0), values, false);
        for r in 0..rows {
            let at = ((b * k.queries + i0 + r) * k.heads + h) * k.value_size;
            // SAFETY: the output is [B, L, H, V], and this row is ours.
            unsafe {
                let to = self.output.add(at);
                let from = values[r * k.value_size..][..k.value_size].as_ptr();
                to.copy_from_nonoverlapping(from, k.value_size);
            }
        }
    }

    /// # Safety
    /// The output has room for the three gradients.
    unsafe fn backward(&self, result: &View<'_, f32>, grad: &View<'_, f32>) {
        let k = self.k;
        let tasks = k.batch * k.groups;
        parallel_for(tasks, |t| {
            // SAFETY: each task writes the gradients of its own group of heads.
            unsafe { self.backward_group(t / k.groups, t % k.groups, result, grad) };
        });
    }

    /// # Safety
    /// As [`Job::backward`]; no other task has this group.
    unsafe fn backward_group(
        &self,
        b: usize,
        g: usize,
        result: &View<'_, f32>,
        grad: &View<'_, f32>,
    ) {
        let k = self.k;
        let (s, e, v) = (k.keys, k.size, k.value_size);
        let (block, step) = (self.block, result.strides[0]);
        assert!(step == 1 && grad.strides[0] == 1, "attention: rows lie side by side");
        let mut scores = Scratch::take(block * s + LANES);
        let mut dscores = Scratch::take(block * s + LANES);
        let mut random = Scratch::take(s + LANES);
        let mut dq = Scratch::take(block * e);
        let (mut dk, mut dv) = (Scratch::take(s * e), Scratch::take(s * v));
        let (scores, dscores) = (scores.as_mut_slice(), dscores.as_mut_slice());
        let (random, dq) = (random.as_mut_slice(), dq.as_mut_slice());
        let (dk, dv) = (&mut dk.as_mut_slice()[..s * e], &mut dv.as_mut_slice()[..s * v]);
        dk.fill(0.0);
        dv.fill(0.0);
        let each = k.heads / k.groups;
        let p = k.params.dropout;
        for h in g * each..(g + 1) * each {
            for i0 in (0..k.queries).step_by(block) {
                let rows = block.min(k.queries - i0);
                let n = self.reach(i0 + rows);
                self.scores(b, h, i0, rows, n, scores);
                let row_at = |i: usize| ((b * k.queries + i) * k.heads + h) * v;
                let dy = Operand {
                    data: grad.data,
                    base: grad.base + row_at(i0),
                    batch: Batch::Stride(0),
                    row_stride: k.heads * v,
                    col_stride: 1,
                };
                let values = self.v.rows(b, g, 0).transposed();
                product((rows, n, v), dy, values, dscores, false);
                for r in 0..rows {
                    let i = i0 + r;
                    let (mask, mask_step) = self.mask_row(b, h, i);
                    let log = result.base + k.output_len() + (b * k.heads + h) * k.queries + i;
                    let seen = if k.params.causal { (i + 1).min(s) } else { n };
                    let dy_row = &grad.data[grad.base + row_at(i)..][..v];
                    let y_row = &result.data[result.base + row_at(i)..][..v];
                    let row = scores[r * n..].as_mut_ptr();
                    let args = Row {
                        row,
                        n,
                        seen,
                        scale: k.params.scale,
                        mask,
                        mask_step,
                        shift: result.data[log],
                        ..Row::EMPTY
                    };
                    let dot = Row {
                        row: dy_row.as_ptr().cast_mut(),
                        n: v,
                        other: y_row.as_ptr(),
                        ..Row::EMPTY
                    };
                    let drow = dscores[r * n..].as_mut_ptr();
                    // SAFETY: all rows have the lengths said; `Dot` only reads.
                    unsafe {
                        (rows_of::<Weights>(self.isa))(&args);
                        let shift = (rows_of::<Dot>(self.isa))(&dot);
                        if p > 0.0 {
                            self.draw(b, h, i, n, random);
                            let args = Row {
                                row: drow,
                                n,
                                other: random.as_ptr(),
                                scale: p,
                                ..Row::EMPTY
                            };
                            (rows_of::<Thin>(self.isa))(&args);
                        }
                        // The gradient of the scores, in place of that of the weights.
                        let args = Row { row: drow, n, seen, other: row, shift, ..Row::EMPTY };
                        (rows_of::<SoftmaxGrad>(self.isa))(&args);
                        if p > 0.0 {
                            let args =
                                Row { row, n, other: random.as_ptr(), scale: p, ..Row::EMPTY };
                            (rows_of::<Thin>(self.isa))(&args);
                        }
                    }
                }
                let weights = Operand::row_major(&scores[..rows * n], rows, n);
                let dweights = Operand::row_major(&dscores[..rows * n], rows, n);
                product((n, v, rows), weights.transposed(), dy, &mut dv[..n * v], true);
                product((rows, e, n), dweights, self.key.rows(b, g, 0), dq, false);
                let queries = self.q.rows(b, h, i0);
                product((n, e, rows), dweights.transposed(), queries, &mut dk[..n * e], true);
                for r in 0..rows {
                    let at = ((b * k.queries + i0 + r) * k.heads + h) * e;
                    for (x, from) in dq[r * e..][..e].iter().enumerate() {
                        // SAFETY: the gradient of the queries is [B, L, H, E], and this row is ours.
                        unsafe { *self.output.add(at + x) = from * k.params.scale };
                    }
                }
            }
        }
        let dk_start = k.batch * k.queries * k.heads * e;
        let dv_start = dk_start + k.batch * s * k.groups * e;
        for j in 0..s {
            let row = (b * s + j) * k.groups + g;
            for x in 0..e {
                // SAFETY: the gradient of the keys is [B, S, G, E], that of the values [B, S, G, V]; these rows are ours.
                unsafe {
                    *self.output.add(dk_start + row * e + x) = dk[j * e + x] * k.params.scale
                };
            }
            // SAFETY: as above.
            unsafe {
                let to = self.output.add(dv_start + row * v);
                to.copy_from_nonoverlapping(dv[j * v..][..v].as_ptr(), v);
            }
        }
    }
}

/// What a row kernel works on.
#[derive(Clone, Copy)]
struct Row {
    row: *mut f32,
    n: usize,
    /// Elements that count; the rest become 0.
    seen: usize,
    scale: f32,
    shift: f32,
    mask: *const f32,
    mask_step: usize,
    other: *const f32,
}

impl Row {
    const EMPTY: Row = Row {
        row: std::ptr::null_mut(),
        n: 0,
        seen: 0,
        scale: 1.0,
        shift: 0.0,
        mask: std::ptr::null(),
        mask_step: 0,
        other: std::ptr::null(),
    };
}

trait RowKernel {
    /// # Safety
    /// The pointers that this kernel reads have `n` elements (the mask at its step).
    unsafe fn run(args: &Row) -> f32;
}

/// The copy of a row kernel for an instruction set.
fn rows_of<K: RowKernel>(isa: Isa) -> unsafe fn(&Row) -> f32 {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    unsafe fn avx512<K: RowKernel>(args: &Row) -> f32 {
        // SAFETY: the caller's promises are those of the kernel.
        unsafe { K::run(args) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn avx2<K: RowKernel>(args: &Row) -> f32 {
        // SAFETY: the caller's promises are those of the kernel.
        unsafe { K::run(args) }
    }
    unsafe fn plain<K: RowKernel>(args: &Row) -> f32 {
        // SAFETY: the caller's promises are those of the kernel.
        unsafe { K::run(args) }
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::<K>,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::<K>,
        _ => plain::<K>,
    }
}

/// Runs the body for groups of [`LANES`] elements and then for the rest. The body is written out twice, so that the compiler knows the
/// size of a whole group.
macro_rules! groups {
    ($n:expr, $at:ident, $count:ident, $body:block) => {{
        let n: usize = $n;
        let mut $at = 0;
        while $at + LANES <= n {
            let $count = LANES;
            $body
            $at += LANES;
        }
        if $at < n {
            let $count = n - $at;
            $body
        }
    }};
}

/// Scales the row and adds the mask.
#[inline(always)]
unsafe fn prepare(a: &Row) {
    // SAFETY: as promised to the kernel.
    unsafe {
        if a.mask.is_null() {
            groups!(a.seen, at, count, {
                for j in at..at + count {
                    *a.row.add(j) *= a.scale;
                }
            });
        } else {
            for j in 0..a.seen {
                *a.row.add(j) = a.scale.mul_add(*a.row.add(j), *a.mask.add(j * a.mask_step));
            }
        }
        for j in a.seen..a.n {
            *a.row.add(j) = 0.0;
        }
    }
}

/// Adds up separate sums, always in the same order.
#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            sums[j] += sums[j + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Scores to weights; gives the logarithm of the sum of exponentials. A row of minus infinities gives zeros (and plus infinity).
struct Softmax;
impl RowKernel for Softmax {
    #[inline(always)]
    unsafe fn run(a: &Row) -> f32 {
        // SAFETY: as promised.
        unsafe {
            prepare(a);
            let mut tops = [f32::NEG_INFINITY; LANES];
            groups!(a.seen, at, count, {
                for j in 0..count {
                    let x = *a.row.add(at + j);
                    // NaN wins.
                    tops[j] = if x > tops[j] || x.is_nan() { x } else { tops[j] };
                }
            });
            let top = tops
                .iter()
                .fold(f32::NEG_INFINITY, |t, x| if *x > t || x.is_nan() { *x } else { t });
            if top == f32::NEG_INFINITY {
                for j in 0..a.seen {
                    *a.row.add(j) = 0.0;
                }
                return f32::INFINITY;
            }
            let mut sums = [0.0f32; LANES];
            groups!(a.seen, at, count, {
                for j in 0..count {
                    let e = math::exp(*a.row.add(at + j) - top);
                    *a.row.add(at + j) = e;
                    sums[j] += e;
                }
            });
            let sum = total(sums);
            let share = 1.0 / sum;
            groups!(a.seen, at, count, {
                for j in at..at + count {
                    *a.row.add(j) *= share;
                }
            });
            top + sum.ln()
        }
    }
}

/// Scores to weights, from the logarithm of the sum of exponentials (`shift`).
struct Weights;
impl RowKernel for Weights {
    #[inline(always)]
    unsafe fn run(a: &Row) -> f32 {
        // SAFETY: as promised.
        unsafe {
            prepare(a);
            groups!(a.seen, at, count, {
                for j in at..at + count {
                    *a.row.add(j) = math::exp(*a.row.add(j) - a.shift);
                }
            });
        }
        0.0
    }
}

/// Zeroes what is dropped (`other` below `scale`, the probability) and scales the rest up.
struct Thin;
impl RowKernel for Thin {
    #[inline(always)]
    unsafe fn run(a: &Row) -> f32 {
        let keep = 1.0 / (1.0 - a.scale);
        // SAFETY: as promised.
        unsafe {
            groups!(a.n, at, count, {
                for j in at..at + count {
                    let x = *a.row.add(j) * keep;
                    *a.row.add(j) = if *a.other.add(j) < a.scale { 0.0 } else { x };
                }
            });
        }
        0.0
    }
}

/// `weights * (gradient - shift)`: the row is the gradient of the weights, `other` the weights.
struct SoftmaxGrad;
impl RowKernel for SoftmaxGrad {
    #[inline(always)]
    unsafe fn run(a: &Row) -> f32 {
        // SAFETY: as promised.
        unsafe {
            groups!(a.seen, at, count, {
                for j in at..at + count {
                    *a.row.add(j) = *a.other.add(j) * (*a.row.add(j) - a.shift);
                }
            });
            for j in a.seen..a.n {
                *a.row.add(j) = 0.0;
            }
        }
        0.0
    }
}

/// The sum of products of the row and `other`.
struct Dot;
impl RowKernel for Dot {
    #[inline(always)]
    unsafe fn run(a: &Row) -> f32 {
        let mut sums = [0.0f32; LANES];
        // SAFETY: as promised.
        unsafe {
            groups!(a.n, at, count, {
                for j in 0..count {
                    sums[j] = (*a.row.add(at + j)).mul_add(*a.other.add(at + j), sums[j]);
                }
            });
        }
        total(sums)
    }
}
