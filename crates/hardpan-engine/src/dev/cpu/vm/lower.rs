//! From the kernel description to steps over registers.
use super::walk::Walk;
use super::{Access, Action, Extent, Fn1, Fn2, Layout, Program, Step, StoreStep, Val, Value};
use crate::dev::cpu::contract::result_dtype;
use crate::dev::cpu::isa::Isa;
use crate::dev::cpu::lanes::{convert, fold, ops, random};
use crate::dtype::{DType, Lane, Scalar};
use crate::kernel::{Affine, Fused, Guard, Instr, Level, Source, V};
use crate::op::{BinaryOp, ReduceOp, UnaryOp};
use smallvec::SmallVec;

/// Rows shorter than this get row operands repeated into a register instead of a call per row.
const SHORT_ROW: usize = 24;

/// Everything that is known before the steps are made.
struct Lower<'a> {
    fused: &'a Fused,
    isa: Isa,
    layout: Layout,
    kept: SmallVec<[usize; 6]>,
    reduced: SmallVec<[usize; 6]>,
    /// Row operands are repeated, not broadcast step by step.
    expand_rows: bool,
    values: Vec<Value>,
    /// By value: depends on a reduction.
    after_fold: Vec<bool>,
    steps: Vec<Step>,
    /// Where each value of the description ended up.
    map: Vec<Option<Val>>,
    expanded: Vec<(Val, Extent, Val)>,
    folds: usize,
}

/// Prepares a fused program for an instruction set.
pub fn lower(fused: &Fused, isa: Isa) -> Program {
    let k = fused.row_len();
    let extents = extents(fused);
    let has_fold = fused.has_reduce() && k > 1;
    let layout = if has_fold { choose_layout(fused, &extents) } else { Layout::Flat };
    let rank = fused.dims.len();
    let (kept, reduced): (SmallVec<[usize; 6]>, SmallVec<[usize; 6]>) = match layout {
        Layout::Flat if k == 0 => ((0..fused.kept).collect(), SmallVec::new()),
        Layout::Flat => ((0..rank).collect(), SmallVec::new()),
        _ => ((0..fused.kept).collect(), (fused.kept..rank).collect()),
    };
    let rows: usize = kept.iter().map(|d| fused.dims[*d]).product();
    let cols = if layout == Layout::Cols { fused.dims[fused.kept - 1] } else { 0 };
    let mut lower = Lower {
        fused,
        isa,
        layout,
        kept,
        reduced,
        expand_rows: match layout {
            Layout::Flat => false,
            Layout::Rows => k < SHORT_ROW,
            Layout::Cols => cols < SHORT_ROW,
        },
        values: Vec::new(),
        after_fold: Vec::new(),
        steps: Vec::new(),
        map: vec![None; fused.values.len()],
        expanded: Vec::new(),
        folds: 0,
    };
    let used = used_values(fused, k);
    for v in 0..fused.values.len() {
        if used[v] {
            lower.value(v, extents[v], k);
        }
    }
    lower.finish(rows, k, cols)
}

/// Values that reach a store. With empty rows nothing full is computed.
fn used_values(fused: &Fused, k: usize) -> Vec<bool> {
    let mut used = vec![false; fused.values.len()];
    for s in &fused.stores {
        if k > 0 || s.level != Level::Full {
            used[s.value] = true;
        }
    }
    for v in (0..used.len()).rev() {
        if !used[v] {
            continue;
        }
        match &fused.values[v].instr {
            Instr::Unary(_, a) | Instr::Cast(a) => used[*a] = true,
            Instr::Binary(_, a, b) => (used[*a], used[*b]) = (true, true),
            Instr::Where(c, a, b) => (used[*c], used[*a], used[*b]) = (true, true, true),
            Instr::Reduce(_, a) if k > 0 => used[*a] = true,
            _ => {}
        }
    }
    used
}

/// What each value really depends on, over dimensions that are not of size 1.
fn extents(fused: &Fused) -> Vec<Extent> {
    let of = |a: &Affine| {
        let moves = |d: usize| a.coef[d] != 0 && fused.dims[d] != 1;
        if (fused.kept..fused.dims.len()).any(moves) {
            Extent::Full
        } else if (0..fused.kept).any(moves) {
            Extent::Row
        } else {
            Extent::One
        }
    };
    let guards = |g: &[Guard]| g.iter().map(|g| of(&g.at)).max().unwrap_or(Extent::One);
    let mut out: Vec<Extent> = Vec::with_capacity(fused.values.len());
    for value in &fused.values {
        let e = match &value.instr {
            Instr::Load(l) => of(&fused.loads[*l].at).max(guards(&fused.loads[*l].guards)),
            Instr::Scalar(_) => Extent::One,
            Instr::Index(a) => of(a),
            Instr::Random { at, .. } => of(at),
            Instr::Inside(g) => guards(g),
            Instr::Unary(_, a) | Instr::Cast(a) => out[*a],
            Instr::Binary(_, a, b) => out[*a].max(out[*b]),
            Instr::Where(c, a, b) => out[*c].max(out[*a]).max(out[*b]),
            Instr::Reduce(..) => Extent::Row,
        };
        out.push(e);
    }
    out
}

/// Columns when more of the full reads and writes are contiguous along the last kept dimension than along the last reduced one.
fn choose_layout(fused: &Fused, extents: &[Extent]) -> Layout {
    let last = |range: std::ops::Range<usize>| range.rev().find(|d| fused.dims[*d] != 1);
    // Columns take the very last kept dimension as the strip.
    if fused.kept == 0 || fused.dims[fused.kept - 1] < 2 {
        return Layout::Rows;
    }
    let kept = fused.kept - 1;
    let Some(reduced) = last(fused.kept..fused.dims.len()) else { return Layout::Rows };
    let (mut by_row, mut by_col) = (0usize, 0usize);
    let mut vote = |at: &Affine, size: usize| {
        if at.coef[reduced].abs() == 1 {
            by_row += size;
        }
        if at.coef[kept].abs() == 1 {
            by_col += size;
        }
    };
    for (value, extent) in fused.values.iter().zip(extents) {
        if let (Instr::Load(l), Extent::Full) = (&value.instr, extent) {
            vote(&fused.loads[*l].at, fused.loads[*l].dtype.size());
        }
    }
    for s in &fused.stores {
        if s.level == Level::Full {
            vote(&s.at, s.dtype.size());
        }
    }
    if by_col > by_row { Layout::Cols } else { Layout::Rows }
}

/// The bits of a scalar in a lane of `dtype`.
pub fn lane_bits(scalar: Scalar, dtype: DType) -> u64 {
    let s = scalar.cast(dtype);
    match dtype.lane() {
        Lane::F32 => (s.as_f64() as f32).to_bits() as u64,
        Lane::F64 => s.as_f64().to_bits(),
        Lane::I32 => s.as_i64() as i32 as u32 as u64,
        Lane::I64 => s.as_i64() as u64,
    }
}

/// Smallest or largest value of a dtype, the neutral start of an empty maximum or minimum.
fn neutral(op: ReduceOp, dtype: DType) -> u64 {
    let range = |d: DType| match d {
        DType::Bool => (0, 1),
        DType::U8 => (0, 255),
        DType::I8 => (-128, 127),
        DType::I16 => (-32_768, 32_767),
        DType::I32 => (i32::MIN as i64, i32::MAX as i64),
        DType::U32 => (0, u32::MAX as i64),
        _ => (i64::MIN, i64::MAX),
    };
    let extreme = |float: f64, int: i64| {
        if dtype.is_float() { Scalar::Float(float) } else { Scalar::Int(int) }
    };
    let s = match op {
        ReduceOp::Sum | ReduceOp::ArgMax | ReduceOp::ArgMin => Scalar::Int(0),
        ReduceOp::Prod => Scalar::Int(1),
        ReduceOp::Max => extreme(f64::NEG_INFINITY, range(dtype).0),
        ReduceOp::Min => extreme(f64::INFINITY, range(dtype).1),
    };
    lane_bits(s, dtype)
}

impl Lower<'_> {
    fn extent(&self, e: Extent) -> Extent {
        // Flat programs know positions only.
        if self.layout == Layout::Flat && e == Extent::Row { Extent::Full } else { e }
    }

    fn access(&self, at: &Affine, guards: &[Guard], extent: Extent) -> Access {
        let dims = &self.fused.dims;
        let walk =
            |head: &[usize], body: &[usize], keep| Walk::new(at, guards, dims, head, body, keep);
        match (extent, self.layout) {
            (Extent::One, _) => Access { walk: walk(&[], &[], false), whole: None },
            (Extent::Full, Layout::Flat | Layout::Rows) => {
                let all: SmallVec<[usize; 6]> =
                    self.kept.iter().chain(&self.reduced).copied().collect();
                Access { walk: walk(&[], &all, false), whole: None }
            }
            (Extent::Row, Layout::Flat | Layout::Rows) => {
                Access { walk: walk(&[], &self.kept, false), whole: None }
            }
            (Extent::Row, Layout::Cols) => {
                let last = self.kept[self.kept.len() - 1];
                Access { walk: walk(&self.kept, &[last], true), whole: None }
            }
            (Extent::Full, Layout::Cols) => {
                let last = self.kept[self.kept.len() - 1];
                let mut body = self.reduced.clone();
                body.push(last);
                Access {
                    walk: walk(&self.kept, &body, true),
                    whole: Some(walk(&self.kept, &body, false)),
                }
            }
        }
    }

    fn push(&mut self, action: Action, size: usize, extent: Extent) -> Val {
        let out = self.values.len();
        self.values.push(Value { size, extent, place: 0 });
        let step = Step { action, out };
        let after = matches!(step.action, Action::Fold(..) | Action::ArgFold(..))
            || step.operands().iter().any(|a| self.after_fold[*a]);
        self.after_fold.push(after);
        self.steps.push(step);
        out
    }

    /// The value at a higher extent.
    fn raised(&mut self, a: Val, extent: Extent) -> Val {
        if self.values[a].extent == extent {
            return a;
        }
        if let Some((_, _, v)) = self.expanded.iter().find(|(x, e, _)| *x == a && *e == extent) {
            return *v;
        }
        let v = self.push(Action::Expand(a), self.values[a].size, extent);
        self.expanded.push((a, extent, v));
        v
    }

    /// The value as an operand of a step of that extent.
    fn operand(&mut self, v: V, extent: Extent) -> Val {
        let a = self.map[v].expect("operands come before their users");
        if self.expand_rows && extent == Extent::Full && self.values[a].extent == Extent::Row {
            return self.raised(a, extent);
        }
        a
    }

    fn value(&mut self, v: V, extent: Extent, k: usize) {
        let value = &self.fused.values[v];
        let (isa, dtype) = (self.isa, value.dtype);
        let extent = self.extent(extent);
        let lane = dtype.lane();
        let size = convert::lane_size(lane);
        let out = match &value.instr {
            Instr::Load(l) => {
                let load = &self.fused.loads[*l];
                // A second store could overwrite, in an output that shares its memory, what this one is about to copy.
                let stored = self.fused.stores.iter().any(|s| s.value == v);
                let stored_as = match load.source {
                    Source::Result => result_dtype(load.dtype),
                    Source::Input(_) => load.dtype,
                };
                let action = Action::Load {
                    source: load.source,
                    dtype: stored_as,
                    convert: convert::load(isa, stored_as),
                    in_place: !stored || self.fused.stores.len() == 1,
                    access: self.access(&load.at, &load.guards, extent),
                };
                self.push(action, size, extent)
            }
            Instr::Scalar(arg) => self.push(Action::Scalar { arg: *arg, dtype }, size, Extent::One),
            Instr::Index(at) => {
                let action = Action::Index(self.access(at, &[], extent));
                self.push(action, size, extent)
            }
            Instr::Inside(guards) => {
                let zero = Affine::constant(0, self.fused.dims.len());
                let action = Action::Inside(self.access(&zero, guards, extent));
                self.push(action, size, extent)
            }
            Instr::Random { dist, seed, offset, at } => {
                let access = self.access(at, &[], extent);
                let draw = random::drawing(isa, *dist);
                let action = Action::Random { draw, seed: *seed, offset: *offset, access };
                self.push(action, size, extent)
            }
            Instr::Unary(op, a) => {
                let a = self.operand(*a, extent);
                let f = match ops::unary(isa, *op, lane) {
                    Some(f) => Fn1::Fast(f),
                    // Whole numbers are their own floor.
                    None if matches!(op, UnaryOp::Floor | UnaryOp::Round) => Fn1::Copy,
                    None => Fn1::Slow(*op, dtype),
                };
                self.push(Action::Map1(f, a, convert::wrap(isa, dtype)), size, extent)
            }
            Instr::Binary(op, a, b) => {
                let operand_dtype = self.fused.values[*a].dtype;
                let (a, b) = (self.operand(*a, extent), self.operand(*b, extent));
                let f = match ops::binary(isa, *op, operand_dtype.lane()) {
                    Some(f) => Fn2::Fast(f),
                    None => Fn2::Slow(*op, operand_dtype),
                };
                let safe = op.is_comparison()
                    || matches!(
                        op,
                        BinaryOp::Max
                            | BinaryOp::Min
                            | BinaryOp::And
                            | BinaryOp::Or
                            | BinaryOp::Xor
                    );
                let then = if safe { None } else { convert::wrap(isa, dtype) };
                self.push(Action::Map2(f, a, b, then), size, extent)
            }
            Instr::Where(c, a, b) => {
                let c = self.operand(*c, extent);
                let c = self.raised(c, extent);
                let (a, b) = (self.operand(*a, extent), self.operand(*b, extent));
                self.push(Action::Select(ops::select(isa, size), c, a, b), size, extent)
            }
            Instr::Cast(a) => {
                let from = self.fused.values[*a].dtype;
                let a = self.operand(*a, extent);
                match Option::from(convert::cast(isa, from, dtype)) {
                    Some((f, then)) => self.push(Action::Map1(f, a, then), size, extent),
                    None => a,
                }
            }
            Instr::Reduce(op, _) if k == 0 => {
                self.push(Action::Const(neutral(*op, dtype)), size, Extent::One)
            }
            Instr::Reduce(op, _) if k == 1 && op.is_arg() => {
                self.push(Action::Const(0), size, Extent::One)
            }
            Instr::Reduce(_, a) if k == 1 => self.operand(*a, extent),
            Instr::Reduce(op, a) => {
                let from = self.fused.values[*a].dtype;
                let a = self.operand(*a, Extent::Full);
                let a = self.raised(a, Extent::Full);
                let slot = self.folds;
                self.folds += 1;
                if op.is_arg() {
                    let action = Action::ArgFold(fold::arg_fold(isa, *op, from.lane()), a, slot);
                    self.push(action, size, Extent::Row)
                } else {
                    let f = fold::fold(isa, *op, lane);
                    let action = Action::Fold(f, a, slot);
                    let sum = self.push(action, size, Extent::Row);
                    match convert::wrap(isa, dtype) {
                        Some(w) => {
                            self.push(Action::Map1(Fn1::Fast(w), sum, None), size, Extent::Row)
                        }
                        None => sum,
                    }
                }
            }
        };
        self.map[v] = Some(out);
    }

    fn stores(&mut self, k: usize) -> (Vec<StoreStep>, Vec<StoreStep>) {
        let (mut full, mut row) = (Vec::new(), Vec::new());
        for s in &self.fused.stores {
            if k == 0 && s.level == Level::Full {
                continue;
            }
            let level = if self.layout == Layout::Flat || s.level == Level::Full {
                Extent::Full
            } else {
                Extent::Row
            };
            let v = self.map[s.value].expect("stored values are computed");
            let value = self.raised(v, level);
            let store = StoreStep {
                output: s.output,
                dtype: s.dtype,
                convert: convert::store(self.isa, s.dtype),
                value,
                access: self.access(&s.at, &[], level),
                direct: None,
            };
            if level == Extent::Full { full.push(store) } else { row.push(store) }
        }
        (full, row)
    }

    fn finish(mut self, rows: usize, k: usize, cols: usize) -> Program {
        let (mut full_stores, row_stores) = self.stores(k);
        // Short rows are not worth a chunk each: several whole ones make a block.
        let straight = self.layout == Layout::Flat
            || (self.layout == Layout::Rows && k <= 512)
            || self
                .values
                .iter()
                .zip(&self.after_fold)
                .any(|(v, after)| v.extent == Extent::Full && *after);
        let (mut once, mut before, mut chunk, mut after) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for step in std::mem::take(&mut self.steps) {
            let is_fold = matches!(step.action, Action::Fold(..) | Action::ArgFold(..));
            match self.values[step.out].extent {
                Extent::One => once.push(step),
                _ if straight => before.push(step),
                Extent::Full => chunk.push(step),
                Extent::Row if is_fold => chunk.push(step),
                Extent::Row if self.after_fold[step.out] => after.push(step),
                Extent::Row => before.push(step),
            }
        }
        // A row value of the second phase may also be needed by full ones and the reverse, so both run `before`.
        let full_steps = if straight { &before } else { &chunk };
        mark_direct(&mut full_stores, full_steps, &self.values);
        let (registers, count4, count8) = registers(full_steps, &full_stores, &self.values);
        let maps = full_steps
            .iter()
            .filter(|s| {
                self.values[s.out].extent == Extent::Full
                    && !matches!(s.action, Action::Load { .. })
            })
            .count();
        let pressure = count4 + 2 * count8;
        let lanes = match pressure {
            0..=6 => 1024,
            7..=12 => 512,
            _ => 256,
        };
        let (block, block_rows, full_lanes) = match self.layout {
            Layout::Flat => (lanes, 0, lanes),
            Layout::Rows if straight => {
                let m = (lanes / k).max(1);
                (m * k, m, m * k)
            }
            Layout::Rows => {
                let lanes = if maps == 0 { 4096 } else { lanes };
                // Groups of rows share the row steps.
                let m = (16_384 / k).clamp(1, 64);
                (lanes, m, lanes)
            }
            Layout::Cols if straight => {
                let c = if cols * k <= 2 * lanes { cols } else { (lanes / k).max(16).min(cols) };
                (k, c, k * c)
            }
            Layout::Cols => {
                let strips = cols.div_ceil(1024);
                let c = if strips == 1 { cols } else { cols.div_ceil(strips).next_multiple_of(16) };
                let chunk = if c == cols { (lanes / c).clamp(1, fold::COL_RUN) } else { 1 };
                let chunk = 1usize << chunk.ilog2();
                (chunk, c, chunk * c)
            }
        };
        let row_lanes = block_rows;
        // Registers, a little apart so that they do not compete for the same cache sets.
        let padded = |bytes: usize| bytes.next_multiple_of(64) + 64;
        let mut at = 0;
        let full4 = padded(full_lanes * 4);
        let full8 = padded(full_lanes * 8);
        let start8 = count4 * full4;
        for (v, r) in registers.iter().enumerate() {
            if let Some(r) = r {
                self.values[v].place =
                    if self.values[v].size == 4 { r * full4 } else { start8 + r * full8 };
            }
        }
        at += start8 + count8 * full8;
        let mut uniform_bytes = 0;
        for v in self.values.iter_mut() {
            match v.extent {
                Extent::One => {
                    v.place = uniform_bytes;
                    uniform_bytes += 8;
                }
                Extent::Row => {
                    v.place = at;
                    at += padded(row_lanes * v.size);
                }
                Extent::Full => {}
            }
        }
        let fold_bytes = match self.layout {
            Layout::Cols => 2 * padded(row_lanes * 8),
            _ => 512,
        };
        let fold_at = at;
        let segments = k.div_ceil(fold::COL_SEGMENT);
        let scratch =
            if straight && self.layout == Layout::Cols { segments * row_lanes * 8 } else { 0 };
        let cost = 1 + full_steps.iter().map(|s| step_cost(s)).sum::<usize>() + full_stores.len();
        Program {
            layout: self.layout,
            straight,
            rows,
            k: k.max(1),
            cols,
            outer: if self.layout == Layout::Cols {
                self.kept[..self.kept.len() - 1].iter().map(|d| self.fused.dims[*d]).collect()
            } else {
                SmallVec::new()
            },
            block,
            block_rows,
            values: self.values,
            once,
            before,
            chunk,
            after,
            full_stores,
            row_stores,
            folds: self.folds,
            workspace: fold_at + self.folds * fold_bytes + scratch,
            fold_at,
            fold_bytes,
            uniform_bytes,
            cost,
        }
    }
}

fn step_cost(step: &Step) -> usize {
    match &step.action {
        Action::Map1(Fn1::Slow(..), ..) | Action::Map2(Fn2::Slow(..), ..) => 200,
        Action::Map1(Fn1::Fast(_), ..) => 3,
        Action::Random { .. } => 20,
        _ => 1,
    }
}

/// Finds the stores whose value can be computed in place in the output.
fn mark_direct(stores: &mut [StoreStep], steps: &[Step], values: &[Value]) {
    let stored: Vec<Val> = stores.iter().map(|s| s.value).collect();
    let mut taken: Vec<Val> = Vec::new();
    for store in stores {
        if store.convert.is_some() || taken.contains(&store.value) {
            continue;
        }
        let Some(made) = steps.iter().position(|s| s.out == store.value) else { continue };
        let computed =
            matches!(steps[made].action, Action::Map1(..) | Action::Map2(..) | Action::Select(..));
        if !computed || values[store.value].extent != Extent::Full {
            continue;
        }
        // Memory that is read once the value is written: loads from then on, and the operands of later steps and stores that
        // may be read in place.
        let mut conflicts: SmallVec<[Source; 4]> = SmallVec::new();
        for (i, step) in steps.iter().enumerate() {
            if let Action::Load { source, .. } = &step.action {
                let late = i > made
                    || stored.contains(&step.out)
                    || steps[made + 1..].iter().any(|s| s.operands().contains(&step.out));
                if late && !conflicts.contains(source) {
                    conflicts.push(*source);
                }
            }
        }
        taken.push(store.value);
        store.direct = Some(conflicts);
    }
}

/// Gives each full value a register, reusing those whose last reader has run: (register by value, number of 4-byte and of
/// 8-byte registers).
fn registers(
    steps: &[Step],
    stores: &[StoreStep],
    values: &[Value],
) -> (Vec<Option<usize>>, usize, usize) {
    let mut last = vec![0usize; values.len()];
    for (i, step) in steps.iter().enumerate() {
        last[step.out] = last[step.out].max(i);
        for a in step.operands() {
            last[a] = i;
        }
    }
    for s in stores {
        last[s.value] = usize::MAX;
    }
    let mut out = vec![None; values.len()];
    let mut free: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut count = [0usize; 2];
    for (i, step) in steps.iter().enumerate() {
        let class = |v: Val| (values[v].size == 8) as usize;
        // Loops may write over an operand, so it is given back before the result is placed.
        let mut operands = step.operands();
        operands.sort_unstable();
        operands.dedup();
        for a in operands {
            if last[a] == i
                && let Some(r) = out[a]
            {
                free[class(a)].push(r);
            }
        }
        if values[step.out].extent == Extent::Full {
            let c = class(step.out);
            let r = free[c].pop().unwrap_or_else(|| {
                count[c] += 1;
                count[c] - 1
            });
            out[step.out] = Some(r);
        }
    }
    (out, count[0], count[1])
}
