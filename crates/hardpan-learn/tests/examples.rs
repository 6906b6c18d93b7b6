//! The examples do what they say, in as few lines as they say.

#[path = "../examples/custom_callback.rs"]
mod custom_callback;
#[path = "../examples/custom_loop.rs"]
mod custom_loop;
#[path = "../examples/gradient_penalty.rs"]
mod gradient_penalty;

/// Lines of code between `// begin` and `// end`, without documentation.
fn lines(source: &str) -> usize {
    let code = source.split("// begin\n").nth(1).and_then(|s| s.split("// end\n").next()).unwrap();
    code.lines().filter(|l| !l.trim().is_empty() && !l.trim().starts_with("//")).count()
}

#[test]
fn a_callback_in_ten_lines() {
    let loss = custom_callback::run().unwrap();
    assert!(loss < 0.05, "{loss}");
    let n = lines(include_str!("../examples/custom_callback.rs"));
    assert!(n <= 10, "{n} lines");
}

#[test]
fn a_loop_in_thirty_lines() {
    let loss = custom_loop::run().unwrap();
    assert!(loss < 0.05, "{loss}");
    let n = lines(include_str!("../examples/custom_loop.rs"));
    assert!(n <= 30, "{n} lines");
}

#[test]
fn a_penalty_on_gradients() {
    let (free, bound) = (gradient_penalty::run(0.0).unwrap(), gradient_penalty::run(10.0).unwrap());
    assert!((bound - 1.0).abs() < 0.15 && free > 1.5, "{free} and {bound}");
}
