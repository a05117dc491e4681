//! `Transform`: one row to none, one or many.

use crate::columns::{Batch, Patch};
use crate::config::{Config, ConfigError};
use crate::contract::Contract;
use crate::kept::Kept;
use crate::outcome::{EMPTY, Emit, Failure, Reject};
use crate::panics;
use crate::plugin::Process;
use crate::row::{Input, Output};

/// A stage that makes none, one or many rows of each row: cleaning and enrichment. See the [crate's page](crate) for a
/// whole one.
///
/// `'a` is the batch that rows borrow from. The columns that the stage does not write pass by: a row that is kept keeps
/// all its other columns.
pub trait Transform<'a>: Sized + 'static {
    /// The stage's table of the pipeline file; `()` when there is none.
    type Config: Config;
    /// The row as it is read: `#[derive(Input)]`.
    type In: Input<'a>;
    /// The row as it is written: `#[derive(Output)]`; `()` when nothing is.
    type Out: Output;

    /// Checks the config. Called once an instance, before any row.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// One row. An instance may be thrown away between any two batches: what it must remember belongs elsewhere.
    fn transform(&mut self, row: Self::In) -> Result<Emit<Self::Out>, Reject>;
}

pub(crate) fn contract<T: Transform<'static>>() -> Contract {
    let mut contract = Contract { writes: T::Out::fields(), ..Contract::default() };
    T::In::declare(&mut contract);
    contract
}

pub(crate) struct Rows<T>(pub(crate) T);

impl<T: for<'a> Transform<'a>> Process for Rows<T> {
    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        process(&mut self.0, &batch)
    }
}

fn process<'a, T: Transform<'a>>(stage: &mut T, batch: &'a Batch) -> Result<Patch, Failure> {
    let input = T::In::columns(batch)?;
    let mut output = T::Out::columns(batch.rows as usize);
    let mut kept = Kept::default();
    for row in 0..batch.rows {
        panics::at(row);
        let emitted = T::In::row(&input, row as usize).and_then(|values| stage.transform(values));
        match emitted.and_then(checked) {
            Ok(Emit::One(values)) => {
                values.write(&mut output);
                kept.once(row);
            }
            Ok(Emit::None(reason)) => kept.filter(row, reason),
            Ok(Emit::Many(rows)) if rows.is_empty() => kept.filter(row, EMPTY.into()),
            Ok(Emit::Many(rows)) => {
                kept.times(row, rows.len());
                rows.into_iter().for_each(|values| values.write(&mut output));
            }
            Err(reject) => kept.reject(row, reject)?,
        }
    }
    panics::done();
    Ok(kept.finish(T::Out::finish(output), Vec::new()))
}

/// Checks every row before any is written: of several rows either all are written or none.
#[inline(always)]
fn checked<O: Output>(emit: Emit<O>) -> Result<Emit<O>, Reject> {
    match &emit {
        Emit::None(_) => {}
        Emit::One(row) => row.check()?,
        Emit::Many(rows) => rows.iter().try_for_each(O::check)?,
    }
    Ok(emit)
}
