//! A struct with named fields, as a row: its fields' columns, checked as far as the text of the struct allows.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Expr, ExprLit, Field, Fields, GenericArgument, GenericParam, Ident, Lifetime, Lit,
    LitStr, Meta, PathArguments, Result, Token, Type,
};

/// What a derive is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Input,
    Lookup,
    Output,
    Struct,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "Input",
            Self::Lookup => "Lookup",
            Self::Output => "Output",
            Self::Struct => "Struct",
        }
    }
}

/// A struct.
pub struct Row {
    pub name: Ident,
    /// The struct's own lifetime, if it has one.
    pub lifetime: Option<Lifetime>,
    pub columns: Vec<ColumnField>,
    pub lookups: Vec<LookupField>,
}

/// A field that is a column.
pub struct ColumnField {
    pub ident: Ident,
    pub rust: Type,
    /// The column's name.
    pub column: LitStr,
    /// The marker type of the SDK that says what the Rust type stands for.
    pub marker: TokenStream,
}

/// A field that is a declared lookup.
pub struct LookupField {
    pub ident: Ident,
    /// `T` of the field's `Option<T>`.
    pub row: Type,
    pub table: LitStr,
    pub key: Vec<LitStr>,
}

/// Collects errors, so that all of a struct's are shown at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }
}

impl Row {
    /// Reads the struct.
    pub fn read(input: &DeriveInput, role: Role) -> Result<Self> {
        let fields = named_fields(input, role)?;
        let lifetime = lifetime(input, role)?;
        let mut errors = Errors::default();
        let mut row = Self { name: input.ident.clone(), lifetime, columns: Vec::new(), lookups: Vec::new() };
        for field in fields {
            errors.note(can_be_a_column(&field.ty, &input.ident));
            if let Some(read) = errors.note(RowField::read(field, role)) {
                match read {
                    RowField::Column(column) => {
                        errors.note(row.is_new(&column.column));
                        row.columns.push(column);
                    }
                    RowField::Lookup(lookup) => row.lookups.push(lookup),
                }
            }
        }
        match errors.0 {
            Some(errors) => Err(errors),
            None => Ok(row),
        }
    }

    fn is_new(&self, column: &LitStr) -> Result<()> {
        match self.columns.iter().find(|other| other.column.value() == column.value()) {
            None => Ok(()),
            Some(other) => Err(Error::new(
                column.span(),
                format!("column `{}` is already field `{}`", column.value(), other.ident),
            )),
        }
    }

    /// The lifetime that the row borrows from: the struct's own or, for one that borrows nothing, a new one.
    pub fn borrow(&self) -> Lifetime {
        self.lifetime.clone().unwrap_or_else(|| Lifetime::new("'batch", self.name.span()))
    }

    /// The struct's type.
    pub fn rust(&self) -> TokenStream {
        let Self { name, lifetime, .. } = self;
        match lifetime {
            Some(lifetime) => quote! { #name<#lifetime> },
            None => name.to_token_stream(),
        }
    }

    /// `impl<'a>`, when the struct has a lifetime.
    pub fn generics(&self) -> TokenStream {
        let lifetime = self.lifetime.iter();
        quote! { <#(#lifetime),*> }
    }
}

/// The place of a field's type, for errors about it, in code that is the derive's.
pub fn at(rust: &Type) -> Span {
    Span::call_site().located_at(rust.span())
}

enum RowField {
    Column(ColumnField),
    Lookup(LookupField),
}

fn named_fields(input: &DeriveInput, role: Role) -> Result<&Punctuated<Field, Token![,]>> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Some(&fields.named),
            _ => None,
        },
        _ => None,
    };
    match fields {
        Some(fields) if !fields.is_empty() || role == Role::Input => Ok(fields),
        Some(_) => Err(Error::new(input.ident.span(), format!("`{}` needs at least one field", role.name()))),
        None => {
            let message = format!("`{}` is for structs with named fields: each field is a column", role.name());
            Err(Error::new(input.ident.span(), message))
        }
    }
}

fn lifetime(input: &DeriveInput, role: Role) -> Result<Option<Lifetime>> {
    let mut found = None;
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(lifetime) if found.is_none() => found = Some(lifetime.lifetime.clone()),
            GenericParam::Lifetime(_) => {
                return Err(Error::new(
                    parameter.span(),
                    "one lifetime is enough: all of a row borrows from its batch",
                ));
            }
            _ => {
                let message =
                    format!("`{}` is for structs without type parameters: a contract has fixed types", role.name());
                return Err(Error::new(parameter.span(), message));
            }
        }
    }
    Ok(found)
}

/// Whether each `&` in a type has a lifetime, and no part of it is a type that columns never have. What is left over is
/// for the compiler, which knows what a name stands for.
fn can_be_a_column(rust: &Type, row: &Ident) -> Result<()> {
    match rust {
        Type::Reference(reference) => match &reference.lifetime {
            Some(_) => Ok(()),
            None => Err(Error::new(
                reference.and_token.span(),
                format!("a borrowed field needs the row's lifetime: `struct {row}<'a> {{ field: &'a .. }}`"),
            )),
        },
        Type::Path(path) => {
            let Some(last) = path.path.segments.last() else { return Ok(()) };
            let name = last.ident.to_string();
            if let "u16" | "u32" | "u64" | "u128" | "usize" | "isize" = name.as_str() {
                let message = format!("`{name}` stands for no logical type: integers are i8, i16, i32 and i64");
                return Err(Error::new(last.ident.span(), message));
            }
            if let "char" | "HashMap" | "BTreeMap" | "HashSet" | "BTreeSet" | "Box" | "Rc" | "Arc" = name.as_str() {
                return Err(Error::new(last.ident.span(), format!("`{name}` is not the type of a column: {KINDS}")));
            }
            if inside_of("Option", rust).and_then(|inner| inside_of("Option", inner)).is_some() {
                return Err(Error::new(last.ident.span(), "an Option in an Option: a column has one kind of null"));
            }
            match &last.arguments {
                PathArguments::AngleBracketed(arguments) => {
                    arguments.args.iter().try_for_each(|argument| match argument {
                        GenericArgument::Type(inner) => can_be_a_column(inner, row),
                        _ => Ok(()),
                    })
                }
                _ => Ok(()),
            }
        }
        Type::Tuple(tuple) => {
            let message = "a tuple is not the type of a column: name its parts in a struct with #[derive(Struct)]";
            Err(Error::new(tuple.span(), message))
        }
        _ => Ok(()),
    }
}

const KINDS: &str = "it is a number, bool, text, bytes, Decimal, Timestamp, Date, Uuid, a struct with #[derive(Struct)], \
                     or an Option or a Vec of these";

impl RowField {
    fn read(field: &Field, role: Role) -> Result<Self> {
        let ident = field.ident.clone().ok_or_else(|| Error::new(field.span(), "a name is missing"))?;
        let mut column = ColumnAttribute::default();
        let mut lookup = None;
        for attribute in &field.attrs {
            if attribute.path().is_ident("column") {
                column.read(attribute)?;
            } else if attribute.path().is_ident("lookup") && role == Role::Input {
                lookup = Some(LookupAttribute::read(attribute)?);
            }
        }
        if let Some(LookupAttribute { table, key }) = lookup {
            if column.given {
                return Err(Error::new(ident.span(), "a field is a column or a lookup, not both"));
            }
            let row = inside_of("Option", &field.ty).cloned().ok_or_else(|| {
                Error::new(field.ty.span(), "a lookup may find nothing: the field's type is `Option<..>`")
            })?;
            return Ok(Self::Lookup(LookupField { ident, row, table, key }));
        }
        if let Some(dictionary) = &column.dictionary
            && role != Role::Output
        {
            let message = "`dictionary` is for an `Output`; text that is read may always come as one";
            return Err(Error::new(dictionary.span(), message));
        }
        let marker = column.marker(&field.ty)?;
        let name = column.name.unwrap_or_else(|| LitStr::new(&unraw(&ident), ident.span()));
        Ok(Self::Column(ColumnField { ident, rust: field.ty.clone(), column: name, marker }))
    }
}

fn unraw(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

/// `T` of `Outer<T>`.
fn inside_of<'t>(outer: &str, rust: &'t Type) -> Option<&'t Type> {
    let Type::Path(path) = rust else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) if last.ident == outer => Some(inner),
        _ => None,
    }
}

/// The type behind all `Option<..>` and `Vec<..>`.
fn innermost(rust: &Type) -> &Type {
    match inside_of("Option", rust).or_else(|| inside_of("Vec", rust)) {
        Some(inner) => innermost(inner),
        None => rust,
    }
}

#[derive(Default)]
struct ColumnAttribute {
    given: bool,
    name: Option<LitStr>,
    logical: Option<LitStr>,
    dictionary: Option<Ident>,
}

const COLUMN_FORM: &str =
    "write #[column(\"name\")], #[column(type = \"..\")] or both: #[column(\"name\", type = \"..\")]";

impl ColumnAttribute {
    fn read(&mut self, attribute: &syn::Attribute) -> Result<()> {
        self.given = true;
        let Meta::List(list) = &attribute.meta else { return Err(Error::new(attribute.span(), COLUMN_FORM)) };
        list.parse_args_with(|input: syn::parse::ParseStream<'_>| {
            while !input.is_empty() {
                if input.peek(LitStr) {
                    self.name = Some(input.parse()?);
                } else if input.peek(Token![type]) {
                    input.parse::<Token![type]>()?;
                    input.parse::<Token![=]>()?;
                    self.logical = Some(input.parse()?);
                } else {
                    let word: Ident = input.parse().map_err(|error| Error::new(error.span(), COLUMN_FORM))?;
                    if word != "dictionary" {
                        return Err(Error::new(word.span(), COLUMN_FORM));
                    }
                    self.dictionary = Some(word);
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        })
    }

    fn marker(&self, rust: &Type) -> Result<TokenStream> {
        let sdk = quote! { ::millstream_sdk::__private };
        if let Some(dictionary) = &self.dictionary {
            return match &self.logical {
                None => Ok(quote! { #sdk::Repeated }),
                Some(_) => Err(Error::new(dictionary.span(), "`dictionary` is for text, which needs no `type`")),
            };
        }
        let Some(logical) = &self.logical else {
            if let Type::Path(path) = innermost(rust)
                && let Some(last) = path.path.segments.last()
                && last.ident == "Decimal"
            {
                let message =
                    "a Decimal needs its digits, in all and behind the point: #[column(type = \"decimal(12,2)\")]";
                return Err(Error::new(last.ident.span(), message));
            }
            return Ok(quote! { #sdk::Natural });
        };
        let text: String = logical.value().chars().filter(|c| !c.is_whitespace()).collect();
        Ok(match text.as_str() {
            "date" => quote! { #sdk::Days },
            "timestamp(s)" => quote! { #sdk::Seconds },
            "timestamp(ms)" => quote! { #sdk::Millis },
            "timestamp(us)" => quote! { #sdk::Micros },
            "timestamp(ns)" => quote! { #sdk::Nanos },
            other => {
                let (precision, scale) = digits(other).map_err(|message| Error::new(logical.span(), message))?;
                quote! { #sdk::Digits<#precision, #scale> }
            }
        })
    }
}

/// Precision and scale of `decimal(p,s)`.
fn digits(text: &str) -> std::result::Result<(u8, u8), String> {
    let unknown = || {
        format!(
            "`{text}` says nothing that the field's Rust type leaves open: `type` is decimal(p,s), timestamp(s|ms|us|ns) or date, of the innermost value"
        )
    };
    let inside = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')).ok_or_else(unknown)?;
    let (precision, scale) = inside.split_once(',').ok_or_else(unknown)?;
    match (precision.parse(), scale.parse()) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => Ok((precision, scale)),
        _ => Err(format!("`{text}` is no decimal: it has 1 to 38 digits, of which at most all are behind the point")),
    }
}

struct LookupAttribute {
    table: LitStr,
    key: Vec<LitStr>,
}

const LOOKUP_FORM: &str =
    "write #[lookup(table = \"users\", key = \"user_id\")]; a composite key is key = [\"origin\", \"hour\"]";

impl LookupAttribute {
    fn read(attribute: &syn::Attribute) -> Result<Self> {
        let form = |span| Error::new(span, LOOKUP_FORM);
        let Meta::List(list) = &attribute.meta else { return Err(form(attribute.span())) };
        let (mut table, mut key) = (None, Vec::new());
        for pair in list.parse_args_with(Punctuated::<syn::MetaNameValue, Token![,]>::parse_terminated)? {
            if pair.path.is_ident("table") {
                table = Some(text(&pair.value).ok_or_else(|| form(pair.value.span()))?);
            } else if pair.path.is_ident("key") {
                let parts = match &pair.value {
                    Expr::Array(array) => array.elems.iter().map(text).collect::<Option<Vec<_>>>(),
                    value => text(value).map(|part| vec![part]),
                };
                key = parts.ok_or_else(|| form(pair.value.span()))?;
            } else {
                return Err(form(pair.path.span()));
            }
        }
        match table {
            None => Err(Error::new(attribute.span(), format!("the lookup lacks its table: {LOOKUP_FORM}"))),
            Some(_) if key.is_empty() => {
                Err(Error::new(attribute.span(), format!("the lookup lacks its key: {LOOKUP_FORM}")))
            }
            Some(table) => Ok(Self { table, key }),
        }
    }
}

fn text(value: &Expr) -> Option<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.clone()),
        _ => None,
    }
}
