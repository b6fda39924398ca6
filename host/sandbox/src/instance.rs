//! One instance: started for one request, called as its response's shape asks, and dropped.
//!
//! Every call into the guest goes through [`guarded`], which accounts for its CPU time, stops it at its deadline and
//! lets an operator kill it. Dropping a future of this module, or the [`Instance`], ends the guest wherever it is.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Sleep;
use wasmtime::component::{self, Resource, ResourceTableError};
use wasmtime::{Store, Trap, UpdateDeadline};

use crate::bindings::exports::roadrunner::handler as exports;
use crate::bindings::roadrunner::handler::types;
use crate::capability::Message;
use crate::gate::Permit;
use crate::meter::{Meter, Shape, Subject};
use crate::outcome::{Failure, Outcome};
use crate::output::{BodyWriter, MessageSender, Outbox, Outgoing};
use crate::parking::Parking;
use crate::registry::Registration;
use crate::request::{Body, Request};
use crate::response::{self, Response};
use crate::state::{Binding, State, Stop, fields};

/// A live instance. Its places in the gates are free again when it is dropped, and not before.
pub struct Instance {
    // Fields are dropped in this order: the guest first, its permit last.
    guest: Guest,
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    _registration: Registration,
    permit: Permit,
}

/// What of an instance can outlive a request, where its component is reused.
pub(crate) struct Guest {
    store: Store<State>,
    instance: component::Instance,
    handler: exports::handler::Guest,
    writer: Option<Writer>,
    /// Requests that it has answered.
    pub(crate) answered: u32,
}

/// The guest's handle on its outbox: one for the life of the instance, lent for each call.
enum Writer {
    Body { resource: Resource<BodyWriter>, outbox: Outbox<Bytes> },
    Messages { resource: Resource<MessageSender>, outbox: Outbox<Outgoing> },
}

/// What wakes a held instance.
#[derive(Debug)]
pub enum Event {
    /// A message on a subscribed topic.
    Message(Message),
    /// A timer.
    Timer(u64),
    /// A piece of the request body.
    Body(Bytes),
    /// The end of the request body.
    BodyEnd(HeaderMap),
    /// The host shuts down; time left.
    Drain(Duration),
    /// The last event.
    Disconnect(Disconnect),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disconnect {
    /// The client ended it in an orderly way.
    Closed,
    /// The client reset the stream.
    Reset,
    /// The connection under the stream was lost.
    ConnectionLost,
    /// A limit on idleness or duration was reached.
    Timeout,
}

/// What a guest has left of a request's body.
#[derive(Debug)]
pub enum LeftBody {
    /// The request has none.
    None,
    /// The guest has it.
    Taken,
    /// All of it.
    Whole(Body),
}

/// What happens on a WebSocket.
#[derive(Debug)]
pub enum SocketEvent {
    /// The handshake's answer was sent.
    Open,
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Bytes),
    /// Anything else.
    Event(Event),
}

/// What a callback wants to happen next.
#[derive(Debug)]
pub enum Next {
    /// Wait for the next event.
    Continue,
    /// End the response with these trailers.
    Stop(HeaderMap),
}

impl Binding {
    /// The account for an instance that is about to start.
    pub fn meter(&self, subject: Subject) -> Arc<Meter> {
        Arc::new(Meter::new(self.component.sandbox.next_instance(), subject))
    }

    /// Starts an instance of this binding and lets it answer a request.
    pub async fn respond(
        self: &Arc<Self>,
        meter: Arc<Meter>,
        permit: Permit,
        request: Request,
    ) -> Result<(Instance, Response), Failure> {
        let registration = self.component.sandbox.registry().insert(meter.clone());
        meter.start_budget(self.limits.cpu);
        let deadline = Instant::now() + self.limits.deadline;
        let (guest, answer) = match self.parking.as_ref().and_then(Parking::take) {
            Some(guest) => self.answer_again(guest, &meter, deadline, request).await?,
            None => self.answer_first(&meter, deadline, request).await?,
        };
        let response = Response::check(answer)?;
        let instance = Instance { guest, binding: self.clone(), meter, _registration: registration, permit };
        instance.check_shape(&response)?;
        Ok((instance, response))
    }

    /// In a fresh instance.
    async fn answer_first(
        self: &Arc<Self>,
        meter: &Arc<Meter>,
        deadline: Instant,
        mut request: Request,
    ) -> Result<(Guest, types::Response), Failure> {
        let mut store = self.store(meter);
        let result = guarded(meter, Some(deadline), async {
            lend_body(&mut store, &mut request)?;
            let instance = self.component.pre.instantiate_async(&mut store).await?;
            let handler = self.component.handler.load(&mut store, &instance)?;
            let request = store.data_mut().table.push(request)?;
            let response = handler.call_handle(&mut store, request).await?;
            Ok((instance, handler, response))
        });
        match result.await {
            Ok(Ok((instance, handler, response))) => {
                Ok((Guest { store, instance, handler, writer: None, answered: 1 }, response))
            }
            Ok(Err(error)) => Err(classify(&store, &error)),
            Err(outcome) => Err(outcome.into()),
        }
    }

    /// In an instance that has answered before.
    async fn answer_again(
        &self,
        mut guest: Guest,
        meter: &Arc<Meter>,
        deadline: Instant,
        mut request: Request,
    ) -> Result<(Guest, types::Response), Failure> {
        guest.store.data_mut().start_over(meter);
        guest.store.set_epoch_deadline(1);
        guest.answered += 1;
        let result = guarded(meter, Some(deadline), async {
            lend_body(&mut guest.store, &mut request)?;
            let request = guest.store.data_mut().table.push(request)?;
            guest.handler.call_handle(&mut guest.store, request).await
        });
        match result.await {
            Ok(Ok(response)) => Ok((guest, response)),
            Ok(Err(error)) => Err(classify(&guest.store, &error)),
            Err(outcome) => Err(outcome.into()),
        }
    }

    fn store(self: &Arc<Self>, meter: &Arc<Meter>) -> Store<State> {
        let engine = self.component.sandbox.engine();
        let mut store = Store::new(engine, State::new(self.clone(), meter.clone()));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(self.limits.host_call_bytes);
        store.set_max_component_handles(self.limits.handles);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let meter = &context.data().meter;
            if meter.is_killed() {
                return Err(Stop(Outcome::Killed).into());
            }
            if meter.interrupt() {
                return Err(Stop(Outcome::CpuExceeded).into());
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        store
    }
}

impl Instance {
    /// The instance has answered in full: it is dropped, or parked for the next request where its component is
    /// reused.
    pub fn finish(self) {
        let Self { guest, binding, meter, .. } = self;
        if let Some(parking) = &binding.parking
            && !guest.store.data().memory.denied()
            && !meter.is_killed()
        {
            parking.put(&binding, guest);
        }
    }

    /// Calls `streaming.run`, which writes to `outbox`; its trailers. CPU time counts on from the handler.
    pub async fn run(&mut self, outbox: &Outbox<Bytes>) -> Result<HeaderMap, Failure> {
        let Some(exports) = &self.binding.component.streaming else { return Err(Outcome::Unsupported.into()) };
        let result = guarded(&self.meter, None, async {
            let guest = exports.load(&mut self.guest.store, &self.guest.instance)?;
            let writer = writer(&mut self.guest.writer, &mut self.guest.store, outbox)?;
            guest.call_run(&mut self.guest.store, writer).await
        })
        .await?;
        match result {
            Ok(Ok(trailers)) => response::trailers(trailers),
            Ok(Err(error)) => Err(Failure::new(Outcome::GuestError, format!("{error:?}"))),
            Err(error) => Err(classify(&self.guest.store, &error)),
        }
    }

    /// Turns the running instance into a held one; it then counts against `held` and no longer against `instances`.
    pub fn hold(&mut self) -> Result<(), Outcome> {
        self.binding.gates.hold(&mut self.permit)
    }

    /// The next message or timer.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let Some(session) = &mut self.guest.store.data_mut().session else { return Poll::Pending };
        if let Poll::Ready(message) = session.subscriber.poll_next(context) {
            return Poll::Ready(Event::Message(message));
        }
        session.timers.poll_next(context).map(Event::Timer)
    }

    /// Calls `event-loop.on-event` with a CPU budget of its own.
    pub async fn on_event(&mut self, event: Event, outbox: &Outbox<Bytes>) -> Result<Next, Failure> {
        let Some(exports) = &self.binding.component.event_loop else { return Err(Outcome::Unsupported.into()) };
        self.meter.start_budget(self.binding.limits.callback_cpu);
        self.guest.store.set_epoch_deadline(1);
        let event = lower_event(event);
        let result = guarded(&self.meter, None, async {
            let guest = exports.load(&mut self.guest.store, &self.guest.instance)?;
            let writer = writer(&mut self.guest.writer, &mut self.guest.store, outbox)?;
            guest.call_on_event(&mut self.guest.store, &event, writer).await
        })
        .await?;
        match result {
            Ok(types::Next::Continue) => Ok(Next::Continue),
            Ok(types::Next::Stop(trailers)) => Ok(Next::Stop(response::trailers(trailers)?)),
            Err(error) => Err(classify(&self.guest.store, &error)),
        }
    }

    /// Calls the callback of `websocket` that fits, with a CPU budget of its own.
    pub async fn on_socket(&mut self, event: SocketEvent, outbox: &Outbox<Outgoing>) -> Result<Next, Failure> {
        let Some(exports) = &self.binding.component.websocket else { return Err(Outcome::Unsupported.into()) };
        self.meter.start_budget(self.binding.limits.callback_cpu);
        self.guest.store.set_epoch_deadline(1);
        let result = guarded(&self.meter, None, async {
            let guest = exports.load(&mut self.guest.store, &self.guest.instance)?;
            let sender = sender(&mut self.guest.writer, &mut self.guest.store, outbox)?;
            let store = &mut self.guest.store;
            match event {
                SocketEvent::Open => guest.call_on_open(store, sender).await,
                SocketEvent::Text(text) => guest.call_on_message(store, &types::WsMessage::Text(text), sender).await,
                SocketEvent::Binary(bytes) => {
                    guest.call_on_message(store, &types::WsMessage::Binary(bytes.into()), sender).await
                }
                SocketEvent::Event(event) => guest.call_on_event(store, &lower_event(event), sender).await,
            }
        })
        .await?;
        match result {
            Ok(types::Next::Continue) => Ok(Next::Continue),
            Ok(types::Next::Stop(_)) => Ok(Next::Stop(HeaderMap::new())),
            Err(error) => Err(classify(&self.guest.store, &error)),
        }
    }

    /// The request's body as far as the guest has left it.
    pub fn take_body(&mut self) -> LeftBody {
        let state = self.guest.store.data_mut();
        match state.body.take() {
            Some(body) => LeftBody::Whole(body),
            None if state.body_taken => LeftBody::Taken,
            None => LeftBody::None,
        }
    }

    /// The instance's account.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The binding that the instance was started for.
    pub fn binding(&self) -> &Arc<Binding> {
        &self.binding
    }

    fn check_shape(&self, response: &Response) -> Result<(), Failure> {
        let component = &self.binding.component;
        let (shape, interface) = match response {
            Response::Buffered { .. } => (Shape::Buffered, None),
            Response::Stream(_) => (Shape::Stream, component.streaming.is_none().then_some("streaming")),
            Response::Loop { .. } => (Shape::Loop, component.event_loop.is_none().then_some("event-loop")),
            Response::Sendfile { .. } => (Shape::Sendfile, None),
            Response::WebSocket { .. } => (Shape::WebSocket, component.websocket.is_none().then_some("websocket")),
            Response::WebTransport { .. } => (Shape::Pending, Some("webtransport")),
        };
        self.meter.set_shape(shape);
        match interface {
            None => Ok(()),
            Some(interface) => {
                let detail = format!("the component answered with a shape that needs it to export {interface}");
                Err(Failure::new(Outcome::Unsupported, detail))
            }
        }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// Gives the request's body to the state of the instance, where the guest finds it.
fn lend_body(store: &mut Store<State>, request: &mut Request) -> wasmtime::Result<()> {
    let Some(body) = request.body.take() else { return Ok(()) };
    if !store.data_mut().memory.charge(body.buffered()) {
        return Err(Stop(Outcome::MemoryExceeded).into());
    }
    store.data_mut().body = Some(body);
    Ok(())
}

fn writer(
    writer: &mut Option<Writer>,
    store: &mut Store<State>,
    outbox: &Outbox<Bytes>,
) -> wasmtime::Result<Resource<BodyWriter>> {
    if let Some(Writer::Body { resource, outbox: known }) = writer
        && known.is(outbox)
    {
        return Ok(Resource::new_borrow(resource.rep()));
    }
    let resource = store.data_mut().table.push(BodyWriter(outbox.clone()))?;
    let borrow = Resource::new_borrow(resource.rep());
    *writer = Some(Writer::Body { resource, outbox: outbox.clone() });
    Ok(borrow)
}

fn sender(
    writer: &mut Option<Writer>,
    store: &mut Store<State>,
    outbox: &Outbox<Outgoing>,
) -> wasmtime::Result<Resource<MessageSender>> {
    if let Some(Writer::Messages { resource, outbox: known }) = writer
        && known.is(outbox)
    {
        return Ok(Resource::new_borrow(resource.rep()));
    }
    let resource = store.data_mut().table.push(MessageSender(outbox.clone()))?;
    let borrow = Resource::new_borrow(resource.rep());
    *writer = Some(Writer::Messages { resource, outbox: outbox.clone() });
    Ok(borrow)
}

fn lower_event(event: Event) -> types::Event {
    match event {
        Event::Message(message) => types::Event::Message(types::Message {
            topic: message.topic.to_string(),
            payload: message.payload.into(),
            missed: message.missed,
        }),
        Event::Timer(id) => types::Event::Timer(id),
        Event::Body(piece) => types::Event::Body(piece.into()),
        Event::BodyEnd(trailers) => types::Event::BodyEnd(fields(&trailers)),
        Event::Drain(left) => types::Event::Drain(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        Event::Disconnect(reason) => types::Event::Disconnect(match reason {
            Disconnect::Closed => types::Disconnect::Closed,
            Disconnect::Reset => types::Disconnect::Reset,
            Disconnect::ConnectionLost => types::Disconnect::ConnectionLost,
            Disconnect::Timeout => types::Disconnect::Timeout,
        }),
    }
}

/// Runs a call into the guest under its account. The deadline's timer exists only for calls that wait.
async fn guarded<T>(meter: &Meter, deadline: Option<Instant>, call: impl Future<Output = T>) -> Result<T, Outcome> {
    let mut call = pin!(call);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if meter.is_killed() {
            return Poll::Ready(Err(Outcome::Killed));
        }
        meter.enter();
        let polled = call.as_mut().poll(context);
        meter.leave();
        if let Poll::Ready(value) = polled {
            return Poll::Ready(Ok(value));
        }
        meter.register(context);
        if let Some(deadline) = deadline {
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(Outcome::DeadlineExceeded));
            }
        }
        Poll::Pending
    })
    .await
}

/// What an error of the engine means. A trap that follows a refused growth is the guest's out-of-memory abort.
fn classify(store: &Store<State>, error: &wasmtime::Error) -> Failure {
    if let Some(Stop(outcome)) = error.downcast_ref() {
        return (*outcome).into();
    }
    if store.data().memory.denied() {
        return Failure::new(Outcome::MemoryExceeded, first_line(error));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Outcome::HandlesExceeded.into();
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Failure::new(Outcome::Trapped, format!("{trap}; {}", first_line(error)));
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Failure::new(Outcome::Trapped, format!("the guest exited with code {}", exit.0));
    }
    let text = format!("{error:#}");
    // The engine's errors for these two limits are private types.
    if text.contains("fuel allocated for hostcalls") {
        return Failure::new(Outcome::HostCallExceeded, text);
    }
    if text.contains("handle") && text.contains("limit") {
        return Failure::new(Outcome::HandlesExceeded, text);
    }
    Failure::new(Outcome::Trapped, text)
}

fn first_line(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    text.lines().take(12).map(str::trim).collect::<Vec<_>>().join(" | ")
}
