//! Cases of functions: outputs and gradients.

use super::views::View;
use crate::arg::Args;
use crate::calls::{self, Output};
use crate::case::CaseFile;
use crate::compare::{self, Tolerance};
use crate::report::Outcome;
use hardpan_engine::{DType, Tensor, grad_with};
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs the case, with inputs laid out as `view` says.
pub fn run(file: &CaseFile, case: &Value, view: Option<View>) -> Outcome {
    let wants_grad = case["grads"].as_object();
    let mut inputs: BTreeMap<String, Tensor> = BTreeMap::new();
    let args = Args::decode(&case["args"], &case["kwargs"], &mut |key| {
        if let Some(t) = inputs.get(key) {
            return t.clone();
        }
        let array = file.array(key);
        let mut t = match view {
            None => Tensor::from_host(array),
            Some(v) => v.of(array),
        };
        if wants_grad.is_some_and(|g| g.contains_key(key)) {
            t = t.requires_grad();
        }
        inputs.insert(key.to_string(), t.clone());
        t
    });
    let Some(outputs) = calls::call(&file.op, &args) else { return Outcome::Unsupported };
    match check(file, case, &outputs, &inputs) {
        Ok(()) => Outcome::Passed,
        Err(message) => Outcome::Failed(message),
    }
}

fn number(case: &Value, key: &str) -> f64 {
    case[key].as_f64().unwrap_or(0.0)
}

fn check(
    file: &CaseFile,
    case: &Value,
    outputs: &[Output],
    inputs: &BTreeMap<String, Tensor>,
) -> Result<(), String> {
    let tolerance = Tolerance {
        rtol: number(case, "rtol"),
        atol: number(case, "atol"),
        abs: case["compare"] == "abs",
    };
    let expected = case["outputs"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    if outputs.len() != expected.len() {
        return Err(format!("expected {} outputs, actual {}", expected.len(), outputs.len()));
    }
    for (i, (out, want)) in outputs.iter().zip(expected).enumerate() {
        output(&format!("output {i}"), file, out, want, tolerance)?;
    }
    let (Some(cotangents), Some(grads)) =
        (case["cotangents"].as_object(), case["grads"].as_object())
    else {
        return Ok(());
    };
    let mut results = Vec::new();
    let mut seeds = Vec::new();
    for (out, want) in outputs.iter().zip(expected) {
        let Some(seed) = want["tensor"].as_str().and_then(|key| cotangents.get(key)) else {
            continue;
        };
        let Output::Tensor(t) = out else { return Err("expected a tensor".into()) };
        if !t.is_requires_grad() {
            continue;
        }
        results.push(t);
        seeds.push(Tensor::from_host(file.array(seed.as_str().expect("a key"))));
    }
    let wanted: Vec<(&String, &Value)> = grads.iter().collect();
    let leaves: Vec<&Tensor> = wanted
        .iter()
        .map(|(key, _)| inputs.get(*key).ok_or(format!("{key} is not an argument")))
        .collect::<Result<_, _>>()?;
    // Results that do not depend on their inputs (x.fill(1)) have gradients of zero.
    let actual = if results.is_empty() {
        leaves.iter().map(|t| t.zeros_like()).collect()
    } else {
        grad_with(&results, &seeds.iter().collect::<Vec<_>>(), &leaves)
    };
    let tolerance =
        Tolerance { rtol: number(case, "grad_rtol"), atol: number(case, "grad_atol"), abs: false };
    for ((key, want), got) in wanted.iter().zip(&actual) {
        let want = file.array(want.as_str().expect("a key"));
        compare::arrays(&format!("gradient of {key}"), &got.to_host(), want, tolerance)?;
    }
    Ok(())
}

fn output(
    what: &str,
    file: &CaseFile,
    out: &Output,
    want: &Value,
    tolerance: Tolerance,
) -> Result<(), String> {
    if let Some(key) = want["tensor"].as_str() {
        let Output::Tensor(t) = out else {
            return Err(format!("{what}: expected a tensor, actual {}", show(out)));
        };
        return compare::arrays(what, &t.to_host(), file.array(key), tolerance);
    }
    let special = |s: &str| match s {
        "inf" => f64::INFINITY,
        "-inf" => f64::NEG_INFINITY,
        _ => f64::NAN,
    };
    let good = match (out, want) {
        (Output::Bool(b), Value::Bool(w)) => b == w,
        (Output::Int(i), Value::Number(w)) => w.as_i64() == Some(*i),
        (Output::Float(f), Value::Number(w)) => {
            tolerance.accepts(*f, w.as_f64().unwrap_or(f64::NAN))
        }
        (Output::Float(f), Value::Object(o)) => o
            .get("float")
            .and_then(Value::as_str)
            .is_some_and(|s| tolerance.accepts(*f, special(s))),
        (Output::DType(d), Value::Object(o)) => {
            o.get("dtype").and_then(Value::as_str).and_then(DType::from_name) == Some(*d)
        }
        (Output::None, Value::Null) => true,
        _ => false,
    };
    if good { Ok(()) } else { Err(format!("{what}: expected {want}, actual {}", show(out))) }
}

fn show(out: &Output) -> String {
    match out {
        Output::Tensor(t) => format!("a tensor {}{:?}", t.dtype(), t.shape()),
        Output::Int(i) => i.to_string(),
        Output::Float(f) => f.to_string(),
        Output::Bool(b) => b.to_string(),
        Output::DType(d) => d.to_string(),
        Output::None => "None".into(),
    }
}
