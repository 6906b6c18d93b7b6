//! Hooks and summaries, as a user meets them.

use hardpan_engine::{Tensor, manual_seed};
use hardpan_nn::hook::{Hooks, is, leaf};
use hardpan_nn::*;
use std::sync::{Arc, Mutex};

fn net() -> Sequential {
    manual_seed(3);
    seq![Linear::new(3, 4), ReLU, Linear::new(4, 2), ReLU]
}

fn input() -> Tensor {
    Tensor::from_vec(vec![1f32, -2.0, 0.5, 0.1, 0.7, -0.3], [2, 3])
}

/// Collects `path type shape` of every call.
fn log(hooks: &Hooks) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = lines.clone();
    hooks.after("*", move |c| {
        let shapes: Vec<_> = c.outputs.iter().map(|t| format!("{:?}", t.shape())).collect();
        let line = format!("{} {} {}", c.path, c.module.type_name(), shapes.join(" "));
        into.lock().unwrap().push(line);
    });
    lines
}

fn taken(lines: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
    std::mem::take(&mut *lines.lock().unwrap())
}

#[test]
fn every_layer_is_seen_once_under_its_path() {
    let (model, hooks) = (net(), Hooks::new());
    let lines = log(&hooks);
    let plain = model.forward(&input()).to_vec::<f32>();
    assert!(taken(&lines).is_empty(), "nothing is attached yet");
    let attached = hooks.attach(&model);
    assert_eq!(model.forward(&input()).to_vec::<f32>(), plain);
    let want = ["0 Linear [2, 4]", "1 ReLU [2, 4]", "2 Linear [2, 2]", "3 ReLU [2, 2]"];
    assert_eq!(taken(&lines)[..4], want);
    drop(attached);
    model.forward(&input());
    assert!(taken(&lines).is_empty(), "the guard is gone");
}

#[test]
fn the_model_itself_is_seen_last() {
    let (model, hooks) = (net(), Hooks::new());
    let lines = log(&hooks);
    hooks.run(&model, &input());
    assert_eq!(taken(&lines).last().unwrap(), " Sequential [2, 2]");
}

#[test]
fn inputs_and_outputs_can_be_replaced() {
    let (model, hooks) = (net(), Hooks::new());
    let other = Tensor::from_vec(vec![0.3f32; 6], [2, 3]);
    let want = model.forward(&other).to_vec::<f32>();
    let put = other.clone();
    let first = hooks.before("0", move |c| c.inputs[0] = put.clone());
    let attached = hooks.attach(&model);
    assert_eq!(model.forward(&input()).to_vec::<f32>(), want);
    first.remove();
    hooks.after(is::<ReLU>, |c| c.outputs[0] = &c.outputs[0] + 1.0);
    let relu = |x: &Tensor| x.maximum(0.0) + 1.0;
    let (a, b) = (model.get(0).unwrap(), model.get(2).unwrap());
    let want = relu(&b.forward(&relu(&a.forward(&input())))).to_vec::<f32>();
    assert_eq!(model.forward(&input()).to_vec::<f32>(), want);
    drop(attached);
}

#[test]
fn gradients_are_seen_and_replaced() {
    let (model, hooks) = (net(), Hooks::new());
    model.forward(&input()).sum(..).backward();
    let plain: Vec<Vec<f32>> =
        model.parameters().iter().map(|p| p.grad().unwrap().to_vec()).collect();
    model.zero_grad();

    let outputs = hooks.capture_grads(is::<Linear>);
    let inputs = Arc::new(Mutex::new(Vec::new()));
    let into = inputs.clone();
    hooks.grad_input("2", move |g| into.lock().unwrap().push(g.grad.detach()));
    let attached = hooks.attach(&model);
    model.forward(&input()).sum(..).backward();
    // Looking changes nothing.
    for (p, want) in model.parameters().iter().zip(&plain) {
        assert_eq!(&p.grad().unwrap().to_vec::<f32>(), want);
    }
    let seen = outputs.take();
    assert_eq!(seen.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), ["2", "0"]);
    // The bias adds, so its gradient is the column sums of the output's; the input's is that times the weight.
    let bias = model.parameters()[3].grad().unwrap().to_vec::<f32>();
    assert_eq!(seen[0].tensors[0].sum(0).to_vec::<f32>(), bias);
    let weight = model.parameters()[2].value().detach();
    let want = seen[0].tensors[0].matmul(&weight).to_vec::<f32>();
    assert_eq!(inputs.lock().unwrap()[0].to_vec::<f32>(), want);

    model.zero_grad();
    hooks.clear();
    hooks.grad_output("2", |g| *g.grad = &*g.grad * 2.0);
    model.forward(&input()).sum(..).backward();
    for (p, want) in model.parameters().iter().zip(&plain) {
        let doubled: Vec<f32> = want.iter().map(|x| 2.0 * x).collect();
        assert_eq!(p.grad().unwrap().to_vec::<f32>(), doubled);
    }
    drop(attached);
}

#[test]
#[should_panic(expected = "a hook on 0 replaced a gradient of shape [2, 4] by one of shape [2]")]
fn a_gradient_of_another_shape_is_refused() {
    let (model, hooks) = (net(), Hooks::new());
    hooks.grad_output("0", |g| *g.grad = Tensor::zeros([2]));
    let _attached = hooks.attach(&model);
    model.forward(&input()).sum(..).backward();
}

/// A model of one's own, whose layers are called by name.
#[derive(Module)]
struct Own {
    conv: Conv2d,
    act1: ReLU,
    block: Block,
    act2: ReLU,
    head: Linear,
}

#[derive(Module)]
struct Block {
    bn: BatchNorm2d,
    scale: Param,
}

impl Forward for Block {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        hooked!(self, x => self.bn.forward(x) * self.scale.value())
    }
}

impl Forward for Own {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.act1.forward(&self.conv.forward(x));
        let x = self.act2.forward(&self.block.forward(&x));
        self.head.forward(&x.flatten(1, -1))
    }
}

fn own() -> Own {
    manual_seed(5);
    Own {
        conv: Conv2d::new(1, 4, 3).padding(1),
        act1: ReLU,
        block: Block { bn: BatchNorm2d::new(4), scale: Param::new(Tensor::ones([1])) },
        act2: ReLU,
        head: Linear::new(4 * 8 * 8, 10),
    }
}

#[test]
fn layers_called_by_a_model_of_ones_own_are_seen() {
    let (model, hooks) = (own(), Hooks::new());
    let lines = log(&hooks);
    let _attached = hooks.attach(&model);
    for _ in 0..2 {
        model.forward(&Tensor::ones([2, 1, 8, 8]));
        let want = [
            "conv Conv2d [2, 4, 8, 8]",
            "act1 ReLU [2, 4, 8, 8]",
            "block.bn BatchNorm2d [2, 4, 8, 8]",
            "block Block [2, 4, 8, 8]",
            "act2 ReLU [2, 4, 8, 8]",
            "head Linear [2, 10]",
        ];
        assert_eq!(taken(&lines), want);
    }
}

#[test]
fn a_part_of_a_model_and_several_lists_at_once() {
    let outer = seq![net(), Box::new(own().head), |x: &Tensor| x * 2.0];
    let (whole, part) = (Hooks::new(), Hooks::new());
    let (a, b) = (log(&whole), log(&part));
    let first = whole.attach(&outer);
    let second = part.attach(outer.get(0).unwrap());
    // 2 features do not fit the head: the panic must not leave calls open.
    let fails = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        outer.forward(&input());
    }));
    assert!(fails.is_err());
    let (all, some) = (taken(&a), taken(&b));
    assert_eq!(all[..2], ["0.0 Linear [2, 4]", "0.1 ReLU [2, 4]"]);
    assert_eq!(all[4], "0 Sequential [2, 2]");
    assert_eq!(some[..2], ["0 Linear [2, 4]", "1 ReLU [2, 4]"]);
    assert_eq!(some[4], " Sequential [2, 2]", "the part is the whole of its own list");
    drop(second);
    outer.get(0).unwrap().forward(&input());
    assert_eq!(taken(&a)[0], "0.0 Linear [2, 4]");
    assert!(taken(&b).is_empty());
    drop(first);
}

#[test]
fn layers_of_several_inputs_and_outputs() {
    manual_seed(1);
    let (model, hooks) = (LSTM::new(3, 5).layers(2), Hooks::new());
    let lines = log(&hooks);
    let _attached = hooks.attach(&model);
    let h = Tensor::zeros([2, 1, 5]);
    model.forward(&(Tensor::ones([4, 1, 3]), (h.clone(), h)));
    assert_eq!(taken(&lines), [" LSTM [4, 1, 5] [2, 1, 5] [2, 1, 5]"]);
}

#[test]
fn a_transformer_computes_the_same_bits_with_hooks() {
    manual_seed(2);
    let config = TransformerConfig::new(8, 2).feedforward(16).dropout(0.0).batch_first(true);
    let (model, hooks) = (TransformerEncoder::new(&config, 2), Hooks::new());
    let x = Tensor::randn([2, 5, 8]);
    let plain = model.forward(&x).to_vec::<f32>();
    let weights = hooks.capture(is::<MultiheadAttention>);
    let lines = log(&hooks);
    assert_eq!(hooks.run(&model, &x).to_vec::<f32>(), plain);
    assert_eq!(weights.take().len(), 2);
    let lines = taken(&lines);
    for want in [
        "layers.1.self_attn MultiheadAttention [2, 5, 8]",
        "layers.1.norm2 LayerNorm [2, 5, 8]",
        "layers.0 TransformerEncoderLayer [2, 5, 8]",
        " TransformerEncoder [2, 5, 8]",
    ] {
        assert_eq!(lines.iter().filter(|l| *l == want).count(), 1, "{want} in {lines:#?}");
    }
}

#[test]
fn training_goes_on_under_hooks_and_keeps_nothing() {
    use hardpan_nn::optim::{Recipe, SGD};
    let (model, hooks) = (net(), Hooks::new());
    let means = Arc::new(Mutex::new(Vec::new()));
    let into = means.clone();
    hooks.after(leaf, move |c| into.lock().unwrap().push(c.outputs[0].detach().mean(..)));
    hooks.grad_output(leaf, |_| {});
    let mut opt = SGD::new(0.05).build(&model);
    let _attached = hooks.attach(&model);
    let target = Tensor::from_vec(vec![1f32, 0.0, 0.5, 2.0], [2, 2]);
    let mut losses = Vec::new();
    let mut live = 0;
    for step in 0..60 {
        let d = model.forward(&input()) - &target;
        let loss = (&d * &d).mean(..);
        loss.backward();
        opt.step_and_zero_grad();
        losses.push(loss.item::<f32>());
        drop((d, loss));
        means.lock().unwrap().clear();
        if step == 10 {
            live = hardpan_engine::live_nodes();
        }
    }
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    // Other tests of this process hold tensors too, but not hundreds.
    assert!(hardpan_engine::live_nodes() < live + 2000);
}

#[test]
fn summary_of_a_convolutional_network() {
    let model = seq![
        Conv2d::new(3, 8, 3).padding(1).bias(false),
        BatchNorm2d::new(8),
        ReLU,
        Conv2d::new(8, 16, 3).stride(2).padding(1).groups(2),
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(16, 10),
    ];
    model.get(0).unwrap().freeze();
    let summary = model.summary(&Tensor::zeros([4, 3, 16, 16]));
    let shapes: Vec<_> = summary.rows.iter().map(|r| r.output_shapes[0].clone()).collect();
    let want: [&[usize]; 8] = [
        &[4, 10],
        &[4, 8, 16, 16],
        &[4, 8, 16, 16],
        &[4, 8, 16, 16],
        &[4, 16, 8, 8],
        &[4, 16, 1, 1],
        &[4, 16],
        &[4, 10],
    ];
    assert_eq!(shapes, want);
    let (conv1, conv2, linear) = (3 * 8 * 9, 16 * 4 * 9 + 16, 16 * 10 + 10);
    assert_eq!(summary.parameters, conv1 + 16 + conv2 + linear);
    assert_eq!(summary.trainable, 16 + conv2 + linear);
    let cost = |i: usize| summary.rows[i].multiply_adds.unwrap();
    assert_eq!(cost(1), 4 * 16 * 16 * 8 * 27);
    assert_eq!(cost(4), 4 * 8 * 8 * 16 * 36);
    assert_eq!(cost(7), 4 * 160);
    assert_eq!(summary.multiply_adds, cost(1) + cost(4) + cost(7));
    assert_eq!(summary.flops(), 2 * summary.multiply_adds);
    // Evaluation mode: statistics did not move, and all is in training mode again.
    assert_eq!(model.state_dict().get("1.num_batches_tracked").unwrap().item::<i64>(), 0);
    let text = summary.to_string();
    for want in ["0: Conv2d", "[4, 8, 16, 16]", "221,184", "216 frozen", "MFLOPs"] {
        assert!(text.contains(want), "{want} in\n{text}");
    }
}

#[test]
fn summary_of_nested_modules() {
    let summary = own().summary(&Tensor::zeros([1, 1, 8, 8]));
    let rows: Vec<(String, usize, usize)> =
        summary.rows.iter().map(|r| (r.path.clone(), r.depth, r.parameters)).collect();
    let row = |p: &str, d: usize, n: usize| (p.to_owned(), d, n);
    let head = 256 * 10 + 10;
    assert_eq!(
        rows,
        [
            row("", 0, 40 + 8 + 1 + head),
            row("conv", 1, 40),
            row("act1", 1, 0),
            row("block", 1, 9),
            row("block.bn", 2, 8),
            row("act2", 1, 0),
            row("head", 1, head),
        ]
    );
    assert_eq!(summary.depth(0).rows.len(), 1);
}
