//! Writes its version beside every row. Tests make further versions of the built component by changing the text
//! `version-0000` in its bytes: another digest, another output, no compiler.

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

impl Transform<'_> for Tag {
    type Config = ();
    type In = Row;
    type Out = Tagged;

    fn new((): ()) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn transform(&mut self, row: Row) -> Result<Emit<Tagged>, Reject> {
        if row.id < 0 {
            return Err(Reject::new("negative", row.id.to_string()));
        }
        Ok(Emit::one(Tagged { version: "version-0000" }))
    }
}

millstream_sdk::export!(Tag);
