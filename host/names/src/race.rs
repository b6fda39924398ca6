//! Chooses among several addresses (RFC 8305, 4 and 5): the first that answers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// The delay before the next address is tried, while the earlier ones have not failed (RFC 8305, 8).
const STAGGER: Duration = Duration::from_millis(250);

/// The most addresses of one name that are tried.
const MOST: usize = 16;

/// Connects to the first of these addresses that answers. They are tried one after the other, a quarter of a second
/// apart or as soon as one has failed, with IPv6 and IPv4 alternating. The caller decides how long to wait in total.
///
/// # Errors
/// The last failure, when all have failed.
pub async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut left = by_turns(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match left.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            biased;
            Some(ended) = attempts.next() => match ended {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(STAGGER), if left.len() > 0 => {}
        }
    }
}

/// Alternates families, IPv6 first (RFC 8305, 4), each family in its original order.
fn by_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) = addresses.iter().partition(|address| address.is_ipv6());
    let mut mixed = Vec::with_capacity(addresses.len().min(MOST));
    while mixed.len() < MOST {
        let Some(next) = one.pop_front().or_else(|| other.pop_front()) else { break };
        mixed.push(next);
        if !other.is_empty() {
            std::mem::swap(&mut one, &mut other);
        }
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 1)).collect()
    }

    #[test]
    fn families_take_turns() {
        for (given, tried) in [
            (&["1.1.1.1", "2.2.2.2", "::1", "::2"][..], &["::1", "1.1.1.1", "::2", "2.2.2.2"][..]),
            (&["1.1.1.1", "2.2.2.2", "::1"], &["::1", "1.1.1.1", "2.2.2.2"]),
            (&["::1", "::2", "::3", "1.1.1.1"], &["::1", "1.1.1.1", "::2", "::3"]),
            (&["1.1.1.1", "2.2.2.2"], &["1.1.1.1", "2.2.2.2"]),
            (&[], &[]),
        ] {
            assert_eq!(by_turns(&addresses(given)), addresses(tried), "{given:?}");
        }
        assert_eq!(by_turns(&addresses(&["::1"; 40])).len(), MOST);
    }
}
