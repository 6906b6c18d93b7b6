//! Folders of pictures as training data.

use hardpan_engine::Tensor;
use hardpan_learn::data::DataLoader;
use hardpan_learn::data::block::OnError;
use hardpan_vision::augment::{AugTransforms, RandAugment, TrivialAugment};
use hardpan_vision::data::verify::verify_folder;
use hardpan_vision::data::{
    AugmentChoice, FolderError, FolderOrDataError, ImageData, ImageDataLoaders, ImagePipeline,
    SegmentationDataLoaders, Stats,
};
use hardpan_vision::image::{Image, Mask, Padding};
use hardpan_vision::plane::crop::ResizeMethod;
use std::path::Path;
use tempfile::TempDir;

/// A picture of one colour with a little texture.
fn picture(w: usize, h: usize, colour: [u8; 3], i: usize) -> Image {
    let mut image = Image::filled(w, h, &colour);
    for (k, p) in image.pixels_mut().iter_mut().enumerate() {
        *p = p.saturating_add(((k * 7 + i * 13) % 17) as u8);
    }
    image
}

const COLOURS: [(&str, [u8; 3]); 3] =
    [("blue", [10, 20, 200]), ("green", [10, 200, 20]), ("red", [200, 20, 10])];

fn write(root: &Path, folder: &str, n: usize, size: impl Fn(usize) -> (usize, usize)) {
    for (class, colour) in COLOURS {
        let folder = root.join(folder).join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for i in 0..n {
            let (w, h) = size(i);
            picture(w, h, colour, i).save_png(folder.join(format!("{i:03}.png"))).unwrap();
        }
    }
}

fn plain(size: (usize, usize)) -> impl Fn(usize) -> (usize, usize) {
    move |_| size
}

fn small() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "", 10, plain((20, 16)));
    dir
}

fn batches(loader: &DataLoader<Tensor, Tensor>, epoch: usize) -> Vec<(Vec<f32>, Vec<i64>)> {
    loader.batches(epoch).map(|b| b.unwrap()).map(|(x, y)| (x.to_vec(), y.to_vec())).collect()
}

#[test]
fn class_folders_are_split_by_class() {
    let dir = small();
    std::fs::write(dir.path().join(".hidden.png"), b"no").unwrap();
    std::fs::create_dir_all(dir.path().join("blue/.cache")).unwrap();
    std::fs::write(dir.path().join("blue/.cache/x.png"), b"no").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let data = ImageDataLoaders::from_folder(dir.path()).batch_size(8).build().unwrap();
    assert_eq!(data.classes, ["blue", "green", "red"]);
    assert_eq!((data.train_files.len(), data.valid_files.len()), (24, 6));
    assert_eq!(data.class_counts(), [8, 8, 8]);
    assert!(data.notes.iter().any(|n| n.contains("empty")), "{:?}", data.notes);
    let (x, y) = data.loaders.train.one_batch().unwrap();
    // Small pictures that are alike keep their size.
    assert_eq!((x.shape(), y.shape()), (&[8, 3, 16, 20][..], &[8][..]));
    // The label tells the brightest channel.
    let means = x.mean([2, 3]).to_vec::<f32>();
    for (m, y) in means.chunks(3).zip(y.to_vec::<i64>()) {
        let brightest = (0..3).max_by(|&a, &b| m[a].total_cmp(&m[b])).unwrap();
        assert_eq!(brightest, [2, 1, 0][y as usize]);
    }
}

#[test]
fn any_number_of_workers_gives_the_same_batches() {
    let dir = small();
    let make = |workers, cache| {
        let transforms = AugTransforms::default().erase(0.5).saturation(0.2);
        ImageDataLoaders::from_folder(dir.path())
            .size(24)
            .batch_size(4)
            .augment(AugmentChoice::Transforms(transforms, 0.5))
            .workers(workers)
            .cache(cache)
            .build()
            .unwrap()
    };
    let first = batches(&make(0, 0).loaders.train, 1);
    for (workers, cache) in [(1, 0), (3, 1 << 20), (2, 20_000)] {
        let data = make(workers, cache);
        assert_eq!(batches(&data.loaders.train, 1), first);
        assert_eq!(batches(&data.loaders.train, 1), first, "once more, from memory");
        assert_ne!(batches(&data.loaders.train, 2), first);
    }
    let tta = make(2, 0).tta_loader().unwrap();
    assert_ne!(batches(&tta, 0), batches(&tta, 1));
}

#[test]
fn validation_is_what_the_pipeline_does() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train", 4, |i| (30 + 5 * i, 40));
    write(dir.path(), "val", 2, |i| (50, 28 + i));
    for method in [ResizeMethod::Crop, ResizeMethod::Pad, ResizeMethod::Squish] {
        let data = ImageDataLoaders::from_folder(dir.path())
            .size(24)
            .method(method)
            .margin(if method == ResizeMethod::Crop { 0.2 } else { 0.0 })
            .build()
            .unwrap();
        let (x, _) = data.loaders.valid.as_ref().unwrap().one_batch().unwrap();
        let text = serde_json::to_string(&data.pipeline).unwrap();
        let again: ImagePipeline = serde_json::from_str(&text).unwrap();
        again.check().unwrap();
        let images: Vec<Image> =
            data.valid_files.iter().map(|(f, _)| again.open(f).unwrap()).collect();
        assert_eq!(again.batch(&images).to_vec::<f32>(), x.to_vec::<f32>(), "to the bit");
        // A picture that was prepared is not changed by a batch that prepares what is not.
        let raw: Vec<Image> =
            data.valid_files.iter().map(|(f, _)| Image::open(f).unwrap()).collect();
        assert_eq!(again.batch(&raw).to_vec::<f32>(), x.to_vec::<f32>());
        let test = data.test_loader(data.valid_files.iter().map(|(f, _)| f.clone())).unwrap();
        assert_eq!(test.one_batch().unwrap().0.to_vec::<f32>(), x.to_vec::<f32>());
    }
}

#[test]
fn train_valid_and_test_folders() {
    let dir = tempfile::tempdir().unwrap();
    // As archives unpack: one folder around it all; pictures deeper than their class; endings in capitals, or none.
    write(dir.path(), "set/train", 3, plain((16, 16)));
    write(dir.path(), "set/test", 2, plain((16, 16)));
    let red = dir.path().join("set/train/red");
    std::fs::create_dir(red.join("more")).unwrap();
    std::fs::rename(red.join("000.png"), red.join("more/A.PNG")).unwrap();
    std::fs::rename(red.join("001.png"), red.join("noending")).unwrap();
    std::fs::write(red.join("notes.txt"), b"not a picture").unwrap();
    let build = || ImageDataLoaders::from_folder(dir.path()).build().unwrap();
    let data = build();
    assert_eq!((data.train_files.len(), data.valid_files.len()), (9, 6));
    assert!(data.notes[0].contains("test"), "{:?}", data.notes);
    write(dir.path(), "set/valid", 1, plain((16, 16)));
    let data = build();
    assert_eq!((data.valid_files.len(), data.test_files.len()), (3, 6));
}

fn failure(loaders: ImageDataLoaders) -> FolderOrDataError {
    loaders.build().err().expect("this cannot be trained on")
}

#[test]
fn folders_that_cannot_be_trained_on_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let from = || failure(ImageDataLoaders::from_folder(dir.path()));
    assert!(matches!(from(), FolderOrDataError::Folder(FolderError::NoPictures { .. })));
    picture(8, 8, [1, 2, 3], 0).save_png(dir.path().join("1.png")).unwrap();
    assert!(matches!(from(), FolderOrDataError::Folder(FolderError::NoClasses { count: 1, .. })));
    std::fs::create_dir(dir.path().join("cats")).unwrap();
    picture(8, 8, [1, 2, 3], 0).save_png(dir.path().join("cats/1.png")).unwrap();
    let e = from();
    assert!(matches!(e, FolderOrDataError::Folder(FolderError::OneClass { .. })), "{e}");
    assert!(e.to_string().contains("cats"), "{e}");
    let missing = failure(ImageDataLoaders::from_folder(dir.path().join("nowhere")));
    assert!(missing.to_string().contains("nowhere"), "{missing}");

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "train", 2, plain((8, 8)));
    write(dir.path(), "valid", 1, plain((8, 8)));
    std::fs::rename(dir.path().join("valid/red"), dir.path().join("valid/pink")).unwrap();
    let e = failure(ImageDataLoaders::from_folder(dir.path()));
    assert!(matches!(e, FolderOrDataError::Folder(FolderError::UnknownClasses { .. })), "{e}");
    let e = failure(ImageDataLoaders::from_name_re(vec!["a.png".into()], "(unclosed"));
    assert!(e.to_string().contains("unclosed"), "{e}");
}

#[test]
fn sizes_and_channels_are_chosen_by_the_pictures() {
    let size = |w: usize, h: usize| -> (usize, usize) {
        let dir = tempfile::tempdir().unwrap();
        // Not all alike, unless small: one is a little wider.
        write(dir.path(), "", 3, |i| (w + i, h));
        let p = ImageDataLoaders::from_folder(dir.path()).build().unwrap().pipeline;
        (p.width, p.height)
    };
    assert_eq!(size(300, 260), (224, 224));
    assert_eq!(size(170, 130), (128, 128));
    assert_eq!(size(33, 30), (32, 32));
    let dir = tempfile::tempdir().unwrap();
    for (class, v) in [("dark", 30), ("light", 220)] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        for i in 0..4 {
            let image = picture(28, 28, [v; 3], i).with_channels(1);
            image.save_png(dir.path().join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let data = ImageDataLoaders::from_folder(dir.path()).batch_size(4).build().unwrap();
    assert_eq!((data.pipeline.channels, data.pipeline.width), (1, 28));
    // Normalized by its own statistics.
    let all = data.labelled_loader(
        data.train_files.iter().map(|(f, c)| (f.clone(), data.classes[*c].clone())).collect(),
    );
    let (x, _) = all.unwrap().one_batch().unwrap();
    let (mean, std) = (x.mean(..).to_vec::<f32>()[0], x.std(.., 0.0).to_vec::<f32>()[0]);
    assert!(mean.abs() < 0.1 && (std - 1.0).abs() < 0.1, "{mean} {std}");
    let colour =
        ImageDataLoaders::from_folder(dir.path()).channels(3).batch_size(4).build().unwrap();
    assert_eq!(colour.loaders.train.one_batch().unwrap().0.shape(), [4, 3, 28, 28]);
}

#[test]
fn unreadable_pictures_are_fatal_or_left_out() {
    let dir = small();
    let bad = dir.path().join("green/003.png");
    let bytes = std::fs::read(&bad).unwrap();
    std::fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let make = |on_error| {
        let loaders = ImageDataLoaders::from_folder(dir.path()).batch_size(4).workers(2);
        loaders.on_error(on_error).valid_fraction(0.0).build().unwrap()
    };
    let data = make(OnError::Fail);
    let e = data.loaders.train.batches(0).find_map(Result::err).unwrap().to_string();
    assert!(e.contains("green/003.png") && e.contains("damaged PNG"), "{e}");
    let data: ImageData = make(OnError::Skip);
    let items: usize = batches(&data.loaders.train, 0).iter().map(|b| b.1.len()).sum();
    assert_eq!(items, 27, "28 in full batches, without one");
    assert!(data.bad_files()[0].reason.contains("003.png"));

    let report = verify_folder(dir.path(), 2, |_, _| {}).unwrap();
    assert_eq!((report.checked, report.problems.len(), report.largest), (30, 1, (20, 16)));
    assert!(report.to_string().contains("003.png"), "{report}");
}

#[test]
fn lists_functions_expressions_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    let mut csv = String::from("file,kind,held_out\n");
    for (class, colour) in COLOURS {
        for i in 0..5 {
            let name = format!("{class}_{i}.png");
            picture(12, 12, colour, i).save_png(dir.path().join(&name)).unwrap();
            csv += &format!("{name},{class},{}\n", i == 4);
            files.push(dir.path().join(name));
        }
    }
    std::fs::write(dir.path().join("labels.csv"), csv).unwrap();
    let by_re = ImageDataLoaders::from_name_re(files.clone(), r"^(.+)_\d+\.png$").build().unwrap();
    assert_eq!(by_re.classes, ["blue", "green", "red"]);
    assert_eq!((by_re.train_files.len(), by_re.valid_files.len()), (12, 3));
    let labels: Vec<String> =
        (0..15).map(|i| if i < 5 { "blue" } else { "other" }.into()).collect();
    let by_list = ImageDataLoaders::from_lists(files.clone(), labels).build().unwrap();
    assert_eq!(by_list.classes, ["blue", "other"]);
    assert_eq!(
        by_list.balancing_weights()[0],
        1.0 / by_list.class_counts()[by_list.train_files[0].1] as f64
    );
    let csv = dir.path().join("labels.csv");
    let by_csv = ImageDataLoaders::from_csv(csv, dir.path(), "file", "kind", Some("held_out"));
    let data = by_csv.stats(Stats::imagenet(3)).build().unwrap();
    assert_eq!((data.train_files.len(), data.valid_files.len()), (12, 3));
    assert!(data.valid_files.iter().all(|(f, _)| f.to_string_lossy().ends_with("4.png")));
    let by_func = ImageDataLoaders::from_path_func(files, |_| Err::<String, _>("no idea"));
    assert!(failure(by_func).to_string().contains("no idea"));
    let shown = data.show_batch(3).unwrap();
    assert_eq!((shown.len(), shown[0].0.width()), (3, 12));
    assert!(data.classes.contains(&shown[0].1));
    let svg = data.batch_figure(3).unwrap().to_svg().unwrap();
    assert!(svg.matches("<image").count() == 3 && svg.contains(&shown[0].1));
}

#[test]
fn masks_come_with_their_pictures() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, n) in [("train", 6), ("val", 2)] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        std::fs::create_dir_all(dir.path().join(format!("{folder}annot"))).unwrap();
        for i in 0..n {
            // The right part is bright and of class 1.
            let edge = 8 + 2 * i;
            let mut image = Image::filled(32, 24, &[20, 20, 20]);
            let mut mask = Mask::new(32, 24, vec![0; 32 * 24]);
            for at in (0..32 * 24).filter(|at| at % 32 >= edge) {
                image.pixels_mut()[at * 3..at * 3 + 3].fill(230);
                mask.pixels_mut()[at] = 1;
            }
            image.save_png(dir.path().join(format!("{folder}/{i}.png"))).unwrap();
            mask.to_image().save_png(dir.path().join(format!("{folder}annot/{i}.png"))).unwrap();
        }
    }
    let from = || {
        SegmentationDataLoaders::from_folders(dir.path(), "train", "trainannot", "val", "valannot")
    };
    let data = from()
        .codes(["dark", "bright"])
        .augment(AugmentChoice::Transforms(AugTransforms::default().lighting(0.0), 1.0))
        .batch_size(6)
        .build()
        .unwrap();
    for epoch in 0..3 {
        let (x, y) = data.loaders.train.batches(epoch).next().unwrap().unwrap();
        assert_eq!((x.shape(), y.shape()), (&[6, 3, 24, 32][..], &[6, 24, 32][..]));
        let green = x.narrow(1, 1, 1).to_vec::<f32>();
        let wrong = green.iter().zip(y.to_vec::<i64>()).filter(|(v, c)| (**v > 0.0) != (*c == 1));
        // Only where a pixel lies on the edge.
        assert!(wrong.count() < 6 * 24 * 2);
    }
    let (_, y) = data.loaders.valid.as_ref().unwrap().one_batch().unwrap();
    assert_eq!(y.select(0, 0).select(0, 0).to_vec::<i64>()[6..10], [0, 0, 1, 1]);
    let part = AugmentChoice::Transforms(AugTransforms::default(), 0.5);
    let sized = from().size(16, 12).augment(part).batch_size(2).build().unwrap();
    assert_eq!(sized.loaders.train.one_batch().unwrap().1.shape(), [2, 12, 16]);
    for (side, width, height) in
        [(12, 16, 12), (24, 32, 24), (25, 32, 24), (60, 80, 60), (96, 128, 96)]
    {
        let pipeline = from().shorter_side(side).build().unwrap().pipeline;
        assert_eq!((pipeline.width, pipeline.height), (width, height), "{side}");
    }
    std::fs::remove_file(dir.path().join("valannot/1.png")).unwrap();
    let e = from().build().err().unwrap().to_string();
    assert!(e.contains("1.png") && e.contains("no mask"), "{e}");
}

/// Whatever changes a picture, its mask changes place in the same way, and keeps to the classes that are there.
#[test]
fn masks_follow_their_pictures_in_every_augmentation() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["images", "masks"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    let of = |i: usize, folder: &str| dir.path().join(format!("{folder}/{i}.png"));
    for i in 0..24 {
        // A bright block of class 3 somewhere, which no symmetry leaves in its place.
        let (left, top) = (6 + i % 12, 4 + i % 7);
        let inside = |at: usize| {
            (left..left + 20).contains(&(at % 48)) && (top..top + 14).contains(&(at / 48))
        };
        let pixels = (0..48 * 32).flat_map(|at| [if inside(at) { 160 } else { 40 }; 3]).collect();
        Image::new(48, 32, 3, pixels).save_png(of(i, "images")).unwrap();
        let classes = (0..48 * 32).map(|at| if inside(at) { 3 } else { 1 }).collect();
        Mask::new(48, 32, classes).to_image().save_png(of(i, "masks")).unwrap();
    }
    let padding = Padding::Reflection;
    let choices = [
        AugmentChoice::Auto,
        AugmentChoice::Off,
        AugmentChoice::Transforms(AugTransforms::none().flip(0.5), 0.75),
        AugmentChoice::Transforms(AugTransforms::default().rotate(30.0), 0.5),
        AugmentChoice::Trivial(TrivialAugment { padding }),
        AugmentChoice::Rand(RandAugment { padding, ..RandAugment::default() }),
    ];
    let build = |choice: &AugmentChoice| {
        let files = (0..24).map(|i| of(i, "images"));
        let mask = |p: &std::path::Path| dir.path().join("masks").join(p.file_name().unwrap());
        SegmentationDataLoaders::from_label_func(files, mask)
            .valid_fraction(0.0)
            .augment(choice.clone())
            .batch_size(24)
            .build()
            .unwrap()
    };
    let batch = |choice| build(choice).loaders.train.batches(0).next().unwrap().unwrap();
    let still = batch(&AugmentChoice::Off).1.to_vec::<i64>();
    for choice in &choices {
        let (x, y) = batch(choice);
        let masks = y.to_vec::<i64>();
        assert!(masks.iter().all(|c| [1, 3].contains(c)), "{choice:?}");
        let moved =
            masks.chunks(48 * 32).zip(still.chunks(48 * 32)).filter(|(a, b)| a != b).count();
        match choice {
            AugmentChoice::Off => assert_eq!(moved, 0),
            _ => assert!(moved >= 6, "{choice:?}: {moved} of 24 masks moved"),
        }
        // What was bright is of class 3: not where light is turned around (solarized), and at edges.
        let apart = x.narrow(1, 1, 1).to_vec::<f32>();
        let follows =
            apart.chunks(48 * 32).zip(masks.chunks(48 * 32)).filter(|(light, classes)| {
                let mean = |class: i64| {
                    let of = light.iter().zip(*classes).filter(|(_, c)| **c == class);
                    of.clone().map(|(v, _)| v).sum::<f32>() / of.count().max(1) as f32
                };
                let middle = (mean(1) + mean(3)) / 2.0;
                let right =
                    light.iter().zip(*classes).filter(|(v, c)| (**v > middle) == (**c == 3));
                right.count() * 100 >= light.len() * 95
            });
        let follows = follows.count();
        assert!(follows >= 18, "{choice:?}: {follows} of 24 masks follow");
    }
}

#[test]
fn labels_can_be_corrected_and_files_left_out() {
    let dir = small();
    let corrections =
        [("blue/000.png", Some("red")), ("green/001.png", None), ("een/002.png", Some("red"))];
    let corrections =
        corrections.map(|(k, v)| (k.into(), v.map(str::to_owned))).into_iter().collect();
    let loaders = ImageDataLoaders::from_folder(dir.path()).valid_fraction(0.0);
    assert_eq!(loaders.typical_size().unwrap(), (20, 16, 3));
    let data = loaders.corrections(corrections).build().unwrap();
    assert_eq!(data.class_counts(), [9, 9, 11]);
    let moved = data.train_files.iter().find(|(f, _)| f.ends_with("blue/000.png")).unwrap();
    assert_eq!(data.classes[moved.1], "red");
    assert!(data.notes.iter().any(|n| n.contains("een/002.png")), "{:?}", data.notes);
}
