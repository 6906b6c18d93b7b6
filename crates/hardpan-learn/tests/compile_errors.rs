//! What the compiler says of the usual mistakes with types: each message says in the library's words what was wrong and what to do.
//!
//! The programs are given to `rustc` with the libraries that this test was built with. Only the library's own sentences are looked for;
//! the rest of a message is the compiler's and changes with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs, io::Write};

const NAMES: [&str; 3] = ["hardpan_learn", "hardpan_nn", "hardpan_engine"];

/// The libraries of this name beside this test's program, the one built last first. There may be several, built with other features.
fn built(name: &str) -> Vec<PathBuf> {
    let program = env::current_exe().unwrap();
    let folder = program.parent().unwrap();
    let start = format!("lib{name}-");
    let found = fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).filter(|f| {
        let file = f.file_name().unwrap().to_string_lossy().into_owned();
        file.starts_with(&start) && file.ends_with(".rlib")
    });
    let mut found: Vec<PathBuf> = found.collect();
    found.sort_by_key(|f| std::cmp::Reverse(f.metadata().unwrap().modified().unwrap()));
    assert!(!found.is_empty(), "no library {name} in {}", folder.display());
    found
}

/// The learner's library that was built last, and those of the others that it was built with.
fn libraries() -> &'static [PathBuf; 3] {
    static FOUND: OnceLock<[PathBuf; 3]> = OnceLock::new();
    FOUND.get_or_init(|| {
        let [learn, nn, engine] = NAMES.map(built);
        let pairs = nn.iter().flat_map(|nn| engine.iter().map(move |engine| (nn, engine)));
        let mut sets = pairs.map(|(nn, engine)| [learn[0].clone(), nn.clone(), engine.clone()]);
        let right = "Learner::with_loss(loaders, seq![Linear::new(2, 2)], MSELoss::new())";
        sets.find(|set| rustc(set, "", right).is_empty()).expect("libraries that fit together")
    })
}

/// What the compiler says of a program of these declarations and this body; nothing, if it is well.
fn compile(declarations: &str, body: &str) -> String {
    rustc(libraries(), declarations, body)
}

fn rustc(libraries: &[PathBuf; 3], declarations: &str, body: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
    let compiler = if beside_cargo.exists() { beside_cargo } else { "rustc".into() };
    let mut command = Command::new(compiler);
    command.args("--edition 2024 --crate-type lib --emit metadata -A warnings".split(' '));
    command.args(["--color", "never", "--out-dir"]).arg(dir.path());
    for (name, library) in NAMES.iter().zip(libraries) {
        command.arg("-L").arg(format!("dependency={}", library.parent().unwrap().display()));
        command.arg("--extern").arg(format!("{name}={}", library.display()));
    }
    // By the manifest the derive knows under which name the library is at hand.
    command.env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
    command.arg("-").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut compiler = command.spawn().expect("a compiler");
    let program = format!(
        "use hardpan_engine::Tensor;
         use hardpan_learn::callback::*;
         use hardpan_learn::data::DataLoaders;
         use hardpan_learn::learner::Learner;
         use hardpan_nn::*;
         {declarations}
         pub fn body(x: Tensor, loaders: DataLoaders<Tensor, Tensor>) {{ {body}; }}"
    );
    compiler.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    let output = compiler.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    // Compilers differ in which types they name with their crate.
    ["hardpan_engine::", "hardpan_nn::"].iter().fold(said, |said, name| said.replace(name, ""))
}

/// A model that gives two tensors, and a struct that is no module.
const TWINS: &str = "
    #[derive(Module)]
    struct Twins(Linear);
    impl Forward for Twins {
        type Output = (Tensor, Tensor);
        fn forward(&self, x: &Tensor) -> (Tensor, Tensor) { (self.0.forward(x), x.clone()) }
    }";

const PLAIN: &str = "struct Plain;";

const OWN_LOSS: &str = "
    #[derive(Module)]
    struct OwnLoss;
    impl Forward<(Tensor, Tensor)> for OwnLoss {
        type Output = Tensor;
        fn forward(&self, (p, y): &(Tensor, Tensor)) -> Tensor { (p - y).abs().mean(..) }
    }";

#[test]
fn what_is_right_compiles() {
    let body = "seq![Linear::new(2, 2), ReLU, |x: &Tensor| x * 2.0].forward(&x);
        Learner::with_loss(loaders, Twins(Linear::new(2, 2)), CosineEmbeddingLoss::new())";
    assert_eq!(compile(&format!("{TWINS}{PLAIN}{OWN_LOSS}"), body), "");
}

#[test]
fn usual_mistakes() {
    let cases: [(&str, String, &str, &[&str]); 10] = [
        (
            "a layer that is none",
            PLAIN.to_owned(),
            "seq![Linear::new(2, 2), Plain]",
            &[
                "`Plain` is not a layer",
                "a layer is a `Module` with `Forward<Tensor, Output = Tensor>`",
            ],
        ),
        (
            "a layer that gives more than a tensor",
            String::new(),
            "seq![LSTM::new(2, 2), ReLU]",
            &["`LSTM` is not a layer", "`Forward<Tensor, Output = Tensor>`"],
        ),
        (
            "one after the other that do not fit",
            TWINS.to_owned(),
            "Learner::with_loss(loaders, (Twins(Linear::new(2, 2)), ReLU), MSELoss::new())",
            &[
                "`ReLU` has no forward pass for an input of type `(Tensor, Tensor)`",
                "implement `Forward<",
            ],
        ),
        (
            "a field that is no module",
            format!("{PLAIN} #[derive(Module)] struct Net {{ plain: Plain, linear: Linear }}"),
            "",
            &[
                "`Plain` cannot be a field of a module",
                "neither a parameter, a buffer, a module, nor plain data",
                "put `#[derive(Module)]` on it",
                "put `#[module(skip)]` on the field",
            ],
        ),
        (
            "a tensor as a field",
            "#[derive(Module)] struct Net { weight: Tensor }".to_owned(),
            "",
            &["`Tensor` cannot be a field of a module", "wrap it in `Param` (trained) or `Buffer`"],
        ),
        (
            "a model that is no module",
            format!(
                "{PLAIN} impl Forward for Plain {{ type Output = Tensor; fn forward(&self, x: &Tensor) -> Tensor {{ x.clone() }} }}"
            ),
            "Learner::with_loss(loaders, Plain, MSELoss::new())",
            &[
                "`Plain` is not a module",
                "put `#[derive(Module)]` on it, or wrap a closure in `Lambda`",
            ],
        ),
        (
            "a loss for another prediction",
            TWINS.to_owned(),
            "Learner::with_loss(loaders, Twins(Linear::new(2, 2)), CrossEntropyLoss::new())",
            &[
                "`CrossEntropyLoss` has no forward pass for an input of type `((Tensor, Tensor), Tensor)`",
            ],
        ),
        (
            "a loss of one's own that does not say what predictions mean",
            OWN_LOSS.to_owned(),
            "Learner::with_loss(loaders, Linear::new(2, 2), OwnLoss)",
            &["`OwnLoss` does not say what predictions mean", "`impl Decode for OwnLoss {}`"],
        ),
        (
            "states that the model does not give",
            String::new(),
            "Learner::with_loss(loaders, Linear::new(2, 2), MSELoss::new()).callback(RnnRegularizer::new(2.0, 1.0))",
            &[
                "`Tensor` does not give the hidden states that RnnRegularizer needs",
                "(output, states, dropped_states)",
            ],
        ),
        (
            "items that cannot be mixed",
            PLAIN.to_owned(),
            "fn mixed<T: Blend>() {} mixed::<Plain>()",
            &[
                "items of type `Plain` cannot be mixed",
                "implement `Blend` (and `Rows`) for your own type",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (mistake, declarations, body, parts) in cases {
        let said = compile(&declarations, body);
        let missing: Vec<_> = parts.iter().filter(|p| !said.contains(**p)).collect();
        if !missing.is_empty() {
            wrong.push(format!("{mistake}: {missing:?} is missing from\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} messages:\n{}", wrong.len(), wrong.join("\n"));
}
