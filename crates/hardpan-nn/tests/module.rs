//! `#[derive(Module)]` and what is built on the walk, as a user meets them.

use hardpan_engine::{DType, Tensor};
use hardpan_nn::{
    Buffer, Forward, Layer, Mode, Module, Param, Sequential, State, StateDict, Visit, evaluating,
    seq,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

fn tensor(shape: &[usize], value: f32) -> Tensor {
    Tensor::from_vec(vec![value; shape.iter().product()], shape)
}

fn keys(m: &dyn Module) -> Vec<String> {
    m.state_dict().keys().map(str::to_owned).collect()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.to_vec::<f32>()
}

/// Multiplies by its weight; the smallest thing with a parameter, an optional one, and settings.
#[derive(Module)]
struct Scale {
    weight: Param,
    bias: Option<Param>,
    training: Mode,
    label: String,
    #[allow(dead_code)]
    factor: f32,
}

impl Scale {
    fn new(n: usize, bias: bool) -> Scale {
        Scale {
            weight: Param::new(tensor(&[n], 2.0)),
            bias: bias.then(|| Param::new(tensor(&[n], 1.0))),
            training: Mode::new(),
            label: "scale".into(),
            factor: 1.0,
        }
    }
}

impl Forward for Scale {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = x * self.weight.value();
        match &self.bias {
            Some(b) => y + b.value(),
            None => y,
        }
    }
}

#[derive(Module)]
struct Norm {
    weight: Param,
    running_mean: Buffer,
    scratch: Buffer,
    num_batches_tracked: Buffer,
}

impl Norm {
    fn new(n: usize) -> Norm {
        Norm {
            weight: Param::new(tensor(&[n], 1.0)),
            running_mean: Buffer::new(tensor(&[n], 0.0)),
            scratch: Buffer::transient(tensor(&[n], 9.0)),
            num_batches_tracked: Buffer::new(Tensor::scalar(0i64)),
        }
    }
}

/// Every kind of field there is.
#[derive(Module)]
#[allow(dead_code)]
struct Everything {
    conv: Scale,
    layers: Vec<Scale>,
    pair: (Scale, Norm),
    array: [Scale; 2],
    boxed: Box<dyn Layer>,
    shared: Arc<Scale>,
    named: BTreeMap<String, Scale>,
    maybe: Option<Scale>,
    nested: Option<Vec<Option<Scale>>>,
    r#type: Scale,
    #[module(name = "final")]
    last: Scale,
    #[module(flatten)]
    inner: Norm,
    #[module(skip)]
    constant: Tensor,
    #[module(skip)]
    rule: Box<dyn Fn(f32) -> f32 + Send + Sync>,
    act: fn(&Tensor) -> Tensor,
    dynamic: Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>,
    sizes: Vec<usize>,
    text: &'static str,
    dims: (usize, f32, bool),
    marker: PhantomData<fn() -> Tensor>,
    dtype: DType,
}

fn everything() -> Everything {
    let s = || Scale::new(1, false);
    Everything {
        conv: Scale::new(1, true),
        layers: vec![s(), s()],
        pair: (s(), Norm::new(1)),
        array: [s(), s()],
        boxed: Box::new(s()),
        shared: Arc::new(s()),
        named: BTreeMap::from([("b".into(), s()), ("a".into(), s())]),
        maybe: None,
        nested: Some(vec![None, Some(s())]),
        r#type: s(),
        last: s(),
        inner: Norm::new(1),
        constant: tensor(&[1], 0.0),
        rule: Box::new(|x| x),
        act: |x| x.clone(),
        dynamic: Box::new(|x| x.clone()),
        sizes: vec![1, 2],
        text: "t",
        dims: (1, 1.0, true),
        marker: PhantomData,
        dtype: DType::F32,
    }
}

#[test]
fn names_are_those_of_fields_and_positions_in_order() {
    assert_eq!(
        keys(&everything()),
        [
            "conv.weight",
            "conv.bias",
            "layers.0.weight",
            "layers.1.weight",
            "pair.0.weight",
            "pair.1.weight",
            "pair.1.running_mean",
            "pair.1.num_batches_tracked",
            "array.0.weight",
            "array.1.weight",
            "boxed.weight",
            "shared.weight",
            "named.a.weight",
            "named.b.weight",
            "nested.1.weight",
            "type.weight",
            "final.weight",
            "weight",
            "running_mean",
            "num_batches_tracked",
        ]
    );
}

#[test]
fn transient_buffers_are_walked_but_not_saved() {
    let names: Vec<String> = Norm::new(1).named_buffers().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["running_mean", "scratch", "num_batches_tracked"]);
    assert_eq!(keys(&Norm::new(1)), ["weight", "running_mean", "num_batches_tracked"]);
}

#[derive(Module)]
struct Newtype(Sequential);

#[derive(Module)]
struct Two(Scale, Scale);

#[derive(Module)]
struct Unit;

#[derive(Module)]
#[allow(dead_code)]
enum Block {
    Plain(Scale),
    Pair(Scale, #[module(skip)] std::time::Instant, Scale),
    Named { main: Scale, width: usize },
    Nothing,
}

#[derive(Module)]
#[allow(dead_code)]
enum Never {}

#[derive(Module, Clone, Copy)]
enum Activation {
    Relu,
}

#[test]
fn tuple_structs_and_enums() {
    let s = || Scale::new(1, false);
    assert_eq!(keys(&Newtype(seq![s(), |x: &Tensor| x * 2.0, s()])), ["0.weight", "2.weight"]);
    assert_eq!(keys(&Two(s(), s())), ["0.weight", "1.weight"]);
    assert_eq!(keys(&Unit), [""; 0]);
    assert_eq!(keys(&Block::Plain(s())), ["weight"]);
    let pair = Block::Pair(s(), std::time::Instant::now(), s());
    assert_eq!(keys(&pair), ["0.weight", "2.weight"]);
    assert_eq!(keys(&Block::Named { main: s(), width: 3 }), ["main.weight"]);
    assert_eq!(keys(&Block::Nothing), [""; 0]);
    assert_eq!(keys(&Activation::Relu), [""; 0]);
}

#[derive(Module)]
struct Residual<M, A = Activation> {
    inner: M,
    activation: A,
    marker: PhantomData<u8>,
}

#[derive(Module)]
struct Wrapped<M: Forward<Tensor, Output = Tensor>, F, const N: usize>
where
    F: Fn(&Tensor) -> Tensor,
{
    blocks: [M; N],
    #[module(skip)]
    f: F,
}

impl<M, A> Forward for Residual<M, A>
where
    M: Forward<Tensor, Output = Tensor>,
{
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        self.inner.forward(x) + x
    }
}

#[test]
fn generic_models() {
    let r =
        Residual { inner: Scale::new(1, true), activation: Activation::Relu, marker: PhantomData };
    assert_eq!(keys(&r), ["inner.weight", "inner.bias"]);
    assert_eq!(values(&r.forward(&tensor(&[1], 3.0))), [10.0]);
    let w = Wrapped { blocks: [r], f: |x: &Tensor| x * 2.0 };
    assert_eq!(keys(&w), ["blocks.0.inner.weight", "blocks.0.inner.bias"]);
    assert_eq!(values(&(w.f)(&tensor(&[1], 3.0))), [6.0]);
    // As an object too, whatever the type parameters.
    let boxed: Box<dyn Module> = Box::new(w);
    assert_eq!(boxed.num_parameters(), 2);
}

#[derive(Module)]
struct Tied {
    encoder: Scale,
    decoder: Scale,
}

fn tied() -> Tied {
    let encoder = Scale::new(3, false);
    let mut decoder = Scale::new(3, false);
    decoder.weight = encoder.weight.clone();
    Tied { encoder, decoder }
}

#[test]
fn a_shared_parameter_is_counted_once_and_saved_under_both_names() {
    let m = tied();
    assert_eq!(m.parameters().len(), 1);
    assert_eq!(m.named_parameters()[0].0, "encoder.weight");
    assert_eq!(m.num_parameters(), 3);
    assert_eq!(keys(&m), ["encoder.weight", "decoder.weight"]);
    m.decoder.weight.set(tensor(&[3], 5.0));
    assert_eq!(values(&m.encoder.weight.value()), [5.0; 3]);
    // One of the names is enough to load it.
    let one: StateDict = [("decoder.weight".to_owned(), tensor(&[3], 7.0))].into_iter().collect();
    m.load_state_dict(&one, true).unwrap();
    assert_eq!(values(&m.encoder.weight.value()), [7.0; 3]);
}

#[test]
fn loading_gives_back_what_was_saved() {
    let (a, b) = (
        Two(Scale::new(2, true), Scale::new(2, false)),
        Two(Scale::new(2, true), Scale::new(2, false)),
    );
    a.0.weight.set(tensor(&[2], 8.0));
    let saved = a.state_dict();
    a.0.weight.set(tensor(&[2], -1.0)); // a later step does not change what was saved
    let loaded = b.load_state_dict(&saved, true).unwrap();
    assert_eq!(loaded, Default::default());
    assert_eq!(values(&b.0.weight.value()), [8.0; 2]);
}

#[test]
fn loading_converts_to_the_dtype_of_the_model() {
    let m = Norm::new(1);
    let mut state = m.state_dict();
    state.insert("weight", Tensor::from_vec(vec![4f64], &[1]));
    m.load_state_dict(&state, true).unwrap();
    assert_eq!(m.weight.dtype(), DType::F32);
    assert_eq!(values(&m.weight.value()), [4.0]);
}

#[test]
fn an_error_lists_all_differences_and_changes_nothing() {
    let m = Two(Scale::new(2, true), Scale::new(2, false));
    let state: StateDict = [
        ("0.weight".to_owned(), tensor(&[2], 7.0)),
        ("1.weight".to_owned(), tensor(&[3], 7.0)),
        ("head.weight".to_owned(), tensor(&[1], 7.0)),
    ]
    .into_iter()
    .collect();
    let e = m.load_state_dict(&state, true).unwrap_err();
    assert_eq!(e.missing, ["0.bias"]);
    assert_eq!(e.unexpected, ["head.weight"]);
    assert_eq!(e.mismatched, [("1.weight".to_owned(), vec![2], vec![3])]);
    assert_eq!(
        e.to_string(),
        "the state dict does not fit the model\
         \n  of another shape (1):\
         \n    1.weight: [2] in the model, [3] in the state dict\
         \n  in the model only (1): 0.bias\
         \n  in the state dict only (1): head.weight"
    );
    assert_eq!(values(&m.0.weight.value()), [2.0; 2], "all or nothing");

    // Not strict: names may differ, shapes may not.
    let e = m.load_state_dict(&state, false).unwrap_err();
    assert!(e.missing.is_empty() && e.unexpected.is_empty() && e.mismatched.len() == 1);
    let fits = state.filter(|name, _| name != "1.weight");
    let loaded = m.load_state_dict(&fits, false).unwrap();
    assert_eq!(loaded.missing, ["0.bias", "1.weight"]);
    assert_eq!(loaded.unexpected, ["head.weight"]);
    assert_eq!(values(&m.0.weight.value()), [7.0; 2]);
}

#[test]
fn an_error_sees_a_prefix_too_many() {
    let m = Scale::new(1, true);
    let state = m.state_dict().rename(|k| format!("module.{k}"));
    let e = m.load_state_dict(&state, true).unwrap_err();
    assert!(e.to_string().contains("try state.strip_prefix(\"module.\")"), "{e}");
    m.load_state_dict(&state.strip_prefix("module."), true).unwrap();
}

#[test]
fn modes_reach_every_module_and_come_back() {
    let m = seq![Scale::new(1, false), Two(Scale::new(1, false), Scale::new(1, false))];
    let states = |m: &Sequential| {
        let mut out = Vec::new();
        m.for_each_module(&mut |_, module| {
            if let Some(s) = module.downcast_ref::<Scale>() {
                out.push(s.training.is_training());
            }
        });
        out
    };
    assert_eq!(states(&m), [true; 3]);
    m.eval();
    assert_eq!(states(&m), [false; 3]);
    m.train();
    // A part kept in evaluation, such as frozen batch norms, is so after a validation pass too.
    (m.get(1).unwrap() as &dyn Any).downcast_ref::<Two>().unwrap().0.eval();
    assert_eq!(states(&m), [true, false, true]);
    assert_eq!(evaluating(&m, || states(&m)), [false; 3]);
    assert_eq!(states(&m), [true, false, true]);
}

impl Forward for Two {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        self.1.forward(&self.0.forward(x))
    }
}

#[test]
fn freezing_stops_gradients_and_is_counted() {
    let m = Two(Scale::new(2, true), Scale::new(2, false));
    m.0.weight.set_grad(Some(tensor(&[2], 1.0)));
    m.0.freeze();
    assert!(m.0.weight.is_frozen() && m.0.weight.grad().is_none());
    assert!(!m.0.weight.value().is_requires_grad());
    assert!(m.1.weight.value().is_requires_grad());
    assert_eq!((m.num_parameters(), m.num_trainable()), (6, 2));
    m.0.weight.set(tensor(&[2], 3.0));
    assert!(!m.0.weight.value().is_requires_grad(), "still frozen after set");
    m.unfreeze();
    assert!(m.0.weight.value().is_requires_grad());
    assert_eq!(values(&m.0.weight.value()), [3.0; 2]);
    assert_eq!(m.num_trainable(), 6);
}

#[test]
fn gradients_are_cleared() {
    let m = Two(Scale::new(2, true), Scale::new(2, false));
    m.parameters().iter().for_each(|p| p.set_grad(Some(tensor(&[2], 1.0))));
    m.zero_grad();
    assert!(m.parameters().iter().all(|p| p.grad().is_none()));
}

#[test]
fn dtype_conversion_leaves_counters_alone() {
    let m = Norm::new(2);
    m.to_dtype(DType::F64);
    assert_eq!(m.weight.dtype(), DType::F64);
    assert_eq!(m.running_mean.value().dtype(), DType::F64);
    assert_eq!(m.num_batches_tracked.value().dtype(), DType::I64);
}

#[test]
fn a_tree_shows_the_model() {
    let m =
        seq![Scale::new(2, true), |x: &Tensor| x * 2.0].append_named("norm", Scale::new(3, false));
    m.get(2).unwrap().freeze();
    assert_eq!(
        m.tree(),
        "Sequential\n  0: Scale  weight [2]  bias [2]\n  1: Lambda\n  norm: Scale  weight [3] frozen"
    );
    assert_eq!(keys(&m), ["0.weight", "0.bias", "norm.weight"]);
}

#[test]
fn modules_by_path() {
    let mut seen = Vec::new();
    everything().for_each_module(&mut |path, m| seen.push(format!("{path}:{}", m.type_name())));
    assert_eq!(seen[..3], [":Everything", "conv:Scale", "layers.0:Scale"]);
    assert!(seen.contains(&"pair.1:Norm".to_owned()), "{seen:?}");
}

#[test]
fn sequential_can_be_cut() {
    let mut body = seq![Scale::new(1, false), |x: &Tensor| x + 1.0, Scale::new(1, false)];
    let x = tensor(&[1], 1.0);
    assert_eq!(values(&body.forward(&x)), [6.0]);
    let head = body.split_off(2);
    assert_eq!(keys(&head), ["2.weight"]);
    assert_eq!(values(&head.forward(&body.forward(&x))), [6.0]);
    assert_eq!((body.len(), head.len()), (2, 1));
}

#[test]
fn lists_and_tuples_are_applied_in_turn() {
    let x = tensor(&[1], 1.0);
    assert_eq!(values(&vec![Scale::new(1, true), Scale::new(1, true)].forward(&x)), [7.0]);
    assert_eq!(values(&Vec::<Scale>::new().forward(&x)), [1.0]);
    let chain = (Scale::new(1, true), Scale::new(1, false), Box::new(Scale::new(1, false)));
    assert_eq!(values(&chain.forward(&x)), [12.0]);
    assert_eq!(keys(&chain), ["0.weight", "0.bias", "1.weight", "2.weight"]);
}

/// Source and target go in, two results come out.
struct Pair {
    source: Tensor,
    target: Tensor,
}

#[derive(Module)]
struct Translator {
    encoder: Scale,
    decoder: Scale,
}

impl Forward<Pair> for Translator {
    type Output = (Tensor, Tensor);
    fn forward(&self, x: &Pair) -> (Tensor, Tensor) {
        let h = self.encoder.forward(&x.source);
        (self.decoder.forward(&(&x.target + &h)), h)
    }
}

/// A model that remembers the last hidden state.
#[derive(Module)]
struct Language {
    cell: Scale,
    hidden: State<Option<Tensor>>,
}

impl Forward for Language {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = match self.hidden.take() {
            Some(h) => x + h,
            None => x.clone(),
        };
        let y = self.cell.forward(&x);
        self.hidden.set(Some(y.detach()));
        y
    }
}

/// What a training loop asks of a model: nothing but types.
fn run<X, M: Module + Forward<X>>(model: &M, x: X) -> M::Output {
    model.forward(&x)
}

#[test]
fn several_inputs_outputs_and_states_need_no_casts() {
    let t = Translator { encoder: Scale::new(1, false), decoder: Scale::new(1, true) };
    let (y, h) = run(&t, Pair { source: tensor(&[1], 1.0), target: tensor(&[1], 3.0) });
    assert_eq!((values(&y), values(&h)), (vec![11.0], vec![2.0]));

    let lm = Language { cell: Scale::new(1, false), hidden: State::default() };
    assert_eq!(values(&run(&lm, tensor(&[1], 1.0))), [2.0]);
    assert_eq!(values(&run(&lm, tensor(&[1], 1.0))), [6.0]);
    lm.reset();
    assert_eq!(values(&run(&lm, tensor(&[1], 1.0))), [2.0]);
    assert_eq!(keys(&lm), ["cell.weight"]);
}

#[test]
fn models_are_shared_between_threads() {
    fn sendable<T: Send + Sync>(_: &T) {}
    let m = everything();
    sendable(&m);
    assert_eq!(m.conv.label, "scale");
    let boxed: Box<dyn Layer> = Box::new(Scale::new(1, false));
    sendable(&boxed);
    fn walkable<T: Visit + ?Sized>(_: &T) {}
    walkable(&boxed);
}

#[test]
#[should_panic(expected = "Param::set: the parameter is f32 [2], the new value f32 [3]")]
fn a_value_of_another_shape_is_refused() {
    Scale::new(2, false).weight.set(tensor(&[3], 0.0));
}

#[test]
#[should_panic(expected = "only floating point tensors can be trained, got i64 [1]")]
fn an_integer_parameter_is_refused() {
    Param::new(Tensor::from_vec(vec![1i64], &[1]));
}

#[test]
#[should_panic(expected = "there is a layer named \"a\" already")]
fn two_layers_of_one_name_are_refused() {
    let _ = Sequential::new()
        .append_named("a", Scale::new(1, false))
        .append_named("a", Scale::new(1, false));
}

#[test]
fn backward_fills_the_gradients_of_parameters() {
    let m = tied();
    let x = tensor(&[3], 1.0);
    let run = || m.decoder.forward(&m.encoder.forward(&x)).sum(..).backward();
    run();
    // d(w * w)/dw: both uses of the shared parameter count.
    assert_eq!(values(&m.encoder.weight.grad().unwrap()), [4.0; 3]);
    m.encoder.weight.set(tensor(&[3], 5.0));
    run();
    assert_eq!(values(&m.encoder.weight.grad().unwrap()), [14.0; 3], "adds up until cleared");
    m.zero_grad();
    m.encoder.freeze();
    let y = m.decoder.forward(&m.encoder.forward(&x));
    assert!(!y.is_requires_grad());
}

#[test]
fn a_loop_over_parameters_learns() {
    let m = Scale::new(1, true);
    let x = Tensor::from_vec(vec![-1f32, 0.0, 1.0, 2.0], [4]);
    let y = &x * 3.0 - 4.0;
    for _ in 0..200 {
        let error = m.forward(&x) - &y;
        (&error * &error).mean(..).backward();
        hardpan_engine::no_grad(|| {
            for p in m.parameters() {
                p.set(p.value() - p.grad().unwrap() * 0.1);
            }
        });
        m.zero_grad();
    }
    let (w, b) = (m.weight.value().item::<f32>(), m.bias.as_ref().unwrap().value().item::<f32>());
    assert!((w - 3.0).abs() < 1e-3 && (b + 4.0).abs() < 1e-3, "w {w}, b {b}");
}
