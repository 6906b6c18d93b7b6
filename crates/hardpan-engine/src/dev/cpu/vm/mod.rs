//! The block interpreter: runs a fused program a block of elements at a time.
//!
//! [`lower`] turns a [`Fused`](crate::kernel::Fused) into a [`Program`]: dimensions merged, each value given a register (a
//! short array that stays in the first-level cache), each step its vector loop. [`exec`] spreads the blocks over
//! threads in fixed ranges, and a `machine` per thread runs the steps. A step costs one pass over a register, a few nanoseconds of dispatch per block.
//!
//! Blocks come in four layouts. *Flat*: no reductions, a range of all positions. *Tiles*: the same where some memory is
//! contiguous along another dimension than the last, as in a transpose. *Rows*: whole rows one after the other, or,
//! when no full value needs a finished reduction, chunks of one row. *Columns*, where memory is contiguous along the last kept
//! dimension instead of the last reduced one: a strip of neighbouring rows, reduced index outermost.
pub mod exec;
mod folds;
pub mod lower;
mod machine;
mod registers;
mod shape;
#[cfg(test)]
pub mod tests;
pub mod walk;

use super::jit::{self, Task, arrange::Phase};
use super::lanes::convert::Cast;
use super::lanes::fold::{ArgFold, Fold};
use super::lanes::ops::Forms2;
use super::lanes::random::Drawing;
use super::lanes::{F1, F3};
use crate::dtype::DType;
use crate::kernel::Source;
use crate::op::{BinaryOp, UnaryOp};
use smallvec::SmallVec;
use walk::Walk;

/// How a block enumerates positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// All dimensions in order; no reductions.
    Flat,
    /// Whole rows, or chunks of a row.
    Rows,
    /// Strips of `c` neighbouring rows, reduced index outermost.
    Cols,
    /// Tiles of two dimensions; no reductions.
    Tiles,
}

/// How much of a block's index a value depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Extent {
    /// Computed once per launch.
    One,
    /// One element per row of the block.
    Row,
    /// One element per position.
    Full,
}

/// A value: an index into [`Program::values`].
pub type Val = usize;

/// Where a value lives.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// Bytes of a lane element.
    pub size: usize,
    /// Its extent.
    pub extent: Extent,
    /// Byte offset in the workspace (in the launch's uniform area for [`Extent::One`]).
    pub place: usize,
}

/// An address: for columns also the version for strips that span the whole dimension.
pub struct Access {
    /// The general walk.
    pub walk: Walk,
    /// Dimensions merged across the strip.
    pub whole: Option<Walk>,
}

/// A function of one operand.
#[derive(Clone, Copy)]
pub enum Fn1 {
    /// A vector loop.
    Fast(F1),
    /// Element by element.
    Slow(UnaryOp, DType),
    /// A plain copy.
    Copy,
}

/// A function of two operands.
#[derive(Clone, Copy)]
pub enum Fn2 {
    /// Vector loops.
    Fast(Forms2),
    /// Element by element.
    Slow(BinaryOp, DType),
}

/// A load whose elements repeat within a block.
pub enum Repeats {
    /// All rows read the same contiguous elements, at this offset (rows layout).
    Row(isize),
    /// All columns read the same element, and these are contiguous along the reduced index: its addresses (columns layout).
    Element(Box<Walk>),
}

/// What a step does.
pub enum Action {
    /// A scalar argument.
    Scalar {
        /// Number of the argument.
        arg: usize,
        /// Converted to this.
        dtype: DType,
    },
    /// Constant bits.
    Const(u64),
    /// Reads memory.
    Load {
        /// From where.
        source: Source,
        /// Storage type.
        dtype: DType,
        /// Storage to lane.
        convert: Option<F1>,
        /// When not 0: the values at a position depend on it modulo this only.
        period: usize,
        /// Contiguous blocks may be read where they are.
        in_place: bool,
        /// What generated code may read where it lies instead of a copy for every position.
        repeats: Option<Repeats>,
        /// Addresses.
        access: Access,
    },
    /// The position, i64; with a period as for loads.
    Index(Access, usize),
    /// Whether all guards hold, 0 or 1.
    Inside(Access),
    /// Random numbers.
    Random {
        /// How to draw.
        draw: Drawing,
        /// Argument number.
        seed: usize,
        /// Argument number.
        offset: usize,
        /// Element numbers.
        access: Access,
    },
    /// One operand; then, maybe, narrowing in place.
    Map1(Fn1, Val, Option<F1>),
    /// Two operands; then, maybe, narrowing in place.
    Map2(Fn2, Val, Val, Option<F1>),
    /// `c ? a : b`: forms vv, vs, sv, ss.
    Select([F3; 4], Val, Val, Val),
    /// Repeats a value of lower extent.
    Expand(Val),
    /// Folds a full value; the number of its accumulator.
    Fold(Fold, Val, usize),
    /// The same for an index.
    ArgFold(ArgFold, Val, usize),
}

/// A step and the value it writes.
pub struct Step {
    /// What it does.
    pub action: Action,
    /// The same in words that generated code understands.
    pub task: Task,
    /// What it writes.
    pub out: Val,
}

impl Step {
    /// The values it reads.
    pub fn operands(&self) -> SmallVec<[Val; 3]> {
        match &self.action {
            Action::Map1(_, a, _) | Action::Expand(a) => SmallVec::from_slice(&[*a]),
            Action::Fold(_, a, _) | Action::ArgFold(_, a, _) => SmallVec::from_slice(&[*a]),
            Action::Map2(_, a, b, _) => SmallVec::from_slice(&[*a, *b]),
            Action::Select(_, c, a, b) => SmallVec::from_slice(&[*c, *a, *b]),
            _ => SmallVec::new(),
        }
    }
}

/// One write.
pub struct StoreStep {
    /// Output buffer.
    pub output: usize,
    /// Storage type.
    pub dtype: DType,
    /// Lane to storage.
    pub convert: Option<F1>,
    /// What.
    pub value: Val,
    /// Addresses.
    pub access: Access,
    /// The value may be computed straight into the output where the block is contiguous there and none of these sources is
    /// the same memory.
    pub direct: Option<SmallVec<[Source; 4]>>,
}

/// A fused program ready to run.
pub struct Program {
    /// Block layout.
    pub layout: Layout,
    /// Full values may depend on reductions: blocks hold whole rows and steps run in order. Always so when flat.
    pub straight: bool,
    /// Number of rows (positions when flat).
    pub rows: usize,
    /// Elements of a row (1 when flat).
    pub k: usize,
    /// Columns: size of the last kept dimension. Tiles: of the inner dimension.
    pub cols: usize,
    /// Tiles: size of the outer dimension.
    pub tile_rows: usize,
    /// The kept dimensions that a block does not span.
    pub outer: SmallVec<[usize; 4]>,
    /// Positions of a block (rows: of a chunk), or rows of a strip's chunk or of a tile.
    pub block: usize,
    /// Rows in a block (width of a strip or a tile).
    pub block_rows: usize,
    /// All values.
    pub values: Vec<Value>,
    /// Steps run once per launch.
    pub once: Vec<Step>,
    /// Straight: all steps. Else: row values needed before the reductions.
    pub before: Vec<Step>,
    /// Not straight: full values and reductions, per chunk.
    pub chunk: Vec<Step>,
    /// Not straight: row values after the reductions.
    pub after: Vec<Step>,
    /// The steps `before` (straight) or `chunk` in runs that one machine takes over.
    pub phases: Vec<Phase>,
    /// Generated code for some of the phases.
    pub code: jit::Lazy,
    /// Writes of full values.
    pub full_stores: Vec<StoreStep>,
    /// Writes of row values.
    pub row_stores: Vec<StoreStep>,
    /// Number of accumulators.
    pub folds: usize,
    /// Workspace: bytes, and where the accumulators start and how far apart they are.
    pub workspace: usize,
    /// Offset of room for a block of eight-byte elements.
    pub spare_at: usize,
    /// Offset of the accumulators.
    pub fold_at: usize,
    /// Bytes of one accumulator.
    pub fold_bytes: usize,
    /// Bytes of the uniform values.
    pub uniform_bytes: usize,
    /// Rough cost per position in units of one simple vector pass.
    pub cost: usize,
}

impl From<Cast> for Option<(Fn1, Option<F1>)> {
    /// `None` when nothing changes.
    fn from(cast: Cast) -> Self {
        match (cast.first, cast.then) {
            (None, None) => None,
            (Some(f), then) => Some((Fn1::Fast(f), then)),
            (None, Some(then)) => Some((Fn1::Fast(then), None)),
        }
    }
}
