//! The idx reader on right files, wrong files, and noise.

use hardpan_vision::digits::idx::{Idx, IdxData, IdxError, Labelled};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::Path;

/// An idx file of type `kind` and these sizes, followed by `body`.
fn file(kind: u8, sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut f = vec![0, 0, kind, sizes.len() as u8];
    sizes.iter().for_each(|n| f.extend(n.to_be_bytes()));
    f.extend(body);
    f
}

fn parse(bytes: &[u8]) -> Result<Idx, IdxError> {
    Idx::from_bytes(bytes, "digits")
}

#[test]
fn every_element_type() {
    let cases = [
        (0x08, vec![1, 255], IdxData::U8(vec![1, 255])),
        (0x09, vec![1, 255], IdxData::I8(vec![1, -1])),
        (0x0b, vec![1, 0, 255, 254], IdxData::I16(vec![256, -2])),
        (0x0c, vec![0, 0, 1, 0, 255, 255, 255, 255], IdxData::I32(vec![256, -1])),
        (0x0d, [1.5f32, -0.1].map(f32::to_be_bytes).concat(), IdxData::F32(vec![1.5, -0.1])),
        (0x0e, [1.5f64, -0.1].map(f64::to_be_bytes).concat(), IdxData::F64(vec![1.5, -0.1])),
    ];
    for (kind, body, data) in cases {
        assert_eq!(parse(&file(kind, &[1, 2], &body)).unwrap(), Idx { shape: vec![1, 2], data });
    }
}

#[test]
fn an_array_without_elements_is_right() {
    let idx = parse(&file(0x08, &[0, 28, 28], &[])).unwrap();
    assert_eq!((idx.shape, idx.data), (vec![0, 28, 28], IdxData::U8(vec![])));
}

#[test]
fn every_way_of_being_cut_short_is_named() {
    let whole = file(0x08, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    assert!(parse(&whole).is_ok());
    for n in 0..whole.len() {
        match parse(&whole[..n]).unwrap_err() {
            IdxError::Magic { start, .. } => assert!(n < 4 && start.len() == n),
            IdxError::Length { expected, found, .. } => {
                assert!(n >= 4 && found == n as u64 && expected > found)
            }
            e => panic!("{n} bytes: {e}"),
        }
    }
    let message = parse(&whole[..15]).unwrap_err().to_string();
    assert_eq!(
        message,
        "digits: the header ([2, 3], 1 bytes an element) asks for a file of 18 bytes, but there are 15: \
         it is cut short; copy or download it again"
    );
}

#[test]
fn more_than_the_header_says_is_refused() {
    let e = parse(&file(0x08, &[2], &[1, 2, 3])).unwrap_err();
    assert!(matches!(e, IdxError::Length { expected: 10, found: 11, .. }), "{e}");
    assert!(e.to_string().contains("something else behind"), "{e}");
}

#[test]
fn foreign_files_are_refused_with_their_first_bytes() {
    let e = parse(b"\x89PNG\r\n\x1a\n").unwrap_err();
    assert!(
        e.to_string().contains("not an idx file: it starts with the bytes [89, 50, 4e, 47]"),
        "{e}"
    );
    assert!(matches!(parse(&file(0x0a, &[1], &[0])), Err(IdxError::Magic { .. })), "no such type");
    assert!(matches!(parse(&[0, 0, 8, 0, 7]), Err(IdxError::Magic { .. })), "no dimensions");
    assert!(matches!(parse(&[0, 0, 8, 200]), Err(IdxError::Magic { .. })), "200 dimensions");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn packed_files_are_what_is_in_them() {
    let whole = file(0x08, &[40, 50], &(0..2000).map(|i| (i * i % 13) as u8).collect::<Vec<_>>());
    let packed = gzip(&whole);
    assert!(packed.len() < whole.len() / 2);
    assert_eq!(parse(&packed).unwrap(), parse(&whole).unwrap());
    // Nothing that is cut off passes, the checksum neither.
    for n in 2..packed.len() {
        let e = parse(&packed[..n]).unwrap_err();
        assert!(matches!(e, IdxError::Gzip { .. }), "{n}: {e}");
    }
    let mut wrong = packed.clone();
    let crc = wrong.len() - 8;
    wrong[crc] ^= 1;
    assert!(parse(&wrong).unwrap_err().to_string().contains("damaged or cut short"));
    // What is in it is held against its header.
    let e = parse(&gzip(&whole[..100])).unwrap_err();
    assert!(matches!(e, IdxError::Length { expected: 2012, found: 100, .. }), "{e}");
    let e = parse(&gzip(&[&whole[..], &[1, 2, 3]].concat())).unwrap_err();
    assert!(matches!(e, IdxError::Length { expected: 2012, found: 2013, .. }), "{e}");
    let e = parse(&gzip(&file(0x08, &[1 << 30], &[]))).unwrap_err();
    assert!(matches!(e, IdxError::Absurd { .. }), "{e}");
    assert!(matches!(parse(&gzip(b"no idx")), Err(IdxError::Magic { .. })));
}

#[test]
fn other_packings_are_named() {
    let e = parse(&[0x28, 0xb5, 0x2f, 0xfd]).unwrap_err();
    assert_eq!(
        e.to_string(),
        "digits: the file is zstd-compressed; decompress it first (for instance with `zstd -d`)"
    );
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_allocated() {
    let huge = file(0x0e, &[u32::MAX; 8], &[]);
    assert!(matches!(parse(&huge), Err(IdxError::Absurd { .. })));
    // A zero among them does not hide an overflow, nor does an overflow hide a zero-sized array's length.
    let e = parse(&file(0x08, &[u32::MAX, u32::MAX], &[0; 64])).unwrap_err();
    assert!(matches!(e, IdxError::Absurd { .. } | IdxError::Length { .. }), "{e}");
    let e = parse(&file(0x08, &[4_000_000_000], &[0; 64])).unwrap_err();
    assert!(matches!(e, IdxError::Length { expected: 4_000_000_008, found: 72, .. }), "{e}");
}

proptest! {
    #[test]
    fn noise_is_never_more_than_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// Noise behind a right start goes deeper.
    #[test]
    fn noise_behind_a_right_start(
        kind in prop::sample::select(vec![8u8, 9, 11, 12, 13, 14]),
        rank in 0u8..10,
        rest in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..80),
    ) {
        let bytes = [&[0, 0, kind, rank], &rest[..]].concat();
        if let Ok(idx) = parse(&bytes) {
            prop_assert_eq!(idx.shape.len(), rank as usize);
        }
    }

    #[test]
    fn what_is_written_is_read(shape in prop::collection::vec(0u32..5, 1..5), seed in any::<u8>()) {
        let n: u32 = shape.iter().product();
        let body: Vec<u8> = (0..n).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let idx = parse(&file(8, &shape, &body)).unwrap();
        prop_assert_eq!(idx.data, IdxData::U8(body));
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap();
}

#[test]
fn a_folder_of_four_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train-images-idx3-ubyte", &file(8, &[2, 1, 2], &[1, 2, 3, 4]));
    write(dir.path(), "train-labels-idx1-ubyte", &file(8, &[2], &[7, 8]));
    write(dir.path(), "t10k-images.idx3-ubyte", &file(8, &[1, 1, 2], &[5, 6]));
    let e = Labelled::read_dir(dir.path()).unwrap_err();
    assert!(
        e.to_string().ends_with("no idx files here: expected t10k-labels-idx1-ubyte (or .gz)"),
        "{e}"
    );

    write(dir.path(), "t10k-labels.idx1-ubyte", &file(8, &[2], &[9, 9]));
    let e = Labelled::read_dir(dir.path()).unwrap_err().to_string();
    assert!(
        e.contains("expected 1 labels, one for each image of ") && e.ends_with("found 2"),
        "{e}"
    );

    write(dir.path(), "t10k-labels.idx1-ubyte", &file(8, &[1], &[9]));
    let (train, test) = Labelled::read_dir(dir.path()).unwrap();
    assert_eq!((train.len(), train.rows, train.cols), (2, 1, 2));
    assert_eq!((train.images, train.labels), (vec![1, 2, 3, 4], vec![7, 8]));
    assert_eq!((test.images, test.labels), (vec![5, 6], vec![9]));

    // Labels given as images.
    let labels = dir.path().join("train-labels-idx1-ubyte");
    let e = Labelled::read(&labels, &labels).unwrap_err().to_string();
    assert!(
        e.ends_with("expected images: bytes in 3 dimensions, found u8 in the shape [2]"),
        "{e}"
    );
}

#[test]
fn missing_files_and_folders() {
    let dir = tempfile::tempdir().unwrap();
    let e = Idx::read(dir.path().join("no-such-file")).unwrap_err();
    assert!(
        matches!(&e, IdxError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
    assert!(e.to_string().contains("no-such-file: cannot read it: "), "{e}");
    assert!(matches!(Idx::read(dir.path()), Err(IdxError::Io { .. })), "a folder is not a file");
    write(dir.path(), "train-images-idx3-ubyte.gz", &[0x1f, 0x8b]);
    let e = Labelled::read_dir(dir.path()).unwrap_err();
    assert!(matches!(e, IdxError::NotFound { .. }), "{e}");
    write(dir.path(), "train-labels-idx1-ubyte.gz", &[0x1f, 0x8b]);
    let e = Labelled::read_dir(dir.path()).unwrap_err();
    assert!(matches!(e, IdxError::Gzip { .. }), "{e}");
}

#[test]
fn names_may_differ() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!Labelled::is_dir(dir.path()));
    write(dir.path(), "train-images-idx3-ubyte.gz", &gzip(&file(8, &[1, 1, 2], &[1, 2])));
    assert!(Labelled::is_dir(dir.path()));
    write(dir.path(), "train-labels.idx1-ubyte.gz", &gzip(&file(8, &[1], &[3])));
    write(dir.path(), "test-images-idx3-ubyte", &file(8, &[1, 1, 2], &[4, 5]));
    write(dir.path(), "test-labels.idx1-ubyte", &gzip(&file(8, &[1], &[6])));
    let (train, test) = Labelled::read_dir(dir.path()).unwrap();
    assert_eq!((train.images, train.labels), (vec![1, 2], vec![3]));
    assert_eq!((test.images, test.labels), (vec![4, 5], vec![6]));
}
