//! Whole rows by number: gather and deterministic scatter.
use super::isa::Isa;
use super::lanes::{convert, ops};
use super::pool::parallel_for;
use crate::dev::DeviceError;
use crate::dtype::DType;
use crate::op::{BinaryOp, ScatterOp};

#[derive(Clone, Copy)]
struct Shared(*mut u8);
// SAFETY: tasks write disjoint parts.
unsafe impl Sync for Shared {}
impl Shared {
    fn at(&self, bytes: usize) -> *mut u8 {
        self.0.wrapping_add(bytes)
    }
}

/// Fails on the first index that is not below `rows`.
fn check(op: &str, index: &[i64], rows: usize) -> Result<(), DeviceError> {
    match index.iter().position(|i| *i < 0 || *i as u64 >= rows as u64) {
        None => Ok(()),
        Some(p) => Err(DeviceError::Data(format!(
            "{op}: index {} at position {p} is out of range for {rows} rows",
            index[p]
        ))),
    }
}

/// Rows of `row` bytes of `x` in the order of `index`.
///
/// # Safety
/// `x` holds `rows` rows and `out` as many as there are indices; they are disjoint.
pub unsafe fn take(
    x: *const u8,
    index: &[i64],
    out: *mut u8,
    rows: usize,
    row: usize,
) -> Result<(), DeviceError> {
    check("take", index, rows)?;
    if row == 0 {
        return Ok(());
    }
    let (x, out) = (Shared(x.cast_mut()), Shared(out));
    let per_task = (65_536 / row).max(1);
    parallel_for(index.len().div_ceil(per_task), |t| {
        let from = t * per_task;
        let to = index.len().min(from + per_task);
        for (i, r) in index[from..to].iter().enumerate() {
            // SAFETY: the index was checked; each output row is written by one task.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    x.at(*r as usize * row),
                    out.at((from + i) * row),
                    row,
                );
            }
        }
    });
    Ok(())
}

/// Folds rows of `src` into the rows of `out` that `index` names, in source order. Tasks own ranges of columns or of target
/// rows, so the order at each target is that of the source whatever the number of threads.
///
/// # Safety
/// `out` holds `rows * inner` elements, already those of the base; `src` one row per index; disjoint.
pub unsafe fn scatter(
    isa: Isa,
    op: ScatterOp,
    index: &[i64],
    src: *const u8,
    out: *mut u8,
    (rows, inner): (usize, usize),
    dtype: DType,
) -> Result<(), DeviceError> {
    check(op.name(), index, rows)?;
    if inner == 0 || index.is_empty() {
        return Ok(());
    }
    let (src, out) = (Shared(src.cast_mut()), Shared(out));
    let size = dtype.size();
    let work = index.len() * inner;
    // Each task walks all indices, so there are only as many tasks as pay off.
    let tasks = if work < 65_536 { 1 } else { (work / 65_536).clamp(2, 16) };
    let by_columns = inner >= 64 * tasks;
    let part = |n: usize, t: usize| {
        let step = n.div_ceil(tasks);
        ((t * step).min(n), ((t + 1) * step).min(n))
    };
    parallel_for(tasks, |t| {
        let (row_from, row_to) = if by_columns { (0, rows) } else { part(rows, t) };
        let (from, to) = if by_columns { part(inner, t) } else { (0, inner) };
        if from == to {
            return;
        }
        let mut fold = RowFold::new(isa, op, dtype, to - from);
        for (i, r) in index.iter().enumerate() {
            let r = *r as usize;
            if r < row_from || r >= row_to {
                continue;
            }
            // SAFETY: the index was checked; this task alone writes these rows or columns.
            unsafe {
                fold.run(
                    out.at((r * inner + from) * size),
                    src.at((i * inner + from) * size),
                    to - from,
                );
            }
        }
    });
    Ok(())
}

/// `dst = op(dst, src)` on rows in storage types.
struct RowFold {
    size: usize,
    op: Option<ops::Forms2>,
    load: Option<super::lanes::F1>,
    store: Option<super::lanes::F1>,
    wrap: Option<super::lanes::F1>,
    lanes: [Vec<u64>; 2],
}

impl RowFold {
    fn new(isa: Isa, op: ScatterOp, dtype: DType, n: usize) -> RowFold {
        let binary = match op {
            ScatterOp::Set => None,
            ScatterOp::Add => Some(BinaryOp::Add),
            ScatterOp::Mul => Some(BinaryOp::Mul),
            ScatterOp::Max => Some(BinaryOp::Max),
            ScatterOp::Min => Some(BinaryOp::Min),
        };
        let load = convert::load(isa, dtype);
        let scratch = || if load.is_some() { vec![0; n] } else { Vec::new() };
        RowFold {
            size: dtype.size(),
            op: binary.map(|b| ops::binary(isa, b, dtype.lane()).expect("a vector loop exists")),
            load,
            store: convert::store(isa, dtype),
            wrap: convert::wrap(isa, dtype),
            lanes: [scratch(), scratch()],
        }
    }

    unsafe fn run(&mut self, dst: *mut u8, src: *const u8, n: usize) {
        // SAFETY: the caller gives n elements on both sides.
        unsafe {
            let Some(op) = &self.op else {
                std::ptr::copy_nonoverlapping(src, dst, n * self.size);
                return;
            };
            let (Some(load), Some(store)) = (self.load, self.store) else {
                (op.vv)(dst, dst, src, n);
                return;
            };
            let [a, b] = &mut self.lanes;
            let (a, b) = (a.as_mut_ptr().cast::<u8>(), b.as_mut_ptr().cast::<u8>());
            load(a, dst, n);
            load(b, src, n);
            (op.vv)(a, a, b, n);
            if let Some(wrap) = self.wrap {
                wrap(a, a, n);
            }
            store(dst, a, n);
        }
    }
}
