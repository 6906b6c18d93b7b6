//! [`Draw`]: the random numbers of one item in one epoch.

use hardpan_engine::philox::philox4x32;

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

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}
