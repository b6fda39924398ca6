//! A chat: `/` is the page, `/rooms/:room` the WebSocket behind it.
//!
//! | query of `/rooms/:room` | |
//! |---|---|
//! | `name` | who joins; 1 to 32 characters |
//! | `h2` | refuse a socket that is not over HTTP/2 |
//!
//! A room is a topic of the bus, and exists for as long as somebody is subscribed. What is published is what the
//! browsers are sent, so that a session passes it on as it is.

use roadrunner_guest::http::Version;
use roadrunner_guest::{
    Event, Html, IntoResponse, Message, Next, Request, Response, Result, Sender, StatusCode, Upgrade, WebSocket,
    WebSocketHandler, WsMessage, bus, handler,
};
use serde::Serialize;

/// The longest name, and the longest name of a room, in characters.
const MAX_NAME: usize = 32;

#[handler]
fn chat(request: Request) -> Response {
    match request.param("room") {
        None => Html(include_str!("index.html")).into_response(),
        Some(room) => join(&request, &room),
    }
}

fn join(request: &Request, room: &str) -> Response {
    let Some(Upgrade::WebSocket(_)) = request.upgrade() else {
        return (StatusCode::UPGRADE_REQUIRED, [("upgrade", "websocket")], "a room is a WebSocket\n").into_response();
    };
    let version = request.version();
    let query = request.query_pairs();
    if query.get("h2").is_some() && version != Version::HTTP_2 {
        return (StatusCode::BAD_REQUEST, "this socket is not over HTTP/2\n").into_response();
    }
    let name = query.get("name").unwrap_or_default().trim().to_owned();
    let fits = |text: &str| (1..=MAX_NAME).contains(&text.chars().count());
    if !fits(&name) || !fits(room) {
        return (StatusCode::BAD_REQUEST, "names have 1 to 32 characters\n").into_response();
    }
    let protocol = match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    };
    WebSocket::session(Member { name, topic: format!("room/{room}"), protocol }).into_response()
}

/// Somebody in a room.
struct Member {
    name: String,
    topic: String,
    protocol: &'static str,
}

/// What browsers are sent.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Notice<'a> {
    /// The first message of a session.
    Welcome { protocol: &'a str },
    /// Somebody came.
    Joined { name: &'a str },
    /// Somebody said something.
    Said { name: &'a str, text: &'a str },
    /// Somebody went.
    Left { name: &'a str },
    /// So many messages were too fast for this browser.
    Missed { count: u32 },
}

impl WebSocketHandler for Member {
    fn on_open(&mut self, out: &Sender<'_>) -> Result<Next> {
        out.send(Notice::Welcome { protocol: self.protocol }.json())?;
        bus::subscribe(&self.topic)?;
        self.publish(&Notice::Joined { name: &self.name })
    }

    fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> Result<Next> {
        let WsMessage::Text(text) = message else {
            // RFC 6455, 7.4.1: a type of data that cannot be accepted.
            out.close(1003, "a chat is text");
            return Ok(Next::Continue);
        };
        self.publish(&Notice::Said { name: &self.name, text: &text })
    }

    fn on_event(&mut self, event: Event, out: &Sender<'_>) -> Result<Next> {
        match event {
            Event::Message(Message { payload, missed, .. }) => {
                if missed > 0 {
                    out.send(Notice::Missed { count: missed }.json())?;
                }
                // Only `publish` below writes to the topics of this component.
                out.send(String::from_utf8_lossy(&payload).into_owned())?;
            }
            // The page comes back by itself.
            Event::Drain(_) => out.close(1001, "the server is shutting down"),
            Event::Disconnect(_) => return self.publish(&Notice::Left { name: &self.name }),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

impl Member {
    fn publish(&self, notice: &Notice<'_>) -> Result<Next> {
        bus::publish(&self.topic, notice.json())?;
        Ok(Next::Continue)
    }
}

impl Notice<'_> {
    fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are always JSON")
    }
}
