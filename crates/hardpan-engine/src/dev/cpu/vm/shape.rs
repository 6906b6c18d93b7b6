//! What a program looks like before it is lowered: merged dimensions, what values depend on, the block layout.
use super::{Extent, Layout};
use crate::dev::cpu::lanes::fold;
use crate::dtype::DType;
use crate::kernel::{Affine, Fused, Guard, Instr, Level, Load, Source};
use smallvec::SmallVec;

/// The same program with neighbouring dimensions merged where every address agrees, and without those of size 1 (one kept
/// dimension always stays).
pub fn merge_dims(fused: &Fused) -> Fused {
    let mut out = fused.clone();
    if fused.dims.contains(&0) {
        return out;
    }
    let mut all: Vec<&mut Affine> = Vec::new();
    for load in &mut out.loads {
        all.push(&mut load.at);
        all.extend(load.guards.iter_mut().map(|g| &mut g.at));
    }
    for value in &mut out.values {
        match &mut value.instr {
            Instr::Index(at) | Instr::Random { at, .. } => all.push(at),
            Instr::Inside(guards) => all.extend(guards.iter_mut().map(|g| &mut g.at)),
            _ => {}
        }
    }
    all.extend(out.stores.iter_mut().map(|s| &mut s.at));
    let mut dims = fused.dims.clone();
    let mut kept = fused.kept;
    let mut d = dims.len();
    while d > 0 {
        d -= 1;
        if dims[d] == 1 {
            dims.remove(d);
            for a in &mut all {
                a.coef.remove(d);
            }
            kept -= (d < kept) as usize;
            continue;
        }
        // With the next one, unless that begins the reduced dimensions.
        if d + 1 < dims.len()
            && d + 1 != kept
            && all.iter().all(|a| a.coef[d] == a.coef[d + 1] * dims[d + 1] as isize)
        {
            dims[d] *= dims.remove(d + 1);
            for a in &mut all {
                a.coef.remove(d);
            }
            kept -= (d + 1 < kept) as usize;
        }
    }
    (out.dims, out.kept) = (dims, kept);
    out
}

/// Values that reach a store. With empty rows nothing full is computed.
pub fn used_values(fused: &Fused, k: usize) -> Vec<bool> {
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
pub fn extents(fused: &Fused) -> Vec<Extent> {
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
    let k: usize = fused.dims[fused.kept..].iter().product();
    let mut out: Vec<Extent> = Vec::with_capacity(fused.values.len());
    for value in &fused.values {
        let e = match &value.instr {
            // What never changes is read once, before the launch: too early for the result of a contraction.
            Instr::Load(l) if fused.loads[*l].source == Source::Result => Extent::Full,
            Instr::Load(l) => of(&fused.loads[*l].at).max(guards(&fused.loads[*l].guards)),
            Instr::Scalar(_) => Extent::One,
            Instr::Index(a) => of(a),
            Instr::Random { at, .. } => of(at),
            Instr::Inside(g) => guards(g),
            Instr::Unary(_, a) | Instr::Cast(a) => out[*a],
            Instr::Binary(_, a, b) => out[*a].max(out[*b]),
            Instr::Where(c, a, b) => out[*c].max(out[*a]).max(out[*b]),
            // Folds of nothing are constants, and of one element that element, as in lowering.
            Instr::Reduce(..) if k == 0 => Extent::One,
            Instr::Reduce(op, _) if k == 1 && op.is_arg() => Extent::One,
            Instr::Reduce(_, a) if k == 1 => out[*a],
            Instr::Reduce(..) => Extent::Row,
        };
        out.push(e);
    }
    out
}

/// Columns when rows are short, or more of the full reads and writes are contiguous along the last kept dimension than along the last reduced one.
pub fn choose_layout(fused: &Fused, extents: &[Extent]) -> Layout {
    let last = |range: std::ops::Range<usize>| range.rev().find(|d| fused.dims[*d] != 1);
    // Columns take the very last kept dimension as the strip.
    if fused.kept == 0 || fused.dims[fused.kept - 1] < 2 {
        return Layout::Rows;
    }
    let kept = fused.kept - 1;
    let Some(reduced) = last(fused.kept..fused.dims.len()) else { return Layout::Rows };
    // A short row is too little for a vector, many of them side by side are not; and their folds go one after the other either
    // way. Turning them round pays only where more than a fold is done.
    if fused.row_len() <= fold::SHORT && fused.dims[kept] >= 16 && uses_folds(fused, extents) {
        return Layout::Cols;
    }
    let (mut by_row, mut by_col) = (0usize, 0usize);
    // Memory that does not vary along the other dimension is a single line, read again and again from the cache: no vote.
    let mut vote = |at: &Affine, size: usize| {
        if at.coef[reduced].abs() == 1 && at.coef[kept] != 0 {
            by_row += size;
        }
        if at.coef[kept].abs() == 1 && at.coef[reduced] != 0 {
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

/// True for an elementwise program some of whose operands repeat with the innermost dimension, as the channels' factors of a norm
/// do: its dimension as a row lets code read them where they lie.
pub fn repeats_by_rows(fused: &Fused) -> bool {
    let Some(last) = fused.dims.len().checked_sub(1) else { return false };
    let repeats = |l: &Load| {
        l.dtype == DType::F32
            && l.guards.is_empty()
            && l.at.coef[last] == 1
            && l.at.coef[..last].iter().all(|c| *c == 0)
    };
    last > 0
        && fused.kept == fused.dims.len()
        && (32..=4096).contains(&fused.dims[last])
        && fused.dims[..last].iter().product::<usize>() >= 8
        && !fused.has_reduce()
        && fused.loads.iter().any(repeats)
        && tile_dim(fused).is_none()
}

/// Makes the innermost dimension of an elementwise program its row.
pub fn in_rows(fused: &mut Fused) {
    fused.kept -= 1;
    fused.stores.iter_mut().for_each(|s| s.level = Level::Full);
}

/// True when a full value depends on a fold.
fn uses_folds(fused: &Fused, extents: &[Extent]) -> bool {
    let mut folded: Vec<bool> = Vec::with_capacity(fused.values.len());
    for value in &fused.values {
        folded.push(match &value.instr {
            Instr::Reduce(..) => true,
            Instr::Unary(_, a) | Instr::Cast(a) => folded[*a],
            Instr::Binary(_, a, b) => folded[*a] || folded[*b],
            Instr::Where(c, a, b) => folded[*c] || folded[*a] || folded[*b],
            _ => false,
        });
    }
    folded.iter().zip(extents).any(|(f, e)| *f && *e == Extent::Full)
}

/// The dimension that some access is contiguous along while another is contiguous along the last: a block is then a tile of
/// both, so that every line of memory that is fetched is used up.
pub fn tile_dim(fused: &Fused) -> Option<usize> {
    let last = fused.dims.len().checked_sub(1)?;
    if fused.dims[last] < 8 || fused.dims.iter().product::<usize>() < 1024 {
        return None;
    }
    let mut votes: SmallVec<[usize; 6]> = SmallVec::from_elem(0, fused.dims.len());
    let mut vote = |at: &Affine, bytes: usize| {
        if at.coef[last].abs() > 1
            && let Some(d) = (0..last).find(|d| at.coef[*d] == 1)
        {
            votes[d] += bytes;
        }
    };
    fused.loads.iter().for_each(|l| vote(&l.at, l.dtype.size()));
    fused.stores.iter().for_each(|s| vote(&s.at, s.dtype.size()));
    (0..last).filter(|d| votes[*d] > 0 && fused.dims[*d] >= 8).max_by_key(|d| votes[*d])
}
