//! Where rows go.

pub mod kafka;
