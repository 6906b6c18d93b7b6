//! Which nodes are stored, and which stored nodes share a kernel.
//!
//! A node is *stored* if someone outside needs it, if a contraction or another heavy op reads it, if it folds, or if several
//! kernels would have to compute it again. Stored nodes are visited in creation order (small values of leaves alone first); each joins an existing group if all it
//! needs comes from that group or earlier ones (so no cycle can arise), if the group's index box fits, and if something is
//! shared; else it opens a group of its own. Groups run in order.

use super::collect::{Graph, Id};
use super::lower::{Builder, Fail, Map, canonical, identity, lower, through_view};
use crate::kernel::{Affine, Fused, Level};
use crate::op::{BinaryOp, Op};
use crate::shape::{Dims, numel};
use smallvec::SmallVec;
use std::collections::HashSet;

/// What a group computes besides its fused program.
pub(super) enum Kind {
    /// A fused program alone.
    Fused,
    /// A contraction with the program as epilogue; the operands' addresses.
    Dot(Id, [OperandView; 2]),
    /// A convolution map with the program as epilogue.
    Conv(Id, [Id; 2]),
    /// Attention or its gradient: views of query, key, value and what else it reads. No program.
    Attention(Id, Vec<OperandView>),
    /// Take, scatter, scan, argsort, custom: no program; input buffers in order.
    Heavy(Id, Vec<Id>),
    /// A program that writes part of a larger node (`cat`, `update`), at this address.
    Part(Id, Affine),
}

/// A matrix operand as an address expression over (batch.., row, column).
pub(super) struct OperandView {
    pub id: Id,
    pub at: Affine,
}

pub(super) struct Group {
    pub kind: Kind,
    pub b: Builder,
    /// Stored nodes computed here, in order.
    pub members: Vec<usize>,
    closed: bool,
}

pub(super) struct Grouping {
    pub groups: Vec<Group>,
    /// Nodes that share the buffer of another (reshapes of something stored).
    pub alias: Vec<Option<Id>>,
    pub stored: Vec<bool>,
}

/// Largest number of instructions inlined into one consumer, and in one kernel.
const INLINE_LIMIT: usize = 48;
const KERNEL_LIMIT: usize = 256;
const INPUT_LIMIT: usize = 24;

pub(super) fn group(g: &Graph) -> Grouping {
    let mut forced: HashSet<Id> = HashSet::new();
    let mut inline: HashSet<Id> = HashSet::new();
    let mut again = 4;
    loop {
        match try_group(g, &forced, &inline) {
            Ok(done) => {
                let known = inline.len();
                inline.extend(row_values(g, &done, &forced));
                again -= 1;
                if inline.len() > known && again > 0 {
                    continue;
                }
                return done;
            }
            Err(id) => {
                assert!(
                    forced.insert(id),
                    "planner: node {id} cannot be lowered ({})",
                    g.node(id).op.name()
                );
            }
        }
    }
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast)
}

fn is_generator(op: &Op) -> bool {
    matches!(op, Op::Const(_) | Op::Iota | Op::Random(..))
}

/// Operations needed to compute a node again, expensive ones counted several times.
fn op_cost(op: &Op) -> usize {
    match op {
        Op::Unary(u) => {
            if u.is_cheap() {
                1
            } else {
                4
            }
        }
        Op::Binary(BinaryOp::Div) => 2,
        Op::Binary(b) => {
            if b.is_cheap() {
                1
            } else {
                6
            }
        }
        Op::Where | Op::Cast => 1,
        Op::Random(..) => 6,
        _ => 0,
    }
}

/// First source below a chain of reshapes.
fn below_reshapes(g: &Graph, mut id: Id) -> Id {
    while !g.is_leaf(id) && g.node(id).op.keeps_order() {
        id = g.srcs[id][0];
    }
    id
}

/// First source below a chain of views.
fn below_views(g: &Graph, mut id: Id) -> Id {
    while !g.is_leaf(id) && g.node(id).op.is_view() {
        id = g.srcs[id][0];
    }
    id
}

/// Whether a chain of views pads.
fn is_padded(g: &Graph, mut id: Id) -> bool {
    while !g.is_leaf(id) && g.node(id).op.is_view() {
        if matches!(g.node(id).op, Op::Pad(_)) {
            return true;
        }
        id = g.srcs[id][0];
    }
    false
}

/// Elementwise nodes that got a kernel of their own but cost nothing inside their readers: those that every reader could compute
/// once a row beside its folds (`1 / sqrt(var + eps)` in the backward pass of a norm), and those with a single reader.
fn row_values(g: &Graph, done: &Grouping, forced: &HashSet<Id>) -> HashSet<Id> {
    let mut out = HashSet::new();
    for group in &done.groups {
        let plain = matches!(group.kind, Kind::Fused)
            && !group.b.values.iter().any(|v| matches!(v.0, crate::kernel::Instr::Reduce(..)));
        let free =
            |i: usize| !g.external[i] && !forced.contains(&i) && is_elementwise(&g.node(i).op);
        if !plain || !group.members.iter().all(|m| free(*m)) {
            continue;
        }
        let readers: Vec<(usize, usize)> = (0..done.groups.len())
            .flat_map(|r| group.members.iter().map(move |m| (r, *m)))
            .filter(|(r, m)| done.groups[*r].reads(*m))
            .collect();
        let Some((only, _)) = readers.first() else { continue };
        let single = readers.iter().all(|(r, m)| {
            let b = &done.groups[*r].b;
            r == only
                && !matches!(
                    done.groups[*r].kind,
                    Kind::Heavy(..) | Kind::Part(..) | Kind::Attention(..)
                )
                && b.loads_of(*m) == 1
                && numel(g.shape(*m)) == numel(&b.space)
        });
        let by_row = readers.iter().all(|(r, m)| {
            let reader = &done.groups[*r];
            matches!(reader.kind, Kind::Fused)
                && reader.b.reduced.iter().any(|x| *x)
                && reader.b.loads_by_row(*m)
        });
        if single || by_row {
            out.extend(group.members.iter().copied());
        }
    }
    out
}

impl Group {
    fn reads(&self, id: Id) -> bool {
        self.b.inputs.contains(&id)
            || match &self.kind {
                Kind::Dot(_, ops) => ops.iter().any(|o| o.id == id),
                Kind::Conv(_, ids) => ids.contains(&id),
                Kind::Attention(_, ops) => ops.iter().any(|o| o.id == id),
                Kind::Heavy(_, ids) => ids.contains(&id),
                _ => false,
            }
    }
}

/// Decides which nodes get memory.
fn choose_stored(
    g: &Graph,
    forced: &HashSet<Id>,
    inline: &HashSet<Id>,
) -> (Vec<bool>, Vec<Option<Id>>) {
    let n = g.nodes.len();
    let mut stored = vec![false; n];
    let mut alias: Vec<Option<Id>> = vec![None; n];
    for id in forced {
        stored[*id] = true;
    }
    // Needed as buffers.
    let need = |id: Id, stored: &mut Vec<bool>| {
        if id < n {
            stored[id] = true;
        }
    };
    for i in 0..n {
        let op = &g.node(i).op;
        match op {
            Op::Dot | Op::Attention(_) | Op::AttentionGrad(_) => {
                for s in &g.srcs[i] {
                    // Padding is no address: such a source is stored as it is.
                    let base = below_views(g, *s);
                    need(if is_padded(g, *s) { *s } else { base }, &mut stored);
                }
                stored[i] = true;
            }
            Op::Conv(..)
            | Op::Take
            | Op::Scatter(_)
            | Op::Scan(..)
            | Op::Window(..)
            | Op::ArgSort { .. }
            | Op::Custom(_) => {
                for s in &g.srcs[i] {
                    need(below_reshapes(g, *s), &mut stored);
                }
                stored[i] = true;
            }
            Op::Reduce(..) | Op::Cat(_) | Op::Update(_) | Op::Barrier => stored[i] = true,
            _ => {}
        }
        if g.external[i] {
            let base = below_reshapes(g, i);
            if op.keeps_order() && !forced.contains(&i) && !g.is_constant(base) {
                need(base, &mut stored);
                alias[i] = Some(base);
            } else {
                stored[i] = true;
            }
        }
    }
    // How often, and whether through a broadcast, each node is read.
    let mut uses = vec![0u32; n];
    let mut grown = vec![false; n];
    for i in (0..n).rev() {
        let node = g.node(i);
        let passes = node.op.is_view() && !stored[i];
        let (times, grow) = if passes { (uses[i], grown[i]) } else { (1, false) };
        for s in &g.srcs[i] {
            if *s >= n {
                continue;
            }
            uses[*s] += times;
            let stretches = match node.op {
                Op::Expand | Op::Unfold { .. } => {
                    node.shape.iter().product::<usize>() > numel(g.shape(*s))
                }
                _ => false,
            };
            grown[*s] |= grow || stretches;
        }
    }
    let mut cost = vec![0usize; n];
    let mut depth = vec![0usize; n];
    for i in 0..n {
        let op = &g.node(i).op;
        let inner = |v: &Vec<usize>, s: &Id| if *s < n && !stored[*s] { v[*s] } else { 0 };
        cost[i] = op_cost(op) + g.srcs[i].iter().map(|s| inner(&cost, s)).sum::<usize>();
        depth[i] = 1 + g.srcs[i].iter().map(|s| inner(&depth, s)).max().unwrap_or(0);
        if stored[i] || alias[i].is_some() || is_generator(op) {
            if stored[i] {
                (cost[i], depth[i]) = (0, 0);
            }
            continue;
        }
        let elementwise = is_elementwise(op);
        let costly_again = elementwise && uses[i] > 1 && cost[i] > 2;
        let costly_broadcast = elementwise && grown[i] && cost[i] > 0 && numel(g.shape(i)) > 1;
        let costly = (costly_again || costly_broadcast) && !inline.contains(&i);
        if costly || depth[i] > INLINE_LIMIT || cost[i] > 4 * INLINE_LIMIT {
            stored[i] = true;
            (cost[i], depth[i]) = (0, 0);
        }
    }
    (stored, alias)
}

struct Planner<'g> {
    g: &'g Graph,
    stored: Vec<bool>,
    /// Group that has computed a node by its end; none for leaves and what depends on leaves alone.
    ready: Vec<Option<usize>>,
    groups: Vec<Group>,
}

/// Small values that leaves alone decide (`1 / sqrt(running_var + eps)`) are placed before all else, so that a contraction's epilogue
/// can read them whether they were written down before the contraction or after.
fn early(g: &Graph) -> Vec<bool> {
    const SMALL: usize = 1 << 16;
    let mut early = vec![false; g.nodes.len()];
    for i in 0..g.nodes.len() {
        let op = &g.node(i).op;
        early[i] = (is_elementwise(op) || op.is_view() || matches!(op, Op::Const(_)))
            && numel(g.shape(i)) <= SMALL
            && g.srcs[i].iter().all(|s| g.is_leaf(*s) || early[*s]);
    }
    early
}

fn try_group(g: &Graph, forced: &HashSet<Id>, inline: &HashSet<Id>) -> Result<Grouping, Id> {
    let (stored, alias) = choose_stored(g, forced, inline);
    let n = g.nodes.len();
    let mut p = Planner { g, stored, ready: vec![None; n], groups: Vec::new() };
    let early = early(g);
    let (first, rest) = (0..n).partition::<Vec<Id>, _>(|i| early[*i]);
    for i in first.into_iter().chain(rest) {
        let before = g.srcs[i].iter().filter(|s| **s < n).filter_map(|s| p.ready[*s]).max();
        p.ready[i] = before;
        if alias[i].is_some() || !p.stored[i] || g.node(i).shape.contains(&0) {
            continue;
        }
        p.place(i, before)?;
        p.ready[i] = Some(p.ready[i].unwrap_or(p.groups.len() - 1));
    }
    Ok(Grouping { groups: p.groups, alias, stored: p.stored })
}

impl Planner<'_> {
    fn stored(&self, id: Id, root: usize) -> bool {
        id != root && id < self.stored.len() && self.stored[id]
    }

    fn open(&mut self, kind: Kind, b: Builder, member: usize, closed: bool) {
        self.groups.push(Group { kind, b, members: vec![member], closed });
        self.ready[member] = Some(self.groups.len() - 1);
    }

    fn place(&mut self, i: usize, before: Option<usize>) -> Result<(), Id> {
        let g = self.g;
        let node = g.node(i);
        match &node.op {
            Op::Dot => {
                let a = self.operand_view(i, 0)?;
                let b = self.operand_view(i, 1)?;
                let builder = Builder::epilogue(&node.shape, i, accumulator(node.dtype));
                self.open(Kind::Dot(i, [a, b]), builder, i, accumulator(node.dtype) != node.dtype);
            }
            Op::Conv(..) => {
                let inputs = [self.buffer(i, 0)?, self.buffer(i, 1)?];
                let builder = Builder::epilogue(&node.shape, i, accumulator(node.dtype));
                self.open(Kind::Conv(i, inputs), builder, i, accumulator(node.dtype) != node.dtype);
            }
            Op::Attention(_) | Op::AttentionGrad(_) => {
                let views = (0..g.srcs[i].len())
                    .map(|k| self.operand_view(i, k))
                    .collect::<Result<Vec<_>, _>>()?;
                self.open(Kind::Attention(i, views), Builder::default(), i, true);
            }
            Op::Take
            | Op::Scatter(_)
            | Op::Scan(..)
            | Op::Window(..)
            | Op::ArgSort { .. }
            | Op::Custom(_) => {
                let inputs =
                    (0..g.srcs[i].len()).map(|k| self.buffer(i, k)).collect::<Result<_, _>>()?;
                self.open(Kind::Heavy(i, inputs), Builder::default(), i, true);
            }
            Op::Cat(axis) => {
                let mut start = 0usize;
                for k in 0..g.srcs[i].len() {
                    let part = g.shape(g.srcs[i][k]).to_vec();
                    let region: SmallVec<[(usize, isize); 6]> =
                        (0..part.len()).map(|d| (if d == *axis { start } else { 0 }, 1)).collect();
                    start += part[*axis];
                    self.part(i, k, &region)?;
                }
            }
            Op::Update(region) => {
                let whole: SmallVec<[(usize, isize); 6]> =
                    SmallVec::from_elem((0, 1), node.shape.len());
                self.part(i, 0, &whole)?;
                self.part(i, 1, region)?;
            }
            Op::Reduce(..) => self.place_fused(i, before, true)?,
            Op::Barrier => self.place_fused(i, None, false)?,
            _ => self.place_fused(i, before, true)?,
        }
        Ok(())
    }

    /// A program that writes source `k` of node `i` into a region of it.
    fn part(&mut self, i: usize, k: usize, region: &[(usize, isize)]) -> Result<(), Id> {
        let g = self.g;
        let source = g.srcs[i][k];
        let space = g.shape(source);
        let mut b = Builder::new(space);
        let map = Map { rows: identity(space), guards: Vec::new() };
        let v = match lower(g, &|id| self.stored(id, i), &mut b, source, &map) {
            Ok(v) => v,
            Err(Fail::Store(id)) => return Err(id),
            Err(Fail::Apart) => return Err(source),
        };
        b.of_node.insert(i, v);
        let mut rows: SmallVec<[Affine; 6]> = SmallVec::new();
        for (row, (start, step)) in map.rows.iter().zip(region) {
            let mut r = Affine::constant(*start as isize, space.len());
            r.add_scaled(row, *step);
            rows.push(r);
        }
        let at = Map { rows, guards: Vec::new() }.flat(g.shape(i), space.len());
        self.open(Kind::Part(i, at), b, i, true);
        Ok(())
    }

    /// The address of a matrix operand inside a stored buffer.
    fn operand_view(&self, i: usize, k: usize) -> Result<OperandView, Id> {
        let g = self.g;
        let source = g.srcs[i][k];
        let space = g.shape(source);
        let rank = space.len();
        let mut id = source;
        let mut map = Map { rows: identity(space), guards: Vec::new() };
        while !g.is_leaf(id) && !self.stored[id] {
            let inner = g.srcs[id][0];
            match &g.node(id).op {
                op if op.keeps_order() => {
                    let base = below_reshapes_until(g, id, &self.stored);
                    if g.is_constant(base) {
                        return Err(source);
                    }
                    if g.is_leaf(base) || self.stored[base] {
                        let at = map.flat(g.shape(id), rank);
                        return checked(source, base, at, space);
                    }
                    let rows =
                        super::lower::reshape_rows(&map.rows, g.shape(id), g.shape(base), space);
                    map.rows = rows.ok_or(source)?;
                    id = base;
                }
                Op::Pad(_) => return Err(source),
                _ => {
                    map = through_view(g, id, &map, rank).ok_or(source)?;
                    id = inner;
                }
            }
        }
        if g.is_constant(id) {
            return Err(source);
        }
        let at = map.flat(g.shape(id), rank);
        checked(source, id, at, space)
    }

    /// A source as a contiguous buffer.
    fn buffer(&self, i: usize, k: usize) -> Result<Id, Id> {
        let id = below_reshapes_until(self.g, self.g.srcs[i][k], &self.stored);
        if self.g.is_constant(id) {
            return Err(self.g.srcs[i][k]);
        }
        if self.g.is_leaf(id) || self.stored[id] { Ok(id) } else { Err(id) }
    }

    fn place_fused(&mut self, i: usize, before: Option<usize>, may_join: bool) -> Result<(), Id> {
        let g = self.g;
        if may_join {
            let last = self.groups.len();
            let from = before.unwrap_or(0);
            let mut tries: SmallVec<[usize; 4]> = SmallVec::new();
            if let Some(b) = before {
                tries.push(b);
            }
            for c in (from..last).rev().take(3) {
                if !tries.contains(&c) {
                    tries.push(c);
                }
            }
            for c in tries {
                if self.groups[c].closed {
                    continue;
                }
                let mut group = std::mem::replace(
                    &mut self.groups[c],
                    Group {
                        kind: Kind::Fused,
                        b: Builder::default(),
                        members: Vec::new(),
                        closed: true,
                    },
                );
                let joined = self.join(&mut group, i);
                self.groups[c] = group;
                if joined? {
                    self.ready[i] = Some(c);
                    return Ok(());
                }
            }
        }
        let space: Dims = match &g.node(i).op {
            Op::Reduce(..) => Dims::from_slice(g.shape(g.srcs[i][0])),
            _ => g.node(i).shape.clone(),
        };
        let mut b = Builder::new(&space);
        match self.lower_root(&mut b, i) {
            Ok(()) => {}
            Err(Fail::Store(id)) => return Err(id),
            Err(Fail::Apart) => return Err(i),
        }
        self.open(Kind::Fused, b, i, !may_join);
        Ok(())
    }

    /// Lowers a root into a builder whose box fits, and registers its value.
    fn lower_root(&self, b: &mut Builder, i: usize) -> Result<(), Fail> {
        let g = self.g;
        let node = g.node(i);
        let stored = |id: Id| self.stored(id, i);
        let v = match &node.op {
            Op::Reduce(op, axes) => {
                let source = g.srcs[i][0];
                let shape = g.shape(source);
                if numel(shape) != numel(&b.space) {
                    return Err(Fail::Apart);
                }
                let rows = b.full_rows(shape).ok_or(Fail::Apart)?;
                let reduced = reduced_dims(&b.space, shape, axes).ok_or(Fail::Apart)?;
                let has_reduce = b.reduced.iter().any(|r| *r);
                if has_reduce && b.reduced != reduced {
                    return Err(Fail::Apart);
                }
                let inner = lower(g, &stored, b, source, &Map { rows, guards: Vec::new() })?;
                if !reduced.iter().zip(&b.space).any(|(r, size)| *r && *size != 1) {
                    // Rows of one element: the fold is the element itself, and its index 0.
                    let zero = Affine::constant(0, b.space.len());
                    if op.is_arg() {
                        b.push(crate::kernel::Instr::Index(zero), node.dtype)
                    } else {
                        inner
                    }
                } else {
                    b.reduced = reduced;
                    b.push(crate::kernel::Instr::Reduce(*op, inner), node.dtype)
                }
            }
            Op::Barrier => {
                let rows = b.full_rows(&node.shape).ok_or(Fail::Apart)?;
                lower(g, &stored, b, g.srcs[i][0], &Map { rows, guards: Vec::new() })?
            }
            _ => {
                let n = node.shape.iter().product::<usize>();
                let rows = if n == numel(&b.space) {
                    b.full_rows(&node.shape)
                } else if n == b.rows() {
                    b.row_rows(&node.shape)
                } else {
                    None
                };
                let rows = rows.ok_or(Fail::Apart)?;
                lower(g, &stored, b, i, &Map { rows, guards: Vec::new() })?
            }
        };
        b.of_node.insert(i, v);
        Ok(())
    }

    /// Tries to add a root to a group. `Ok(false)` leaves the group as it was.
    fn join(&self, group: &mut Group, i: usize) -> Result<bool, Id> {
        let epilogue = matches!(group.kind, Kind::Dot(..) | Kind::Conv(..));
        let reduces = matches!(self.g.node(i).op, Op::Reduce(..));
        if epilogue && reduces || group.b.space.contains(&0) {
            return Ok(false);
        }
        let mark = group.b.mark();
        let known = group.b.values.len();
        match self.lower_root(&mut group.b, i) {
            Ok(()) => {}
            Err(Fail::Store(id)) => {
                group.b.reset(&mark);
                return Err(id);
            }
            Err(Fail::Apart) => {
                group.b.reset(&mark);
                return Ok(false);
            }
        }
        if self.acceptable(group, i, known, epilogue) {
            group.members.push(i);
            return Ok(true);
        }
        group.b.of_node.remove(&i);
        group.b.reset(&mark);
        Ok(false)
    }

    fn acceptable(&self, group: &Group, i: usize, known: usize, epilogue: bool) -> bool {
        use crate::kernel::Instr;
        let b = &group.b;
        if b.values.len() > KERNEL_LIMIT || b.inputs.len() > INPUT_LIMIT {
            return false;
        }
        let reads =
            |v: usize| v < known && !matches!(b.values[v].0, Instr::Scalar(_) | Instr::Index(_));
        let shares = b.of_node[&i] < known
            || b.values[known..].iter().any(|(instr, _)| match instr {
                Instr::Unary(_, a) | Instr::Cast(a) | Instr::Reduce(_, a) => reads(*a),
                Instr::Binary(_, x, y) => reads(*x) || reads(*y),
                Instr::Where(c, x, y) => reads(*c) || reads(*x) || reads(*y),
                _ => false,
            });
        if !shares {
            return false;
        }
        let (levels, post) = b.levels();
        if post && b.row_len() > Fused::ROW_LIMIT {
            return false;
        }
        // A value with one element a row must not depend on more than its row.
        let n = numel(self.g.shape(i));
        if n != numel(&b.space) && levels[b.of_node[&i]] == Level::Full {
            return false;
        }
        !epilogue || n == numel(&b.space)
    }
}

/// The dtype a contraction's result has before the epilogue.
pub(super) fn accumulator(dtype: crate::DType) -> crate::DType {
    dtype
}

fn below_reshapes_until(g: &Graph, mut id: Id, stored: &[bool]) -> Id {
    while !g.is_leaf(id) && !stored[id] && g.node(id).op.keeps_order() {
        id = g.srcs[id][0];
    }
    id
}

fn checked(source: Id, id: Id, at: Affine, space: &[usize]) -> Result<OperandView, Id> {
    let forward = at.base >= 0 && at.coef.iter().zip(space).all(|(c, d)| *c >= 0 || *d <= 1);
    if forward { Ok(OperandView { id, at }) } else { Err(source) }
}

/// Which dimensions of the refined box belong to the folded axes of a shape.
fn reduced_dims(space: &[usize], shape: &[usize], axes: &[usize]) -> Option<SmallVec<[bool; 6]>> {
    let mut out: SmallVec<[bool; 6]> = SmallVec::from_elem(false, space.len());
    let mut k = space.len();
    for d in (0..shape.len()).rev() {
        let fold = axes.contains(&d);
        let mut size = 1usize;
        if space.len() == shape.len() && space == shape {
            out[d] = fold;
            continue;
        }
        while size < shape[d] {
            if k == 0 {
                return None;
            }
            k -= 1;
            size *= space[k];
            out[k] = fold;
        }
        if size != shape[d] {
            return None;
        }
    }
    Some(out)
}

/// Address of a member's stores: over the whole box, or over its kept part.
pub(super) fn store_address(b: &Builder, full: bool) -> Affine {
    if full {
        return canonical(&b.space);
    }
    let mut kept = b.space.clone();
    for (d, r) in b.reduced.iter().enumerate() {
        if *r {
            kept[d] = 1;
        }
    }
    let mut at = canonical(&kept);
    for (d, r) in b.reduced.iter().enumerate() {
        if *r {
            at.coef[d] = 0;
        }
    }
    at
}
