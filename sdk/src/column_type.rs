//! Which logical type a Rust type stands for. Where one Rust type can stand for several (a `Decimal` of any scale, an
//! `i64` that counts milliseconds), a marker type chosen by `#[column(type = "..")]` says which, so that scale and unit
//! are constants in the code that reads and writes.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::{LogicalType, Nested, TimeUnit};

/// The type that a Rust type stands for by itself: no `type = ".."`.
#[derive(Debug)]
pub struct Natural;
/// `type = "decimal(P,S)"`
#[derive(Debug)]
pub struct Digits<const P: u8, const S: u8>;
/// `type = "timestamp(s)"`
#[derive(Debug)]
pub struct Seconds;
/// `type = "timestamp(ms)"`
#[derive(Debug)]
pub struct Millis;
/// `type = "timestamp(us)"`
#[derive(Debug)]
pub struct Micros;
/// `type = "timestamp(ns)"`
#[derive(Debug)]
pub struct Nanos;
/// `type = "date"`
#[derive(Debug)]
pub struct Days;
/// `#[column(dictionary)]`: text that is written as a dictionary.
#[derive(Debug)]
pub struct Repeated;

/// A Rust type that stands for a logical type; `M` is a marker of this module.
#[diagnostic::on_unimplemented(
    message = "`{Self}` stands for no logical type",
    label = "not the type of a column",
    note = "a column is one of: bool, i8, i16, i32, i64, f32, f64, text (&str, String, Cow<str>), bytes (&[u8], Vec<u8>, Cow<[u8]>), Decimal, Timestamp, Date, Uuid, a struct with #[derive(Struct)], and Option<..> and Vec<..> of these",
    note = "#[column(type = \"..\")] fits: decimal(p,s) to Decimal and i128, timestamp(s|ms|us|ns) to Timestamp and i64, date to Date and i32"
)]
pub trait ColumnType<M = Natural> {
    /// Whether it is an `Option`.
    const NULLABLE: bool = false;

    /// The logical type.
    fn logical() -> LogicalType;
}

macro_rules! stands_for {
    ($($rust:ty, $marker:ty => $logical:expr;)*) => {$(
        impl ColumnType<$marker> for $rust {
            fn logical() -> LogicalType {
                $logical
            }
        }
    )*};
}

stands_for! {
    bool, Natural => LogicalType::Bool;
    i8, Natural => LogicalType::Int8;
    i16, Natural => LogicalType::Int16;
    i32, Natural => LogicalType::Int32;
    i64, Natural => LogicalType::Int64;
    f32, Natural => LogicalType::Float32;
    f64, Natural => LogicalType::Float64;
    &str, Natural => LogicalType::Utf8;
    String, Natural => LogicalType::Utf8;
    Cow<'_, str>, Natural => LogicalType::Utf8;
    &str, Repeated => LogicalType::Utf8;
    String, Repeated => LogicalType::Utf8;
    Cow<'_, str>, Repeated => LogicalType::Utf8;
    &[u8], Natural => LogicalType::Binary;
    Vec<u8>, Natural => LogicalType::Binary;
    Cow<'_, [u8]>, Natural => LogicalType::Binary;
    Uuid, Natural => LogicalType::Uuid;
    [u8; 16], Natural => LogicalType::Uuid;
    Date, Natural => LogicalType::Date;
    Date, Days => LogicalType::Date;
    i32, Days => LogicalType::Date;
    Timestamp, Natural => LogicalType::Timestamp(TimeUnit::Millisecond);
    Timestamp, Seconds => LogicalType::Timestamp(TimeUnit::Second);
    Timestamp, Millis => LogicalType::Timestamp(TimeUnit::Millisecond);
    Timestamp, Micros => LogicalType::Timestamp(TimeUnit::Microsecond);
    Timestamp, Nanos => LogicalType::Timestamp(TimeUnit::Nanosecond);
    i64, Seconds => LogicalType::Timestamp(TimeUnit::Second);
    i64, Millis => LogicalType::Timestamp(TimeUnit::Millisecond);
    i64, Micros => LogicalType::Timestamp(TimeUnit::Microsecond);
    i64, Nanos => LogicalType::Timestamp(TimeUnit::Nanosecond);
}

impl<const P: u8, const S: u8> ColumnType<Digits<P, S>> for Decimal {
    fn logical() -> LogicalType {
        LogicalType::Decimal { precision: P, scale: S }
    }
}

impl<const P: u8, const S: u8> ColumnType<Digits<P, S>> for i128 {
    fn logical() -> LogicalType {
        LogicalType::Decimal { precision: P, scale: S }
    }
}

impl<T: ColumnType<M>, M> ColumnType<M> for Option<T> {
    const NULLABLE: bool = {
        assert!(!T::NULLABLE, "an Option in an Option: a column has one kind of null");
        true
    };

    fn logical() -> LogicalType {
        T::logical()
    }
}

impl<T: ColumnType<M>, M> ColumnType<M> for Vec<T> {
    fn logical() -> LogicalType {
        LogicalType::List(Box::new(nested::<T, M>()))
    }
}

/// The type with whether it may be null, as it stands inside of a list or a struct.
pub fn nested<T: ColumnType<M>, M>() -> Nested {
    Nested { logical: T::logical(), nullable: T::NULLABLE }
}
