//! Saved models in use: the same numbers in another process, in batches of any size, for today's digit models too.

use hardpan_engine::{Tensor, functional as f, manual_seed};
use hardpan_learn::arch::Network;
use hardpan_learn::file::{Header, ImageInput, ModelFile};
use hardpan_nn::optim::{Adam, Recipe};
use hardpan_nn::{Forward, Module};
use hardpan_vision::data::{ImagePipeline, Stats};
use hardpan_vision::image::Image;
use hardpan_vision::models::{HeadOptions, ModelOptions, create};
use hardpan_vision::plane::crop::ResizeMethod::{Crop, Pad};
use hardpan_vision::predictor::{
    InputSpec, MaskPredictor, Prediction, Predictor, Tta, export, export_masks,
};
use hardpan_vision::unet::{DynamicUnet, UnetOptions};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// The random generator is of the whole process, so every test of this file takes its turn.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|e| e.into_inner())
}

/// A picture that depends on `seed` alone.
fn picture(seed: usize, width: usize, height: usize, channels: usize) -> Image {
    let value = |i: usize| (i * 7 + seed * 31 + i * i / 3 % 97) as u8;
    Image::new(width, height, channels, (0..width * height * channels).map(value).collect())
}

fn pictures() -> Vec<Image> {
    vec![picture(1, 40, 30, 3), picture(2, 24, 24, 3), picture(3, 20, 50, 1)]
}

fn spec() -> InputSpec {
    let stats = Stats { mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.3, 0.25] };
    InputSpec::new(ImagePipeline { stats, ..ImagePipeline::new(24, 24, 3) })
}

fn exported(path: &Path) {
    manual_seed(11);
    let head = HeadOptions { hidden: vec![16], ..Default::default() };
    let o = ModelOptions { classes: 3, head: Some(head), ..Default::default() };
    let model = create("resnet9_tiny", &o).unwrap();
    // Running statistics that are not those of a new model.
    model.forward(&Tensor::randn([4, 3, 24, 24]));
    let classes = ["ant", "bee", "cat"].map(String::from);
    export(path, &model, &classes, &spec(), Header::default()).unwrap();
}

/// Everything a model says of the pictures, as bits.
fn bits(path: &Path) -> String {
    let p = Predictor::load(path).unwrap();
    let of = |p: Vec<Prediction>| -> Vec<u64> {
        p.into_iter().flat_map(|p| p.probabilities).map(f64::to_bits).collect()
    };
    let embedded: Vec<u32> =
        p.embed(&pictures()).to_vec::<f32>().into_iter().map(f32::to_bits).collect();
    format!("{:?} {:?} {embedded:?}", of(p.predict(&pictures())), of(p.tta(&pictures())))
}

const CHILD: &str = "HARDPAN_TEST_MODEL";

/// Run by the test below in a process of its own; by itself it has nothing to do.
#[test]
fn child() {
    let _turn = turn();
    if let Ok(path) = std::env::var(CHILD) {
        println!("bits: {}", bits(Path::new(&path)));
    }
}

#[test]
fn another_process_gives_the_same_bits() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.hardpan");
    exported(&path);
    let here = bits(&path);
    let out = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains(&format!("bits: {here}")), "{here}\n{text}");
}

#[test]
fn predictions_say_classes_in_order() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.hardpan");
    exported(&path);
    let p = Predictor::load(&path).unwrap();
    let all = p.predict(&pictures());
    assert_eq!(all.len(), 3);
    for one in &all {
        assert!((one.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        let top = one.top(2);
        assert_eq!((top.len(), top[0]), (2, (one.class, one.probability)));
        assert!(top[0].1 >= top[1].1);
        assert_eq!(one.label, p.classes()[one.class]);
    }
    assert!(p.predict(&[]).is_empty() && p.embed(&[]).shape() == [0, 128]);
    // Views change something, but not everything.
    let views = p.tta(&pictures());
    assert_ne!(views, all);
    assert!((views[0].probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    // One at a time is what all at once is.
    let single = Predictor::load(&path).unwrap().batch_size(1).predict(&pictures());
    for (a, b) in all.iter().zip(&single) {
        for (x, y) in a.probabilities.iter().zip(&b.probabilities) {
            assert!((x - y).abs() < 1e-6, "{a:?} {b:?}");
        }
    }
}

#[test]
fn what_the_model_looks_at() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.hardpan");
    exported(&path);
    let p = Predictor::load(&path).unwrap();
    let before: Vec<u8> = pictures()[0].pixels().to_vec();
    let maps: Vec<_> =
        (0..3).map(|c| p.grad_cam(&pictures()[0], Some(c)).expect("a body with maps")).collect();
    for (c, map) in maps.iter().enumerate() {
        assert_eq!((map.class, map.width, map.height, map.values.len()), (c, 24, 24, 576));
        assert!(map.values.iter().all(|v| (0.0..=1.0).contains(v)));
    }
    assert!(maps[0] != maps[1] || maps[1] != maps[2]);
    assert!(p.model().parameters().iter().all(|q| q.grad().is_none()));
    let best = p.grad_cam(&pictures()[0], None).unwrap();
    assert_eq!(best.class, p.predict(&pictures()[..1])[0].class);
    let shown = best.over(&pictures()[0], 0.6);
    assert_eq!((shown.width(), shown.height()), (40, 30));
    if best.values.contains(&1.0) {
        assert_ne!(shown.pixels(), before);
    }
}

/// A map lies on the part of the picture that the model sees.
#[test]
fn maps_lie_where_the_model_looks() {
    let _turn = turn();
    let model = create("resnet9_tiny", &ModelOptions { classes: 2, ..Default::default() }).unwrap();
    let pipeline = |method| ImagePipeline { method, ..ImagePipeline::new(24, 24, 3) };
    let mut predictor = Predictor::new(model, Vec::new(), InputSpec::new(pipeline(Crop)));
    let mut map = predictor.explain(&picture(1, 48, 24, 3), Some(0));
    assert_eq!((map.part.left, map.part.width, map.part.height), (0.25, 0.5, 1.0));
    map.values = (0..576).map(|i| if i % 24 < 12 { 1.0 } else { 0.0 }).collect();
    assert_eq!([0.1, 0.3, 0.7, 0.9].map(|x| map.at(x, 0.5)), [0.0, 1.0, 0.0, 0.0]);
    let white = Image::filled(48, 24, &[255; 3]);
    let over = map.over(&white, 1.0);
    assert_eq!((over.pixel(6, 9), over.pixel(14, 9)), (&[255u8; 3][..], &[255u8, 32, 0][..]));
    predictor = Predictor::new(predictor.into_model(), Vec::new(), InputSpec::new(pipeline(Pad)));
    let map = predictor.explain(&picture(1, 48, 24, 3), Some(0));
    assert_eq!((map.part.top, map.part.width, map.part.height), (-0.5, 1.0, 2.0));
}

/// Only the upper left corner says which class it is, and nothing else; that is where the map is bright.
#[test]
fn models_without_maps_are_explained_too() {
    let _turn = turn();
    // A start by which a vision transformer that is so little trained looks at the corner; not all do.
    manual_seed(3);
    let side = 32;
    let corner = |image: &mut Image, class: usize| {
        for y in 0..8 {
            for x in 0..8 {
                image.pixels_mut()[(y * side + x) * 3..][..3].fill(class as u8 * 255);
            }
        }
    };
    let options = ModelOptions { classes: 2, image_size: side, ..Default::default() };
    for (arch, steps) in [("mlp", 40), ("vit_tiny_patch16_224", 12)] {
        let input = InputSpec::new(ImagePipeline::new(side, side, 3));
        let model = create(arch, &options).unwrap();
        let mut opt = Adam::new(1e-3).build(model.parameters());
        for step in 0..steps {
            let images: Vec<Image> = (0..8)
                .map(|i| {
                    let mut image = picture(step * 16 + i, side, side, 3);
                    corner(&mut image, i % 2);
                    image
                })
                .collect();
            let y = Tensor::from_vec((0..8).map(|i| i % 2).collect::<Vec<i64>>(), [8]);
            opt.zero_grad();
            f::cross_entropy(&model.forward(&input.tensor(&images)), &y).backward();
            opt.step();
        }
        let predictor = Predictor::new(model, Vec::new(), input);
        let mut image = picture(7777, side, side, 3);
        corner(&mut image, 1);
        assert_eq!(
            predictor.predict(std::slice::from_ref(&image))[0].class,
            1,
            "{arch} has not learned"
        );
        assert!(predictor.grad_cam(&image, None).is_none());
        let map = predictor.explain(&image, None);
        assert!((map.width, map.height, map.class) == (side, side, 1));
        let mean = |inside: bool| {
            let is = |i: &usize| (i / side < 8 && i % side < 8) == inside;
            let all: Vec<f32> = (0..side * side).filter(is).map(|i| map.values[i]).collect();
            all.iter().sum::<f32>() / all.len() as f32
        };
        assert!(mean(true) > 3.0 * mean(false), "{arch}: {} {}", mean(true), mean(false));
    }
}

/// A file as the command line writes it today: no pipeline, only channels, size, mean and standard deviation.
#[test]
fn digit_models_open_too() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("digits.hardpan");
    manual_seed(5);
    for network in [Network::cnn(10), Network::mlp(784, 10)] {
        let model = network.build();
        let header = Header {
            arch: Some(network.to_arch()),
            classes: (0..10).map(|c| c.to_string()).collect(),
            input: Some(ImageInput {
                channels: 1,
                height: 28,
                width: 28,
                mean: vec![0.13],
                std: vec![0.31],
            }),
            ..Header::default()
        };
        ModelFile::new(header, &model.state_dict()).write(&path).unwrap();
        let p = Predictor::load(&path).unwrap();
        assert_eq!(p.input().tta, Tta::Shift);
        // A digit as MNIST has them is taken as it is.
        let digit = picture(4, 28, 28, 1);
        let x = p.input().tensor(std::slice::from_ref(&digit));
        assert_eq!(x.shape(), [1, 1, 28, 28]);
        model.eval();
        let logits = model.forward(&x);
        let said = p.predict(&[digit]).remove(0);
        assert_eq!(said.class, logits.argmax(-1).to_vec::<i64>()[0] as usize);
        assert_eq!(said.label, said.class.to_string());
    }
}

#[test]
fn what_a_file_lacks_is_said() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.hardpan");
    let model = create("resnet9_tiny", &ModelOptions { classes: 2, ..Default::default() }).unwrap();
    let write = |header: Header| ModelFile::new(header, &model.state_dict()).write(&path).unwrap();
    let error = || Predictor::load(&path).err().unwrap().to_string();
    write(Header { arch: Some(model.arch()), ..Header::default() });
    assert!(error().contains("does not say what pictures its network takes"), "{}", error());
    let mut image = spec().image();
    write(Header { input: Some(image.clone()), ..Header::default() });
    assert!(error().contains("which network"), "{}", error());
    image.mean.pop();
    let header = Header { arch: Some(model.arch()), input: Some(image), ..Header::default() };
    write(header);
    assert!(error().contains("mean and standard deviation for each of 3 channels"), "{}", error());
}

#[test]
fn masks_have_the_size_of_their_pictures() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("masks.hardpan");
    manual_seed(8);
    let body = create("resnet9_tiny", &ModelOptions::default()).unwrap();
    let unet = DynamicUnet::new(body, 3, 4, (24, 24), &UnetOptions::default());
    let classes = ["sky", "road", "car", "tree"].map(String::from);
    export_masks(&path, &unet, &classes, &spec(), Header::default()).unwrap();
    let p = MaskPredictor::load(&path).unwrap();
    let all = p.predict(&pictures());
    for (picture, one) in pictures().iter().zip(&all) {
        assert_eq!((one.mask.width(), one.mask.height()), (picture.width(), picture.height()));
        assert!((one.shares.iter().sum::<f64>() - 1.0).abs() < 1e-9 && one.shares.len() == 4);
    }
    // A picture of the model's own size: the mask is the best class at each place.
    unet.eval();
    let x = p.input().tensor(&pictures()[1..2]);
    let best: Vec<u8> =
        unet.forward(&x).argmax(1).to_vec::<i64>().iter().map(|c| *c as u8).collect();
    assert_eq!(all[1].mask.pixels(), best);
    let e = Predictor::load(&path).err().unwrap().to_string();
    assert!(e.contains("MaskPredictor"), "{e}");
}
