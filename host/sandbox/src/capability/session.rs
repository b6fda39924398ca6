//! Events of a held session: messages on the bus, and timers.
//!
//! Both wake the same instance, and count against the same limit, `handles`. So they are one capability.

use std::sync::Arc;
use std::task::{Context, Poll};

use roadrunner_account::{Outcome, cover};
use wasmtime::Result;
use wasmtime::component::Linker;

use super::bus::{Bus, MAX_TOPIC, PublishError, Subscriber};
use super::timers::Timers;
use crate::bindings::roadrunner::handler::types::Error;
use crate::bindings::roadrunner::handler::{bus, timers};
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of, Stop};
use crate::guest::event::Event;

/// The capabilities `bus` and `timers`.
pub struct Events;

/// The topics that a component can use.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    /// The bus of the host.
    pub bus: Bus,
    /// The owner of the topics: a name that no other tenant and no other tenant's component has.
    pub owner: Arc<str>,
}

/// The subscriptions and timers of one instance.
#[derive(Debug)]
pub struct Session {
    subscriber: Subscriber,
    timers: Timers,
}

impl Session {
    /// Polls for the next message or timer.
    pub(crate) fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(message) = self.subscriber.poll_next(context) {
            return Poll::Ready(Event::Message(message));
        }
        self.timers.poll_next(context).map(Event::Timer)
    }
}

impl Capability for Events {
    type Grant = Topics;
    type Held = Option<Box<Session>>;

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        bus::add_to_linker::<_, Of<Self>>(linker, T::call)?;
        timers::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl Call<'_, Events> {
    fn session(&mut self) -> &mut Session {
        let Call { grant, held, core } = self;
        held.get_or_insert_with(|| {
            let subscriber = Subscriber::new(grant.bus.clone(), grant.owner.clone(), core.limits.queue_bytes);
            Box::new(Session {
                subscriber: subscriber.of(core.meter.subject.tenant.clone()),
                timers: Timers::default(),
            })
        })
    }

    /// Checks that a timer or subscription may be added: they count as handles.
    fn take_handle(&mut self) -> Result<()> {
        let limit = self.core.limits.handles;
        let session = self.session();
        if session.subscriber.len() + session.timers.len() >= limit {
            return Err(Stop(Outcome::HandlesExceeded).into());
        }
        Ok(())
    }
}

impl bus::Host for Call<'_, Events> {
    fn subscribe(&mut self, topic: String) -> Result<Result<(), Error>> {
        if topic.len() > MAX_TOPIC {
            return Ok(Err(Error::TooLarge(MAX_TOPIC as u64)));
        }
        if !self.session().subscriber.contains(&topic) {
            self.take_handle()?;
            if !self.session().subscriber.subscribe(&topic) {
                return Ok(Err(Error::Refused("the tenant has as many topics as it may have".to_owned())));
            }
        }
        Ok(Ok(()))
    }

    fn unsubscribe(&mut self, topic: String) -> Result<()> {
        if let Some(session) = &mut *self.held {
            session.subscriber.unsubscribe(&topic);
        }
        Ok(())
    }

    fn publish(&mut self, topic: String, payload: Vec<u8>) -> Result<Result<u32, Error>> {
        if topic.len() > MAX_TOPIC {
            return Ok(Err(Error::TooLarge(MAX_TOPIC as u64)));
        }
        // The payload counts for as long as it waits for anybody.
        let payload = match cover(&self.core.meter, payload.into()) {
            Ok(payload) => payload,
            Err(outcome) => {
                return Ok(Err(Error::Refused(format!("the message cannot wait: {}", outcome.row().message))));
            }
        };
        Ok(self.grant.bus.publish(&self.grant.owner, &topic, payload).map_err(Error::from))
    }
}

impl timers::Host for Call<'_, Events> {
    fn after(&mut self, ms: u64) -> Result<u64> {
        self.take_handle()?;
        Ok(self.session().timers.set(ms, false))
    }

    fn every(&mut self, ms: u64) -> Result<u64> {
        self.take_handle()?;
        Ok(self.session().timers.set(ms, true))
    }

    fn cancel(&mut self, id: u64) -> Result<()> {
        if let Some(session) = &mut *self.held {
            session.timers.cancel(id);
        }
        Ok(())
    }
}

impl From<PublishError> for Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::QueueFull => Self::Refused(error.to_string()),
            PublishError::TooLarge(limit) => Self::TooLarge(limit),
        }
    }
}
