//! Cases of optimizers: parameters after each of a few steps with given gradients.

use crate::arg::{Arg, Args};
use crate::case::CaseFile;
use crate::compare::{self, Tolerance};
use crate::report::Outcome;
use hardpan_engine::Tensor;
use hardpan_nn::Param;
use hardpan_nn::optim::*;
use serde_json::Value;

/// Runs the case.
pub fn run(file: &CaseFile, case: &Value) -> Outcome {
    let params: Vec<Param> = case["params"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|k| Param::new(Tensor::from_host(file.array(k.as_str().expect("a key")))))
        .collect();
    let args = decode(&case["kwargs"]);
    let groups = match case["param_groups"].as_array() {
        None => vec![Group::new(params.iter().cloned())],
        Some(list) => list.iter().map(|g| group(&params, g)).collect(),
    };
    let Some(mut opt) = build(&file.op, &args, groups) else { return Outcome::Unsupported };
    let tolerance = Tolerance {
        rtol: case["rtol"].as_f64().unwrap_or(0.0),
        atol: case["atol"].as_f64().unwrap_or(0.0),
        abs: false,
    };
    for (t, step) in case["steps"].as_array().expect("a list").iter().enumerate() {
        for (p, g) in params.iter().zip(step["grads"].as_array().expect("a list")) {
            p.set_grad(g.as_str().map(|k| Tensor::from_host(file.array(k))));
        }
        opt.step();
        for (i, (p, want)) in
            params.iter().zip(step["params"].as_array().expect("a list")).enumerate()
        {
            let want = file.array(want.as_str().expect("a key"));
            let what = format!("parameter {i} after step {t}");
            if let Err(e) = compare::arrays(&what, &p.value().to_host(), want, tolerance) {
                return Outcome::Failed(e);
            }
        }
    }
    Outcome::Passed
}

pub(super) fn decode(kwargs: &Value) -> Args {
    Args::decode(&Value::Null, kwargs, &mut |key| panic!("no tensor {key} was expected"))
}

fn group(params: &[Param], json: &Value) -> Group {
    let index = json["params"].as_array().expect("a list").iter();
    let own = index.map(|i| params[i.as_u64().expect("an index") as usize].clone());
    let mut group = Group::new(own);
    let options = decode(&json["options"]);
    for (name, arg) in &options.kw {
        for (hyper, value) in hypers(name, arg) {
            group.set(hyper, value);
        }
    }
    group
}

/// What PyTorch's option sets here.
pub(super) fn hypers(name: &str, arg: &Arg) -> Vec<(Hyper, f64)> {
    let numbers: Vec<f64> = match arg {
        Arg::List(l) => l.iter().filter_map(|a| a.scalar()).map(|s| s.as_f64()).collect(),
        a => a.scalar().map(|s| s.as_f64()).into_iter().collect(),
    };
    let names: &[Hyper] = match name {
        "lr" => &[Hyper::Lr],
        "momentum" => &[Hyper::Mom],
        "betas" => &[Hyper::Mom, Hyper::SqrMom],
        "weight_decay" => &[Hyper::Wd],
        "eps" => &[Hyper::Eps],
        "dampening" => &[Hyper::Dampening],
        other => panic!("no hyperparameter for the option {other}"),
    };
    names.iter().copied().zip(numbers).collect()
}

/// The optimizer `torch.optim.NAME`; `None` if there is none.
pub(super) fn build(name: &str, a: &Args, groups: Vec<Group>) -> Option<Optimizer> {
    let float = |key: &str, default: f64| a.float(usize::MAX, key, default);
    let flag = |key: &str| a.bool(usize::MAX, key, false);
    let pair = |key: &str, default: (f64, f64)| -> (f64, f64) {
        match a.named(key) {
            Some(Arg::List(l)) => {
                let n = |i: usize, d: f64| l[i].scalar().map_or(d, |s| s.as_f64());
                (n(0, default.0), n(1, default.1))
            }
            _ => default,
        }
    };
    for ignored in ["foreach", "fused", "capturable", "differentiable"] {
        let _ = a.named(ignored);
    }
    let (wd, max) = (|d: f64| float("weight_decay", d), flag("maximize"));
    let betas = pair("betas", (0.9, 0.999));
    let opt = match name {
        "SGD" => SGD::new(float("lr", 1e-3))
            .momentum(float("momentum", 0.0))
            .dampening(float("dampening", 0.0))
            .nesterov(flag("nesterov"))
            .weight_decay(wd(0.0))
            .maximize(max)
            .build(groups),
        "Adam" => Adam::new(float("lr", 1e-3))
            .betas(betas)
            .eps(float("eps", 1e-8))
            .weight_decay(wd(0.0))
            .amsgrad(flag("amsgrad"))
            .decoupled(flag("decoupled_weight_decay"))
            .maximize(max)
            .build(groups),
        "AdamW" => AdamW::new(float("lr", 1e-3))
            .betas(betas)
            .eps(float("eps", 1e-8))
            .weight_decay(wd(1e-2))
            .amsgrad(flag("amsgrad"))
            .maximize(max)
            .build(groups),
        "RMSprop" => RMSprop::new(float("lr", 1e-2))
            .alpha(float("alpha", 0.99))
            .eps(float("eps", 1e-8))
            .weight_decay(wd(0.0))
            .momentum(float("momentum", 0.0))
            .centered(flag("centered"))
            .maximize(max)
            .build(groups),
        "Adagrad" => Adagrad::new(float("lr", 1e-2))
            .lr_decay(float("lr_decay", 0.0))
            .weight_decay(wd(0.0))
            .initial_accumulator_value(float("initial_accumulator_value", 0.0))
            .eps(float("eps", 1e-10))
            .maximize(max)
            .build(groups),
        "Adadelta" => Adadelta::new(float("lr", 1.0))
            .rho(float("rho", 0.9))
            .eps(float("eps", 1e-6))
            .weight_decay(wd(0.0))
            .maximize(max)
            .build(groups),
        "Adamax" => Adamax::new(float("lr", 2e-3))
            .betas(betas)
            .eps(float("eps", 1e-8))
            .weight_decay(wd(0.0))
            .maximize(max)
            .build(groups),
        "NAdam" => NAdam::new(float("lr", 2e-3))
            .betas(betas)
            .eps(float("eps", 1e-8))
            .weight_decay(wd(0.0))
            .momentum_decay(float("momentum_decay", 4e-3))
            .decoupled(flag("decoupled_weight_decay"))
            .maximize(max)
            .build(groups),
        "RAdam" => RAdam::new(float("lr", 1e-3))
            .betas(betas)
            .eps(float("eps", 1e-8))
            .weight_decay(wd(0.0))
            .decoupled(flag("decoupled_weight_decay"))
            .maximize(max)
            .build(groups),
        "ASGD" => ASGD::new(float("lr", 1e-2))
            .lambd(float("lambd", 1e-4))
            .alpha(float("alpha", 0.75))
            .t0(float("t0", 1e6))
            .weight_decay(wd(0.0))
            .maximize(max)
            .build(groups),
        "Rprop" => Rprop::new(float("lr", 1e-2))
            .etas(pair("etas", (0.5, 1.2)))
            .step_sizes(pair("step_sizes", (1e-6, 50.0)))
            .maximize(max)
            .build(groups),
        "Adafactor" => Adafactor::new(float("lr", 1e-2))
            .beta2_decay(float("beta2_decay", -0.8))
            .eps(pair("eps", (0.0, 1e-3)))
            .d(float("d", 1.0))
            .weight_decay(wd(0.0))
            .maximize(max)
            .build(groups),
        "Muon" => Muon::new(float("lr", 1e-3))
            .weight_decay(wd(0.1))
            .momentum(float("momentum", 0.95))
            .nesterov(a.bool(usize::MAX, "nesterov", true))
            .eps(float("eps", 1e-7))
            .rounds(a.int(usize::MAX, "ns_steps", 5) as usize)
            .match_adam(a.opt_str(usize::MAX, "adjust_lr_fn") == Some("match_rms_adamw"))
            .build(groups),
        _ => return None,
    };
    let unused = a.unused();
    assert!(unused.is_empty(), "{name}: options without effect: {}", unused.join(", "));
    Some(opt)
}
