//! Model files: what goes in comes out, and what is not a model file is refused with a reason.

use hardpan_engine::{DType, Tensor};
use hardpan_learn::file::{Arch, FORMAT_VERSION, FileError, Header, ModelFile, Provenance};
use hardpan_nn::optim::LBFGS;
use hardpan_nn::{Param, StateDict};
use proptest::prelude::*;
use std::path::Path;

fn weights() -> StateDict {
    let mut out = StateDict::new();
    out.insert("conv.weight", Tensor::from_slice(&[1.5f32, -2.0, 0.0, 3.25], [2, 2]));
    out.insert("bn.count", Tensor::scalar(7i64));
    out.insert("half", Tensor::from_slice(&[0.5f32, 65504.0], [2]).to_dtype(DType::F16));
    out.insert("empty", Tensor::zeros([0, 3]));
    out
}

fn header() -> Header {
    Header {
        arch: Some(Arch { name: "cnn".into(), config: serde_json::json!({"channels": [8, 16]}) }),
        classes: vec!["cat".into(), "dög".into()],
        input: None,
        pipeline: serde_json::json!({"fit": "crop"}),
        model: None,
        provenance: Provenance {
            seed: Some(42),
            metrics: [("accuracy".to_owned(), 0.99)].into(),
            ..Default::default()
        },
    }
}

fn bytes() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.hardpan");
    ModelFile::new(header(), &weights()).write(&path).unwrap();
    std::fs::read(path).unwrap()
}

fn read(bytes: &[u8]) -> Result<ModelFile, FileError> {
    ModelFile::from_bytes(bytes, "m.hardpan")
}

#[test]
fn what_goes_in_comes_out() {
    let file = read(&bytes()).unwrap();
    assert_eq!(file.header.arch, header().arch);
    assert_eq!(file.header.classes, header().classes);
    assert_eq!(file.header.pipeline, header().pipeline);
    assert_eq!(file.header.provenance.library, env!("CARGO_PKG_VERSION"));
    assert_eq!(file.header.provenance.metrics["accuracy"], 0.99);
    assert_eq!(file.weights.len(), 4);
    for (name, t) in weights().iter() {
        let got = file.weights.get(name).unwrap();
        assert_eq!((got.dtype(), got.shape()), (t.dtype(), t.shape()), "{name}");
        assert_eq!(got.to_vec::<f64>(), t.to_vec::<f64>(), "{name}");
    }
    assert_eq!(bytes(), bytes(), "the same model gives the same file");
}

#[test]
fn any_safetensors_reader_finds_the_weights() {
    let bytes = bytes();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("conv.weight").unwrap().shape(), [2, 2]);
}

#[test]
fn a_file_cut_short_says_so_wherever_it_is_cut() {
    let whole = bytes();
    for n in 9..whole.len() {
        match read(&whole[..n]) {
            Err(FileError::Truncated { bytes, expected, .. }) => {
                assert!(bytes == n as u64 && expected > bytes && expected <= whole.len() as u64);
            }
            other => panic!("{n} of {} bytes: {other:?}", whole.len()),
        }
    }
    assert!(matches!(read(&[]), Err(FileError::Foreign { .. })));
}

fn document(version: u32) -> Vec<u8> {
    let text = format!(r#"{{"version":{version},"new":"things"}}"#);
    let meta = std::collections::HashMap::from([("hardpan".to_owned(), text)]);
    safetensors::serialize(Vec::<(&str, safetensors::tensor::TensorView)>::new(), Some(meta))
        .unwrap()
}

#[test]
fn later_versions_are_refused_and_unknown_fields_are_not() {
    assert!(read(&document(FORMAT_VERSION)).is_ok());
    let e = read(&document(FORMAT_VERSION + 1)).unwrap_err();
    assert!(matches!(e, FileError::Newer { found, .. } if found == FORMAT_VERSION + 1));
    assert!(e.to_string().contains("use a newer Hardpan"), "{e}");
}

#[test]
fn other_files_are_told_apart() {
    let says = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(says(b"PK\x03\x04rest of a zip archive").contains("torch.save"));
    assert!(says(b"\x89PNG\r\n\x1a\n....").contains("PNG"));
    assert!(says(b"hello, this is text").contains("not a safetensors file"));
    assert!(says(b"").contains("empty"));
    let views = Vec::<(&str, safetensors::tensor::TensorView)>::new();
    let plain = safetensors::serialize(views, None).unwrap();
    assert!(says(&plain).contains("another program"));
    let e = ModelFile::read("no/such/file.hardpan").unwrap_err().to_string();
    assert!(e.starts_with("no/such/file.hardpan: "), "{e}");
    let dir = tempfile::tempdir().unwrap();
    let e = ModelFile::read(dir.path().join("absent.hardpan")).unwrap_err();
    assert!(matches!(e, FileError::NotFound { .. }), "{e}");
    assert!(ModelFile::read(dir.path()).is_err(), "a folder");
}

#[test]
fn saving_where_nothing_can_be_written_says_where() {
    let e = ModelFile::new(header(), &weights()).write(Path::new("/no/such/dir/m.hardpan"));
    assert!(e.unwrap_err().to_string().contains("/no/such/dir/m.hardpan"));
}

proptest! {
    /// Whatever the bytes, reading ends with a model or a reason.
    #[test]
    fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&noise);
    }

    /// So it does for a good file with a few bytes changed.
    #[test]
    fn no_damage_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read(&bytes);
    }
}

/// An optimizer that a [`Learner`](hardpan_learn::learner::Learner) does not know: its memory goes through a file all the same.
#[test]
fn a_run_with_lbfgs_is_resumed_bit_for_bit() {
    let loss = |w: &Param| {
        let (x, y) = (w.value().select(0, 0), w.value().select(0, 1));
        (&x - 1.0).square() + (y - x.square()).square() * 100.0
    };
    let settings = LBFGS::new(1.0).strong_wolfe(true).max_iter(3).history_size(4);
    let w = Param::new(Tensor::from_vec(vec![-1.5f32, 2.0], [2]));
    let mut opt = settings.build(vec![w.clone()]);
    for _ in 0..3 {
        opt.step(|| loss(&w));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lbfgs.hardpan");
    let mut state = opt.state_dict();
    state.insert("w", w.value().detach());
    ModelFile::new(Header::default(), &state).write(&path).unwrap();

    let read = ModelFile::read(&path).unwrap().weights;
    let v = Param::new(read.get("w").unwrap().clone());
    let mut again = settings.build(vec![v.clone()]);
    again.load_state_dict(&read.filter(|name, _| name != "w")).unwrap();
    for _ in 0..3 {
        assert_eq!(opt.step(|| loss(&w)), again.step(|| loss(&v)));
    }
    assert_eq!(w.value().to_vec::<f32>(), v.value().to_vec::<f32>());
}
