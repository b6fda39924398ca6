//! Sendfile responses: the query says what is sent.

use roadrunner_guest::{IntoResponse, Request, SendFile, handler};

#[handler]
fn send(request: Request) -> impl IntoResponse {
    let query = request.query_pairs();
    let mut file = SendFile::new(query.get("dir").unwrap_or("files"), query.get("path").unwrap_or_default());
    if let Some(start) = query.parsed("start") {
        file = file.range(start, query.parsed("length"));
    }
    if let Some(status) = query.parsed::<u16>("status") {
        file = file.status(status);
    }
    for (name, value) in query.iter() {
        if let Some(name) = name.strip_prefix("header-") {
            file = file.header(name, value);
        }
    }
    file
}
