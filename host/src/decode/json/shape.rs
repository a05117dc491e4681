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
/// Leads up to this length, which most are, are compared as one wide word.
const WIDE: usize = 16;

/// The order of an object's fields.
#[derive(Debug, Default)]
pub(in crate::decode) struct Shape {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    /// The first bytes of `lead`, and which bits of them count.
    word: u128,
    mask: u128,
    /// Everything between the value before, or the object's brace, and this value. It was read strictly once.
    lead: Box<[u8]>,
    /// Whether the object begins with it: only then it has no comma.
    first: bool,
    field: FieldId,
}

impl Step {
    fn new(lead: &[u8], first: bool, field: FieldId) -> Self {
        let (mut word, mut mask) = ([0; WIDE], [0; WIDE]);
        for (at, byte) in lead.iter().enumerate().take(WIDE) {
            (word[at], mask[at]) = (*byte, 0xff);
        }
        let (word, mask) = (u128::from_le_bytes(word), u128::from_le_bytes(mask));
        Self { word, mask, lead: lead.into(), first, field }
    }

    #[inline(always)]
    fn matches(&self, cursor: &Cursor<'_>, first: bool) -> bool {
        let length = self.lead.len();
        if self.first != first || length > cursor.text.len() - cursor.at {
            return false;
        }
        match cursor.ahead[cursor.at..].first_chunk() {
            Some(ahead) if (u128::from_le_bytes(*ahead) ^ self.word) & self.mask != 0 => false,
            Some(_) if length <= WIDE => true,
            _ => cursor.text[cursor.at..].starts_with(&self.lead),
        }
    }
}

impl Shape {
    /// The field of `step`, if its lead is under the cursor, and the step after it. The cursor is on the value then, or
    /// on blanks in front of it.
    #[inline(always)]
    pub(super) fn predict(&self, step: usize, first: bool, cursor: &mut Cursor<'_>) -> Option<(usize, FieldId)> {
        let expected = self.steps.get(step).filter(|expected| expected.matches(cursor, first))?;
        cursor.at += expected.lead.len();
        Some((step + 1, expected.field))
    }

    /// As `predict`, for the few steps from `step` on: fields were left out.
    pub(super) fn predict_later(&self, step: usize, first: bool, cursor: &mut Cursor<'_>) -> Option<(usize, FieldId)> {
        let mut later = self.steps.iter().enumerate().skip(step).take(MAX_LEFT_OUT);
        let (at, found) = later.find(|(_, step)| step.matches(cursor, first))?;
        cursor.at += found.lead.len();
        Some((at + 1, found.field))
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
