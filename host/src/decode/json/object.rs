//! Going through the fields of an object: predicted by its shape, or read strictly and learnt.

use std::ops::Range;

use super::cursor::Cursor;
use super::shape::{FieldId, Shape};
use crate::decode::flaw::Checked;

/// What the fields of an object mean.
pub(super) trait Fields {
    /// The field of a (decoded) key, or `UNKNOWN`.
    fn find(&self, key: &[u8]) -> FieldId;

    /// Reads the value under the cursor. `lead` is where its key stands, with what surrounds it.
    fn field(&mut self, cursor: &mut Cursor<'_>, field: FieldId, lead: Range<usize>) -> Checked<()>;
}

/// Reads the object whose brace is under the cursor.
#[inline]
pub(super) fn object(cursor: &mut Cursor<'_>, shape: &mut Shape, fields: &mut impl Fields) -> Checked<()> {
    cursor.enter()?;
    let (mut step, mut first) = (0, true);
    loop {
        let start = cursor.at;
        let field = match shape.predict(step, first, cursor) {
            Some((next, field)) => {
                step = next;
                // The lead may have been learnt without the blanks that stand here behind its colon.
                cursor.skip_blanks();
                field
            }
            None => {
                if !cursor.next_key(first)? {
                    return Ok(());
                }
                let mut scratch = Vec::new();
                let field = fields.find(cursor.string(&mut scratch)?);
                cursor.colon()?;
                step = shape.learn(step, &cursor.text[start..cursor.at], first, field);
                field
            }
        };
        first = false;
        let lead = start..cursor.at;
        fields.field(cursor, field, lead)?;
    }
}

/// The key in a lead, as it is written between its quotes.
pub(super) fn key_in<'a>(cursor: &Cursor<'a>, lead: Range<usize>) -> &'a [u8] {
    let lead = &cursor.text[lead];
    let quote = |byte: &u8| *byte == b'"';
    match (lead.iter().position(quote), lead.iter().rposition(quote)) {
        (Some(start), Some(end)) if start < end => &lead[start + 1..end],
        _ => &[],
    }
}
