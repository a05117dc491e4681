//! Whether a buffer of text is UTF-8. Every buffer of text that the host sends is checked, once a batch: the host checked
//! it before, but a wrong host must not make undefined behaviour out of safe code.

/// The buffer as text; `None` when it is not UTF-8.
pub fn check(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
