//! The resident index: every key and row of a generation in one arena, and a hash table of their places.
//!
//! Three passes over a batch, so that the memory reads of many keys are under way at once: load the slot of every key;
//! find the candidate by the hash bits in the slot (an absent key ends here); compare the key in the arena, beside which
//! the row lies.
//!
//! Memory: the bytes of keys and rows as they are stored, 2 bytes a key that has no fixed width, and 12 bytes a row for
//! the slots (8 bytes, two thirds full). It is known before anything is built (`resident_bytes`).

use std::hash::{BuildHasher, Hasher};

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::BooleanBuffer;
use hashbrown::DefaultHashBuilder;

use super::key::Keys;
use crate::error::{Error, ErrorKind, Result};

const PLACE_BITS: u32 = 40;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

/// What an index of a table of this size takes.
pub(super) fn resident_bytes(rows: u64, key_bytes: u64, row_bytes: u64, key_width: Option<usize>) -> u64 {
    let lengths = if key_width.is_some() { 0 } else { rows * 2 };
    key_bytes + row_bytes + lengths + slots_of(rows) * 8
}

fn slots_of(rows: u64) -> u64 {
    rows + rows / 2 + 1
}

/// An index over rows in memory.
pub(super) struct Resident {
    /// Keys (with their length in front, unless all have one width) and rows, back to back.
    arena: Vec<u8>,
    /// 24 bits of the hash, and the place in the arena + 1; 0 is empty. Linear probing.
    slots: Vec<u64>,
    key_width: Option<usize>,
    hasher: DefaultHashBuilder,
    rows: u64,
}

impl std::fmt::Debug for Resident {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resident")
            .field("rows", &self.rows)
            .field("arena_bytes", &self.arena.len())
            .finish_non_exhaustive()
    }
}

impl Resident {
    /// An empty index with room for this much.
    pub(super) fn with_capacity(rows: u64, key_bytes: u64, row_bytes: u64, key_width: Option<usize>) -> Result<Self> {
        let arena_bytes = resident_bytes(rows, key_bytes, row_bytes, key_width) - slots_of(rows) * 8;
        let too_large = |_| Error::new(ErrorKind::Internal, "a table larger than memory was to be made resident");
        let arena_bytes = usize::try_from(arena_bytes).map_err(too_large)?;
        let slots = usize::try_from(slots_of(rows)).map_err(too_large)?;
        Ok(Self {
            arena: Vec::with_capacity(arena_bytes),
            slots: vec![0; slots],
            key_width,
            hasher: DefaultHashBuilder::default(),
            rows: 0,
        })
    }

    /// Adds a row. Its key is not in the index yet.
    pub(super) fn insert(&mut self, key: &[u8], row: &[u8]) -> Result<()> {
        self.rows += 1;
        let place = self.arena.len() as u64 + 1;
        if place > PLACE_MASK || slots_of(self.rows) > self.slots.len() as u64 {
            return Err(Error::new(ErrorKind::Storage, "a generation holds more than its manifest says"));
        }
        match self.key_width {
            Some(width) if width == key.len() => {}
            Some(_) => return Err(Error::new(ErrorKind::Storage, "a generation holds a key of a wrong length")),
            None => {
                let length = u16::try_from(key.len())
                    .map_err(|_| Error::new(ErrorKind::Storage, "a generation holds a key that is too long"))?;
                self.arena.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(row);
        let hash = self.hash(key);
        let mut slot = self.slot_of(hash);
        while self.slots[slot] != 0 {
            slot = self.after(slot);
        }
        self.slots[slot] = tag(hash) | place;
        Ok(())
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// For each key its row (followed by more bytes), or `missing`; and whether it was found.
    pub(super) fn find<'a>(&'a self, keys: &Keys, missing: &'a [u8]) -> (Vec<&'a [u8]>, BooleanBuffer) {
        let hashes = self.hashes(keys);
        let slots: Vec<u64> = hashes.iter().map(|hash| self.slots[self.slot_of(*hash)]).collect();
        let places: Vec<u64> = hashes.iter().zip(&slots).map(|(hash, slot)| self.candidate(*hash, *slot)).collect();
        let mut rows = Vec::with_capacity(keys.rows());
        let mut found = BooleanBufferBuilder::new(keys.rows());
        for (index, place) in places.into_iter().enumerate() {
            let row = if place == 0 || !keys.is_valid(index) {
                None
            } else {
                let key = keys.get(index);
                self.row_at(place, key).or_else(|| self.find_one(hashes[index], key))
            };
            found.append(row.is_some());
            rows.push(row.unwrap_or(missing));
        }
        (rows, found.finish())
    }

    fn hashes(&self, keys: &Keys) -> Vec<u64> {
        match keys.of_one_width() {
            Some((8, bytes)) => {
                let (keys, _) = bytes.as_chunks::<8>();
                keys.iter().map(|key| self.hash_word(u64::from_ne_bytes(*key))).collect()
            }
            Some((4, bytes)) => {
                let (keys, _) = bytes.as_chunks::<4>();
                keys.iter().map(|key| self.hash_word(u64::from(u32::from_ne_bytes(*key)))).collect()
            }
            _ => (0..keys.rows()).map(|row| self.hash(keys.get(row))).collect(),
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        match (self.key_width, key) {
            (Some(8), _) if let Ok(word) = key.try_into() => self.hash_word(u64::from_ne_bytes(word)),
            (Some(4), _) if let Ok(word) = key.try_into() => self.hash_word(u64::from(u32::from_ne_bytes(word))),
            _ => {
                let mut hasher = self.hasher.build_hasher();
                hasher.write(key);
                hasher.finish()
            }
        }
    }

    #[inline]
    fn hash_word(&self, word: u64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(word);
        hasher.finish()
    }

    /// Spreads the hash over the slots, whatever their number, by its upper bits.
    #[inline]
    fn slot_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.slots.len() as u128) >> 64) as usize
    }

    #[inline]
    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// The first place whose hash bits are the key's; 0 when there is none.
    #[inline]
    fn candidate(&self, hash: u64, mut content: u64) -> u64 {
        let mut slot = self.slot_of(hash);
        while content != 0 && (content ^ tag(hash)) > PLACE_MASK {
            slot = self.after(slot);
            content = self.slots[slot];
        }
        content & PLACE_MASK
    }

    /// The row at a place, if the key there is this one.
    #[inline]
    fn row_at(&self, place: u64, key: &[u8]) -> Option<&[u8]> {
        let stored = &self.arena[place as usize - 1..];
        match self.key_width {
            Some(8) => stored.strip_prefix(<&[u8; 8]>::try_from(key).ok()?),
            Some(4) => stored.strip_prefix(<&[u8; 4]>::try_from(key).ok()?),
            Some(_) => stored.strip_prefix(key),
            None => {
                let (length, rest) = stored.split_first_chunk::<2>()?;
                if usize::from(u16::from_le_bytes(*length)) != key.len() {
                    return None;
                }
                rest.strip_prefix(key)
            }
        }
    }

    /// The rare way, when two keys share hash bits.
    #[cold]
    fn find_one(&self, hash: u64, key: &[u8]) -> Option<&[u8]> {
        let mut slot = self.slot_of(hash);
        while self.slots[slot] != 0 {
            let content = self.slots[slot];
            if (content ^ tag(hash)) <= PLACE_MASK
                && let Some(row) = self.row_at(content & PLACE_MASK, key)
            {
                return Some(row);
            }
            slot = self.after(slot);
        }
        None
    }
}

/// The lower bits of the hash (the upper ones chose the slot) above the place.
#[inline]
fn tag(hash: u64) -> u64 {
    hash << PLACE_BITS
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Int64Array};
    use millstream_sdk::LogicalType;
    use proptest::prelude::*;

    use super::*;
    use crate::dimension::key::KeyLayout;
    use crate::schema::Column;

    fn key_of(logical: LogicalType) -> KeyLayout {
        KeyLayout::new(&[Column { name: "id".to_owned(), logical, nullable: false }]).unwrap()
    }

    fn index(layout: &KeyLayout, keys: &Keys) -> Resident {
        let rows = keys.rows() as u64;
        let key_bytes = (0..keys.rows()).map(|row| keys.get(row).len() as u64).sum();
        let mut resident = Resident::with_capacity(rows, key_bytes, rows * 4, layout.width()).unwrap();
        for row in 0..keys.rows() {
            resident.insert(keys.get(row), &(row as u32).to_le_bytes()).unwrap();
        }
        assert_eq!(resident.arena.len(), resident.arena.capacity(), "the size was known before");
        resident
    }

    fn check(layout: &KeyLayout, table: ArrayRef, asked: ArrayRef, expected: &[Option<u32>]) {
        let resident = index(layout, &layout.encode(&[table]).unwrap());
        let (rows, found) = resident.find(&layout.encode(&[asked]).unwrap(), b"none");
        for (row, expected) in expected.iter().enumerate() {
            assert_eq!(found.value(row), expected.is_some(), "row {row}");
            let bytes = expected.map_or(*b"none", u32::to_le_bytes);
            assert_eq!(&rows[row][..4], &bytes, "row {row}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_found_where_a_map_finds_them(
            table in prop::collection::hash_set(-300i64..300, 0..300),
            asked in prop::collection::vec(prop::option::of(-400i64..400), 0..300),
        ) {
            let table: Vec<i64> = table.into_iter().collect();
            let map: HashMap<i64, u32> = table.iter().copied().zip(0..).collect();
            let expected: Vec<_> = asked.iter().map(|key| map.get(&(*key)?).copied()).collect();
            check(&key_of(LogicalType::Int64), Arc::new(Int64Array::from(table)), Arc::new(Int64Array::from(asked)), &expected);
        }

        #[test]
        fn bytes_are_found_where_a_map_finds_them(
            table in prop::collection::hash_set(prop::collection::vec(0u8..3, 0..6), 0..300),
            asked in prop::collection::vec(prop::option::of(prop::collection::vec(0u8..3, 0..6)), 0..300),
        ) {
            let table: Vec<Vec<u8>> = table.into_iter().collect();
            let map: HashMap<&Vec<u8>, u32> = table.iter().zip(0..).collect();
            let expected: Vec<_> = asked.iter().map(|key| map.get(key.as_ref()?).copied()).collect();
            let column = BinaryArray::from_iter_values(&table);
            check(&key_of(LogicalType::Binary), Arc::new(column), Arc::new(BinaryArray::from_iter(asked)), &expected);
        }
    }

    #[test]
    fn keys_with_the_same_hash_bits_are_told_apart() {
        let layout = key_of(LogicalType::Int64);
        let keys = layout.encode(&[Arc::new(Int64Array::from(vec![7, 8]))]).unwrap();
        let mut resident = index(&layout, &keys);
        // All slots full of key 7's place with key 8's hash bits, but for the one of key 8.
        let hash = resident.hash(keys.get(1));
        let home = resident.slot_of(hash);
        let behind = resident.after(home);
        let eight = resident.slots.iter().copied().find(|slot| slot & PLACE_MASK == 13).unwrap();
        resident.slots.fill(tag(hash) | 1);
        resident.slots[behind] = eight;
        let (rows, found) = resident.find(&layout.encode(&[Arc::new(Int64Array::from(vec![8]))]).unwrap(), b"none");
        assert!(found.value(0));
        assert_eq!(&rows[0][..4], &1u32.to_le_bytes());
    }
}
