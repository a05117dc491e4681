//! Expressions over a batch, a column at a time, in SQL's three truths.

use std::borrow::Cow;

use millstream_sdk::columnwise::{Texts, is_set};
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, LogicalType, Values};

use crate::expression::{Arithmetic, Comparison, Node, Scalar};
use crate::like::same;
use crate::text::{TextVector, changed};

/// False. The order of the three makes AND the lesser, OR the greater, and NOT the distance from true.
pub const FALSE: u8 = 0;
/// Neither: a null was looked at.
pub const NULL: u8 = 1;
/// True.
pub const TRUE: u8 = 2;

/// Whether rows are null; none when no row is.
pub type Nulls<'a> = Option<Cow<'a, [bool]>>;

/// The columns of a batch in the few shapes that operators work on.
pub struct Frame<'a> {
    pub(super) rows: usize,
    pub(super) columns: Vec<Vector<'a>>,
    /// By column the bitmap of rows that are not null; empty when none is.
    pub(super) validity: Vec<&'a [u8]>,
}

/// A value for each row.
#[derive(Clone)]
pub enum Vector<'a> {
    /// The same in all rows.
    Constant(Scalar),
    /// Truths.
    Bool(Cow<'a, [u8]>),
    /// Integers, days, instants.
    Int(Cow<'a, [i64]>, Nulls<'a>),
    /// Floats.
    Float(Cow<'a, [f64]>, Nulls<'a>),
    /// Unscaled decimals.
    Decimal(Cow<'a, [i128]>, Nulls<'a>),
    /// Text.
    Text(TextVector<'a>),
    /// Of a type that only `IS NULL` looks at.
    Opaque,
}

impl<'a> Frame<'a> {
    /// The columns of a batch.
    pub fn load(fields: &[Field], batch: &'a Batch) -> Result<Self, Failure> {
        let rows = batch.rows as usize;
        let (mut columns, mut validities) = (Vec::with_capacity(fields.len()), Vec::with_capacity(fields.len()));
        for (field, column) in fields.iter().zip(&batch.columns) {
            let validity = column.nodes.first().map_or(&[][..], |node| &node.validity);
            if !validity.is_empty() && validity.len() < rows.div_ceil(8) {
                return Err(Failure::fatal(format!("column `{}` has too short a validity", field.name)));
            }
            columns.push(load(field, column, rows, validity)?);
            validities.push(validity);
        }
        if columns.len() != fields.len() {
            return Err(Failure::fatal(format!("{} columns came, {} are read", columns.len(), fields.len())));
        }
        Ok(Self { rows, columns, validity: validities })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// What a condition is in each row.
    pub fn truth(&self, condition: &Node) -> Cow<'_, [u8]> {
        let all = |truth| vec![truth; self.rows].into();
        match self.evaluate(condition) {
            Vector::Bool(truth) => truth,
            Vector::Constant(Scalar::Bool(true)) => all(TRUE),
            Vector::Constant(Scalar::Bool(false)) => all(FALSE),
            // Types were agreed before: what is left is NULL.
            _ => all(NULL),
        }
    }

    fn evaluate(&self, node: &Node) -> Vector<'_> {
        match node {
            Node::Constant(scalar) => Vector::Constant(scalar.clone()),
            Node::Column(index) => self.columns[*index].borrowed(),
            Node::IsNullColumn(index) => {
                Vector::Bool(truths(nulls(self.validity[*index], self.rows).as_deref(), self.rows))
            }
            Node::IsNull(inner) => self.is_null(self.evaluate(inner)),
            Node::Is(inner, wanted) => {
                let wanted = if *wanted { TRUE } else { FALSE };
                self.map(inner, |truth| if truth == wanted { TRUE } else { FALSE })
            }
            Node::Not(inner) => self.map(inner, |truth| TRUE - truth),
            Node::And(one, other) => self.both(one, other, u8::min),
            Node::Or(one, other) => self.both(one, other, u8::max),
            Node::Compare(comparison, one, other) => {
                Vector::Bool(self.compare(*comparison, self.evaluate(one), self.evaluate(other)).into())
            }
            Node::In { value, list, null } => self.among(self.evaluate(value), list, *null),
            Node::Like(text, pattern) => match self.evaluate(text) {
                Vector::Text(text) => Vector::Bool(text.test(self.rows, |text| pattern.matches(text)).into()),
                Vector::Constant(Scalar::Text(text)) => Vector::Constant(Scalar::Bool(pattern.matches(&text))),
                _ => Vector::Constant(Scalar::Null),
            },
            Node::Calculate(arithmetic, one, other) => self.calculate(*arithmetic, one, other),
            Node::ToFloat(inner, scale) => to_float(self.evaluate(inner), *scale),
            Node::ToDecimal(inner, power) => to_decimal(self.evaluate(inner), *power),
            Node::Text(function, inner) => match self.evaluate(inner) {
                Vector::Text(text) => Vector::Text(text.map(*function)),
                Vector::Constant(Scalar::Text(text)) => {
                    Vector::Constant(Scalar::Text(changed(text.into(), *function).into_owned()))
                }
                constant => constant,
            },
            Node::Length(inner) => match self.evaluate(inner) {
                Vector::Text(text) => {
                    let lengths = text.numbers(self.rows, |text| text.chars().count() as i64);
                    Vector::Int(lengths.into(), text.nulls(self.rows).map(Cow::Owned))
                }
                Vector::Constant(Scalar::Text(text)) => Vector::Constant(Scalar::Int(text.chars().count() as i64)),
                _ => Vector::Constant(Scalar::Null),
            },
        }
    }

    fn map(&self, inner: &Node, change: impl Fn(u8) -> u8) -> Vector<'_> {
        Vector::Bool(self.truth(inner).iter().map(|truth| change(*truth)).collect())
    }

    fn both(&self, one: &Node, other: &Node, join: impl Fn(u8, u8) -> u8) -> Vector<'_> {
        let (one, other) = (self.truth(one), self.truth(other));
        Vector::Bool(one.iter().zip(other.iter()).map(|(one, other)| join(*one, *other)).collect())
    }

    fn is_null(&self, vector: Vector<'_>) -> Vector<'_> {
        let nulls = match vector {
            Vector::Constant(scalar) => return Vector::Constant(Scalar::Bool(scalar == Scalar::Null)),
            Vector::Bool(truth) => {
                return Vector::Bool(truth.iter().map(|truth| if *truth == NULL { TRUE } else { FALSE }).collect());
            }
            Vector::Int(_, nulls) | Vector::Float(_, nulls) | Vector::Decimal(_, nulls) => nulls.map(Cow::into_owned),
            Vector::Text(text) => text.nulls(self.rows),
            Vector::Opaque => None,
        };
        Vector::Bool(truths(nulls.as_deref(), self.rows))
    }

    fn compare(&self, comparison: Comparison, one: Vector<'_>, other: Vector<'_>) -> Vec<u8> {
        let rows = self.rows;
        match (one, other) {
            (Vector::Int(values, nulls), Vector::Constant(Scalar::Int(constant))) => {
                with(comparison, &values, constant, nulls)
            }
            (Vector::Float(values, nulls), Vector::Constant(Scalar::Float(constant))) => {
                with(comparison, &values, constant, nulls)
            }
            (Vector::Decimal(values, nulls), Vector::Constant(Scalar::Decimal(constant))) => {
                with(comparison, &values, constant, nulls)
            }
            (Vector::Text(text), Vector::Constant(Scalar::Text(constant))) => match comparison {
                Comparison::Equal => text.test(rows, |text| same(text.as_bytes(), constant.as_bytes())),
                comparison => text.test(rows, |text| holds(comparison, text, constant.as_str())),
            },
            (Vector::Int(one, null), Vector::Int(other, also)) => between(comparison, &one, &other, null, also),
            (Vector::Float(one, null), Vector::Float(other, also)) => between(comparison, &one, &other, null, also),
            (Vector::Decimal(one, null), Vector::Decimal(other, also)) => between(comparison, &one, &other, null, also),
            (Vector::Text(one), Vector::Text(other)) => (0..rows)
                .map(|row| match (one.get(row), other.get(row)) {
                    (Some(one), Some(other)) => truth(holds(comparison, one, other)),
                    _ => NULL,
                })
                .collect(),
            (Vector::Constant(Scalar::Null), _) | (_, Vector::Constant(Scalar::Null)) => vec![NULL; rows],
            (Vector::Constant(one), Vector::Constant(other)) => vec![truth(constants(comparison, &one, &other)); rows],
            (one @ Vector::Constant(_), other) => self.compare(comparison.mirrored(), other, one),
            (Vector::Bool(values), Vector::Constant(Scalar::Bool(constant))) => {
                let constant = truth(constant);
                values.iter().map(|value| truths_compared(comparison, *value, constant)).collect()
            }
            (Vector::Bool(one), Vector::Bool(other)) => {
                one.iter().zip(other.iter()).map(|(one, other)| truths_compared(comparison, *one, *other)).collect()
            }
            _ => vec![NULL; rows],
        }
    }

    fn among(&self, value: Vector<'_>, list: &[Scalar], null: bool) -> Vector<'_> {
        let found = match value {
            Vector::Text(text) => {
                let texts = texts_of(list);
                text.test(self.rows, |text| texts.iter().any(|one| same(text.as_bytes(), one)))
            }
            Vector::Int(values, nulls) => {
                let mut numbers: Vec<i64> = list
                    .iter()
                    .filter_map(|item| if let Scalar::Int(value) = item { Some(*value) } else { None })
                    .collect();
                numbers.sort_unstable();
                let found = values.iter().map(|value| truth(numbers.binary_search(value).is_ok())).collect();
                where_null(found, nulls.as_deref())
            }
            value => {
                let mut any = vec![FALSE; self.rows];
                for item in list {
                    let equal = self.compare(Comparison::Equal, value.clone(), Vector::Constant(item.clone()));
                    any.iter_mut().zip(equal).for_each(|(any, equal)| *any = (*any).max(equal));
                }
                any
            }
        };
        let least = if null { NULL } else { FALSE };
        Vector::Bool(found.into_iter().map(|found| found.max(least)).collect())
    }

    fn calculate(&self, arithmetic: Arithmetic, one: &Node, other: &Node) -> Vector<'_> {
        match (self.expanded(one), self.expanded(other)) {
            (Vector::Int(one, null), Vector::Int(other, also)) => {
                let step = match arithmetic {
                    Arithmetic::Add => i64::checked_add,
                    Arithmetic::Subtract => i64::checked_sub,
                    Arithmetic::Multiply => i64::checked_mul,
                    Arithmetic::Divide => i64::checked_div,
                    Arithmetic::Remainder => i64::checked_rem,
                };
                let mut lost = vec![false; self.rows];
                let pairs = one.iter().zip(other.iter()).zip(&mut lost);
                // What does not fit, and what is divided by zero, is null.
                let values = pairs.map(|((one, other), lost)| {
                    let value = step(*one, *other);
                    *lost = value.is_none();
                    value.unwrap_or_default()
                });
                let values: Vec<i64> = values.collect();
                let lost: Nulls<'_> = lost.contains(&true).then(|| lost.into());
                Vector::Int(values.into(), either(lost, either(null, also)))
            }
            (Vector::Float(one, null), Vector::Float(other, also)) => {
                let step = |one: f64, other: f64| match arithmetic {
                    Arithmetic::Add => one + other,
                    Arithmetic::Subtract => one - other,
                    Arithmetic::Multiply => one * other,
                    Arithmetic::Divide => one / other,
                    Arithmetic::Remainder => one % other,
                };
                let divides = matches!(arithmetic, Arithmetic::Divide | Arithmetic::Remainder);
                let by_zero: Nulls<'_> =
                    (divides && other.contains(&0.0)).then(|| other.iter().map(|other| *other == 0.0).collect());
                let values: Vec<f64> = one.iter().zip(other.iter()).map(|(one, other)| step(*one, *other)).collect();
                Vector::Float(values.into(), either(by_zero, either(null, also)))
            }
            _ => Vector::Constant(Scalar::Null),
        }
    }

    /// A constant number as a value for each row.
    fn expanded(&self, node: &Node) -> Vector<'_> {
        match self.evaluate(node) {
            Vector::Constant(Scalar::Int(value)) => Vector::Int(vec![value; self.rows].into(), None),
            Vector::Constant(Scalar::Float(value)) => Vector::Float(vec![value; self.rows].into(), None),
            other => other,
        }
    }
}

impl Vector<'_> {
    fn borrowed(&self) -> Vector<'_> {
        fn same<T: Clone>(values: &[T]) -> Cow<'_, [T]> {
            Cow::Borrowed(values)
        }
        fn nulls<'a>(null: Option<&'a Cow<'_, [bool]>>) -> Nulls<'a> {
            null.map(|null| same(null))
        }
        match self {
            Self::Constant(scalar) => Vector::Constant(scalar.clone()),
            Self::Bool(values) => Vector::Bool(same(values)),
            Self::Int(values, null) => Vector::Int(same(values), nulls(null.as_ref())),
            Self::Float(values, null) => Vector::Float(same(values), nulls(null.as_ref())),
            Self::Decimal(values, null) => Vector::Decimal(same(values), nulls(null.as_ref())),
            Self::Text(text) => Vector::Text(text.clone()),
            Self::Opaque => Vector::Opaque,
        }
    }
}

fn load<'a>(field: &Field, column: &'a Column, rows: usize, validity: &[u8]) -> Result<Vector<'a>, Failure> {
    fn widened<'a, T: Copy + Into<i64>>(values: &[T]) -> Cow<'a, [i64]> {
        values.iter().map(|value| (*value).into()).collect()
    }
    if field.logical == LogicalType::Utf8 {
        return Ok(Vector::Text(TextVector::new(Texts::of(column, rows)?)));
    }
    let nulls = nulls(validity, rows);
    let (vector, found) = match (&field.logical, column.nodes.first().map(|node| &node.values)) {
        (_, Some(Values::Int8(values))) => (Vector::Int(widened(values), nulls), values.len()),
        (_, Some(Values::Int16(values))) => (Vector::Int(widened(values), nulls), values.len()),
        (_, Some(Values::Int32(values))) => (Vector::Int(widened(values), nulls), values.len()),
        (_, Some(Values::Int64(values))) => (Vector::Int(values.into(), nulls), values.len()),
        (_, Some(Values::Float32(values))) => {
            (Vector::Float(values.iter().map(|value| f64::from(*value)).collect(), nulls), values.len())
        }
        (_, Some(Values::Float64(values))) => (Vector::Float(values.into(), nulls), values.len()),
        (LogicalType::Decimal { .. }, Some(Values::Fixed(bytes))) => {
            let values: Vec<i128> = bytes.as_chunks().0.iter().map(|bytes| i128::from_le_bytes(*bytes)).collect();
            let found = values.len();
            (Vector::Decimal(values.into(), nulls), found)
        }
        (LogicalType::Bool, Some(Values::Bits(bits))) => {
            let values = (0..rows).map(|row| truth(is_set(bits, row))).collect();
            (Vector::Bool(where_null(values, nulls.as_deref()).into()), rows)
        }
        _ => (Vector::Opaque, rows),
    };
    if found == rows {
        Ok(vector)
    } else {
        Err(Failure::fatal(format!("column `{}` has {found} rows of {rows}", field.name)))
    }
}

fn nulls(validity: &[u8], rows: usize) -> Nulls<'static> {
    (!validity.is_empty()).then(|| (0..rows).map(|row| !is_set(validity, row)).collect())
}

#[inline(always)]
fn truth(is_true: bool) -> u8 {
    if is_true { TRUE } else { FALSE }
}

fn truths(nulls: Option<&[bool]>, rows: usize) -> Cow<'static, [u8]> {
    match nulls {
        None => vec![FALSE; rows].into(),
        Some(nulls) => nulls.iter().map(|null| truth(*null)).collect(),
    }
}

fn where_null(mut truths: Vec<u8>, nulls: Option<&[bool]>) -> Vec<u8> {
    if let Some(nulls) = nulls {
        truths.iter_mut().zip(nulls).filter(|(_, null)| **null).for_each(|(truth, _)| *truth = NULL);
    }
    truths
}

fn either<'a>(one: Nulls<'a>, other: Nulls<'a>) -> Nulls<'a> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.iter().zip(other.iter()).map(|(one, other)| one | other).collect()),
        (one, other) => one.or(other),
    }
}

/// Whether a comparison holds.
#[inline(always)]
pub fn holds<T: PartialOrd + ?Sized>(comparison: Comparison, one: &T, other: &T) -> bool {
    match comparison {
        Comparison::Equal => one == other,
        Comparison::NotEqual => one != other,
        Comparison::Less => one < other,
        Comparison::LessOrEqual => one <= other,
        Comparison::Greater => one > other,
        Comparison::GreaterOrEqual => one >= other,
    }
}

/// Values with a constant: one loop a comparison, so that the compiler can make it wide.
fn with<T: PartialOrd + Copy>(comparison: Comparison, values: &[T], constant: T, nulls: Nulls<'_>) -> Vec<u8> {
    fn all<T>(values: &[T], test: impl Fn(&T) -> bool) -> Vec<u8> {
        values.iter().map(|value| truth(test(value))).collect()
    }
    let truths = match comparison {
        Comparison::Equal => all(values, |value| *value == constant),
        Comparison::NotEqual => all(values, |value| *value != constant),
        Comparison::Less => all(values, |value| *value < constant),
        Comparison::LessOrEqual => all(values, |value| *value <= constant),
        Comparison::Greater => all(values, |value| *value > constant),
        Comparison::GreaterOrEqual => all(values, |value| *value >= constant),
    };
    where_null(truths, nulls.as_deref())
}

fn between<T: PartialOrd>(comparison: Comparison, one: &[T], other: &[T], null: Nulls<'_>, also: Nulls<'_>) -> Vec<u8> {
    let truths = one.iter().zip(other).map(|(one, other)| truth(holds(comparison, one, other))).collect();
    where_null(truths, either(null, also).as_deref())
}

fn truths_compared(comparison: Comparison, one: u8, other: u8) -> u8 {
    if one == NULL || other == NULL { NULL } else { truth(holds(comparison, &one, &other)) }
}

fn constants(comparison: Comparison, one: &Scalar, other: &Scalar) -> bool {
    match (one, other) {
        (Scalar::Bool(one), Scalar::Bool(other)) => holds(comparison, one, other),
        (Scalar::Int(one), Scalar::Int(other)) => holds(comparison, one, other),
        (Scalar::Float(one), Scalar::Float(other)) => holds(comparison, one, other),
        (Scalar::Decimal(one), Scalar::Decimal(other)) => holds(comparison, one, other),
        (Scalar::Text(one), Scalar::Text(other)) => holds(comparison, one, other),
        _ => false,
    }
}

fn to_float(vector: Vector<'_>, scale: u8) -> Vector<'_> {
    match vector {
        Vector::Int(values, nulls) => Vector::Float(values.iter().map(|value| *value as f64).collect(), nulls),
        Vector::Decimal(values, nulls) => {
            let power = 10_f64.powi(scale.into());
            Vector::Float(values.iter().map(|value| *value as f64 / power).collect(), nulls)
        }
        other => other,
    }
}

fn to_decimal(vector: Vector<'_>, power: i128) -> Vector<'_> {
    // At most 38 digits times 18 more: what does not fit is beyond every constant of its sign.
    let scaled = |value: i128| value.saturating_mul(power);
    match vector {
        Vector::Int(values, nulls) => {
            Vector::Decimal(values.iter().map(|value| scaled((*value).into())).collect(), nulls)
        }
        Vector::Decimal(values, nulls) => Vector::Decimal(values.iter().map(|value| scaled(*value)).collect(), nulls),
        other => other,
    }
}

/// The texts of a list.
pub fn texts_of(list: &[Scalar]) -> Vec<&[u8]> {
    list.iter().filter_map(|item| if let Scalar::Text(text) = item { Some(text.as_bytes()) } else { None }).collect()
}
