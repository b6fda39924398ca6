//! The static table (RFC 9204 appendix A).

/// Names and values in the order of their indices.
#[rustfmt::skip]
pub(crate) static ENTRIES: [(&str, &str); 99] = [
    (":authority", ""),
    (":path", "/"),
    ("age", "0"),
    ("content-disposition", ""),
    ("content-length", "0"),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("referer", ""),
    ("set-cookie", ""),
    (":method", "CONNECT"),
    (":method", "DELETE"),
    (":method", "GET"),
    (":method", "HEAD"),
    (":method", "OPTIONS"),
    (":method", "POST"),
    (":method", "PUT"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "103"),
    (":status", "200"),
    (":status", "304"),
    (":status", "404"),
    (":status", "503"),
    ("accept", "*/*"),
    ("accept", "application/dns-message"),
    ("accept-encoding", "gzip, deflate, br"),
    ("accept-ranges", "bytes"),
    ("access-control-allow-headers", "cache-control"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-allow-origin", "*"),
    ("cache-control", "max-age=0"),
    ("cache-control", "max-age=2592000"),
    ("cache-control", "max-age=604800"),
    ("cache-control", "no-cache"),
    ("cache-control", "no-store"),
    ("cache-control", "public, max-age=31536000"),
    ("content-encoding", "br"),
    ("content-encoding", "gzip"),
    ("content-type", "application/dns-message"),
    ("content-type", "application/javascript"),
    ("content-type", "application/json"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "image/gif"),
    ("content-type", "image/jpeg"),
    ("content-type", "image/png"),
    ("content-type", "text/css"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-type", "text/plain"),
    ("content-type", "text/plain;charset=utf-8"),
    ("range", "bytes=0-"),
    ("strict-transport-security", "max-age=31536000"),
    ("strict-transport-security", "max-age=31536000; includesubdomains"),
    ("strict-transport-security", "max-age=31536000; includesubdomains; preload"),
    ("vary", "accept-encoding"),
    ("vary", "origin"),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
    (":status", "100"),
    (":status", "204"),
    (":status", "206"),
    (":status", "302"),
    (":status", "400"),
    (":status", "403"),
    (":status", "421"),
    (":status", "425"),
    (":status", "500"),
    ("accept-language", ""),
    ("access-control-allow-credentials", "FALSE"),
    ("access-control-allow-credentials", "TRUE"),
    ("access-control-allow-headers", "*"),
    ("access-control-allow-methods", "get"),
    ("access-control-allow-methods", "get, post, options"),
    ("access-control-allow-methods", "options"),
    ("access-control-expose-headers", "content-length"),
    ("access-control-request-headers", "content-type"),
    ("access-control-request-method", "get"),
    ("access-control-request-method", "post"),
    ("alt-svc", "clear"),
    ("authorization", ""),
    ("content-security-policy", "script-src 'none'; object-src 'none'; base-uri 'none'"),
    ("early-data", "1"),
    ("expect-ct", ""),
    ("forwarded", ""),
    ("if-range", ""),
    ("origin", ""),
    ("purpose", "prefetch"),
    ("server", ""),
    ("timing-allow-origin", "*"),
    ("upgrade-insecure-requests", "1"),
    ("user-agent", ""),
    ("x-forwarded-for", ""),
    ("x-frame-options", "deny"),
    ("x-frame-options", "sameorigin"),
];

/// The match of the static table for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaticMatch {
    /// An entry with this name and value.
    Field(u64),
    /// An entry with this name; the first of them.
    Name(u64),
    Nothing,
}

/// Looks a field up in constant time.
pub(crate) fn find(name: &[u8], value: &[u8]) -> StaticMatch {
    let mut slot = hash(name);
    loop {
        let first = FIRST_BY_NAME[slot];
        if first == VACANT {
            return StaticMatch::Nothing;
        }
        if ENTRIES[usize::from(first)].0.as_bytes() == name {
            let mut candidate = first;
            while candidate != VACANT {
                if ENTRIES[usize::from(candidate)].1.as_bytes() == value {
                    return StaticMatch::Field(u64::from(candidate));
                }
                candidate = NEXT_OF_NAME[usize::from(candidate)];
            }
            return StaticMatch::Name(u64::from(first));
        }
        slot = (slot + 1) % SLOTS;
    }
}

const VACANT: u8 = u8::MAX;
/// More than twice the number of names, so that chains stay short.
const SLOTS: usize = 256;

/// An open-addressing hash table over names: the index of each name's first entry.
static FIRST_BY_NAME: [u8; SLOTS] = indexes().0;
/// For each entry the next one with the same name.
static NEXT_OF_NAME: [u8; ENTRIES.len()] = indexes().1;

/// Hashes a name. The keys are fixed, so it need not resist chosen names: every probe ends after a known chain.
const fn hash(name: &[u8]) -> usize {
    if name.is_empty() {
        return 0;
    }
    let first = name[0] as usize;
    let middle = name[name.len() / 2] as usize;
    let last = name[name.len() - 1] as usize;
    (name.len() * 7 + first * 31 + middle * 101 + last * 13) % SLOTS
}

const fn indexes() -> ([u8; SLOTS], [u8; ENTRIES.len()]) {
    let mut first_by_name = [VACANT; SLOTS];
    let mut next_of_name = [VACANT; ENTRIES.len()];
    // From the back, so that each name's chain starts at its lowest index.
    let mut index = ENTRIES.len();
    while index > 0 {
        index -= 1;
        let name = ENTRIES[index].0.as_bytes();
        let mut slot = hash(name);
        while first_by_name[slot] != VACANT && !same(ENTRIES[first_by_name[slot] as usize].0.as_bytes(), name) {
            slot = (slot + 1) % SLOTS;
        }
        next_of_name[index] = first_by_name[slot];
        first_by_name[slot] = index as u8;
    }
    (first_by_name, next_of_name)
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_its_name_leads_to_the_first() {
        for (index, (name, value)) in ENTRIES.iter().enumerate() {
            assert_eq!(find(name.as_bytes(), value.as_bytes()), StaticMatch::Field(index as u64));
            let first = ENTRIES.iter().position(|entry| entry.0 == *name).unwrap();
            assert_eq!(find(name.as_bytes(), b"no such value"), StaticMatch::Name(first as u64));
        }
    }

    #[test]
    fn other_names_are_not_found() {
        for name in ["", ":", "x-custom", ":statu", ":statuses", "Accept", "xserve"] {
            assert_eq!(find(name.as_bytes(), b""), StaticMatch::Nothing, "{name}");
        }
    }

    /// Spot checks against the printed table of RFC 9204 appendix A.
    #[test]
    fn indices_are_those_of_the_rfc() {
        for (index, entry) in [
            (0, (":authority", "")),
            (1, (":path", "/")),
            (17, (":method", "GET")),
            (25, (":status", "200")),
            (54, ("content-type", "text/plain;charset=utf-8")),
            (63, (":status", "100")),
            (84, ("authorization", "")),
            (98, ("x-frame-options", "sameorigin")),
        ] {
            assert_eq!(ENTRIES[index], entry);
        }
    }
}
