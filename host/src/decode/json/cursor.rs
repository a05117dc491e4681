//! Reading JSON text from left to right, strictly (RFC 8259). Its input is UTF-8 already. What is skipped is checked
//! like what is read: escapes, surrogates, numbers, depth.

use crate::decode::flaw::{Checked, Flaw, Reason, shortened};
use crate::decode::number::{Number, Writing, plain_integer};
use crate::decode::text::hex;

/// Objects and arrays may be this deep, the record itself included: what serde_json takes as well.
const MAX_DEPTH: usize = 127;

/// A place in a record.
#[derive(Debug)]
pub(in crate::decode) struct Cursor<'a> {
    /// The record.
    pub(super) text: &'a [u8],
    /// The record and what follows it in the block, so that wide loads may reach over the record's end.
    pub(super) ahead: &'a [u8],
    pub(super) at: usize,
    depth: usize,
}

/// Where the first byte stands that ends a run of plain characters: a quote, a backslash or a control character. In
/// this form the compiler makes a few vector instructions of it.
#[inline(always)]
fn first_mark(chunk: &[u8; 16]) -> Option<usize> {
    let mark = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    let marks: [u8; 16] = std::array::from_fn(|at| if mark(chunk[at]) { 0xff } else { 0 });
    let marks = u128::from_le_bytes(marks);
    if marks == 0 { None } else { Some((marks.trailing_zeros() / 8) as usize) }
}

impl<'a> Cursor<'a> {
    /// The record at `start..end` of a block's bytes.
    pub(in crate::decode) fn new(block: &'a [u8], start: usize, end: usize) -> Self {
        Self { text: &block[start..end], ahead: &block[start..], at: 0, depth: 0 }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline(always)]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(byte @ ..=b' ') = self.peek()
            && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
        {
            self.at += 1;
        }
    }

    /// The record is not JSON.
    #[cold]
    pub(super) fn broken(&self, expected: &str) -> Box<Flaw> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = match rest {
            [] => "the end of the record".to_owned(),
            [0xef, 0xbb, 0xbf, ..] => "a byte order mark".to_owned(),
            _ => shortened(rest),
        };
        Flaw::new(Reason::BadJson, format!("byte {}: {expected} expected, found {found}", self.at))
    }

    /// Goes into an object or array, whose first byte is under the cursor.
    #[inline]
    pub(super) fn enter(&mut self) -> Checked<()> {
        if self.depth == MAX_DEPTH {
            return Err(Flaw::new(Reason::TooDeep, format!("byte {}: more than {MAX_DEPTH} levels", self.at)));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Comes out of an object or array, whose last byte is under the cursor.
    #[inline]
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    /// Between two items of an array, or in front of the first one: whether another one follows. At its end the
    /// cursor has left the array.
    pub(super) fn next_item(&mut self, first: bool) -> Checked<bool> {
        self.another(first, b']', "`,` or `]`")
    }

    /// Whether another one follows, with the cursor on it; at the end, behind `close`.
    #[inline]
    fn another(&mut self, first: bool, close: u8, expected: &'static str) -> Checked<bool> {
        self.skip_blanks();
        match self.peek() {
            Some(byte) if byte == close => {
                self.leave();
                return Ok(false);
            }
            Some(b',') if !first => {
                self.at += 1;
                self.skip_blanks();
            }
            _ if first => {}
            _ => return Err(self.broken(expected)),
        }
        Ok(true)
    }

    /// The number under the cursor.
    pub(super) fn number(&mut self) -> Checked<Number<'a>> {
        match Number::read(&self.text[self.at..], Writing::Json) {
            Some(number) => {
                self.at += number.text.len();
                Ok(number)
            }
            None => Err(self.broken("a number")),
        }
    }

    /// The integer under the cursor when it is written as most are: at most 18 digits, no point, no exponent. None: the
    /// cursor has not moved, and `number` says what there is.
    #[inline]
    pub(super) fn plain_integer(&mut self) -> Option<i64> {
        let (value, length) = plain_integer(self.text.get(self.at..)?)?;
        self.at += length;
        Some(value)
    }

    /// Where the run of plain characters from `at` ends.
    #[inline]
    fn plain_end(&self, mut at: usize) -> usize {
        while let Some(chunk) = self.ahead.get(at..).and_then(|rest| rest.first_chunk()) {
            if let Some(mark) = first_mark(chunk) {
                return (at + mark).min(self.text.len());
            }
            at += chunk.len();
        }
        while self.text.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
            at += 1;
        }
        at.min(self.text.len())
    }

    /// Reads the string whose opening quote is under the cursor when it has no escapes: most have none.
    #[inline]
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        let start = self.at + 1;
        let end = self.plain_end(start);
        if self.text.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(&self.text[start..end])
    }

    /// Reads any string: hands its parts, decoded, to `part`.
    #[inline(never)]
    fn string_parts(&mut self, part: &mut dyn FnMut(&[u8])) -> Checked<()> {
        self.at += 1;
        loop {
            let end = self.plain_end(self.at);
            part(&self.text[self.at..end]);
            self.at = end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let mut utf8 = [0; 4];
                    part(self.escape()?.encode_utf8(&mut utf8).as_bytes());
                }
                _ => return Err(self.broken("the string's end")),
            }
        }
    }

    /// Appends the string under the cursor, decoded.
    #[inline]
    pub(super) fn string_into(&mut self, target: &mut Vec<u8>) -> Checked<()> {
        if let Some(plain) = self.plain_string() {
            target.extend_from_slice(plain);
            return Ok(());
        }
        self.string_parts(&mut |part| target.extend_from_slice(part))
    }

    /// The string under the cursor, decoded; in `scratch` when it has escapes.
    pub(super) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Checked<&'s [u8]>
    where
        'a: 's,
    {
        if let Some(plain) = self.plain_string() {
            return Ok(plain);
        }
        scratch.clear();
        self.string_parts(&mut |part| scratch.extend_from_slice(part))?;
        Ok(scratch)
    }

    /// The character of the escape whose backslash is under the cursor.
    #[cold]
    fn escape(&mut self) -> Checked<char> {
        let c = match self.text.get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.broken("an escape")),
        };
        self.at += 2;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Checked<char> {
        let first = self.code_unit(self.at).ok_or_else(|| self.broken("four hexadecimal digits"))?;
        let length = if (0xd800..0xdc00).contains(&first) { 12 } else { 6 };
        let units = [Some(first), if length == 12 { self.code_unit(self.at + 6) } else { None }];
        match char::decode_utf16(units.into_iter().flatten()).next() {
            Some(Ok(c)) => {
                self.at += length;
                Ok(c)
            }
            _ => Err(self.broken("a pair of surrogates")),
        }
    }

    /// The UTF-16 code unit of the `\uXXXX` at `at`.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0_u16, |unit, byte| Some(unit << 4 | u16::from(hex(*byte)?)))
    }

    /// Steps over the value under the cursor.
    #[inline]
    pub(super) fn skip_value(&mut self) -> Checked<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ => self.skip_other(),
        }
    }

    #[inline]
    fn skip_number(&mut self) -> Checked<()> {
        match self.plain_integer() {
            Some(_) => Ok(()),
            None => self.number().map(drop),
        }
    }

    #[inline(never)]
    fn skip_other(&mut self) -> Checked<()> {
        match self.peek() {
            Some(b'{') => self.skip_object(),
            Some(b'[') => {
                self.enter()?;
                let mut first = true;
                while self.next_item(first)? {
                    self.skip_value()?;
                    first = false;
                }
                Ok(())
            }
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.broken("a value")),
        }
    }

    #[inline]
    pub(super) fn skip_string(&mut self) -> Checked<()> {
        match self.plain_string() {
            Some(_) => Ok(()),
            None => self.string_parts(&mut |_| ()),
        }
    }

    #[inline]
    pub(super) fn literal(&mut self, word: &[u8]) -> Checked<()> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.broken("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_object(&mut self) -> Checked<()> {
        self.enter()?;
        let mut first = true;
        while self.next_key(first)? {
            self.skip_string()?;
            self.colon()?;
            self.skip_value()?;
            first = false;
        }
        Ok(())
    }

    /// Between two fields of an object, or in front of the first one: whether another one follows, with the cursor on
    /// its key's quote. At its end the cursor has left the object.
    #[inline]
    pub(super) fn next_key(&mut self, first: bool) -> Checked<bool> {
        if !self.another(first, b'}', "`,` or `}`")? {
            return Ok(false);
        }
        if self.peek() == Some(b'"') { Ok(true) } else { Err(self.broken("a key")) }
    }

    /// From behind a key to its value.
    #[inline]
    pub(super) fn colon(&mut self) -> Checked<()> {
        self.skip_blanks();
        if self.peek() != Some(b':') {
            return Err(self.broken("`:`"));
        }
        self.at += 1;
        self.skip_blanks();
        Ok(())
    }

    /// Nothing but blanks may follow the record's object.
    pub(in crate::decode) fn end(&mut self) -> Checked<()> {
        self.skip_blanks();
        if self.at < self.text.len() { Err(self.broken("the end of the record")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::json_text::{broken_json, json};

    /// Whether serde_json takes the text; none when it stopped at a number that is too large for its `f64`, which is
    /// JSON all the same.
    fn oracle(text: &[u8]) -> Option<bool> {
        match serde_json::from_slice::<serde_json::Value>(text) {
            Ok(_) => Some(true),
            Err(error) if error.to_string().starts_with("number out of range") => None,
            Err(_) => Some(false),
        }
    }

    fn skips(text: &[u8]) -> bool {
        let mut cursor = Cursor::new(text, 0, text.len());
        cursor.skip_blanks();
        cursor.skip_value().and_then(|()| cursor.end()).is_ok()
    }

    #[test]
    fn nesting_ends_where_the_oracle_ends() {
        for depth in [1, 126, 127, 128, 129, 100_000] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(Some(skips(text.as_bytes())), oracle(text.as_bytes()), "{depth}");
        }
    }

    proptest! {
        #[test]
        fn the_plain_run_ends_at_the_first_mark(text: Vec<u8>, at in 0_usize..40, cut in 0_usize..40) {
            let (at, cut) = (at.min(text.len()), cut.min(text.len()));
            let cursor = Cursor::new(&text, 0, text.len() - cut);
            let expected = (at..text.len() - cut).find(|&at| matches!(text[at], b'"' | b'\\' | 0..0x20));
            let found = cursor.plain_end(at);
            prop_assert_eq!(found, expected.unwrap_or(text.len() - cut));
        }

        #[test]
        fn json_is_what_serde_json_takes(value in json()) {
            prop_assert!(skips(value.as_bytes()), "{value}");
        }

        #[test]
        fn what_serde_json_refuses_is_refused(text in broken_json()) {
            if let Some(expected) = oracle(text.as_bytes()) {
                prop_assert_eq!(skips(text.as_bytes()), expected, "{}", text);
            }
        }
    }
}
