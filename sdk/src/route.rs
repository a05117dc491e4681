//! `Route`: a row to one or several named outputs.

use crate::columns::{Batch, Patch};
use crate::config::{Config, ConfigError};
use crate::contract::Contract;
use crate::kept::Kept;
use crate::outcome::{EMPTY, Emit, Failure, Reject};
use crate::panics;
use crate::plugin::Process;
use crate::row::Input;

/// The named outputs that rows are routed to: an enum with `#[derive(Routes)]`. A variant's output is its name in snake
/// case, or what `#[output("name")]` says.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name outputs",
    label = "not the outputs of a route",
    note = "put #[derive(Routes)] on an enum, one variant an output"
)]
pub trait Routes: Sized {
    /// The outputs' names.
    const NAMES: &'static [&'static str];

    /// The index of this one's name.
    fn index(&self) -> u16;
}

/// A stage that sends each row to one or several named outputs, which the pipeline file reads as `from = "stage.output"`.
///
/// ```
/// use millstream_sdk::prelude::*;
/// use millstream_sdk::{json, testing};
///
/// #[derive(Input)]
/// struct Flight {
///     arrival_delay: Option<i32>,
/// }
///
/// #[derive(Routes)]
/// enum To {
///     OnTime,
///     Delayed,
///     #[output("cancelled")]
///     NeverArrived,
/// }
///
/// struct RouteFlights;
///
/// impl Route<'_> for RouteFlights {
///     type Config = ();
///     type In = Flight;
///     type To = To;
///
///     fn new((): ()) -> Result<Self, ConfigError> {
///         Ok(Self)
///     }
///
///     fn route(&mut self, flight: Flight) -> Result<Emit<To>, Reject> {
///         Ok(Emit::one(match flight.arrival_delay {
///             None => To::NeverArrived,
///             Some(minutes) if minutes > 15 => To::Delayed,
///             Some(_) => To::OnTime,
///         }))
///     }
/// }
/// millstream_sdk::export!(RouteFlights);
///
/// let mut route = testing::configure::<RouteFlights>(json!({})).unwrap();
/// let outcome = route.process(json!([{ "arrival_delay": 3 }, { "arrival_delay": null }, { "arrival_delay": 16 }]));
/// assert_eq!(outcome.routes(), [(0, "on_time"), (1, "cancelled"), (2, "delayed")]);
/// ```
pub trait Route<'a>: Sized + 'static {
    /// The stage's table of the pipeline file; `()` when there is none.
    type Config: Config;
    /// The row as it is read: `#[derive(Input)]`.
    type In: Input<'a>;
    /// The outputs: `#[derive(Routes)]`.
    type To: Routes;

    /// Checks the config. Called once an instance, before any row.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// Where the row goes: `Emit::one(To::A)`, `Emit::many([To::A, To::B])`, or nowhere.
    fn route(&mut self, row: Self::In) -> Result<Emit<Self::To>, Reject>;
}

pub(crate) fn contract<T: Route<'static>>() -> Contract {
    let outputs = T::To::NAMES.iter().map(|name| (*name).to_owned()).collect();
    let mut contract = Contract { outputs, ..Contract::default() };
    T::In::declare(&mut contract);
    contract
}

pub(crate) struct Rows<T>(pub(crate) T);

impl<T: for<'a> Route<'a>> Process for Rows<T> {
    fn process(&mut self, batch: Batch) -> Result<Patch, Failure> {
        process(&mut self.0, &batch)
    }
}

fn process<'a, T: Route<'a>>(stage: &mut T, batch: &'a Batch) -> Result<Patch, Failure> {
    let input = T::In::columns(batch)?;
    let mut outputs = Vec::with_capacity(batch.rows as usize);
    let mut kept = Kept::default();
    for row in 0..batch.rows {
        panics::at(row);
        match T::In::row(&input, row as usize).and_then(|values| stage.route(values)) {
            Ok(Emit::One(to)) => {
                outputs.push(to.index());
                kept.once(row);
            }
            Ok(Emit::None(reason)) => kept.filter(row, reason),
            Ok(Emit::Many(to)) if to.is_empty() => kept.filter(row, EMPTY.into()),
            Ok(Emit::Many(to)) => {
                kept.times(row, to.len());
                outputs.extend(to.iter().map(T::To::index));
            }
            Err(reject) => kept.reject(row, reject)?,
        }
    }
    panics::done();
    Ok(kept.finish(Vec::new(), outputs))
}
