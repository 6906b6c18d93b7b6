//! The way of a folder of pictures: train, evaluate, predict, report, serve; and what is wrong with folders.

mod support;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::{done, hardpan, objects, post, serve, text};

const CLASSES: [&str; 3] = ["blue", "green", "red"];

/// A picture of 20x20 in noise, with more of one colour.
fn picture(class: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(6364136223846793005).wrapping_add(class as u64);
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 57) as u8
    };
    let strong = 2 - class;
    (0..1200).map(|i| noise() + if i % 3 == strong { 90 } else { 0 }).collect()
}

fn png(path: &Path, pixels: &[u8]) {
    support::png(path, png::ColorType::Rgb, 20, pixels);
}

/// `data/blue`, `data/green`, `data/red` with `n` pictures each.
fn colours(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = dir.path().join("data").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for i in 0..n {
            png(&folder.join(format!("{i:03}.png")), &picture(class, i as u64));
        }
    }
    dir
}

/// A training that is quick also without optimization.
const QUICK: [&str; 8] = ["--arch", "cnn", "--epochs", "3", "--bs", "8", "--lr", "0.02"];

fn train(dir: &Path, more: &[&str]) -> Output {
    hardpan(dir, &[&["train", "data"], &QUICK[..], more].concat())
}

#[test]
fn from_a_folder_to_a_model_that_is_understood() {
    let dir = colours(20);
    let at = dir.path();
    // A file that is no picture, and one that is only half of one.
    std::fs::write(at.join("data/red/notes.txt"), "later").unwrap();
    let whole = std::fs::read(at.join("data/red/000.png")).unwrap();
    std::fs::write(at.join("data/red/half.png"), &whole[..whole.len() / 2]).unwrap();

    let o = train(at, &["--json", "--plots", "plots"]);
    done(&o);
    let events = objects(&o);
    let start = &events[0];
    assert_eq!((&start["task"], &start["arch"]), (&"image".into(), &"cnn".into()));
    assert_eq!(start["classes"], serde_json::json!(CLASSES));
    let items = start["train_items"].as_u64().unwrap() + start["valid_items"].as_u64().unwrap();
    assert_eq!(items, 61, "a file that cannot be read is found out later");
    assert!(text(&o.stderr).contains("left out") && text(&o.stderr).contains("half.png"));
    let accuracy = events[3]["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.9, "{accuracy}");
    for name in ["losses.svg", "losses.png", "rates.svg", "metrics.png"] {
        assert!(at.join("plots").join(name).metadata().unwrap().len() > 500, "{name}");
    }

    // It is judged by what it was not trained on, with the very numbers of the training.
    let o = hardpan(at, &["eval", "model.hardpan", "--json"]);
    done(&o);
    let eval = objects(&o).pop().unwrap();
    assert_eq!((&eval["part"], &eval["metrics"]["accuracy"]), (&"valid".into(), &accuracy.into()));
    let loss = events[3]["valid_loss"].as_f64().unwrap();
    assert!((eval["valid_loss"].as_f64().unwrap() - loss).abs() < 1e-5, "{eval} {loss}");
    let o = hardpan(at, &["eval", "model.hardpan", "data", "--part", "all", "--json"]);
    assert_eq!(objects(&o)[0]["items"], 60);

    let o = hardpan(at, &["predict", "model.hardpan", "data/green", "--json", "--top", "1"]);
    done(&o);
    let lines = objects(&o);
    let right = lines.iter().filter(|l| l["class"] == "green").count();
    assert!(lines.len() == 20 && right > 17, "{right} of {}", lines.len());
    done(&hardpan(at, &["predict", "model.hardpan", "data/green", "--tta"]));

    let o = hardpan(at, &["report", "model.hardpan", "--out", "page"]);
    done(&o);
    let page = std::fs::read_to_string(at.join("page/index.html")).unwrap();
    for part in
        ["Confusion matrix", "Top losses", "Nearest neighbours", "<svg", "data:image/png;base64,"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("src=\"http") && !page.contains("href=\"http"),
        "nothing from elsewhere"
    );

    let o = hardpan(at, &["data", "verify", "data", "--json"]);
    assert_eq!(o.status.code(), Some(1));
    let found = &objects(&o)[0];
    assert_eq!((&found["checked"], &found["other_files"]), (&61.into(), &1.into()));
    assert!(found["problems"][0]["file"].as_str().unwrap().ends_with("half.png"));
    let o = train(at, &["--strict"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stderr).contains("half.png"), "{}", text(&o.stderr));
}

#[cfg(unix)]
#[test]
fn the_same_seed_gives_the_same_model_whatever_happens_meanwhile() {
    let dir = colours(20);
    let at = dir.path();
    done(&train(at, &["--out", "a.hardpan", "--workers", "0", "--threads", "1"]));
    done(&train(at, &["--out", "b.hardpan", "--workers", "3", "--threads", "2"]));
    let model = |name: &str| std::fs::read(at.join(name)).unwrap();
    assert!(model("a.hardpan") == model("b.hardpan"));
    // Killed at some batch, and taken up again.
    let args = [&["train", "data"], &QUICK[..], &["--checkpoint-secs", "0"]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hardpan"))
        .current_dir(at)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !at.join("model.hardpan.checkpoint").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let checkpoint = model("model.hardpan.checkpoint");
    done(&hardpan(at, &["train", "--resume", "model.hardpan"]));
    assert!(model("a.hardpan") == model("model.hardpan"));
    // From another folder, where neither the data nor the model's name mean anything.
    std::fs::remove_file(at.join("model.hardpan")).unwrap();
    std::fs::write(at.join("model.hardpan.checkpoint"), checkpoint).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let there = at.join("model.hardpan").display().to_string();
    done(&hardpan(elsewhere.path(), &["train", "--resume", &there]));
    let weights = |file: Vec<u8>| file[file.len() - 50_000..].to_vec();
    assert!(weights(model("a.hardpan")) == weights(model("model.hardpan")));
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let dir = colours(4);
    let at = dir.path();
    let says = |args: &[&str]| {
        let o = hardpan(at, args);
        assert_eq!(o.status.code(), Some(1), "{args:?}: {}", text(&o.stdout));
        text(&o.stderr)
    };
    assert!(says(&["train", "data/red"]).contains("class"));
    std::fs::create_dir(at.join("empty")).unwrap();
    assert!(says(&["train", "empty"]).contains("no pictures"));
    assert!(says(&["train", "dato"]).contains("no such folder"));
    let no_weights = says(&["train", "data", "--pretrained", "resnet19"]);
    assert!(no_weights.contains("resnet19") && no_weights.contains("mobilenet_v3_small"));
    assert!(says(&["train", "data", "--arch", "resnet99"]).contains("resnet18"));
    assert!(says(&["train", "data", "--shift", "2"]).contains("--augment"));
    assert!(says(&["train", "data", "--pretrained", "nothing.pth"]).contains("nothing.pth"));
    assert!(says(&["train", "data", "--task", "tabular"]).contains("pictures only"));
    let e = says(&["export", "data/red/000.png", "out.onnx"]);
    assert!(e.contains("not a Hardpan model: it is a PNG picture"), "{e}");
    done(&train(at, &[]));
    // Weights of another network, and what is no file of weights.
    let other = ["train", "data", "--arch", "resnet9_tiny", "--pretrained"];
    let e = says(&[&other[..], &["model.hardpan"]].concat());
    assert!(e.contains("of another architecture"), "{e}");
    let e = says(&[&other[..], &["data/red/000.png"]].concat());
    assert!(e.contains("neither a safetensors file nor one of torch.save"), "{e}");
    let e = says(&["export", "model.hardpan", "nowhere/m.onnx"]);
    assert!(e.contains("nowhere") && e.matches("No such file").count() == 1, "{e}");
    std::fs::rename(at.join("data/red"), at.join("data/purple")).unwrap();
    let e = says(&["eval", "model.hardpan", "data", "--part", "all"]);
    assert!(e.contains("purple") && e.contains("does not know"), "{e}");
    assert!(says(&["serve", "model.hardpan", "--addr", "nowhere:80"]).contains("nowhere:80"));
    assert!(says(&["report", "absent.hardpan"]).contains("no such file"));
}

/// Class folders with one picture each leave none to judge by; that is said, and is no failure.
#[test]
fn without_anything_to_judge_by() {
    let dir = colours(1);
    let o = train(dir.path(), &[]);
    done(&o);
    assert!(text(&o.stderr).contains("nothing is left to judge by"), "{}", text(&o.stderr));
    let out = text(&o.stdout);
    assert!(out.contains("There was nothing to judge it by") && !out.contains("NaN"), "{out}");
}

/// Strange files and names, and a link back up: what can be read is learned from, once.
#[cfg(unix)]
#[test]
fn strange_folders_are_trained_on() {
    let dir = colours(6);
    let at = dir.path();
    let red = at.join("data/red");
    std::os::unix::fs::symlink("..", red.join("loop")).unwrap();
    std::os::unix::fs::symlink("nowhere.png", red.join("dangling.png")).unwrap();
    std::fs::write(red.join("empty.png"), "").unwrap();
    std::fs::rename(red.join("000.png"), red.join("größe 1 图.png")).unwrap();
    std::fs::rename(at.join("data"), at.join("ein Ordner")).unwrap();
    let args = [&["train", "ein Ordner"], &QUICK[..], &["--json", "--out", "mödel.hardpan"]];
    let o = hardpan(at, &args.concat());
    done(&o);
    let start = &objects(&o)[0];
    let items = start["train_items"].as_u64().unwrap() + start["valid_items"].as_u64().unwrap();
    assert_eq!(items, 20, "18 pictures and two files that cannot be read");
    let left_out: Vec<String> =
        text(&o.stderr).lines().filter(|l| l.contains("left out")).map(str::to_owned).collect();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    for line in left_out {
        assert_eq!(line.matches("ein Ordner").count(), 1, "{line}");
    }
    let o = hardpan(at, &["predict", "mödel.hardpan", "ein Ordner/red/größe 1 图.png", "--json"]);
    done(&o);
    assert_eq!(objects(&o)[0]["input"], "ein Ordner/red/größe 1 图.png");
}

#[test]
fn a_table_of_pictures() {
    let dir = colours(8);
    let at = dir.path();
    let mut table = String::from("picture,colour,is_valid,weight\n");
    for class in CLASSES {
        for i in 0..8 {
            table += &format!("data/{class}/{i:03}.png,{class},{},1\n", i < 2);
        }
    }
    std::fs::write(at.join("table.csv"), &table).unwrap();
    let args =
        |target: &'static [&str]| [&["train", "table.csv", "--json"], &QUICK[..], target].concat();
    let o = hardpan(at, &args(&[]));
    assert_eq!(o.status.code(), Some(1));
    let e = text(&o.stderr);
    assert!(e.contains("picture, colour, is_valid, weight") && e.contains("--target"), "{e}");
    let o = hardpan(at, &args(&["--target", "colour"]));
    done(&o);
    let start = &objects(&o)[0];
    assert_eq!((&start["train_items"], &start["valid_items"]), (&18.into(), &6.into()));
    assert_eq!(start["classes"], serde_json::json!(CLASSES));
    let o = hardpan(at, &["eval", "model.hardpan", "--json"]);
    done(&o);
    assert_eq!((&objects(&o)[0]["items"], &objects(&o)[0]["part"]), (&6.into(), &"valid".into()));
    std::fs::write(at.join("other.csv"), "a,b\n1,2\n").unwrap();
    let o = hardpan(at, &["train", "other.csv"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stderr).contains("a column of picture files"), "{}", text(&o.stderr));
}

/// The page shows a wrong label first, and what its reader writes down is learned from.
#[test]
fn a_wrong_label_is_seen_and_corrected() {
    let dir = colours(12);
    let at = dir.path();
    png(&at.join("data/red/wrong.png"), &picture(0, 99));
    done(&train(at, &[]));
    let args = ["report", "model.hardpan", "--part", "all", "--out", "page", "--worst", "5"];
    done(&hardpan(at, &args));
    let page = std::fs::read_to_string(at.join("page/index.html")).unwrap();
    let cards: Vec<&str> = page.split("class=\"card\"").skip(1).collect();
    assert_eq!(cards.len(), 5);
    let name = "data-file=\"data/red/wrong.png\" data-label=\"red\"";
    assert!(cards[0].contains(name) && cards[0].contains("class=\"heat\""), "{}", cards[0]);
    assert!(cards[0].contains("<b class=\"wrong\">blue</b>"), "{}", cards[0]);
    for part in ["Most confused", "Each class", "Can its probabilities be trusted", "How it was"] {
        assert!(page.contains(part), "{part}");
    }

    // Green becomes blue, one picture is left out, and a file that is not there is told.
    let mut table = String::from("file,label\ndata/red/wrong.png,\nabsent.png,red\n");
    (0..12).for_each(|i| table += &format!("data/green/{i:03}.png,blue\n"));
    std::fs::write(at.join("corrections.csv"), table).unwrap();
    let o = train(at, &["--corrections", "corrections.csv", "--json"]);
    done(&o);
    assert!(text(&o.stderr).contains("correction of absent.png"), "{}", text(&o.stderr));
    let start = &objects(&o)[0];
    assert_eq!(start["classes"], serde_json::json!(["blue", "red"]));
    let items = start["train_items"].as_u64().unwrap() + start["valid_items"].as_u64().unwrap();
    assert_eq!(items, 36);
    let o = hardpan(at, &["eval", "model.hardpan", "--part", "all", "--json"]);
    done(&o);
    assert_eq!(objects(&o)[0]["items"], 36, "judged by the corrected labels too");
    let o = hardpan(at, &["export", "model.hardpan", "model.onnx", "--json"]);
    done(&o);
    assert_eq!(objects(&o)[0]["classes"], start["classes"]);
    let onnx = String::from_utf8_lossy(&std::fs::read(at.join("model.onnx")).unwrap()).into_owned();
    for part in ["Conv", "input", "output", "[\"blue\",\"red\"]", "pipeline", "\"margin\":0.0"] {
        assert!(onnx.contains(part), "{part}");
    }
}

/// What a folder apart was validated on is what `eval` judges by.
#[test]
fn a_model_is_never_judged_by_what_it_learned_from() {
    let dir = colours(8);
    let at = dir.path();
    for name in CLASSES {
        std::fs::create_dir_all(at.join("apart").join(name)).unwrap();
        let file = format!("{name}/000.png");
        std::fs::rename(at.join("data").join(&file), at.join("apart").join(&file)).unwrap();
    }
    let o = train(at, &["--valid", "apart", "--json"]);
    done(&o);
    let (start, last) = (objects(&o)[0].clone(), objects(&o)[3].clone());
    assert_eq!((&start["train_items"], &start["valid_items"]), (&21.into(), &3.into()));
    let o = hardpan(at, &["eval", "model.hardpan", "--json"]);
    done(&o);
    let eval = objects(&o).pop().unwrap();
    assert_eq!((&eval["items"], &eval["part"]), (&3.into(), &"valid".into()));
    let accuracy = |v: &Value| v["metrics"]["accuracy"].as_f64().unwrap();
    assert!((accuracy(&eval) - accuracy(&last)).abs() < 1e-6, "{eval} {last}");
}

/// What the model was trained on is found from any folder, its own validation part with it.
#[test]
fn the_training_s_data_is_found_from_elsewhere() {
    let dir = colours(8);
    let at = dir.path();
    done(&train(at, &["--valid", "0.25"]));
    let elsewhere = tempfile::tempdir().unwrap();
    let model = at.join("model.hardpan").display().to_string();
    let eval =
        |dir: &Path, more: &[&str]| hardpan(dir, &[&["eval", &model, "--json"], more].concat());
    let numbers = |o: &Output| {
        done(o);
        let e = objects(o).pop().unwrap();
        (e["items"].clone(), e["part"].clone(), e["valid_loss"].clone())
    };
    let here = numbers(&eval(at, &[]));
    assert_eq!((&here.0, &here.1), (&6.into(), &"valid".into()));
    assert_eq!(numbers(&eval(elsewhere.path(), &[])), here);
    let data = at.join("data").display().to_string();
    assert_eq!(numbers(&eval(elsewhere.path(), &[&data])), here, "it is the same data");
    // A folder of the same name is other data.
    std::fs::create_dir(elsewhere.path().join("data")).unwrap();
    for class in CLASSES {
        let to = elsewhere.path().join("data").join(class);
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(at.join("data").join(class).join("000.png"), to.join("000.png")).unwrap();
    }
    let other = numbers(&eval(elsewhere.path(), &["data"]));
    assert_eq!((&other.0, &other.1), (&3.into(), &"all".into()));
    // Moved along with the model: by its name. Gone: it is said what was where.
    std::fs::rename(at.join("data"), at.join("moved")).unwrap();
    let o = eval(elsewhere.path(), &[]);
    assert_eq!(o.status.code(), Some(1));
    let e = text(&o.stderr);
    assert!(
        e.contains("trained on `data`, which was /") && e.contains("say where it is now"),
        "{e}"
    );
    let home = tempfile::tempdir().unwrap();
    std::fs::rename(at.join("moved"), home.path().join("data")).unwrap();
    assert_eq!(numbers(&eval(home.path(), &["data"])), here);
}

#[test]
fn what_is_served_is_what_is_predicted() {
    let dir = colours(10);
    let at = dir.path();
    done(&train(at, &[]));
    let (_serving, address) = serve(at, "model.hardpan");
    let post = |path: &str, body: &[u8]| -> Value {
        serde_json::from_slice(&post(&address, path, "*/*", body).1).unwrap()
    };
    let names: Vec<String> = (0..10).map(|i| format!("data/blue/{i:03}.png")).collect();
    let mut args = vec!["predict", "model.hardpan", "--json"];
    args.extend(names.iter().map(String::as_str));
    let o = hardpan(at, &args);
    done(&o);
    // One by one by the server, together by the command: the same bits.
    for (name, expected) in names.iter().zip(objects(&o)) {
        let answer = post("/predict?top=3", &std::fs::read(at.join(name)).unwrap());
        assert_eq!(answer["top"], expected["top"], "{name}");
    }
    let why = post("/explain", &std::fs::read(at.join(&names[0])).unwrap());
    assert!(why["heat_map"].as_str().unwrap().starts_with("data:image/png;base64,"), "{why}");
    let wrong = post("/predict", b"no picture");
    assert!(wrong["error"].as_str().unwrap().contains("not an image"), "{wrong}");
}
