//! IP addresses without their last bits.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use millstream_sdk::columnwise::{Fates, Texts, Validity};
use millstream_sdk::prelude::*;
use millstream_sdk::{Column, Node, Values, Varlen};

use crate::Invalid;

/// How many bits are kept.
#[derive(Clone, Copy, Debug)]
pub struct Prefixes {
    /// Of the 32 of an IPv4 address.
    pub v4_bits: u8,
    /// Of the 128 of an IPv6 address.
    pub v6_bits: u8,
}

impl Prefixes {
    /// The address with its other bits zero. An IPv4 address that is written as IPv6 (`::ffff:1.2.3.4`) is one of IPv4.
    pub fn of(self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.v4_bits)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.v6_bits)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }

    /// The addresses of a column, shortened. The details of rejects do not show what stood there.
    pub fn truncate(self, column: &Column, name: &str, invalid: Invalid, fates: &mut Fates) -> Result<Column, Failure> {
        let texts = Texts::of(column, fates.rows() as usize)?;
        let mut values = Varlen::with_capacity(texts.slots(), 16 * texts.slots());
        let (mut validity, mut bad) = (Validity::default(), Vec::new());
        for slot in 0..texts.slots() {
            match texts.slot(slot).parse::<IpAddr>() {
                Ok(address) => {
                    // Writing to a Vec does not fail.
                    let _ = write!(values.data, "{}", self.of(address));
                    validity.push_valid();
                }
                Err(_) => {
                    validity.push_null();
                    bad.resize(texts.slots(), false);
                    bad[slot] = true;
                }
            }
            values.push(&[]);
        }
        if invalid == Invalid::Reject && !bad.is_empty() {
            for row in (0..fates.rows()).filter(|row| !texts.is_null(*row as usize)) {
                if bad[texts.slot_of(row as usize)] {
                    fates.reject(row, "bad_ip", format!("column `{name}` holds no IP address"));
                }
            }
        }
        let node = Node { validity: validity.finish(), values: Values::Varlen(values) };
        Ok(texts.spread(Column { nodes: vec![node] }))
    }
}
