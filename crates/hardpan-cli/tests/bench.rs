//! `hardpan bench`: what it prints, and how it answers to wrong names.

use serde_json::Value;
use std::process::{Command, Output};

fn bench(args: &[&str]) -> Output {
    let mut all = vec!["bench"];
    all.extend(args);
    Command::new(env!("CARGO_BIN_EXE_hardpan")).args(all).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn json_has_the_fields_that_scripts_read() {
    let out =
        bench(&["matmul_64", "op_overhead_mm8", "--secs", "0.01", "--threads", "1", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let lines: Vec<Value> = text(&out.stdout)
        .lines()
        .map(|l| serde_json::from_str(l).expect("one JSON object a line"))
        .collect();
    let variants: Vec<&str> = lines.iter().filter_map(|l| l["variant"].as_str()).collect();
    assert_eq!(variants, ["f32", "bf16", "f32"]);
    for l in &lines {
        assert_eq!((l["system"].as_str(), l["threads"].as_u64()), (Some("hardpan"), Some(1)));
        let number = |name: &str| l[name].as_f64().unwrap_or_else(|| panic!("{name} in {l}"));
        assert!(number("min") <= number("value") && number("value") <= number("max") * 1.01);
        assert!(number("n") >= 3.0 && l["metric"].is_string() && l["unit"].is_string());
    }
    assert!(text(&out.stderr).contains("matmul_64"), "progress goes to standard error");
}

#[test]
fn people_get_a_table_and_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    let page = page.to_str().unwrap();
    let out = bench(&["matmul_64", "--variant", "f32", "--secs", "0.01", "--write", page]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let shown = text(&out.stdout);
    assert!(shown.contains("matmul_64") && shown.contains("GFLOP/s") && !shown.contains("bf16"));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("| matmul_64 | f32 |") && page.contains("hardpan bench matmul_64"));
}

#[test]
fn wrong_names_are_wrong_usage() {
    let out = bench(&["matmull_64"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("matmul_64"), "says what is near: {}", text(&out.stderr));
    let out = bench(&["matmul_64", "--secs", "0"]);
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_peer_that_is_not_there_is_a_failure_with_a_reason() {
    let out = bench(&["matmul_64", "--peer-python", "/nowhere/python"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("/nowhere/python"));
}

#[test]
fn the_list_names_every_workload() {
    let shown = text(&bench(&["--list"]).stdout);
    for name in ["matmul_2048", "cnn_b512", "gpt_generate_b16", "imgload_224_b32"] {
        assert!(shown.contains(name), "{name}");
    }
}

#[test]
fn a_child_says_how_much_memory_it_had() {
    let out = bench(&["--child", "first_step_cnn_b64"]);
    let mebibytes: f64 = text(&out.stdout).trim().parse().expect("a number");
    assert!(mebibytes >= 0.0);
    assert_eq!(bench(&["--child", "no_such"]).status.code(), Some(1));
}
