//! Which rows a condition is true for, when only some are asked about: the second side of AND is asked of the rows that
//! are left, and a rule of those that no rule before it took, as code that is written by hand would do.

use std::borrow::Cow;

use millstream_sdk::columnwise::is_set;

use crate::evaluate::{FALSE, Frame, Nulls, TRUE, Vector, holds, texts_of};
use crate::expression::{Comparison, Node, Scalar};
use crate::like::same;
use crate::text::keep;

impl Frame<'_> {
    /// The numbers of all rows.
    pub fn all_rows(&self) -> Vec<u32> {
        (0..self.rows as u32).collect()
    }

    /// Of some rows, which ascend, those in which a condition is true.
    pub fn select(&self, condition: &Node, rows: &[u32]) -> Vec<u32> {
        self.select_where(condition, rows, TRUE)
    }

    /// As `select`, for true or false; a null is neither.
    fn select_where(&self, condition: &Node, rows: &[u32], wanted: u8) -> Vec<u32> {
        match condition {
            Node::Not(inner) => self.select_where(inner, rows, TRUE - wanted),
            Node::And(one, other) if wanted == TRUE => self.in_turn(one, other, rows, wanted),
            Node::Or(one, other) if wanted == FALSE => self.in_turn(one, other, rows, wanted),
            Node::And(one, other) | Node::Or(one, other) => self.either(one, other, rows, wanted),
            leaf => self.select_leaf(leaf, rows, wanted).unwrap_or_else(|| self.select_evaluated(leaf, rows, wanted)),
        }
    }

    /// Rows in which both sides are as wanted.
    fn in_turn(&self, one: &Node, other: &Node, rows: &[u32], wanted: u8) -> Vec<u32> {
        let left = self.select_where(one, rows, wanted);
        self.select_where(other, &left, wanted)
    }

    /// Rows in which a side is as wanted.
    fn either(&self, one: &Node, other: &Node, rows: &[u32], wanted: u8) -> Vec<u32> {
        let first = self.select_where(one, rows, wanted);
        let rest = without(rows, &first);
        let second = self.select_where(other, &rest, wanted);
        merged(&first, &second)
    }

    /// Conditions that can be asked of a row alone.
    fn select_leaf(&self, leaf: &Node, rows: &[u32], wanted: u8) -> Option<Vec<u32>> {
        let is_true = wanted == TRUE;
        match leaf {
            Node::IsNullColumn(index) => {
                let validity = self.validity[*index];
                let is_null = |row: u32| !validity.is_empty() && !is_set(validity, row as usize);
                Some(keep(rows, |row| is_null(row) == is_true))
            }
            Node::Like(text, pattern) if pattern.is_of_bytes() => {
                let Vector::Text(text) = self.column(text)? else { return None };
                Some(text.select(rows, is_true, |text| pattern.matches_bytes(text)))
            }
            Node::In { value, list, null: false } => {
                let Vector::Text(text) = self.column(value)? else { return None };
                let texts = texts_of(list);
                Some(text.select(rows, is_true, |text| texts.iter().any(|one| same(text, one))))
            }
            Node::Compare(comparison, one, other) => match (self.column(one)?, &**other) {
                (Vector::Text(text), Node::Constant(Scalar::Text(constant))) => {
                    let constant = constant.as_bytes();
                    Some(match comparison {
                        Comparison::Equal => text.select(rows, is_true, |text| same(text, constant)),
                        Comparison::NotEqual => text.select(rows, !is_true, |text| same(text, constant)),
                        comparison => text.select(rows, is_true, |text| holds(*comparison, text, constant)),
                    })
                }
                (Vector::Int(values, nulls), Node::Constant(Scalar::Int(constant))) => {
                    let holds = |row: u32| holds(*comparison, &values[row as usize], constant) == is_true;
                    Some(match nulls {
                        None => keep(rows, holds),
                        Some(nulls) => keep(rows, |row| holds(row) && !nulls[row as usize]),
                    })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn column(&self, node: &Node) -> Option<&Vector<'_>> {
        if let Node::Column(index) = node { self.columns.get(*index) } else { None }
    }

    /// Any other condition: evaluated for all rows, or, of few rows and numbers only, for these.
    fn select_evaluated(&self, condition: &Node, rows: &[u32], wanted: u8) -> Vec<u32> {
        if rows.is_empty() {
            return Vec::new();
        }
        let mut columns = Vec::new();
        if rows.len() < self.rows / 2 && self.numbers_of(condition, &mut columns) {
            let some = self.of_rows(&columns, rows);
            let truth = some.truth(condition);
            return rows.iter().zip(truth.iter()).filter(|(_, truth)| **truth == wanted).map(|(row, _)| *row).collect();
        }
        let truth = self.truth(condition);
        keep(rows, |row| truth[row as usize] == wanted)
    }

    /// Notes the columns that a condition reads; false when one of them is no column of numbers.
    fn numbers_of(&self, node: &Node, columns: &mut Vec<usize>) -> bool {
        match node {
            Node::Constant(_) => true,
            Node::Column(index) => {
                columns.push(*index);
                matches!(
                    self.columns.get(*index),
                    Some(Vector::Int(..) | Vector::Float(..) | Vector::Decimal(..) | Vector::Bool(_))
                )
            }
            Node::IsNullColumn(_) | Node::Like(..) | Node::Text(..) | Node::Length(_) => false,
            Node::IsNull(inner)
            | Node::Is(inner, _)
            | Node::Not(inner)
            | Node::ToFloat(inner, _)
            | Node::ToDecimal(inner, _)
            | Node::In { value: inner, .. } => self.numbers_of(inner, columns),
            Node::And(one, other)
            | Node::Or(one, other)
            | Node::Compare(_, one, other)
            | Node::Calculate(_, one, other) => self.numbers_of(one, columns) && self.numbers_of(other, columns),
        }
    }

    /// Some columns of some rows.
    fn of_rows(&self, columns: &[usize], rows: &[u32]) -> Frame<'_> {
        let taken = self.columns.iter().enumerate().map(|(index, column)| match column {
            _ if !columns.contains(&index) => Vector::Opaque,
            Vector::Bool(values) => Vector::Bool(taken(values, rows)),
            Vector::Int(values, nulls) => Vector::Int(taken(values, rows), nulls_of(nulls, rows)),
            Vector::Float(values, nulls) => Vector::Float(taken(values, rows), nulls_of(nulls, rows)),
            Vector::Decimal(values, nulls) => Vector::Decimal(taken(values, rows), nulls_of(nulls, rows)),
            _ => Vector::Opaque,
        });
        Frame { rows: rows.len(), columns: taken.collect(), validity: vec![&[]; self.columns.len()] }
    }
}

fn taken<T: Copy>(values: &[T], rows: &[u32]) -> Cow<'static, [T]> {
    rows.iter().map(|row| values[*row as usize]).collect()
}

fn nulls_of(nulls: &Nulls<'_>, rows: &[u32]) -> Nulls<'static> {
    nulls.as_ref().map(|nulls| taken(nulls, rows))
}

/// The rows that are not among others, which are all among them; both ascend.
fn without(rows: &[u32], others: &[u32]) -> Vec<u32> {
    let mut others = others.iter().peekable();
    rows.iter().copied().filter(|row| others.next_if_eq(&row).is_none()).collect()
}

/// The rows of both, which have none in common; all ascend.
fn merged(one: &[u32], other: &[u32]) -> Vec<u32> {
    let mut all = Vec::with_capacity(one.len() + other.len());
    let mut left = other.iter().copied().peekable();
    for &row in one {
        while let Some(before) = left.next_if(|other| *other < row) {
            all.push(before);
        }
        all.push(row);
    }
    all.extend(left);
    all
}
