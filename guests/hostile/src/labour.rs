//! Makes the host work: little for the guest, much for the host.

use roadrunner_guest::{IntoResponse, Response, Stream, routes};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::poll;
use wasip2::random::insecure::get_insecure_random_bytes;
use wasip2::random::random::get_random_bytes;

const KIB: usize = 1024;

/// A text of `kib` KiB, which is hard to compress, at once or piece by piece.
pub fn noise(kib: usize, streamed: bool) -> Response {
    let text = text(kib * KIB);
    if streamed {
        let stream = Stream::new(move |out| text.chunks(16 * KIB).try_for_each(|piece| out.write(piece)));
        return stream.into_response().header("content-type", "text/plain");
    }
    Response::buffered(text).header("content-type", "text/plain")
}

/// `n` random bytes, `times` times.
pub fn random(n: u64, times: u64, secure: bool) -> String {
    let mut taken = 0;
    for _ in 0..times {
        let bytes = if secure { get_random_bytes(n) } else { get_insecure_random_bytes(n) };
        taken += bytes.len();
    }
    format!("took {taken}\n")
}

/// Asks for the path of the route `name` with a parameter of `kib` KiB.
pub fn url_for(kib: usize) -> String {
    match routes::url_for("name", &[("rest", &"\u{e9}".repeat(kib * KIB / 2))]) {
        Ok(path) => format!("{} bytes\n", path.len()),
        Err(error) => format!("{error}\n"),
    }
}

/// Polls `n` pollables, `times` times.
pub fn polls(n: u64, times: u64) -> String {
    let mut pollables: Vec<_> = (1..n).map(|_| subscribe_duration(u64::MAX / 2)).collect();
    pollables.push(subscribe_duration(0));
    let all: Vec<_> = pollables.iter().collect();
    let ready: usize = (0..times).map(|_| poll(&all).len()).sum();
    format!("ready {ready}\n")
}

/// Letters that follow no rule.
fn text(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + (state % 23) as u8
        })
        .collect()
}
