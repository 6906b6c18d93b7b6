//! Files of weights: what torch.save wrote is read, what is hostile or damaged is refused.
//!
//! The files in `data` were written by PyTorch 2; what is in them stands in the tests.

use hardpan_engine::{DType, Tensor, io::save_safetensors};
use hardpan_nn::{Conv2d, Module, StateDict, seq};
use hardpan_vision::models::{ModelOptions, create};
use hardpan_vision::weights::{self, WeightsError, from_bytes, load_into};
use proptest::prelude::*;

const ZIP: &[u8] = include_bytes!("data/weights.zip.pt");
const LEGACY: &[u8] = include_bytes!("data/weights.legacy.pt");
const CHECKPOINT: &[u8] = include_bytes!("data/checkpoint.zip.pt");
const HOSTILE: &[u8] = include_bytes!("data/hostile.pt");
const MODULE: &[u8] = include_bytes!("data/module.pt");

fn check(state: &StateDict) {
    let get = |name: &str| state.get(name).unwrap_or_else(|| panic!("no {name} in {state:?}"));
    let weight = get("layer.weight");
    assert_eq!(weight.shape(), [4, 3]);
    assert_eq!(weight.to_vec::<f32>(), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
    assert_eq!(get("layer.bias").to_vec::<f32>(), [2., 3., 4.]);
    assert_eq!((get("half").dtype(), get("half").to_vec::<f32>()), (DType::F16, vec![1.5, -2.0]));
    assert_eq!((get("brain").dtype(), get("brain").to_vec::<f32>()), (DType::BF16, vec![0.5, 3.0]));
    assert_eq!((get("steps").shape(), get("steps").item::<i64>()), (&[][..], 7));
    assert_eq!(get("mask").to_vec::<bool>(), [true, false]);
    assert_eq!((get("wide").shape(), get("wide").to_vec::<f32>()), (&[3, 2][..], vec![1.0; 6]));
    assert_eq!(get("param").to_vec::<f32>(), [4., 5.]);
    assert_eq!(state.len(), 8);
}

#[test]
fn torch_files_of_both_kinds() {
    check(&from_bytes(ZIP, "zip").unwrap());
    check(&from_bytes(LEGACY, "legacy").unwrap());
    // Of a whole training state only the weights.
    check(&from_bytes(CHECKPOINT, "checkpoint").unwrap());
}

#[test]
fn code_is_refused_by_name() {
    let e = from_bytes(HOSTILE, "hostile.pt").unwrap_err();
    assert!(matches!(&e, WeightsError::Forbidden { name, .. } if name == "system"), "{e}");
    assert!(e.to_string().contains("hostile.pt: it asks for `posix.system`"), "{e}");
    let e = from_bytes(MODULE, "module.pt").unwrap_err().to_string();
    assert!(e.contains("torch.nn.modules.linear.Linear") && e.contains("state_dict()"), "{e}");
}

#[test]
fn other_files_are_told_apart() {
    for (bytes, part) in [
        (&b""[..], "the file is empty"),
        (b"\x80\x04N.", "a pickle, but not one of torch.save"),
        (b"\xff\xd8\xff\xe0 a picture", "another format"),
        (&ZIP[..200], "damaged: its zip archive"),
        (&LEGACY[..100], "damaged: pickle: it ends inside"),
        (&LEGACY[..LEGACY.len() - 3], "it ends inside storage"),
    ] {
        let e = from_bytes(bytes, "f").unwrap_err().to_string();
        assert!(e.contains(part), "{e}");
    }
    let e = weights::read("/no/such/file.pth").unwrap_err();
    assert!(matches!(e, WeightsError::Read { .. }), "{e}");
    let e = weights::find("no-such-weights").unwrap_err();
    assert!(e.to_string().starts_with("no weights `no-such-weights`"), "{e}");
}

/// The legacy file with one pickle in place of its own: `object` is what follows the opening `OrderedDict()` entry.
fn legacy(object: &[u8]) -> Vec<u8> {
    let magic = &LEGACY[..15];
    let mut out = magic.to_vec();
    out.extend(b"\x80\x02M\xe9\x03.\x80\x02}U\rlittle_endian\x88s.");
    out.extend(object);
    out
}

/// A tensor of float storage `0` with `numel` elements.
fn tensor(numel: u8, offset: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut p = b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK".to_vec();
    p.push(numel);
    p.extend(b"NtQ");
    p.extend(offset);
    p.extend(b"(");
    p.extend(size);
    p.extend(b"t(");
    p.extend(stride);
    p.extend(b"t\x89}tRs.\x80\x02]U\x010a.");
    p.extend(u64::from(numel).to_le_bytes());
    p.extend((0..numel).flat_map(|i| f32::from(i).to_le_bytes()));
    legacy(&p)
}

#[test]
fn views_must_lie_in_their_storage() {
    let state = from_bytes(&tensor(6, b"K\x01", b"K\x02K\x02", b"K\x01K\x02"), "t").unwrap();
    assert_eq!(state.get("w").unwrap().to_vec::<f32>(), [1., 3., 2., 4.]);
    let huge = b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f";
    for (bytes, part) in [
        (tensor(6, b"K\x03", b"K\x02K\x02", b"K\x01K\x02"), "does not lie in its storage of 6"),
        (tensor(6, b"J\xff\xff\xff\xff", b"K\x02", b"K\x01"), "numbers from 0 on"),
        (tensor(6, b"K\x00", b"K\x02K\x02", b"K\x01"), "does not lie"),
        (tensor(6, b"K\x00", huge, b"K\x00K\x00"), "larger than the file"),
        (tensor(6, b"K\x00", b"J\xff\xff\xff\xff", b"K\x00"), "numbers from 0 on"),
    ] {
        let e = from_bytes(&bytes, "t").unwrap_err().to_string();
        assert!(e.contains(part), "{e}, want {part}");
    }
}

/// A dictionary that holds itself, and one that refers to each level twice.
#[test]
fn endless_nesting_ends() {
    let e = from_bytes(&legacy(b"\x80\x02}q\x00U\x01ah\x00s.\x80\x02]."), "t").unwrap_err();
    assert!(e.to_string().contains("without end"), "{e}");
    let mut p = b"\x80\x02]q\x00".to_vec();
    for i in 1..=40u8 {
        p.extend([b']', b'q', i, b'(', b'h', i - 1, b'h', i - 1, b'e']);
    }
    p.extend(b".\x80\x02].");
    let e = from_bytes(&legacy(&p), "t").unwrap_err();
    assert!(e.to_string().contains("without end"), "{e}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..Default::default() })]

    /// Whatever is done to a file, reading it gives an answer: weights or an error, never a panic.
    #[test]
    fn changed_bytes_do_no_harm(
        which in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = [ZIP, LEGACY, CHECKPOINT][which].to_vec();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = from_bytes(&bytes, "changed");
    }

    #[test]
    fn any_pickle_gives_an_answer(program in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_bytes(&legacy(&program), "random");
    }

    /// Programs of real instructions get further than random bytes.
    #[test]
    fn any_instructions_give_an_answer(ops in prop::collection::vec(
        prop::sample::select(&b"()]}N\x88\x89K\x01K\x05tldaesuRb012Qq\x00h\x00r\x85\x86\x87\x94\x8f\x90\x91\x81"[..]), 0..300)) {
        let mut program = b"ctorch._utils\n_rebuild_tensor_v2\nq\x00".to_vec();
        program.extend(ops);
        program.push(b'.');
        program.extend(b"\x80\x02].");
        let _ = from_bytes(&legacy(&program), "random");
    }
}

#[test]
fn the_first_layer_takes_other_channels() {
    let three = seq![Conv2d::new(3, 4, 3)];
    let weights = three.state_dict();
    for (channels, check) in [
        (1, Box::new(|w: &Tensor| w.sum_keepdim(1)) as Box<dyn Fn(&Tensor) -> Tensor>),
        (2, Box::new(|w: &Tensor| w.narrow(1, 0, 2) * 1.5)),
        (5, Box::new(|w: &Tensor| w.pad_zeros(&[(0, 0), (0, 2), (0, 0), (0, 0)]))),
    ] {
        let model = seq![Conv2d::new(channels, 4, 3)];
        let report = load_into(&model, &weights);
        assert_eq!(
            (report.loaded.len(), report.adapted.as_slice()),
            (2, &["0.weight".to_owned()][..])
        );
        let want = check(weights.get("0.weight").unwrap()).to_vec::<f32>();
        assert_eq!(model.state_dict().get("0.weight").unwrap().to_vec::<f32>(), want);
    }
}

#[test]
fn the_report_tells_what_became_of_each_weight() {
    let model = create("resnet9_tiny", &ModelOptions { classes: 3, ..Default::default() }).unwrap();
    let mut weights = model.state_dict().rename(|k| format!("module.{k}"));
    weights.insert("module.fc.bias", Tensor::zeros([7]));
    weights.insert("module.extra", Tensor::zeros([1]));
    let weights = weights.filter(|k, _| k != "module.prep.0.weight" && !k.ends_with("tracked"));
    let before = model.state_dict();
    let report = load_into(&model, &weights);
    assert_eq!(report.missing, ["prep.0.weight"]);
    assert_eq!(report.unexpected, ["extra"]);
    assert_eq!(report.mismatched[0].name, "fc.bias");
    assert!(!report.is_complete());
    let text = report.to_string();
    assert!(text.contains("fc.bias: [3] in the model, [7] in the file"), "{text}");
    let kept = |s: &StateDict| s.get("fc.bias").unwrap().to_vec::<f32>();
    assert_eq!(kept(&before), kept(&model.state_dict()));
}

/// timm's names, written down from its `EfficientNet`: `blocks.STAGE.BLOCK`, norms counted in the order of use.
#[test]
fn efficientnets_of_timm_fit() {
    let create = || create("efficientnet_lite0", &ModelOptions::default()).unwrap();
    let stages = [1, 2, 2, 3, 3, 4, 1];
    let place = |mut n: usize| {
        let stage = stages.iter().position(|&blocks| {
            n < blocks || {
                n -= blocks;
                false
            }
        });
        format!("blocks.{}.{n}", stage.unwrap())
    };
    let timm = |name: &str| {
        let name = name.to_owned();
        if let Some(rest) = name.strip_prefix("_blocks.") {
            let (n, rest) = rest.split_once('.').unwrap();
            let (layer, rest) = rest.split_once('.').unwrap();
            let layer = match (n, layer) {
                ("0", "_bn1") => "bn1",
                ("0", "_bn2") => "bn2",
                ("0", "_project_conv") => "conv_pw",
                (_, "_expand_conv") => "conv_pw",
                (_, "_depthwise_conv") => "conv_dw",
                (_, "_project_conv") => "conv_pwl",
                (_, "_bn0") => "bn1",
                (_, "_bn1") => "bn2",
                (_, "_bn2") => "bn3",
                other => panic!("{other:?}"),
            };
            return format!("{}.{layer}.{rest}", place(n.parse().unwrap()));
        }
        let (layer, rest) = name.split_once('.').unwrap();
        let layer = match layer {
            "_conv_stem" => "conv_stem",
            "_bn0" => "bn1",
            "_conv_head" => "conv_head",
            "_bn1" => "bn2",
            "_fc" => "classifier",
            other => panic!("{other}"),
        };
        format!("{layer}.{rest}")
    };
    let (from, to) = (create(), create());
    let file = from.state_dict().rename(timm);
    assert!(file.get("blocks.0.0.conv_dw.weight").is_some());
    assert!(file.get("blocks.6.0.conv_pwl.weight").is_some());
    let report = load_into(&to, &file);
    assert!(report.is_complete(), "{report}");
    let numbers = |s: StateDict| -> Vec<f32> {
        s.iter().flat_map(|(_, t)| t.to_dtype(DType::F32).to_vec::<f32>()).collect()
    };
    assert!(numbers(from.state_dict()) == numbers(to.state_dict()));
}

#[test]
fn safetensors_files_are_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    let model = create("resnet9_tiny", &ModelOptions { classes: 3, ..Default::default() }).unwrap();
    let state = model.state_dict();
    save_safetensors(&path, state.iter(), &Default::default()).unwrap();
    let other = create("resnet9_tiny", &ModelOptions { classes: 3, ..Default::default() }).unwrap();
    assert!(weights::load_file(&other, &path).unwrap().is_complete());
    let bits = |s: StateDict| {
        s.iter().flat_map(|(_, t)| t.to_vec::<f32>()).map(f32::to_bits).collect::<Vec<_>>()
    };
    assert_eq!(bits(state), bits(other.state_dict()));
    let wrong = create("resnet18", &ModelOptions::default()).unwrap();
    let e = weights::load_file(&wrong, &path).unwrap_err().to_string();
    assert!(e.contains("fit the model"), "{e}");
}
