//! Answers with all that a guest can see of its request and of its surroundings, as JSON.

use std::env;

use roadrunner_guest::http::StatusCode;
use roadrunner_guest::{Error, IntoResponse, Json, Request, Response, Upgrade, config, handler, routes};
use serde::Serialize;

#[handler]
fn inspect(request: Request) -> Response {
    match request.path().as_str() {
        "/url-for" => url_for(&request).into_response(),
        _ => Json(Seen::of(&request)).into_response(),
    }
}

/// All that there is to see. Values of header fields that are not UTF-8 have U+FFFD in the place of wrong bytes.
#[derive(Serialize)]
struct Seen {
    id: String,
    method: String,
    scheme: String,
    authority: String,
    path: String,
    query: Option<String>,
    version: String,
    peer: String,
    /// Subject, issuer, serial number and names of the client's certificate.
    client_certificate: Option<(String, String, String, Vec<String>)>,
    route: Option<String>,
    params: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    config: Vec<(String, String)>,
    /// The subprotocols offered, on a WebSocket handshake.
    websocket: Option<Vec<String>>,
    webtransport: bool,
    /// What WASI tells of the host: nothing, unless it was granted.
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Seen {
    fn of(request: &Request) -> Self {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let upgrade = request.upgrade();
        Self {
            id: request.id(),
            method: request.method().to_string(),
            scheme: request.scheme(),
            authority: request.authority(),
            path: request.path(),
            query: request.query(),
            version: format!("{:?}", request.version()),
            peer: request.peer(),
            client_certificate: request
                .client_certificate()
                .map(|certificate| (certificate.subject, certificate.issuer, certificate.serial, certificate.names)),
            route: request.route(),
            params: request.params(),
            headers: request.header_fields().iter().map(|(name, value)| (name.to_owned(), lossy(value))).collect(),
            config: config::entries(),
            webtransport: upgrade == Some(Upgrade::WebTransport),
            websocket: match upgrade {
                Some(Upgrade::WebSocket(subprotocols)) => Some(subprotocols),
                _ => None,
            },
            environment: env::vars().collect(),
            arguments: env::args().collect(),
        }
    }
}

/// The path of the route that the query's `name` names, with the query's other pairs as its parameters.
fn url_for(request: &Request) -> Result<String, (StatusCode, String)> {
    let query = request.query_pairs();
    let params: Vec<_> = query.iter().filter(|(key, _)| *key != "name").collect();
    match routes::url_for(query.get("name").unwrap_or_default(), &params) {
        Ok(url) => Ok(format!("{url}\n")),
        Err(Error::Refused(why)) => Err((StatusCode::BAD_REQUEST, format!("{why}\n"))),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))),
    }
}
