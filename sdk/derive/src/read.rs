//! `Input`, `Lookup` and the reading half of `Struct`.
//!
//! Every impl has the bounds that its fields' types must meet as where clauses, and one function asks for each of them
//! once, at the field: so a wrong type is one error there and not one at every mention.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{DeriveInput, Lifetime, Result, Type};

use crate::rows::{LookupField, Role, Row, at};

pub fn input(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Input)?;
    let readers = Readers::of(&row);
    let Readers { rust, borrow, columns, bounds, made, read, .. } = &readers;
    let (definition, declared) = (readers.definition(), declared(&row));
    let lookups: Vec<_> = row.lookups.iter().map(|lookup| &lookup.row).collect();
    let lookup_names: Vec<_> = row.lookups.iter().map(|lookup| &lookup.ident).collect();
    let tables = row.lookups.iter().map(|lookup| &lookup.table);
    let keys = row.lookups.iter().map(|LookupField { key, .. }| quote! { &[#(#key),*] });
    let indexes = 0..row.lookups.len();
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl<#borrow> sdk::Input<#borrow> for #rust
            where
                #(#bounds,)*
            {
                type Columns = #columns;

                fn declare(contract: &mut sdk::Contract) {
                    contract.reads = #declared;
                    contract.lookups = sdk::vec![#(sdk::lookup::<#lookups>(#tables, #keys)),*];
                }

                fn columns(batch: &#borrow sdk::Batch) -> sdk::Result<Self::Columns, sdk::Failure> {
                    let mut columns = sdk::ColumnReaders::new(&batch.columns, batch.rows as usize);
                    sdk::Ok(Readers {
                        #(#made,)*
                        #(#lookup_names: sdk::found::<#lookups>(batch, #indexes)?,)*
                    })
                }

                #[inline(always)]
                fn row(columns: &Self::Columns, row: usize) -> sdk::Result<Self, sdk::Reject> {
                    sdk::Ok(Self {
                        #(#read,)*
                        #(#lookup_names: columns.#lookup_names.row::<#lookups>(row)?,)*
                    })
                }
            }
        };
    })
}

pub fn lookup(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Lookup)?;
    let readers = Readers::of(&row);
    let Readers { rust, borrow, columns, bounds, made, read, .. } = &readers;
    let (definition, declared) = (readers.definition(), declared(&row));
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl<#borrow> sdk::Lookup<#borrow> for #rust
            where
                #(#bounds,)*
            {
                type Columns = #columns;

                fn fields() -> sdk::Vec<sdk::Field> {
                    #declared
                }

                fn columns(columns: &mut sdk::ColumnReaders<#borrow>) -> sdk::Result<Self::Columns, sdk::Failure> {
                    sdk::Ok(Readers { #(#made,)* })
                }

                #[inline(always)]
                fn row(columns: &Self::Columns, row: usize) -> sdk::Result<Self, sdk::Reject> {
                    sdk::Ok(Self { #(#read,)* })
                }
            }
        };
    })
}

pub fn nested(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Struct)?;
    let readers = Readers::of(&row);
    let Readers { rust, borrow, columns, bounds, names, .. } = &readers;
    let (definition, generics) = (readers.definition(), row.generics());
    let types: Vec<&Type> = row.columns.iter().map(|field| &field.rust).collect();
    let markers: Vec<&TokenStream> = row.columns.iter().map(|field| &field.marker).collect();
    let column_names = row.columns.iter().map(|field| &field.column);
    let stands_for = row.columns.iter().map(|field| {
        let (rust, marker) = (&field.rust, &field.marker);
        quote_spanned! { at(rust) => #rust: sdk::ColumnType<#marker> }
    });
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl #generics sdk::ColumnType for #rust
            where
                #(#stands_for,)*
            {
                fn logical() -> sdk::LogicalType {
                    sdk::LogicalType::Struct(sdk::vec![
                        #((sdk::String::from(#column_names), sdk::nested::<#types, #markers>())),*
                    ])
                }
            }

            impl<#borrow> sdk::ReadValue<#borrow> for #rust
            where
                #(#bounds,)*
            {
                type Reader = #columns;

                fn reader(nodes: &mut sdk::Nodes<#borrow>) -> sdk::Result<Self::Reader, sdk::WrongShape> {
                    sdk::take_struct(nodes)?;
                    sdk::Ok(Readers {
                        #(#names: <#types as sdk::ReadValue<#borrow, #markers>>::reader(nodes)?,)*
                    })
                }

                #[inline(always)]
                fn read(reader: &Self::Reader, row: usize) -> sdk::Result<Self, sdk::OutOfRange> {
                    sdk::Ok(Self {
                        #(#names: <#types as sdk::ReadValue<#borrow, #markers>>::read(&reader.#names, row)?,)*
                    })
                }
            }
        };
    })
}

/// The struct of readers, and what stands for each column in the code around it.
struct Readers {
    rust: TokenStream,
    borrow: Lifetime,
    /// The fields that are columns.
    names: Vec<Ident>,
    /// All fields, lookups behind the columns.
    all_names: Vec<Ident>,
    /// The struct of readers with its type arguments.
    columns: TokenStream,
    /// What the fields' types must meet.
    bounds: Vec<TokenStream>,
    /// The same, asked once.
    asked: Vec<TokenStream>,
    /// `field: its reader`
    made: Vec<TokenStream>,
    /// `field: its value`
    read: Vec<TokenStream>,
}

impl Readers {
    fn of(row: &Row) -> Self {
        let borrow = row.borrow();
        let mut readers = Self {
            rust: row.rust(),
            borrow: borrow.clone(),
            names: Vec::new(),
            all_names: Vec::new(),
            columns: TokenStream::new(),
            bounds: Vec::new(),
            asked: Vec::new(),
            made: Vec::new(),
            read: Vec::new(),
        };
        let mut types = Vec::new();
        for field in &row.columns {
            let (ident, rust, marker, column) = (&field.ident, &field.rust, &field.marker, &field.column);
            let place = at(rust);
            readers.names.push(ident.clone());
            types.push(quote! { <#rust as sdk::ReadValue<#borrow, #marker>>::Reader });
            readers.bounds.push(quote_spanned! { place => #rust: sdk::ReadValue<#borrow, #marker> });
            readers.asked.push(quote_spanned! { place => sdk::is_read::<#rust, #marker>() });
            readers.made.push(quote! { #ident: columns.next::<#rust, #marker>(#column)? });
            readers.read.push(quote! {
                #ident: match <#rust as sdk::ReadValue<#borrow, #marker>>::read(&columns.#ident, row) {
                    sdk::Ok(value) => value,
                    sdk::Err(error) => return sdk::Err(sdk::out_of_range(#column, error)),
                }
            });
        }
        readers.all_names = readers.names.clone();
        for lookup in &row.lookups {
            let rust = &lookup.row;
            let place = at(rust);
            readers.all_names.push(lookup.ident.clone());
            types.push(quote! { sdk::Found<#borrow, <#rust as sdk::Lookup<#borrow>>::Columns> });
            readers.bounds.push(quote_spanned! { place => #rust: sdk::Lookup<#borrow> });
            readers.asked.push(quote_spanned! { place => sdk::is_looked_up::<#rust>() });
        }
        readers.columns = quote! { Readers<#(#types),*> };
        readers
    }

    /// The struct of readers, generic over them: it asks nothing of the fields' types.
    fn definition(&self) -> TokenStream {
        let Self { borrow, all_names, asked, .. } = self;
        let types: Vec<_> = (0..all_names.len()).map(|index| format_ident!("R{index}")).collect();
        quote! {
            pub struct Readers<#(#types),*> {
                #(#all_names: #types,)*
            }

            #[allow(dead_code, clippy::extra_unused_lifetimes)]
            fn each_type_can_be_read<#borrow>() {
                #(#asked;)*
            }
        }
    }
}

/// The fields of the contract.
pub fn declared(row: &Row) -> TokenStream {
    let fields = row.columns.iter().map(|field| {
        let (rust, marker, column) = (&field.rust, &field.marker, &field.column);
        quote! { sdk::field::<#rust, #marker>(#column) }
    });
    quote! { sdk::vec![#(#fields),*] }
}
