//! Where the generated code finds `Visit` and `Module`: a crate that depends on `hardpan-nn` names it, a user's crate
//! usually knows only the facade `hardpan`, which re-exports it as `hardpan::nn`.

use proc_macro2::TokenStream;
use quote::quote;
use std::path::Path;

/// `::hardpan_nn` if the manifest of the crate being compiled depends on it (or is it), else `::hardpan::nn`.
pub fn path() -> TokenStream {
    let dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let manifest = std::fs::read_to_string(Path::new(&dir).join("Cargo.toml")).unwrap_or_default();
    if names_nn(&manifest) { quote!(::hardpan_nn) } else { quote!(::hardpan::nn) }
}

/// Whether a manifest has `hardpan-nn` as package name or dependency key. Reading lines rather than parsing TOML saves a parser
/// in every build; a manifest that fools it can say `#[module(crate = "...")]`.
fn names_nn(manifest: &str) -> bool {
    manifest.lines().map(str::trim).any(|line| {
        let key = line.split(['=', '.']).next().unwrap_or("").trim().trim_matches('"');
        key == "hardpan-nn"
            || (line.starts_with('[') && line.trim_end_matches(']').ends_with(".hardpan-nn"))
            || (key == "name" && line.contains("\"hardpan-nn\""))
    })
}

#[cfg(test)]
mod tests {
    use super::names_nn;

    #[test]
    fn finds_the_dependency_however_written() {
        for yes in [
            "[package]\nname = \"hardpan-nn\"",
            "[dependencies]\nhardpan-nn.workspace = true",
            "[dependencies]\nhardpan-nn = { path = \"x\" }",
            "[dependencies.hardpan-nn]\nversion = \"1\"",
        ] {
            assert!(names_nn(yes), "{yes}");
        }
        for no in ["[dependencies]\nhardpan = \"1\"", "# hardpan-nn = 1", "hardpan-nnx = \"1\"", ""]
        {
            assert!(!names_nn(no), "{no}");
        }
    }
}
