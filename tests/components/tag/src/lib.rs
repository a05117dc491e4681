//! Writes its version beside every row. Tests make further versions of the built component by changing the text
//! `version-0000` in its bytes: another digest, another output, no compiler. Versions from 8000 on are bad ones: they
//! panic on every row; from 9000 on they reject every row.

use millstream_sdk::prelude::*;

/// What it reads.
#[derive(Input)]
pub struct Row {
    id: i64,
}

/// What it adds.
#[derive(Output, Debug, PartialEq)]
pub struct Tagged {
    #[column(dictionary)]
    version: &'static str,
}

/// The stage.
pub struct Tag;

static VERSION: &str = "version-0000";

impl Transform<'_> for Tag {
    type Config = ();
    type In = Row;
    type Out = Tagged;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, row: Row) -> Result<Emit<Tagged>, Reject> {
        // What the bytes say, not what the compiler knows.
        let version = std::hint::black_box(VERSION);
        if row.id < 0 {
            return Err(Reject::new("negative", row.id.to_string()));
        }
        if version.starts_with("version-9") {
            return Err(Reject::new("bad_version", version));
        }
        assert!(!version.starts_with("version-8"), "a bad version");
        Ok(Emit::one(Tagged { version }))
    }
}

millstream_sdk::export!(Tag);
