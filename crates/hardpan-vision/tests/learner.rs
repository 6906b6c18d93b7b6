//! Learners for pictures: they learn, and start from weights that were trained elsewhere.

use hardpan_engine::{Tensor, manual_seed, save_safetensors};
use hardpan_learn::data::{DataLoader, DataLoaders, TensorDataset};
use hardpan_nn::{Forward, Module};
use hardpan_vision::learner::{
    SegmentOptions, VisionOptions, unet_learner, vision_learner, vision_model,
};
use hardpan_vision::models::{ModelOptions, create};
use hardpan_vision::unet::{DynamicUnet, UnetOptions};

/// Pictures of noise with a bright square: the class says in which half (left or right) it is, the mask where.
fn data(n: usize, seed: u64) -> (Tensor, Tensor, Tensor) {
    manual_seed(seed);
    let noise = Tensor::randn([n, 3, 16, 16]) * 0.3;
    let spots: Vec<f32> = Tensor::rand([n, 3]).to_vec();
    let (mut mask, mut class) = (vec![0i64; n * 256], vec![0i64; n]);
    for i in 0..n {
        let (a, b) = (spots[3 * i], spots[3 * i + 1]);
        let right = spots[3 * i + 2] > 0.5;
        let (top, left) = ((a * 12.0) as usize, (b * 4.0) as usize + if right { 8 } else { 0 });
        class[i] = i64::from(right);
        for y in top..top + 4 {
            for x in left..left + 4 {
                mask[i * 256 + y * 16 + x] = 1;
            }
        }
    }
    let mask = Tensor::from_vec(mask, [n, 16, 16]);
    let bright = mask.unsqueeze(1).to_dtype(noise.dtype()) * 2.0;
    let x = noise + bright;
    x.eval();
    (x, Tensor::from_vec(class, [n]), mask)
}

fn loaders(x: [Tensor; 2], y: [Tensor; 2]) -> DataLoaders<Tensor, Tensor> {
    let [x, vx] = x;
    let [y, vy] = y;
    DataLoaders::new(
        DataLoader::new(TensorDataset::new(x, y).unwrap(), 16).unwrap().shuffle(3),
        DataLoader::new(TensorDataset::new(vx, vy).unwrap(), 32).unwrap(),
    )
}

#[test]
fn a_small_network_learns_where_the_square_is() {
    let ((x, y, _), (vx, vy, _)) = (data(128, 1), data(64, 2));
    manual_seed(7);
    let options = VisionOptions { label_smoothing: 0.1, ..VisionOptions::new(2) };
    let mut learn =
        vision_learner(loaders([x, vx], [y, vy]), "resnet9_tiny", &options).unwrap().silent();
    assert_eq!(learn.optimizer().groups().len(), 3);
    learn.fit_one_cycle(5, 1e-2).unwrap();
    let accuracy = learn.validate().unwrap().get("accuracy").unwrap();
    assert!(accuracy > 0.85, "{accuracy}");
}

#[test]
fn pretrained_weights_stay_below_a_new_head() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    manual_seed(1);
    let source = create("resnet9_tiny", &ModelOptions::default()).unwrap();
    save_safetensors(&path, source.state_dict().iter(), &Default::default()).unwrap();
    let word = Some(path.to_str().unwrap().to_owned());
    let options = VisionOptions { pretrained: word, ..VisionOptions::new(2) };
    let (model, report) = vision_model("resnet9_tiny", &options).unwrap();
    let report = report.unwrap();
    assert!(report.missing.iter().all(|n| n.starts_with("head.")) && report.mismatched.is_empty());
    assert_eq!(report.unexpected, ["fc.bias", "fc.weight"]);
    let key = "layer3.0.weight";
    let of = |m: &dyn Module| m.state_dict().get(key).unwrap().to_vec::<f32>();
    assert_eq!(of(&source), of(&model));

    let ((x, y, _), (vx, vy, _)) = (data(32, 1), data(32, 2));
    let mut learn =
        vision_learner(loaders([x, vx], [y, vy]), "resnet9_tiny", &options).unwrap().silent();
    let norm = "prep.1.weight";
    let norm_of = |m: &dyn Module| m.state_dict().get(norm).unwrap().to_vec::<f32>();
    let before = norm_of(learn.model());
    learn.fit_one_cycle(1, 1e-2).unwrap();
    // The convolutions are frozen, the batch norms are not.
    assert_eq!(of(&source), of(learn.model()));
    assert_ne!(before, norm_of(learn.model()));
    learn.fine_tune(1, 2e-3).unwrap();
    assert_ne!(of(&source), of(learn.model()));
}

#[test]
fn a_unet_finds_the_square() {
    let ((x, _, y), (vx, _, vy)) = (data(64, 3), data(32, 4));
    manual_seed(2);
    let options = SegmentOptions::new(2, (16, 16));
    let mut learn =
        unet_learner(loaders([x, vx], [y, vy]), "resnet9_tiny", &options).unwrap().silent();
    learn.fit_one_cycle(6, 1e-2).unwrap();
    let v = learn.validate().unwrap();
    // All background would be 0.94 and 0.47.
    let (accuracy, iou) = (v.get("pixel_accuracy").unwrap(), v.get("iou").unwrap());
    assert!(accuracy > 0.95 && iou > 0.58, "{accuracy} {iou}");
}

/// Of the whole network, encoder included.
#[test]
fn a_narrow_way_up_is_little_work() {
    let x = Tensor::zeros([1, 3, 240, 320]);
    let work = |name: &str, narrow: bool| {
        let body = create(name, &ModelOptions::default()).unwrap();
        let options = UnetOptions { narrow, ..Default::default() };
        DynamicUnet::new(body, 3, 11, (240, 320), &options).summary(&x).multiply_adds as f64
    };
    for (name, share) in [("xresnet18", 1.0 / 7.0), ("efficientnet_lite0", 1.0 / 14.0)] {
        let share_is = work(name, true) / work(name, false);
        assert!(share_is < share, "{name}: {share_is}");
    }
}

/// Bodies of every kind, odd sizes, all options: the result always has the picture's size.
#[test]
fn unets_of_all_bodies() {
    let all = UnetOptions { blur: true, self_attention: true, norm: false, ..Default::default() };
    for (name, size, o) in [
        ("resnet18", (64, 48), UnetOptions::default()),
        ("xresnet18", (33, 50), all),
        ("mobilenet_v3_small", (64, 64), all),
        ("efficientnet_lite0", (40, 64), UnetOptions { last_cross: false, ..all }),
        ("xresnet18", (40, 64), UnetOptions { narrow: true, ..Default::default() }),
        ("efficientnet_lite0", (33, 50), UnetOptions { narrow: true, ..all }),
    ] {
        let body = create(name, &ModelOptions::default()).unwrap();
        let unet = DynamicUnet::new(body, 3, 5, size, &o);
        let y = unet.forward(&Tensor::zeros([2, 3, size.0, size.1]));
        assert_eq!(y.shape(), [2, 5, size.0, size.1], "{name}");
        assert_eq!(unet.groups().iter().map(Vec::len).sum::<usize>(), unet.parameters().len());
        let again = DynamicUnet::from_arch(&unet.arch()).unwrap();
        assert_eq!(again.num_parameters(), unet.num_parameters(), "{name}");
    }
}
