//! Bitmaps, least significant bit first, as Arrow has them.

/// Whether a bit is set; false behind the end.
#[inline(always)]
pub fn is_set(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index >> 3).is_some_and(|byte| byte >> (index & 7) & 1 == 1)
}

/// A bitmap that grows.
#[derive(Debug, Default)]
pub struct Bits {
    bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    /// An empty bitmap with room for `bits`.
    pub fn with_capacity(bits: usize) -> Self {
        Self { bytes: Vec::with_capacity(bits.div_ceil(8)), len: 0 }
    }

    /// Adds one bit.
    #[inline(always)]
    pub fn push(&mut self, bit: bool) {
        if self.len & 7 == 0 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (self.len & 7);
        }
        self.len += 1;
    }

    /// The bitmap.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// The bitmap of these bits.
pub fn pack(set: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    set.chunks(8).map(byte).collect()
}

/// A column's validity: nothing is stored until the first null.
#[derive(Debug, Default)]
pub struct Validity {
    bits: Bits,
    valid_so_far: usize,
    any_null: bool,
}

impl Validity {
    /// Adds a row that is not null.
    #[inline(always)]
    pub fn push_valid(&mut self) {
        if self.any_null { self.bits.push(true) } else { self.valid_so_far += 1 }
    }

    /// Adds a null row.
    pub fn push_null(&mut self) {
        if !self.any_null {
            self.any_null = true;
            self.bits = Bits { bytes: vec![0xff; self.valid_so_far / 8], len: self.valid_so_far / 8 * 8 };
            for _ in self.bits.len..self.valid_so_far {
                self.bits.push(true);
            }
        }
        self.bits.push(false);
    }

    /// The bitmap; empty when nothing is null.
    pub fn finish(self) -> Vec<u8> {
        self.bits.finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_validity_says_what_was_pushed(rows in prop::collection::vec(any::<bool>(), 0..200)) {
            let mut validity = Validity::default();
            for valid in &rows {
                if *valid { validity.push_valid() } else { validity.push_null() }
            }
            let packed = pack(&rows);
            let bitmap = validity.finish();
            if rows.iter().all(|valid| *valid) {
                prop_assert!(bitmap.is_empty());
            } else {
                prop_assert_eq!(&packed, &bitmap);
                prop_assert_eq!(bitmap.len(), rows.len().div_ceil(8));
                for (row, valid) in rows.iter().enumerate() {
                    prop_assert_eq!(is_set(&bitmap, row), *valid, "row {}", row);
                }
                for padding in rows.len()..bitmap.len() * 8 {
                    prop_assert!(!is_set(&bitmap, padding));
                }
            }
        }
    }

    #[test]
    fn a_bit_behind_the_end_is_not_set() {
        assert!(!is_set(&[0xff], 8));
    }
}
