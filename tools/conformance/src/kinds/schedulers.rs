//! Cases of schedules: learning rate and momentum after each step.

use super::optimizers;
use crate::arg::{Arg, Args};
use crate::case::CaseFile;
use crate::report::Outcome;
use hardpan_engine::Tensor;
use hardpan_nn::Param;
use hardpan_nn::optim::scheduler::*;
use hardpan_nn::optim::{Group, Hyper, Optimizer};
use serde_json::Value;

/// Runs the case.
pub fn run(file: &CaseFile, case: &Value) -> Outcome {
    let groups: Vec<Group> = case["groups"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|g| {
            let mut group = Group::new([Param::new(Tensor::ones([1]))]);
            for (name, arg) in &optimizers::decode(g).kw {
                for (h, v) in optimizers::hypers(name, arg) {
                    group.set(h, v);
                }
            }
            group
        })
        .collect();
    let none = optimizers::decode(&Value::Null);
    let name = case["optimizer"].as_str().expect("a name");
    let Some(mut opt) = optimizers::build(name, &none, groups) else { return Outcome::Unsupported };
    let steps = case["steps"].as_u64().expect("a number") as usize;
    let args = optimizers::decode(&strip(&case["kwargs"]));
    let (mut lr, mut momentum) = (Vec::new(), Vec::new());
    let mut record = |opt: &Optimizer| {
        lr.push(opt.hypers(Hyper::Lr));
        momentum.push(opt.hypers(Hyper::Mom));
    };
    if file.op == "ReduceLROnPlateau" {
        let mut s = plateau(&args);
        record(&opt);
        for m in case["metrics"].as_array().expect("a list").iter().take(steps) {
            s.step(&mut opt, m.as_f64().expect("a number"));
            record(&opt);
        }
    } else {
        let Some(mut s) = build(&file.op, &case["kwargs"], &mut opt) else {
            return Outcome::Unsupported;
        };
        record(&opt);
        for _ in 0..steps {
            s.step(&mut opt);
            record(&opt);
        }
    }
    let rtol = case["rtol"].as_f64().unwrap_or(0.0);
    let atol = case["atol"].as_f64().unwrap_or(0.0);
    for (what, key, rows) in [("lr", "lr", &lr), ("momentum", "momentum", &momentum)] {
        let Some(key) = case[key].as_str() else { continue };
        let want = file.array(key).to_vec::<f64>();
        let got: Vec<f64> = rows.iter().flatten().copied().collect();
        if want.len() != got.len() {
            return Outcome::Failed(format!(
                "{what}: expected {} numbers, actual {}",
                want.len(),
                got.len()
            ));
        }
        for (i, (w, g)) in want.iter().zip(&got).enumerate() {
            if (w - g).abs() > atol + rtol * w.abs() {
                let row = i / rows[0].len();
                return Outcome::Failed(format!(
                    "{what} after {row} steps: expected {w}, actual {g}"
                ));
            }
        }
    }
    Outcome::Passed
}

/// Without the inner schedules, which are built by themselves.
fn strip(kwargs: &Value) -> Value {
    let mut out = kwargs.clone();
    if let Some(o) = out.as_object_mut() {
        o.remove("schedulers");
    }
    out
}

fn plateau(a: &Args) -> ReduceLROnPlateau {
    let float = |key: &str, default: f64| a.float(usize::MAX, key, default);
    let min: Vec<f64> = match a.named("min_lr") {
        Some(Arg::List(l)) => l.iter().filter_map(|x| x.scalar()).map(|s| s.as_f64()).collect(),
        Some(x) => vec![x.scalar().expect("a number").as_f64()],
        None => vec![0.0],
    };
    let mode = match a.str(usize::MAX, "mode", "min") {
        "max" => PlateauMode::Max,
        _ => PlateauMode::Min,
    };
    let unit = match a.str(usize::MAX, "threshold_mode", "rel") {
        "abs" => ThresholdMode::Absolute,
        _ => ThresholdMode::Relative,
    };
    let out = ReduceLROnPlateau::new()
        .mode(mode)
        .factor(float("factor", 0.1))
        .patience(a.int(usize::MAX, "patience", 10) as u32)
        .threshold(float("threshold", 1e-4), unit)
        .cooldown(a.int(usize::MAX, "cooldown", 0) as u32)
        .min_lr(&min)
        .eps(float("eps", 1e-8));
    check(a);
    out
}

fn check(a: &Args) {
    let unused = a.unused();
    assert!(unused.is_empty(), "options without effect: {}", unused.join(", "));
}

/// The schedule `torch.optim.lr_scheduler.NAME` on `opt`; `None` if there is none.
pub(super) fn build(name: &str, kwargs: &Value, opt: &mut Optimizer) -> Option<Box<dyn Scheduler>> {
    let inner = |opt: &mut Optimizer| -> Option<Vec<Box<dyn Scheduler>>> {
        let list = kwargs["schedulers"].as_array()?;
        list.iter().map(|s| build(s["scheduler"].as_str()?, &s["kwargs"], opt)).collect()
    };
    let a = optimizers::decode(&strip(kwargs));
    let float = |key: &str, default: f64| a.float(usize::MAX, key, default);
    let int = |key: &str, default: i64| a.int(usize::MAX, key, default) as usize;
    let list = |key: &str| -> Vec<usize> {
        a.opt_ints(usize::MAX, key).unwrap_or_default().into_iter().map(|n| n as usize).collect()
    };
    let floats = |key: &str| -> Vec<f64> {
        match a.named(key) {
            Some(Arg::List(l)) => l.iter().filter_map(|x| x.scalar()).map(|s| s.as_f64()).collect(),
            Some(x) => vec![x.scalar().expect("a number").as_f64()],
            None => panic!("{key} is missing"),
        }
    };
    let out: Box<dyn Scheduler> = match name {
        "StepLR" => Box::new(StepLR::new(opt, int("step_size", 1), float("gamma", 0.1))),
        "MultiStepLR" => Box::new(MultiStepLR::new(opt, list("milestones"), float("gamma", 0.1))),
        "ConstantLR" => {
            Box::new(ConstantLR::new(opt, float("factor", 1.0 / 3.0), int("total_iters", 5)))
        }
        "LinearLR" => Box::new(LinearLR::new(
            opt,
            float("start_factor", 1.0 / 3.0),
            float("end_factor", 1.0),
            int("total_iters", 5),
        )),
        "ExponentialLR" => Box::new(ExponentialLR::new(opt, float("gamma", 0.1))),
        "PolynomialLR" => {
            Box::new(PolynomialLR::new(opt, int("total_iters", 5), float("power", 1.0)))
        }
        "CosineAnnealingLR" => {
            Box::new(CosineAnnealingLR::new(opt, int("T_max", 1), float("eta_min", 0.0)))
        }
        "CosineAnnealingWarmRestarts" => Box::new(CosineAnnealingWarmRestarts::new(
            opt,
            int("T_0", 1),
            int("T_mult", 1),
            float("eta_min", 0.0),
        )),
        "OneCycleLR" => {
            let max = floats("max_lr");
            let total = match a.opt_int(usize::MAX, "total_steps") {
                Some(n) => n as usize,
                None => int("epochs", 0) * int("steps_per_epoch", 0),
            };
            let strategy = match a.str(usize::MAX, "anneal_strategy", "cos") {
                "linear" => AnnealStrategy::Linear,
                _ => AnnealStrategy::Cos,
            };
            let s = OneCycleLR::new(max[0], total)
                .max_lrs(&max)
                .pct_start(float("pct_start", 0.3))
                .anneal_strategy(strategy)
                .cycle_momentum(a.bool(usize::MAX, "cycle_momentum", true))
                .momentums(float("base_momentum", 0.85), float("max_momentum", 0.95))
                .div_factor(float("div_factor", 25.0))
                .final_div_factor(float("final_div_factor", 1e4))
                .three_phase(a.bool(usize::MAX, "three_phase", false));
            Box::new(s.start(opt))
        }
        "CyclicLR" => {
            let up = int("step_size_up", 2000);
            let down = a.opt_int(usize::MAX, "step_size_down").map_or(up, |n| n as usize);
            // Without a function of one's own the mode says what `scale_mode` would, and only one mode has a gamma.
            let _ = (a.named("scale_mode"), a.named("gamma"));
            let mode = match a.str(usize::MAX, "mode", "triangular") {
                "triangular2" => CyclicMode::Triangular2,
                "exp_range" => CyclicMode::ExpRange(float("gamma", 1.0)),
                _ => CyclicMode::Triangular,
            };
            let s = CyclicLR::new(0.0, 0.0)
                .lrs(&floats("base_lr"), &floats("max_lr"))
                .steps(up, down)
                .mode(mode)
                .cycle_momentum(a.bool(usize::MAX, "cycle_momentum", true))
                .momentums(float("base_momentum", 0.8), float("max_momentum", 0.9));
            Box::new(s.start(opt))
        }
        "ChainedScheduler" => Box::new(ChainedScheduler::new(inner(opt)?)),
        "SequentialLR" => {
            let schedulers = inner(opt)?;
            Box::new(SequentialLR::new(opt, schedulers, list("milestones")))
        }
        _ => return None,
    };
    check(&a);
    Some(out)
}
