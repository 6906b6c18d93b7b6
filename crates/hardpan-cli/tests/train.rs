//! Training, resuming, predicting and evaluating with the binary, on small data of the format of MNIST.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn hardpan(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hardpan")).current_dir(dir).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn objects(o: &Output) -> Vec<Value> {
    text(&o.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[track_caller]
fn done(o: &Output) {
    assert_eq!(o.status.code(), Some(0), "{}\n{}", text(&o.stdout), text(&o.stderr));
}

/// Pictures of 28x28 in three classes that can be told apart: a bar at the left, in the middle, at the right, in noise.
fn picture(class: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 58) as u8
    };
    let bar = 4 + 8 * class..8 + 8 * class;
    (0..784).map(|i| if bar.contains(&(i % 28)) { 200 + noise() / 2 } else { noise() }).collect()
}

fn write_idx(dir: &Path, part: &str, n: usize, label: impl Fn(usize) -> u8) {
    let size = |n: usize| (n as u32).to_be_bytes();
    let mut images = [[0, 0, 8, 3], size(n), size(28), size(28)].concat();
    let mut labels = [[0, 0, 8, 1], size(n)].concat();
    for i in 0..n {
        images.extend(picture(i % 3, i as u64 + part.len() as u64 * 1000));
        labels.push(label(i));
    }
    std::fs::write(dir.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
    std::fs::write(dir.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
}

/// A folder with `bars/` in it.
fn bars(train: usize, test: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("bars");
    std::fs::create_dir(&data).unwrap();
    write_idx(&data, "train", train, |i| (i % 3) as u8);
    write_idx(&data, "t10k", test, |i| (i % 3) as u8);
    dir
}

fn png(path: &Path, pixels: &[u8]) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 28, 28);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
}

#[test]
fn train_predict_eval_info() {
    let dir = bars(300, 60);
    let at = dir.path();
    let train = ["train", "./bars", "--epochs", "2", "--bs", "16", "--json", "--threads", "1"];
    let o = hardpan(at, &train);
    done(&o);
    let events = objects(&o);
    let names: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "epoch", "epoch", "done"]);
    let start = &events[0];
    assert_eq!((&start["task"], &start["arch"]), (&"image".into(), &"cnn".into()));
    assert_eq!((&start["train_items"], &start["valid_items"]), (&300.into(), &60.into()));
    assert_eq!((&start["threads"], &start["seed"]), (&1.into(), &42.into()));
    assert_eq!(start["classes"], serde_json::json!(["0", "1", "2"]));
    assert!(start["params"].as_u64().unwrap() > 1000);
    let epoch = &events[2];
    assert_eq!(epoch["epoch"], 1);
    for field in ["train_loss", "valid_loss", "lr", "seconds", "items_per_second"] {
        assert!(epoch[field].as_f64().unwrap().is_finite(), "{field}: {epoch}");
    }
    let accuracy = epoch["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.95, "{accuracy}");
    let last = &events[3];
    assert_eq!(
        (&last["model"], &last["best"]["metric"]),
        (&"model.hardpan".into(), &"accuracy".into())
    );
    let files: Vec<_> = std::fs::read_dir(at)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files.len(), 2, "the data and the model, nothing else: {files:?}");

    // The same seed gives the same file, on any number of threads.
    let first = std::fs::read(at.join("model.hardpan")).unwrap();
    let train =
        ["train", "./bars", "--epochs", "2", "--bs", "16", "--threads", "3", "--out", "b.hardpan"];
    let o = hardpan(at, &train);
    done(&o);
    let table = text(&o.stdout);
    assert!(table.contains("epoch     train_loss  valid_loss  accuracy  time"), "{table}");
    assert!(table.contains("hardpan predict b.hardpan"), "{table}");
    assert_eq!(std::fs::read(at.join("b.hardpan")).unwrap(), first);

    let o = hardpan(at, &["eval", "model.hardpan", "./bars", "--json"]);
    done(&o);
    let eval = &objects(&o)[0];
    assert_eq!(eval["metrics"]["accuracy"].as_f64().unwrap(), accuracy);
    assert!(
        (eval["valid_loss"].as_f64().unwrap() - epoch["valid_loss"].as_f64().unwrap()).abs() < 1e-6
    );

    png(&at.join("one.png"), &picture(1, 999_999));
    png(&at.join("two.png"), &picture(2, 888_888));
    let o =
        hardpan(at, &["predict", "model.hardpan", "one.png", "two.png", "--json", "--top", "2"]);
    done(&o);
    let lines = objects(&o);
    for (line, (input, class)) in lines.iter().zip([("one.png", "1"), ("two.png", "2")]) {
        assert_eq!((&line["input"], &line["class"]), (&input.into(), &class.into()), "{line}");
        assert_eq!(line["top"][0][0], class);
        assert_eq!(
            (line["top"].as_array().unwrap().len(), &line["top"][0][1]),
            (2, &line["probability"])
        );
    }
    // A picture from standard input; one that cannot be read does not keep the others from being named.
    let mut child = Command::new(env!("CARGO_BIN_EXE_hardpan"))
        .current_dir(at)
        .args(["predict", "model.hardpan", "absent.png", "-", "--invert", "no"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(at.join("two.png")).unwrap()).unwrap();
    let o = child.wait_with_output().unwrap();
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stdout).starts_with("-: 2 "), "{}", text(&o.stdout));
    assert!(text(&o.stderr).contains("absent.png"), "{}", text(&o.stderr));

    let o = hardpan(at, &["info", "model.hardpan", "--json"]);
    done(&o);
    let info = &objects(&o)[0];
    assert_eq!((&info["arch"]["name"], &info["provenance"]["seed"]), (&"cnn".into(), &42.into()));
    assert!(text(&hardpan(at, &["info", "model.hardpan"]).stdout).contains("accuracy"));
}

/// Weights in the file, without what is said about them (the name of the output is part of nothing, but times may be).
fn model(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn spawn(dir: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_hardpan"))
        .current_dir(dir)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until the run has written itself down `times` times, or is over.
fn wait_for_checkpoints(dir: &Path, child: &mut Child, times: usize) {
    let file = dir.join("model.hardpan.checkpoint");
    let start = Instant::now();
    let (mut seen, mut last) = (0, None);
    while seen < times && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(120), "no checkpoint for two minutes");
        let now = std::fs::metadata(&file).and_then(|m| m.modified()).ok();
        if now.is_some() && now != last {
            (seen, last) = (seen + 1, now);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
#[test]
fn killed_in_the_middle_of_an_epoch_it_ends_the_same() {
    let dir = bars(600, 30);
    let at = dir.path();
    let args = ["train", "./bars", "--epochs", "2", "--bs", "8", "--checkpoint-secs", "0"];
    let o = hardpan(at, &[&args[..], &["--out", "whole.hardpan"]].concat());
    done(&o);
    // Killed without warning, twice, at some batch: whenever that is, nothing may be lost.
    let mut child = spawn(at, &args);
    wait_for_checkpoints(at, &mut child, 10);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!at.join("model.hardpan").exists(), "there is no half model");
    let resume = ["train", "--resume", "model.hardpan", "--checkpoint-secs", "0"];
    let mut child = spawn(at, &resume);
    wait_for_checkpoints(at, &mut child, 10);
    let _ = child.kill();
    child.wait().unwrap();
    let o = hardpan(at, &resume);
    done(&o);
    assert!(model(at.join("model.hardpan")) == model(at.join("whole.hardpan")));
    assert!(!at.join("model.hardpan.checkpoint").exists());
    // Now it is over.
    let o = hardpan(at, &resume);
    assert_eq!(o.status.code(), Some(1));
    assert!(text(&o.stderr).contains("a finished model"), "{}", text(&o.stderr));
}

#[cfg(unix)]
#[test]
fn asked_to_stop_it_says_how_to_go_on() {
    let dir = bars(600, 30);
    let at = dir.path();
    let args = ["train", "./bars", "--epochs", "2", "--bs", "8"];
    done(&hardpan(at, &[&args[..], &["--out", "whole.hardpan"]].concat()));
    // A model that is there stays until the new one is done.
    std::fs::write(at.join("model.hardpan"), "an old model").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_hardpan"))
        .current_dir(at)
        .args(args)
        .args(["--json", "--checkpoint-secs", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_checkpoints(at, &mut child, 5);
    let done_kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(done_kill.success());
    let o = child.wait_with_output().unwrap();
    assert_eq!(o.status.code(), Some(1), "{}", text(&o.stderr));
    let says = objects(&o).pop().unwrap();
    assert_eq!(says["event"], "error");
    assert!(
        says["message"].as_str().unwrap().contains("hardpan train --resume model.hardpan"),
        "{says}"
    );
    assert_eq!(model(at.join("model.hardpan")), b"an old model");
    done(&hardpan(at, &["train", "--resume", "model.hardpan"]));
    assert!(model(at.join("model.hardpan")) == model(at.join("whole.hardpan")));
}

#[test]
fn what_is_wrong_is_said_with_status_1() {
    let dir = bars(30, 9);
    let at = dir.path();
    let says = |args: &[&str]| {
        let o = hardpan(at, args);
        assert_eq!(o.status.code(), Some(1), "{args:?}: {}", text(&o.stdout));
        text(&o.stderr)
    };
    // A rate that blows up at once: there is nothing to keep, and what to try is said.
    let e = says(&["train", "./bars", "--lr", "1e30", "--bs", "4", "--arch", "mlp"]);
    assert!(e.contains("the loss became") && e.contains("try a learning rate"), "{e}");
    let hardpan_files = || {
        let names = std::fs::read_dir(at).unwrap().map(|f| f.unwrap().file_name());
        let names = names.map(|n| n.into_string().unwrap()).filter(|n| n.contains("hardpan"));
        names.collect::<Vec<_>>()
    };
    assert!(hardpan_files().is_empty(), "{:?}", hardpan_files());
    assert!(says(&["train", "--resume", "model.hardpan"]).contains("nothing to go on with"));
    // By weights that grow when the rate is high: what was learned before is kept under another name, no checkpoint is.
    done(&hardpan(at, &["train", "./bars", "--epochs", "1", "--bs", "20", "--arch", "mlp"]));
    let finished = std::fs::read(at.join("model.hardpan")).unwrap();
    let blows_up_later = ["--wd", "400", "--epochs", "8", "--bs", "1", "--checkpoint-secs", "0"];
    let args = [&["train", "./bars", "--arch", "mlp"], &blows_up_later[..]].concat();
    let e = says(&args);
    assert!(e.contains("cannot be resumed") && e.contains("model.last-good.hardpan"), "{e}");
    let mut files = hardpan_files();
    files.sort();
    assert_eq!(files, ["model.hardpan", "model.last-good.hardpan"]);
    assert!(std::fs::read(at.join("model.hardpan")).unwrap() == finished);
    done(&hardpan(at, &["eval", "model.last-good.hardpan", "./bars"]));
    assert!(says(&["train", "--resume", "model.hardpan"]).contains("a finished model"));
    // Batches larger than the data are all of it.
    done(&hardpan(at, &["train", "./bars", "--epochs", "1", "--bs", "5000", "--arch", "mlp"]));

    assert!(says(&["train", "--resume", "nothing.hardpan"]).contains("nothing to go on with"));
    assert!(
        says(&["train", "./bars", "--out", "no/such/m.hardpan"])
            .contains("there is no folder no/such")
    );
    assert!(says(&["train", "./bars", "--valid", "0.001"]).contains("leaves nothing"));
    assert!(says(&["eval", "absent.hardpan"]).contains("there is no such file"));
    assert!(
        says(&["predict", "bars/t10k-labels-idx1-ubyte", "x.png"]).contains("not a Hardpan model")
    );
    let whole = std::fs::read(at.join("model.hardpan")).unwrap();
    std::fs::write(at.join("cut.hardpan"), &whole[..whole.len() / 2]).unwrap();
    assert!(says(&["eval", "cut.hardpan", "./bars"]).contains("cut short"));
    // Labels that the model does not know.
    write_idx(&at.join("bars"), "t10k", 9, |i| i as u8);
    assert!(
        says(&["eval", "model.hardpan", "./bars"]).contains("label 3 of item 3 is out of range")
    );
}

#[test]
fn the_coach_talks_of_options() {
    let dir = bars(200, 60);
    let train = ["train", "./bars", "--epochs", "2", "--bs", "16", "--coach", "--lr"];
    // A rate with which nothing is learned.
    let o = hardpan(dir.path(), &[&train[..], &["0.000001"]].concat());
    done(&o);
    let page = text(&o.stdout);
    let page = &page[page.find("\nNext: ").expect("what comes next")..];
    assert!(page.contains("learning rate is too low"), "{page}");
    assert!(page.contains(": --lr "), "{page}");
    for item in ["fit_one_cycle", "lr_find", "GradientClip::"] {
        assert!(!page.contains(item) || page.contains("(in a program: "), "{item} in {page}");
    }
    assert!(page.contains("Looked at, and well:") && page.contains("gradients: "), "{page}");
    // For programs: both, and a training that is well.
    let o = hardpan(dir.path(), &[&train[..], &["0.01", "--json"]].concat());
    done(&o);
    let events = objects(&o);
    let coach = events.last().unwrap();
    assert_eq!(coach["event"], "coach");
    let diagnosis = &coach["diagnosis"];
    assert!(diagnosis["stage"].is_string(), "{diagnosis}");
    let findings = diagnosis["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["kind"] != "learning_rate_too_low"), "{diagnosis}");
    assert!(diagnosis["passed"].as_array().unwrap().len() >= 6, "{diagnosis}");
}

#[test]
fn a_share_of_the_training_data_can_be_kept_for_validation() {
    let dir = bars(100, 9);
    let args = [
        "train", "./bars", "--valid", "0.2", "--epochs", "1", "--arch", "mlp", "--json", "--lr",
        "auto",
    ];
    let o = hardpan(dir.path(), &args);
    done(&o);
    let start = &objects(&o)[0];
    assert_eq!((&start["train_items"], &start["valid_items"]), (&80.into(), &20.into()));
    assert!(text(&o.stderr).contains("as the rate finder suggests"), "{}", text(&o.stderr));
}

#[test]
fn the_rate_finder_and_the_ladder() {
    let dir = bars(300, 9);
    let o = hardpan(dir.path(), &["lr-find", "./bars", "--arch", "mlp", "--json"]);
    done(&o);
    let found = &objects(&o)[0];
    let rate = found["suggestion"].as_f64().unwrap();
    assert!(rate > 1e-6 && rate < 1.0, "{rate}");
    assert!(
        text(&hardpan(dir.path(), &["lr-find", "./bars", "--arch", "mlp"]).stdout)
            .contains("Try: hardpan train")
    );

    let o = hardpan(dir.path(), &["ladder", "--secs", "0.01", "--json"]);
    done(&o);
    let steps = objects(&o);
    assert_eq!(steps.len(), 10);
    assert!(steps.iter().all(|s| s["difference"].as_f64().unwrap() < 1e-4));
    assert_eq!(
        (&steps[9]["shape"], &steps[9]["way"]),
        (&serde_json::json!([512, 512, 512]), &"matmul".into())
    );
}

#[cfg(feature = "mnist")]
#[test]
fn the_built_in_digits_as_files() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hardpan"))
            .env("HARDPAN_CACHE", dir.path())
            .args(args)
            .output()
            .unwrap()
    };
    assert_eq!(run(&["data", "path", "mnist"]).status.code(), Some(1));
    done(&run(&["data", "get", "mnist"]));
    let o = run(&["data", "path", "mnist"]);
    done(&o);
    let folder = PathBuf::from(text(&o.stdout).trim());
    assert_eq!(
        std::fs::metadata(folder.join("train-images-idx3-ubyte")).unwrap().len(),
        47_040_016
    );
    assert_eq!(std::fs::metadata(folder.join("t10k-labels-idx1-ubyte")).unwrap().len(), 10_008);
}

/// The system refuses to let a file grow, as a full disk does.
#[cfg(unix)]
#[test]
fn when_nothing_more_can_be_written_nothing_is_lost() {
    let dir = bars(60, 9);
    let at = dir.path();
    std::fs::write(at.join("model.hardpan"), "an old model").unwrap();
    let program = env!("CARGO_BIN_EXE_hardpan");
    let line = format!("trap '' XFSZ; ulimit -f 8; exec {program} train ./bars --epochs 1 --bs 20");
    let o = Command::new("sh").current_dir(at).args(["-c", &line]).output().unwrap();
    assert_eq!(o.status.code(), Some(1), "{}", text(&o.stdout));
    let e = text(&o.stderr);
    // Nothing is written down to go on with.
    assert!(e.contains("model.hardpan") && e.contains("start it again"), "{e}");
    assert_eq!(model(at.join("model.hardpan")), b"an old model");
    let files = std::fs::read_dir(at).unwrap().count();
    assert_eq!(files, 2, "the data and the old model, nothing half written");
}
