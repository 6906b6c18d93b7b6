//! The programs of the README run, on the real digits.
#![cfg(feature = "mnist")]

use std::process::Command;

/// Runs an example that `cargo test` has built beside this test, in a folder of its own.
fn run(name: &str) -> (String, tempfile::TempDir) {
    let here = std::env::current_exe().unwrap();
    let profile = here.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        program.exists(),
        "{program:?} is not built: run all tests of the crate, not only this"
    );
    let dir = tempfile::tempdir().unwrap();
    let o = Command::new(program).current_dir(dir.path()).output().unwrap();
    let (out, err) = (String::from_utf8(o.stdout).unwrap(), String::from_utf8(o.stderr).unwrap());
    assert!(o.status.success(), "{out}\n{err}");
    (out, dir)
}

#[test]
fn a_learner_in_a_few_lines() {
    let (out, dir) = run("mlp_learner");
    assert!(out.contains("% of the test digits are read right"), "{out}");
    assert_eq!(out.lines().count(), 5, "a header, three epochs, the last line: {out}");
    assert!(dir.path().join("mlp.hardpan").exists());
}

#[test]
fn a_loop_of_ones_own() {
    let (out, _) = run("own_loop");
    let last: f64 = out.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(last > 0.95, "{out}");
}
