//! Thread-local working memory for packed panels, kept between calls.
use crate::dev::cpu::memory::use_huge_pages;
use std::cell::RefCell;

/// One cache line of floats.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; 16]);

thread_local! {
    static SPARE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Aligned floats lent by this thread until dropped. Their contents are whatever was left there.
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    /// Borrows at least `floats` floats, aligned to 64 bytes.
    pub fn take(floats: usize) -> Self {
        let lines = floats.div_ceil(16);
        // The smallest that is large enough, so that a kernel that runs again finds the buffers it had and none grows.
        let mut buffer = SPARE.with_borrow_mut(|spare| {
            let fitting = (0..spare.len()).filter(|at| spare[*at].len() >= lines);
            let best = fitting.min_by_key(|at| spare[*at].len());
            let grown = || (0..spare.len()).max_by_key(|at| spare[*at].len());
            best.or_else(grown).map(|at| spare.swap_remove(at)).unwrap_or_default()
        });
        if buffer.len() < lines {
            buffer = Vec::with_capacity(lines);
            use_huge_pages(buffer.as_mut_ptr().cast(), lines * size_of::<Line>());
            buffer.resize(lines, Line([0.0; 16]));
        }
        Self(buffer)
    }

    /// The first float.
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    /// The first float, to read.
    pub fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    /// The floats.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: `Line` is sixteen floats without padding.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.0.len() * 16) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // During thread exit the spare list may be gone; then the buffer is simply freed.
        let _ = SPARE.try_with(|spare| {
            if let Ok(mut spare) = spare.try_borrow_mut() {
                spare.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_reused_and_distinct() {
        let mut first = Scratch::take(100);
        let mut second = Scratch::take(10);
        assert_eq!(first.as_mut_ptr() as usize % 64, 0);
        assert_ne!(first.as_mut_ptr(), second.as_mut_ptr());
        assert!(first.as_mut_slice().len() >= 100);
        drop(second);
        let start = first.as_mut_ptr();
        drop(first);
        assert_eq!(Scratch::take(50).as_mut_ptr(), start);
    }
}
