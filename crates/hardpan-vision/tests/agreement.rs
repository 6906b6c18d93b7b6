//! A saved model sees what validation saw: the same bits, however pictures are brought to size.

use hardpan_engine::{Tensor, functional as f, manual_seed, no_grad};
use hardpan_learn::file::{Header, ImageInput, ModelFile};
use hardpan_nn::Module;
use hardpan_nn::optim::Adam;
use hardpan_vision::data::{AugmentChoice, ImageDataLoaders};
use hardpan_vision::image::Image;
use hardpan_vision::learner::{VisionOptions, vision_learner};
use hardpan_vision::models::{ModelOptions, create};
use hardpan_vision::plane::crop::ResizeMethod::{self, Crop, Pad, Squish};
use hardpan_vision::predictor::{InputSpec, Predictor, Tta, export};
use std::path::Path;

/// Width and height of pictures: wide, high, square, of one pixel, the model's own.
const SIZES: [(usize, usize); 7] =
    [(37, 23), (16, 61), (40, 40), (1, 1), (28, 20), (29, 20), (90, 3)];

/// `root/{dark,light}/N.png`, grey or in colour.
fn pictures(root: &Path, channels: usize) {
    for (class, name) in ["dark", "light"].iter().enumerate() {
        std::fs::create_dir_all(root.join(name)).unwrap();
        for i in 0..14 {
            let (w, h) = SIZES[i % SIZES.len()];
            let value = |k: usize| ((k * 7 + i * 31 + k * k / 5) % 120 + class * 130) as u8;
            let image = Image::new(w, h, channels, (0..w * h * channels).map(value).collect());
            image.save_png(root.join(name).join(format!("{i:02}.png"))).unwrap();
        }
    }
}

fn bits(values: impl IntoIterator<Item = f64>) -> Vec<u64> {
    values.into_iter().map(f64::to_bits).collect()
}

#[track_caller]
fn agrees(root: &Path, method: ResizeMethod, margin: f64, size: (usize, usize)) {
    let data = ImageDataLoaders::from_folder(root)
        .size_2d(size.0, size.1)
        .method(method)
        .margin(margin)
        .valid_fraction(0.5)
        .augment(AugmentChoice::Off)
        .batch_size(4)
        .build()
        .unwrap();
    manual_seed(3);
    let options = VisionOptions {
        channels: data.pipeline.channels,
        ..VisionOptions::new(data.classes.len())
    };
    let mut learn = vision_learner(data.loaders.clone(), "resnet9_tiny", &options)
        .unwrap()
        .opt(Adam::fastai(1e-3))
        .silent();
    learn.fit_one_cycle(1, 1e-3).unwrap();
    let valid = data.loaders.valid.clone().unwrap();
    let expected = no_grad(|| f::softmax(&learn.get_preds(&valid).unwrap().0, -1)).to_vec::<f64>();
    assert!(expected.iter().any(|p| (p - expected[0]).abs() > 1e-4), "all alike: {expected:?}");

    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("m.hardpan");
    let input = InputSpec::new(data.pipeline.clone());
    export(&file, learn.model(), &data.classes, &input, Header::default()).unwrap();
    let predictor = Predictor::load(&file).unwrap();
    assert_eq!(predictor.input(), &input);
    let images: Vec<Image> =
        data.valid_files.iter().map(|(f, _)| predictor.input().open(f).unwrap()).collect();
    // The inputs are the same, together and one by one, and so are the answers.
    let mut seen = Vec::new();
    for batch in valid.batches(0) {
        seen.extend(batch.unwrap().0.to_vec::<f32>());
    }
    let one = |i: &Image| predictor.input().tensor(std::slice::from_ref(i)).to_vec::<f32>();
    assert!(images.iter().flat_map(one).eq(seen), "{method:?} {margin} {size:?}");
    let said = predictor.batch_size(8).predict(&images);
    let said = said.into_iter().flat_map(|p| p.probabilities);
    assert_eq!(bits(said), bits(expected), "{method:?} {margin} {size:?}");
}

#[test]
fn every_way_to_a_size() {
    let root = tempfile::tempdir().unwrap();
    pictures(root.path(), 3);
    for method in [Crop, Squish, Pad] {
        agrees(root.path(), method, 0.0, (28, 20));
        agrees(root.path(), method, 1.0 / 7.0, (28, 20));
    }
    agrees(root.path(), Crop, 0.0, (16, 24));
}

#[test]
fn grey_pictures_with_statistics_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    pictures(root.path(), 1);
    agrees(root.path(), Pad, 0.0, (17, 30));
    agrees(root.path(), Crop, 0.25, (28, 28));
}

#[test]
fn files_of_the_first_versions_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("old.hardpan");
    let model = create("resnet9_tiny", &ModelOptions { classes: 2, ..Default::default() }).unwrap();
    model.eval();
    let (mean, std) = (vec![0.5, 0.4, 0.3], vec![0.2, 0.3, 0.25]);
    let image = ImageInput { channels: 3, height: 20, width: 28, mean, std };
    let header = |pipeline| Header {
        arch: Some(model.arch()),
        input: Some(image.clone()),
        pipeline,
        ..Header::default()
    };
    let write = |pipeline| ModelFile::new(header(pipeline), &model.state_dict()).write(&path);
    let picture = Image::new(28, 20, 3, (0..28 * 20 * 3).map(|i| (i * 3 % 251) as u8).collect());
    for (fit, method) in [("crop", Crop), ("squish", Squish)] {
        let pipeline = serde_json::json!({"image": image, "fit": fit, "tta": "none"});
        write(pipeline).unwrap();
        let p = Predictor::load(&path).unwrap();
        assert_eq!((p.input().pipeline.method, p.input().tta), (method, Tta::None));
        assert_eq!(p.input().image().width, 28);
        // As it was computed then, but for rounding.
        let bytes = picture.to_tensor().unsqueeze(0);
        let mean = Tensor::from_slice(&[0.5f32, 0.4, 0.3], [3, 1, 1]);
        let std = Tensor::from_slice(&[0.2f32, 0.3, 0.25], [3, 1, 1]);
        let x = (bytes - mean) / std;
        let distance = (p.input().tensor(std::slice::from_ref(&picture)) - &x).abs().amax(..);
        assert!(distance.item::<f32>() < 1e-5, "{distance:?}");
        assert_eq!(p.predict(std::slice::from_ref(&picture))[0].probabilities.len(), 2);
    }
    let wrong = |pipeline| {
        write(pipeline).unwrap();
        Predictor::load(&path).err().unwrap().to_string()
    };
    let e = wrong(serde_json::json!({"image": image, "fit": "fold"}));
    assert!(e.contains("old.hardpan") && e.contains("`fold`"), "{e}");
    let e = wrong(serde_json::json!({"image": image, "fit": "digit"}));
    assert!(e.contains("digits are grey"), "{e}");
    let e = wrong(serde_json::json!({"tta": "none"}));
    assert!(e.contains("there is no pipeline"), "{e}");
}
