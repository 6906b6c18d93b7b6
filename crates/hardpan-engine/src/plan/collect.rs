//! Gathers what is pending: the live nodes in creation order, their sources as indices, and a structural key.

use crate::dev::DeviceId;
use crate::node::{Node, Tensor, recycle_pending, take_pending};
use crate::op::Op;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A source: a node of the graph, or a leaf (numbered after the nodes).
pub(super) type Id = usize;

/// A realised input of the graph.
pub(super) struct Leaf {
    pub tensor: Tensor,
    /// Nobody else will read its memory after this flush.
    pub donatable: bool,
    /// A constant without memory: its value is a scalar argument.
    pub constant: bool,
}

/// The pending work of one device.
pub(super) struct Graph {
    pub nodes: Vec<Tensor>,
    pub srcs: Vec<SmallVec<[Id; 3]>>,
    pub leaves: Vec<Leaf>,
    /// Held by someone outside the graph: must be stored.
    pub external: Vec<bool>,
    /// Alive after the flush for the sake of a later `backward`: stored if it has a buffer anyway.
    pub keep: Vec<bool>,
    pub device: DeviceId,
    pub key: Vec<u64>,
    rest: Vec<Tensor>,
}

impl Graph {
    pub fn node(&self, id: Id) -> &Node {
        if id < self.nodes.len() {
            &self.nodes[id].0
        } else {
            &self.leaves[id - self.nodes.len()].tensor.0
        }
    }
    pub fn is_leaf(&self, id: Id) -> bool {
        id >= self.nodes.len()
    }
    /// A leaf without memory, good only as a scalar argument.
    pub fn is_constant(&self, id: Id) -> bool {
        id >= self.nodes.len() && self.leaves[id - self.nodes.len()].constant
    }
    pub fn shape(&self, id: Id) -> &[usize] {
        &self.node(id).shape
    }
}

static EPOCH: AtomicU64 = AtomicU64::new(1);
/// One flush at a time may use the nodes' stamps.
static STAMPS: Mutex<()> = Mutex::new(());

/// Everything pending, not yet divided by device.
pub(super) struct Pending(Vec<Tensor>);

impl Pending {
    pub fn nodes(&self) -> &[Tensor] {
        &self.0
    }

    /// The pending nodes of one device, ready to plan; devices without pending sources on others come first since data
    /// crosses devices only through realised copies.
    pub fn next_device(&mut self) -> Option<Graph> {
        let device = self.0.first()?.0.device;
        let (mine, rest): (Vec<Tensor>, Vec<Tensor>) =
            if self.0.iter().all(|t| t.0.device == device) {
                (std::mem::take(&mut self.0), Vec::new())
            } else {
                std::mem::take(&mut self.0).into_iter().partition(|t| t.0.device == device)
            };
        self.0 = rest;
        Some(index(mine, device))
    }
}

/// The live pending nodes of this thread and all unrealised sources of `wanted`, in creation order.
pub(super) fn collect(wanted: Option<&Tensor>) -> Option<Pending> {
    let list = take_pending();
    let mut nodes: Vec<Tensor> = Vec::with_capacity(list.len() + 1);
    for weak in &list {
        if let Some(node) = weak.upgrade()
            && node.buffer.get().is_none()
        {
            nodes.push(Tensor(node));
        }
    }
    recycle_pending(list);
    let _stamps = STAMPS.lock().unwrap_or_else(|e| e.into_inner());
    let epoch = EPOCH.fetch_add(1, Relaxed) << 32;
    for t in &nodes {
        t.0.stamp.store(epoch, Relaxed);
    }
    let own = nodes.len();
    if let Some(w) = wanted
        && w.0.buffer.get().is_none()
        && w.0.stamp.load(Relaxed) != epoch
    {
        w.0.stamp.store(epoch, Relaxed);
        nodes.push(w.clone());
    }
    // Sources that are pending elsewhere: built on another thread, or kept for backward without a buffer.
    let mut at = 0;
    while at < nodes.len() {
        let t = nodes[at].clone();
        let scalars = takes_scalars(&t.0.op);
        for s in t.0.src.lock().unwrap().iter() {
            if scalars && matches!(s.0.op, Op::Const(_)) {
                continue;
            }
            if s.0.buffer.get().is_none() && s.0.stamp.load(Relaxed) != epoch {
                s.0.stamp.store(epoch, Relaxed);
                nodes.push(s.clone());
            }
        }
        at += 1;
    }
    if nodes.len() > own {
        nodes.sort_unstable_by_key(|t| t.0.id);
    }
    if nodes.is_empty() { None } else { Some(Pending(nodes)) }
}

/// Ops that read a constant source as a scalar argument; the others need it in memory.
fn takes_scalars(op: &Op) -> bool {
    op.is_view()
        || matches!(
            op,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::Where
                | Op::Cast
                | Op::Reduce(..)
                | Op::Cat(_)
                | Op::Update(_)
                | Op::Barrier
        )
}

/// Numbers the nodes, finds who is alive after the flush, and writes the key.
fn index(nodes: Vec<Tensor>, device: DeviceId) -> Graph {
    let _stamps = STAMPS.lock().unwrap_or_else(|e| e.into_inner());
    let epoch = EPOCH.fetch_add(1, Relaxed);
    let n = nodes.len();
    for (i, t) in nodes.iter().enumerate() {
        t.0.stamp.store(epoch << 32 | i as u64, Relaxed);
    }
    let mut leaves: Vec<Leaf> = Vec::new();
    let mut srcs: Vec<SmallVec<[Id; 3]>> = Vec::with_capacity(n);
    let mut internal: Vec<u32> = vec![0; n];
    let mut leaf_refs: Vec<u32> = Vec::new();
    for t in &nodes {
        let mut ids: SmallVec<[Id; 3]> = SmallVec::new();
        for s in t.0.src.lock().unwrap().iter() {
            let stamp = s.0.stamp.load(Relaxed);
            if stamp >> 32 == epoch {
                let id = (stamp & 0xffff_ffff) as usize;
                if id < n {
                    internal[id] += 1;
                } else {
                    leaf_refs[id - n] += 1;
                }
                ids.push(id);
            } else {
                let id = n + leaves.len();
                s.0.stamp.store(epoch << 32 | id as u64, Relaxed);
                let constant = s.0.buffer.get().is_none();
                debug_assert!(!constant || matches!(s.0.op, Op::Const(_)));
                leaves.push(Leaf { tensor: s.clone(), donatable: false, constant });
                leaf_refs.push(1);
                ids.push(id);
            }
        }
        srcs.push(ids);
    }
    // Our own list holds one reference to each node.
    let external: Vec<bool> = nodes
        .iter()
        .enumerate()
        .map(|(i, t)| Arc::strong_count(&t.0) as u32 > internal[i] + 1)
        .collect();
    let mut keep = external.clone();
    let mut leaf_kept = vec![false; leaves.len()];
    for i in (0..n).rev() {
        let node = &nodes[i].0;
        // A kept node without a buffer of its own is its history; whether it gets one is not known yet.
        // A leaf that is stored has none: gradients end there.
        let leaf = matches!(node.op, Op::Alias);
        let history = node.requires_grad && !leaf && !node.released.load(Relaxed) || !external[i];
        if keep[i] && history {
            for s in &srcs[i] {
                if *s < n {
                    keep[*s] = true;
                } else {
                    leaf_kept[*s - n] = true;
                }
            }
        }
    }
    for (l, leaf) in leaves.iter_mut().enumerate() {
        let node = &leaf.tensor.0;
        leaf.donatable = !leaf_kept[l]
            && Arc::strong_count(node) as u32 == leaf_refs[l] + 1
            && node.buffer.get().is_some_and(|b| Arc::strong_count(&b.0) == 1);
    }
    let mut graph =
        Graph { nodes, srcs, leaves, external, keep, device, key: Vec::new(), rest: Vec::new() };
    graph.key = key(&graph);
    debug_assert!(graph.rest.is_empty());
    graph
}

/// Words that determine the plan: everything but scalar values, buffer contents, random seeds and source lines.
fn key(g: &Graph) -> Vec<u64> {
    let mut w: Vec<u64> = Vec::with_capacity(g.nodes.len() * 4 + g.leaves.len() * 3);
    w.push(g.device.0 as u64 | (g.nodes.len() as u64) << 32);
    for leaf in &g.leaves {
        let node = &leaf.tensor.0;
        w.push(
            node.dtype as u64
                | (leaf.donatable as u64) << 8
                | (leaf.constant as u64) << 9
                | (node.shape.len() as u64) << 16,
        );
        w.extend(node.shape.iter().map(|d| *d as u64));
    }
    for (i, t) in g.nodes.iter().enumerate() {
        let node = &t.0;
        let flags = g.external[i] as u64 | (g.keep[i] as u64) << 1;
        let head = w.len();
        w.push(
            (node.dtype as u64) << 8
                | flags << 16
                | (node.shape.len() as u64) << 24
                | (g.srcs[i].len() as u64) << 32,
        );
        w.extend(node.shape.iter().map(|d| *d as u64));
        w.extend(g.srcs[i].iter().map(|s| *s as u64));
        let code = op_words(&node.op, &mut w);
        w[head] |= code;
    }
    w
}

/// Appends an op's parameters and returns its code (below 256).
fn op_words(op: &Op, w: &mut Vec<u64>) -> u64 {
    match op {
        Op::Buffer => 0,
        Op::Const(_) => 1,
        Op::Iota => 2,
        Op::Random(d, ..) => 3 + *d as u64,
        Op::Alias | Op::WithGradient(_) => 6,
        Op::Where => 7,
        Op::Cast => 8,
        Op::Reshape => 9,
        Op::Permute(a) => {
            w.extend(a.iter().map(|x| *x as u64));
            10
        }
        Op::Expand => 11,
        Op::Pad(p) => {
            w.extend(p.iter().flat_map(|(a, b)| [*a as u64, *b as u64]));
            12
        }
        Op::Slice(r) => {
            w.extend(r.iter().flat_map(|(a, b)| [*a as u64, *b as u64]));
            13
        }
        Op::Unfold { dim, size, step } => {
            w.extend([*dim as u64, *size as u64, *step as u64]);
            14
        }
        Op::Take => 15,
        Op::Cat(a) => {
            w.push(*a as u64);
            16
        }
        Op::Update(r) => {
            w.extend(r.iter().flat_map(|(a, b)| [*a as u64, *b as u64]));
            17
        }
        Op::Dot => 18,
        Op::Barrier => 19,
        Op::ArgSort { axis, descending } => {
            w.extend([*axis as u64, *descending as u64]);
            20
        }
        Op::Custom(c) => {
            w.push(hash_str(c.name()));
            w.push(c.key());
            21
        }
        Op::Conv(m, p) => {
            w.push(p.groups as u64 | (p.stride.len() as u64) << 32);
            for i in 0..p.stride.len() {
                w.extend([p.stride[i] as u64, p.padding[i] as u64, p.dilation[i] as u64]);
            }
            22 + *m as u64
        }
        Op::Attention(p) => {
            w.extend(p.words());
            60
        }
        Op::AttentionGrad(p) => {
            w.extend(p.words());
            61
        }
        Op::Window(o, p) => {
            w.extend(p.words());
            56 + *o as u64
        }
        Op::Scatter(s) => 26 + *s as u64,
        Op::Scan(s, a) => {
            w.push(*a as u64);
            32 + *s as u64
        }
        Op::Reduce(r, axes) => {
            w.push(axes.iter().fold(axes.len() as u64, |h, a| h << 8 | *a as u64));
            40 + *r as u64
        }
        Op::Unary(u) => 64 + *u as u64,
        Op::Binary(b) => 128 + *b as u64,
    }
}

pub(super) fn hash_str(s: &str) -> u64 {
    s.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ b as u64).wrapping_mul(0x100_0000_01b3))
}
