//! WebSockets without the SDK, one message in a call: what a component of another toolchain exports.

#![allow(missing_docs)] // The exports are generated.

use self::exports::roadrunner::handler::{handler, websocket};
use self::roadrunner::handler::types::{Event, Next, Request, Response, WebsocketStart, WsMessage, WsSender};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package roadrunner:fixture;
        world singles {
            export roadrunner:handler/handler@0.1.0;
            export roadrunner:handler/websocket@0.1.0;
        }
    ",
    world: "roadrunner:fixture/singles",
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
        match &message {
            WsMessage::Text(text) if text == "stop" => Next::Stop(Vec::new()),
            WsMessage::Text(text) if text == "trap" => panic!("a trap on a message"),
            _ => {
                // A client that is gone is told of by an event.
                drop(out.send(&message));
                Next::Continue
            }
        }
    }

    fn on_event(_: Event, _: &WsSender) -> Next {
        Next::Continue
    }
}
