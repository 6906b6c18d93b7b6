//! `#[derive(Module)]`: writes the walk over the fields of a struct or enum, and nothing more.
//!
//! The derive implements `hardpan_nn::Visit` (each field in declaration order, under its name) and the marker
//! `hardpan_nn::Module`, whose provided methods (`parameters`, `state_dict`, `train`, ...) are built on the walk.
//! What a field *is* is decided by its type, through `Visit`: this crate knows no field types.
//! The rules for names and the attributes are documented at the macro, [`macro@Module`].

mod attr;
mod krate;
#[cfg(test)]
mod tests;

use attr::{ContainerAttr, FieldAttr};
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Field, Fields, Ident, Type, parse_macro_input};

/// Makes a struct or an enum a module: the walk over its fields by name.
///
/// Every field must be something the walk can pass through: a parameter, a buffer, another module, a container of those
/// (`Vec`, `Option`, `Box`, `Arc`, arrays, tuples, `BTreeMap<String, _>`), or plain data (numbers, `bool`, strings, ...), which
/// holds no state. Any other type is a compile error that says what to do, so a parameter cannot be
/// left out by accident.
///
/// # Names
/// These are the keys of the state dict, and the same as PyTorch's for the same structure:
/// - a named field gives its name: `conv1.weight`;
/// - elements of a `Vec`, array or tuple give their index: `layers.0.weight`;
/// - fields of a tuple struct give their index, but the only field of a one-field tuple struct (or enum variant) gives
///   no name: `struct Net(Sequential)` has the keys of its `Sequential`;
/// - enum variants give no name, only their fields do.
///
/// # Attributes
/// On a field:
/// - `#[module(name = "...")]`: another name;
/// - `#[module(flatten)]`: no name, the field's own keys stand beside those of the other fields;
/// - `#[module(skip)]`: the walk passes by. For constants, closures and foreign types.
///
/// On the type:
/// - `#[module(role = Norm)]`: what the module is for, a variant of `hardpan_nn::Role`; what `Module::role` answers;
/// - `#[module(crate = "path")]`: where the `hardpan_nn` crate is found, if it was renamed.
///
/// Type parameters that occur in walked fields get the bound `Visit`.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let container = ContainerAttr::parse(&input.attrs)?;
    let nn = match container.krate {
        Some(path) => path.into_token_stream(),
        None => krate::path(),
    };
    let mut walked = Vec::new();
    let arms = match &input.data {
        Data::Struct(s) => vec![arm(&nn, quote!(Self), &s.fields, &mut walked)?],
        Data::Enum(e) => {
            let mut arms = Vec::new();
            for v in &e.variants {
                if let Some(a) = v.attrs.iter().find(|a| a.path().is_ident("module")) {
                    return Err(syn::Error::new_spanned(a, attr::NOT_ON_VARIANTS));
                }
                let ident = &v.ident;
                arms.push(arm(&nn, quote!(Self::#ident), &v.fields, &mut walked)?);
            }
            arms
        }
        Data::Union(u) => {
            return Err(syn::Error::new(
                u.union_token.span(),
                "a union cannot be a module: which field is alive is not known; use an enum",
            ));
        }
    };
    // `match *self {}` is the only way to walk a value of an enum without variants.
    let body = if arms.is_empty() {
        quote!(match *self {})
    } else {
        quote! {
            #nn::Visitor::begin(__visitor, self);
            match self { #(#arms)* }
            #nn::Visitor::end(__visitor);
        }
    };

    let name = &input.ident;
    let mut generics = input.generics.clone();
    let generic = generics.params.iter().any(|p| !matches!(p, syn::GenericParam::Lifetime(_)));
    let bounded: Vec<Ident> = generics
        .type_params()
        .map(|p| p.ident.clone())
        .filter(|p| walked.iter().any(|ty| !is_phantom(ty) && mentions(ty.to_token_stream(), p)))
        .collect();
    if generic {
        let clause = generics.make_where_clause();
        for p in bounded {
            clause.predicates.push(syn::parse_quote!(#p: #nn::Visit));
        }
        // What `Module` asks for; true of each use that a bound on the parameters alone could not state.
        clause.predicates.push(syn::parse_quote!(
            Self: ::core::marker::Send + ::core::marker::Sync + 'static
        ));
    }
    let role = container.role.map(|role| quote!(fn role(&self) -> #nn::Role { #nn::Role::#role }));
    let (impl_generics, ty_generics, clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #nn::Visit for #name #ty_generics #clause {
            fn visit(&self, __visitor: &mut dyn #nn::Visitor) {
                #body
            }
        }
        #[automatically_derived]
        impl #impl_generics #nn::Module for #name #ty_generics #clause { #role }
    })
}

/// One arm of the `match`: binds the walked fields of a struct or variant and visits each.
fn arm(
    nn: &TokenStream,
    path: TokenStream,
    fields: &Fields,
    walked: &mut Vec<Type>,
) -> syn::Result<TokenStream> {
    let mut bindings = Vec::new();
    let mut visits = Vec::new();
    let newtype = matches!(fields, Fields::Unnamed(_)) && fields.len() == 1;
    let mut names = std::collections::HashSet::new();
    for (i, field) in fields.iter().enumerate() {
        let attr = FieldAttr::parse(&field.attrs)?;
        if attr.skip {
            continue;
        }
        let member = member(i, field);
        let local = format_ident!("__field{i}");
        bindings.push(quote!(#member: #local));
        // The span of the field's type puts "not a module" errors at the field.
        let span = Span::call_site().located_at(field.ty.span());
        let local = Ident::new(&local.to_string(), span);
        let name = match (&attr.name, &field.ident) {
            _ if attr.flatten => None,
            (Some(name), _) => Some(name.value()),
            (None, Some(ident)) => Some(ident.unraw().to_string()),
            (None, None) if newtype => None,
            (None, None) => Some(i.to_string()),
        };
        if let Some(name) = &name
            && !names.insert(name.clone())
        {
            return Err(syn::Error::new(
                field.span(),
                format!(
                    "two fields are named `{name}`: they would have one state dict key; give one another #[module(name = \"...\")]"
                ),
            ));
        }
        visits.push(match name {
            Some(name) => quote_spanned!(span=> #nn::visit_field(__visitor, #name, #local);),
            None => quote_spanned!(span=> #nn::Visit::visit(#local, __visitor);),
        });
        walked.push(field.ty.clone());
    }
    Ok(quote!(#path { #(#bindings,)* .. } => { #(#visits)* }))
}

fn member(i: usize, field: &Field) -> TokenStream {
    match &field.ident {
        Some(ident) => ident.to_token_stream(),
        None => syn::Index::from(i).to_token_stream(),
    }
}

/// `PhantomData<T>` is plain data whatever `T` is.
fn is_phantom(ty: &Type) -> bool {
    matches!(ty, Type::Path(p) if p.path.segments.last().is_some_and(|s| s.ident == "PhantomData"))
}

fn mentions(tokens: TokenStream, ident: &Ident) -> bool {
    tokens.into_iter().any(|t| match t {
        TokenTree::Ident(i) => i == *ident,
        TokenTree::Group(g) => mentions(g.stream(), ident),
        _ => false,
    })
}
