//! `wit/stage.wit` as Rust types. What goes into a plugin is borrowed (`..Param`), what comes back is owned (`..Result`).
#![allow(missing_docs, unused_qualifications)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "stage",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { "millstream:stage/dimensions.get-many": trappable },
});

pub(super) use self::exports::millstream::stage::transform;
pub(super) use self::millstream::stage::{columns, dimensions, log};
