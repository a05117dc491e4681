//! The derives of `millstream-sdk`. They only write down what a struct says; the work is done by functions of the SDK.
#![forbid(unsafe_code)]

mod config;
mod read;
mod routes;
mod rows;
mod write;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

fn expand(input: TokenStream, expansion: fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expansion(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// A row as it is read: becomes the `reads` and `lookups` of the contract.
///
/// | attribute of a field | meaning |
/// |---|---|
/// | `#[column("name")]` | the column's name, when it is not the field's |
/// | `#[column(type = "decimal(12,2)")]` | the logical type, where the Rust type can stand for several |
/// | `#[lookup(table = "users", key = "user_id")]` | an `Option<T>` where `T` is `#[derive(Lookup)]`: the row of `users` whose key is this row's `user_id`; `None` when there is none. A composite key: `key = ["origin", "hour"]` |
#[proc_macro_derive(Input, attributes(column, lookup))]
pub fn input(input: TokenStream) -> TokenStream {
    expand(input, read::input)
}

/// A row of a dimension table: the columns that are read of it. Attributes as of `Input`, without `lookup`.
#[proc_macro_derive(Lookup, attributes(column))]
pub fn lookup(input: TokenStream) -> TokenStream {
    expand(input, read::lookup)
}

/// A row as it is written: becomes the `writes` of the contract. Attributes as of `Input`, without `lookup`, and
///
/// | attribute of a field | meaning |
/// |---|---|
/// | `#[column(dictionary)]` | text that repeats: each distinct value of a batch crosses once |
#[proc_macro_derive(Output, attributes(column))]
pub fn output(input: TokenStream) -> TokenStream {
    expand(input, write::output)
}

/// A struct as the value of a column: `struct<sku: utf8, quantity: int32>`. It can be read and written.
#[proc_macro_derive(Struct, attributes(column))]
pub fn nested(input: TokenStream) -> TokenStream {
    expand(input, |input| {
        let read = read::nested(input)?;
        let write = write::nested(input)?;
        Ok(quote::quote! { #read #write })
    })
}

/// The named outputs of a route, one variant each: its name in snake case, or `#[output("name")]`.
#[proc_macro_derive(Routes, attributes(output))]
pub fn routes(input: TokenStream) -> TokenStream {
    expand(input, routes::routes)
}

/// Makes a struct or enum a stage's config, or a part of one: derives serde's `Deserialize` and schemars' `JsonSchema`
/// (their attributes work) and refuses unknown keys.
#[proc_macro_attribute]
pub fn config(arguments: TokenStream, item: TokenStream) -> TokenStream {
    config::config(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
