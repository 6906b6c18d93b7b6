//! The CPU's memory: a cache of blocks.
//!
//! A training step asks for the same sizes over and over. Blocks given back are kept, so a replayed step touches no fresh page and asks
//! the system for nothing: small ones in a list per size class (four classes per power of two), large ones as extents that merge with
//! their neighbours ([`extents`]). What is kept is bounded: a quarter more than was ever in use at once, or than 256 MiB.
//!
//! Large blocks lie on huge pages where the system has them for the asking ([`use_huge_pages`]): the first touch of fresh memory
//! is then about three times as fast, and kernels that stride through it miss the address cache less.

mod extents;

use crate::dev::DeviceError;
use extents::Extents;
use std::alloc::{Layout, alloc, dealloc};
use std::sync::Mutex;

const ALIGN: usize = 64;
/// Always kept, however little is in use.
const KEEP: usize = 256 << 20;
/// Classes start here, so that all are multiples of the alignment.
const SMALLEST: usize = 256;
/// Blocks of this size and more are extents.
const LARGE: usize = 512 << 10;

#[derive(Default)]
struct Lists {
    free: Vec<Vec<usize>>,
    large: Extents,
    /// Bytes in `free`.
    cached: usize,
    live: usize,
    peak: usize,
}

/// A caching allocator.
#[derive(Default)]
pub struct Memory {
    lists: Mutex<Lists>,
}

/// Number and size of the smallest class that holds `bytes`.
fn class(bytes: usize) -> (usize, usize) {
    let bytes = bytes.max(SMALLEST);
    // A class is `(4 + quarter) << (power - 2)`.
    let power = (bytes - 1).ilog2() as usize;
    let unit = 1usize << (power - 2);
    let quarters = (bytes - 1) / unit + 1;
    // quarters is 5..=8 here; 8 is the next power.
    let size = quarters * unit;
    (power * 4 + quarters - 5, size)
}

/// What a block of so many bytes takes.
fn size_of(bytes: usize) -> usize {
    if bytes >= LARGE { extents::rounded(bytes) } else { class(bytes).1 }
}

fn layout(size: usize) -> Option<Layout> {
    Layout::from_size_align(size, ALIGN).ok()
}

/// The size and alignment of a huge page, on the systems that have them.
pub const HUGE_PAGE: usize = 2 << 20;

/// Asks the system to back the whole huge pages inside a block of memory as such: Linux's `madvise(MADV_HUGEPAGE)`. Does nothing
/// for small blocks and on other systems; a refusal does no harm.
pub fn use_huge_pages(start: *mut u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    advise(start as usize, bytes, 14);
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

/// Gives the whole huge pages inside memory that nobody uses back to the system: Linux's `madvise(MADV_DONTNEED)`. Its contents are
/// undefined after that. Does nothing on other systems.
fn give_pages_back(start: usize, bytes: usize) {
    #[cfg(target_os = "linux")]
    advise(start, bytes, 4);
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

/// `madvise` for the whole huge pages inside.
#[cfg(target_os = "linux")]
fn advise(start: usize, bytes: usize, advice: std::ffi::c_int) {
    // The standard library links the C library.
    unsafe extern "C" {
        fn madvise(
            start: *mut std::ffi::c_void,
            len: usize,
            advice: std::ffi::c_int,
        ) -> std::ffi::c_int;
    }
    let first = start.next_multiple_of(HUGE_PAGE);
    let len = (start + bytes).saturating_sub(first) / HUGE_PAGE * HUGE_PAGE;
    if len > 0 && !cfg!(miri) {
        // SAFETY: whole pages of the caller's block, whose contents stay, or are of no use to anyone.
        unsafe { madvise(first as *mut _, len, advice) };
    }
}

impl Memory {
    /// A block of at least `bytes`, aligned to 64; contents undefined.
    pub fn alloc(&self, bytes: usize) -> Result<usize, DeviceError> {
        let out_of_memory = || DeviceError::OutOfMemory { device: "cpu".into(), bytes };
        if bytes > isize::MAX as usize / 4 {
            return Err(out_of_memory());
        }
        let size = size_of(bytes);
        let mut lists = self.lists.lock().unwrap();
        let mut block = lists.take(bytes, size);
        if block.is_none() {
            lists.trim(0);
            block = lists.take(bytes, size);
        }
        let block = block.ok_or_else(out_of_memory)?;
        lists.live += size;
        lists.peak = lists.peak.max(lists.live);
        Ok(block)
    }

    /// Gives a block of `alloc(bytes)` back.
    pub fn free(&self, block: usize, bytes: usize) {
        let size = size_of(bytes);
        let mut lists = self.lists.lock().unwrap();
        lists.live -= size;
        if bytes >= LARGE {
            lists.large.free(block, size);
        } else {
            let class = class(bytes).0;
            if lists.free.len() <= class {
                lists.free.resize_with(class + 1, Vec::new);
            }
            lists.free[class].push(block);
            lists.cached += size;
        }
        // What is in use counts too: together little more than the peak (or the fixed amount) stays. Steps of random sizes leave gaps of a
        // tenth to a third; a bound inside of that would give pages back in every step, to be touched again in the next.
        let bound = lists.peak.max(KEEP);
        if lists.held() > bound + bound / 4 {
            lists.trim(bound);
        }
    }

    /// Bytes kept for reuse.
    #[cfg(test)]
    fn cached(&self) -> usize {
        let lists = self.lists.lock().unwrap();
        lists.held() - lists.live
    }
}

impl Lists {
    /// Bytes in use or kept.
    fn held(&self) -> usize {
        self.live + self.cached + self.large.cached()
    }

    /// A block that is kept, or a new one; `None` if the system has no more.
    fn take(&mut self, bytes: usize, size: usize) -> Option<usize> {
        if bytes >= LARGE {
            return self.large.alloc(size);
        }
        if let Some(block) = self.free.get_mut(class(bytes).0).and_then(Vec::pop) {
            self.cached -= size;
            return Some(block);
        }
        // SAFETY: the size is not 0.
        let block = unsafe { alloc(layout(size)?) };
        (!block.is_null()).then_some(block as usize)
    }

    /// Returns memory that is kept to the system, largest first, until no more than `bound` bytes are held altogether.
    fn trim(&mut self, bound: usize) {
        self.large.trim(bound.saturating_sub(self.live + self.cached));
        for class in (0..self.free.len()).rev() {
            while self.cached > 0 && self.held() > bound {
                let Some(block) = self.free[class].pop() else { break };
                let size = size_of_class(class);
                self.cached -= size;
                let layout = layout(size).expect("it was allocated with this layout");
                // SAFETY: the block came from `alloc` with the layout of its class and nobody holds it any more.
                unsafe { dealloc(block as *mut u8, layout) };
            }
        }
    }
}

fn size_of_class(class: usize) -> usize {
    let (power, quarters) = (class / 4, class % 4 + 5);
    quarters << (power - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_their_sizes() {
        for bytes in (0..5000).chain([1 << 20, (1 << 20) + 1, 3 << 20, (7 << 30) + 5]) {
            let (c, size) = class(bytes);
            assert!(size >= bytes && size <= (bytes + bytes / 4).max(256), "{bytes} {size}");
            assert_eq!(size, size_of_class(c), "{bytes}");
            assert_eq!(class(size), (c, size), "{bytes}");
        }
    }

    #[test]
    fn large_blocks_hold_their_contents() {
        let memory = Memory::default();
        let bytes = (5 << 20) + 12;
        let block = memory.alloc(bytes).unwrap();
        assert_eq!(block % ALIGN, 0);
        // SAFETY: the block is ours and that large.
        let view = unsafe { std::slice::from_raw_parts_mut(block as *mut u8, bytes) };
        view.iter_mut().enumerate().for_each(|(i, v)| *v = i as u8);
        use_huge_pages(view.as_mut_ptr(), bytes);
        assert!(view.iter().enumerate().all(|(i, v)| *v == i as u8));
        memory.free(block, bytes);
    }

    #[test]
    fn blocks_are_reused_and_the_cache_is_bounded() {
        let memory = Memory::default();
        let a = memory.alloc(1000).unwrap();
        assert_eq!(a % 64, 0);
        memory.free(a, 1000);
        assert_eq!(memory.alloc(1010).unwrap(), a);
        memory.free(a, 1010);
        for _ in 0..3 {
            let blocks: Vec<usize> = (0..40).map(|_| memory.alloc(10 << 20).unwrap()).collect();
            blocks.iter().for_each(|b| memory.free(*b, 10 << 20));
            assert!(memory.cached() <= 500 << 20);
        }
        // Other sizes push the old ones out instead of piling up.
        for i in 1..40usize {
            let b = memory.alloc(i * (9 << 20)).unwrap();
            memory.free(b, i * (9 << 20));
        }
        assert!(memory.cached() <= 600 << 20, "{}", memory.cached());
        assert!(memory.alloc(usize::MAX / 2).is_err());
    }
}
