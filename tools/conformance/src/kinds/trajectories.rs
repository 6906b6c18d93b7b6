//! Cases of trajectories: twenty training steps of a small network, compared loss by loss.

mod models;

use super::{optimizers, schedulers};
use crate::case::CaseFile;
use crate::compare::{self, Tolerance};
use crate::report::Outcome;
use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::optim::{Group, clip_grad_norm, grad_norm};
use hardpan_nn::{Param, StateDict};
use serde_json::Value;

/// Runs the case.
pub fn run(file: &CaseFile, case: &Value) -> Outcome {
    match check(file, case) {
        Ok(true) => Outcome::Passed,
        Ok(false) => Outcome::Unsupported,
        Err(e) => Outcome::Failed(e),
    }
}

fn check(file: &CaseFile, case: &Value) -> Result<bool, String> {
    let text = |v: &Value| v.as_str().expect("a string").to_owned();
    let Some(model) = models::build(&text(&case["model"]), &case["model_args"]) else {
        return Ok(false);
    };
    let state: StateDict = case["state"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(name, key)| {
            (name.clone(), Tensor::from_host(file.array(key.as_str().expect("a key"))))
        })
        .collect();
    model.module.load_state_dict(&state, true).map_err(|e| e.to_string())?;
    let named = model.module.named_parameters();
    let params: Vec<Param> = named.iter().map(|(_, p)| p.clone()).collect();
    let args = optimizers::decode(&case["optimizer_args"]);
    let groups = vec![Group::new(params.iter().cloned())];
    let Some(mut opt) = optimizers::build(&text(&case["optimizer"]), &args, groups) else {
        return Ok(false);
    };
    let mut schedule = match case["scheduler"].as_str() {
        None => None,
        Some(name) => match schedulers::build(name, &case["scheduler_args"], &mut opt) {
            None => return Ok(false),
            s => s,
        },
    };
    let (xs, ys) = (
        Tensor::from_host(file.array(&text(&case["batches"]["x"]))),
        Tensor::from_host(file.array(&text(&case["batches"]["y"]))),
    );
    let numbers = |key: &str| case[key].as_str().map(|k| file.array(k).to_vec::<f64>());
    let losses = numbers("losses").expect("losses");
    let tolerances = numbers("loss_tol").expect("tolerances");
    let rates = numbers("lr");
    let norms = numbers("grad_norms");
    let smoothing = case["label_smoothing"].as_f64().unwrap_or(0.0);
    for t in 0..case["steps"].as_u64().expect("a number") as usize {
        let (x, y) = (xs.select(0, t as isize), ys.select(0, t as isize));
        if case["carry_state"] != true {
            model.module.reset();
        }
        let logits = (model.forward)(&x);
        let classes = logits.size(-1);
        let n = logits.numel() / classes;
        let options = f::CrossEntropyOptions { label_smoothing: smoothing, ..Default::default() };
        let loss = f::cross_entropy_with(&logits.reshape([n, classes]), &y.reshape([n]), options);
        opt.zero_grad();
        loss.backward();
        if t == 0 {
            gradients(file, case, &named)?;
        }
        if let Some(rates) = &rates
            && (opt.lr() - rates[t]).abs() > 1e-12 + 1e-9 * rates[t].abs()
        {
            return Err(format!("lr of step {t}: expected {}, actual {}", rates[t], opt.lr()));
        }
        let norm = match case["clip_grad_norm"].as_f64() {
            Some(max) => clip_grad_norm(&params, max),
            None => norms.as_ref().and_then(|_| grad_norm(&params, 2.0)),
        };
        opt.step();
        if let Some(s) = &mut schedule {
            s.step(&mut opt);
        }
        let got = loss.item::<f32>() as f64;
        if (got - losses[t]).abs() > tolerances[t] || got.is_nan() {
            return Err(format!(
                "loss of step {t}: expected {}, actual {got} (tolerance {:e})",
                losses[t], tolerances[t]
            ));
        }
        if let (Some(norm), Some(norms)) = (norm, &norms) {
            let rtol = case["grad_norm_rtol"].as_f64().unwrap_or(1e-5);
            let got = norm.item::<f32>() as f64;
            if (got - norms[t]).abs() > rtol * norms[t].abs() {
                return Err(format!(
                    "gradient norm of step {t}: expected {}, actual {got}",
                    norms[t]
                ));
            }
        }
    }
    let last = model.module.state_dict();
    for (name, want) in case["final"].as_object().expect("an object") {
        if want.get("skip").is_some_and(|s| s != &Value::Bool(false) && !s.is_null()) {
            continue;
        }
        let got = last.get(name).ok_or(format!("no {name} in the state dict"))?;
        compare::arrays(
            &format!("final {name}"),
            &got.to_host(),
            file.array(&text(&want["tensor"])),
            within(want),
        )?;
    }
    Ok(true)
}

fn within(want: &Value) -> Tolerance {
    Tolerance { rtol: 1.3e-6, atol: want["atol"].as_f64().unwrap_or(0.0), abs: false }
}

fn gradients(file: &CaseFile, case: &Value, named: &[(String, Param)]) -> Result<(), String> {
    for (name, want) in case["grad0"].as_object().expect("an object") {
        let (_, p) = named.iter().find(|(n, _)| n == name).ok_or(format!("no parameter {name}"))?;
        let grad = p.grad().ok_or(format!("no gradient for {name}"))?;
        let array = file.array(want["tensor"].as_str().expect("a key"));
        compare::arrays(
            &format!("gradient of {name} in step 0"),
            &grad.to_host(),
            array,
            within(want),
        )?;
    }
    Ok(())
}
