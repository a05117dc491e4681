//! `Routes`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, LitStr, Result};

pub fn routes(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "`Routes` is for enums: each variant is an output"));
    };
    if data.variants.is_empty() || !input.generics.params.is_empty() {
        return Err(Error::new(input.ident.span(), "`Routes` needs at least one variant and no generics"));
    }
    let mut names: Vec<LitStr> = Vec::new();
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new(variant.ident.span(), "an output carries no data: leave the variant's fields out"));
        }
        let mut name = LitStr::new(&snake_case(&variant.ident.to_string()), variant.ident.span());
        for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident("output")) {
            name = attribute.parse_args()?;
        }
        if names.iter().any(|other| other.value() == name.value()) {
            return Err(Error::new(name.span(), format!("output `{}` stands here twice", name.value())));
        }
        names.push(name);
    }
    let rust = &input.ident;
    let variants = data.variants.iter().map(|variant| &variant.ident);
    let indexes = 0..u16::try_from(names.len()).map_err(|_| Error::new(rust.span(), "too many outputs"))?;
    Ok(quote! {
        #[automatically_derived]
        impl ::millstream_sdk::Routes for #rust {
            const NAMES: &'static [&'static str] = &[#(#names),*];

            #[inline]
            fn index(&self) -> u16 {
                match self {
                    #(Self::#variants => #indexes,)*
                }
            }
        }
    })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
