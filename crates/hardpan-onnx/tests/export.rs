//! The files, read back by the rules of protobuf and run by a small interpreter of their own.

use hardpan_engine::{Tensor, manual_seed, no_grad};
use hardpan_nn::{
    AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Flatten, Forward, GELU, Hardswish,
    LayerNorm, Linear, MaxPool2d, Module, ReLU, ReLU6, Sigmoid, seq,
};
use hardpan_onnx::{OnnxError, Options, to_onnx};

mod support;

fn same(model: &dyn Fn(&Tensor) -> Tensor, shape: &[usize], batch: usize) {
    let bytes = to_onnx(model, shape, &Options::default()).unwrap();
    let full: Vec<usize> = [batch].into_iter().chain(shape.iter().copied()).collect();
    let x = Tensor::randn(&full[..]);
    x.eval();
    let want = no_grad(|| model(&x));
    let got = support::run(&bytes, &x);
    assert_eq!(want.shape(), got.shape());
    let diff = (&want - &got).abs().amax(..).item::<f32>();
    let size = want.abs().amax(..).item::<f32>();
    assert!(diff <= 1e-5 * size.max(1.0), "{diff} of {size}");
}

#[test]
fn a_convolutional_network() {
    manual_seed(1);
    let model = seq![
        Conv2d::new(2, 6, 3).stride(2).padding(1).bias(false),
        BatchNorm2d::new(6),
        ReLU,
        MaxPool2d::new(3).stride(2).padding(1),
        Conv2d::new(6, 6, 3).padding(1).groups(3),
        Hardswish,
        ReLU6,
        AvgPool2d::new(2).ceil_mode(true),
        AdaptiveAvgPool2d::new(1),
        Flatten::new(),
        Linear::new(6, 4),
    ];
    model.forward(&Tensor::randn([8, 2, 17, 13]));
    model.eval();
    for batch in [1, 5] {
        same(&|x| model.forward(x), &[2, 17, 13], batch);
    }
}

#[test]
fn a_transformer_s_parts() {
    manual_seed(2);
    let (norm, up, down) = (LayerNorm::new([8]), Linear::new(8, 24), Linear::new(8, 3));
    let attention = |x: &Tensor| {
        let (n, l) = (x.size(0), x.size(1));
        let qkv = up.forward(&norm.forward(x)).reshape([n, l, 3, 2, 4]).permute([2, 0, 3, 1, 4]);
        let part = |i| qkv.select(0, i);
        let y = hardpan_engine::functional::scaled_dot_product_attention(
            &part(0),
            &part(1),
            &part(2),
            Default::default(),
        );
        let y = GELU.forward(&y.transpose(1, 2).reshape([n, l, 8]));
        let class = Tensor::ones([1, 1, 8]).broadcast_to([n, 1, 8]);
        down.forward(&Tensor::cat(&[class, y], 1).flip(1).select(1, 0))
    };
    for batch in [1, 4] {
        same(&attention, &[5, 8], batch);
    }
}

#[test]
fn preprocessing_can_be_in_the_file() {
    manual_seed(3);
    let model = seq![Flatten::new(), Linear::new(12, 2), Sigmoid];
    let mean = Tensor::from_slice(&[0.1f32, 0.2, 0.3], [1, 3, 1, 1]);
    same(&|x| model.forward(&((x / 255.0 - &mean) / 0.25)), &[3, 2, 2], 3);
}

#[test]
fn what_cannot_be_exported_is_said() {
    let o = Options::default();
    let e = to_onnx(|x| x.cumsum(1), &[4], &o).unwrap_err();
    assert!(matches!(&e, OnnxError::Unsupported { op } if op == "cumsum"), "{e}");
    let e = to_onnx(|_| Tensor::ones([2, 3]).exp(), &[4], &o).unwrap_err();
    assert!(matches!(e, OnnxError::Trace { .. } | OnnxError::Batch { .. }), "{e}");
    let e = to_onnx(|x| x.narrow(0, 0, 1), &[4], &o).unwrap_err();
    assert!(matches!(e, OnnxError::Batch { .. }), "{e}");
}

#[test]
fn names_and_texts_are_the_given_ones() {
    let o = Options {
        input: "pixels".into(),
        output: "scores".into(),
        metadata: vec![("classes".into(), "cat,dog".into())],
        ..Options::default()
    };
    let bytes = to_onnx(|x| x * 2.0, &[3], &o).unwrap();
    let file = support::File::read(&bytes);
    assert_eq!((file.input.as_str(), file.output.as_str()), ("pixels", "scores"));
    assert_eq!(file.metadata, [("classes".to_owned(), "cat,dog".to_owned())]);
    assert_eq!(file.opset, hardpan_onnx::OPSET);
}
