//! The way of pictures with masks: train, evaluate, predict, report, export.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hardpan::vision::image::{Image, Mask};
use serde_json::Value;
use std::path::Path;
use support::{done, hardpan, objects, post, serve, squares, text};

#[test]
fn from_masks_to_a_model_that_is_understood() {
    let dir = squares(16);
    let at = dir.path();
    let args = ["train", "street", "--task", "segment", "--arch", "resnet9_tiny", "--bs", "2"];
    let o = hardpan(at, &[&args[..], &["--epochs", "5", "--lr", "0.005", "--json"]].concat());
    done(&o);
    let events = objects(&o);
    let start = &events[0];
    assert_eq!((&start["task"], &start["train_items"]), (&"segment".into(), &13.into()));
    assert_eq!(start["classes"], serde_json::json!(["road", "car"]));
    let last = &events[5]["metrics"];
    let accuracy = last["pixel_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.85, "{last}");

    // The model in its file gives the numbers of the training.
    let o = hardpan(at, &["eval", "model.hardpan", "--json"]);
    done(&o);
    let eval = &objects(&o)[0];
    let measured = |name: &str| eval["metrics"][name].as_f64().unwrap();
    assert!((measured("pixel_accuracy") - accuracy).abs() < 1e-9, "{eval} {last}");
    assert_eq!(eval["items"], 3);
    let elsewhere = tempfile::tempdir().unwrap();
    let model = at.join("model.hardpan").display().to_string();
    let o = hardpan(elsewhere.path(), &["eval", &model, "--json"]);
    done(&o);
    assert_eq!(objects(&o)[0]["metrics"], eval["metrics"]);

    let o = hardpan(at, &["predict", "model.hardpan", "street/images", "--masks", "m", "--json"]);
    done(&o);
    let lines = objects(&o);
    let shares = |l: &Value| -> f64 {
        l["shares"].as_array().unwrap().iter().map(|s| s[1].as_f64().unwrap()).sum()
    };
    assert!(lines.len() == 16 && lines.iter().all(|l| (shares(l) - 1.0).abs() < 1e-6));
    for name in ["m/00.png", "m/00.overlay.png"] {
        assert!(at.join(name).metadata().unwrap().len() > 50, "{name}");
    }

    // Pictures have the size of the input here, so the page's numbers are those of the training too.
    let o = hardpan(at, &["report", "model.hardpan", "--out", "page", "--worst", "1", "--json"]);
    done(&o);
    let report = &objects(&o)[0]["metrics"];
    for name in ["pixel_accuracy", "iou"] {
        assert!((report[name].as_f64().unwrap() - measured(name)).abs() < 1e-6, "{report} {eval}");
    }
    let page = std::fs::read_to_string(at.join("page/index.html")).unwrap();
    for part in ["Training", "Each class", "Worst pictures", "road", "car", "<svg", "trained on"] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("alt=\"what the model says\"").count(), 1);

    let o = hardpan(at, &["export", "model.hardpan", "model.onnx", "--json"]);
    done(&o);
    assert_eq!(objects(&o)[0]["input"], serde_json::json!([3, 16, 16]));
    let o = hardpan(at, &["report", "model.hardpan", "--part", "train"]);
    assert_eq!(o.status.code(), Some(1));

    served_masks_are_those_of_predict(at, &lines);
}

/// Answers of `hardpan serve` to several at once, beside the lines and files of `hardpan predict`, which took them together.
fn served_masks_are_those_of_predict(at: &Path, lines: &[Value]) {
    let (_serving, address) = serve(at, "model.hardpan");
    std::thread::scope(|scope| {
        for line in lines {
            let (address, line) = (&address, line);
            scope.spawn(move || {
                let picture = std::fs::read(at.join(line["input"].as_str().unwrap())).unwrap();
                let mask = std::fs::read(at.join(line["mask"].as_str().unwrap())).unwrap();
                let (status, body) = post(address, "/predict", "application/json", &picture);
                assert_eq!(status, 200, "{}", text(&body));
                let answer: Value = serde_json::from_slice(&body).unwrap();
                assert_eq!((&answer["width"], &answer["height"]), (&16.into(), &16.into()));
                assert_eq!(answer["shares"], line["shares"]);
                let url = answer["mask"].as_str().unwrap();
                let base64 = url.strip_prefix("data:image/png;base64,").unwrap();
                assert!(STANDARD.decode(base64).unwrap() == mask, "{line}");
                let (status, body) = post(address, "/predict", "image/png", &picture);
                assert!(status == 200 && body == mask, "{line}");
            });
        }
    });
    let (status, body) = post(&address, "/predict", "image/png", b"no picture");
    assert_eq!(status, 400, "{}", text(&body));
}

#[test]
fn sizes_keep_proportions_and_masks_are_augmented() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    for folder in ["images", "masks"] {
        std::fs::create_dir_all(at.join("street").join(folder)).unwrap();
    }
    for i in 0..6 {
        let inside = |k: usize| (10 + i..30 + i).contains(&(k % 48));
        let light = (0..48 * 32).flat_map(|k| [if inside(k) { 200 } else { 30 }; 3]).collect();
        let image = Image::new(48, 32, 3, light);
        image.save_png(at.join(format!("street/images/{i}.png"))).unwrap();
        let mask = Mask::new(48, 32, (0..48 * 32).map(|k| u8::from(inside(k))).collect());
        mask.to_image().save_png(at.join(format!("street/masks/{i}.png"))).unwrap();
    }
    let args = ["train", "street", "--arch", "resnet9_tiny", "--bs", "2", "--epochs", "1"];
    let train_loss = |more: &[&str]| {
        let o = hardpan(at, &[&args[..], &["--json"], more].concat());
        done(&o);
        objects(&o)[1]["train_loss"].to_string()
    };
    let size = |more: &[&str]| {
        train_loss(more);
        let o = hardpan(at, &["info", "model.hardpan", "--json"]);
        done(&o);
        let input = &objects(&o)[0]["input"];
        (input["width"].as_u64().unwrap(), input["height"].as_u64().unwrap())
    };
    assert_eq!(size(&[]), (48, 32));
    assert_eq!(size(&["--size", "16"]), (24, 16));
    assert_eq!(size(&["--size", "20x16"]), (20, 16));
    // Each way to vary the pictures is another one.
    let losses: std::collections::HashSet<String> = ["none", "light", "full", "rand"]
        .map(|how| train_loss(&["--size", "16", "--augment", how]))
        .into_iter()
        .collect();
    assert_eq!(losses.len(), 4, "{losses:?}");
}

#[test]
fn what_is_wrong_with_masks_is_said() {
    let dir = squares(6);
    let at = dir.path();
    let says = |args: &[&str]| {
        let o = hardpan(at, &[&["train", "street", "--task", "segment"], args].concat());
        assert_eq!(o.status.code(), Some(1), "{args:?}: {}", text(&o.stdout));
        text(&o.stderr)
    };
    assert!(says(&["--mixup", "0.4"]).contains("--mixup is not for --task segment"));
    std::fs::rename(at.join("street/masks"), at.join("street/other")).unwrap();
    assert!(says(&[]).contains("expected pictures and masks"));
}
