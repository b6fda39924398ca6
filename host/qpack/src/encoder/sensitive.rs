//! Fields that must not enter the dynamic table.
//!
//! All requests of a connection share an entry. If an attacker can both add fields to a request and see its size, an
//! indexed secret can be guessed by its compression (RFC 9204 section 7.1). The N bit keeps forwarders from indexing it
//! as well.

/// A cookie shorter than this many bytes is easily guessed as a whole.
const SHORT_COOKIE: usize = 20;

/// Whether a field is to be sent as a never-indexed literal.
pub(super) fn is_sensitive(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"authorization" | b"proxy-authorization" | b"set-cookie" => true,
        b"cookie" => value.len() < SHORT_COOKIE,
        _ => false,
    }
}
