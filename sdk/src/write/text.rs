//! Text and bytes, plain or, for text that repeats, as a dictionary.

use std::borrow::Cow;
use std::hash::{BuildHasher, BuildHasherDefault};

use hashbrown::HashTable;
use rustc_hash::FxHasher;

use super::{WriteValue, offset};
use crate::column_type::Repeated;
use crate::columns::{Dictionary, Node, Values, Varlen};

/// Bytes a value that a new column makes room for.
const EXPECTED_BYTES_A_VALUE: usize = 16;

/// As many guesses as fit the dictionaries for which it pays off.
const GUESS_BITS: u32 = 7;

/// A column of bytes or text.
#[derive(Debug)]
pub struct BytesBuilder {
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl BytesBuilder {
    fn with_capacity(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self { offsets, data: Vec::with_capacity(rows * EXPECTED_BYTES_A_VALUE) }
    }

    #[inline(always)]
    fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.offsets.push(offset(self.data.len()));
    }

    #[inline(always)]
    fn get(&self, slot: u32) -> Option<&[u8]> {
        let slot = slot as usize;
        let (start, end) = (*self.offsets.get(slot)?, *self.offsets.get(slot + 1)?);
        self.data.get(start as usize..end as usize)
    }

    fn finish(self) -> Varlen {
        Varlen { offsets: self.offsets, data: self.data }
    }
}

/// A column of text that is written as a dictionary: each distinct value is kept once.
#[derive(Debug)]
pub struct RepeatedTextBuilder {
    codes: Vec<u32>,
    values: BytesBuilder,
    code_of_value: HashTable<u32>,
    hasher: BuildHasherDefault<FxHasher>,
    /// By a hash of the text's address, the code that was last given to text that began there: rows that borrow from the
    /// dictionary of an input column point at the same few places. It is a guess, compared with the text before use.
    guesses: [u32; 1 << GUESS_BITS],
}

impl RepeatedTextBuilder {
    fn with_capacity(rows: usize) -> Self {
        Self {
            codes: Vec::with_capacity(rows),
            values: BytesBuilder::with_capacity(0),
            code_of_value: HashTable::new(),
            hasher: BuildHasherDefault::default(),
            guesses: [0; 1 << GUESS_BITS],
        }
    }

    #[inline]
    fn push(&mut self, value: &str) {
        let address = value.as_ptr().addr() as u32;
        let guess = (address.wrapping_mul(0x9e37_79b1) >> (32 - GUESS_BITS)) as usize;
        let code = self.guesses[guess];
        if self.values.get(code) == Some(value.as_bytes()) {
            self.codes.push(code);
        } else {
            let code = self.code(value.as_bytes());
            self.guesses[guess] = code;
            self.codes.push(code);
        }
    }

    fn code(&mut self, value: &[u8]) -> u32 {
        let Self { values, code_of_value, hasher, .. } = self;
        let hash = hasher.hash_one(value);
        if let Some(code) = code_of_value.find(hash, |code| values.get(*code) == Some(value)) {
            return *code;
        }
        let code = offset(values.offsets.len() - 1);
        values.push(value);
        code_of_value.insert_unique(hash, code, |code| hasher.hash_one(values.get(*code).unwrap_or_default()));
        code
    }
}

macro_rules! write_varlen {
    ($($rust:ty, $value:ident => $bytes:expr;)*) => {$(
        impl WriteValue for $rust {
            type Builder = BytesBuilder;

            fn builder(rows: usize) -> Self::Builder {
                BytesBuilder::with_capacity(rows)
            }

            #[inline(always)]
            fn write(self, builder: &mut Self::Builder) {
                let $value = &self;
                builder.push($bytes);
            }

            #[inline]
            fn write_null(builder: &mut Self::Builder) {
                builder.push(&[]);
            }

            fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
                nodes.push(Values::Varlen(builder.finish()).into());
            }
        }
    )*};
}

write_varlen! {
    &str, text => text.as_bytes();
    String, text => text.as_bytes();
    Cow<'_, str>, text => text.as_bytes();
    &[u8], bytes => bytes;
    Vec<u8>, bytes => bytes;
    Cow<'_, [u8]>, bytes => bytes;
}

macro_rules! write_repeated {
    ($($rust:ty),*) => {$(
        impl WriteValue<Repeated> for $rust {
            type Builder = RepeatedTextBuilder;

            fn builder(rows: usize) -> Self::Builder {
                RepeatedTextBuilder::with_capacity(rows)
            }

            #[inline(always)]
            fn write(self, builder: &mut Self::Builder) {
                builder.push(&self);
            }

            #[inline]
            fn write_null(builder: &mut Self::Builder) {
                // The code means nothing; the latest one keeps a run of equal values together.
                let code = builder.codes.last().copied().unwrap_or(0);
                builder.codes.push(code);
            }

            fn finish(builder: Self::Builder, nodes: &mut Vec<Node>) {
                let RepeatedTextBuilder { codes, values, .. } = builder;
                nodes.push(Values::Dictionary(Dictionary { codes, values: values.finish() }).into());
            }
        }
    )*};
}

write_repeated!(&str, String, Cow<'_, str>);
