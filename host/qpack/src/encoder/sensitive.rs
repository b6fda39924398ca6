//! Which fields must not reach the dynamic table.
//!
//! An entry is shared by all requests of a connection. Where an attacker can both add fields to a request and see its
//! size, an indexed secret can be guessed by its compression (RFC 9204 section 7.1). The N bit keeps forwarders from
//! indexing it as well.

/// A cookie shorter than this many bytes is easily guessed whole.
const SHORT_COOKIE: usize = 20;

/// Whether a field is to be sent as a never-indexed literal.
pub(super) fn is_sensitive(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"authorization" | b"proxy-authorization" | b"set-cookie" => true,
        b"cookie" => value.len() < SHORT_COOKIE,
        _ => false,
    }
}
