//! The values of a column while rules work on them: few shapes, wide enough for all types.

use millstream_sdk::columnwise::{is_set, pack};
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType, Values, Varlen};

use crate::{cast, time};

/// What is wrong with the value of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing.
    None,
    /// There is none.
    Null,
    /// It does not match the pattern.
    NoMatch,
    /// It is no value of the type that it is cast to.
    BadCast,
    /// It is below `min` or above `max`.
    OutOfRange,
}

impl Fault {
    /// What rejects are counted by.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoMatch => "no_match",
            Self::BadCast => "bad_cast",
            _ => "out_of_range",
        }
    }
}

/// Values of a column, by row or by slot.
#[derive(Clone, Debug)]
pub enum Data {
    /// Text.
    Text(Varlen),
    /// Integers of all widths, dates, timestamps.
    Int(Vec<i64>),
    /// Floats of both widths.
    Float(Vec<f64>),
    /// Unscaled decimals.
    Decimal(Vec<i128>),
    /// Booleans.
    Bool(Vec<bool>),
    /// UUIDs.
    Uuid(Vec<[u8; 16]>),
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum One {
    /// Text.
    Text(String),
    /// An integer, a date, a timestamp.
    Int(i64),
    /// A float.
    Float(f64),
    /// An unscaled decimal.
    Decimal(i128),
    /// A boolean.
    Bool(bool),
    /// A UUID.
    Uuid([u8; 16]),
}

impl One {
    /// Whether this is greater; values of different shapes have no order.
    pub fn is_above(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(one), Self::Int(other)) => one > other,
            (Self::Float(one), Self::Float(other)) => one > other,
            (Self::Decimal(one), Self::Decimal(other)) => one > other,
            _ => false,
        }
    }
}

impl Data {
    /// Whether values of a type have a shape here.
    pub fn can_hold(logical: &LogicalType) -> bool {
        !matches!(logical, LogicalType::Binary | LogicalType::List(_) | LogicalType::Struct(_))
    }

    /// No values yet.
    pub fn with_capacity(logical: &LogicalType, values: usize) -> Self {
        match logical {
            LogicalType::Bool => Self::Bool(Vec::with_capacity(values)),
            LogicalType::Float32 | LogicalType::Float64 => Self::Float(Vec::with_capacity(values)),
            LogicalType::Decimal { .. } => Self::Decimal(Vec::with_capacity(values)),
            LogicalType::Uuid => Self::Uuid(Vec::with_capacity(values)),
            LogicalType::Utf8 | LogicalType::Binary | LogicalType::List(_) | LogicalType::Struct(_) => {
                Self::Text(Varlen::with_capacity(values, 16 * values))
            }
            _ => Self::Int(Vec::with_capacity(values)),
        }
    }

    /// The values of a column of a type other than text.
    pub fn load(column: Column, logical: &LogicalType, rows: usize) -> Result<Self, Failure> {
        let values = column.nodes.into_iter().next().map(|node| node.values);
        let widened = match values {
            Some(Values::Int8(values)) => Self::Int(values.into_iter().map(i64::from).collect()),
            Some(Values::Int16(values)) => Self::Int(values.into_iter().map(i64::from).collect()),
            Some(Values::Int32(values)) => Self::Int(values.into_iter().map(i64::from).collect()),
            Some(Values::Int64(values)) => Self::Int(values),
            Some(Values::Float32(values)) => Self::Float(values.into_iter().map(f64::from).collect()),
            Some(Values::Float64(values)) => Self::Float(values),
            Some(Values::Bits(bits)) => Self::Bool((0..rows).map(|row| is_set(&bits, row)).collect()),
            Some(Values::Fixed(bytes)) if matches!(logical, LogicalType::Decimal { .. }) => {
                Self::Decimal(bytes.as_chunks().0.iter().map(|bytes| i128::from_le_bytes(*bytes)).collect())
            }
            Some(Values::Fixed(bytes)) => Self::Uuid(bytes.as_chunks().0.to_vec()),
            other => {
                let layout = other.map_or("nothing", |values| values.layout());
                return Err(Failure::fatal(format!("a column was read as {logical}, but its values are `{layout}`")));
            }
        };
        if widened.len() == rows {
            Ok(widened)
        } else {
            Err(Failure::fatal(format!("a column of {logical} has {} rows of {rows}", widened.len())))
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.offsets.len().saturating_sub(1),
            Self::Int(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Decimal(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Uuid(values) => values.len(),
        }
    }

    /// Adds a value of the same shape.
    pub fn push(&mut self, one: &One) {
        match (self, one) {
            (Self::Text(values), One::Text(text)) => values.push(text.as_bytes()),
            (Self::Int(values), One::Int(value)) => values.push(*value),
            (Self::Float(values), One::Float(value)) => values.push(*value),
            (Self::Decimal(values), One::Decimal(value)) => values.push(*value),
            (Self::Bool(values), One::Bool(value)) => values.push(*value),
            (Self::Uuid(values), One::Uuid(value)) => values.push(*value),
            (data, _) => data.push_filler(),
        }
    }

    /// Adds a value that means nothing.
    pub fn push_filler(&mut self) {
        match self {
            Self::Text(values) => values.push(&[]),
            Self::Int(values) => values.push(0),
            Self::Float(values) => values.push(0.0),
            Self::Decimal(values) => values.push(0),
            Self::Bool(values) => values.push(false),
            Self::Uuid(values) => values.push([0; 16]),
        }
    }

    /// Names each value that is below `min` or above `max`.
    pub fn outside(&self, min: Option<&One>, max: Option<&One>, found: impl FnMut(usize)) {
        fn scan<T: PartialOrd + Copy>(values: &[T], least: T, greatest: T, mut found: impl FnMut(usize)) {
            let inside = |value: &T| *value >= least && *value <= greatest;
            // Most columns have no such value, and this loop is quick.
            if values.iter().fold(true, |all, value| all & inside(value)) {
                return;
            }
            values.iter().enumerate().filter(|(_, value)| !inside(value)).for_each(|(slot, _)| found(slot));
        }
        match self {
            Self::Int(values) => {
                let end = |one: Option<&One>, open| if let Some(One::Int(value)) = one { *value } else { open };
                scan(values, end(min, i64::MIN), end(max, i64::MAX), found);
            }
            Self::Float(values) => {
                let end = |one: Option<&One>, open| if let Some(One::Float(value)) = one { *value } else { open };
                scan(values, end(min, f64::NEG_INFINITY), end(max, f64::INFINITY), found);
            }
            Self::Decimal(values) => {
                let end = |one: Option<&One>, open| if let Some(One::Decimal(value)) = one { *value } else { open };
                scan(values, end(min, i128::MIN), end(max, i128::MAX), found);
            }
            Self::Text(_) | Self::Bool(_) | Self::Uuid(_) => {}
        }
    }

    /// One value as text: what a cast to text makes, and what details of rejects show.
    pub fn text(&self, row: usize, logical: &LogicalType) -> String {
        match self {
            Self::Text(values) => {
                let (start, end) = (values.offsets[row] as usize, values.offsets[row + 1] as usize);
                String::from_utf8_lossy(&values.data[start..end]).into_owned()
            }
            Self::Int(values) => time::text(values[row], logical),
            Self::Float(values) if *logical == LogicalType::Float32 => format!("{:?}", values[row] as f32),
            Self::Float(values) => format!("{:?}", values[row]),
            Self::Decimal(values) => cast::decimal_text(values[row], cast::scale(logical)),
            Self::Bool(values) => values[row].to_string(),
            Self::Uuid(values) => Uuid::from_bytes(values[row]).to_string(),
        }
    }

    /// The values in the layout of a type. They fit: casts checked it.
    pub fn store(self, logical: &LogicalType) -> Values {
        match (self, logical) {
            (Self::Int(values), LogicalType::Int8) => Values::Int8(values.into_iter().map(|v| v as i8).collect()),
            (Self::Int(values), LogicalType::Int16) => Values::Int16(values.into_iter().map(|v| v as i16).collect()),
            (Self::Int(values), LogicalType::Int32 | LogicalType::Date) => {
                Values::Int32(values.into_iter().map(|v| v as i32).collect())
            }
            (Self::Int(values), _) => Values::Int64(values),
            (Self::Float(values), LogicalType::Float32) => {
                Values::Float32(values.into_iter().map(|v| v as f32).collect())
            }
            (Self::Float(values), _) => Values::Float64(values),
            (Self::Decimal(values), _) => Values::Fixed(values.into_iter().flat_map(i128::to_le_bytes).collect()),
            (Self::Bool(values), _) => Values::Bits(pack(&values)),
            (Self::Uuid(values), _) => Values::Fixed(values.into_flattened()),
            (Self::Text(values), _) => Values::Varlen(values),
        }
    }
}
