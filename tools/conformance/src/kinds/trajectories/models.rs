//! The networks of the trajectories, with the recorded state dict names.

use hardpan_engine::{Tensor, functional as f};
use hardpan_nn::{
    Attend, AvgPool2d, BatchNorm2d, Conv2d, Embedding, FeedForwardActivation, Forward, LSTM,
    LayerNorm, Linear, MaxPool2d, Module, ReLU, Sequential, State, TransformerConfig,
    TransformerEncoder, Visit, Visitor, seq, visit_field,
};
use serde_json::Value;
use std::rc::Rc;

/// A model, and how it turns a batch into logits.
pub struct Model {
    pub module: Rc<dyn Module>,
    pub forward: Box<dyn Fn(&Tensor) -> Tensor>,
}

fn model<M: Module + Forward<Tensor, Output = Tensor>>(m: M) -> Model {
    let m = Rc::new(m);
    let own = m.clone();
    Model { module: m, forward: Box::new(move |x| own.forward(x)) }
}

/// The architecture of that name; `None` if it is not known.
pub fn build(name: &str, args: &Value) -> Option<Model> {
    let int = |key: &str| args[key].as_u64().unwrap_or(0) as usize;
    let list = |key: &str| -> Vec<usize> {
        let list = args[key].as_array().map_or(&[] as &[Value], Vec::as_slice);
        list.iter().map(|n| n.as_u64().expect("a number") as usize).collect()
    };
    Some(match name {
        "mlp" => {
            let sizes = list("sizes");
            let mut net = Sequential::new();
            for (i, w) in sizes.windows(2).enumerate() {
                if i > 0 {
                    net = net.append(ReLU);
                }
                net = net.append(Linear::new(w[0], w[1]));
            }
            model(net)
        }
        "cnn" => model(Cnn::new(args, &list("channels"))),
        "resnet" => {
            model(ResNet::new(int("in_channels"), int("width"), &list("blocks"), int("classes")))
        }
        "lstm_lm" => model(LstmLm::new(args)),
        "transformer_lm" => model(TransformerLm::new(args)),
        _ => return None,
    })
}

struct Cnn {
    blocks: Vec<(Conv2d, BatchNorm2d)>,
    max: bool,
    fc: Linear,
}

impl Cnn {
    fn new(args: &Value, channels: &[usize]) -> Cnn {
        let int = |key: &str| args[key].as_u64().expect("a number") as usize;
        let kernel = int("kernel");
        let mut from = int("in_channels");
        let mut blocks = Vec::new();
        for c in channels {
            let conv = Conv2d::new(from, *c, kernel).padding(kernel / 2).bias(false);
            blocks.push((conv, BatchNorm2d::new(*c)));
            from = *c;
        }
        let side = int("image") >> channels.len();
        let fc = Linear::new(from * side * side, int("classes"));
        Cnn { blocks, max: args["pool"] == "max", fc }
    }
}

impl Visit for Cnn {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        for (i, (conv, bn)) in self.blocks.iter().enumerate() {
            visit_field(v, &format!("conv{}", i + 1), conv);
            visit_field(v, &format!("bn{}", i + 1), bn);
        }
        visit_field(v, "fc", &self.fc);
        v.end();
    }
}
impl Module for Cnn {}

impl Forward for Cnn {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.blocks.iter().fold(x.clone(), |x, (conv, bn)| {
            let y = f::relu(&bn.forward(&conv.forward(&x)));
            if self.max { MaxPool2d::new(2).forward(&y) } else { AvgPool2d::new(2).forward(&y) }
        });
        self.fc.forward(&x.flatten(1, -1))
    }
}

#[derive(Module)]
struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl BasicBlock {
    fn new(from: usize, to: usize, stride: usize) -> BasicBlock {
        let conv =
            |from, stride: usize| Conv2d::new(from, to, 3).stride(stride).padding(1).bias(false);
        let same = from == to && stride == 1;
        BasicBlock {
            conv1: conv(from, stride),
            bn1: BatchNorm2d::new(to),
            conv2: conv(to, 1),
            bn2: BatchNorm2d::new(to),
            downsample: (!same).then(|| {
                seq![Conv2d::new(from, to, 1).stride(stride).bias(false), BatchNorm2d::new(to)]
            }),
        }
    }
}

impl Forward for BasicBlock {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let y = f::relu(&self.bn1.forward(&self.conv1.forward(x)));
        let y = self.bn2.forward(&self.conv2.forward(&y));
        match &self.downsample {
            Some(d) => f::relu(&(y + d.forward(x))),
            None => f::relu(&(y + x)),
        }
    }
}

struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    stages: Vec<Vec<BasicBlock>>,
    fc: Linear,
}

impl ResNet {
    fn new(inputs: usize, width: usize, blocks: &[usize], classes: usize) -> ResNet {
        let mut from = width;
        let mut stages = Vec::new();
        for (s, n) in blocks.iter().enumerate() {
            let to = width << s;
            let mut stage = Vec::new();
            for j in 0..*n {
                stage.push(BasicBlock::new(from, to, if s > 0 && j == 0 { 2 } else { 1 }));
                from = to;
            }
            stages.push(stage);
        }
        ResNet {
            conv1: Conv2d::new(inputs, width, 3).padding(1).bias(false),
            bn1: BatchNorm2d::new(width),
            stages,
            fc: Linear::new(from, classes),
        }
    }
}

impl Visit for ResNet {
    fn visit(&self, v: &mut dyn Visitor) {
        v.begin(self);
        visit_field(v, "conv1", &self.conv1);
        visit_field(v, "bn1", &self.bn1);
        for (s, stage) in self.stages.iter().enumerate() {
            visit_field(v, &format!("layer{}", s + 1), stage);
        }
        visit_field(v, "fc", &self.fc);
        v.end();
    }
}
impl Module for ResNet {}

impl Forward for ResNet {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = f::relu(&self.bn1.forward(&self.conv1.forward(x)));
        let x = self.stages.iter().flatten().fold(x, |x, block| block.forward(&x));
        self.fc.forward(&x.mean([2, 3]))
    }
}

#[derive(Module)]
struct LstmLm {
    encoder: Embedding,
    rnn: LSTM,
    decoder: Linear,
    hidden: State<Option<(Tensor, Tensor)>>,
}

impl LstmLm {
    fn new(args: &Value) -> LstmLm {
        let int = |key: &str| args[key].as_u64().expect("a number") as usize;
        let (vocab, emb, hidden) = (int("vocab"), int("emb"), int("hidden"));
        let encoder = Embedding::new(vocab, emb);
        let mut decoder = Linear::new(hidden, vocab);
        if args["tie"] == true {
            decoder.weight = encoder.weight.clone();
        }
        let rnn = LSTM::new(emb, hidden).layers(int("layers")).batch_first(true);
        LstmLm { encoder, rnn, decoder, hidden: State::default() }
    }
}

impl Forward for LstmLm {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.encoder.forward(x);
        let (y, (h, c)) = match self.hidden.take() {
            None => self.rnn.forward(&x),
            Some(state) => self.rnn.forward(&(x, state)),
        };
        // Cases that do not carry it reset the model before each step.
        self.hidden.set(Some((h.detach(), c.detach())));
        self.decoder.forward(&y)
    }
}

#[derive(Module)]
struct TransformerLm {
    tok: Embedding,
    pos: Embedding,
    encoder: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl TransformerLm {
    fn new(args: &Value) -> TransformerLm {
        let int = |key: &str| args[key].as_u64().expect("a number") as usize;
        let d = int("d_model");
        let activation = match args["activation"].as_str() {
            Some("gelu") => FeedForwardActivation::GELU,
            _ => FeedForwardActivation::ReLU,
        };
        let config = TransformerConfig::new(d, int("heads"))
            .feedforward(int("ff"))
            .dropout(0.0)
            .activation(activation)
            .norm_first(args["norm_first"] == true)
            .batch_first(true);
        let tok = Embedding::new(int("vocab"), d);
        let mut head = Linear::new(d, int("vocab")).bias(false);
        if args["tie"] == true {
            head.weight = tok.weight.clone();
        }
        TransformerLm {
            tok,
            pos: Embedding::new(int("max_len"), d),
            encoder: TransformerEncoder::new(&config, int("layers")),
            norm: LayerNorm::new(d),
            head,
        }
    }
}

impl Forward for TransformerLm {
    type Output = Tensor;
    fn forward(&self, x: &Tensor) -> Tensor {
        let places = Tensor::iota(x.size(1));
        let h = self.tok.forward(x) + self.pos.forward(&places);
        let h = self.encoder.apply(&h, &Attend::causal());
        self.head.forward(&self.norm.forward(&h))
    }
}
