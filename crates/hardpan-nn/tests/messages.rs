//! The usual mistakes: each is reported at the line that made it, with the numbers that do not fit and what would.

use hardpan_engine::Tensor;
use hardpan_engine::functional::{self as f, Reduction};
use hardpan_nn::optim::{Adam, Recipe};
use hardpan_nn::*;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex};

/// Message and place of the panic of `run`. The hook is the process's, so all cases are in one test.
fn panic_of(run: impl FnOnce()) -> (String, String, u32) {
    let seen = Arc::new(Mutex::new(None));
    let place = seen.clone();
    let before = take_hook();
    set_hook(Box::new(move |info| {
        let at = info.location().expect("a panic has a place");
        *place.lock().unwrap() = Some((at.file().to_owned(), at.line()));
    }));
    let result = catch_unwind(AssertUnwindSafe(run));
    set_hook(before);
    let Err(error) = result else { return ("nothing was said".into(), String::new(), 0) };
    let text = error.downcast_ref::<String>().cloned();
    let text = text.or_else(|| error.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    let (file, line) = seen.lock().unwrap().clone().expect("a hook that ran");
    (text.unwrap_or_default(), file, line)
}

/// Adds to `$wrong` if the mistake is not reported here, with all these parts.
macro_rules! says {
    ($wrong:ident, $code:expr => [$($part:literal),+]) => {
        let (text, file, at) = panic_of(|| {
            let _ = $code;
        });
        let parts = [$($part),+];
        let missing: Vec<&str> = parts.into_iter().filter(|p| !text.contains(p)).collect();
        // A case may be several lines long.
        let here = file.ends_with("tests/messages.rs") && (line!()..line!() + 5).contains(&at);
        if !missing.is_empty() || !here {
            let code = stringify!($code);
            $wrong.push(format!("{code}\n    said: {text}\n    at {file}:{at}, missing {missing:?}"));
        }
    };
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape)
}

fn ints(v: &[i64]) -> Tensor {
    Tensor::from_slice(v, [v.len()])
}

#[test]
fn the_usual_mistakes() {
    let mut wrong: Vec<String> = Vec::new();
    let linear = Linear::new(784, 10);
    let conv = Conv2d::new(3, 8, 3);
    let ce = CrossEntropyLoss::new();
    let (x43, x10) = (ones(&[4, 3]), ones(&[10]));
    let lstm = LSTM::new(5, 7);
    let table = Embedding::new(10, 4);
    let leaf = ones(&[3]).requires_grad();
    let net = seq![Conv2d::new(1, 8, 3), ReLU, Linear::new(8, 10)];
    says!(wrong, linear.forward(&ones(&[64, 780])) => ["780", "784"]);
    says!(wrong, linear.forward(&ones(&[64, 28, 28])) => ["[64, 28, 28]", "784", ".flatten(1, -1)"]);
    says!(wrong, conv.forward(&ones(&[2, 1, 8, 8])) => ["3", "[2, 1, 8, 8]", "channel"]);
    says!(wrong, conv.forward(&ones(&[2, 3])) => ["[N, C, H, W]", "[2, 3]"]);
    says!(wrong, conv.forward(&ones(&[1, 3, 2, 2])) => ["[1, 3, 2, 2]", "kernel"]);
    says!(wrong, net.forward(&ones(&[2, 1, 8, 8])) => ["8", "[2, 8, 6, 6]"]);
    says!(wrong, ce.forward(&(x43.clone(), ones(&[4]))) => ["f32", "[4, 3]", ".to_dtype(DType::I64)"]);
    says!(wrong, ce.forward(&(x43.clone(), ints(&[0, 1, 2]))) => ["[4, 3]", "[3]"]);
    says!(wrong, ce.forward(&(x43.clone(), ints(&[0, 1, 2, 3]))) => ["class 3", "there are 3, numbered from 0"]);
    says!(wrong, ce.forward(&(x43.clone(), ints(&[0, 1, 2, 0]).reshape([4, 1]))) => ["[4, 3]", "[4, 1]"]);
    says!(wrong, f::mse_loss(&ones(&[4, 3]), &ones(&[4, 2]), Reduction::Mean) => ["[4, 3]", "[4, 2]"]);
    says!(wrong, BCEWithLogitsLoss::new().forward(&(ones(&[4, 1]), ones(&[4]))) => ["[4, 1]", "[4]"]);
    says!(wrong, Tensor::cat(&[ones(&[2, 3]), ones(&[2, 4])], 0) => ["[2, 3]", "[2, 4]"]);
    says!(wrong, Tensor::stack(&[ones(&[2, 3]), ones(&[3, 2])], 0) => ["[2, 3]", "[3, 2]", "tensor 1"]);
    says!(wrong, x43.reshape([5, -1]) => ["[4, 3]", "5", "12"]);
    says!(wrong, x43.reshape([3, 5]) => ["[4, 3]", "[3, 5]", "12", "15"]);
    says!(wrong, Tensor::from_vec(vec![1f32; 5], [2, 3]) => ["5", "[2, 3]", "6"]);
    says!(wrong, table.forward(&ints(&[1, 10])) => ["index 10", "there are 10"]);
    says!(wrong, table.forward(&ones(&[2])) => ["f32", "integer"]);
    says!(wrong, ones(&[64, 784]).matmul(&ones(&[50, 784])) => ["784", "50", ".t()"]);
    says!(wrong, &x43 + &ones(&[4]) => ["[4, 3]", "[4]"]);
    says!(wrong, BatchNorm2d::new(8).forward(&ones(&[2, 4, 3, 3])) => ["8", "[2, 4, 3, 3]"]);
    says!(wrong, BatchNorm2d::new(8).forward(&ones(&[2, 8])) => ["[N, C, H, W]", "[2, 8]"]);
    says!(wrong, LayerNorm::new(8).forward(&ones(&[2, 4])) => ["8", "[2, 4]"]);
    says!(wrong, lstm.forward(&ones(&[3, 2, 4])) => ["LSTM(5, 7)", "[3, 2, 4]"]);
    says!(wrong, lstm.forward(&(ones(&[3, 2, 5]), (ones(&[2, 7]), ones(&[2, 7])))) => ["[1, 2, 7]", "[2, 7]"]);
    says!(wrong, GRU::new(5, 7).forward(&ones(&[5])) => ["GRU(5, 7)", "[5]"]);
    says!(wrong, MaxPool2d::new(3).forward(&ones(&[1, 1, 2, 2])) => ["extent 3", "size 2"]);
    says!(wrong, MultiheadAttention::new(10, 3) => ["10", "3"]);
    says!(wrong, GroupNorm::new(3, 8).forward(&ones(&[1, 8, 2])) => ["3", "8"]);
    says!(wrong, x43.narrow(0, 3, 2) => ["[4, 3]", "3..5"]);
    says!(wrong, x43.select(0, 4) => ["4", "[4, 3]"]);
    says!(wrong, x43.transpose(0, 2) => ["dimension 2", "-2..=1"]);
    says!(wrong, x43.sum(2) => ["2", "rank"]);
    says!(wrong, x43.item::<f32>() => ["[4, 3]", "one"]);
    says!(wrong, x43.gather(0, &ints(&[0])) => ["[4, 3]", "[1]"]);
    says!(wrong, x10.index_select(0, &ints(&[10])).to_vec::<f32>() => ["10", "index"]);
    says!(wrong, (&leaf * 2.0).backward() => ["[3]", "sum"]);
    says!(wrong, x43.sum(..).backward() => [".requires_grad()", "detached"]);
    says!(wrong, Dropout::new(1.5) => ["1.5", "0"]);
    says!(wrong, Adam::new(0.1).build(vec![linear.weight.clone(), linear.weight.clone()]) => ["twice"]);
    says!(wrong, linear.weight.set(ones(&[3])) => ["[10, 784]", "[3]"]);
    says!(wrong, KLDivLoss::new(Reduction::Mean).forward(&(ones(&[2, 3]), ones(&[2, 4]))) => ["[2, 3]", "[2, 4]"]);
    says!(wrong, NLLLoss::new().forward(&(x43.clone(), ints(&[0, 1]))) => ["[4, 3]", "[2]"]);
    says!(wrong, Conv2d::new(4, 8, 3).groups(3) => ["4", "8", "3"]);
    says!(wrong, f::one_hot(&ints(&[0, 5]), Some(3)) => ["class 5", "there are 3"]);
    says!(wrong, LinearCrossEntropyLoss::new(4, 3).forward(&(ones(&[2, 5]), ints(&[0, 1]))) => ["[N, 4]", "[2, 5]"]);
    says!(wrong, f::fractional_max_pool2d(&ones(&[1, 1, 5, 5]), 3, 4, None) => ["4 windows of 3", "at most 3"]);
    assert!(wrong.is_empty(), "{} of the messages:\n{}", wrong.len(), wrong.join("\n"));
}
