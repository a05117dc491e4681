//! Masking by hand.

use std::fmt::Write;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit, Mac};
use millstream_sdk::prelude::*;
use sha2::Sha256;
use siphasher::sip::SipHasher24;

/// What is masked.
#[derive(Input)]
pub struct Order<'a> {
    user_id: i64,
    email: Option<&'a str>,
    ip: Option<&'a str>,
}

/// What stands in its place.
#[derive(Output)]
pub struct Masked {
    user_id: i64,
    email: Option<String>,
    ip: Option<String>,
    note: Option<String>,
}

/// The stage.
pub struct Mask {
    token: Hmac<Sha256>,
    hash: SipHasher24,
}

impl<'a> Transform<'a> for Mask {
    type Config = ();
    type In = Order<'a>;
    type Out = Masked;

    fn new((): ()) -> Result<Self, ConfigError> {
        let key = b"correct horse battery staple 0123";
        let token = Hmac::new_from_slice(key).map_err(|_| ConfigError::new("the key is too short"))?;
        Ok(Self { token, hash: SipHasher24::new_with_key(b"0123456789abcdef") })
    }

    fn transform(&mut self, order: Order<'a>) -> Result<Emit<Masked>, Reject> {
        let mut hash = self.hash;
        hash.write(order.user_id.to_string().as_bytes());
        Ok(Emit::one(Masked {
            user_id: hash.finish().cast_signed(),
            email: order.email.map(|email| self.token(email)),
            ip: order.ip.map(truncated).transpose()?,
            note: None,
        }))
    }
}

impl Mask {
    fn token(&self, text: &str) -> String {
        let mut token = String::with_capacity(32);
        for byte in &self.token.clone().chain_update(text).finalize().into_bytes()[..16] {
            // Writing to a String does not fail.
            let _ = write!(token, "{byte:02x}");
        }
        token
    }
}

fn truncated(text: &str) -> Result<String, Reject> {
    Ok(match text.parse().or_reject("bad_ip")? {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).to_string(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80)).to_string(),
    })
}
