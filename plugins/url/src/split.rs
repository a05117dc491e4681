//! An address taken apart: slices of its text.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The parts of an address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Address<'a> {
    /// `https`, as it stands there.
    pub scheme: &'a str,
    /// Without user, password and port; an IPv6 address keeps its brackets.
    pub host: &'a str,
    /// The port, when the address names one.
    pub port: Option<i32>,
    /// From the first `/` to the query; empty when there is none.
    pub path: &'a str,
    /// Behind `?`; empty when there is none.
    pub query: &'a str,
    /// Behind `#`.
    pub fragment: Option<&'a str>,
    /// Everything in front of the query.
    pub page: &'a str,
}

impl<'a> Address<'a> {
    /// Takes a text apart; none when it lacks a scheme or a host, or names a port that is none.
    #[inline]
    pub fn split(text: &'a str) -> Option<Self> {
        let colon = text.find("://")?;
        let scheme = &text[..colon];
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme) {
            return None;
        }
        let start = colon + 3;
        let rest = &text[start..];
        let end_of_authority = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end_of_authority);
        let (host, port) = host_and_port(authority)?;
        let end_of_path = behind.bytes().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(behind.len());
        let (path, behind) = behind.split_at(end_of_path);
        let page = &text[..start + end_of_authority + end_of_path];
        let (query, fragment) = match behind.split_once('#') {
            Some((query, fragment)) => (query, Some(fragment)),
            None => (behind, None),
        };
        let query = query.strip_prefix('?').unwrap_or("");
        Some(Self { scheme, host, port, path, query, fragment, page })
    }
}

/// Host and port of `user:password@host:port`.
#[inline]
fn host_and_port(authority: &str) -> Option<(&str, Option<i32>)> {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let end_of_host = match authority.strip_prefix('[') {
        Some(inner) => inner.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, behind) = authority.split_at(end_of_host);
    let port = match behind.strip_prefix(':') {
        None if behind.is_empty() => None,
        None => return None,
        // `https://host:/` names none.
        Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(i32::from(port.parse::<u16>().ok()?)),
        Some(_) => return None,
    };
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    is_host.then_some((host, port))
}

/// The value of the first parameter of that name, as it stands there. A name that is written with `%` is decoded.
pub fn value_of<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|parameter| {
        let (found, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_it = found == name || (found.contains(['%', '+']) && decoded(found) == name);
        is_it.then_some(value)
    })
}

/// `%20` and `+` become what they stand for; bytes that are no text become `U+FFFD`.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let blanks = text.replace('+', " ");
    percent_decode_str(&blanks).decode_utf8_lossy().into_owned().into()
}
