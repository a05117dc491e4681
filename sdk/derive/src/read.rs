//! `Input`, `Lookup` and the reading half of `Struct`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{DeriveInput, Result};

use crate::rows::{Role, Row, at};

pub fn input(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Input)?;
    let (rust, borrow) = (row.rust(), row.borrow());
    let readers = Readers::of(&row);
    let Readers { definition, names, columns, values, .. } = &readers;
    let declared = declared(&row);
    let lookup_names: Vec<_> = row.lookups.iter().map(|lookup| &lookup.ident).collect();
    let lookup_rows: Vec<_> = row.lookups.iter().map(|lookup| &lookup.row).collect();
    let tables = row.lookups.iter().map(|lookup| &lookup.table);
    let keys = row.lookups.iter().map(|lookup| &lookup.key);
    let indexes = 0..row.lookups.len();
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl<#borrow> sdk::Input<#borrow> for #rust {
                type Columns = Readers<#borrow>;

                fn declare(contract: &mut sdk::Contract) {
                    contract.reads = #declared;
                    contract.lookups = sdk::vec![#(sdk::lookup::<#lookup_rows>(#tables, &[#(#keys),*])),*];
                }

                fn columns(batch: &#borrow sdk::Batch) -> sdk::Result<Self::Columns, sdk::Failure> {
                    let mut columns = sdk::ColumnReaders::new(&batch.columns, batch.rows as usize);
                    sdk::Ok(Readers {
                        #(#names: #columns,)*
                        #(#lookup_names: sdk::found::<#lookup_rows>(batch, #indexes)?,)*
                        borrowed: sdk::PhantomData,
                    })
                }

                #[inline(always)]
                fn row(columns: &Self::Columns, row: usize) -> sdk::Result<Self, sdk::Reject> {
                    sdk::Ok(Self {
                        #(#names: #values,)*
                        #(#lookup_names: columns.#lookup_names.row::<#lookup_rows>(row)?,)*
                    })
                }
            }
        };
    })
}

pub fn lookup(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Lookup)?;
    let (rust, borrow) = (row.rust(), row.borrow());
    let readers = Readers::of(&row);
    let Readers { definition, names, columns, values, .. } = &readers;
    let declared = declared(&row);
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl<#borrow> sdk::Lookup<#borrow> for #rust {
                type Columns = Readers<#borrow>;

                fn fields() -> sdk::Vec<sdk::Field> {
                    #declared
                }

                fn columns(columns: &mut sdk::ColumnReaders<#borrow>) -> sdk::Result<Self::Columns, sdk::Failure> {
                    sdk::Ok(Readers { #(#names: #columns,)* borrowed: sdk::PhantomData })
                }

                #[inline(always)]
                fn row(columns: &Self::Columns, row: usize) -> sdk::Result<Self, sdk::Reject> {
                    sdk::Ok(Self { #(#names: #values,)* })
                }
            }
        };
    })
}

pub fn nested(input: &DeriveInput) -> Result<TokenStream> {
    let row = Row::read(input, Role::Struct)?;
    let (rust, borrow, generics) = (row.rust(), row.borrow(), row.generics());
    let readers = Readers::of(&row);
    let Readers { definition, names, types, markers, .. } = &readers;
    let columns = row.columns.iter().map(|field| &field.column).collect::<Vec<_>>();
    Ok(quote! {
        #[automatically_derived]
        const _: () = {
            use ::millstream_sdk::__private as sdk;
            #definition
            impl #generics sdk::ColumnType for #rust {
                fn logical() -> sdk::LogicalType {
                    sdk::LogicalType::Struct(sdk::vec![
                        #((sdk::String::from(#columns), sdk::nested::<#types, #markers>())),*
                    ])
                }
            }

            impl<#borrow> sdk::ReadValue<#borrow> for #rust {
                type Reader = Readers<#borrow>;

                fn reader(nodes: &mut sdk::Nodes<#borrow>) -> sdk::Result<Self::Reader, sdk::WrongShape> {
                    sdk::take_struct(nodes)?;
                    sdk::Ok(Readers {
                        #(#names: <#types as sdk::ReadValue<#borrow, #markers>>::reader(nodes)?,)*
                        borrowed: sdk::PhantomData,
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
    definition: TokenStream,
    names: Vec<TokenStream>,
    types: Vec<TokenStream>,
    markers: Vec<TokenStream>,
    /// Makes the reader.
    columns: Vec<TokenStream>,
    /// Reads the value.
    values: Vec<TokenStream>,
}

impl Readers {
    fn of(row: &Row) -> Self {
        let borrow = row.borrow();
        let mut readers = Self {
            definition: TokenStream::new(),
            names: Vec::new(),
            types: Vec::new(),
            markers: Vec::new(),
            columns: Vec::new(),
            values: Vec::new(),
        };
        for field in &row.columns {
            let (ident, rust, marker, column) = (&field.ident, &field.rust, &field.marker, &field.column);
            let span = at(rust);
            readers.names.push(quote! { #ident });
            readers.types.push(quote! { #rust });
            readers.markers.push(quote! { #marker });
            readers.columns.push(quote_spanned! { span => columns.next::<#rust, #marker>(#column)? });
            readers.values.push(quote_spanned! { span =>
                match <#rust as sdk::ReadValue<#borrow, #marker>>::read(&columns.#ident, row) {
                    sdk::Ok(value) => value,
                    sdk::Err(error) => return sdk::Err(sdk::out_of_range(#column, error)),
                }
            });
        }
        let (names, types, markers) = (&readers.names, &readers.types, &readers.markers);
        let lookups = row.lookups.iter().map(|lookup| &lookup.ident);
        let lookup_rows = row.lookups.iter().map(|lookup| &lookup.row);
        let name = format_ident!("Readers");
        readers.definition = quote! {
            pub struct #name<#borrow> {
                #(#names: <#types as sdk::ReadValue<#borrow, #markers>>::Reader,)*
                #(#lookups: sdk::Found<#borrow, <#lookup_rows as sdk::Lookup<#borrow>>::Columns>,)*
                borrowed: sdk::PhantomData<&#borrow ()>,
            }
        };
        readers
    }
}

/// The fields of the contract.
pub fn declared(row: &Row) -> TokenStream {
    let fields = row.columns.iter().map(|field| {
        let (rust, marker, column) = (&field.rust, &field.marker, &field.column);
        quote_spanned! { at(rust) => sdk::field::<#rust, #marker>(#column) }
    });
    quote! { sdk::vec![#(#fields),*] }
}
