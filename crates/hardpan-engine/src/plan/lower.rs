//! From nodes to a fused program: views become affine addresses, elementwise nodes become instructions.
//!
//! A [`Map`] says where in a node we are: one affine expression over the kernel's dimensions for each of the node's dimensions,
//! and guards that padding left behind. Going from a view to its source rewrites the map. The one view that cannot always be
//! expressed is a reshape that merges dimensions whose order a permutation broke; then the source gets memory of its own
//! ([`Fail::Store`]) and planning starts again.

use super::collect::{Graph, Id};
use crate::dtype::{DType, Scalar};
use crate::kernel::{Affine, Guard, Instr, Level, Load, Source, Store, V, Value};
use crate::op::Op;
use crate::shape::{Dims, numel, strides_of};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Why a node could not be lowered into a kernel.
#[derive(Debug, PartialEq)]
pub(super) enum Fail {
    /// This node must be stored first.
    Store(Id),
    /// It does not fit into this kernel; a kernel of its own will do.
    Apart,
}

/// Where a scalar argument comes from at run time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Arg {
    /// The value of a constant node.
    Const(Id),
    /// The seed of a random node.
    Seed(Id),
    /// The position of a random node.
    Offset(Id),
}

/// A position inside a node as a function of the kernel's index.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Map {
    pub rows: SmallVec<[Affine; 6]>,
    pub guards: Vec<Guard>,
}

impl Map {
    /// Offset in the node's row-major order.
    pub fn flat(&self, shape: &[usize], rank: usize) -> Affine {
        let mut at = Affine::constant(0, rank);
        for (row, s) in self.rows.iter().zip(strides_of(shape)) {
            at.add_scaled(row, s);
        }
        at
    }
}

/// Position `d` of a kernel's own index box; dimensions of size 1 contribute nothing.
pub(super) fn identity(space: &[usize]) -> SmallVec<[Affine; 6]> {
    (0..space.len())
        .map(|d| {
            let mut a = Affine::constant(0, space.len());
            a.coef[d] = (space[d] != 1) as isize;
            a
        })
        .collect()
}

/// Row-major offset over the whole box.
pub(super) fn canonical(space: &[usize]) -> Affine {
    Map { rows: identity(space), guards: Vec::new() }.flat(space, space.len())
}

/// Rewrites a position in shape `from` as one in shape `to` (equal element counts), or `None` if that needs a division.
pub(super) fn reshape_rows(
    rows: &[Affine],
    from: &[usize],
    to: &[usize],
    space: &[usize],
) -> Option<SmallVec<[Affine; 6]>> {
    if from == to {
        return Some(SmallVec::from_iter(rows.iter().cloned()));
    }
    let rank = space.len();
    if numel(to) == 0 {
        return None;
    }
    let mut out: SmallVec<[Affine; 6]> = SmallVec::new();
    let (mut i, mut j) = (0, 0);
    while j < to.len() {
        if to[j] == 1 {
            out.push(Affine::constant(0, rank));
            j += 1;
            continue;
        }
        // Smallest runs of dimensions on both sides with equal products.
        let (i0, j0) = (i, j);
        let (mut p, mut q) = (1usize, 1usize);
        while p != q || p == 1 {
            if p <= q && i < from.len() {
                p *= from[i];
                i += 1;
            } else if j < to.len() {
                q *= to[j];
                j += 1;
            } else {
                return None;
            }
        }
        while j < to.len() && to[j] == 1 {
            j += 1;
        }
        let mut flat = Affine::constant(0, rank);
        for (row, s) in rows[i0..i].iter().zip(strides_of(&from[i0..i])) {
            flat.add_scaled(row, s);
        }
        // Split the flat position into digits of the target, outermost first.
        let steps = strides_of(&to[j0..j]);
        for (k, step) in steps.iter().enumerate() {
            if to[j0 + k] == 1 {
                out.push(Affine::constant(0, rank));
                continue;
            }
            if *step == 1 {
                out.push(flat.clone());
                flat = Affine::constant(0, rank);
                continue;
            }
            let mut high = Affine::constant(flat.base.div_euclid(*step), rank);
            let mut low = Affine::constant(flat.base.rem_euclid(*step), rank);
            for d in 0..rank {
                if flat.coef[d] % step == 0 {
                    high.coef[d] = flat.coef[d] / step;
                } else {
                    low.coef[d] = flat.coef[d];
                }
            }
            let (lo, hi) = low.range(space);
            if lo < 0 || hi >= *step {
                return None;
            }
            out.push(high);
            flat = low;
        }
    }
    Some(out)
}

/// The coarsest box that both shapes are a merging of, in the same row-major order; sizes of 1 are dropped.
pub(super) fn common_refinement(a: &[usize], b: &[usize]) -> Option<Dims> {
    let cuts = |s: &[usize]| -> Vec<usize> {
        let mut out = vec![1];
        for d in s.iter().rev() {
            let last = *out.last().expect("starts with 1");
            if *d != 1 {
                out.push(last * d);
            }
        }
        out
    };
    let mut all = cuts(a);
    all.extend(cuts(b));
    all.sort_unstable();
    all.dedup();
    let mut dims = Dims::new();
    for pair in all.windows(2) {
        if pair[0] == 0 || pair[1] % pair[0] != 0 {
            return None;
        }
        dims.push(pair[1] / pair[0]);
    }
    dims.reverse();
    Some(dims)
}

/// A fused program in the making, over a box in natural order (kept and reduced dimensions still mixed).
#[derive(Default)]
pub(super) struct Builder {
    pub space: Dims,
    /// Which dimensions are folded.
    pub reduced: SmallVec<[bool; 6]>,
    pub loads: Vec<Load>,
    pub values: Vec<(Instr, DType)>,
    pub args: Vec<Arg>,
    /// Nodes whose buffers are read, by input number.
    pub inputs: Vec<Id>,
    /// Values of nodes that belong to this kernel, each at its own identity position.
    pub of_node: HashMap<Id, V>,
    pub result_dtype: Option<DType>,
    seen: HashMap<(Instr, DType), V>,
}

/// A point to fall back to when joining fails.
pub(super) struct Mark {
    loads: usize,
    values: usize,
    args: usize,
    inputs: usize,
    space: Dims,
    reduced: SmallVec<[bool; 6]>,
}

impl Builder {
    pub fn new(space: &[usize]) -> Builder {
        Builder {
            space: Dims::from_slice(space),
            reduced: SmallVec::from_elem(false, space.len()),
            ..Default::default()
        }
    }

    /// A builder for the epilogue of a contraction: value 0 is its result.
    pub fn epilogue(space: &[usize], node: Id, dtype: DType) -> Builder {
        let mut b = Builder::new(space);
        let at = canonical(space);
        b.loads.push(Load { source: Source::Result, dtype, at, guards: Vec::new() });
        let v = b.push(Instr::Load(0), dtype);
        b.of_node.insert(node, v);
        b.result_dtype = Some(dtype);
        b
    }

    pub fn mark(&self) -> Mark {
        Mark {
            loads: self.loads.len(),
            values: self.values.len(),
            args: self.args.len(),
            inputs: self.inputs.len(),
            space: self.space.clone(),
            reduced: self.reduced.clone(),
        }
    }

    /// Undoes everything since `mark`, except a refinement of the box (which changes no meaning).
    pub fn reset(&mut self, mark: &Mark) {
        let refined = self.space != mark.space;
        self.loads.truncate(mark.loads);
        self.values.truncate(mark.values);
        self.args.truncate(mark.args);
        self.inputs.truncate(mark.inputs);
        let n = mark.values;
        self.seen.retain(|_, v| *v < n);
        self.of_node.retain(|_, v| *v < n);
        if !refined {
            self.reduced = mark.reduced.clone();
        }
    }

    /// Splits dimensions so that the box becomes `fine` (same elements, same order).
    pub fn refine(&mut self, fine: &Dims) {
        if self.space == *fine {
            return;
        }
        let old = self.space.clone();
        // For each fine dimension: the old dimension it is a digit of, and its step there.
        let mut digit: Vec<(usize, isize)> = vec![(0, 0); fine.len()];
        let mut k = fine.len();
        for d in (0..old.len()).rev() {
            let mut step = 1usize;
            while step < old[d] {
                k -= 1;
                digit[k] = (d, step as isize);
                step *= fine[k];
            }
        }
        let convert = |a: &Affine| -> Affine {
            let mut out = Affine::constant(a.base, fine.len());
            for (f, (d, step)) in digit.iter().enumerate() {
                out.coef[f] = a.coef[*d] * step;
            }
            out
        };
        let convert_guards = |gs: &[Guard]| -> Vec<Guard> {
            gs.iter().map(|g| Guard { at: convert(&g.at), size: g.size }).collect()
        };
        for l in &mut self.loads {
            l.at = convert(&l.at);
            l.guards = convert_guards(&l.guards);
        }
        for (instr, _) in &mut self.values {
            match instr {
                Instr::Index(a) => *a = convert(a),
                Instr::Random { at, .. } => *at = convert(at),
                Instr::Inside(gs) => *gs = convert_guards(gs),
                _ => {}
            }
        }
        self.reduced = digit.iter().map(|(d, _)| self.reduced[*d]).collect();
        self.space = fine.clone();
        self.seen = self.values.iter().cloned().enumerate().map(|(v, key)| (key, v)).collect();
    }

    pub fn push(&mut self, instr: Instr, dtype: DType) -> V {
        let key = (instr, dtype);
        if let Some(v) = self.seen.get(&key) {
            return *v;
        }
        let v = self.values.len();
        self.values.push(key.clone());
        self.seen.insert(key, v);
        v
    }

    fn arg(&mut self, arg: Arg) -> usize {
        if let Some(i) = self.args.iter().position(|a| *a == arg) {
            return i;
        }
        self.args.push(arg);
        self.args.len() - 1
    }

    pub fn input(&mut self, id: Id) -> usize {
        if let Some(i) = self.inputs.iter().position(|x| *x == id) {
            return i;
        }
        self.inputs.push(id);
        self.inputs.len() - 1
    }

    fn load(&mut self, source: Source, dtype: DType, at: Affine, guards: Vec<Guard>) -> V {
        let load = Load { source, dtype, at, guards };
        let i = self.loads.iter().position(|l| *l == load).unwrap_or_else(|| {
            self.loads.push(load);
            self.loads.len() - 1
        });
        self.push(Instr::Load(i), dtype)
    }

    /// The position of a node with as many elements as the whole box.
    pub fn full_rows(&mut self, shape: &[usize]) -> Option<SmallVec<[Affine; 6]>> {
        let ident = identity(&self.space);
        if let Some(rows) = reshape_rows(&ident, &self.space, shape, &self.space) {
            return Some(rows);
        }
        let fine = common_refinement(&self.space, shape)?;
        self.refine(&fine);
        reshape_rows(&identity(&self.space), &self.space, shape, &self.space)
    }

    /// The position of a node with one element for each row.
    pub fn row_rows(&self, shape: &[usize]) -> Option<SmallVec<[Affine; 6]>> {
        let mut kept = self.space.clone();
        let mut ident = identity(&self.space);
        for d in 0..kept.len() {
            if self.reduced[d] {
                kept[d] = 1;
                ident[d] = Affine::constant(0, self.space.len());
            }
        }
        reshape_rows(&ident, &kept, shape, &self.space)
    }

    /// Elements of one row and number of rows.
    pub fn row_len(&self) -> usize {
        self.space.iter().zip(&self.reduced).filter(|(_, r)| **r).map(|(d, _)| *d).product()
    }
    pub fn rows(&self) -> usize {
        self.space.iter().zip(&self.reduced).filter(|(_, r)| !**r).map(|(d, _)| *d).product()
    }

    fn depends(&self, a: &Affine) -> Level {
        let mut level = Level::Uniform;
        for (d, c) in a.coef.iter().enumerate() {
            if *c != 0 && self.space[d] != 1 {
                if self.reduced[d] {
                    return Level::Full;
                }
                level = Level::Row;
            }
        }
        // Without reduced dimensions every element is its own row; call that full.
        if level == Level::Row && !self.reduced.iter().any(|r| *r) { Level::Full } else { level }
    }

    /// In how many ways a stored node is read.
    pub fn loads_of(&self, id: Id) -> usize {
        let Some(input) = self.inputs.iter().position(|x| *x == id) else { return 0 };
        self.loads.iter().filter(|l| l.source == Source::Input(input)).count()
    }

    /// True when a stored node is read at most once a row.
    pub fn loads_by_row(&self, id: Id) -> bool {
        let Some(input) = self.inputs.iter().position(|x| *x == id) else { return false };
        self.loads.iter().filter(|l| l.source == Source::Input(input)).all(|l| {
            self.depends(&l.at) != Level::Full
                && l.guards.iter().all(|g| self.depends(&g.at) != Level::Full)
        })
    }

    /// Levels of all values, and whether a full value depends on a fold of its own row.
    pub fn levels(&self) -> (Vec<Level>, bool) {
        let mut levels: Vec<Level> = Vec::with_capacity(self.values.len());
        let mut folded: Vec<bool> = Vec::with_capacity(self.values.len());
        let mut post = false;
        for (instr, _) in &self.values {
            let guards = |gs: &[Guard]| {
                gs.iter().map(|g| self.depends(&g.at)).max().unwrap_or(Level::Uniform)
            };
            let (level, fold) = match instr {
                Instr::Load(i) => {
                    let l = &self.loads[*i];
                    (self.depends(&l.at).max(guards(&l.guards)), false)
                }
                Instr::Scalar(_) => (Level::Uniform, false),
                Instr::Index(a) => (self.depends(a), false),
                Instr::Random { at, .. } => (self.depends(at), false),
                Instr::Inside(gs) => (guards(gs), false),
                Instr::Unary(_, a) | Instr::Cast(a) => (levels[*a], folded[*a]),
                Instr::Binary(_, a, b) => (levels[*a].max(levels[*b]), folded[*a] || folded[*b]),
                Instr::Where(c, a, b) => (
                    levels[*c].max(levels[*a]).max(levels[*b]),
                    folded[*c] || folded[*a] || folded[*b],
                ),
                Instr::Reduce(_, a) => {
                    post |= folded[*a];
                    (Level::Row, true)
                }
            };
            if level == Level::Full && fold {
                post = true;
            }
            levels.push(level);
            folded.push(fold);
        }
        (levels, post)
    }

    /// The finished program: dimensions reordered to kept before reduced.
    pub fn finish(&self, stores: &[(V, DType, bool, Affine)]) -> crate::kernel::Fused {
        let order: Vec<usize> = (0..self.space.len())
            .filter(|d| !self.reduced[*d])
            .chain((0..self.space.len()).filter(|d| self.reduced[*d]))
            .collect();
        let affine =
            |a: &Affine| Affine { coef: order.iter().map(|d| a.coef[*d]).collect(), base: a.base };
        let guards = |gs: &[Guard]| -> Vec<Guard> {
            gs.iter().map(|g| Guard { at: affine(&g.at), size: g.size }).collect()
        };
        let (levels, _) = self.levels();
        let values = self
            .values
            .iter()
            .zip(&levels)
            .map(|((instr, dtype), level)| Value {
                instr: match instr {
                    Instr::Index(a) => Instr::Index(affine(a)),
                    Instr::Random { dist, seed, offset, at } => {
                        Instr::Random { dist: *dist, seed: *seed, offset: *offset, at: affine(at) }
                    }
                    Instr::Inside(gs) => Instr::Inside(guards(gs)),
                    other => other.clone(),
                },
                dtype: *dtype,
                level: *level,
            })
            .collect();
        crate::kernel::Fused {
            dims: order.iter().map(|d| self.space[*d]).collect(),
            kept: self.reduced.iter().filter(|r| !**r).count(),
            loads: self
                .loads
                .iter()
                .map(|l| Load {
                    source: l.source,
                    dtype: l.dtype,
                    at: affine(&l.at),
                    guards: guards(&l.guards),
                })
                .collect(),
            values,
            stores: stores
                .iter()
                .enumerate()
                .map(|(output, (value, dtype, full, at))| Store {
                    output,
                    dtype: *dtype,
                    value: *value,
                    level: if *full { Level::Full } else { Level::Row },
                    at: affine(at),
                })
                .collect(),
        }
    }
}

/// Lowers `id` at `map` into `b`. `stored` tells which nodes have (or will have) memory of their own by the time the kernel
/// runs; a stored node that belongs to this kernel is in `b.of_node`.
pub(super) fn lower(
    g: &Graph,
    stored: &dyn Fn(Id) -> bool,
    b: &mut Builder,
    id: Id,
    map: &Map,
) -> Result<V, Fail> {
    let rank = b.space.len();
    if let Some(v) = b.of_node.get(&id) {
        return at_identity(g, b, id, *v, map);
    }
    let node = g.node(id);
    // A constant that has been realised is a leaf like any other: the plan's key does not know its op.
    if g.is_constant(id) || !g.is_leaf(id) && matches!(node.op, Op::Const(_)) {
        let a = b.arg(Arg::Const(id));
        return Ok(b.push(Instr::Scalar(a), node.dtype));
    }
    if g.is_leaf(id) || stored(id) {
        let at = map.flat(&node.shape, rank);
        let input = b.input(id);
        return Ok(b.load(Source::Input(input), node.dtype, at, map.guards.clone()));
    }
    let src = |k: usize| g.srcs[id][k];
    match &node.op {
        Op::Iota => Ok(b.push(Instr::Index(map.rows[0].clone()), DType::I64)),
        Op::Random(dist, ..) => {
            let at = map.flat(&node.shape, rank);
            let (seed, offset) = (b.arg(Arg::Seed(id)), b.arg(Arg::Offset(id)));
            Ok(b.push(Instr::Random { dist: *dist, seed, offset, at }, node.dtype))
        }
        Op::Alias | Op::WithGradient(_) => lower(g, stored, b, src(0), map),
        Op::Reshape => {
            // Through reshapes alone the row-major offset stays: memory can be read in any shape.
            let mut base = src(0);
            while !g.is_leaf(base)
                && !stored(base)
                && !b.of_node.contains_key(&base)
                && g.node(base).op.keeps_order()
            {
                base = g.srcs[base][0];
            }
            if let Some(v) = b.of_node.get(&base) {
                let v = *v;
                let at = map.flat(&node.shape, rank);
                return check_identity(g, b, base, v, &at, &map.guards);
            }
            if g.is_leaf(base) || stored(base) {
                if g.is_constant(base)
                    || !g.is_leaf(base) && matches!(g.node(base).op, Op::Const(_))
                {
                    return lower(
                        g,
                        stored,
                        b,
                        base,
                        &Map { rows: SmallVec::new(), guards: Vec::new() },
                    );
                }
                let at = map.flat(&node.shape, rank);
                let input = b.input(base);
                let dtype = g.node(base).dtype;
                return Ok(b.load(Source::Input(input), dtype, at, map.guards.clone()));
            }
            match reshape_rows(&map.rows, &node.shape, g.shape(base), &b.space) {
                Some(rows) => lower(g, stored, b, base, &Map { rows, guards: map.guards.clone() }),
                None => Err(Fail::Store(base)),
            }
        }
        Op::Permute(_) | Op::Expand | Op::Slice(_) | Op::Unfold { .. } => {
            let inner = through_view(g, id, map, rank).expect("not a pad or reshape");
            lower(g, stored, b, src(0), &inner)
        }
        Op::Pad(pads) => {
            let mut inner = map.clone();
            let mut mine = Vec::new();
            for (d, (lo, hi)) in pads.iter().enumerate() {
                if (*lo, *hi) == (0, 0) {
                    continue;
                }
                inner.rows[d].base -= *lo as isize;
                let guard = Guard { at: inner.rows[d].clone(), size: g.shape(src(0))[d] as isize };
                let (min, max) = guard.at.range(&b.space);
                if (min < 0 || max >= guard.size) && !inner.guards.contains(&guard) {
                    inner.guards.push(guard.clone());
                    mine.push(guard);
                }
            }
            let v = lower(g, stored, b, src(0), &inner)?;
            if mine.is_empty() {
                return Ok(v);
            }
            if let (Instr::Load(l), _) = &b.values[v]
                && mine.iter().all(|m| b.loads[*l].guards.contains(m))
            {
                return Ok(v);
            }
            let inside = b.push(Instr::Inside(mine), DType::Bool);
            let zero = zero_value(b, node.dtype);
            Ok(b.push(Instr::Where(inside, v, zero), node.dtype))
        }
        Op::Unary(u) => {
            let a = lower(g, stored, b, src(0), map)?;
            Ok(b.push(Instr::Unary(*u, a), node.dtype))
        }
        Op::Binary(op) => {
            let x = operand(g, stored, b, src(0), map)?;
            let y = operand(g, stored, b, src(1), map)?;
            Ok(b.push(Instr::Binary(*op, x, y), node.dtype))
        }
        Op::Where => {
            let c = operand(g, stored, b, src(0), map)?;
            let x = operand(g, stored, b, src(1), map)?;
            let y = operand(g, stored, b, src(2), map)?;
            Ok(b.push(Instr::Where(c, x, y), node.dtype))
        }
        Op::Cast => {
            let a = lower(g, stored, b, src(0), map)?;
            Ok(b.push(Instr::Cast(a), node.dtype))
        }
        _ => Err(Fail::Store(id)),
    }
}

/// An elementwise operand: constants of rank 0 stand beside any shape.
fn operand(
    g: &Graph,
    stored: &dyn Fn(Id) -> bool,
    b: &mut Builder,
    id: Id,
    map: &Map,
) -> Result<V, Fail> {
    if g.shape(id).is_empty() && !map.rows.is_empty() {
        let inner = Map { rows: SmallVec::new(), guards: Vec::new() };
        return lower(g, stored, b, id, &inner);
    }
    lower(g, stored, b, id, map)
}

/// Zero of a dtype without a scalar argument: a position that is always 0, cast.
fn zero_value(b: &mut Builder, dtype: DType) -> V {
    let z = b.push(Instr::Index(Affine::constant(0, b.space.len())), DType::I64);
    if dtype == DType::I64 { z } else { b.push(Instr::Cast(z), dtype) }
}

/// The map of a view's source; `None` for pads and reshapes, which need more care.
pub(super) fn through_view(g: &Graph, id: Id, map: &Map, rank: usize) -> Option<Map> {
    let node = g.node(id);
    let source = g.srcs[id][0];
    let mut out = Map { rows: SmallVec::new(), guards: map.guards.clone() };
    match &node.op {
        Op::Alias | Op::WithGradient(_) => out.rows = map.rows.clone(),
        Op::Permute(axes) => {
            out.rows = SmallVec::from_elem(Affine::default(), axes.len());
            for (d, a) in axes.iter().enumerate() {
                out.rows[*a] = map.rows[d].clone();
            }
        }
        Op::Expand => {
            out.rows = map.rows.clone();
            for (d, size) in g.shape(source).iter().enumerate() {
                if *size == 1 {
                    out.rows[d] = Affine::constant(0, rank);
                }
            }
        }
        Op::Slice(region) => {
            for (row, (start, step)) in map.rows.iter().zip(region.iter()) {
                let mut r = Affine::constant(*start as isize, rank);
                r.add_scaled(row, *step);
                out.rows.push(r);
            }
        }
        Op::Unfold { dim, step, .. } => {
            out.rows = map.rows[..map.rows.len() - 1].into();
            let mut r = map.rows[map.rows.len() - 1].clone();
            r.add_scaled(&map.rows[*dim], *step as isize);
            out.rows[*dim] = r;
        }
        _ => return None,
    }
    Some(out)
}

/// The value of a node of this very kernel is only at hand at its own position.
fn at_identity(g: &Graph, b: &Builder, id: Id, v: V, map: &Map) -> Result<V, Fail> {
    let at = map.flat(g.shape(id), b.space.len());
    check_identity(g, b, id, v, &at, &map.guards)
}

fn check_identity(
    g: &Graph,
    b: &Builder,
    id: Id,
    v: V,
    at: &Affine,
    guards: &[Guard],
) -> Result<V, Fail> {
    if !guards.is_empty() {
        return Err(Fail::Apart);
    }
    let n = numel(g.shape(id));
    let fits = |mut want: Affine| {
        // Coefficients of dimensions of size 1 mean nothing.
        let mut have = at.clone();
        for d in 0..b.space.len() {
            if b.space[d] == 1 {
                want.coef[d] = 0;
                have.coef[d] = 0;
            }
        }
        have == want
    };
    if n == numel(&b.space) && fits(canonical(&b.space)) {
        return Ok(v);
    }
    if n == b.rows() {
        let mut kept = b.space.clone();
        for d in 0..kept.len() {
            if b.reduced[d] {
                kept[d] = 1;
            }
        }
        let mut want = canonical(&kept);
        for d in 0..kept.len() {
            if b.reduced[d] {
                want.coef[d] = 0;
            }
        }
        if fits(want) {
            return Ok(v);
        }
    }
    Err(Fail::Apart)
}

/// The scalar a run passes for an argument.
pub(super) fn arg_value(g: &Graph, arg: Arg) -> Scalar {
    match (
        arg,
        &g.node(match arg {
            Arg::Const(i) | Arg::Seed(i) | Arg::Offset(i) => i,
        })
        .op,
    ) {
        (Arg::Const(_), Op::Const(v)) => *v,
        (Arg::Seed(_), Op::Random(_, s, _)) => Scalar::Int(*s as i64),
        (Arg::Offset(_), Op::Random(_, _, o)) => Scalar::Int(*o as i64),
        (Arg::Seed(_), Op::Attention(p) | Op::AttentionGrad(p)) => Scalar::Int(p.seed as i64),
        (Arg::Offset(_), Op::Attention(p) | Op::AttentionGrad(p)) => Scalar::Int(p.offset as i64),
        _ => unreachable!("arguments refer to constants and what draws random numbers"),
    }
}
