//! What the derive says to code that it cannot make a module of.

use super::expand;
use syn::parse_str;

/// The error, with the code it points at.
fn error(code: &str) -> String {
    let input = parse_str(code).expect("Rust code");
    match expand(&input) {
        Ok(tokens) => panic!("no error, but {tokens}"),
        Err(e) => {
            // Each message also comes as a compile_error of its own, so that all are seen.
            assert!(e.to_compile_error().to_string().contains("compile_error"));
            e.into_iter().map(|e| e.to_string()).collect::<Vec<_>>().join("; ")
        }
    }
}

fn expanded(code: &str) -> String {
    expand(&parse_str(code).expect("Rust code")).expect("a module").to_string()
}

#[test]
fn attributes_that_do_not_exist() {
    let field = |attr: &str| error(&format!("struct Net {{ #[module({attr})] a: Linear }}"));
    assert_eq!(field("skipped"), "expected `skip`, `flatten` or `name = \"...\"`");
    assert_eq!(field("crate = \"nn\""), "expected `skip`, `flatten` or `name = \"...\"`");
    assert!(field("name").contains("expected `=`"), "{}", field("name"));
    assert!(field("name = 3").contains("string literal"), "{}", field("name = 3"));
}

#[test]
fn attributes_of_the_type() {
    let with = |attr: &str| format!("#[module({attr})] struct Net {{ a: Linear }}");
    assert!(expanded(&with("role = Norm")).contains("Role :: Norm"));
    assert!(!expanded(&with("crate = \"nn\"")).contains("fn role"));
    assert!(error(&with("role = \"Norm\"")).contains("expected identifier"));
    assert!(error(&with("skip")).contains("`role = ...` or `crate = \"path\"`"));
}

#[test]
fn names_that_are_no_part_of_a_key() {
    for name in ["", "conv.weight"] {
        let said = error(&format!("struct Net {{ #[module(name = \"{name}\")] a: Linear }}"));
        assert!(
            said.contains("not empty, no '.'") && said.contains("#[module(flatten)]"),
            "{said}"
        );
    }
}

#[test]
fn attributes_that_exclude_each_other() {
    for both in ["skip, flatten", "flatten, name = \"b\"", "name = \"b\", skip"] {
        let said = error(&format!("struct Net {{ #[module({both})] a: Linear }}"));
        assert_eq!(said, "`skip`, `flatten` and `name` exclude each other");
        // Written one by one they are no better.
        let (one, two) = both.split_once(", ").unwrap();
        let said = error(&format!("struct Net {{ #[module({one})] #[module({two})] a: Linear }}"));
        assert_eq!(said, "`skip`, `flatten` and `name` exclude each other");
    }
}

#[test]
fn attributes_in_the_wrong_place() {
    let said = error("enum Net { #[module(skip)] A(Linear) }");
    assert_eq!(said, "#[module(...)] goes on the variant's fields, not on the variant");
    let said = error("#[module(skip)] struct Net { a: Linear }");
    assert_eq!(said, "expected `role = ...` or `crate = \"path\"` (other attributes go on fields)");
    let said = error("#[module(crate = \"not a path\")] struct Net { a: Linear }");
    assert!(said.contains("unexpected token"), "{said}");
}

#[test]
fn what_cannot_be_a_module() {
    let said = error("union Net { a: u32, b: f32 }");
    assert!(said.contains("a union cannot be a module") && said.contains("use an enum"), "{said}");
}

/// The names that two fields would share are wrong at run time only if both are walked.
#[test]
fn two_fields_of_one_name() {
    let said = error("struct Net { a: Linear, #[module(name = \"a\")] b: Linear }");
    assert!(said.contains("two fields are named `a`"), "{said}");
    expanded("struct Net { a: Linear, #[module(skip)] #[allow(unused)] b: Linear }");
    expanded("struct Net { #[module(skip)] a: Linear, #[module(name = \"a\")] b: Linear }");
    expanded("enum Net { A { a: Linear }, B { a: Linear } }");
}

#[test]
fn the_walk_names_fields_in_order() {
    let code = expanded("struct Net { conv1: Conv2d, #[module(name = \"bn\")] norm: BatchNorm2d }");
    let at = |name: &str| code.find(name).unwrap_or_else(|| panic!("{name} in {code}"));
    assert!(at("\"conv1\"") < at("\"bn\""));
    assert!(!code.contains("\"norm\""), "{code}");
    // Type parameters that are walked are bound, others are not.
    let code = expanded("struct Net<A, B> { a: A, b: std::marker::PhantomData<B> }");
    assert!(code.contains("A : ") && !code.contains("B : "), "{code}");
}
