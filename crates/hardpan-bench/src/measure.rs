//! How a workload is timed: a warm-up, then blocks of calls, of which the median, the smallest and the largest are kept.

use crate::record::{Record, digits};
use hardpan_engine::{DType, Tensor, autocast, no_grad};
use hardpan_nn::optim::{Adam, AdamW, Optimizer, Recipe, SGD};
use hardpan_nn::{Module, Param};
use std::path::PathBuf;
use std::time::Instant;

/// Whether to do the work of the bench page, or a few numbers of it to see that it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The stated shapes.
    Full,
    /// Very small shapes and one call: for tests. The values mean nothing.
    Tiny,
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Seconds for each variant of each workload.
    pub secs: f64,
    /// Threads, for the record; set them with `hardpan_engine::dev::cpu::pool::set_threads`.
    pub threads: usize,
    /// Full or tiny.
    pub scale: Scale,
    /// Only variants with all of these words (`bf16`, `sgd`, ...).
    pub words: Vec<String>,
    /// The binary that answers to `bench --child NAME`, for what needs a fresh process; without it those workloads are left out.
    pub binary: Option<PathBuf>,
}

impl Settings {
    /// The full shapes, for so long.
    pub fn new(secs: f64, threads: usize) -> Settings {
        Settings { secs, threads, scale: Scale::Full, words: Vec::new(), binary: None }
    }

    /// One call on small shapes.
    pub fn tiny() -> Settings {
        let threads = hardpan_engine::dev::cpu::pool::threads();
        Settings { scale: Scale::Tiny, ..Settings::new(0.0, threads) }
    }
}

/// What a workload sees: sizes, and the stopwatch.
pub struct Bench<'a> {
    workload: &'a str,
    pub(crate) settings: &'a Settings,
    emit: &'a mut dyn FnMut(Record),
}

/// Items (or operations, or bytes) of a call, and what they are counted in.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    pub items: f64,
    pub unit: &'static str,
}

impl Rate {
    pub(crate) fn giga(items: f64, unit: &'static str) -> Rate {
        Rate { items: items * 1e-9, unit }
    }
    pub(crate) fn of(items: usize, unit: &'static str) -> Rate {
        Rate { items: items as f64, unit }
    }
}

impl<'a> Bench<'a> {
    pub(crate) fn new(
        workload: &'a str,
        settings: &'a Settings,
        emit: &'a mut dyn FnMut(Record),
    ) -> Bench<'a> {
        Bench { workload, settings, emit }
    }

    /// A size of the bench page, or the one for tests.
    pub(crate) fn size(&self, full: usize, tiny: usize) -> usize {
        match self.settings.scale {
            Scale::Full => full,
            Scale::Tiny => tiny,
        }
    }

    /// Whether this variant was asked for.
    pub(crate) fn wants(&self, variant: &str) -> bool {
        self.settings.words.iter().all(|w| variant.split('+').any(|v| v == w))
    }

    pub(crate) fn record(
        &mut self,
        variant: &str,
        metric: &str,
        values: &[f64],
        unit: &str,
        more: impl FnOnce(&mut Record),
    ) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return };
        let mut record = Record {
            workload: self.workload.to_owned(),
            system: "hardpan".to_owned(),
            variant: variant.to_owned(),
            threads: self.settings.threads,
            metric: metric.to_owned(),
            value: digits(sorted[sorted.len() / 2], 5),
            unit: unit.to_owned(),
            min: digits(*min, 4),
            max: digits(*max, 4),
            ms: None,
            n: values.len(),
            calls: None,
            cpu_util: None,
            first_step_s: None,
            error: None,
        };
        more(&mut record);
        (self.emit)(record);
    }

    /// Measures `call`, at least `secs` long where that is more than the settings say.
    pub(crate) fn time(
        &mut self,
        variant: &str,
        rate: Rate,
        at_least: f64,
        mut call: impl FnMut(),
    ) {
        if !self.wants(variant) {
            return;
        }
        let start = Instant::now();
        call();
        let first = start.elapsed().as_secs_f64();
        let (blocks, calls) = match self.settings.scale {
            Scale::Tiny => (1, 1),
            Scale::Full => {
                plan(&mut call, self.settings.secs.max(at_least.min(self.settings.secs * 4.0)))
            }
        };
        let (cpu, wall) = (processor_seconds(), Instant::now());
        let seconds: Vec<f64> = (0..blocks)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..calls {
                    call();
                }
                start.elapsed().as_secs_f64() / calls as f64
            })
            .collect();
        let wall = wall.elapsed().as_secs_f64();
        let busy = processor_seconds().zip(cpu).map(|(b, a)| digits((b - a) / wall.max(1e-9), 3));
        let values: Vec<f64> = seconds.iter().map(|s| rate.items / s.max(1e-12)).collect();
        self.record(variant, "throughput", &values, rate.unit, |r| {
            r.ms = Some(digits(rate.items / r.value.max(1e-300) * 1e3, 4));
            r.calls = Some(calls);
            r.cpu_util = busy;
            r.first_step_s = Some(digits(first, 4));
        });
    }

    /// Nanoseconds of one of `count` equal operations in a call.
    pub(crate) fn latency(&mut self, variant: &str, count: usize, mut call: impl FnMut()) {
        if !self.wants(variant) {
            return;
        }
        let (blocks, calls) = if self.settings.scale == Scale::Tiny { (1, 1) } else { (9, 20) };
        (0..calls).for_each(|_| call());
        let values: Vec<f64> = (0..blocks)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..calls {
                    call();
                }
                start.elapsed().as_secs_f64() / (calls * count) as f64 * 1e9
            })
            .collect();
        self.record(variant, "latency", &values, "ns/op", |r| r.calls = Some(calls));
    }

    /// Measures training steps: forward, loss, backward, optimizer. The variant's words choose optimizer and precision: `sgd`,
    /// `adam` or `adamw`; `bf16` computes contractions in bfloat16 with weights kept in f32.
    pub(crate) fn train(
        &mut self,
        variant: &str,
        rate: Rate,
        model: &dyn Module,
        loss: impl Fn() -> Tensor,
    ) {
        if !self.wants(variant) {
            return;
        }
        let mut step = Step::new(variant, model.parameters(), loss);
        self.time(variant, rate, 1.0, || step.run());
    }

    /// Measures forward passes without gradients.
    pub(crate) fn infer(&mut self, variant: &str, rate: Rate, forward: impl Fn() -> Tensor) {
        self.time(variant, rate, 0.0, || {
            no_grad(|| drop(forward().eval().clone()));
        });
    }
}

/// A training step of a model.
pub(crate) struct Step<F> {
    optimizer: Optimizer,
    loss: F,
    bf16: bool,
}

impl<F: Fn() -> Tensor> Step<F> {
    pub(crate) fn new(variant: &str, parameters: Vec<Param>, loss: F) -> Step<F> {
        let has = |w: &str| variant.split('+').any(|v| v == w);
        let optimizer = if has("sgd") {
            SGD::new(1e-3).build(parameters)
        } else if has("adamw") {
            AdamW::new(1e-4).build(parameters)
        } else {
            Adam::new(1e-4).build(parameters)
        };
        Step { optimizer, loss, bf16: has("bf16") }
    }

    pub(crate) fn run(&mut self) {
        // The loss lives until the step is done: its value is part of the work.
        let loss = if self.bf16 { autocast(DType::BF16, &self.loss) } else { (self.loss)() };
        loss.backward();
        self.optimizer.step_and_zero_grad();
    }
}

/// Warms up, and finds how many blocks of how many calls fill the time.
fn plan(call: &mut impl FnMut(), secs: f64) -> (usize, usize) {
    const WARM: f64 = 0.15;
    let start = Instant::now();
    call();
    let mut one = start.elapsed().as_secs_f64().max(1e-9);
    // Three calls at least: memory is at rest only when results of two have been alive at once.
    (0..2).for_each(|_| call());
    if one < WARM {
        let count = ((WARM / one) as usize).clamp(1, 100_000);
        let start = Instant::now();
        (0..count).for_each(|_| call());
        one = (start.elapsed().as_secs_f64() / count as f64).max(1e-9);
    }
    let calls = ((secs / 9.0 / one).round() as usize).max(1);
    let blocks = if calls > 1 { 9 } else { ((secs / one) as usize).clamp(3, 9) };
    (blocks, calls)
}

/// Seconds the process has computed on all its threads; `None` where the system does not say.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    // Linux counts these in hundredths of a second on every platform Rust knows.
    Some((user + system) / 100.0)
}
