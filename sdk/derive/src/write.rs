//! `Output` and the writing half of `Struct`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{DeriveInput, Result};

use crate::read::declared;
use crate::rows::{Role, Row, at};

pub fn output(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Output)?;
    let (rust, generics) = (row.rust(), row.generics());
    let Builders { definition, names, writes, columns } = Builders::of(&row);
    let declared = declared(&row);
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl #generics sdk::Output for #rust {
                type Columns = Builders #generics;

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
    let Builders { definition, names, writes, .. } = Builders::of(&row);
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl #generics sdk::WriteValue for #rust {
                type Builder = Builders #generics;

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
    definition: TokenStream,
    names: Vec<TokenStream>,
    /// `<T as WriteValue<M>>`
    writes: Vec<TokenStream>,
    columns: Vec<TokenStream>,
}

impl Builders {
    fn of(row: &Row) -> Self {
        let generics = row.generics();
        let mut builders =
            Self { definition: TokenStream::new(), names: Vec::new(), writes: Vec::new(), columns: Vec::new() };
        for field in &row.columns {
            let (ident, rust, marker, column) = (&field.ident, &field.rust, &field.marker, &field.column);
            builders.names.push(quote! { #ident });
            builders.writes.push(quote_spanned! { at(rust) => <#rust as sdk::WriteValue<#marker>> });
            builders.columns.push(quote! { #column });
        }
        let (names, writes) = (&builders.names, &builders.writes);
        builders.definition = quote! {
            pub struct Builders #generics {
                #(#names: #writes::Builder,)*
            }
        };
        builders
    }
}
