//! Tensors in files: round trips, what other programs write, and what must be refused.

use hardpan_engine::io::{npy, safetensors};
use hardpan_engine::{
    DType, FileError, FormatError, HostArray, Tensor, load_safetensors, save_safetensors,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn sample(dtype: DType, shape: &[usize]) -> HostArray {
    let mut a = HostArray::zeros(dtype, shape);
    for i in 0..a.len() {
        a.set(i, hardpan_engine::Scalar::Float((i * 7 % 11) as f64));
    }
    a
}

#[test]
fn npy_round_trip_of_every_dtype() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in DType::ALL {
        for shape in [&[] as &[usize], &[5], &[2, 0, 3], &[2, 3, 4]] {
            let path = dir.path().join("x.npy");
            let a = sample(dtype, shape);
            Tensor::from_host(&a).save_npy(&path).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().len() % 64, (a.bytes().len() % 64) as u64);
            assert_eq!(Tensor::load_npy(&path).unwrap().to_host(), a, "{dtype} {shape:?}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary files stay");
}

fn npy_file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut f = b"\x93NUMPY".to_vec();
    f.extend([version, 0]);
    if version == 1 {
        f.extend((header.len() as u16).to_le_bytes());
    } else {
        f.extend((header.len() as u32).to_le_bytes());
    }
    f.extend(header.as_bytes());
    f.extend(data);
    f
}

#[test]
fn npy_of_other_writers() {
    // Column-major, as numpy writes a transposed array.
    let data: Vec<u8> = [1i32, 4, 2, 5, 3, 6].iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }\n";
    let a = npy::decode(&npy_file(1, header, &data)).unwrap();
    assert_eq!(a.to_vec::<i32>(), vec![1, 2, 3, 4, 5, 6]);
    // Big endian, version 3, double quotes, entries in another order, no last comma.
    let data: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|x| x.to_be_bytes()).collect();
    let header = "{\"shape\":(2,),\"fortran_order\":False,\"descr\":\">f8\"}";
    let a = npy::decode(&npy_file(3, header, &data)).unwrap();
    assert_eq!(a.to_vec::<f64>(), vec![1.5, -2.0]);
    let data: Vec<u8> = [7u16, 65535].iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (2,)}";
    let a = npy::decode(&npy_file(2, header, &data)).unwrap();
    assert_eq!((a.dtype(), a.to_vec::<i32>()), (DType::I32, vec![7, 65535]));
}

#[test]
fn npy_refusals_say_why() {
    let why = |bytes: &[u8]| npy::decode(bytes).unwrap_err().to_string();
    assert_eq!(why(b""), "not a npy file: it is empty");
    assert!(why(b"PK\x03\x04....").contains(".npz"));
    assert!(why(b"\x93NUMPY\x01\x00\xff\xff{}").contains("ends inside the header"));
    let header = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    };
    let cut = npy_file(1, &header("<f4", "(2, 3)"), &[0; 20]);
    assert!(why(&cut).contains("needs 24 bytes of data, the file has 20"), "{}", why(&cut));
    let huge = npy_file(1, &header("<f8", "(4000000000, 4000000000, 4000000000)"), &[]);
    assert!(why(&huge).contains("too large"));
    let objects = npy::decode(&npy_file(1, &header("|O", "(1,)"), &[0; 8])).unwrap_err();
    assert!(
        matches!(&objects, FormatError::Unsupported { reason, .. } if reason.contains("run code"))
    );
    assert!(why(&npy_file(1, &header("<u8", "(1,)"), &[0; 8])).contains("int64"));
    let missing = Tensor::load_npy("/no/such/file.npy").unwrap_err();
    assert!(matches!(missing, FileError::Read { .. }), "{missing}");
    assert!(missing.to_string().contains("/no/such/file.npy"));
}

#[test]
fn writing_into_nothing_keeps_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("missing").join("x.npy");
    let e = Tensor::ones([2]).save_npy(&path).unwrap_err();
    assert!(matches!(e, FileError::Write { .. }) && e.to_string().contains("x.npy"), "{e}");
    // A directory in the place of the file cannot be replaced, and nothing is left beside it.
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("inside"), "kept").unwrap();
    Tensor::ones([2]).save_npy(&taken).unwrap_err();
    assert_eq!(std::fs::read_to_string(taken.join("inside")).unwrap(), "kept");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn safetensors_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let tensors: BTreeMap<String, Tensor> = DType::ALL
        .into_iter()
        .map(|d| (format!("layer.{d}"), Tensor::from_host(&sample(d, &[3, 2]))))
        .chain([("empty".to_string(), Tensor::zeros([0, 4]))])
        .chain([("number \"1\"\n".to_string(), Tensor::scalar(4i64))])
        .collect();
    let metadata: BTreeMap<String, String> =
        [("format", "pt"), ("note", "a \"quoted\" \\ line\n\u{1}é")]
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .into();
    save_safetensors(&path, &tensors, &metadata).unwrap();
    let first = std::fs::read(&path).unwrap();
    let file = load_safetensors(&path).unwrap();
    assert_eq!(file.metadata, metadata);
    assert_eq!(file.tensors.len(), tensors.len());
    for (name, t) in &tensors {
        assert_eq!(file.tensors[name].to_host(), t.to_host(), "{name}");
    }
    save_safetensors(&path, &tensors, &metadata).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "equal contents give equal bytes");
    let twice = [("a", Tensor::ones([1])), ("a", Tensor::ones([1]))];
    let e = save_safetensors(&path, twice, &metadata).unwrap_err();
    assert!(matches!(e, FileError::Names { .. }) && e.to_string().contains("\"a\" is given twice"));
    assert_eq!(std::fs::read(&path).unwrap(), first);
}

#[test]
fn safetensors_refusals_say_why() {
    let why = |bytes: &[u8]| safetensors::decode(bytes).unwrap_err().to_string();
    assert!(why(b"").contains("it is empty"));
    assert!(why(b"PK\x03\x04 a torch file").contains("torch.save"));
    assert!(why(b"GIF89a..........").contains("no JSON header"));
    let file = |header: &str, data: &[u8]| {
        let mut f = (header.len() as u64).to_le_bytes().to_vec();
        f.extend(header.as_bytes());
        f.extend(data);
        f
    };
    let one = r#"{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert!(safetensors::decode(&file(one, &[0; 8])).is_ok());
    assert!(why(&file(one, &[0; 7])).contains("cut or extended"));
    let mut cut = file(one, &[]);
    cut.truncate(20);
    assert!(why(&cut).contains("header should have"));
    let f8 = r#"{"x":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
    assert!(why(&file(f8, &[0; 2])).contains("\"x\" has dtype"));
    let huge = r#"{"x":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,8]}}"#;
    assert!(safetensors::decode(&file(huge, &[0; 8])).is_err());
}

proptest! {
    /// Any bytes, and any damage to a good file: an error or an array, never a panic or a huge allocation.
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = npy::decode(&bytes);
        let _ = safetensors::decode(&bytes);
        let mut with_magic = b"\x93NUMPY\x01\x00".to_vec();
        with_magic.extend(&bytes);
        let _ = npy::decode(&with_magic);
    }

    #[test]
    fn damaged_npy(at in 0usize..160, byte in any::<u8>(), cut in 0usize..160) {
        let mut file = Vec::new();
        npy::encode(&sample(DType::I16, &[4, 4]), &mut file).unwrap();
        let n = file.len();
        prop_assert!(npy::decode(&file[..cut % n]).is_err());
        file[at % n] = byte;
        let _ = npy::decode(&file);
    }

    #[test]
    fn random_npy_headers(header in "[{}()':, <>0-9a-zA-Z|_]{0,80}", data in 0usize..40) {
        let _ = npy::decode(&npy_file(1, &header, &vec![0; data]));
        let shape = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {header} }}");
        let _ = npy::decode(&npy_file(1, &shape, &vec![0; data]));
    }

    #[test]
    fn damaged_safetensors(at in 0usize..150, byte in any::<u8>(), cut in 0usize..150) {
        let header = r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BOOL","shape":[3],"data_offsets":[8,11]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0u8; 11]);
        let n = file.len();
        prop_assert!(safetensors::decode(&file[..cut % n]).is_err());
        file[at % n] = byte;
        let _ = safetensors::decode(&file);
    }
}
