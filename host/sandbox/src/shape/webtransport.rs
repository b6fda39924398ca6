//! The shape `webtransport`: a guest that is called for each event of a session with many streams.

use std::sync::Arc;

use http::HeaderMap;
use roadrunner_account::{Failure, Outcome};

use crate::bindings::roadrunner::handler::types;
use crate::component::Component;
use crate::guest::core::Stop;
use crate::guest::event::Next;
use crate::guest::webtransport::{Lowered, SessionHandle, WebTransport, WebTransportEvent};
use crate::instance::Instance;
use crate::native::{Guest, Lent};

impl Instance {
    /// Calls the `webtransport` callback for the event, with a CPU budget of its own. Every call has to get the same
    /// session.
    pub async fn on_webtransport(
        &mut self,
        event: WebTransportEvent,
        session: &Arc<dyn WebTransport>,
    ) -> Result<Next, Failure> {
        let budget = self.binding.grants.limits.callback_cpu;
        let event = event.lower();
        let call = async |guest: &mut Guest, component: &Component| {
            let Guest { store, instance, webtransport, .. } = guest;
            let (guest, session) = match webtransport {
                Some(made) => made,
                none => {
                    let Some(exports) = &component.exports.webtransport else {
                        return Err(Stop(Outcome::Unsupported).into());
                    };
                    let handle = SessionHandle(session.clone());
                    none.insert((exports.load(&mut *store, instance)?, Lent::new(store, handle)?))
                }
            };
            let session = session.borrow();
            match event {
                Lowered::Open => guest.call_on_open(store, session).await,
                Lowered::Session(event) => guest.call_on_session_event(store, &event, session).await,
                Lowered::Event(event) => guest.call_on_event(store, &event.lower(), session).await,
            }
        };
        match self.callback(budget, None, call).await? {
            types::Next::Continue => Ok(Next::Continue),
            types::Next::Stop(_) => Ok(Next::Stop(HeaderMap::new())),
        }
    }
}
