//! The way of pictures with masks: train, evaluate, predict, report, export.

mod support;

use serde_json::Value;
use support::{done, hardpan, objects, png, text};

const SIDE: usize = 16;

/// `street/images` with a bright square in noise, `street/masks` with 1 where it is; void (255) at the edges.
fn squares(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let street = dir.path().join("street");
    for folder in ["images", "masks"] {
        std::fs::create_dir_all(street.join(folder)).unwrap();
    }
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 57) as usize
    };
    for i in 0..n {
        let (left, top) = (1 + noise() % 7, 1 + noise() % 7);
        let inside =
            |x: usize, y: usize| (left..left + 8).contains(&x) && (top..top + 8).contains(&y);
        let (mut pixels, mut mask) = (Vec::new(), Vec::new());
        for (x, y) in (0..SIDE * SIDE).map(|k| (k % SIDE, k / SIDE)) {
            let light = if inside(x, y) { 120 } else { 0 };
            pixels.extend((0..3).map(|_| (noise() + light) as u8));
            mask.push(if x == 0 { 255 } else { u8::from(inside(x, y)) });
        }
        png(&street.join(format!("images/{i:02}.png")), ::png::ColorType::Rgb, SIDE, &pixels);
        png(&street.join(format!("masks/{i:02}.png")), ::png::ColorType::Grayscale, SIDE, &mask);
    }
    std::fs::write(street.join("codes.txt"), "road\ncar\n").unwrap();
    dir
}

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
    let o = hardpan(at, &["serve", "model.hardpan", "--addr", "127.0.0.1:0"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stderr).contains("it finds masks"), "{}", text(&o.stderr));
    let o = hardpan(at, &["report", "model.hardpan", "--part", "train"]);
    assert_eq!(o.status.code(), Some(1));
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
