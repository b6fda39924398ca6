//! A running instance of a native component: its store, and the exports that were called.

use roadrunner_account::Outcome;
use wasmtime::Store;
use wasmtime::component::{self, Resource};

use crate::bindings::exports::roadrunner::handler as exports;
use crate::component::{Component, Handler};
use crate::guest::core::Stop;
use crate::guest::output::{BodyWriter, MessageSender};
use crate::guest::webtransport::SessionHandle;
use crate::restore::First;
use crate::state::State;

/// The part of an instance that can outlive a request, where its component is reused.
pub(crate) struct Guest {
    pub(crate) store: Store<State>,
    pub(crate) instance: component::Instance,
    pub(crate) handler: exports::handler::Guest,
    /// The exports and the handle for the callbacks of a held instance; made at the first callback.
    pub(crate) event_loop: Option<(exports::event_loop::Guest, Lent<BodyWriter>)>,
    pub(crate) websocket: Option<WebSocketExports>,
    pub(crate) webtransport: Option<(exports::webtransport::Guest, Lent<SessionHandle>)>,
    /// The first state, to which the instance can be put back; none where it cannot.
    pub(crate) first: Option<First>,
    /// The number of requests answered so far.
    pub(crate) answered: u32,
}

impl Guest {
    /// Whether it was called as a held session.
    pub(crate) fn is_session(&self) -> bool {
        self.event_loop.is_some() || self.websocket.is_some() || self.webtransport.is_some()
    }

    /// Gives the pages that it has written back to the kernel. It is to be dropped next.
    pub(crate) fn release(&self) {
        if let Some(first) = &self.first {
            first.release(&self.store);
        }
    }

    pub(crate) fn new(store: Store<State>, instance: component::Instance, handler: exports::handler::Guest) -> Self {
        Self {
            store,
            instance,
            handler,
            event_loop: None,
            websocket: None,
            webtransport: None,
            first: None,
            answered: 1,
        }
    }
}

/// The guest's handle on its output: created once for the life of the instance, and lent for each call.
pub(crate) struct Lent<R: 'static>(Resource<R>);

impl<R: Send + 'static> Lent<R> {
    pub(crate) fn new(store: &mut Store<State>, resource: R) -> wasmtime::Result<Self> {
        Ok(Self(store.data_mut().core.table.push(resource)?))
    }

    /// Ends the loan.
    pub(crate) fn end(self, store: &mut Store<State>) -> wasmtime::Result<()> {
        store.data_mut().core.table.delete(self.0)?;
        Ok(())
    }

    pub(crate) fn borrow(&self) -> Resource<R> {
        Resource::new_borrow(self.0.rep())
    }
}

/// The exports and the handle for the callbacks of a held WebSocket.
pub(crate) struct WebSocketExports {
    pub(crate) callbacks: exports::websocket::Guest,
    pub(crate) batch: Option<exports::websocket_batch::Guest>,
    pub(crate) sender: Lent<MessageSender>,
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
