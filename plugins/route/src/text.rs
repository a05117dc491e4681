//! Text in expressions: slots, as they came or as a function made them.

use std::borrow::Cow;

use millstream_sdk::columnwise::Texts;

use crate::evaluate::{FALSE, NULL, TRUE};
use crate::expression::TextFunction;

/// A column of text, or what functions made of one.
#[derive(Clone)]
pub struct TextVector<'a> {
    texts: Texts<'a>,
    /// By slot, when a function changed them.
    made: Option<Vec<Cow<'a, str>>>,
}

/// Those of some rows for which a test is true.
#[inline(always)]
pub fn keep(rows: &[u32], test: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut kept = Vec::with_capacity(rows.len());
    kept.extend(rows.iter().copied().filter(|row| test(*row)));
    kept
}

impl<'a> TextVector<'a> {
    /// A column as it came.
    pub fn new(texts: Texts<'a>) -> Self {
        Self { texts, made: None }
    }

    #[inline(always)]
    fn slot(&self, slot: usize) -> &str {
        match &self.made {
            None => self.texts.slot(slot),
            Some(made) => &made[slot],
        }
    }

    /// The text of a row; none where it is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&str> {
        (!self.texts.is_null(row)).then(|| self.slot(self.texts.slot_of(row)))
    }

    /// Whether rows are null.
    pub fn nulls(&self, rows: usize) -> Option<Vec<bool>> {
        self.texts.has_nulls().then(|| (0..rows).map(|row| self.texts.is_null(row)).collect())
    }

    /// What a function makes of each slot.
    pub fn map(&self, function: TextFunction) -> Self {
        let made = (0..self.texts.slots()).map(|slot| {
            let text = match &self.made {
                None => Cow::Borrowed(self.texts.slot(slot)),
                Some(made) => made[slot].clone(),
            };
            changed(text, function)
        });
        Self { texts: self.texts, made: Some(made.collect()) }
    }

    /// For each row what `test` says of its text.
    #[inline]
    pub fn test(&self, rows: usize, test: impl Fn(&str) -> bool) -> Vec<u8> {
        let of_slot = |slot: usize| if test(self.slot(slot)) { TRUE } else { FALSE };
        if self.texts.slots_are_rows() {
            if !self.texts.has_nulls() {
                return (0..rows).map(of_slot).collect();
            }
            return (0..rows).map(|row| if self.texts.is_null(row) { NULL } else { of_slot(row) }).collect();
        }
        let slots: Vec<u8> = (0..self.texts.slots()).map(of_slot).collect();
        let of_row = |row: usize| if self.texts.is_null(row) { NULL } else { slots[self.texts.slot_of(row)] };
        (0..rows).map(of_row).collect()
    }

    /// Of some rows those in which `test`, of a text's bytes, is as `wanted`; null rows are never among them.
    #[inline]
    pub fn select(&self, rows: &[u32], wanted: bool, test: impl Fn(&[u8]) -> bool) -> Vec<u32> {
        if self.texts.slots_are_rows() && self.made.is_none() {
            let is_wanted = |row: u32| test(self.texts.slot_bytes(row as usize)) == wanted;
            return match self.texts.has_nulls() {
                false => keep(rows, is_wanted),
                true => keep(rows, |row| !self.texts.is_null(row as usize) && is_wanted(row)),
            };
        }
        let slots: Vec<bool> = (0..self.texts.slots()).map(|slot| test(self.slot(slot).as_bytes()) == wanted).collect();
        let row = |row: u32| !self.texts.is_null(row as usize) && slots[self.texts.slot_of(row as usize)];
        keep(rows, row)
    }

    /// For each row a number of its text; 0 where it is null.
    pub fn numbers(&self, rows: usize, number: impl Fn(&str) -> i64) -> Vec<i64> {
        let slots: Vec<i64> = (0..self.texts.slots()).map(|slot| number(self.slot(slot))).collect();
        let of_row = |row: usize| if self.texts.is_null(row) { 0 } else { slots[self.texts.slot_of(row)] };
        (0..rows).map(of_row).collect()
    }
}

/// What a function makes of a text.
pub fn changed(text: Cow<'_, str>, function: TextFunction) -> Cow<'_, str> {
    match (function, text) {
        (TextFunction::Trim, Cow::Borrowed(text)) => Cow::Borrowed(text.trim()),
        (TextFunction::Trim, Cow::Owned(text)) => Cow::Owned(text.trim().to_owned()),
        (TextFunction::Lower, text) if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) => text,
        (TextFunction::Upper, text) if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_lowercase()) => text,
        (TextFunction::Lower, text) => Cow::Owned(text.to_lowercase()),
        (TextFunction::Upper, text) => Cow::Owned(text.to_uppercase()),
    }
}
