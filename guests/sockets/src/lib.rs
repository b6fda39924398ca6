//! WebSockets.

use std::time::Duration;

use roadrunner_guest::{
    Event, IntoResponse, Next, Request, Response, Result, Sender, StatusCode, Upgrade, WebSocket, WebSocketHandler,
    WsMessage, bus, handler, log, timers,
};

#[handler]
fn accept(request: Request) -> Response {
    let Some(Upgrade::WebSocket(subprotocols)) = request.upgrade() else {
        return (StatusCode::UPGRADE_REQUIRED, [("upgrade", "websocket")], "this is for WebSockets\n").into_response();
    };
    let query = request.query_pairs();
    let n: usize = query.parsed("n").unwrap_or(3);
    let path = request.path();
    match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["close"] => {
            let code = query.parsed("code").unwrap_or(1000);
            let reason = query.get("reason").unwrap_or_default().to_owned();
            WebSocket::new(move |_, out| {
                out.close(code, &reason);
                Ok(Next::Continue)
            })
            .into_response()
        }
        ["deaf"] => WebSocket::session(Deaf).into_response(),
        ["echo"] => echo().into_response(),
        ["feed", topic] => feed(topic).into_response(),
        ["flood"] => on_open(|out| {
            loop {
                out.send("again")?;
            }
        })
        .into_response(),
        ["greet"] => on_open(|out| {
            out.send("welcome")?;
            Ok(Next::Continue)
        })
        .into_response(),
        ["large"] => on_open(move |out| {
            out.send(vec![b'x'; n])?;
            Ok(Next::Continue)
        })
        .into_response(),
        ["refuse"] => StatusCode::FORBIDDEN.into_response(),
        ["slow"] => {
            let pause = Duration::from_millis(query.parsed("ms").unwrap_or(100));
            WebSocket::new(move |message, out| {
                std::thread::sleep(pause);
                out.send(message)?;
                Ok(Next::Continue)
            })
            .into_response()
        }
        ["spin"] => WebSocket::new(|_, _| {
            loop {
                std::hint::spin_loop();
            }
        })
        .into_response(),
        ["stop"] => WebSocket::new(|_, _| Ok(Next::stop())).into_response(),
        ["subprotocol"] => match subprotocols.last() {
            Some(last) => echo().subprotocol(last).header("x-accepted", "yes").into_response(),
            None => echo().into_response(),
        },
        ["subprotocol", made_up] => echo().subprotocol(made_up).into_response(),
        ["ticks"] => {
            timers::every(Duration::from_millis(50));
            WebSocket::session(Feed).into_response()
        }
        ["trap"] => WebSocket::new(|_, _| panic!("a trap on a message")).into_response(),
        ["trap", "open"] => on_open(|_| panic!("a trap on open")).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn echo() -> WebSocket {
    WebSocket::new(|message, out| {
        out.send(message)?;
        Ok(Next::Continue)
    })
}

fn feed(topic: &str) -> Result<WebSocket> {
    bus::subscribe(topic)?;
    Ok(WebSocket::session(Feed))
}

/// Sends what the bus and the timers bring, and publishes what the client sends under the topic `from-client`.
struct Feed;

impl WebSocketHandler for Feed {
    fn on_message(&mut self, message: WsMessage, _: &Sender<'_>) -> Result<Next> {
        match message {
            WsMessage::Text(text) => bus::publish("from-client", text)?,
            WsMessage::Binary(bytes) => bus::publish("from-client", bytes)?,
        };
        Ok(Next::Continue)
    }

    fn on_event(&mut self, event: Event, out: &Sender<'_>) -> Result<Next> {
        match event {
            Event::Message(message) => out.send(message.payload)?,
            Event::Timer(_) => out.send("tick")?,
            Event::Drain(_) => out.close(1001, "drained"),
            Event::Disconnect(reason) => log::info!("disconnect: {reason:?}"),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Does nothing, whatever comes.
struct Deaf;

impl WebSocketHandler for Deaf {
    fn on_message(&mut self, _: WsMessage, _: &Sender<'_>) -> Result<Next> {
        Ok(Next::Continue)
    }

    fn on_event(&mut self, _: Event, _: &Sender<'_>) -> Result<Next> {
        Ok(Next::Continue)
    }
}

fn on_open(run: impl FnMut(&Sender<'_>) -> Result<Next> + 'static) -> WebSocket {
    WebSocket::session(OnOpen(run))
}

/// Does something once the WebSocket is open, and ignores what the client sends.
struct OnOpen<F>(F);

impl<F: FnMut(&Sender<'_>) -> Result<Next>> WebSocketHandler for OnOpen<F> {
    fn on_open(&mut self, out: &Sender<'_>) -> Result<Next> {
        (self.0)(out)
    }

    fn on_message(&mut self, _: WsMessage, _: &Sender<'_>) -> Result<Next> {
        Ok(Next::Continue)
    }
}
