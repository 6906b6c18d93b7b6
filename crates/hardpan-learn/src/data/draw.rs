//! [`Draw`]: the random numbers of one item in one epoch.

use super::permutation;
use hardpan_engine::philox::philox4x32;
use hardpan_engine::random_words;

/// Random numbers that depend on a seed, an epoch, an item and how many were drawn, and on nothing else: so random transforms
/// give the same batches for any number of loader workers.
///
/// ```
/// use hardpan_learn::data::Draw;
/// let mut a = Draw::new(42, 0, 7);
/// let mut b = Draw::new(42, 0, 7);
/// assert_eq!(a.uniform(), b.uniform());
/// assert_ne!(a.uniform(), Draw::new(42, 1, 7).uniform());
/// ```
#[derive(Clone, Debug)]
pub struct Draw {
    key: [u32; 2],
    epoch: u32,
    item: u32,
    next: u32,
    valid: bool,
}

impl Draw {
    /// For an item of the training data.
    pub fn new(seed: u64, epoch: usize, item: usize) -> Draw {
        let key = [seed as u32, (seed >> 32) as u32];
        Draw { key, epoch: epoch as u32, item: item as u32, next: 0, valid: false }
    }

    /// For validation: [`is_valid`](Draw::is_valid) holds, and transforms leave out what is random.
    #[must_use]
    pub fn validation(mut self) -> Draw {
        self.valid = true;
        self
    }

    /// Whether the item is to be judged by, not to be learned from.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let block = philox4x32([self.next, self.item, self.epoch, 2], self.key);
        self.next += 1;
        u64::from(block[0]) << 32 | u64::from(block[1])
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// One of `0..n`.
    ///
    /// # Panics
    /// If `n` is 0.
    #[track_caller]
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "Draw::below: there is nothing below 0");
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// True in every second epoch; in the odd or in the even ones is drawn for each item, and for each call on an item's way.
    ///
    /// ```
    /// use hardpan_learn::data::Draw;
    /// let turn = |epoch, item| Draw::new(42, epoch, item).in_turns();
    /// for item in 0..10 {
    ///     assert_ne!(turn(0, item), turn(1, item));
    ///     assert_eq!(turn(0, item), turn(2, item));
    /// }
    /// ```
    pub fn in_turns(&mut self) -> bool {
        let block = philox4x32([self.next, self.item, 0, 3], self.key);
        self.next += 1;
        (block[0] ^ self.epoch) & 1 == 1
    }

    /// One that goes its own way from the present place of the process's random generator, which moves on: for what belongs to a training
    /// rather than to an item. `manual_seed` and [`resume`](crate::learner::Learner::resume) decide about it.
    pub(crate) fn of_process() -> Draw {
        let words = random_words(2);
        Draw::new(u64::from(words[0]) << 32 | u64::from(words[1]), 0, 0)
    }

    /// Of the gamma distribution of this shape and scale 1. Marsaglia and Tsang, "A simple method for generating gamma variables" (2000).
    ///
    /// # Panics
    /// If `shape` is not above 0.
    #[track_caller]
    pub fn gamma(&mut self, shape: f64) -> f64 {
        assert!(shape > 0.0, "Draw::gamma: the shape must be above 0, got {shape}");
        if shape < 1.0 {
            let u = 1.0 - self.uniform();
            return self.gamma(shape + 1.0) * u.powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Of the distribution Beta(`alpha`, `alpha`), between 0 and 1.
    ///
    /// # Panics
    /// If `alpha` is not above 0.
    #[track_caller]
    pub fn beta(&mut self, alpha: f64) -> f64 {
        let (a, b) = (self.gamma(alpha), self.gamma(alpha));
        // Both can underflow for a tiny alpha; the distribution is then all at its ends.
        if a + b > 0.0 { a / (a + b) } else { f64::from(u8::from(self.chance(0.5))) }
    }

    /// `0..n` in a random order.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        permutation(n, self.bits(), 0)
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance of Beta(a, a): 1/2 and 1 / (4 (2a + 1)).
    #[test]
    fn shares_are_beta() {
        for alpha in [0.1, 0.4, 1.0, 3.0] {
            let mut draw = Draw::new(5, 0, 0);
            let draws: Vec<f64> = (0..4000).map(|_| draw.beta(alpha)).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let var = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
            let want = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.04, "alpha {alpha}: mean {mean}");
            assert!((var / want - 1.0).abs() < 0.12, "alpha {alpha}: variance {var}, not {want}");
            assert!(draws.iter().all(|d| (0.0..=1.0).contains(d)));
        }
    }

    #[test]
    fn orders_are_permutations() {
        let mut draw = Draw::new(1, 2, 3);
        for n in 1..20 {
            let mut order = draw.order(n);
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }
}
