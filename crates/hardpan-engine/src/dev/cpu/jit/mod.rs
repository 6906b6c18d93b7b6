//! Machine code for fused programs, made while the program runs.
//!
//! The interpreter in [`vm`](super::vm) passes over a block of elements once for every step. Here the steps that have simple
//! instructions become one loop that keeps everything in registers: [`arrange`] decides which steps share a loop, [`loops`]
//! generates the loops, [`functions`] the instructions of each operation, and [`encode`] turns those into bytes, for AVX-512 or
//! for AVX2, as the program was lowered. What reads scattered memory, converts storage types, draws random numbers or uses rarer operations stays with the interpreter, block by
//! block, before or after the generated part.
//!
//! The interpreter is the definition: generated code gives the same bits (a test compares random programs), and it takes over
//! wherever code cannot be had: on other processors, when a program needs too many registers, or with `HARDPAN_JIT=0`.
//!
//! Code is made at a program's second launch, or at once for large ones: a few microseconds, most of them the system's for a page
//! of memory. The page is writable first and executable after, never both.

// Elsewhere nothing is generated, and what only code needs is idle.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

pub mod arrange;
#[cfg(target_arch = "x86_64")]
mod encode;
#[cfg(target_arch = "x86_64")]
mod functions;
#[cfg(target_arch = "x86_64")]
mod loops;
#[cfg(target_arch = "x86_64")]
mod registers;
mod task;
#[cfg(test)]
mod tests;

pub use task::Task;

use super::isa::Isa;
#[cfg(target_arch = "x86_64")]
use super::vm::{Action, Extent, Layout, Repeats, Step};
use super::vm::{Program, Val};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The table of addresses by value, the workspace, the uniform values, positions (width of the strip), rows (reduced index), first
/// row. What must be valid is what the interpreter's machine keeps: see `vm::machine`.
#[cfg(target_arch = "x86_64")]
pub type Entry = unsafe extern "sysv64" fn(*const *mut u8, *mut u8, *const u8, usize, usize, usize);

/// Executable functions, by phase.
pub struct Code {
    memory: memmap2::Mmap,
    starts: Vec<Option<usize>>,
    /// The same for outputs that are written past the caches, see [`Code::can_stream`].
    streaming: Vec<Option<usize>>,
    /// By value: see [`Code::reads_repeated`].
    repeated: Vec<bool>,
}

impl Code {
    /// True when the outputs are so large that nobody will find them in a cache: writing past it spares reading them first. They
    /// must not be the memory of an input, and start at multiples of 64 bytes.
    pub fn can_stream(&self) -> bool {
        self.streaming.iter().any(Option::is_some)
    }

    /// True for a load with [`Repeats`](super::vm::Repeats) that is read where it lies: the table holds the address of the row, or
    /// of the element of the block's first row.
    pub fn reads_repeated(&self, v: Val) -> bool {
        self.repeated[v]
    }

    /// The function of a phase, if it has one.
    #[cfg(target_arch = "x86_64")]
    pub fn entry(&self, phase: usize, stream: bool) -> Option<Entry> {
        let start = match self.streaming[phase] {
            Some(start) if stream => start,
            _ => self.starts[phase]?,
        };
        // SAFETY: a function of that signature was written there, and the memory is executable and stays while `self` lives.
        Some(unsafe { std::mem::transmute::<*const u8, Entry>(self.memory.as_ptr().add(start)) })
    }
}

/// When code is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Never.
    Off,
    /// From the second launch on, or at once for large programs.
    Auto,
    /// From the first launch on.
    #[cfg(test)]
    Always,
    /// The same, and outputs of any size are written past the caches.
    #[cfg(test)]
    Streaming,
}

thread_local! {
    static CHOSEN: Cell<Option<Use>> = const { Cell::new(None) };
}

/// Runs `f` with another choice on this thread (tests compare both).
#[cfg(test)]
pub fn with_use<R>(choice: Use, f: impl FnOnce() -> R) -> R {
    let before = CHOSEN.replace(Some(choice));
    let out = f();
    CHOSEN.set(before);
    out
}

fn choice() -> Use {
    static ENVIRONMENT: OnceLock<Use> = OnceLock::new();
    CHOSEN.get().unwrap_or_else(|| {
        *ENVIRONMENT.get_or_init(|| match std::env::var("HARDPAN_JIT").as_deref() {
            Ok("0") => Use::Off,
            _ => Use::Auto,
        })
    })
}

/// Whether this process generates code at all.
pub fn is_on() -> bool {
    cfg!(target_arch = "x86_64") && choice() != Use::Off
}

/// Whether there is code for the instruction set.
pub fn knows(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return encode::Width::of(isa).is_some();
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        false
    }
}

/// The code of a program, made when it pays.
pub struct Lazy {
    isa: Isa,
    launches: AtomicU32,
    code: OnceLock<Option<Code>>,
}

/// Programs of this many positions are compiled at once.
const LARGE: usize = 1 << 16;
/// Outputs of this many positions are written past the caches: with its inputs such a program is larger than a usual share of the last
/// one (softmax of 4096 rows of 1024 is 1.2 times as fast that way, layer norm 1.6 times, both with their gradients 1.3 times).
const STREAM: usize = 2 << 20;

impl Lazy {
    /// No code yet, later some for this instruction set.
    pub fn new(isa: Isa) -> Lazy {
        Lazy { isa, launches: AtomicU32::new(0), code: OnceLock::new() }
    }

    /// The code of the program that this belongs to, to be called once a launch.
    pub fn get(&self, program: &Program) -> Option<&Code> {
        if !program.phases.iter().any(|p| p.passes.is_some()) {
            return None;
        }
        match choice() {
            Use::Off => return None,
            Use::Auto
                if self.code.get().is_none()
                    && program.rows * program.k < LARGE
                    && self.launches.fetch_add(1, Relaxed) == 0 =>
            {
                return None;
            }
            _ => {}
        }
        self.code.get_or_init(|| compile(program, self.isa)).as_ref()
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn compile(_: &Program, _: Isa) -> Option<Code> {
    None
}

#[cfg(target_arch = "x86_64")]
fn compile(p: &Program, isa: Isa) -> Option<Code> {
    let width = encode::Width::of(isa)?;
    let mut repeated = repeated(p);
    let mut functions = generate_phases(p, width, &repeated);
    if functions.incomplete && repeated.contains(&true) {
        // The interpreter, which takes over the rest, wants a copy for every position.
        repeated.fill(false);
        functions = generate_phases(p, width, &repeated);
    }
    let Functions { bytes, starts, streaming, .. } = functions;
    if bytes.is_empty() {
        return None;
    }
    let mut memory = memmap2::MmapMut::map_anon(bytes.len()).ok()?;
    memory[..bytes.len()].copy_from_slice(&bytes);
    // A system that forbids this keeps the interpreter.
    let memory = memory.make_exec().ok()?;
    Some(Code { memory, starts, streaming, repeated })
}

/// The steps over full values: those that phases are made of.
#[cfg(target_arch = "x86_64")]
fn full_steps(p: &Program) -> &[Step] {
    if p.straight { &p.before } else { &p.chunk }
}

/// By value: a load with repeating elements that only generated code reads.
#[cfg(target_arch = "x86_64")]
fn repeated(p: &Program) -> Vec<bool> {
    let mut out = vec![false; p.values.len()];
    let steps = full_steps(p);
    let interpreted = p.phases.iter().filter(|p| p.passes.is_none());
    let others: Vec<Val> =
        interpreted.flat_map(|p| &steps[p.steps.clone()]).flat_map(Step::operands).collect();
    for s in steps {
        let repeats = match &s.action {
            Action::Load { repeats: Some(Repeats::Row(_)), .. } => p.straight,
            Action::Load { repeats, .. } => repeats.is_some(),
            _ => false,
        };
        out[s.out] = repeats && !others.contains(&s.out);
    }
    out
}

/// Machine code of all phases.
#[cfg(target_arch = "x86_64")]
struct Functions {
    bytes: Vec<u8>,
    /// By phase, as in [`Code`].
    starts: Vec<Option<usize>>,
    streaming: Vec<Option<usize>>,
    /// A phase needs more registers than there are.
    incomplete: bool,
}

#[cfg(target_arch = "x86_64")]
fn generate_phases(p: &Program, width: encode::Width, repeated: &[bool]) -> Functions {
    use loops::{Job, Nest, generate};
    let nest = match (p.layout, p.straight) {
        (Layout::Flat | Layout::Tiles, _) | (Layout::Rows, false) => Nest::Line,
        (Layout::Rows, true) => Nest::Rows { k: p.k },
        (Layout::Cols, straight) => Nest::Columns { whole: straight },
    };
    let steps = full_steps(p);
    let mut in_table = vec![false; p.values.len()];
    for s in steps.iter().chain(&p.before) {
        in_table[s.out] |= matches!(s.action, Action::Load { .. });
    }
    for s in p.full_stores.iter().filter(|s| s.direct.is_some()) {
        in_table[s.value] = true;
    }
    let stored = || p.full_stores.iter().chain(&p.row_stores).map(|s| s.value);
    let mut bytes: Vec<u8> = Vec::new();
    let mut incomplete = false;
    let mut starts = vec![None; p.phases.len()];
    let mut streaming = starts.clone();
    let aligned = match p.layout {
        Layout::Flat => true,
        Layout::Rows => p.straight && p.k.is_multiple_of(16),
        _ => false,
    };
    #[cfg(test)]
    let smallest = if choice() == Use::Streaming { 0 } else { STREAM };
    #[cfg(not(test))]
    let smallest = STREAM;
    let large = aligned && p.rows * p.k >= smallest;
    for (number, phase) in p.phases.iter().enumerate() {
        let Some(passes) = &phase.passes else { continue };
        // What later phases, other passes and stores read goes to memory.
        let mut kept = vec![false; p.values.len()];
        stored().for_each(|v| kept[v] = true);
        let inside = &steps[phase.steps.clone()];
        for (i, s) in steps.iter().enumerate() {
            if !phase.steps.contains(&i) {
                s.operands().iter().for_each(|a| kept[*a] = true);
            }
        }
        // What is read again should stay in the cache.
        let mut stream = vec![false; p.values.len()];
        for s in p.full_stores.iter().filter(|s| s.direct.is_some()) {
            let again = |t: &Step| t.operands().contains(&s.value);
            stream[s.value] =
                !steps.iter().enumerate().any(|(i, t)| again(t) && !phase.steps.contains(&i));
        }
        for (s, pass) in inside.iter().zip(passes) {
            for a in s.operands() {
                let maker = inside.iter().position(|m| m.out == a);
                let full = p.values[a].extent == Extent::Full;
                if full && maker.is_some_and(|m| passes[m] != *pass) {
                    kept[a] = true;
                    stream[a] = false;
                }
            }
        }
        let mut job = Job {
            width,
            nest,
            values: &p.values,
            steps: inside,
            passes,
            kept: &kept,
            in_table: &in_table,
            folds: (p.fold_at, p.fold_bytes),
            stream: &[],
            repeated,
        };
        for (past_caches, list) in [(false, &mut starts), (true, &mut streaming)] {
            if past_caches {
                job.stream = &stream;
            }
            if past_caches && !large {
                continue;
            }
            match generate(&job) {
                Ok(code) => {
                    bytes.resize(bytes.len().next_multiple_of(64), 0);
                    list[number] = Some(bytes.len());
                    bytes.extend(code);
                }
                Err(loops::Full) => incomplete = true,
            }
        }
    }
    Functions { bytes, starts, streaming, incomplete }
}
