//! The tables of a host: the exact one, those of wildcards over it, the one for every host.

use super::Map;
use crate::scalar::HostPattern;

/// A value for each host pattern.
#[derive(Clone, Debug)]
pub(super) struct Hosts<T> {
    exact: Map<T>,
    /// By the text after `*.`.
    wildcard: Map<T>,
    every: T,
}

/// The longest authority that is compared: a name of 253 octets, a dot, a port.
const MAX_AUTHORITY: usize = 264;

impl<T: Default> Hosts<T> {
    pub(super) fn entry(&mut self, host: Option<&HostPattern>) -> &mut T {
        match host {
            None => &mut self.every,
            Some(HostPattern::Exact(host)) => self.exact.entry(host.as_str().into()).or_default(),
            Some(HostPattern::Wildcard(host)) => self.wildcard.entry(host.as_str().into()).or_default(),
        }
    }
}

impl<T> Hosts<T> {
    pub(super) fn for_each_mut(&mut self, mut each: impl FnMut(&mut T)) {
        self.exact.values_mut().for_each(&mut each);
        self.wildcard.values_mut().for_each(&mut each);
        each(&mut self.every);
    }

    /// The values for an authority, the most specific first. Nothing is allocated.
    pub(super) fn candidates(&self, authority: Option<&str>) -> impl Iterator<Item = &T> {
        let mut buffer = [0; MAX_AUTHORITY];
        let named = self.exact.len() + self.wildcard.len() > 0;
        let host = authority.filter(|_| named).and_then(|authority| fold(authority, &mut buffer));
        let exact = host.and_then(|host| self.exact.get(host));
        // A name has at most 127 dots, and few levels of wildcards are ever configured.
        let mut wildcards = smallvec::SmallVec::<[&T; 4]>::new();
        if let Some(host) = host.filter(|_| !self.wildcard.is_empty()) {
            wildcards.extend(host.match_indices('.').filter_map(|(at, _)| self.wildcard.get(&host[at + 1..])));
        }
        exact.into_iter().chain(wildcards).chain(std::iter::once(&self.every))
    }
}

impl<T: Default> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: Map::default(), wildcard: Map::default(), every: T::default() }
    }
}

/// An authority in lower case, without port and trailing dot. `None` if no pattern can match it.
fn fold<'b>(authority: &str, buffer: &'b mut [u8; MAX_AUTHORITY]) -> Option<&'b str> {
    let host = match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand inside brackets.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let folded = buffer.get_mut(..host.len())?;
    folded.copy_from_slice(host.as_bytes());
    folded.make_ascii_lowercase();
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        // One address has many spellings; patterns hold the canonical one (RFC 5952).
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        let mut cursor = std::io::Cursor::new(&mut buffer[..]);
        std::io::Write::write_fmt(&mut cursor, format_args!("[{address}]")).ok()?;
        let length = usize::try_from(cursor.position()).ok()?;
        return std::str::from_utf8(&buffer[..length]).ok();
    }
    std::str::from_utf8(&buffer[..host.len()]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(authority: &str) -> Option<String> {
        fold(authority, &mut [0; MAX_AUTHORITY]).map(ToOwned::to_owned)
    }

    #[test]
    fn authorities_are_folded() {
        for (authority, host) in [
            ("Example.COM", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("[2001:DB8:0::1]:80", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("", ""),
        ] {
            assert_eq!(folded(authority).as_deref(), Some(host), "{authority}");
        }
        assert_eq!(folded(&"a".repeat(300)), None);
        assert_eq!(folded("[zz]"), None);
    }

    #[test]
    fn the_most_specific_comes_first() {
        let mut hosts = Hosts::<u8>::default();
        let pattern = |text| HostPattern::new(text).expect("a host");
        *hosts.entry(None) = 0;
        *hosts.entry(Some(&pattern("a.b.c"))) = 1;
        *hosts.entry(Some(&pattern("*.b.c"))) = 2;
        *hosts.entry(Some(&pattern("*.c"))) = 3;
        let order = |host| hosts.candidates(host).copied().collect::<Vec<_>>();
        assert_eq!(order(Some("a.b.c:80")), [1, 2, 3, 0]);
        assert_eq!(order(Some("x.b.c")), [2, 3, 0]);
        assert_eq!(order(Some("b.c")), [3, 0]);
        assert_eq!(order(Some("c")), [0]);
        assert_eq!(order(None), [0]);
    }
}
