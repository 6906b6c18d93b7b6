//! Cases of modules: state in; outputs, gradients and new buffers out.

mod build;
mod losses;
mod sequence;

use crate::arg::{Arg, Args};
use crate::case::CaseFile;
use crate::compare::{self, Tolerance};
use crate::report::Outcome;
use hardpan_engine::{DType, Tensor, grad_with};
use hardpan_nn::{Forward, Module, StateDict};
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Applies a module to the decoded arguments of a case.
type Call = Box<dyn Fn(&Args) -> Vec<Tensor>>;

/// A module, and how it is called with recorded arguments.
pub(super) struct Built {
    pub module: Rc<dyn Module>,
    pub call: Call,
}

/// Called by `call`.
fn with<M: Module>(m: M, call: impl Fn(&M, &Args) -> Vec<Tensor> + 'static) -> Option<Built> {
    let m = Rc::new(m);
    let own = m.clone();
    Some(Built { module: m, call: Box::new(move |a| call(&own, a)) })
}

/// One tensor in, one out.
fn layer<M: Module + Forward<Tensor, Output = Tensor>>(m: M) -> Option<Built> {
    with(m, |m, a| vec![m.forward(&a.tensor(0, "input"))])
}

/// Two tensors in, one out.
fn pair<M: Module + Forward<(Tensor, Tensor), Output = Tensor>>(m: M) -> Option<Built> {
    with(m, |m, a| vec![m.forward(&(a.tensor(0, "input"), a.tensor(1, "target")))])
}

/// Three tensors in, one out.
fn triple<M: Module + Forward<(Tensor, Tensor, Tensor), Output = Tensor>>(m: M) -> Option<Built> {
    with(m, |m, a| vec![m.forward(&(a.tensor(0, "a"), a.tensor(1, "b"), a.tensor(2, "c")))])
}

/// `nn.NAME` with these arguments; `None` if there is no such module.
fn build(name: &str, a: &Args) -> Option<Built> {
    let out = build::build(name, a)
        .or_else(|| losses::build(name, a))
        .or_else(|| sequence::build(name, a))?;
    let unused = a.unused();
    assert!(unused.is_empty(), "nn.{name}: options without effect: {}", unused.join(", "));
    Some(out)
}

/// Runs the case.
pub fn run(file: &CaseFile, case: &Value) -> Outcome {
    let mut inputs: BTreeMap<String, Tensor> = BTreeMap::new();
    let wants_grad = case["grads"].as_object();
    let mut tensor = |key: &str| {
        if let Some(t) = inputs.get(key) {
            return t.clone();
        }
        let mut t = Tensor::from_host(file.array(key));
        if wants_grad.is_some_and(|g| g.contains_key(key)) {
            t = t.requires_grad();
        }
        inputs.insert(key.to_string(), t.clone());
        t
    };
    let init = Args::decode(&case["init"]["args"], &case["init"]["kwargs"], &mut tensor);
    let args = Args::decode(&case["args"], &case["kwargs"], &mut tensor);
    let name = file.op.strip_prefix("nn.").unwrap_or(&file.op);
    let Some(built) = build(name, &init) else { return Outcome::Unsupported };
    match check(file, case, &built, &args, &inputs) {
        Ok(()) => Outcome::Passed,
        Err(message) => Outcome::Failed(message),
    }
}

fn check(
    file: &CaseFile,
    case: &Value,
    built: &Built,
    args: &Args,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<(), String> {
    let number = |key: &str| case[key].as_f64().unwrap_or(0.0);
    let text = |v: &Value| v.as_str().expect("a key").to_owned();
    let empty = serde_json::Map::new();
    let map = |key: &str| case[key].as_object().unwrap_or(&empty);
    let module = &built.module;
    if let Some(dtype) = case["dtype"].as_str().and_then(DType::from_name)
        && dtype.is_float()
        && dtype != DType::F32
    {
        module.to_dtype(dtype);
    }
    let state: StateDict = map("state")
        .iter()
        .map(|(name, key)| (name.clone(), Tensor::from_host(file.array(&text(key)))))
        .collect();
    module.load_state_dict(&state, true).map_err(|e| e.to_string())?;
    module.set_training(case["training"] != false);

    let params = module.named_parameters();
    let leaves: Vec<(String, Tensor)> =
        params.iter().map(|(n, p)| (n.clone(), p.value())).collect();
    let outputs = (built.call)(args);
    let unused = args.unused();
    if !unused.is_empty() {
        return Err(format!("arguments without effect: {}", unused.join(", ")));
    }
    // A `None` among the results (attention without its weights) is left out on our side.
    let listed = case["outputs"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let expected: Vec<&Value> = listed.iter().filter(|v| !v.is_null()).collect();
    if outputs.len() != expected.len() {
        return Err(format!("expected {} outputs, actual {}", expected.len(), outputs.len()));
    }
    let tolerance = Tolerance { rtol: number("rtol"), atol: number("atol"), abs: false };
    for (i, (out, want)) in outputs.iter().zip(&expected).enumerate() {
        if let Some(key) = want["tensor"].as_str() {
            compare::arrays(&format!("output {i}"), &out.to_host(), file.array(key), tolerance)?;
        }
    }
    let after = module.state_dict();
    for (name, key) in map("state_after") {
        let got = after.get(name).ok_or(format!("no {name} in the state dict"))?;
        let what = format!("{name} after");
        compare::arrays(&what, &got.to_host(), file.array(&text(key)), tolerance)?;
    }

    let mut results = Vec::new();
    let mut seeds = Vec::new();
    for (out, want) in outputs.iter().zip(&expected) {
        let seed = want["tensor"].as_str().and_then(|key| map("cotangents").get(key));
        if let Some(seed) = seed
            && out.is_requires_grad()
        {
            results.push(out);
            seeds.push(Tensor::from_host(file.array(&text(seed))));
        }
    }
    let mut wanted: Vec<(String, &Tensor, String)> = Vec::new();
    for (key, grad) in map("grads") {
        let t = inputs.get(key).ok_or(format!("{key} is not an argument"))?;
        wanted.push((format!("gradient of {key}"), t, text(grad)));
    }
    for (name, grad) in map("param_grads") {
        let (_, t) =
            leaves.iter().find(|(n, _)| n == name).ok_or(format!("no parameter {name}"))?;
        wanted.push((format!("gradient of {name}"), t, text(grad)));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    if results.is_empty() {
        return Err("no output requires grad, though gradients are expected".into());
    }
    let of: Vec<&Tensor> = wanted.iter().map(|w| w.1).collect();
    let actual = grad_with(&results, &seeds.iter().collect::<Vec<_>>(), &of);
    let tolerance = Tolerance { rtol: number("grad_rtol"), atol: number("grad_atol"), abs: false };
    for ((what, _, key), got) in wanted.iter().zip(&actual) {
        compare::arrays(what, &got.to_host(), file.array(key), tolerance)?;
    }
    Ok(())
}

/// Not negative.
fn unsigned(list: Vec<isize>) -> Vec<usize> {
    list.into_iter().map(|n| usize::try_from(n).expect("not negative")).collect()
}

/// The sizes, or one number for all dimensions.
fn spatial(a: &Args, i: usize, name: &str) -> Option<hardpan_engine::functional::Spatial> {
    let list = a.opt_ints(i, name)?;
    if list.is_empty() { None } else { Some(unsigned(list).into()) }
}

/// A number that is not negative.
fn size(a: &Args, i: usize, name: &str) -> usize {
    usize::try_from(a.arg(i, name).int().expect("an integer")).expect("not negative")
}

/// A pair of tensors given as a list.
fn two(arg: &Arg) -> (Tensor, Tensor) {
    let Arg::List(l) = arg else { panic!("expected two tensors") };
    match (&l[0], &l[1]) {
        (Arg::Tensor(a), Arg::Tensor(b)) => (a.clone(), b.clone()),
        _ => panic!("expected two tensors"),
    }
}
