//! The binary as scripts see it: exit status, standard output, standard error.

use serde_json::Value;
use std::process::{Command, Output};

fn hardpan(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hardpan")).args(args).output().unwrap()
}

fn stdout(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).unwrap()
}

fn stderr(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).unwrap()
}

/// The objects on standard output, one a line.
fn objects(o: &Output) -> Vec<Value> {
    stdout(o).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn info_for_people_and_programs() {
    let o = hardpan(&["info", "--threads", "1"]);
    assert_eq!(o.status.code(), Some(0));
    assert!(stdout(&o).contains("threads    1"), "{}", stdout(&o));
    let o = hardpan(&["info", "--json", "--threads", "1"]);
    let [info] = &objects(&o)[..] else { panic!("{}", stdout(&o)) };
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["threads"], 1);
    assert_eq!(info["devices"][0], "cpu");
}

#[test]
fn networks_are_listed_with_what_is_published() {
    let networks = objects(&hardpan(&["info", "--networks", "--json"]));
    let of = |name: &str| networks.iter().find(|n| n["name"] == name).unwrap();
    assert_eq!(of("resnet18")["params"], 11_689_512);
    assert_eq!(of("resnet18")["published"]["top1"], 69.8);
    assert!(of("xresnet18")["published"].is_null());
    let o = hardpan(&["info", "--networks"]);
    assert!(stdout(&o).contains("--pretrained NAME"), "{}", stdout(&o));
    assert_eq!(hardpan(&["info", "--networks", "model.hardpan"]).status.code(), Some(2));
}

#[test]
fn wrong_usage_is_2_and_says_what_is_right() {
    let o = hardpan(&["trian"]);
    assert_eq!(o.status.code(), Some(2));
    assert!(stdout(&o).is_empty() && stderr(&o).contains("'train'"), "{}", stderr(&o));
    assert_eq!(hardpan(&["predict"]).status.code(), Some(2));
    assert_eq!(hardpan(&["info", "--threads", "0"]).status.code(), Some(2));
}

#[test]
fn help_is_0_and_teaches() {
    for args in [&["--help"][..], &["train", "--help"], &["predict", "--help"], &["-h"]] {
        let o = hardpan(args);
        assert_eq!(o.status.code(), Some(0));
        assert!(stdout(&o).contains("Example"), "{args:?}: {}", stdout(&o));
    }
}

#[cfg(feature = "mnist")]
#[test]
fn data_sets_are_listed() {
    let o = hardpan(&["data", "list", "--json"]);
    assert_eq!(objects(&o)[0]["name"], "mnist");
}
