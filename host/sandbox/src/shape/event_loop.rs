//! The shape `loop`: a guest that is called for each event, and writes when it wants to.

use bytes::Bytes;
use roadrunner_account::{Failure, Outcome};

use crate::bindings::roadrunner::handler::types;
use crate::component::Component;
use crate::guest::core::Stop;
use crate::guest::event::{Event, Next};
use crate::guest::output::{Outbox, Writer};
use crate::guest::response;
use crate::instance::Instance;
use crate::native::{Guest, Lent};

impl Instance {
    /// Calls `event-loop.on-event` with a CPU budget of its own. Every call has to get the same outbox.
    pub async fn on_event(&mut self, event: Event, outbox: &Outbox<Bytes>) -> Result<Next, Failure> {
        let budget = self.binding.grants.limits.callback_cpu;
        let event = event.lower();
        let call = async |guest: &mut Guest, component: &Component| {
            let Guest { store, instance, event_loop, .. } = guest;
            let (guest, writer) = match event_loop {
                Some(made) => made,
                none => {
                    let Some(exports) = &component.exports.event_loop else {
                        return Err(Stop(Outcome::Unsupported).into());
                    };
                    none.insert((exports.load(&mut *store, instance)?, Lent::new(store, Writer(outbox.clone()))?))
                }
            };
            guest.call_on_event(store, &event, writer.borrow()).await
        };
        match self.callback(budget, None, call).await? {
            types::Next::Continue => Ok(Next::Continue),
            types::Next::Stop(trailers) => {
                Ok(Next::Stop(response::trailers(trailers, self.binding.bounds(&self.meter))?))
            }
        }
    }
}
