//! Streams that end well, badly or never.

use std::thread;
use std::time::Duration;

use roadrunner_guest::{Error, IntoResponse, Request, Response, StatusCode, Stream, handler, log};

#[handler]
fn stream(request: Request) -> Response {
    let query = request.query_pairs();
    let n: u64 = query.parsed("n").unwrap_or(3);
    let size: usize = query.parsed("size").unwrap_or(8);
    let pause = Duration::from_millis(query.parsed("delay").unwrap_or(0));
    let path = request.path();
    if path == "/fields" {
        let start = chunks(1, 5, Duration::ZERO).into_response();
        return query.iter().fold(start, |response, (name, value)| response.add_header(name, value));
    }
    let stream = match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["after", claim] => after(claim.parse().unwrap_or(0), pause, query.get("more").is_some()),
        ["bytes"] => bytes(n),
        ["chunks"] => chunks(n, size, pause),
        ["empty"] => Stream::new(|_| Ok(())),
        ["empty-chunks"] => Stream::new(|out| {
            for chunk in ["", "a", "", "b", ""] {
                out.write(chunk)?;
            }
            Ok(())
        }),
        ["endless"] => endless(pause),
        ["endless", "deaf"] => Stream::new(|out| -> roadrunner_guest::Result<()> {
            loop {
                let _ = out.write("again\n");
            }
        }),
        ["error"] => ends_badly(n, || Err(Error::internal("the guest gave up"))),
        ["late"] => late(Duration::from_millis(query.parsed("ms").unwrap_or(500))),
        ["length", claim] => chunks(n, size, pause).header("content-length", claim),
        ["one"] => Stream::new(move |out| out.write(vec![b'x'; size])),
        ["status", status] => chunks(n, size, pause).status(status.parse::<u16>().unwrap_or_default()),
        ["trailers"] => Stream::new(|out| {
            out.write("body\n")?;
            Ok([("x-first", "1"), ("x-second", "two")])
        })
        .trailer_names(&["x-first", "x-second"]),
        ["trap", "before"] => panic!("a trap before the head"),
        ["trap"] => ends_badly(n, || panic!("a trap after the head")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    stream.into_response()
}

/// Claims and writes so many bytes, goes on working, and perhaps writes one byte more.
fn after(claim: usize, pause: Duration, more: bool) -> Stream {
    Stream::new(move |out| {
        out.write(vec![b'x'; claim])?;
        thread::sleep(pause);
        log::info!("worked on after {claim}");
        if more { out.write("y") } else { Ok(()) }
    })
    .header("content-length", claim.to_string())
}

/// `n` bytes in chunks of 64 KiB, each byte the low byte of its offset.
fn bytes(n: u64) -> Stream {
    Stream::new(move |out| {
        let block: Vec<u8> = (0..64 * 1024).map(|at| at as u8).collect();
        let mut left = n;
        while left > 0 {
            let size = left.min(block.len() as u64);
            out.write(&block[..size as usize])?;
            left -= size;
        }
        Ok(())
    })
    .header("content-type", "application/octet-stream")
}

/// `n` chunks of `size` times the letter of the chunk, `a` first.
fn chunks(n: u64, size: usize, pause: Duration) -> Stream {
    Stream::new(move |out| {
        for chunk in 0..n {
            if chunk > 0 && !pause.is_zero() {
                thread::sleep(pause);
            }
            out.write(vec![b'a' + (chunk % 26) as u8; size])?;
        }
        Ok(())
    })
}

/// Writes until the client is gone, and logs how it learned that.
fn endless(pause: Duration) -> Stream {
    Stream::new(move |out| -> roadrunner_guest::Result<()> {
        loop {
            if let Err(error) = out.write("again\n") {
                log::info!("stream: {error}");
                return Err(error);
            }
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    })
}

/// `n` chunks, and then the end that is given.
fn ends_badly(n: u64, end: fn() -> roadrunner_guest::Result<()>) -> Stream {
    Stream::new(move |out| {
        for chunk in 0..n {
            writeln!(out, "chunk {chunk}")?;
        }
        end()
    })
}

/// A head, and a body some time after it.
fn late(wait: Duration) -> Stream {
    Stream::new(move |out| {
        thread::sleep(wait);
        out.write("late\n")
    })
}
