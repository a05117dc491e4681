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
        let (next, field) = match shape.predict(step, first, cursor) {
            Some(predicted) => {
                // The lead may have been learnt without the blanks that stand here behind its colon.
                cursor.skip_blanks();
                predicted
            }
            None => match unpredicted(cursor, shape, fields, step, first)? {
                Some(read) => read,
                None => return Ok(()),
            },
        };
        (step, first) = (next, false);
        let lead = start..cursor.at;
        fields.field(cursor, field, lead)?;
    }
}

/// Reads what stands between two values strictly; none at the object's end. Out of line, so that the loop which it is
/// rarely needed in stays small.
#[inline(never)]
fn unpredicted(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    fields: &impl Fields,
    step: usize,
    first: bool,
) -> Checked<Option<(usize, FieldId)>> {
    if let Some(later) = shape.predict_later(step + 1, first, cursor) {
        cursor.skip_blanks();
        return Ok(Some(later));
    }
    let start = cursor.at;
    if !cursor.next_key(first)? {
        return Ok(None);
    }
    let mut scratch = Vec::new();
    let field = fields.find(cursor.string(&mut scratch)?);
    cursor.colon()?;
    let next = shape.learn(step, &cursor.text[start..cursor.at], first, field);
    Ok(Some((next, field)))
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
