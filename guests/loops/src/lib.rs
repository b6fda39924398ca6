//! Event loops: bus, timers, pieces of the request body, the host's shutdown, the client's departure.

use std::thread;
use std::time::Duration;

use roadrunner_guest::{
    Error, Event, EventLoop, IntoResponse, Next, Request, Response, Result, Session, Sse, SseEvent, StatusCode, Writer,
    bus, handler, log, timers,
};
use serde::{Deserialize, Serialize};

#[handler(resume_event_loop = Tally)]
fn serve(request: Request) -> Response {
    let query = request.query_pairs();
    let n: u64 = query.parsed("n").unwrap_or(3);
    let ms = Duration::from_millis(query.parsed("ms").unwrap_or(20));
    let path = request.path();
    if path == "/fields" {
        let start = count(1, ms).into_response();
        return query.iter().fold(start, |response, (name, value)| response.add_header(name, value));
    }
    match path.split('/').skip(1).collect::<Vec<_>>()[..] {
        ["after", claim] => after(claim, ms).into_response(),
        ["cancel"] => cancel(ms).into_response(),
        ["count"] => count(n, ms).into_response(),
        ["disconnect"] => disconnect(request.id()).into_response(),
        ["drain"] => drain().into_response(),
        ["drain", "ignored"] => EventLoop::new(|_, _| Ok(Next::Continue)).into_response(),
        ["echo"] => EventLoop::session(Echo).body_events(true).into_response(),
        ["echo", "taken"] => taken(&request).into_response(),
        ["error"] => fails(n, ms, || Err(Error::internal("the guest gave up"))).into_response(),
        ["idle"] => EventLoop::new(|_, _| Ok(Next::Continue)).into_response(),
        ["once", topic] => once(topic).into_response(),
        ["publish", topic] => publish(&request, topic).into_response(),
        ["slow", topic] => subscriber(topic, Some(ms)).into_response(),
        ["subscribe", topic] => subscriber(topic, None).into_response(),
        ["tally", topic] => tally(topic).into_response(),
        ["trap"] => fails(n, ms, || panic!("a trap in a callback")).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Three ticks, then the timer is cancelled, and after as long again the number of ticks is told.
fn cancel(period: Duration) -> EventLoop {
    let every = timers::every(period);
    let mut fired = 0;
    let mut end = None;
    EventLoop::new(move |event, out| {
        match event {
            Event::Timer(id) if Some(id) == end => {
                writeln!(out, "fired {fired}")?;
                return Ok(Next::stop());
            }
            Event::Timer(_) => {
                fired += 1;
                if fired == 3 {
                    timers::cancel(every);
                    end = Some(timers::after(period * 5));
                }
            }
            _ => {}
        }
        Ok(Next::Continue)
    })
}

/// Claims and writes `tick`, and works on in the same callback.
fn after(claim: &str, period: Duration) -> EventLoop {
    timers::after(Duration::ZERO);
    EventLoop::new(move |event, out| {
        if let Event::Timer(_) = event {
            out.write("tick")?;
            thread::sleep(period);
            log::info!("worked on");
            return Ok(Next::stop());
        }
        Ok(Next::Continue)
    })
    .header("content-length", claim)
}

/// `n` ticks, and their number as a trailer.
fn count(n: u64, period: Duration) -> EventLoop {
    timers::every(period);
    let mut ticks = 0;
    EventLoop::new(move |event, out| {
        if let Event::Timer(_) = event {
            writeln!(out, "tick {ticks}")?;
            ticks += 1;
            if ticks >= n {
                return Ok(Next::stop_with([("x-ticks", ticks.to_string())]));
            }
        }
        Ok(Next::Continue)
    })
    .trailer_names(&["x-ticks"])
}

/// Counts the messages of a topic, and says how many there were before each. It can hibernate.
#[derive(Deserialize, Serialize)]
struct Tally(u32);

fn tally(topic: &str) -> Result<EventLoop> {
    bus::subscribe(topic)?;
    Ok(EventLoop::session(Tally(0)))
}

impl Session for Tally {
    fn on_event(&mut self, event: Event, out: &Writer<'_>) -> Result<Next> {
        match event {
            Event::Message(message) => {
                writeln!(out, "{} {}", self.0, String::from_utf8_lossy(&message.payload))?;
                self.0 += 1;
                Ok(if message.payload == b"end" { Next::stop() } else { Next::Continue })
            }
            Event::Drain(_) => Ok(Next::stop()),
            _ => Ok(Next::Continue),
        }
    }
}

/// Says hello, and at the end tells the log and the topic `disconnects` why the session ended.
fn disconnect(id: String) -> EventLoop {
    timers::after(Duration::ZERO);
    EventLoop::new(move |event, out| {
        match event {
            Event::Timer(_) => out.write("open\n")?,
            Event::Disconnect(reason) => {
                let line = format!("{id} {reason:?}");
                log::info!("disconnect: {line}");
                bus::publish("disconnects", line)?;
            }
            _ => {}
        }
        Ok(Next::Continue)
    })
}

/// Says goodbye when the host shuts down.
fn drain() -> EventLoop {
    EventLoop::new(|event, out| {
        if let Event::Drain(left) = event {
            writeln!(out, "goodbye, {left} ms left")?;
            return Ok(Next::stop());
        }
        Ok(Next::Continue)
    })
}

/// Sends each piece of the request body back as it arrives, then its trailers.
struct Echo;

impl Session for Echo {
    fn on_event(&mut self, event: Event, out: &Writer<'_>) -> Result<Next> {
        match event {
            Event::Body(piece) => out.write(piece)?,
            Event::BodyEnd(trailers) => return Ok(Next::Stop(trailers)),
            _ => {}
        }
        Ok(Next::Continue)
    }
}

/// Asks for pieces of a body that the handler has taken: none come.
fn taken(request: &Request) -> Response {
    let read = match request.body().read_to_end() {
        Ok(whole) => whole.len(),
        Err(error) => return error.into_response(),
    };
    timers::after(Duration::from_millis(200));
    let mut pieces = 0;
    let session = EventLoop::new(move |event, out| {
        match event {
            Event::Body(_) | Event::BodyEnd(_) => pieces += 1,
            Event::Timer(_) => {
                writeln!(out, "read {read}, body events {pieces}")?;
                return Ok(Next::stop());
            }
            _ => {}
        }
        Ok(Next::Continue)
    });
    session.body_events(true).into_response()
}

/// `n` ticks, and then the end that is given, in the callback of the next.
fn fails(n: u64, period: Duration, end: fn() -> Result<Next>) -> EventLoop {
    timers::every(period);
    let mut ticks = 0;
    EventLoop::new(move |event, out| {
        if let Event::Timer(_) = event {
            if ticks == n {
                return end();
            }
            writeln!(out, "tick {ticks}")?;
            ticks += 1;
        }
        Ok(Next::Continue)
    })
}

/// Unsubscribes with the first message; a second one that came would be sent too.
fn once(topic: &str) -> Result<EventLoop> {
    bus::subscribe(topic)?;
    Ok(EventLoop::new(|event, out| {
        match event {
            Event::Message(message) => {
                out.write(message.payload)?;
                bus::unsubscribe(&message.topic);
                timers::after(Duration::from_millis(300));
            }
            Event::Timer(_) => return Ok(Next::stop()),
            _ => {}
        }
        Ok(Next::Continue)
    }))
}

/// Publishes the request body, and answers how many sessions it was sent to.
fn publish(request: &Request, topic: &str) -> Result<String> {
    let receivers = bus::publish(topic, request.body().read_to_end()?)?;
    Ok(format!("{receivers}\n"))
}

/// Sends each message as an event, named `missed` with the number lost before it if there are any. With a pause, it is
/// slower than its publisher.
fn subscriber(topic: &str, pause: Option<Duration>) -> Result<Sse> {
    bus::subscribe(topic)?;
    timers::after(Duration::ZERO);
    Ok(Sse::new(move |event, out| {
        match event {
            Event::Timer(_) => out.comment("subscribed")?,
            Event::Message(message) => {
                if let Some(pause) = pause {
                    thread::sleep(pause);
                }
                if message.missed > 0 {
                    out.send(&SseEvent::new(message.missed.to_string()).name("missed"))?;
                }
                out.data(String::from_utf8_lossy(&message.payload))?;
            }
            _ => {}
        }
        Ok(Next::Continue)
    }))
}
