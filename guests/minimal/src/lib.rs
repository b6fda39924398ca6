//! The smallest world, without the SDK. Besides a right answer it gives those that the SDK makes impossible: shapes
//! whose interface the component does not export, and field names that are not lower-case.

#![allow(missing_docs)] // The exports are generated.

use self::exports::roadrunner::handler::handler::{Guest, Request, Response};
use self::roadrunner::handler::types::{Buffered, Head, LoopStart, Sendfile, WebsocketStart};

wit_bindgen::generate!({ path: "../../wit", world: "minimal" });

struct Component;

export!(Component);

impl Guest for Component {
    fn handle(request: Request) -> Response {
        match request.path().as_str() {
            "/loop" => Response::Loop(LoopStart { head: head(Vec::new()), body_events: false }),
            "/sendfile" => Response::Sendfile(Sendfile {
                head: head(Vec::new()),
                directory: "files".to_owned(),
                path: "small.txt".to_owned(),
                range: None,
            }),
            "/stream" => Response::Stream(head(Vec::new())),
            "/upper-case" => buffered(vec![("X-Upper-Case".to_owned(), b"yes".to_vec())]),
            "/websocket" => Response::Websocket(WebsocketStart { headers: Vec::new(), subprotocol: None }),
            "/webtransport" => Response::Webtransport(Vec::new()),
            _ => buffered(Vec::new()),
        }
    }
}

fn buffered(headers: Vec<(String, Vec<u8>)>) -> Response {
    Response::Buffered(Buffered { head: head(headers), body: b"minimal\n".to_vec(), trailers: Vec::new() })
}

fn head(headers: Vec<(String, Vec<u8>)>) -> Head {
    Head { status: 200, headers }
}
