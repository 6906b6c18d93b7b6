//! The data block: questions, answers, and what it says when something does not fit.

use hardpan_engine::Tensor;
use hardpan_learn::data::block::*;
use hardpan_learn::data::table::Table;
use hardpan_learn::data::{DataError, DataLoader};
use std::path::PathBuf;

type Digits = DataBlock<i32, RegressionBlock, CategoryBlock>;

/// Whole numbers to be told odd from even; number 13 cannot be read.
fn block() -> Digits {
    DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
        .get_items(|_| Ok::<_, BoxError>((0..40).collect()))
        .get_x(|i: &i32| if *i == 13 { Err("unlucky".into()) } else { Ok(vec![*i as f32]) })
        .get_y(|i| Ok(if i % 2 == 0 { "even" } else { "odd" }.to_owned()))
        .splitter(EndSplitter::last(0.25))
        .item_tfm(item_transform("Jitter", |x: Values, y, draw: &mut hardpan_learn::data::Draw| {
            let noise = if draw.is_valid() { 0.0 } else { draw.between(0.0, 0.5) as f32 };
            Ok((Values(vec![x.0[0] + noise]), y))
        }))
        .batch_tfm(batch_transform("Tenth", |x: Tensor, y| (x / 10.0, y)))
}

fn values(loader: &DataLoader<Tensor, Tensor>, epoch: usize) -> Vec<f32> {
    loader.batches(epoch).flat_map(|b| b.unwrap().0.to_vec::<f32>()).collect()
}

#[test]
fn items_become_batches() {
    let data = block().on_error(OnError::Skip).datasets("anywhere").unwrap();
    assert_eq!((data.train().items().len(), data.valid().items().len()), (30, 10));
    assert_eq!(data.y().vocab(), ["even", "odd"]);
    let loaders = data.loaders(5).unwrap();
    let valid = loaders.valid.unwrap();
    assert_eq!(values(&valid, 0), (30..40).map(|i| i as f32 / 10.0).collect::<Vec<_>>());
    let (_, y) = valid.one_batch().unwrap();
    assert_eq!(y.to_vec::<i64>(), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);

    // Random transforms differ from epoch to epoch and not from run to run, with a cache or without.
    let first = values(&loaders.train, 0);
    assert_eq!(first.len(), 29, "the unreadable one is missing");
    let cached = block().on_error(OnError::Skip).cache(1 << 20).datasets("anywhere").unwrap();
    let cached = cached.loaders(5).unwrap().train.workers(3);
    for _ in 0..2 {
        assert_eq!(values(&cached, 0), first);
    }
    assert_ne!(values(&cached, 1), first);
    let bad = data.train().bad_items();
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].index, 13);
    assert!(bad[0].reason.contains("unlucky"), "{}", bad[0].reason);
}

#[test]
fn a_fatal_item_is_named_with_the_step_that_failed() {
    let train = block().datasets("anywhere").unwrap().loaders(5).unwrap().train.workers(2);
    let e = train.batches(0).find_map(Result::err).unwrap();
    assert_eq!(e.to_string(), "item 13: 13: get_x: unlucky");
}

#[test]
fn test_items_with_and_without_targets() {
    let data = block().datasets("anywhere").unwrap();
    let loader = data.test_loader(vec![7, 8], 4, true).unwrap();
    let (x, y) = loader.one_batch().unwrap();
    assert_eq!((x.to_vec::<f32>(), y.to_vec::<i64>()), (vec![0.7, 0.8], vec![1, 0]));
    let (_, y) = data.test_loader(vec![7, 8], 4, false).unwrap().one_batch().unwrap();
    assert_eq!(y.to_vec::<i64>(), [0, 0]);
    let shown = data.show_batch(3).unwrap();
    assert_eq!(shown.len(), 3);
    assert!(["even", "odd"].contains(&&*shown[0].1.text()));
}

#[test]
fn the_summary_tells_every_step() {
    let text = block().on_error(OnError::Skip).summary("somewhere", 4);
    for part in [
        "Items from somewhere",
        "found 40 items",
        "30 to train on, 10 to validate on",
        "targets: category",
        "2 classes: even, odd",
        "The first training item, 0",
        "Jitter",
        "Tenth",
        "tensor [4, 1]",
        "7 batches to train on",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(!text.contains("FAILED"), "{text}");
    let broken =
        block().item_tfm(item_transform("Explode", |_, _, _: &mut hardpan_learn::data::Draw| {
            Err::<(Values, Category), _>("out of powder".into())
        }));
    let text = broken.summary("somewhere", 4);
    assert!(text.contains("FAILED: item 0: 0: Explode: out of powder"), "{text}");
}

#[test]
fn what_is_missing_or_does_not_fit_is_said() {
    let empty: Result<_, DataError> = block().datasets_of(Vec::new());
    assert!(matches!(empty, Err(DataError::Empty)));
    let bare = DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
        .get_y(|i: &i32| Ok(i.to_string()));
    let message = bare.datasets_of(vec![1, 2, 3, 4, 5, 6]).err().unwrap().to_string();
    assert!(message.contains("get_x"), "{message}");
    // A label that only validation has.
    let late = DataBlock::new(RegressionBlock::new(), CategoryBlock::new())
        .get_x(|i: &i32| Ok(vec![*i as f32]))
        .get_y(|i| Ok(if *i == 9 { "new" } else { "old" }.to_owned()))
        .splitter(EndSplitter::last(0.1));
    let data = late.datasets_of((0..10).collect()).unwrap();
    let message = data.loaders(2).unwrap().valid.unwrap().one_batch().err().unwrap().to_string();
    assert!(message.contains("\"new\"") && message.contains("old"), "{message}");
}

#[test]
fn several_categories_and_pairs() {
    let both = (RegressionBlock::new(), RegressionBlock::new());
    let block = DataBlock::new(both, MultiCategoryBlock::new())
        .get_x(|i: &usize| Ok((vec![*i as f32], vec![0.0, *i as f32])))
        .get_y(|i| Ok(["a", "b", "c"].iter().take(*i % 4).map(|s| (*s).to_owned()).collect()))
        .splitter(IndexSplitter(vec![0]));
    let data = block.datasets_of((0..8).collect()).unwrap();
    let loader = data.test_loader(vec![0, 2, 3], 4, true).unwrap();
    let ((a, b), y) = loader.one_batch().unwrap();
    assert_eq!((a.shape(), b.shape()), (&[3, 1][..], &[3, 2][..]));
    assert_eq!(y.to_vec::<f32>(), [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(data.y().show(&data.y().decode(&y)[1]).text(), "a; b");
}

#[test]
fn splitters() {
    let items: Vec<usize> = (0..100).collect();
    let check = |s: &Split| {
        let mut all: Vec<_> = s.train.iter().chain(&s.valid).copied().collect();
        all.sort_unstable();
        all.dedup();
        (s.train.len(), s.valid.len(), all.len())
    };
    let random = RandomSplitter::new(0.25, 1).split(&items).unwrap();
    assert_eq!(check(&random), (75, 25, 100));
    assert_eq!(random, RandomSplitter::new(0.25, 1).split(&items).unwrap());
    assert_ne!(random, RandomSplitter::new(0.25, 2).split(&items).unwrap());

    // 90 of one kind, 10 of another: both parts have both, in proportion.
    let label = |i: &usize| Ok(if *i < 90 { "many" } else { "few" }.to_owned());
    let fair = StratifiedSplitter::new(0.2, 1, label).split(&items).unwrap();
    assert_eq!(check(&fair), (80, 20, 100));
    assert_eq!(fair.valid.iter().filter(|&&i| i >= 90).count(), 2);

    let end = EndSplitter::last(0.1).split(&items).unwrap();
    assert_eq!(end.valid, (90..100).collect::<Vec<_>>());
    assert_eq!(EndSplitter::first(0.02).split(&items).unwrap().valid, [0, 1]);
    assert_eq!(FunctionSplitter(|i: &usize| *i == 3).split(&items).unwrap().valid, [3]);
    assert_eq!(MaskSplitter(vec![true, false]).split(&[5, 6]).unwrap().valid, [0]);
    assert!(MaskSplitter(vec![true]).split(&items).is_err());
    assert!(IndexSplitter(vec![100]).split(&items).is_err());
    let subset = RandomSubsetSplitter::new(0.3, 0.1, 1).split(&items).unwrap();
    assert_eq!(check(&subset), (30, 10, 40));

    let paths: Vec<PathBuf> =
        ["x/train/a/1.png", "x/valid/a/2.png", "x/other/a/3.png"].map(PathBuf::from).to_vec();
    let split = GrandparentSplitter::default().split(&paths).unwrap();
    assert_eq!(split, Split { train: vec![0], valid: vec![1] });
}

#[test]
fn files_labels_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in
        ["cat/1.JPG", "cat/deep/2.png", "dog/3.jpeg", ".git/4.jpg", "dog/.5.jpg", "dog/6.txt"]
    {
        std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        std::fs::write(at(name), b"x").unwrap();
    }
    let files = image_files(dir.path()).unwrap();
    assert_eq!(files, [at("cat/1.JPG"), at("cat/deep/2.png"), at("dog/3.jpeg")]);
    assert_eq!(text_files(dir.path()).unwrap(), [at("dog/6.txt")]);
    assert_eq!(files_in(dir.path(), &[], &["dog"]).unwrap().len(), 2);
    assert!(image_files(at("none")).unwrap_err().to_string().contains("none"));
    assert_eq!(parent_label(&files[0]).unwrap(), "cat");

    let re = RegexLabeller::new(r"^(.+)_\d+\.jpg$").unwrap();
    assert_eq!(re.of_name(&PathBuf::from("a/Birman_12.jpg")).unwrap(), "Birman");
    assert!(re.of_name(&PathBuf::from("Birman.png")).is_err());
    assert!(RegexLabeller::new("no group").is_err() && RegexLabeller::new("(").is_err());

    std::fs::write(at("t.csv"), "name,tags,valid\n1,a b,0\n2,\"c,d\",1\n").unwrap();
    let rows = Table::read_csv(at("t.csv"), b',').unwrap().into_rows();
    assert_eq!(column("name", "img/", ".jpg")(&rows[1]).unwrap(), "img/2.jpg");
    assert_eq!(columns("tags", " ")(&rows[0]).unwrap(), ["a", "b"]);
    assert_eq!(rows[1].get("tags").unwrap(), "c,d");
    assert!(rows[0].get("color").unwrap_err().to_string().contains("name, tags, valid"));
    assert_eq!(ColumnSplitter::new("valid").split(&rows).unwrap().valid, [1]);
}

#[test]
fn marks_and_masks_are_drawn_on_their_picture() {
    let grey = |v: u8| Shown::Picture { width: 20, height: 10, channels: 1, pixels: vec![v; 200] };
    let marks = |marks| Shown::Marks { width: 2, height: 2, marks };
    let boxed = marks(vec![Mark::Box([0.2, 0.2, 1.0, 1.0], "cat".into()), Mark::Point([1.5, 1.5])]);
    let items = vec![
        (grey(9), boxed),
        (grey(9), grey(200)),
        (grey(9), Shown::Text("dog".into())),
        (Shown::Text("no picture".into()), Shown::Text("left out".into())),
    ];
    let svg = Shown::figure("look", &items).to_svg().unwrap();
    assert_eq!(svg.matches("<image").count(), 3);
    for word in ["look", "cat", "dog"] {
        assert!(svg.contains(word), "{word}");
    }
    assert!(!svg.contains("left out"));
}
