//! From the kernel description to steps over registers.
use super::registers::{mark_direct, registers};
use super::shape::{
    choose_layout, extents, in_rows, merge_dims, repeats_by_rows, tile_dim, used_values,
};
use super::walk::{Span, Walk};
use super::{
    Access, Action, Extent, Fn1, Fn2, Layout, Program, Repeats, Step, StoreStep, Val, Value,
};
use crate::dev::cpu::contract::result_dtype;
use crate::dev::cpu::isa::Isa;
use crate::dev::cpu::jit::{self, Task};
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
    /// Parts of rows are run, so none is taken as a whole.
    pieces: bool,
    /// Rows were made of the innermost dimension, for code that reads what they share where it lies.
    by_rows: bool,
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

/// How a program will be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// As a whole.
    Whole,
    /// On any range of positions ([`Launch::flat`](super::exec::Launch::flat)), as epilogues are.
    Range,
    /// On parts of rows ([`Launch::pieces`](super::exec::Launch::pieces)), which the reduced dimensions of a program without folds
    /// make up: for epilogues whose tiles are some rows by some positions, with values that are the same along a row.
    Pieces,
}

/// Prepares a fused program for an instruction set.
pub fn lower(fused: &Fused, isa: Isa, by: By) -> Program {
    let mut fused = merge_dims(fused);
    let by_rows = by == By::Whole && jit::knows(isa) && jit::is_on() && repeats_by_rows(&fused);
    if by_rows {
        in_rows(&mut fused);
    }
    let fused = &fused;
    let k = fused.row_len();
    let extents = extents(fused);
    let has_fold = fused.has_reduce() && k > 1;
    let pieces = by == By::Pieces && k > 1;
    debug_assert!(!(pieces && has_fold), "epilogues fold nothing");
    let tile = match by {
        By::Whole if !has_fold && !by_rows && k > 0 => tile_dim(fused),
        _ => None,
    };
    let layout = match tile {
        _ if pieces || by_rows => Layout::Rows,
        _ if has_fold => choose_layout(fused, &extents),
        Some(_) => Layout::Tiles,
        None => Layout::Flat,
    };
    let rank = fused.dims.len();
    let (mut kept, reduced): (SmallVec<[usize; 6]>, SmallVec<[usize; 6]>) = match layout {
        Layout::Flat if k == 0 => ((0..fused.kept).collect(), SmallVec::new()),
        Layout::Flat | Layout::Tiles => ((0..rank).collect(), SmallVec::new()),
        _ => ((0..fused.kept).collect(), (fused.kept..rank).collect()),
    };
    if let Some(d) = tile {
        // The tile's two dimensions come last.
        kept.retain(|x| *x != d);
        kept.insert(rank - 2, d);
    }
    let mut lower = Lower {
        fused,
        isa,
        layout,
        pieces,
        by_rows,
        expand_rows: match layout {
            Layout::Flat | Layout::Tiles => false,
            Layout::Rows => k < SHORT_ROW && !pieces,
            Layout::Cols => fused.dims[fused.kept - 1] < SHORT_ROW,
        },
        kept,
        reduced,
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
    lower.finish(k)
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
        if self.positions_only() && e == Extent::Row { Extent::Full } else { e }
    }

    fn positions_only(&self) -> bool {
        matches!(self.layout, Layout::Flat | Layout::Tiles)
    }

    /// After how many positions a block's worth of loaded values repeats: the size of the innermost dimension (the row) when
    /// the address depends on nothing else. 0 when it does not repeat.
    fn period(&self, at: &Affine, guards: &[Guard]) -> usize {
        let dims = &self.fused.dims;
        let inner = match self.layout {
            Layout::Flat if dims.len() > 1 => dims.len() - 1..dims.len(),
            Layout::Rows => self.fused.kept..dims.len(),
            _ => return 0,
        };
        let fixed = |a: &Affine| (0..inner.start).all(|d| a.coef[d] == 0);
        if fixed(at) && guards.iter().all(|g| fixed(&g.at)) {
            dims[inner].iter().product()
        } else {
            0
        }
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
            (Extent::Full | Extent::Row, Layout::Tiles) => {
                let pair = &self.kept[self.kept.len() - 2..];
                Access { walk: walk(&self.kept, pair, true), whole: None }
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

    /// What the elements of a load have in common that code can make use of.
    fn repeats(&self, at: &Affine, access: &Access, period: usize, k: usize) -> Option<Repeats> {
        match self.layout {
            Layout::Rows if period == k => {
                let row = Span { head: &[], start: 0, count: k, inner: 0 };
                match access.walk.single(row) {
                    Some((offset, 1)) => Some(Repeats::Row(offset)),
                    _ => None,
                }
            }
            Layout::Cols if !access.walk.is_guarded() => {
                let last = self.kept[self.kept.len() - 1];
                let walk = Walk::new(at, &[], &self.fused.dims, &self.kept, &self.reduced, false);
                (at.coef[last] == 0 && walk.is_contiguous())
                    .then(|| Repeats::Element(Box::new(walk)))
            }
            _ => None,
        }
    }

    fn push(&mut self, action: Action, size: usize, extent: Extent) -> Val {
        self.push_task(action, Task::Other, size, extent)
    }

    fn push_task(&mut self, action: Action, task: Task, size: usize, extent: Extent) -> Val {
        let out = self.values.len();
        self.values.push(Value { size, extent, place: 0 });
        let step = Step { action, task, out };
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
        let size = self.values[a].size;
        let v = self.push_task(Action::Expand(a), Task::Expand, size, extent);
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
        // Of leaves: what they depend on. Of the rest: what their operands came to be, which may be less than it seemed (a
        // reduction over one element is its operand).
        let of = |v: &V| self.values[self.map[*v].expect("operands come first")].extent;
        let extent = match &value.instr {
            Instr::Unary(_, a) | Instr::Cast(a) => of(a),
            Instr::Binary(_, a, b) => of(a).max(of(b)),
            Instr::Where(c, a, b) => of(c).max(of(a)).max(of(b)),
            _ => self.extent(extent),
        };
        let lane = dtype.lane();
        let size = convert::lane_size(lane);
        let out = match &value.instr {
            Instr::Load(l) => {
                let load = &self.fused.loads[*l];
                let stored_as = match load.source {
                    Source::Result => result_dtype(load.dtype),
                    Source::Input(_) => load.dtype,
                };
                let period = match extent {
                    Extent::Full => self.period(&load.at, &load.guards),
                    _ => 0,
                };
                let access = self.access(&load.at, &load.guards, extent);
                let convert = convert::load(isa, stored_as);
                let as_it_is = extent == Extent::Full && convert.is_none();
                let repeats =
                    if as_it_is { self.repeats(&load.at, &access, period, k) } else { None };
                let action = Action::Load {
                    period,
                    source: load.source,
                    dtype: stored_as,
                    convert,
                    in_place: true,
                    repeats,
                    access,
                };
                self.push(action, size, extent)
            }
            Instr::Scalar(arg) => self.push(Action::Scalar { arg: *arg, dtype }, size, Extent::One),
            Instr::Index(at) => {
                let period = if extent == Extent::Full { self.period(at, &[]) } else { 0 };
                let action = Action::Index(self.access(at, &[], extent), period);
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
                let then = convert::wrap(isa, dtype);
                let task = if then.is_none() { Task::Unary(*op, lane) } else { Task::Other };
                self.push_task(Action::Map1(f, a, then), task, size, extent)
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
                let task = match then {
                    None => Task::Binary(*op, operand_dtype.lane()),
                    Some(_) => Task::Other,
                };
                self.push_task(Action::Map2(f, a, b, then), task, size, extent)
            }
            Instr::Where(c, a, b) => {
                let c = self.operand(*c, extent);
                let c = self.raised(c, extent);
                let (a, b) = (self.operand(*a, extent), self.operand(*b, extent));
                let action = Action::Select(ops::select(isa, size), c, a, b);
                self.push_task(action, Task::Select, size, extent)
            }
            Instr::Cast(a) => {
                let from = self.fused.values[*a].dtype;
                let a = self.operand(*a, extent);
                match Option::from(convert::cast(isa, from, dtype)) {
                    Some((f, then)) => {
                        let task = Task::Cast(from, dtype);
                        self.push_task(Action::Map1(f, a, then), task, size, extent)
                    }
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
                    let task = Task::Fold(*op, lane);
                    let sum = self.push_task(action, task, size, Extent::Row);
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
            let level = if self.positions_only() || s.level == Level::Full {
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
        // What is loaded and stored again (maybe as a value of another number, by a cast that changes nothing) is copied: a second
        // store could overwrite, in an output that shares its memory, what this one is about to write.
        let alone = self.fused.stores.len() == 1;
        for step in &mut self.steps {
            if let Action::Load { in_place, repeats, .. } = &mut step.action
                && full.iter().chain(&row).any(|s| s.value == step.out)
            {
                *in_place = alone;
                *repeats = None;
            }
        }
        (full, row)
    }

    /// Puts steps in the order that suits generated code, where this machine can have it.
    fn arrange(
        &self,
        steps: Vec<Step>,
        straight: bool,
        k: usize,
    ) -> (Vec<Step>, Vec<jit::arrange::Phase>) {
        // The order of a fold: see `lanes::fold`. Code does not join segments, nor sum short rows one after the other.
        let may_fold = match self.layout {
            _ if !straight => true,
            Layout::Rows => k > fold::SHORT && k <= fold::ROW_SEGMENT,
            _ => k <= fold::COL_RUN,
        };
        if !jit::knows(self.isa) || (!may_fold && self.layout == Layout::Rows) {
            return (steps, Vec::new());
        }
        jit::arrange::arrange(steps, &self.values, may_fold)
    }

    fn finish(mut self, k: usize) -> Program {
        let size = |from_end: usize| {
            self.kept.len().checked_sub(from_end).map_or(0, |d| self.fused.dims[self.kept[d]])
        };
        let rows: usize = self.kept.iter().map(|d| self.fused.dims[*d]).product();
        // Dimensions that a block spans part of.
        let (cols, tile_rows, spanned) = match self.layout {
            Layout::Flat | Layout::Rows => (0, 0, 0),
            Layout::Cols => (size(1), 0, 1),
            Layout::Tiles => (size(1), size(2), 2),
        };
        let last = self.fused.dims.last().copied().unwrap_or(1);
        let (mut full_stores, row_stores) = self.stores(k);
        // Short rows are not worth a chunk each: several whole ones make a block.
        let straight = self.positions_only()
            || (self.layout == Layout::Rows && (k <= 512 || self.by_rows) && !self.pieces)
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
        let (sorted, phases) = self.arrange(
            std::mem::take(if straight { &mut before } else { &mut chunk }),
            straight,
            k,
        );
        // A row value of the second phase may also be needed by full ones and the reverse, so both run `before`.
        *(if straight { &mut before } else { &mut chunk }) = sorted;
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
        // Strips of columns are better small: each is read again and again while it is in the first cache.
        let coded = jit::is_on()
            && self.layout != Layout::Tiles
            && is_coded(full_steps, &phases, &self.values, straight);
        let lanes = match pressure {
            // Values stay in the processor's registers, and what a block costs beside them should not show.
            _ if coded => 4096,
            0..=6 => 1024,
            7..=12 => 512,
            _ => 256,
        };
        let (block, block_rows, full_lanes) = match self.layout {
            // Whole rows of the innermost dimension, where they are short, make for equal blocks.
            Layout::Flat if self.fused.dims.len() > 1 && (2..=lanes).contains(&last) => {
                (lanes / last * last, 0, lanes)
            }
            Layout::Flat => (lanes, 0, lanes),
            Layout::Tiles => {
                let c = cols.min(32);
                (tile_rows.min(1024 / c), c, 1024)
            }
            Layout::Rows if straight => {
                let m = (lanes / k).max(1);
                (m * k, m, m * k)
            }
            Layout::Rows => {
                let lanes = if maps == 0 { 4096 } else { lanes };
                // Groups of rows share the row steps.
                let m = if self.pieces { 64 } else { (16_384 / k).clamp(1, 64) };
                (lanes, m, lanes)
            }
            Layout::Cols if straight => {
                let c = if cols * k <= 2 * lanes {
                    cols
                } else {
                    (lanes / k / 16 * 16).max(16).min(cols)
                };
                (k, c, k * c)
            }
            Layout::Cols => {
                // Wide strips read memory in long runs; with many registers narrow ones stay in the cache.
                let widest = if pressure <= 3 { 4096 } else { 1024 };
                let strips = cols.div_ceil(widest);
                let c = if strips == 1 { cols } else { cols.div_ceil(strips).next_multiple_of(16) };
                // Code keeps the accumulators in registers while it goes down a chunk.
                let least = if coded { 8 } else { 1 };
                let chunk = if c == cols { (lanes / c).clamp(least, fold::COL_RUN) } else { 1 };
                let chunk = 1usize << chunk.ilog2();
                (chunk, c, chunk * c)
            }
        };
        let row_lanes = if self.positions_only() { 0 } else { block_rows };
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
        // Room for a block on its way between a narrow storage type and scattered addresses.
        let spare_at = at;
        at += padded(full_lanes * 8);
        let fold_at = at;
        let segments = k.div_ceil(fold::COL_SEGMENT);
        let scratch =
            if straight && self.layout == Layout::Cols { segments * row_lanes * 8 } else { 0 };
        let cost = 1 + full_steps.iter().map(step_cost).sum::<usize>() + full_stores.len();
        // What the interpreter would take; code is faster, which matters where there are tasks enough.
        let cost = if coded && rows * k.max(1) >= 1 << 18 { cost.div_ceil(4) } else { cost };
        Program {
            layout: self.layout,
            straight,
            rows,
            k: k.max(1),
            cols,
            tile_rows,
            outer: self.kept[..self.kept.len() - spanned]
                .iter()
                .map(|d| self.fused.dims[*d])
                .collect(),
            block,
            block_rows,
            values: self.values,
            once,
            before,
            chunk,
            after,
            phases,
            code: jit::Lazy::new(self.isa),
            full_stores,
            row_stores,
            folds: self.folds,
            workspace: fold_at + self.folds * fold_bytes + scratch,
            spare_at,
            fold_at,
            fold_bytes,
            uniform_bytes,
            cost,
        }
    }
}

/// Whether generated code computes all full values but those read in place: then blocks need no memory of their own.
fn is_coded(
    steps: &[Step],
    phases: &[jit::arrange::Phase],
    values: &[Value],
    straight: bool,
) -> bool {
    let interpreted = |p: &&jit::arrange::Phase| p.passes.is_none();
    let alone = phases.iter().filter(interpreted).flat_map(|p| &steps[p.steps.clone()]);
    phases.iter().any(|p| p.passes.is_some())
        && alone.filter(|s| values[s.out].extent == Extent::Full).all(|s| match s.action {
            Action::Load { repeats: Some(Repeats::Row(_)), .. } => straight,
            Action::Load { repeats: Some(Repeats::Element(_)), .. } => true,
            Action::Load { in_place, period, ref access, .. } => {
                let whole = access.whole.as_ref();
                in_place && period == 0 && whole.is_none_or(Walk::is_contiguous)
            }
            _ => false,
        })
}

fn step_cost(step: &Step) -> usize {
    match &step.action {
        Action::Map1(Fn1::Slow(..), ..) | Action::Map2(Fn2::Slow(..), ..) => 200,
        Action::Map1(Fn1::Fast(_), ..) => 3,
        Action::Random { .. } => 20,
        _ => 1,
    }
}
