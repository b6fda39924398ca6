//! Buffered responses: right ones, and those that break a rule of HTTP on purpose.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use roadrunner_guest::log::{Level, write};
use roadrunner_guest::{Fields, IntoResponse, Redirect, Request, Response, SetCookie, StatusCode, handler};

#[handler]
fn answer(request: Request) -> Response {
    let path = request.path();
    let query = request.query_pairs();
    let fields: Fields = query.iter().collect();
    match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["cookie"] => match "ok\n".into_response().cookie(&SetCookie::new("id", "1").path("/").http_only()) {
            Ok(response) => response,
            Err(error) => error.into_response(),
        },
        ["counter"] => format!("{}\n", counter()).into_response(),
        ["headers"] => {
            fields.iter().fold("ok\n".into_response(), |response, (name, value)| response.add_header(name, value))
        }
        // The first number is KiB of head, in fields of 1 KiB each; the second is MiB of body.
        ["large", kib, mib] => (0..number(kib))
            .fold(Response::buffered(vec![b'x'; number::<usize>(mib) << 20]), |response, field: u32| {
                response.add_header(format!("x-large-{field}"), "x".repeat(1000))
            }),
        ["length", claim] => Response::buffered("12345\n").header("content-length", claim),
        ["log", level] => log(level, query.get("message").unwrap_or("hello, log")).into_response(),
        ["print"] => print().into_response(),
        ["print", "pieces"] => print_pieces().into_response(),
        ["redirect"] => Redirect::to("/elsewhere").into_response(),
        ["size", size] => pattern(number(size)).into_response(),
        ["sleep", ms] => sleep(ms).into_response(),
        ["status", status] => format!("status {status}\n").into_response().status(number::<u16>(status)),
        ["trailers"] => {
            let names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
            "ok\n".into_response().trailer_names(&names).trailers(fields.clone())
        }
        ["trailers", "unannounced"] => "ok\n".into_response().trailers(fields),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// How many requests this instance has seen: 1 for a fresh one.
fn counter() -> u32 {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    SEEN.fetch_add(1, Ordering::Relaxed) + 1
}

fn log(level: &str, message: &str) -> &'static str {
    let level = match level {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "warn" => Level::Warn,
        "error" => Level::Error,
        _ => Level::Info,
    };
    write(level, message);
    // The second line comes through the `log` crate.
    roadrunner_guest::log::info!("{message}, again");
    "ok\n"
}

fn print() -> &'static str {
    println!("hello, stdout");
    eprintln!("hello, stderr");
    "ok\n"
}

/// Lines that come in pieces, and one that has no end.
fn print_pieces() -> &'static str {
    for piece in ["one ", "line\nand", " another", "\n", "the last"] {
        eprint!("{piece}");
    }
    let mut output = std::io::stdout();
    for piece in ["on ", "standard ", "output"] {
        let _ = output.write_all(piece.as_bytes()).and_then(|()| output.flush());
    }
    "ok\n"
}

/// `size` bytes, each the low byte of its offset.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| at as u8).collect()
}

fn sleep(ms: &str) -> &'static str {
    thread::sleep(Duration::from_millis(number(ms)));
    "ok\n"
}

/// 0 for what is not a number.
fn number<T: std::str::FromStr + Default>(text: &str) -> T {
    text.parse().unwrap_or_default()
}
