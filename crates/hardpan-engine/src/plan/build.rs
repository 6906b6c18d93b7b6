//! From groups to a plan: kernels, buffer numbers, lifetimes, donations, launch order.

use super::collect::{Graph, Id};
use super::group::{Group, Grouping, Kind, accumulator, group, store_address};
use super::lower::Arg;
use crate::dev::Program;
use crate::dtype::DType;
use crate::kernel::{
    Affine, AttentionKernel, AttentionOperand, Body, ConvKernel, DotKernel, Instr, Kernel, Operand,
    Source, WindowKernel,
};
use crate::op::{AttentionParams, ConvMode, Op, WindowOp};
use crate::shape::numel;
use smallvec::SmallVec;
use std::sync::Arc;

/// A buffer of a run: the leaves come first, then what the steps produce.
pub(super) type Slot = usize;

/// Where an output's memory comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// New memory of this many bytes.
    New(usize),
    /// The memory of a buffer that ends here.
    Reuse(Slot),
    /// An earlier step of the same node has placed it.
    Placed,
}

pub(super) struct Step {
    pub program: Arc<dyn Program>,
    pub name: String,
    pub inputs: SmallVec<[Slot; 4]>,
    pub outputs: SmallVec<[(Slot, Place); 2]>,
    pub args: SmallVec<[Arg; 4]>,
    /// Buffers nobody reads after this step.
    pub free: SmallVec<[Slot; 4]>,
    /// The node whose source line stands for the step.
    pub node: Id,
    /// Bytes read and written, floating point operations: for the trace.
    pub bytes: u64,
    pub flops: u64,
}

pub(super) struct Plan {
    pub slots: usize,
    pub steps: Vec<Step>,
    /// Node and the slot that holds its value at the end.
    pub outputs: Vec<(Id, Slot)>,
    /// Outputs without elements.
    pub empty: Vec<Id>,
    /// The buffer that stands for everything without elements.
    pub empty_slot: Option<Slot>,
}

struct Draft {
    kernel: Kernel,
    inputs: SmallVec<[Slot; 4]>,
    outputs: SmallVec<[Slot; 2]>,
    args: SmallVec<[Arg; 4]>,
    node: Id,
    /// Input that is copied unchanged to the output: may be dropped if the input ends here.
    copy_of: Option<Slot>,
    /// Input whose memory may become the output's.
    donor: Vec<(usize, Slot)>,
    flops: u64,
}

pub(super) fn plan(g: &Graph) -> Plan {
    let Grouping { groups, alias, stored } = group(g);
    let n = g.nodes.len();
    let leaves = g.leaves.len();
    let is_empty = |id: Id| g.shape(id).contains(&0);

    // Which stored nodes leave their group.
    let mut wanted = vec![false; n];
    for i in 0..n {
        if g.external[i] && alias[i].is_none() {
            wanted[i] = true;
        }
        if g.external[i]
            && let Some(base) = alias[i]
            && base < n
        {
            wanted[base] = true;
        }
        if g.keep[i]
            && stored[i]
            && matches!(
                g.node(i).op,
                Op::Dot | Op::Conv(..) | Op::Reduce(..) | Op::Take | Op::Attention(_)
            )
        {
            wanted[i] = true;
        }
    }
    for group in &groups {
        for id in group_inputs(group) {
            if id < n {
                wanted[id] = true;
            }
        }
        if matches!(group.kind, Kind::Heavy(..) | Kind::Part(..) | Kind::Attention(..)) {
            wanted[group.members[0]] = true;
        }
    }

    let mut slot_of: Vec<Option<Slot>> = vec![None; n + leaves];
    for l in 0..leaves {
        slot_of[n + l] = Some(l);
    }
    let mut slots = leaves;
    let mut slot_bytes: Vec<usize> = (0..leaves).map(|l| bytes(g, n + l)).collect();
    // All tensors without elements share one buffer of no bytes.
    let mut empty_slot = None;
    for i in (0..n).filter(|i| is_empty(*i)) {
        let slot = *empty_slot.get_or_insert_with(|| {
            slot_bytes.push(0);
            slots += 1;
            slots - 1
        });
        slot_of[i] = Some(slot);
    }
    let mut drafts: Vec<Draft> = Vec::with_capacity(groups.len());
    for group in &groups {
        let mut outputs: Vec<Id> = group.members.iter().copied().filter(|m| wanted[*m]).collect();
        if outputs.is_empty() {
            continue;
        }
        outputs.dedup();
        for m in &outputs {
            if slot_of[*m].is_none() {
                slot_of[*m] = Some(slots);
                slot_bytes.push(bytes(g, *m));
                slots += 1;
            }
        }
        drafts.push(draft(g, group, &outputs, &slot_of));
    }

    // Values that must survive: outputs of the plan.
    let mut pinned = vec![false; slots];
    if let Some(slot) = empty_slot {
        pinned[slot] = true;
    }
    let mut outputs: Vec<(Id, Slot)> = Vec::new();
    let mut empty: Vec<Id> = Vec::new();
    for i in 0..n {
        let from = alias[i].unwrap_or(i);
        if is_empty(i) {
            if g.external[i] || stored[i] {
                empty.push(i);
            }
            continue;
        }
        let hold = g.external[i] || (g.keep[i] && from == i && wanted[i] && stored[i]);
        if hold && let Some(slot) = slot_of[from] {
            pinned[slot] = true;
            outputs.push((i, slot));
        }
    }

    // Last readers, then donations in launch order.
    let mut last = vec![usize::MAX; slots];
    let mut first_write = vec![usize::MAX; slots];
    for (k, d) in drafts.iter().enumerate() {
        for s in &d.inputs {
            last[*s] = k;
        }
        for s in &d.outputs {
            if last[*s] == usize::MAX {
                last[*s] = k;
            }
            if first_write[*s] == usize::MAX {
                first_write[*s] = k;
            }
        }
    }
    let may_give = |s: Slot| if s < leaves { g.leaves[s].donatable } else { true };
    let device = crate::dev::device(g.device);
    let mut steps: Vec<Step> = Vec::with_capacity(drafts.len());
    let mut given = vec![false; slots];
    for (k, d) in drafts.into_iter().enumerate() {
        let mut places: SmallVec<[(Slot, Place); 2]> = SmallVec::new();
        let mut taken: SmallVec<[Slot; 2]> = SmallVec::new();
        for (o, s) in d.outputs.iter().enumerate() {
            if first_write[*s] != k {
                places.push((*s, Place::Placed));
                continue;
            }
            let donor = d.donor.iter().find(|(out, from)| {
                *out == o
                    && last[*from] == k
                    && !pinned[*from]
                    && may_give(*from)
                    && !given[*from]
                    && !taken.contains(from)
                    && slot_bytes[*from] == slot_bytes[*s]
            });
            match donor {
                Some((_, from)) => {
                    taken.push(*from);
                    given[*from] = true;
                    places.push((*s, Place::Reuse(*from)));
                }
                None => places.push((*s, Place::New(slot_bytes[*s]))),
            }
        }
        let mut free: SmallVec<[Slot; 4]> = SmallVec::new();
        for s in d.inputs.iter().chain(&d.outputs) {
            if last[*s] == k && *s >= leaves && !pinned[*s] && !given[*s] && !free.contains(s) {
                free.push(*s);
            }
        }
        // A pure copy into memory that it was given has nothing to do; it stays as a step for its placement.
        let body = if d.copy_of.is_some_and(|c| places[0].1 == Place::Reuse(c)) {
            Body::Copy { bytes: 0 }
        } else {
            d.kernel.body.clone()
        };
        let kernel = Kernel { body, ..d.kernel };
        let traffic =
            kernel.inputs.iter().chain(&kernel.outputs).map(|(t, n)| (t.size() * n) as u64).sum();
        let name = kernel.name();
        let program = device
            .compile(&kernel)
            .unwrap_or_else(|e| panic!("{}: {e} (built at {})", name, g.node(d.node).at));
        steps.push(Step {
            program,
            name,
            inputs: d.inputs,
            outputs: places,
            args: d.args,
            free,
            node: d.node,
            bytes: traffic,
            flops: d.flops,
        });
    }
    Plan { slots, steps, outputs, empty, empty_slot }
}

fn bytes(g: &Graph, id: Id) -> usize {
    numel(g.shape(id)) * g.node(id).dtype.size()
}

fn group_inputs(group: &Group) -> Vec<Id> {
    let mut out = group.b.inputs.clone();
    match &group.kind {
        Kind::Dot(_, ops) => out.extend(ops.iter().map(|o| o.id)),
        Kind::Conv(_, ids) => out.extend(ids),
        Kind::Attention(_, ops) => out.extend(ops.iter().map(|o| o.id)),
        Kind::Heavy(_, ids) => out.extend(ids),
        _ => {}
    }
    out
}

/// Numbers a group's buffers and writes its kernel.
fn draft(g: &Graph, group: &Group, outputs: &[Id], slot_of: &[Option<Slot>]) -> Draft {
    let node = group.members[0];
    let slot = |id: Id| slot_of[id].expect("inputs are stored before they are read");
    let size = |id: Id| (g.node(id).dtype, numel(g.shape(id)));
    let mut ids: Vec<Id> = Vec::new();
    let mut number = |id: Id| -> usize {
        ids.iter().position(|x| *x == id).unwrap_or_else(|| {
            ids.push(id);
            ids.len() - 1
        })
    };
    let mut flops = 0u64;
    let mut copy_of = None;
    let mut donor: Vec<(usize, Slot)> = Vec::new();
    let body = match &group.kind {
        Kind::Heavy(i, inputs) => {
            for id in inputs {
                // Positions count here: the same buffer may stand twice.
                ids.push(*id);
            }
            if matches!(g.node(*i).op, Op::Scatter(_)) {
                donor.push((0, slot(inputs[0])));
            }
            heavy_body(g, *i)
        }
        Kind::Attention(i, views) => {
            let (kernel, work) = attention(g, *i, views, &mut number);
            flops = work;
            Body::Attention(kernel)
        }
        Kind::Fused => {
            let fused = program(g, group, outputs, &mut number);
            if !fused.has_reduce() {
                donor = in_place(&fused, &ids, &[], outputs, g, slot_of);
            }
            Body::Fused(fused)
        }
        Kind::Part(i, at) => {
            let v = group.b.of_node[i];
            let mut fused = group.b.finish(&[(v, g.node(*i).dtype, true, at.clone())]);
            renumber(&mut fused, &group.b.inputs, &mut number);
            let whole = numel(&group.b.space) == numel(g.shape(*i));
            let identity = fused.stores[0].at.clone();
            if whole
                && fused.values.len() == 1
                && let Instr::Load(l) = fused.values[0].instr
                && fused.loads[l].at == identity
                && fused.loads[l].guards.is_empty()
            {
                let from = slot(ids[0]);
                copy_of = Some(from);
                donor.push((0, from));
            }
            Body::Fused(fused)
        }
        Kind::Dot(i, operands) => {
            let shape = g.shape(*i);
            let r = shape.len();
            let k = g.shape(g.srcs[*i][0])[r - 1];
            let mut side = |o: &super::group::OperandView, dtype: DType| Operand {
                input: number(o.id),
                dtype,
                base: o.at.base as usize,
                batch: o.at.coef[..r - 2].into(),
                row: o.at.coef[r - 2],
                col: o.at.coef[r - 1],
            };
            let dtype = g.node(*i).dtype;
            let dot = DotKernel {
                batch: shape[..r - 2].into(),
                m: shape[r - 2],
                n: shape[r - 1],
                k,
                a: side(&operands[0], dtype),
                b: side(&operands[1], dtype),
                dtype: accumulator(dtype),
            };
            flops = 2 * numel(shape) as u64 * k as u64;
            let epilogue = epilogue(g, group, *i, outputs, &mut number);
            Body::Dot(dot, epilogue)
        }
        Kind::Conv(i, inputs) => {
            let Op::Conv(mode, params) = &g.node(*i).op else { unreachable!("conv group") };
            let numbers = [number(inputs[0]), number(inputs[1])];
            let (a, b) = (g.shape(g.srcs[*i][0]), g.shape(g.srcs[*i][1]));
            let out = g.shape(*i);
            let (x, w, y) = match mode {
                ConvMode::Forward => (a, b, out),
                ConvMode::InputGrad => (out, b, a),
                ConvMode::WeightGrad => (a, out, b),
            };
            flops = 2 * numel(y) as u64 * w[1..].iter().product::<usize>() as u64;
            let conv = ConvKernel {
                mode: *mode,
                params: (**params).clone(),
                x: x.into(),
                w: w.into(),
                y: y.into(),
                inputs: numbers,
                dtype: accumulator(g.node(*i).dtype),
            };
            let epilogue = epilogue(g, group, *i, outputs, &mut number);
            Body::Conv(conv, epilogue)
        }
    };
    if let Body::Dot(_, Some(f)) | Body::Conv(_, Some(f)) = &body {
        let operands: SmallVec<[Id; 2]> = match &group.kind {
            Kind::Dot(_, o) => o.iter().map(|o| o.id).collect(),
            Kind::Conv(_, ids) => ids.iter().copied().collect(),
            _ => SmallVec::new(),
        };
        donor = in_place(f, &ids, &operands, outputs, g, slot_of);
    }
    if let Body::Fused(f) = &body {
        let ops = f
            .values
            .iter()
            .filter(|v| !matches!(v.instr, Instr::Load(_) | Instr::Scalar(_) | Instr::Index(_)))
            .count();
        flops = (ops * numel(&f.dims)) as u64;
    }
    Draft {
        kernel: Kernel {
            body,
            inputs: ids.iter().map(|id| size(*id)).collect(),
            outputs: outputs.iter().map(|id| size(*id)).collect(),
        },
        inputs: ids.iter().map(|id| slot(*id)).collect(),
        outputs: outputs.iter().map(|id| slot(*id)).collect(),
        args: match &group.kind {
            Kind::Attention(i, _) => SmallVec::from_iter([Arg::Seed(*i), Arg::Offset(*i)]),
            _ => group.b.args.iter().copied().collect(),
        },
        node: *group.members.last().unwrap_or(&node),
        copy_of,
        donor,
        flops,
    }
}

/// The kernel of an attention node, and its operations for the trace.
fn attention(
    g: &Graph,
    i: Id,
    views: &[super::group::OperandView],
    number: &mut impl FnMut(Id) -> usize,
) -> (AttentionKernel, u64) {
    let (params, gradient) = match &g.node(i).op {
        Op::Attention(p) => (p, false),
        Op::AttentionGrad(p) => (p, true),
        other => unreachable!("{} is not attention", other.name()),
    };
    let (q, k, v) = (g.srcs[i][0], g.srcs[i][1], g.srcs[i][2]);
    let (qs, ks, vs) = (g.shape(q), g.shape(k), g.shape(v));
    let mut operand = |o: &super::group::OperandView, dtype: DType| AttentionOperand {
        input: number(o.id),
        dtype,
        base: o.at.base as usize,
        strides: std::array::from_fn(|d| o.at.coef.get(d).map_or(0, |c| *c as usize)),
    };
    let dtype = g.node(q).dtype;
    let mut rest = views[3..].iter();
    let result = gradient.then(|| [(); 2].map(|()| rest.next().expect("result and gradient")));
    let result = result.map(|views| views.map(|v| operand(v, DType::F32)));
    let mask = params.masked.then(|| operand(rest.next().expect("a mask"), DType::F32));
    let kernel = AttentionKernel {
        batch: qs[0],
        heads: qs[1],
        groups: ks[1],
        queries: qs[2],
        keys: ks[2],
        size: qs[3],
        value_size: vs[3],
        params: AttentionParams { seed: 0, offset: 0, ..(**params).clone() },
        q: operand(&views[0], dtype),
        k: operand(&views[1], dtype),
        v: operand(&views[2], dtype),
        mask,
        result,
    };
    let pairs = (qs[0] * qs[1] * qs[2] * ks[2]) as u64;
    let products = (qs[3] + vs[3]) as u64 * if gradient { 5 } else { 2 };
    (kernel, pairs * products / if params.causal { 2 } else { 1 })
}

/// Rewrites input numbers of the builder as numbers of the launch.
fn renumber(fused: &mut crate::kernel::Fused, inputs: &[Id], number: &mut impl FnMut(Id) -> usize) {
    for load in &mut fused.loads {
        if let Source::Input(k) = load.source {
            load.source = Source::Input(number(inputs[k]));
        }
    }
}

fn program(
    g: &Graph,
    group: &Group,
    outputs: &[Id],
    number: &mut impl FnMut(Id) -> usize,
) -> crate::kernel::Fused {
    let b = &group.b;
    let stores: Vec<(usize, DType, bool, Affine)> = outputs
        .iter()
        .map(|m| {
            let full = numel(g.shape(*m)) == numel(&b.space);
            (b.of_node[m], g.node(*m).dtype, full, store_address(b, full))
        })
        .collect();
    let mut fused = b.finish(&stores);
    renumber(&mut fused, &b.inputs, number);
    prune(&mut fused);
    fused
}

/// Drops values that no store needs (members that turned out to be read by nobody, failed shares).
fn prune(f: &mut crate::kernel::Fused) {
    let mut live = vec![false; f.values.len()];
    for s in &f.stores {
        live[s.value] = true;
    }
    for v in (0..f.values.len()).rev() {
        if !live[v] {
            continue;
        }
        match f.values[v].instr {
            Instr::Unary(_, a) | Instr::Cast(a) | Instr::Reduce(_, a) => live[a] = true,
            Instr::Binary(_, a, b) => {
                live[a] = true;
                live[b] = true;
            }
            Instr::Where(c, a, b) => {
                live[c] = true;
                live[a] = true;
                live[b] = true;
            }
            _ => {}
        }
    }
    if live.iter().all(|l| *l) {
        return;
    }
    let mut new = vec![usize::MAX; f.values.len()];
    let mut next = 0;
    for (v, l) in live.iter().enumerate() {
        if *l {
            new[v] = next;
            next += 1;
        }
    }
    let mut loads_used = vec![false; f.loads.len()];
    let mut keep = live.iter();
    f.values.retain(|_| *keep.next().expect("one flag a value"));
    for v in &mut f.values {
        match &mut v.instr {
            Instr::Unary(_, a) | Instr::Cast(a) | Instr::Reduce(_, a) => *a = new[*a],
            Instr::Binary(_, a, b) => {
                *a = new[*a];
                *b = new[*b];
            }
            Instr::Where(c, a, b) => {
                *c = new[*c];
                *a = new[*a];
                *b = new[*b];
            }
            Instr::Load(l) => loads_used[*l] = true,
            _ => {}
        }
    }
    for s in &mut f.stores {
        s.value = new[s.value];
    }
    let mut renumbered = vec![0; f.loads.len()];
    let mut next = 0;
    for (l, used) in loads_used.iter().enumerate() {
        if *used {
            renumbered[l] = next;
            next += 1;
        }
    }
    let mut keep = loads_used.iter();
    f.loads.retain(|_| *keep.next().expect("one flag a load"));
    for v in &mut f.values {
        if let Instr::Load(l) = &mut v.instr {
            *l = renumbered[*l];
        }
    }
}

fn epilogue(
    g: &Graph,
    group: &Group,
    root: Id,
    outputs: &[Id],
    number: &mut impl FnMut(Id) -> usize,
) -> Option<crate::kernel::Fused> {
    if outputs == [root] && group.b.result_dtype == Some(g.node(root).dtype) {
        return None;
    }
    Some(program(g, group, outputs, number))
}

/// Inputs that are read only at the very index where an output is written: their memory can become the output's.
///
/// `operands` are read by the contraction itself, at any time, so they never are.
fn in_place(
    fused: &crate::kernel::Fused,
    ids: &[Id],
    operands: &[Id],
    outputs: &[Id],
    g: &Graph,
    slot_of: &[Option<Slot>],
) -> Vec<(usize, Slot)> {
    let mut out = Vec::new();
    for (k, id) in ids.iter().enumerate() {
        if operands.contains(id) {
            continue;
        }
        let loads: Vec<&crate::kernel::Load> =
            fused.loads.iter().filter(|l| l.source == Source::Input(k)).collect();
        for (o, store) in fused.stores.iter().enumerate() {
            let same = loads.iter().all(|l| l.at == store.at && l.guards.is_empty());
            let fits = g.node(*id).dtype == g.node(outputs[o]).dtype
                && numel(g.shape(*id)) == numel(g.shape(outputs[o]))
                && numel(&fused.dims) == numel(g.shape(*id));
            if same && fits {
                out.push((o, slot_of[*id].expect("inputs are stored")));
            }
        }
    }
    out
}

fn heavy_body(g: &Graph, i: Id) -> Body {
    let node = g.node(i);
    let split = |shape: &[usize], axis: usize| {
        (numel(&shape[..axis]), shape[axis], numel(&shape[axis + 1..]))
    };
    match &node.op {
        Op::Take => {
            let x = g.shape(g.srcs[i][0]);
            Body::Take {
                rows: x[0],
                inner: numel(&x[1..]),
                count: numel(g.shape(g.srcs[i][1])),
                dtype: node.dtype,
            }
        }
        Op::Scatter(op) => {
            let x = g.shape(g.srcs[i][0]);
            Body::Scatter {
                op: *op,
                rows: x[0],
                inner: numel(&x[1..]),
                count: numel(g.shape(g.srcs[i][1])),
                dtype: node.dtype,
            }
        }
        Op::Scan(op, axis) => {
            let (outer, len, inner) = split(&node.shape, *axis);
            Body::Scan { op: *op, outer, len, inner, dtype: node.dtype }
        }
        Op::Window(op, params) => {
            let image = &g.shape(if *op == WindowOp::Back { i } else { g.srcs[i][0] });
            Body::Window(WindowKernel {
                op: *op,
                planes: numel(&image[..image.len() - 2]),
                params: **params,
                dtype: g.node(g.srcs[i][0]).dtype,
            })
        }
        Op::ArgSort { axis, descending } => {
            let (outer, len, inner) = split(&node.shape, *axis);
            let dtype = g.node(g.srcs[i][0]).dtype;
            Body::ArgSort { descending: *descending, outer, len, inner, dtype }
        }
        Op::Custom(op) => Body::Custom {
            op: op.clone(),
            inputs: g.srcs[i]
                .iter()
                .map(|s| (g.node(*s).dtype, SmallVec::from_slice(g.shape(*s))))
                .collect(),
        },
        other => unreachable!("{} is not a heavy op", other.name()),
    }
}
