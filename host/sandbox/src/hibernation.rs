//! Held sessions that give up their instance while nothing happens: bytes out, bytes in.
//!
//! The host asks a guest that exports `hibernation` for the state of its session, and drops the guest. The state stays,
//! with the session's subscriptions, timers and account: the session keeps its id, can be listed and can be killed. The
//! next event makes a fresh instance, which gets the state back before it gets the event.
//!
//! When more sessions wake than may be held at once, they wait for a place; idle held sessions are woken up to make
//! room ([`Gates::is_pressed`](crate::Gates::is_pressed)).

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use roadrunner_account::{Charge, Failure, Meter, Outcome, Permit, Registration};

use crate::binding::Binding;
use crate::call::guarded;
use crate::capability::session::Session;
use crate::component::Component;
use crate::guest::event::{Event, Next};
use crate::guest::output::{Outbox, Outgoing};
use crate::guest::webtransport::{WebTransport, WebTransportEvent};
use crate::instance::Instance;
use crate::native::{Guest, load_handler};
use crate::shape::websocket::SocketEvent;

/// The longest time that a waking session waits for a place among the held. After it, the session ends as
/// `held-exceeded`.
const WAKE_WAIT: Duration = Duration::from_secs(10);

/// The interval at which idle sessions are asked to make room while others wait.
const PRESS: Duration = Duration::from_millis(250);

/// A held session, with or without its instance.
#[derive(Debug)]
pub struct Held {
    what: What,
    /// The guest was asked for its state since its last event, and stayed.
    refused: bool,
    meter: Arc<Meter>,
    binding: Arc<Binding>,
}

#[derive(Debug)]
enum What {
    Awake(Box<Instance>),
    Dormant(Box<Dormant>),
    /// The session could not be woken, or its guest has failed.
    Gone,
}

/// The remains of an instance. Its place is given back when it is dropped.
#[derive(Debug)]
struct Dormant {
    state: Box<[u8]>,
    session: Option<Box<Session>>,
    registration: Registration,
    _charge: Charge,
    _permit: Permit,
}

impl Held {
    /// Creates a session that is held by this instance.
    pub fn new(instance: Instance) -> Self {
        Self {
            meter: instance.meter.clone(),
            binding: instance.binding.clone(),
            refused: false,
            what: What::Awake(Box::new(instance)),
        }
    }

    /// The session's account.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The binding that the session was started for.
    pub fn binding(&self) -> &Arc<Binding> {
        &self.binding
    }

    /// The next message or timer, whether the session hibernates or not.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match &mut self.what {
            What::Awake(instance) => instance.poll_event(context),
            What::Dormant(dormant) => match &mut dormant.session {
                Some(session) => session.poll_event(context),
                None => Poll::Pending,
            },
            What::Gone => Poll::Pending,
        }
    }

    /// Calls `event-loop.on-event`, and wakes the session first if it hibernates.
    pub async fn on_event(&mut self, event: Event, outbox: &Outbox<Bytes>) -> Result<Next, Failure> {
        self.refused = false;
        self.awake().await?.on_event(event, outbox).await
    }

    /// Calls the `websocket` callback for the event, and wakes the session first if it hibernates.
    pub async fn on_socket(&mut self, event: SocketEvent, outbox: &Outbox<Outgoing>) -> Result<Next, Failure> {
        self.refused = false;
        self.awake().await?.on_socket(event, outbox).await
    }

    /// Calls the `webtransport` callback for the event, and wakes the session first if it hibernates.
    pub async fn on_webtransport(
        &mut self,
        event: WebTransportEvent,
        session: &Arc<dyn WebTransport>,
    ) -> Result<Next, Failure> {
        self.refused = false;
        self.awake().await?.on_webtransport(event, session).await
    }

    /// The time without an event after which [`Self::suspend`] is to be called; none where the session has no instance,
    /// or must keep it.
    pub fn hibernates_after(&self) -> Option<Duration> {
        let can = matches!(self.what, What::Awake(_)) && self.binding.component.exports.hibernation.is_some();
        self.binding.grants.limits.hibernate.filter(|_| can && !self.refused)
    }

    /// Asks the guest for its state, and drops the guest if it gives one. The guest stays where there is no room for
    /// another hibernating session. A guest that refuses, or whose state is too large, stays until its next event.
    pub async fn suspend(&mut self) -> Result<(), Failure> {
        let What::Awake(instance) = &mut self.what else { return Ok(()) };
        let Some(permit) = self.binding.gates.hibernate() else { return Ok(()) };
        self.refused = true;
        let Some(state) = suspend(instance).await? else { return Ok(()) };
        if state.len() > self.binding.grants.limits.hibernate_bytes {
            tracing::debug!(
                instance = self.meter.id,
                component = %self.meter.subject.component,
                "a state of {} bytes is over `hibernate-bytes`, so the session stays held",
                state.len()
            );
            return Ok(());
        }
        let Ok(charge) = Charge::take(self.meter.clone(), state.len() as u64) else { return Ok(()) };
        let What::Awake(instance) = std::mem::replace(&mut self.what, What::Gone) else { return Ok(()) };
        instance.guest.release();
        let Instance { mut guest, registration, .. } = *instance;
        let session = guest.store.data_mut().held.events.take();
        drop(guest);
        self.meter.set_hibernating(true);
        let dormant = Dormant { state: state.into(), session, registration, _charge: charge, _permit: permit };
        self.what = What::Dormant(Box::new(dormant));
        Ok(())
    }

    /// The instance; if the session hibernates, a fresh instance with the saved state.
    async fn awake(&mut self) -> Result<&mut Instance, Failure> {
        if let What::Dormant(_) = self.what {
            let permit = place(&self.binding).await?;
            let What::Dormant(dormant) = std::mem::replace(&mut self.what, What::Gone) else {
                return Err(Outcome::Cancelled.into());
            };
            let Dormant { state, session, registration, _charge, _permit: hibernated } = *dormant;
            let guest = resume(&self.binding, &self.meter, session, state.into()).await?;
            drop(hibernated);
            self.meter.set_hibernating(false);
            let (binding, meter) = (self.binding.clone(), self.meter.clone());
            self.what = What::Awake(Box::new(Instance { guest, binding, meter, registration, permit }));
        }
        match &mut self.what {
            What::Awake(instance) => Ok(instance),
            What::Dormant(_) | What::Gone => Err(Outcome::Cancelled.into()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let What::Awake(instance) = &self.what {
            instance.guest.release();
        }
    }
}

/// Waits for a place among the held sessions, and presses idle sessions to make room.
async fn place(binding: &Binding) -> Result<Permit, Outcome> {
    let mut waiting = pin!(binding.gates.wake(WAKE_WAIT));
    let instances = &binding.component.sandbox.accounts().instances;
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            biased;
            permit = &mut waiting => return permit,
            () = tokio::time::sleep(pause) => instances.press(PRESS),
        }
        pause = PRESS;
    }
}

/// Calls `hibernation.suspend`.
async fn suspend(instance: &mut Instance) -> Result<Option<Vec<u8>>, Failure> {
    let limits = instance.binding.grants.limits.clone();
    let call = async |guest: &mut Guest, component: &Component| {
        let Guest { store, instance, .. } = guest;
        match &component.exports.hibernation {
            Some(exports) => exports.load(&mut *store, instance)?.call_suspend(store).await,
            None => Ok(None),
        }
    };
    instance.callback(limits.callback_cpu, Some(Instant::now() + limits.deadline), call).await
}

/// Starts an instance and calls its `hibernation.resume`, with the budget of a request.
async fn resume(
    binding: &Arc<Binding>,
    meter: &Arc<Meter>,
    session: Option<Box<Session>>,
    state: Vec<u8>,
) -> Result<Guest, Failure> {
    let component = &binding.component;
    let Some(exports) = &component.exports.hibernation else { return Err(Outcome::Unsupported.into()) };
    meter.start_budget(binding.grants.limits.cpu);
    let deadline = Instant::now() + binding.grants.limits.deadline;
    let mut store = binding.store(meter)?;
    store.data_mut().held.events = session;
    let result = {
        let call = pin!(async {
            let (instance, first) = binding.make(&mut store).await?;
            let handler = load_handler(component, &mut store, &instance)?;
            exports.load(&mut store, &instance)?.call_resume(&mut store, &state).await?;
            Ok((instance, handler, first))
        });
        guarded(meter, binding.turns(), Some(deadline), call).await?
    };
    match result {
        Ok((instance, handler, first)) => Ok(Guest { first, ..Guest::new(store, instance, handler) }),
        Err(error) => Err(binding.classify(&store, &error)),
    }
}
