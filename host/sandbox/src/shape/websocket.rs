//! A WebSocket as a guest sees it: its events, one callback at a time, and its output.
//!
//! A component that exports `websocket-batch` gets several messages in one call, if they are there. Every call has a
//! fixed cost (its fiber, its account, the way into the guest), which each small message would otherwise pay alone.

use http::HeaderMap;
use roadrunner_account::{Failure, Outcome};
use wasmtime::Store;

use crate::bindings::roadrunner::handler::types;
use crate::component::Component;
use crate::guest::core::Stop;
use crate::guest::event::{Event, Next};
use crate::guest::output::{Outbox, Outgoing, Writer};
use crate::instance::Instance;
use crate::native::{Guest, Lent, WebSocketExports};
use crate::state::State;

/// An event on a WebSocket.
#[derive(Debug)]
pub enum SocketEvent {
    /// The handshake's answer was sent.
    Open,
    /// Whole messages, in order, at least one. There are several only where [`Component::takes_batches`] holds.
    Messages(Vec<SocketMessage>),
    /// Anything else.
    Event(Event),
}

/// A whole message.
pub use crate::bindings::roadrunner::handler::types::WsMessage as SocketMessage;

impl WebSocketExports {
    fn new(
        component: &Component,
        store: &mut Store<State>,
        instance: &wasmtime::component::Instance,
        outbox: &Outbox<Outgoing>,
    ) -> wasmtime::Result<Self> {
        let Some(callbacks) = &component.exports.websocket else {
            return Err(Stop(Outcome::Unsupported).into());
        };
        let batch = component.exports.websocket_batch.as_ref();
        Ok(Self {
            callbacks: callbacks.load(&mut *store, instance)?,
            batch: batch.map(|batch| batch.load(&mut *store, instance)).transpose()?,
            sender: Lent::new(store, Writer(outbox.clone()))?,
        })
    }

    async fn call(&self, store: &mut Store<State>, event: SocketEvent) -> wasmtime::Result<types::Next> {
        let sender = self.sender.borrow();
        match event {
            SocketEvent::Open => self.callbacks.call_on_open(store, sender).await,
            SocketEvent::Event(event) => self.callbacks.call_on_event(store, &event.lower(), sender).await,
            SocketEvent::Messages(messages) => match (&*messages, &self.batch) {
                ([message], _) => self.callbacks.call_on_message(store, message, sender).await,
                (messages, Some(batch)) => batch.call_on_messages(store, messages, sender).await,
                (_, None) => Err(Stop(Outcome::Unsupported).into()),
            },
        }
    }
}

impl SocketEvent {
    /// The number of callbacks that the event counts as.
    fn callbacks(&self) -> u32 {
        match self {
            Self::Messages(messages) => u32::try_from(messages.len()).unwrap_or(u32::MAX),
            Self::Open | Self::Event(_) => 1,
        }
    }
}

impl Instance {
    /// Calls the `websocket` callback for the event. Its CPU budget is that of one call for each message. Every call
    /// has to get the same outbox.
    pub async fn on_socket(&mut self, event: SocketEvent, outbox: &Outbox<Outgoing>) -> Result<Next, Failure> {
        let budget = self.binding.grants.limits.callback_cpu.saturating_mul(event.callbacks());
        let call = async |guest: &mut Guest, component: &Component| {
            let Guest { store, instance, websocket, .. } = guest;
            let exports = match websocket {
                Some(made) => made,
                none => none.insert(WebSocketExports::new(component, store, instance, outbox)?),
            };
            exports.call(store, event).await
        };
        match self.callback(budget, None, call).await? {
            types::Next::Continue => Ok(Next::Continue),
            types::Next::Stop(_) => Ok(Next::Stop(HeaderMap::new())),
        }
    }
}
