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
use roadrunner_log::{Quoted, shortened};
use tokio::time::Sleep;
use wasmtime::component::{self, Resource, ResourceTableError};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use crate::bindings::exports::roadrunner::handler as exports;
use crate::bindings::roadrunner::handler::types;
use crate::capability::Message;
use crate::component::{Component, Handler};
use crate::gate::Permit;
use crate::meter::{Meter, Shape, Subject};
use crate::outcome::{Failure, Outcome};
use crate::output::{BodyWriter, Outbox, Writer};
use crate::parking::{Idle, Parking};
use crate::registry::Registration;
use crate::request::{Body, Request};
use crate::response::{self, Bounds, Response};
use crate::state::{Binding, State, Stop, fields};
use crate::turns::Turns;
use crate::websocket::WebSocketExports;
use crate::webtransport::{Lowered, SessionHandle, WebTransport, WebTransportEvent};
use crate::work::Pause;

/// A live instance. Its places in the gates are free again when it is dropped, and not before.
pub struct Instance {
    // Fields are dropped in this order: the guest first, its permit last.
    pub(crate) guest: Guest,
    pub(crate) binding: Arc<Binding>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) registration: Registration,
    pub(crate) permit: Permit,
}

/// The part of an instance that can outlive a request, where its component is reused.
pub(crate) struct Guest {
    pub(crate) store: Store<State>,
    pub(crate) instance: component::Instance,
    handler: exports::handler::Guest,
    /// The exports and the handle for the callbacks of a held instance; made at the first callback.
    event_loop: Option<(exports::event_loop::Guest, Lent<BodyWriter>)>,
    pub(crate) websocket: Option<WebSocketExports>,
    webtransport: Option<(exports::webtransport::Guest, Lent<SessionHandle>)>,
    /// The number of requests answered so far.
    pub(crate) answered: u32,
}

impl Guest {
    pub(crate) fn new(store: Store<State>, instance: component::Instance, handler: exports::handler::Guest) -> Self {
        Self { store, instance, handler, event_loop: None, websocket: None, webtransport: None, answered: 1 }
    }
}

/// The guest's handle on its output: created once for the life of the instance, and lent for each call.
pub(crate) struct Lent<R: 'static>(Resource<R>);

impl<R: Send + 'static> Lent<R> {
    pub(crate) fn new(store: &mut Store<State>, resource: R) -> wasmtime::Result<Self> {
        Ok(Self(store.data_mut().table.push(resource)?))
    }

    pub(crate) fn borrow(&self) -> Resource<R> {
        Resource::new_borrow(self.0.rep())
    }
}

/// An event that wakes a held instance.
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
    /// The host shuts down after this time.
    Drain(Duration),
    /// The last event.
    Disconnect(Disconnect),
}

/// The reason why a session ended.
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

/// The part of a request's body that a guest has left.
#[derive(Debug)]
pub enum LeftBody {
    /// The request has no body.
    None,
    /// The guest has the body.
    Taken,
    /// The whole body is left.
    Whole(Body),
}

/// The next step that a callback asks for.
#[derive(Debug)]
pub enum Next {
    /// Wait for the next event.
    Continue,
    /// End the response with these trailers.
    Stop(HeaderMap),
}

/// The maximum number of bytes of an error that are read to summarize it.
const SUMMARY: usize = 4 << 10;

/// Entries that one call of a WASI 0.3 guest takes in the engine's table of tasks, streams and futures, at most.
const CALL_HANDLES: usize = 64;

impl Binding {
    /// Creates the account for a request, and for the instance that is to answer it.
    pub fn meter(&self, subject: Subject) -> Arc<Meter> {
        let sandbox = &self.component.sandbox;
        let (id, places) = (sandbox.next_instance(), self.component.places);
        let limits = &self.limits;
        Arc::new(Meter::new(id, subject, places, sandbox.buffers().clone(), limits.memory, limits.log_bytes))
    }

    pub(crate) fn bounds<'a>(&self, meter: &'a Arc<Meter>) -> Bounds<'a> {
        Bounds { meter, head: self.limits.response_head }
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
            Some(Idle::Native(mut guest)) => {
                guest.store.data_mut().start_over(&meter);
                guest.store.set_epoch_deadline(1);
                guest.answered += 1;
                let request = lend(&mut guest.store, request)?;
                self.answer_again(guest, &meter, deadline, request).await?
            }
            // All idle guests of a binding are of one kind.
            Some(Idle::Standard(_)) | None => {
                let mut store = self.store(&meter)?;
                let request = lend(&mut store, request)?;
                self.answer_first(store, &meter, deadline, request).await?
            }
        };
        let response = Response::check(answer, self.bounds(&meter))?;
        let instance = Instance { guest, binding: self.clone(), meter, registration, permit };
        instance.check_shape(&response)?;
        Ok((instance, response))
    }

    /// Answers in a fresh instance.
    async fn answer_first(
        &self,
        mut store: Store<State>,
        meter: &Meter,
        deadline: Instant,
        request: Resource<Request>,
    ) -> Result<(Guest, types::Response), Failure> {
        let result = {
            let call = pin!(async {
                let instance = self.component.pre.instantiate_async(&mut store).await?;
                let handler = load_handler(&self.component, &mut store, &instance)?;
                let response = handler.call_handle(&mut store, request).await?;
                Ok((instance, handler, response))
            });
            guarded(meter, self.turns(), Some(deadline), call).await
        };
        match result {
            Ok(Ok((instance, handler, response))) => Ok((Guest::new(store, instance, handler), response)),
            Ok(Err(error)) => Err(classify(&store, &error)),
            Err(outcome) => Err(outcome.into()),
        }
    }

    /// Answers in an instance that has answered before.
    async fn answer_again(
        &self,
        mut guest: Guest,
        meter: &Meter,
        deadline: Instant,
        request: Resource<Request>,
    ) -> Result<(Guest, types::Response), Failure> {
        let result = {
            let call = pin!(guest.handler.call_handle(&mut guest.store, request));
            guarded(meter, self.turns(), Some(deadline), call).await
        };
        match result {
            Ok(Ok(response)) => Ok((guest, response)),
            Ok(Err(error)) => Err(classify(&guest.store, &error)),
            Err(outcome) => Err(outcome.into()),
        }
    }

    pub(crate) fn turns(&self) -> &Turns {
        self.component.sandbox.turns()
    }

    /// Creates the store of a new instance. Fails where slots of its engine may hold data of another instance.
    pub(crate) fn store(self: &Arc<Self>, meter: &Arc<Meter>) -> Result<Store<State>, Failure> {
        if !self.component.may_start() {
            return Err(Outcome::Overloaded.into());
        }
        let mut store = Store::new(self.component.pre.engine(), State::new(self.clone(), meter.clone()));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(self.limits.host_call_bytes);
        store.set_max_component_handles(self.limits.handles);
        if let Some(table) = store.concurrent_resource_table() {
            // Tasks, streams and futures of a guest of WASI 0.3; a call takes a few on its own.
            table.set_max_capacity(self.limits.handles.saturating_add(CALL_HANDLES));
        }
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
        Ok(store)
    }
}

impl Instance {
    /// Ends an instance that has answered in full: drops it, or parks it for the next request where its component is
    /// reused.
    pub fn finish(self) {
        let Self { mut guest, binding, meter, .. } = self;
        if let Some(parking) = &binding.parking
            && guest.store.data().memory.denied().is_none()
            && !meter.is_killed()
        {
            guest.store.data_mut().rest();
            parking.put(&binding, Idle::Native(guest));
        }
    }

    /// Calls `streaming.run`, which writes to `outbox`, and returns its trailers. The CPU time of the handler counts
    /// too.
    pub async fn run(&mut self, outbox: &Outbox<Bytes>) -> Result<HeaderMap, Failure> {
        let Some(exports) = &self.binding.component.streaming else { return Err(Outcome::Unsupported.into()) };
        let result = {
            let call = pin!(async {
                let Guest { store, instance, .. } = &mut self.guest;
                let guest = exports.load(&mut *store, instance)?;
                let writer = Lent::new(store, Writer(outbox.clone()))?;
                guest.call_run(store, writer.borrow()).await
            });
            guarded(&self.meter, self.binding.turns(), None, call).await?
        };
        match result {
            Ok(Ok(trailers)) => response::trailers(trailers, self.binding.bounds(&self.meter)),
            Ok(Err(error)) => Err(Failure::new(Outcome::GuestError, Quoted::debug(error))),
            Err(error) => Err(classify(&self.guest.store, &error)),
        }
    }

    /// Turns the running instance into a held one; it then counts against `held` and no longer against `instances`.
    pub fn hold(&mut self) -> Result<(), Outcome> {
        self.binding.gates.hold(&mut self.permit)
    }

    /// Polls for the next message or timer.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match &mut self.guest.store.data_mut().session {
            Some(session) => session.poll_event(context),
            None => Poll::Pending,
        }
    }

    /// Calls `event-loop.on-event` with a CPU budget of its own. Every call has to get the same outbox.
    pub async fn on_event(&mut self, event: Event, outbox: &Outbox<Bytes>) -> Result<Next, Failure> {
        let Some(exports) = &self.binding.component.event_loop else { return Err(Outcome::Unsupported.into()) };
        self.meter.start_budget(self.binding.limits.callback_cpu);
        self.guest.store.set_epoch_deadline(1);
        let event = lower_event(event);
        let result = {
            let call = pin!(async {
                let Guest { store, instance, event_loop, .. } = &mut self.guest;
                let (guest, writer) = match event_loop {
                    Some(made) => made,
                    none => {
                        none.insert((exports.load(&mut *store, instance)?, Lent::new(store, Writer(outbox.clone()))?))
                    }
                };
                guest.call_on_event(store, &event, writer.borrow()).await
            });
            guarded(&self.meter, self.binding.turns(), None, call).await?
        };
        match result {
            Ok(types::Next::Continue) => Ok(Next::Continue),
            Ok(types::Next::Stop(trailers)) => {
                let bounds = self.binding.bounds(&self.meter);
                Ok(Next::Stop(response::trailers(trailers, bounds)?))
            }
            Err(error) => Err(classify(&self.guest.store, &error)),
        }
    }

    /// Calls the `webtransport` callback for the event, with a CPU budget of its own. Every call has to get the same
    /// session.
    pub async fn on_webtransport(
        &mut self,
        event: WebTransportEvent,
        session: &Arc<dyn WebTransport>,
    ) -> Result<Next, Failure> {
        let Some(exports) = &self.binding.component.webtransport else { return Err(Outcome::Unsupported.into()) };
        self.meter.start_budget(self.binding.limits.callback_cpu);
        self.guest.store.set_epoch_deadline(1);
        let event = event.lower();
        let result = {
            let call = pin!(async {
                let Guest { store, instance, webtransport, .. } = &mut self.guest;
                let (guest, session) = match webtransport {
                    Some(made) => made,
                    none => {
                        let handle = SessionHandle(session.clone());
                        none.insert((exports.load(&mut *store, instance)?, Lent::new(store, handle)?))
                    }
                };
                let session = session.borrow();
                match event {
                    Lowered::Open => guest.call_on_open(store, session).await,
                    Lowered::Session(event) => guest.call_on_session_event(store, &event, session).await,
                    Lowered::Event(event) => guest.call_on_event(store, &lower_event(event), session).await,
                }
            });
            guarded(&self.meter, self.binding.turns(), None, call).await?
        };
        match result {
            Ok(types::Next::Continue) => Ok(Next::Continue),
            Ok(types::Next::Stop(_)) => Ok(Next::Stop(HeaderMap::new())),
            Err(error) => Err(classify(&self.guest.store, &error)),
        }
    }

    /// Takes the part of the request's body that the guest has left.
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
            Response::WebTransport { .. } => {
                (Shape::WebTransport, component.webtransport.is_none().then_some("webtransport"))
            }
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

/// The export that is called with a request.
pub(crate) fn load_handler(
    component: &Component,
    store: &mut Store<State>,
    instance: &component::Instance,
) -> wasmtime::Result<exports::handler::Guest> {
    match &component.handler {
        Handler::Native(handler) => handler.load(store, instance),
        Handler::Service(_) | Handler::Standard(_) => Err(Stop(Outcome::Unsupported).into()),
    }
}

/// Puts the request where the guest finds it: its head as a handle, its body in the state.
fn lend(store: &mut Store<State>, mut request: Request) -> Result<Resource<Request>, Failure> {
    if let Some(body) = request.body.take() {
        store.data_mut().body = Some(body);
    }
    store.data_mut().table.push(request).map_err(|_| Outcome::HandlesExceeded.into())
}

pub(crate) fn lower_event(event: Event) -> types::Event {
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

/// Runs a call into the guest under its account, when its turn comes. Only calls that wait have a timer for the
/// deadline.
///
/// The call is pinned: by value, it would take its size twice in the future of each request.
pub(crate) async fn guarded<T>(
    meter: &Meter,
    turns: &Turns,
    deadline: Option<Instant>,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Outcome> {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut pause = Pause::default();
    poll_fn(|context| {
        if meter.is_killed() {
            return Poll::Ready(Err(Outcome::Killed));
        }
        if pause.poll(meter.subject.tenant.as_ref(), turns, meter.is_busy(), context).is_ready() {
            meter.enter();
            let polled = call.as_mut().poll(context);
            meter.leave();
            pause.end(false);
            meter.set_in_line(false);
            if let Poll::Ready(value) = polled
                && !meter.is_over_budget()
            {
                return Poll::Ready(Ok(value));
            }
        } else {
            meter.set_in_line(pause.is_in_line());
        }
        // The epoch interrupts the guest itself. This check is for CPU time that the host used for it, in or beside a
        // host call.
        if meter.is_over_budget() {
            return Poll::Ready(Err(Outcome::CpuExceeded));
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

/// Classifies an error of the engine. A trap that follows a refused growth is the guest's out-of-memory abort.
pub(crate) fn classify(store: &Store<State>, error: &wasmtime::Error) -> Failure {
    if let Some(Stop(outcome)) = error.downcast_ref() {
        return (*outcome).into();
    }
    if let Some(empty) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        let sandbox = &store.data().binding.component.sandbox;
        return sandbox.exhaustion().found(empty, sandbox.registry());
    }
    if let Some(outcome) = store.data().memory.denied() {
        return Failure::new(outcome, summary(error));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Outcome::HandlesExceeded.into();
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Failure::new(Outcome::Trapped, format!("{trap}; {}", summary(error)));
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Failure::new(Outcome::Trapped, format!("the guest exited with code {}", exit.0));
    }
    let cause = Quoted::display(error.root_cause()).to_string();
    // The engine's errors for these limits are private types, or plain texts.
    if cause.contains("fuel allocated for hostcalls") || cause.starts_with("\"requested len ") {
        return Failure::new(Outcome::HostCallExceeded, cause);
    }
    if cause.contains("cannot allocate another handle") || cause.contains("store handle limit exceeded") {
        return Failure::new(Outcome::HandlesExceeded, cause);
    }
    Failure::new(Outcome::Trapped, format!("{cause}; {}", summary(error)))
}

/// Summarizes the error and where it happened in the guest, without the long tail of a deep stack. Names come from the
/// guest.
fn summary(error: &wasmtime::Error) -> Quoted {
    let text = shortened(format_args!("{error:#}"), SUMMARY);
    Quoted::text(&text.lines().take(12).map(str::trim).collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;

    /// Names in a backtrace come from the guest, and may be as long as its component.
    #[test]
    fn a_backtrace_is_short_and_on_one_line() {
        let name = format!("outcome=ok\\n{}", "\\u{1b}x".repeat(1 << 14));
        let text = format!("(module (func (export \"run\") call $a) (func $a (@name \"{name}\") unreachable))");
        let engine = Engine::default();
        let module = Module::new(&engine, wat::parse_str(text).expect("a module")).expect("it compiles");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("it starts");
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").expect("a function");
        let error = run.call(&mut store, ()).expect_err("it traps");
        let summary = summary(&error).to_string();
        assert!(summary.contains("outcome=ok"), "the name is there: {summary}");
        assert!(summary.len() < 600 && summary.starts_with('"') && !summary.contains(['\n', '\u{1b}']), "{summary}");
    }
}
