//! Hashes and tokens under a key.
//!
//! With a domain, the key is HMAC-SHA-256(key, domain) in place of the key itself. A token is the first bytes of
//! HMAC-SHA-256(key, value); a hash is SipHash-2-4 of the value, as a signed number, whose 16 bytes of key are the first
//! of HMAC-SHA-256(key, "siphash"). So whoever has the key can make the same outside of Millstream.

use std::hash::Hasher;

use hmac::{Hmac, KeyInit, Mac};
use millstream_sdk::Varlen;
use sha2::Sha256;
use siphasher::sip::SipHasher24;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Its state is that after the key: a value costs no more than its own blocks.
fn mac(key: &str, domain: Option<&str>) -> Hmac<Sha256> {
    match domain {
        None => keyed(key.as_bytes()),
        Some(domain) => keyed(&keyed(key.as_bytes()).chain_update(domain).finalize().into_bytes()),
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length.
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => panic!("HMAC refused the length of a key"),
    }
}

/// A number for each value.
pub struct Hash {
    empty: SipHasher24,
}

impl Hash {
    /// Hashes under this key.
    pub fn new(key: &str, domain: Option<&str>) -> Self {
        let bytes: [u8; 32] = mac(key, domain).chain_update("siphash").finalize().into_bytes().into();
        let (first, _) = bytes.as_chunks::<16>();
        Self { empty: SipHasher24::new_with_key(&first[0]) }
    }

    /// The number of a value.
    #[inline]
    pub fn of(&self, value: &[u8]) -> i64 {
        let mut hasher = self.empty;
        hasher.write(value);
        hasher.finish().cast_signed()
    }
}

/// A text for each value.
pub struct Token {
    mac: Hmac<Sha256>,
    bytes: usize,
}

impl Token {
    /// Tokens of that many bytes under this key.
    pub fn new(key: &str, domain: Option<&str>, bytes: usize) -> Self {
        Self { mac: mac(key, domain), bytes }
    }

    /// The length of a token.
    pub fn digits(&self) -> usize {
        2 * self.bytes
    }

    /// Adds the token of a value.
    #[inline]
    pub fn push(&self, value: &[u8], tokens: &mut Varlen) {
        let mut digits = [0; 64];
        let bytes = self.mac.clone().chain_update(value).finalize().into_bytes();
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        tokens.push(&digits[..2 * self.bytes]);
    }
}
