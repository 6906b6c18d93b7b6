//! Architectures: sizes, names, outputs, and the way through a file's header.

use hardpan_engine::{Tensor, manual_seed, no_grad};
use hardpan_learn::file::Arch;
use hardpan_nn::{Forward, Module};
use hardpan_vision::models::{
    Activation, HeadOptions, ModelError, ModelOptions, create, from_arch, list, names,
};
use serde_json::json;

fn options(classes: usize) -> ModelOptions {
    ModelOptions { classes, ..Default::default() }
}

/// Numbers of parameters for 1,000 classes, as fastai 2.8, torchvision and timm count them.
#[test]
fn as_many_parameters_as_elsewhere() {
    let counts: std::collections::HashMap<_, _> = list().into_iter().collect();
    for (name, want) in [
        ("xresnet18", 11_708_744),
        ("xresnet34", 21_816_904),
        ("xresnet50", 25_576_264),
        ("xresnet101", 44_568_392),
        ("xresnet152", 60_212_040),
        ("xresnet18_deep", 14_535_496),
        ("xresnet50_deep", 29_147_976),
        ("xresnet18_deeper", 10_995_528),
        ("xresnet34_deeper", 27_005_000),
        ("xse_resnet18", 11_798_856),
        ("xse_resnet50", 126_777_336),
        ("xresnext18", 13_555_784),
        ("xresnext50", 25_048_136),
        ("xse_resnext50", 27_579_128),
        ("xse_resnext34_deep", 26_511_520),
        ("xse_resnext34_deeper", 22_835_600),
        ("xse_resnext50_deeper", 27_930_424),
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("mobilenet_v3_small", 2_542_856),
        ("mobilenet_v3_large", 5_483_032),
        ("efficientnet_lite0", 4_652_008),
        ("convnext_tiny", 28_589_128),
        ("vit_tiny_patch16_224", 5_717_416),
        ("vit_small_patch16_224", 22_050_664),
    ] {
        assert_eq!(counts.get(name), Some(&want), "{name}");
    }
    assert_eq!(counts.len(), names().len());
    assert!(counts.values().all(|n| *n > 0), "{counts:?}");
}

/// A few keys of each family, as they are in files found elsewhere.
#[test]
fn weights_are_named_as_elsewhere() {
    for (name, keys) in [
        ("xresnet50", "0.0.weight 2.1.bias 4.0.convpath.2.1.weight 5.0.idpath.1.0.weight 11.bias"),
        ("xse_resnext18", "4.1.convpath.2.layers.1.0.weight 4.1.convpath.2.layers.2.0.bias"),
        ("resnet50", "conv1.weight layer1.0.downsample.1.running_var layer4.2.bn3.bias fc.weight"),
        (
            "mobilenet_v3_small",
            "features.0.0.weight features.1.block.1.fc1.bias classifier.3.weight",
        ),
        (
            "efficientnet_lite0",
            "_conv_stem.weight _blocks.1._bn0.bias _blocks.15._project_conv.weight _fc.bias",
        ),
        (
            "convnext_tiny",
            "features.0.1.weight features.1.0.layer_scale features.1.0.block.5.bias features.2.0.weight classifier.2.bias",
        ),
        (
            "vit_tiny_patch16_224",
            "cls_token pos_embed patch_embed.proj.bias blocks.11.attn.qkv.weight blocks.0.mlp.fc2.bias norm.weight head.bias",
        ),
    ] {
        let state = create(name, &options(10)).unwrap().state_dict();
        for key in keys.split(' ') {
            assert!(state.get(key).is_some(), "{name} has no {key}");
        }
    }
}

#[test]
fn pictures_in_scores_out() {
    manual_seed(1);
    for name in ["resnet9_tiny", "airbench94", "xresnet18", "mobilenet_v3_small", "cnn"] {
        let o = ModelOptions { channels: 1, ..options(3) };
        let model = create(name, &o).unwrap();
        let x = Tensor::randn([2, 1, 33, 47]);
        assert_eq!(model.forward(&x).shape(), [2, 3], "{name}");
        assert_eq!(model.embed(&x).shape(), [2, model.num_features()], "{name}");
        let grouped: usize = model.groups().iter().map(Vec::len).sum();
        assert_eq!((model.groups().len(), grouped), (3, model.parameters().len()), "{name}");
    }
    // The smallest picture there is for its patches of 2x2.
    let tiny = create("airbench94", &options(3)).unwrap();
    assert_eq!(tiny.forward(&Tensor::randn([2, 3, 2, 2])).shape(), [2, 3]);
}

/// Every weight is a function of its place, so the outputs are fixed numbers: those of torchvision, fastai and timm with the same
/// weights.
#[test]
fn outputs_are_those_of_the_originals() {
    for (name, size, want) in ORACLE {
        let model = create(name, &ModelOptions { image_size: 32, ..options(4) }).unwrap();
        for (key, p) in model.named_parameters() {
            let shape = p.shape();
            p.set(match (shape.len(), key.ends_with("weight")) {
                (1, true) => pattern(&shape, 0.5) + 1.0,
                (1, false) => pattern(&shape, -0.5),
                _ => pattern(&shape, 2.0),
            });
        }
        for (key, b) in model.named_buffers() {
            let shape = b.value().shape().to_vec();
            if key.ends_with("running_mean") {
                b.set(pattern(&shape, 0.5));
            } else if key.ends_with("running_var") {
                b.set(pattern(&shape, 0.5) + 1.0);
            }
        }
        model.eval();
        let x = pattern(&[1, 3, *size, *size], 4.0);
        let y = no_grad(|| model.forward(&x)).to_vec::<f64>();
        for (a, b) in y.iter().zip(want) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(0.1), "{name}: {y:?}, want {want:?}");
        }
    }
}

/// Numbers without order in `-1..1` times `scale / sqrt(inputs)`.
fn pattern(shape: &[usize], scale: f64) -> Tensor {
    let n: usize = shape.iter().product();
    let fan: usize = shape.iter().skip(1).product();
    let scale = scale / (fan.max(1) as f64).sqrt();
    let value = |i: u64| {
        let h = (i * 2_654_435_761) & 0xffff_ffff;
        let h = ((h ^ (h >> 15)) * 2_246_822_519) & 0xffff_ffff;
        let h = h ^ (h >> 13);
        ((h as f64 / 2f64.powi(31) - 1.0) * scale) as f32
    };
    Tensor::from_vec((1..=n as u64).map(value).collect(), shape)
}

include!("data/oracle.rs");

#[test]
fn a_header_says_how_to_build() {
    let o = ModelOptions {
        head: Some(HeadOptions { hidden: vec![32], ..Default::default() }),
        activation: Some(Activation::Mish),
        ..options(5)
    };
    let model = create("xresnet18", &o).unwrap();
    let arch = model.arch();
    assert_eq!(arch.name, "xresnet18");
    let again = from_arch(&arch).unwrap();
    assert_eq!(again.load_state_dict(&model.state_dict(), true).unwrap().missing.len(), 0);
    let keys: Vec<String> = again.state_dict().keys().map(str::to_owned).collect();
    assert!(keys.contains(&"head.2.weight".into()) && !keys.iter().any(|k| k.starts_with("11.")));
    // Today's digit models have headers of their own kind.
    let digits = hardpan_learn::arch::Network::cnn(10);
    let model = from_arch(&digits.to_arch()).unwrap();
    assert_eq!(model.arch(), digits.to_arch());
    assert!(model.load_state_dict(&digits.build().state_dict(), true).is_ok());
}

#[test]
fn fastai_s_head() {
    let head = HeadOptions::default();
    let model = create("resnet18", &ModelOptions { head: Some(head), ..options(37) }).unwrap();
    let names: Vec<String> = model.head().iter().map(|(_, l)| l.type_name().to_owned()).collect();
    let want =
        "ConcatPool2d Flatten BatchNorm1d Dropout Linear Activation BatchNorm1d Dropout Linear";
    assert_eq!(names.join(" "), want);
    let head: usize = model.groups()[2].iter().map(|p| p.numel()).sum();
    // As fastai's `create_head(512, 37)`.
    assert_eq!(head, 2 * 1024 + 1024 * 512 + 2 * 512 + 512 * 37);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let e = create("resnet-18", &options(10)).err().unwrap().to_string();
    assert!(e.contains("did you mean `resnet18`?"), "{e}");
    for (config, part) in [
        (json!({"classes": 0}), "0 classes"),
        (json!({"classes": 1u64 << 40}), "classes"),
        (json!({"channels": "three"}), "invalid type"),
        (json!({"head": {"hidden": [1u64 << 30]}}), "units in a layer"),
        (json!({"dropout": 2.0}), "dropout of 2"),
    ] {
        let e = from_arch(&Arch { name: "resnet18".into(), config }).err().unwrap();
        assert!(matches!(e, ModelError::Settings { .. }) && e.to_string().contains(part), "{e}");
    }
    let e = create("vit_tiny_patch16_224", &ModelOptions { image_size: 100, ..options(2) });
    assert!(e.err().unwrap().to_string().contains("patches of 16"));
}
