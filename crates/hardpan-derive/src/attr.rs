//! The `#[module(...)]` attributes, on fields and on the type.

use syn::{Attribute, Ident, LitStr, Path};

pub const NOT_ON_VARIANTS: &str = "#[module(...)] goes on the variant's fields, not on the variant";

/// What `#[module(...)]` says about one field.
#[derive(Default)]
pub struct FieldAttr {
    pub skip: bool,
    pub flatten: bool,
    pub name: Option<LitStr>,
}

impl FieldAttr {
    pub fn parse(attrs: &[Attribute]) -> syn::Result<FieldAttr> {
        let mut out = FieldAttr::default();
        for attr in attrs.iter().filter(|a| a.path().is_ident("module")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    out.skip = true;
                } else if meta.path.is_ident("flatten") {
                    out.flatten = true;
                } else if meta.path.is_ident("name") {
                    let name: LitStr = meta.value()?.parse()?;
                    if name.value().is_empty() || name.value().contains('.') {
                        return Err(syn::Error::new(
                            name.span(),
                            "a name is one part of a state dict key: not empty, no '.'; \
                             for no name at all write #[module(flatten)]",
                        ));
                    }
                    out.name = Some(name);
                } else {
                    return Err(meta.error("expected `skip`, `flatten` or `name = \"...\"`"));
                }
                Ok(())
            })?;
            let said = [out.skip, out.flatten, out.name.is_some()];
            if said.iter().filter(|&&b| b).count() > 1 {
                return Err(syn::Error::new_spanned(
                    attr,
                    "`skip`, `flatten` and `name` exclude each other",
                ));
            }
        }
        Ok(out)
    }
}

/// What `#[module(...)]` says about the whole type.
#[derive(Default)]
pub struct ContainerAttr {
    pub krate: Option<Path>,
    pub role: Option<Ident>,
}

impl ContainerAttr {
    pub fn parse(attrs: &[Attribute]) -> syn::Result<ContainerAttr> {
        let mut out = ContainerAttr::default();
        for attr in attrs.iter().filter(|a| a.path().is_ident("module")) {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident("crate") {
                    let path: LitStr = meta.value()?.parse()?;
                    out.krate = Some(path.parse()?);
                    Ok(())
                } else if meta.path.is_ident("role") {
                    out.role = Some(meta.value()?.parse()?);
                    Ok(())
                } else {
                    Err(meta.error(
                        "expected `role = ...` or `crate = \"path\"` (other attributes go on fields)",
                    ))
                }
            })?;
        }
        Ok(out)
    }
}
