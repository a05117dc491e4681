//! `Output` and the writing half of `Struct`.
//!
//! As in `read`, the bounds on the fields' types are where clauses, so that a wrong type is one error and not one at every
//! mention; here the where clause is where it is found.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{DeriveInput, Result};

use crate::read::declared;
use crate::rows::{Role, Row, at};

pub fn output(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Output)?;
    let (rust, generics) = (row.rust(), row.generics());
    let Builders { definition, rust: builders, names, writes, columns, bounds } = Builders::of(&row);
    let declared = declared(&row);
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl #generics sdk::Output for #rust
            where
                #(#bounds,)*
            {
                type Columns = #builders;

                fn fields() -> sdk::Vec<sdk::Field> {
                    #declared
                }

                fn columns(rows: usize) -> Self::Columns {
                    Builders { #(#names: #writes::builder(rows)),* }
                }

                #[inline(always)]
                fn check(&self) -> sdk::Result<(), sdk::Reject> {
                    #(
                        if let sdk::Err(error) = #writes::check(&self.#names) {
                            return sdk::Err(sdk::out_of_range(#columns, error));
                        }
                    )*
                    sdk::Ok(())
                }

                #[inline(always)]
                fn write(self, columns: &mut Self::Columns) {
                    #(#writes::write(self.#names, &mut columns.#names);)*
                }

                fn finish(columns: Self::Columns) -> sdk::Vec<sdk::Column> {
                    sdk::vec![#(sdk::finish(columns.#names, #writes::finish)),*]
                }
            }
        };
    })
}

pub fn nested(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Struct)?;
    let (rust, generics) = (row.rust(), row.generics());
    let Builders { definition, rust: builders, names, writes, bounds, .. } = Builders::of(&row);
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl #generics sdk::WriteValue for #rust
            where
                #(#bounds,)*
            {
                type Builder = #builders;

                fn builder(rows: usize) -> Self::Builder {
                    Builders { #(#names: #writes::builder(rows)),* }
                }

                #[inline(always)]
                fn check(&self) -> sdk::Result<(), sdk::OutOfRange> {
                    #(#writes::check(&self.#names)?;)*
                    sdk::Ok(())
                }

                #[inline(always)]
                fn write(self, builder: &mut Self::Builder) {
                    #(#writes::write(self.#names, &mut builder.#names);)*
                }

                fn write_null(builder: &mut Self::Builder) {
                    #(#writes::write_null(&mut builder.#names);)*
                }

                fn finish(builder: Self::Builder, nodes: &mut sdk::Vec<sdk::Node>) {
                    nodes.push(sdk::Node::from(sdk::Values::None));
                    #(#writes::finish(builder.#names, nodes);)*
                }
            }
        };
    })
}

/// The struct of builders, and what stands for each column in the code around it.
struct Builders {
    /// Generic over the builders: it asks nothing of the fields' types.
    definition: TokenStream,
    /// The struct with its type arguments.
    rust: TokenStream,
    names: Vec<TokenStream>,
    /// `<T as WriteValue<M>>`
    writes: Vec<TokenStream>,
    columns: Vec<TokenStream>,
    /// What the fields' types must meet.
    bounds: Vec<TokenStream>,
}

impl Builders {
    fn of(row: &Row) -> Self {
        let (mut names, mut writes, mut columns, mut bounds) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for field in &row.columns {
            let (ident, rust, marker, column) = (&field.ident, &field.rust, &field.marker, &field.column);
            names.push(quote! { #ident });
            writes.push(quote! { <#rust as sdk::WriteValue<#marker>> });
            columns.push(quote! { #column });
            bounds.push(quote_spanned! { at(rust) => #rust: sdk::WriteValue<#marker> });
        }
        let types: Vec<_> = (0..names.len()).map(|index| format_ident!("B{index}")).collect();
        let definition = quote! {
            pub struct Builders<#(#types),*> {
                #(#names: #types,)*
            }
        };
        Self { definition, rust: quote! { Builders<#(#writes::Builder),*> }, names, writes, columns, bounds }
    }
}
