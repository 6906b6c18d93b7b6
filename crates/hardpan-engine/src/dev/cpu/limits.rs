//! What the machine can do: the limits that a trace compares kernels with.

use super::gemm::measured_peak_gflops;
use super::pool::{parallel_for, threads};
use std::sync::Mutex;
use std::time::Instant;

/// The fastest that this machine computes and moves memory, on the threads that kernels have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads.
    pub threads: usize,
    /// Fused multiply-adds of f32 on registers alone, each counted as two.
    pub gflops: f64,
    /// Reading and writing memory far beyond the caches.
    pub gbs: f64,
}

impl Limits {
    /// Measures them: about a tenth of a second.
    pub fn measure() -> Limits {
        let threads = threads();
        let sum = Mutex::new(0.0);
        parallel_for(threads, |_| {
            let own = measured_peak_gflops();
            *sum.lock().unwrap() += own;
        });
        Limits { threads, gflops: sum.into_inner().unwrap(), gbs: bandwidth() }
    }

    /// Which limit work that took so many seconds is nearer to, and how near: 1 is as fast as can be. Above 1 the memory was a cache.
    pub fn share(&self, bytes: u64, flops: u64, seconds: f64) -> (&'static str, f64) {
        let compute = flops as f64 / seconds / 1e9 / self.gflops;
        let memory = bytes as f64 / seconds / 1e9 / self.gbs;
        if compute > memory { ("flop", compute) } else { ("mem", memory) }
    }
}

/// The best of a few copies of 64 MiB, in pieces of 1 MiB.
fn bandwidth() -> f64 {
    const PIECE: usize = 1 << 20;
    let from = vec![1u8; 64 * PIECE];
    let mut to = vec![0u8; from.len()];
    let pieces: Vec<Mutex<(&mut [u8], &[u8])>> =
        to.chunks_mut(PIECE).zip(from.chunks(PIECE)).map(Mutex::new).collect();
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let start = Instant::now();
        parallel_for(pieces.len(), |i| {
            let (to, from) = &mut *pieces[i].lock().unwrap();
            to.copy_from_slice(from);
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    2.0 * from.len() as f64 / best / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_limit_counts() {
        let limits = Limits { threads: 1, gflops: 100.0, gbs: 10.0 };
        assert_eq!(limits.share(1_000_000_000, 50_000_000_000, 1.0), ("flop", 0.5));
        assert_eq!(limits.share(5_000_000_000, 1_000_000_000, 1.0), ("mem", 0.5));
        let measured = Limits::measure();
        assert!(measured.gflops > 0.01 && measured.gbs > 0.01, "{measured:?}");
    }
}
