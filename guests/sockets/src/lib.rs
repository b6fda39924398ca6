//! WebSockets.

use std::time::{Duration, Instant};

use roadrunner_guest::{
    Error, Event, IntoResponse, Next, Request, Response, Result, Sender, StatusCode, Upgrade, WebSocket,
    WebSocketHandler, WsMessage, bus, handler, log, timers,
};
use serde::{Deserialize, Serialize};

#[handler(resume_websocket = Counter, resume_websocket = Brittle)]
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
        ["brittle", part] => WebSocket::session(Brittle(part.to_owned())).into_response(),
        ["count"] => count(None, n).into_response(),
        ["count", topic] => count(Some(topic), n).into_response(),
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
        ["script"] => WebSocket::session(Script).into_response(),
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

fn count(topic: Option<&str>, ballast: usize) -> Result<WebSocket> {
    if let Some(topic) = topic {
        bus::subscribe(topic)?;
    }
    Ok(WebSocket::session(Counter { seen: 0, ballast: vec![7; ballast] }))
}

/// Counts what it gets and says so; `in MS` asks for a timer, `forget` frees its ballast. It can hibernate.
#[derive(Deserialize, Serialize)]
struct Counter {
    seen: u32,
    ballast: Vec<u8>,
}

impl Counter {
    fn say(&mut self, what: &str, out: &Sender<'_>) -> Result<Next> {
        self.seen += 1;
        out.send(format!("{} {what}", self.seen))?;
        Ok(Next::Continue)
    }
}

impl WebSocketHandler for Counter {
    fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> Result<Next> {
        let WsMessage::Text(text) = message else { return self.say("bytes", out) };
        if let Some(delay) = text.strip_prefix("in ") {
            timers::after(Duration::from_millis(delay.parse().unwrap_or(0)));
        }
        if text == "forget" {
            self.ballast = Vec::new();
        }
        self.say(&text, out)
    }

    fn on_event(&mut self, event: Event, out: &Sender<'_>) -> Result<Next> {
        match event {
            Event::Message(message) => self.say(&String::from_utf8_lossy(&message.payload), out),
            Event::Timer(_) => self.say("timer", out),
            Event::Drain(_) => {
                out.close(1001, "drained");
                Ok(Next::Continue)
            }
            Event::Disconnect(reason) => {
                log::info!("disconnect: {reason:?} after {}", self.seen);
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        }
    }
}

/// Fails to hibernate: it panics when it is serialised (`suspend`) or when it is read back (`resume`), or says that it
/// cannot be serialised (`refuse`).
struct Brittle(String);

impl Serialize for Brittle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.0.as_str() {
            "suspend" => panic!("a trap in suspend"),
            "refuse" => Err(serde::ser::Error::custom("it refuses")),
            part => serializer.serialize_str(part),
        }
    }
}

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        panic!("a trap in resume")
    }
}

impl WebSocketHandler for Brittle {
    fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> Result<Next> {
        out.send(message)?;
        Ok(Next::Continue)
    }
}

/// Does what each message says; any other is sent back, as are those that only take time. Says how it is disconnected.
struct Script;

impl WebSocketHandler for Script {
    fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> Result<Next> {
        if let WsMessage::Text(text) = &message {
            let pause = |ms: &str| Duration::from_millis(ms.parse().unwrap_or(0));
            match text.split_once(' ').unwrap_or((text, "")) {
                ("close", _) => {
                    out.close(4000, "as told");
                    return Ok(Next::Continue);
                }
                ("fault", _) => return Err(Error::internal("as told")),
                ("large", bytes) => {
                    out.send(vec![b'x'; bytes.parse().unwrap_or(0)])?;
                    return Ok(Next::Continue);
                }
                ("say", what) => {
                    log::info!("said {what}");
                    return Ok(Next::Continue);
                }
                ("sleep", ms) => std::thread::sleep(pause(ms)),
                ("spin", ms) => {
                    let until = Instant::now() + pause(ms);
                    while Instant::now() < until {
                        std::hint::spin_loop();
                    }
                }
                ("stop", _) => return Ok(Next::stop()),
                ("trap", _) => panic!("a trap, as told"),
                _ => {}
            }
        }
        out.send(message)?;
        Ok(Next::Continue)
    }

    fn on_event(&mut self, event: Event, out: &Sender<'_>) -> Result<Next> {
        match event {
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

impl<F: FnMut(&Sender<'_>) -> Result<Next> + 'static> WebSocketHandler for OnOpen<F> {
    fn on_open(&mut self, out: &Sender<'_>) -> Result<Next> {
        (self.0)(out)
    }

    fn on_message(&mut self, _: WsMessage, _: &Sender<'_>) -> Result<Next> {
        Ok(Next::Continue)
    }
}
