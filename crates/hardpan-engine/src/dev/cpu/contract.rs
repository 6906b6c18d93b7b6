//! Matrix products and convolutions with their epilogues.
//!
//! A result that an epilogue reads is kept in f32 for half types (they are rounded once, when the epilogue stores) and lives in
//! the epilogue's first output where that is its plain image, else in scratch memory. The fast kernels tell when a tile of the
//! result is final, and the epilogue runs on it while it is in cache.
use super::conv::{
    ConvDone, ConvShape, ConvTile, PairConv, PairMode, conv_forward_reference, conv_forward_with,
    conv_input_grad_reference, conv_input_grad_with, conv_weight_grad, conv_weight_grad_reference,
};
use super::element::{Stored, with_stored};
use super::gemm::{Batch, Element, GemmShape, Number, Operand, Tile, gemm, gemm_generic};
use super::isa::Isa;
use super::lanes::convert;
use super::memory::Memory;
use super::pool::{SharedMut, parallel_for};
use super::vm;
use super::vm::exec::{Buffers, Launch};
use super::vm::lower::By;
use crate::dev::{DeviceError, Mem};
use crate::dtype::{DType, Scalar};
use crate::kernel::{self, Body, ConvKernel, DotKernel, Fused, Kernel, Level};
use crate::op::ConvMode;
use crate::shape::strides_of;
use half::{bf16, f16};

/// The element type of a contraction's result as its epilogue reads it: f32 for half types, which are rounded only when the
/// epilogue stores them.
pub fn result_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// A contraction prepared for this machine.
pub struct Contraction {
    isa: Isa,
    what: What,
    dtype: DType,
    /// Elements of the result.
    count: usize,
    /// Elements of each input buffer.
    lens: Vec<usize>,
    epilogue: Option<vm::Program>,
    /// The output whose memory can hold the result.
    home: Option<usize>,
}

enum What {
    Dot { kernel: Box<DotKernel>, a: BatchTable, b: BatchTable },
    Conv { kernel: Box<ConvKernel>, shape: Box<ConvShape> },
}

/// Where each matrix of a batch starts.
enum BatchTable {
    Stride(usize),
    Offsets(Vec<usize>),
    /// A stride is negative: the operand is copied first.
    Negative,
}

impl BatchTable {
    fn new(batch: &[usize], operand: &kernel::Operand) -> BatchTable {
        let strides = &operand.batch;
        if operand.row < 0 || operand.col < 0 || strides.iter().any(|s| *s < 0) {
            return BatchTable::Negative;
        }
        let mut offsets = vec![0usize];
        for (size, stride) in batch.iter().zip(strides) {
            offsets = offsets
                .iter()
                .flat_map(|o| (0..*size).map(move |i| o + i * *stride as usize))
                .collect();
        }
        let step = if offsets.len() > 1 { offsets[1] - offsets[0].min(offsets[1]) } else { 0 };
        if offsets.iter().enumerate().all(|(i, o)| *o == i * step) {
            BatchTable::Stride(step)
        } else {
            BatchTable::Offsets(offsets)
        }
    }

    fn as_batch(&self) -> Batch<'_> {
        match self {
            BatchTable::Stride(s) => Batch::Stride(*s),
            BatchTable::Offsets(o) => Batch::Offsets(o),
            BatchTable::Negative => unreachable!("copied first"),
        }
    }
}

/// The first output that is the plain image of the epilogue's dimensions in the result's type.
fn home(fused: &Fused, result: DType) -> Option<usize> {
    let strides = strides_of(&fused.dims);
    fused
        .stores
        .iter()
        .find(|s| {
            s.dtype == result
                && s.level == Level::Full
                && s.at.base == 0
                && (0..fused.dims.len()).all(|d| fused.dims[d] == 1 || s.at.coef[d] == strides[d])
        })
        .map(|s| s.output)
}

/// Prepares an epilogue. Those of images run on some channels by some pixels at a time, with values that are the same for a whole
/// channel, as in batch norm, read once for it.
fn lower_epilogue(fused: &Fused, what: &What, isa: Isa) -> vm::Program {
    /// Shorter rows are not worth a call each.
    const SHORT: usize = 8;
    let pixels: usize = match what {
        What::Conv { kernel, .. } if kernel.mode == ConvMode::Forward => {
            kernel.y[2..].iter().product()
        }
        What::Conv { kernel, .. } if kernel.mode == ConvMode::InputGrad => {
            kernel.x[2..].iter().product()
        }
        _ => 0,
    };
    let rank = fused.dims.len();
    let kept = (0..rank).find(|d| fused.dims[*d..].iter().product::<usize>() == pixels);
    if let Some(kept) = kept
        && pixels >= SHORT
        && fused.loads.iter().any(|l| l.at.coef[kept..].iter().all(|c| *c == 0))
    {
        let rows = Fused { kept, ..fused.clone() };
        return vm::lower::lower(&rows, isa, By::Pieces);
    }
    vm::lower::lower(fused, isa, By::Range)
}

fn conv_shape(k: &ConvKernel) -> ConvShape {
    let spatial = k.params.stride.len();
    let three = |fill: usize, of: &dyn Fn(usize) -> usize| {
        let mut out = [fill; 3];
        for d in 0..spatial {
            out[3 - spatial + d] = of(d);
        }
        out
    };
    ConvShape {
        batch: k.x[0],
        groups: k.params.groups,
        in_channels: k.x[1],
        out_channels: k.w[0],
        in_dims: three(1, &|d| k.x[2 + d]),
        out_dims: three(1, &|d| k.y[2 + d]),
        kernel: three(1, &|d| k.w[2 + d]),
        stride: three(1, &|d| k.params.stride[d]),
        padding_lo: three(0, &|d| k.params.padding[d]),
        dilation: three(1, &|d| k.params.dilation[d]),
    }
}

impl Contraction {
    /// Prepares a `Dot` or `Conv`; `None` for other kernels.
    pub fn new(kernel: &Kernel, isa: Isa) -> Option<Contraction> {
        let (what, dtype, count, epilogue) = match &kernel.body {
            Body::Dot(dot, epilogue) => {
                let count = dot.batch.iter().product::<usize>() * dot.m * dot.n;
                let a = BatchTable::new(&dot.batch, &dot.a);
                let b = BatchTable::new(&dot.batch, &dot.b);
                (What::Dot { kernel: Box::new(dot.clone()), a, b }, dot.dtype, count, epilogue)
            }
            Body::Conv(conv, epilogue) => {
                let shape = conv_shape(conv);
                let count = match conv.mode {
                    ConvMode::Forward => shape.output_len(),
                    ConvMode::InputGrad => shape.input_len(),
                    ConvMode::WeightGrad => shape.weight_len(),
                };
                (
                    What::Conv { kernel: Box::new(conv.clone()), shape: Box::new(shape) },
                    conv.dtype,
                    count,
                    epilogue,
                )
            }
            _ => return None,
        };
        Some(Contraction {
            isa,
            dtype,
            count,
            lens: kernel.inputs.iter().map(|(_, n)| *n).collect(),
            epilogue: epilogue.as_ref().map(|f| lower_epilogue(f, &what, isa)),
            home: epilogue.as_ref().and_then(|f| home(f, result_dtype(dtype))),
            what,
        })
    }

    /// Computes the result and runs the epilogue.
    pub fn run(
        &self,
        memory: &Memory,
        inputs: &[*const u8],
        held: &[&Mem],
        outputs: &[*mut u8],
        args: &[Scalar],
    ) -> Result<(), DeviceError> {
        if self.count == 0 {
            return Ok(());
        }
        let is_half = result_dtype(self.dtype) != self.dtype;
        let home = match (&self.epilogue, is_half) {
            (None, false) => Some(outputs[0]),
            (None, true) => None,
            // An epilogue's operand may have donated its memory to the output: the result must not overwrite it.
            (Some(_), _) => self
                .home
                .map(|o| outputs[o])
                .filter(|o| inputs.iter().all(|i| *i != o.cast_const())),
        };
        let bytes = self.count * result_dtype(self.dtype).size();
        let (c, scratch) = match home {
            Some(c) => (c, None),
            None => {
                let block = memory.alloc(bytes)?;
                (block as *mut u8, Some(block))
            }
        };
        match &self.epilogue {
            Some(program) => {
                let buffers = Buffers { inputs, outputs, result: c.cast_const(), args };
                let launch = Launch::new(program, buffers);
                self.compute(memory, inputs, held, c, Finish::Epilogue(launch))?;
            }
            None if is_half => {
                let convert = convert::store(self.isa, self.dtype).expect("halves are converted");
                self.compute(memory, inputs, held, c, Finish::Round(convert, outputs[0]))?;
            }
            None => self.compute(memory, inputs, held, c, Finish::Nothing)?,
        }
        if let Some(block) = scratch {
            memory.free(block, bytes);
        }
        Ok(())
    }

    fn compute(
        &self,
        memory: &Memory,
        inputs: &[*const u8],
        held: &[&Mem],
        c: *mut u8,
        finish: Finish,
    ) -> Result<(), DeviceError> {
        match &self.what {
            What::Dot { kernel, a, b } => {
                let batch = kernel.batch.iter().product();
                let shape = GemmShape { batch, m: kernel.m, n: kernel.n, k: kernel.k };
                let pair = DotOperands { kernel, a, b, inputs, lens: &self.lens };
                let finish = RowFinish { finish, c };
                match self.dtype {
                    DType::F32 => pair.fast::<f32>(shape, c, &finish),
                    DType::F16 => pair.fast::<f16>(shape, c, &finish),
                    DType::BF16 => pair.fast::<bf16>(shape, c, &finish),
                    DType::F64 => pair.generic::<f64>(shape, c),
                    DType::I32 => pair.generic::<i32>(shape, c),
                    DType::I64 => pair.generic::<i64>(shape, c),
                    DType::U32 => pair.generic::<u32>(shape, c),
                    DType::U8 => pair.generic::<u8>(shape, c),
                    // SAFETY: buffers as the kernel describes them.
                    DType::I8 | DType::I16 | DType::Bool => unsafe { naive_dot(kernel, inputs, c) },
                }
                if !self.dtype.is_float() || self.dtype == DType::F64 {
                    finish.all(self.count);
                }
            }
            What::Conv { kernel, shape } => {
                let finish = RowFinish { finish, c };
                match self.dtype {
                    DType::F32 => {
                        // SAFETY: the inputs hold that many elements and are not written.
                        let [a, b] = kernel.inputs.map(|i| unsafe {
                            std::slice::from_raw_parts(inputs[i].cast::<f32>(), self.lens[i])
                        });
                        self.fast_conv(kernel, shape, a, b, held, c, &finish);
                    }
                    DType::BF16 if self.pair_conv(kernel, shape).is_some() => {
                        let conv = self.pair_conv(kernel, shape).expect("just asked");
                        self.run_pairs(memory, conv, kernel, shape, inputs, held, c, &finish)?;
                    }
                    DType::F16 | DType::BF16 => {
                        let mut wide = Vec::new();
                        let load = convert::load(self.isa, self.dtype).expect("halves convert");
                        for i in kernel.inputs {
                            let n = self.lens[i];
                            let block = memory.alloc(n * 4)?;
                            let (src, dst) = (inputs[i] as usize, block);
                            parallel_for(n.div_ceil(65_536), |t| {
                                let from = t * 65_536;
                                // SAFETY: each task converts its own part.
                                unsafe {
                                    load(
                                        (dst + from * 4) as *mut u8,
                                        (src + from * 2) as *const u8,
                                        65_536.min(n - from),
                                    );
                                }
                            });
                            wide.push((block, n));
                        }
                        {
                            // SAFETY: just filled, and aligned to 64.
                            let view = |(block, n): (usize, usize)| unsafe {
                                std::slice::from_raw_parts(block as *const f32, n)
                            };
                            let (a, b) = (view(wide[0]), view(wide[1]));
                            self.fast_conv(kernel, shape, a, b, &[], c, &finish);
                        }
                        wide.iter().for_each(|(block, n)| memory.free(*block, n * 4));
                    }
                    DType::F64 => self.plain_conv::<f64>(kernel, shape, inputs, c),
                    DType::I32 => self.plain_conv::<i32>(kernel, shape, inputs, c),
                    DType::I64 => self.plain_conv::<i64>(kernel, shape, inputs, c),
                    other => {
                        return Err(DeviceError::Unsupported(format!("convolution of {other}")));
                    }
                }
                if !self.dtype.is_float() || self.dtype == DType::F64 {
                    finish.all(self.count);
                }
            }
        }
        Ok(())
    }

    fn fast_conv(
        &self,
        kernel: &ConvKernel,
        shape: &ConvShape,
        a: &[f32],
        b: &[f32],
        held: &[&Mem],
        c: *mut u8,
        finish: &RowFinish,
    ) {
        // SAFETY: the result holds `count` f32 that the kernel and then the hook of each tile reach.
        let out = unsafe { SharedMut::from_raw(c.cast::<f32>(), self.count) };
        let hook = |tile| conv_tile_done(kernel, shape, finish, tile);
        let hook: Option<ConvDone> = if finish.is_nothing() { None } else { Some(&hook) };
        let memory = held.get(kernel.inputs[1]).copied();
        match kernel.mode {
            ConvMode::Forward => conv_forward_with(shape, a, b, memory, out, hook),
            ConvMode::InputGrad => conv_input_grad_with(shape, a, b, memory, out, hook),
            ConvMode::WeightGrad => {
                conv_weight_grad(shape, a, b, out);
                finish.all(self.count);
            }
        }
    }

    fn pair_conv<'a>(&self, kernel: &ConvKernel, shape: &'a ConvShape) -> Option<PairConv<'a>> {
        let mode = match kernel.mode {
            ConvMode::Forward => PairMode::Forward,
            ConvMode::InputGrad => PairMode::InputGrad,
            ConvMode::WeightGrad => PairMode::WeightGrad,
        };
        PairConv::new(shape, mode)
    }

    fn run_pairs(
        &self,
        memory: &Memory,
        conv: PairConv<'_>,
        kernel: &ConvKernel,
        shape: &ConvShape,
        inputs: &[*const u8],
        held: &[&Mem],
        c: *mut u8,
        finish: &RowFinish,
    ) -> Result<(), DeviceError> {
        // SAFETY: the inputs hold that many elements and are not written.
        let [a, b] = kernel
            .inputs
            .map(|i| unsafe { std::slice::from_raw_parts(inputs[i].cast::<bf16>(), self.lens[i]) });
        let lens = conv.working();
        let weights = held.get(kernel.inputs[1]).copied();
        let blocks = [memory.alloc(lens[0] * 4)?, memory.alloc(lens[1] * 4)?];
        // SAFETY: the blocks are that large, aligned to 64, and nobody else's. They may hold anything, which any u32 may.
        let working = [0, 1]
            .map(|i| unsafe { std::slice::from_raw_parts_mut(blocks[i] as *mut u32, lens[i]) });
        // SAFETY: as in `fast_conv`.
        let out = unsafe { SharedMut::from_raw(c.cast::<f32>(), self.count) };
        let hook = |tile| conv_tile_done(kernel, shape, finish, tile);
        if kernel.mode == ConvMode::WeightGrad || finish.is_nothing() {
            conv.run(a, b, weights, working, out, None);
            if kernel.mode == ConvMode::WeightGrad {
                finish.all(self.count);
            }
        } else {
            conv.run(a, b, weights, working, out, Some(&hook));
        }
        for (block, len) in blocks.into_iter().zip(lens) {
            memory.free(block, len * 4);
        }
        Ok(())
    }

    fn plain_conv<T: Number>(
        &self,
        kernel: &ConvKernel,
        shape: &ConvShape,
        inputs: &[*const u8],
        c: *mut u8,
    ) {
        // SAFETY: buffers as the kernel describes them.
        unsafe {
            let [a, b] = kernel
                .inputs
                .map(|i| std::slice::from_raw_parts(inputs[i].cast::<T>(), self.lens[i]));
            let out = std::slice::from_raw_parts_mut(c.cast::<T>(), self.count);
            match kernel.mode {
                ConvMode::Forward => conv_forward_reference(shape, a, b, out),
                ConvMode::InputGrad => conv_input_grad_reference(shape, a, b, out),
                ConvMode::WeightGrad => conv_weight_grad_reference(shape, a, b, out),
            }
        }
    }
}

/// A region of a convolution's result is final.
fn conv_tile_done(kernel: &ConvKernel, shape: &ConvShape, finish: &RowFinish, t: ConvTile) {
    let (channels, pixels): (usize, usize) = match kernel.mode {
        ConvMode::Forward => (shape.out_channels, shape.out_dims.iter().product()),
        _ => (shape.in_channels, shape.in_dims.iter().product()),
    };
    for image in t.image0..t.image0 + t.images {
        let row = image * channels + t.channel0;
        match &finish.finish {
            Finish::Epilogue(launch) if launch.by_pieces() => {
                launch.pieces(row, t.channels, t.pixel0, t.pixels);
            }
            _ => finish.rows(row * pixels + t.pixel0, t.channels, pixels, t.pixels),
        }
    }
}

/// What happens to a finished part of the result.
enum Finish<'a> {
    Nothing,
    Epilogue(Launch<'a>),
    /// Rounded to a half type into this output.
    Round(super::lanes::F1, *mut u8),
}

struct RowFinish<'a> {
    finish: Finish<'a>,
    c: *mut u8,
}
// SAFETY: tiles are disjoint, so tasks read and write disjoint parts of the result and the outputs.
unsafe impl Sync for RowFinish<'_> {}

impl RowFinish<'_> {
    fn is_nothing(&self) -> bool {
        matches!(self.finish, Finish::Nothing)
    }

    /// `rows` runs of `len` elements, `stride` apart, are final.
    fn rows(&self, first: usize, rows: usize, stride: usize, len: usize) {
        let (rows, len) = if len == stride { (1, rows * len) } else { (rows, len) };
        match &self.finish {
            Finish::Nothing => {}
            Finish::Epilogue(launch) => launch.flat(first, rows, stride, len),
            Finish::Round(convert, out) => {
                for r in 0..rows {
                    let at = first + r * stride;
                    // SAFETY: inside the result and the output.
                    unsafe { convert(out.add(at * 2), self.c.add(at * 4), len) };
                }
            }
        }
    }

    /// The whole result is final.
    fn all(&self, count: usize) {
        if let Finish::Epilogue(launch) = &self.finish {
            launch.run();
        } else {
            self.rows(0, 1, count, count);
        }
    }
}

struct DotOperands<'a> {
    kernel: &'a DotKernel,
    a: &'a BatchTable,
    b: &'a BatchTable,
    inputs: &'a [*const u8],
    lens: &'a [usize],
}

impl DotOperands<'_> {
    /// The operands as the matrix kernels take them; `copies` holds those with negative strides, made contiguous.
    fn with<T: Copy>(&self, run: impl FnOnce(Operand<T>, Operand<T>)) {
        let k = self.kernel;
        let view = |o: &kernel::Operand| {
            // SAFETY: the input holds that many elements and nothing writes to it during the product.
            unsafe {
                std::slice::from_raw_parts(self.inputs[o.input].cast::<T>(), self.lens[o.input])
            }
        };
        let copied = |table: &BatchTable, o: &kernel::Operand, rows: usize, cols: usize| match table
        {
            BatchTable::Negative => contiguous(view(o), o, &k.batch, rows, cols),
            _ => Vec::new(),
        };
        let (copy_a, copy_b) = (copied(self.a, &k.a, k.m, k.k), copied(self.b, &k.b, k.k, k.n));
        let operand = |table: &'_ BatchTable, o: &kernel::Operand, copy: &'_ [T], rows, cols| {
            match table {
                BatchTable::Negative => {
                    // SAFETY: the copy outlives the product; the lifetimes of the two cases are joined here.
                    let copy = unsafe { std::slice::from_raw_parts(copy.as_ptr(), copy.len()) };
                    Operand::row_major(copy, rows, cols)
                }
                table => Operand {
                    data: view(o),
                    base: o.base,
                    // SAFETY: the table outlives the product, as above.
                    batch: unsafe { &*std::ptr::from_ref(table) }.as_batch(),
                    row_stride: o.row as usize,
                    col_stride: o.col as usize,
                },
            }
        };
        let a = operand(self.a, &k.a, &copy_a, k.m, k.k);
        let b = operand(self.b, &k.b, &copy_b, k.k, k.n);
        run(a, b);
    }

    fn fast<T: Element>(&self, shape: GemmShape, c: *mut u8, finish: &RowFinish) {
        // SAFETY: the result holds that many f32, which the kernel and then the hook of each tile reach.
        let out = unsafe { SharedMut::from_raw(c.cast::<f32>(), shape.batch * shape.m * shape.n) };
        let hook = |t: Tile| {
            let first = (t.batch * shape.m + t.row0) * shape.n + t.col0;
            finish.rows(first, t.rows, shape.n, t.cols);
        };
        self.with::<T>(|a, b| {
            if finish.is_nothing() {
                gemm(shape, a, b, out, false, None);
            } else {
                gemm(shape, a, b, out, false, Some(&hook));
            }
        });
    }

    fn generic<T: Number>(&self, shape: GemmShape, c: *mut u8) {
        // SAFETY: the result holds that many elements.
        let out = unsafe { SharedMut::from_raw(c.cast::<T>(), shape.batch * shape.m * shape.n) };
        self.with::<T>(|a, b| gemm_generic(shape, a, b, out, false));
    }
}

/// `[batch, rows, cols]` in order.
fn contiguous<T: Copy>(
    data: &[T],
    o: &kernel::Operand,
    batch: &[usize],
    rows: usize,
    cols: usize,
) -> Vec<T> {
    let batches: usize = batch.iter().product();
    let mut out = Vec::with_capacity(batches * rows * cols);
    for b in 0..batches {
        let (mut rest, mut at) = (b, o.base as isize);
        for d in (0..batch.len()).rev() {
            at += (rest % batch[d]) as isize * o.batch[d];
            rest /= batch[d];
        }
        for r in 0..rows as isize {
            out.extend((0..cols as isize).map(|c| data[(at + r * o.row + c * o.col) as usize]));
        }
    }
    out
}

/// The plain product, for the dtypes without a kernel; whole numbers wrap.
///
/// # Safety
/// Buffers as the kernel describes them; `c` is disjoint from the inputs.
unsafe fn naive_dot(kernel: &DotKernel, inputs: &[*const u8], c: *mut u8) {
    with_stored!(kernel.dtype, T => {
        let (a, b) = (inputs[kernel.a.input].cast::<T>(), inputs[kernel.b.input].cast::<T>());
        let c = c.cast::<T>();
        let (m, n, k) = (kernel.m, kernel.n, kernel.k);
        for t in 0..kernel.batch.iter().product::<usize>() * m {
            let (mut rest, i) = (t / m, t % m);
            let (mut at_a, mut at_b) = (kernel.a.base as isize, kernel.b.base as isize);
            for d in (0..kernel.batch.len()).rev() {
                let index = (rest % kernel.batch[d]) as isize;
                rest /= kernel.batch[d];
                at_a += index * kernel.a.batch[d];
                at_b += index * kernel.b.batch[d];
            }
            at_a += i as isize * kernel.a.row;
            for j in 0..n {
                let mut sum = 0i64;
                // SAFETY: addresses as the kernel describes.
                unsafe {
                    for l in 0..k as isize {
                        let x = a.offset(at_a + l * kernel.a.col).read().whole();
                        let y = b.offset(at_b + j as isize * kernel.b.col + l * kernel.b.row).read();
                        sum = sum.wrapping_add(x.wrapping_mul(y.whole()));
                    }
                    c.add(t * n + j).write(T::from_whole(sum));
                }
            }
        }
    });
}
