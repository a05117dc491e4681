//! `#[config]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Result};

pub fn config(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "write #[config]: it takes no arguments"));
    }
    let item: DeriveInput = syn::parse2(item)?;
    if let Some(parameter) = item.generics.params.first() {
        return Err(Error::new_spanned(parameter, "a config owns what it holds: it has no parameters"));
    }
    let name = &item.ident;
    Ok(quote! {
        #[derive(::millstream_sdk::serde::Deserialize, ::millstream_sdk::schemars::JsonSchema)]
        #[serde(crate = "::millstream_sdk::serde", deny_unknown_fields)]
        #[schemars(crate = "::millstream_sdk::schemars")]
        #item

        #[automatically_derived]
        impl ::millstream_sdk::Config for #name {
            fn from_json(
                config: ::millstream_sdk::serde_json::Value,
            ) -> ::core::result::Result<Self, ::millstream_sdk::ConfigError> {
                ::millstream_sdk::config::read(config)
            }

            fn json_schema() -> ::core::option::Option<::millstream_sdk::__private::String> {
                ::core::option::Option::Some(::millstream_sdk::config::schema::<Self>())
            }
        }
    })
}
