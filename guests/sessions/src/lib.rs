//! WebTransport sessions.

use std::time::Duration;

use roadrunner_guest::{
    Error, Event, IntoResponse, Next, Request, Response, Result, StatusCode, Upgrade, WebTransport,
    WebTransportHandler, WtEvent, WtSession, bus, handler, log, timers,
};
use serde::{Deserialize, Serialize};

#[handler(resume_webtransport = Counter, resume_webtransport = Brittle)]
fn accept(request: Request) -> Response {
    let path = request.path();
    if path == "/always" {
        return echo().into_response();
    }
    if request.upgrade() != Some(Upgrade::WebTransport) {
        return (StatusCode::BAD_REQUEST, "this is for WebTransport sessions\n").into_response();
    }
    let query = request.query_pairs();
    match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["brittle", part] => WebTransport::session(Brittle(part.to_owned())).into_response(),
        ["buffered"] => "not a session\n".into_response(),
        ["close"] => {
            let code = query.parsed("code").unwrap_or(0);
            let reason = query.get("reason").unwrap_or_default().to_owned();
            on_data(move |_, _, session| {
                session.close(code, &reason);
                Ok(Next::Continue)
            })
        }
        ["count"] => count(None, query.parsed("n").unwrap_or(3)).into_response(),
        ["count", topic] => count(Some(topic), query.parsed("n").unwrap_or(3)).into_response(),
        ["echo"] => echo().into_response(),
        ["feed", topic] => match bus::subscribe(topic) {
            Ok(()) => WebTransport::session(Feed).into_response(),
            Err(error) => error.into_response(),
        },
        ["flood"] => on_open(|session| {
            let id = session.open_unidirectional()?;
            let piece = vec![b'x'; 64 << 10];
            loop {
                session.send(id, &piece)?;
            }
        }),
        ["greet"] => on_open(|session| {
            let both = session.open_bidirectional()?;
            session.send(both, "both ways")?;
            let one = session.open_unidirectional()?;
            session.send(one, "one way")?;
            session.finish(one);
            session.send_datagram("datagram")?;
            Ok(Next::Continue)
        }),
        ["hoard"] => on_data(|_, _, _| {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
            }
        }),
        ["large-datagram"] => on_open(|session| {
            let limit = match session.send_datagram([0; 60_000]) {
                Err(Error::TooLarge(limit)) => limit,
                other => panic!("{other:?}"),
            };
            session.send_datagram(limit.to_string())?;
            Ok(Next::Continue)
        }),
        ["log"] => WebTransport::session(Log).into_response(),
        ["many"] => on_open(|session| {
            let mut opened = 0;
            let refusal = loop {
                match session.open_unidirectional() {
                    Ok(_) => opened += 1,
                    Err(error) => break error,
                }
            };
            session.send_datagram(format!("{opened}: {refusal}"))?;
            Ok(Next::Continue)
        }),
        ["refuse"] => StatusCode::FORBIDDEN.into_response(),
        ["reset"] => on_data(|id, _, session| {
            session.stop(id, 30);
            session.reset(id, 31);
            // Neither is an error where there is nothing left.
            session.reset(id, 32);
            session.finish(4242);
            assert_eq!(session.send(id, "late"), Err(Error::Closed));
            Ok(Next::Continue)
        }),
        ["slow"] => {
            let pause = Duration::from_millis(query.parsed("ms").unwrap_or(100));
            on_data(move |id, bytes, session| {
                std::thread::sleep(pause);
                session.send(id, bytes)?;
                Ok(Next::Continue)
            })
        }
        ["spin"] => on_data(|_, _, _| {
            loop {
                std::hint::spin_loop();
            }
        }),
        ["stop"] => on_data(|_, _, _| Ok(Next::stop())),
        ["ticks"] => {
            timers::every(Duration::from_millis(50));
            WebTransport::session(Feed).into_response()
        }
        ["trap"] => on_data(|_, _, _| panic!("a trap on data")),
        ["trap", "open"] => on_open(|_| panic!("a trap on open")),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sends back what comes on the streams that go both ways, and datagrams.
fn echo() -> WebTransport {
    WebTransport::new(|event, session| {
        match event {
            WtEvent::Data { id, bytes } => session.send(id, bytes)?,
            WtEvent::Finished(id) => session.finish(id),
            WtEvent::Datagram(bytes) => session.send_datagram(bytes)?,
            _ => {}
        }
        Ok(Next::Continue)
    })
}

/// Sends what the bus and the timers bring as datagrams, and publishes datagrams under the topic `from-client`.
struct Feed;

impl WebTransportHandler for Feed {
    fn on_session_event(&mut self, event: WtEvent, _: &WtSession<'_>) -> Result<Next> {
        if let WtEvent::Datagram(bytes) = event {
            bus::publish("from-client", bytes)?;
        }
        Ok(Next::Continue)
    }

    fn on_event(&mut self, event: Event, session: &WtSession<'_>) -> Result<Next> {
        match event {
            Event::Message(message) => session.send_datagram(message.payload)?,
            Event::Timer(_) => session.send_datagram("tick")?,
            Event::Drain(_) => session.close(7, "drained"),
            Event::Disconnect(reason) => log::info!("disconnect: {reason:?}"),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Says everything that it hears to the log, and the client by datagrams.
struct Log;

impl WebTransportHandler for Log {
    fn on_session_event(&mut self, event: WtEvent, session: &WtSession<'_>) -> Result<Next> {
        log::info!("heard: {event:?}");
        session.send_datagram(format!("{event:?}"))?;
        Ok(Next::Continue)
    }

    fn on_event(&mut self, event: Event, session: &WtSession<'_>) -> Result<Next> {
        log::info!("heard: {event:?}");
        session.send_datagram(format!("{event:?}"))?;
        Ok(Next::Continue)
    }
}

fn count(topic: Option<&str>, ballast: usize) -> Result<WebTransport> {
    if let Some(topic) = topic {
        bus::subscribe(topic)?;
    }
    Ok(WebTransport::session(Counter { seen: 0, own: None, ballast: vec![7; ballast] }))
}

/// Counts what it gets and says so: bytes on their stream, a datagram by a datagram, anything else on a stream of its
/// own. `in MS` asks for a timer, `forget` frees its ballast. It can hibernate.
#[derive(Deserialize, Serialize)]
struct Counter {
    seen: u32,
    /// The stream that it has opened.
    own: Option<u64>,
    ballast: Vec<u8>,
}

impl Counter {
    fn count(&mut self, what: &[u8]) -> String {
        let what = String::from_utf8_lossy(what);
        if let Some(delay) = what.strip_prefix("in ") {
            timers::after(Duration::from_millis(delay.parse().unwrap_or(0)));
        }
        if what == "forget" {
            self.ballast = Vec::new();
        }
        self.seen += 1;
        format!("{} {what}\n", self.seen)
    }

    fn say(&mut self, what: &[u8], session: &WtSession<'_>) -> Result<()> {
        let text = self.count(what);
        let own = match self.own {
            Some(own) => own,
            None => *self.own.insert(session.open_unidirectional()?),
        };
        session.send(own, text)
    }
}

impl WebTransportHandler for Counter {
    fn on_session_event(&mut self, event: WtEvent, session: &WtSession<'_>) -> Result<Next> {
        match event {
            WtEvent::Data { id, bytes } => session.send(id, self.count(&bytes))?,
            WtEvent::Datagram(bytes) => session.send_datagram(self.count(&bytes))?,
            WtEvent::Finished(id) => {
                session.send(id, self.count(b"finished"))?;
                session.finish(id);
            }
            WtEvent::Reset { code, .. } => self.say(format!("reset {code}").as_bytes(), session)?,
            WtEvent::Closed { code, reason } => log::info!("closed: {code} {reason} after {}", self.seen),
            _ => {}
        }
        Ok(Next::Continue)
    }

    fn on_event(&mut self, event: Event, session: &WtSession<'_>) -> Result<Next> {
        match event {
            Event::Message(message) => self.say(&message.payload, session)?,
            Event::Timer(_) => self.say(b"timer", session)?,
            Event::Drain(_) => session.close(7, "drained"),
            Event::Disconnect(reason) => log::info!("disconnect: {reason:?} after {}", self.seen),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Fails to hibernate: it panics when it is serialised (`suspend`) or when it is read back (`resume`), or says that it
/// cannot be serialised (`refuse`). Sends datagrams back.
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

impl WebTransportHandler for Brittle {
    fn on_session_event(&mut self, event: WtEvent, session: &WtSession<'_>) -> Result<Next> {
        if let WtEvent::Datagram(bytes) = event {
            session.send_datagram(bytes)?;
        }
        Ok(Next::Continue)
    }
}

fn on_open(run: impl FnMut(&WtSession<'_>) -> Result<Next> + 'static) -> Response {
    WebTransport::session(OnOpen(run)).into_response()
}

/// Does something once the session is open, and ignores what the client does.
struct OnOpen<F>(F);

impl<F: FnMut(&WtSession<'_>) -> Result<Next> + 'static> WebTransportHandler for OnOpen<F> {
    fn on_open(&mut self, session: &WtSession<'_>) -> Result<Next> {
        (self.0)(session)
    }

    fn on_session_event(&mut self, _: WtEvent, _: &WtSession<'_>) -> Result<Next> {
        Ok(Next::Continue)
    }
}

/// Does something with each piece that comes on a stream, and ignores the rest.
fn on_data(mut run: impl FnMut(u64, Vec<u8>, &WtSession<'_>) -> Result<Next> + 'static) -> Response {
    let on_event = move |event: WtEvent, session: &WtSession<'_>| match event {
        WtEvent::Data { id, bytes } => run(id, bytes, session),
        _ => Ok(Next::Continue),
    };
    WebTransport::session(on_event).into_response()
}
