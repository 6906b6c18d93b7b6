//! Large blocks, cut from regions of address space.
//!
//! The intermediates of a step have many sizes. A list for each size would hold the largest number of blocks that were ever in use at
//! once of every size by itself, much more than was ever in use at once. Here a block is cut from the smallest free extent that holds
//! it, and merges with free neighbours when it comes back, so that all sizes share the pages that were touched before. Fresh pages are
//! the last resort: the system fills them with zeros, which costs several passes over memory.

use super::{HUGE_PAGE, give_pages_back, use_huge_pages};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, BTreeSet};

/// Sizes are multiples of this.
const UNIT: usize = 64 << 10;
/// Address space asked for at once. It takes memory only where it is touched, on the systems that count so.
const REGION: usize = if cfg!(all(unix, not(miri))) { 1 << 30 } else { 64 << 20 };

/// What is known of the pages of a free extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pages {
    /// Were in use: the next use costs nothing.
    Warm,
    /// Never were, or were given back to the system.
    Cold,
}

#[derive(Clone, Copy, Debug)]
struct Free {
    len: usize,
    pages: Pages,
}

struct Region {
    start: usize,
    layout: Layout,
}

/// The free part of the regions.
#[derive(Default)]
pub(super) struct Extents {
    regions: Vec<Region>,
    by_start: BTreeMap<usize, Free>,
    /// `(length, start)`
    warm: BTreeSet<(usize, usize)>,
    cold: BTreeSet<(usize, usize)>,
    /// Bytes of free warm extents.
    cached: usize,
}

/// What a block of so many bytes takes.
pub(super) fn rounded(bytes: usize) -> usize {
    bytes.next_multiple_of(UNIT)
}

impl Extents {
    /// Bytes that are kept for reuse.
    pub(super) fn cached(&self) -> usize {
        self.cached
    }

    /// The start of a block of `size` bytes (a multiple of the unit); `None` if the system has no more.
    pub(super) fn alloc(&mut self, size: usize) -> Option<usize> {
        if let Some(&(_, start)) = self.warm.range((size, 0)..).next() {
            return Some(self.cut(start, size));
        }
        // A warm one that is too small, and what lies cold behind it; then the smallest cold one.
        if let Some(start) = self.prolong(size) {
            return Some(start);
        }
        if let Some(&(_, start)) = self.cold.range((size, 0)..).next() {
            return Some(self.cut(start, size));
        }
        self.grow(size)?;
        let &(_, start) = self.cold.range((size, 0)..).next()?;
        Some(self.cut(start, size))
    }

    /// Takes a block back.
    pub(super) fn free(&mut self, start: usize, size: usize) {
        self.put(start, Free { len: size, pages: Pages::Warm });
    }

    /// Gives pages of free extents back to the system, the largest first, until at most `keep` bytes are cached.
    pub(super) fn trim(&mut self, keep: usize) {
        while self.cached > keep {
            let Some(&(len, start)) = self.warm.last() else { break };
            self.take(start);
            give_pages_back(start, len);
            self.put(start, Free { len, pages: Pages::Cold });
        }
    }

    /// A block of a warm extent and part of the cold one behind it: the largest warm one for which both together hold `size`.
    fn prolong(&mut self, size: usize) -> Option<usize> {
        let (start, middle, end) = self.warm.iter().rev().find_map(|&(len, start)| {
            let next = self.by_start.get(&(start + len))?;
            (len + next.len >= size).then_some((start, start + len, start + len + next.len))
        })?;
        self.take(start);
        self.take(middle);
        if end > start + size {
            let rest = Free { len: end - start - size, pages: Pages::Cold };
            self.insert(start + size, rest);
        }
        Some(start)
    }

    /// Takes the first `size` bytes of a free extent; the rest stays free.
    fn cut(&mut self, start: usize, size: usize) -> usize {
        let free = self.take(start);
        if free.len > size {
            self.insert(start + size, Free { len: free.len - size, ..free });
        }
        start
    }

    /// Frees an extent and merges it with neighbours whose pages are alike.
    fn put(&mut self, mut start: usize, mut free: Free) {
        let next = start + free.len;
        if self.by_start.get(&next).is_some_and(|f| f.pages == free.pages) {
            free.len += self.take(next).len;
        }
        let before = self.by_start.range(..start).next_back();
        if let Some((&s, &f)) = before
            && s + f.len == start
            && f.pages == free.pages
        {
            self.take(s);
            start = s;
            free.len += f.len;
        }
        self.insert(start, free);
    }

    fn insert(&mut self, start: usize, free: Free) {
        self.by_start.insert(start, free);
        match free.pages {
            Pages::Warm => {
                self.cached += free.len;
                self.warm.insert((free.len, start));
            }
            Pages::Cold => {
                self.cold.insert((free.len, start));
            }
        }
    }

    fn take(&mut self, start: usize) -> Free {
        let free = self.by_start.remove(&start).expect("a free extent begins here");
        match free.pages {
            Pages::Warm => {
                self.cached -= free.len;
                self.warm.remove(&(free.len, start));
            }
            Pages::Cold => {
                self.cold.remove(&(free.len, start));
            }
        }
        free
    }

    /// Another region, of `size` bytes at least.
    fn grow(&mut self, size: usize) -> Option<()> {
        let exact = size.next_multiple_of(HUGE_PAGE);
        let region = |len: usize| {
            // A unit more that is never handed out, so that extents of two regions are never neighbours.
            let layout = Layout::from_size_align(len + UNIT, HUGE_PAGE).ok()?;
            // SAFETY: the size is not 0.
            let start = unsafe { alloc(layout) };
            (!start.is_null()).then_some((Region { start: start as usize, layout }, len))
        };
        let (region, len) = region(exact.max(REGION)).or_else(|| region(exact))?;
        use_huge_pages(region.start as *mut u8, len);
        self.put(region.start, Free { len, pages: Pages::Cold });
        self.regions.push(region);
        Some(())
    }
}

impl Drop for Extents {
    fn drop(&mut self) {
        for r in &self.regions {
            // SAFETY: the region came from `alloc` with this layout; with the allocator gone nobody holds a block of it.
            unsafe { dealloc(r.start as *mut u8, r.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    /// Free extents and `blocks` tile the regions without a gap or an overlap, and no two neighbours could be one.
    fn check(e: &Extents, blocks: &[(usize, usize)]) {
        let mut parts: Vec<(usize, usize, Option<Pages>)> =
            e.by_start.iter().map(|(s, f)| (*s, f.len, Some(f.pages))).collect();
        parts.extend(blocks.iter().map(|&(s, len)| (s, len, None)));
        parts.sort_by_key(|p| p.0);
        let mut regions: Vec<(usize, usize)> =
            e.regions.iter().map(|r| (r.start, r.start + r.layout.size() - UNIT)).collect();
        regions.sort_unstable();
        let mut at = parts.iter().peekable();
        for (start, end) in regions {
            let (mut place, mut last) = (start, None);
            while place < end {
                let (s, len, pages) = at.next().expect("all of the region is known");
                assert_eq!(*s, place);
                assert!(pages.is_none() || *pages != last, "neighbours are merged");
                (place, last) = (s + len, *pages);
            }
            assert_eq!(place, end);
        }
        assert!(at.next().is_none());
        let warm: usize =
            e.by_start.values().filter(|f| f.pages == Pages::Warm).map(|f| f.len).sum();
        assert_eq!((e.cached, e.warm.len() + e.cold.len()), (warm, e.by_start.len()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]
        #[test]
        fn extents_tile_the_regions(steps in prop::collection::vec((0usize..4, 1usize..200, any::<prop::sample::Index>()), 1..120)) {
            let mut e = Extents::default();
            let mut blocks: Vec<(usize, usize)> = Vec::new();
            for (what, units, which) in steps {
                match what {
                    0 | 1 => {
                        let size = units * UNIT;
                        blocks.push((e.alloc(size).unwrap(), size));
                    }
                    2 if !blocks.is_empty() => {
                        let (start, size) = blocks.swap_remove(which.index(blocks.len()));
                        e.free(start, size);
                    }
                    _ => e.trim(units * UNIT),
                }
                check(&e, &blocks);
            }
        }
    }

    /// The blocks of a step, again and again in the same order: soon nothing cold is touched any more, and little more than the most
    /// that was ever in use at once is kept.
    #[test]
    fn a_replayed_step_touches_no_fresh_page() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let step = prop::collection::vec((1usize..160, 0usize..12), 60);
        for _ in 0..if cfg!(miri) { 1 } else { 40 } {
            // Sizes, and how many blocks later each is given back.
            let step = step.new_tree(&mut runner).unwrap().current();
            let mut e = Extents::default();
            let cold = |e: &Extents| e.cold.iter().map(|c| c.0).sum::<usize>();
            let (mut peak, mut left) = (0, Vec::new());
            for _ in 0..20 {
                let mut live: Vec<(usize, usize, usize)> = Vec::new();
                for (at, &(units, life)) in step.iter().enumerate() {
                    live.push((e.alloc(units * UNIT).unwrap(), units * UNIT, at + life));
                    peak = peak.max(live.iter().map(|b| b.1).sum());
                    for (start, size, _) in live.extract_if(.., |b| b.2 <= at) {
                        e.free(start, size);
                    }
                }
                live.into_iter().for_each(|(start, size, _)| e.free(start, size));
                left.push(cold(&e));
            }
            assert_eq!(left[9], left[19], "{step:?}");
            let share = e.cached() as f64 / peak as f64;
            assert!(share <= 1.4, "{share} {step:?}");
        }
    }

    #[test]
    fn all_sizes_share_what_was_touched() {
        let mut e = Extents::default();
        // Sizes that come one after the other, each once: no more than the largest is ever warm.
        for round in 0..3 {
            for units in [40, 10, 75, 30, 64, 80] {
                let start = e.alloc(units * UNIT).unwrap();
                e.free(start, units * UNIT);
            }
            assert_eq!(e.cached(), 80 * UNIT, "round {round}");
        }
        e.trim(0);
        assert_eq!(e.cached(), 0);
        assert!(e.alloc(usize::MAX / 4 / UNIT * UNIT).is_none());
    }
}
