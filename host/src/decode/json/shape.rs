//! What the decoder remembers of the objects before: which bytes stood in front of each value. Most producers write the
//! same keys in the same order, so one comparison of a few words finds the next field, its comma, quotes, colon and
//! blanks included. A prediction that fails costs a little time and decides nothing.

use super::cursor::Cursor;

/// A field of an object: an index that whoever asked for it understands.
pub(in crate::decode) type FieldId = u32;

/// The field that no column names.
pub(super) const UNKNOWN: FieldId = FieldId::MAX;

/// More steps than these are not remembered: then the keys are data, not names.
const MAX_STEPS: usize = 256;
/// How many steps may be left out at once and still be found by comparing: optional fields.
const MAX_LEFT_OUT: usize = 3;
const WORDS: usize = 4;

/// The order of an object's fields.
#[derive(Debug, Default)]
pub(in crate::decode) struct Shape {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    /// The first bytes of `lead`, and which bits of them count.
    words: [u64; WORDS],
    masks: [u64; WORDS],
    /// Everything between the value before, or the object's brace, and this value. It was read strictly once.
    lead: Box<[u8]>,
    /// Whether the object begins with it: only then it has no comma.
    first: bool,
    field: FieldId,
}

impl Step {
    fn new(lead: &[u8], first: bool, field: FieldId) -> Self {
        let (mut words, mut masks) = ([0; WORDS], [0; WORDS]);
        for (at, byte) in lead.iter().enumerate().take(WORDS * 8) {
            words[at / 8] |= u64::from(*byte) << (at % 8 * 8);
            masks[at / 8] |= 0xff << (at % 8 * 8);
        }
        Self { words, masks, lead: lead.into(), first, field }
    }

    #[inline(always)]
    fn matches(&self, cursor: &Cursor<'_>, first: bool) -> bool {
        if self.first != first || self.lead.len() > cursor.text.len() - cursor.at {
            return false;
        }
        let Some(ahead) = cursor.ahead[cursor.at..].first_chunk::<{ WORDS * 8 }>() else {
            return cursor.text[cursor.at..].starts_with(&self.lead);
        };
        let (chunks, _) = ahead.as_chunks::<8>();
        let differs = |at: usize| (u64::from_le_bytes(chunks[at]) ^ self.words[at]) & self.masks[at];
        if differs(0) | differs(1) != 0 {
            return false;
        }
        let length = self.lead.len();
        length <= 16
            || (differs(2) | differs(3) == 0
                && (length <= WORDS * 8 || cursor.text[cursor.at..].starts_with(&self.lead)))
    }
}

impl Shape {
    /// The field whose lead is under the cursor, tried from `step` on, and the step after it. The cursor is on the
    /// value then.
    #[inline(always)]
    pub(super) fn predict(&self, step: usize, first: bool, cursor: &mut Cursor<'_>) -> Option<(usize, FieldId)> {
        let expected = self.steps.get(step)?;
        if expected.matches(cursor, first) {
            cursor.at += expected.lead.len();
            return Some((step + 1, expected.field));
        }
        self.predict_later(step + 1, first, cursor)
    }

    fn predict_later(&self, step: usize, first: bool, cursor: &mut Cursor<'_>) -> Option<(usize, FieldId)> {
        let (left_out, found) = self
            .steps
            .iter()
            .skip(step)
            .take(MAX_LEFT_OUT)
            .enumerate()
            .find(|(_, step)| step.matches(cursor, first))?;
        cursor.at += found.lead.len();
        Some((step + left_out + 1, found.field))
    }

    /// Remembers a lead that was read strictly where `step` was expected; returns the step after it.
    #[cold]
    pub(super) fn learn(&mut self, step: usize, lead: &[u8], first: bool, field: FieldId) -> usize {
        let known = |other: &Step| other.first == first && *other.lead == *lead && other.field == field;
        if let Some(known) = self.steps.iter().position(known) {
            return known + 1;
        }
        if self.steps.len() == MAX_STEPS {
            self.steps.clear();
        }
        let step = step.min(self.steps.len());
        self.steps.insert(step, Step::new(lead, first, field));
        step + 1
    }
}
