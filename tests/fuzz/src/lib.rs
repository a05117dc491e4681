//! What a plugin is made of and what it returns is a stranger's. Each module has a function that takes any bytes, does
//! with them what the host does, and panics when a promise does not hold. `make fuzz` runs them under libFuzzer, guided
//! by coverage; the tests replay the corpus and try some new inputs.

pub mod column;
pub mod component;
pub mod contract;
pub mod patch;
