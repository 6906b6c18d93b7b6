//! The README shows the example programs as they are: those are compiled and run by the tests.

#[test]
fn the_readme_shows_the_examples() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let readme = std::fs::read_to_string(format!("{root}/README.md")).expect("README.md");
    for name in ["mlp_learner", "own_loop"] {
        let path = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(&path).expect(name);
        let code: Vec<&str> =
            source.lines().skip_while(|l| l.starts_with("//!") || l.is_empty()).collect();
        assert!(
            readme.contains(&code.join("\n")),
            "the README does not show examples/{name}.rs as it is"
        );
    }
}
