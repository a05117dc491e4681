//! A typed expression: what is left of SQL when every name is found and every type agrees.

use std::fmt;

use millstream_sdk::{LogicalType, TimeUnit};

use crate::like::Pattern;

/// What kind of values an expression has, as far as operators tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True, false or null.
    Bool,
    /// Integers of all widths.
    Int,
    /// Floats of both widths.
    Float,
    /// Decimals with so many digits behind the point.
    Decimal(u8),
    /// Text.
    Text,
    /// Days.
    Date,
    /// Instants, in this unit.
    Timestamp(TimeUnit),
}

impl Kind {
    /// The kind of a column's values; none for types that expressions cannot look into.
    pub fn of(logical: &LogicalType) -> Option<Self> {
        Some(match logical {
            LogicalType::Bool => Self::Bool,
            LogicalType::Int8 | LogicalType::Int16 | LogicalType::Int32 | LogicalType::Int64 => Self::Int,
            LogicalType::Float32 | LogicalType::Float64 => Self::Float,
            LogicalType::Decimal { scale, .. } => Self::Decimal(*scale),
            LogicalType::Utf8 => Self::Text,
            LogicalType::Date => Self::Date,
            LogicalType::Timestamp(unit) => Self::Timestamp(*unit),
            LogicalType::Binary | LogicalType::Uuid | LogicalType::List(_) | LogicalType::Struct(_) => return None,
        })
    }

    /// Whether it is a number.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Decimal(_))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("a bool"),
            Self::Int => f.write_str("an integer"),
            Self::Float => f.write_str("a float"),
            Self::Decimal(scale) => write!(f, "a decimal with {scale} digits behind the point"),
            Self::Text => f.write_str("text"),
            Self::Date => f.write_str("a date"),
            Self::Timestamp(unit) => write!(f, "a timestamp({})", unit.text()),
        }
    }
}

/// One value that is the same in all rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `NULL`
    Null,
    /// `TRUE`
    Bool(bool),
    /// Integers, days, instants.
    Int(i64),
    /// `1e3`
    Float(f64),
    /// Unscaled.
    Decimal(i128),
    /// `'text'`
    Text(String),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// The same with its sides exchanged.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// What is calculated. `/` is always of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

/// A function from text to text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFunction {
    /// `lower(x)`
    Lower,
    /// `upper(x)`
    Upper,
    /// `trim(x)`
    Trim,
}

/// An expression whose parts fit each other; what it is made of is found by number.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A constant.
    Constant(Scalar),
    /// A column of the contract's `reads`.
    Column(usize),
    /// `IS NULL` of an expression.
    IsNull(Box<Node>),
    /// `IS NULL` of a column of any type.
    IsNullColumn(usize),
    /// `IS TRUE`, `IS FALSE`: never null.
    Is(Box<Node>, bool),
    /// `NOT`
    Not(Box<Node>),
    /// `AND`
    And(Box<Node>, Box<Node>),
    /// `OR`
    Or(Box<Node>, Box<Node>),
    /// Two values of the same kind.
    Compare(Comparison, Box<Node>, Box<Node>),
    /// A value among constants of its kind; `null` when one of them is.
    In {
        /// The value.
        value: Box<Node>,
        /// The constants, none of them null.
        list: Vec<Scalar>,
        /// Whether there is a null among them: the answer is then true or null, never false.
        null: bool,
    },
    /// `LIKE`, and the functions that are like it.
    Like(Box<Node>, Pattern),
    /// Two integers, or two floats.
    Calculate(Arithmetic, Box<Node>, Box<Node>),
    /// An integer or (with its scale) a decimal as a float.
    ToFloat(Box<Node>, u8),
    /// An integer or a decimal as a decimal, times this power of ten.
    ToDecimal(Box<Node>, i128),
    /// Text made of text.
    Text(TextFunction, Box<Node>),
    /// Characters of a text.
    Length(Box<Node>),
}
