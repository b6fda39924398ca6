//! WebSockets without the SDK, several messages in a call: each is answered with its place among those of its call, so
//! that a test sees what the host hands over. It does what the contract asks it not to, and goes on after a close.

#![allow(missing_docs)] // The exports are generated.

use self::exports::roadrunner::handler::{handler, websocket, websocket_batch};
use self::roadrunner::handler::types::{Event, Next, Request, Response, WebsocketStart, WsMessage, WsSender};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package roadrunner:fixture;
        world batches {
            export roadrunner:handler/handler@0.1.0;
            export roadrunner:handler/websocket@0.1.0;
            export roadrunner:handler/websocket-batch@0.1.0;
        }
    ",
    world: "roadrunner:fixture/batches",
    generate_all,
});

struct Component;

export!(Component);

impl handler::Guest for Component {
    fn handle(_: Request) -> Response {
        Response::Websocket(WebsocketStart { headers: Vec::new(), subprotocol: None })
    }
}

impl websocket::Guest for Component {
    fn on_open(_: &WsSender) -> Next {
        Next::Continue
    }

    fn on_message(message: WsMessage, out: &WsSender) -> Next {
        answer("alone", message, out);
        Next::Continue
    }

    fn on_event(_: Event, _: &WsSender) -> Next {
        Next::Continue
    }
}

impl websocket_batch::Guest for Component {
    fn on_messages(messages: Vec<WsMessage>, out: &WsSender) -> Next {
        let count = messages.len();
        for (index, message) in messages.into_iter().enumerate() {
            answer(&format!("{} of {count}", index + 1), message, out);
        }
        Next::Continue
    }
}

fn answer(place: &str, message: WsMessage, out: &WsSender) {
    match message {
        WsMessage::Text(text) if text == "close" => out.close(4000, ""),
        // A send that fails is not the end: the host is to stand it.
        WsMessage::Text(text) => drop(out.send(&WsMessage::Text(format!("{place}: {text}")))),
        WsMessage::Binary(bytes) => drop(out.send(&WsMessage::Text(format!("{place}: {} bytes", bytes.len())))),
    }
}
