//! One operation on files for each request, with `std::fs` as any program would have it, or past the standard library
//! where that would be too polite. The path names the operation, the query its arguments.

mod hostile;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};

use roadrunner_guest::http::StatusCode;
use roadrunner_guest::{IntoResponse, Pairs, Request, Response, handler};

#[handler]
fn answer(request: Request) -> Response {
    let query = request.query_pairs();
    let body = match request.body().read_to_end() {
        Ok(body) => body,
        Err(error) => return format!("{error}").into_response(),
    };
    match operate(&request.path(), &query, &body) {
        Ok(response) => response,
        Err(error) => (StatusCode::CONFLICT, error.to_string()).into_response(),
    }
}

fn operate(operation: &str, query: &Pairs, body: &[u8]) -> io::Result<Response> {
    let path = query.get("path").unwrap_or_default();
    let to = query.get("to").unwrap_or_default();
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<u64>().ok());
    match operation {
        "/append" => OpenOptions::new().append(true).create(true).open(path)?.write_all(body)?,
        "/copy" => drop(fs::copy(path, to)?),
        "/create-new" => OpenOptions::new().write(true).create_new(true).open(path)?.write_all(body)?,
        "/link" => fs::hard_link(path, to)?,
        "/list" => return Ok(list(path)?.into_response()),
        "/make-directory" => fs::create_dir(path)?,
        "/overwrite" => overwrite(path, body)?,
        "/read" => return Ok(fs::read(path)?.into_response()),
        "/remove" => fs::remove_file(path)?,
        "/remove-directory" => fs::remove_dir(path)?,
        "/rename" => fs::rename(path, to)?,
        "/size" => match number("size") {
            Some(size) => OpenOptions::new().write(true).open(path)?.set_len(size)?,
            None => return Ok(fs::metadata(path)?.len().to_string().into_response()),
        },
        // The standard library's own for WASI is not stable; this one is, and does the same here.
        #[expect(deprecated, reason = "see above")]
        "/symlink" => fs::soft_link(to, path)?,
        "/write" => fs::write(path, body)?,
        _ => return hostile::operate(operation, query),
    }
    Ok("done".into_response())
}

/// Writes from the start of a file that is there, and leaves the rest.
fn overwrite(path: &str, body: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(body)
}

/// The names in a directory, sorted, one a line.
fn list(path: &str) -> io::Result<String> {
    let names: io::Result<Vec<_>> =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned() + "\n")).collect();
    let mut names = names?;
    names.sort();
    Ok(names.concat())
}
