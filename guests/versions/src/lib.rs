//! A guest of which there are as many versions as there are letters: whoever wants another one replaces the letter in
//! the component's bytes. Every answer is a long run of the letter, and names it in a header.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use roadrunner_guest::{IntoResponse, Request, Response, Stream, handler};

/// The letter, behind a mark that is in the component once.
static LETTER: &[u8; 17] = b"versions-letter:A";

/// The length of an answer, in bytes.
const LENGTH: usize = 16 << 10;

#[handler]
fn versions(request: Request) -> Response {
    // The compiler must not know what is read.
    let letter = black_box(LETTER)[16];
    let query = request.query_pairs();
    let pause = Duration::from_millis(query.parsed("delay").unwrap_or(0));
    let name = char::from(letter).to_string();
    match request.path().as_str() {
        "/stream" => Stream::new(move |out| {
            for _ in 0..8 {
                out.write(vec![letter; LENGTH / 8])?;
                thread::sleep(pause);
            }
            Ok(())
        })
        .header("x-version", name)
        .into_response(),
        _ => {
            thread::sleep(pause);
            vec![letter; LENGTH].into_response().header("x-version", name)
        }
    }
}
