//! Instances of WASI 0.3 that answer several requests at once, for components whose `reuse` asks for it.
//!
//! In other modes, the consumer of a response polls the guest. A shared instance has many consumers, so a task of its
//! own polls it: `work` takes requests, calls the guest for each and hands over the responses. The sender of a response
//! then takes its body from a channel, at the pace of its client.
//!
//! | subject | for a shared instance |
//! |---|---|
//! | memory, handles, log text | one limit for all of its requests together |
//! | CPU time | each request that it takes adds `cpu` to its budget |
//! | a fault, or an operator's `kill` | ends all requests that it has |
//! | a client that leaves, a deadline | the instance takes no further request, and ends when it has answered the others |
//!
//! Not covered: the share of each request. Each request is shown the use of the whole instance during its time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream as _};
use roadrunner_account::{Failure, Meter, Outcome, admits};
use tokio::sync::{OwnedSemaphorePermit, SetOnce, mpsc, oneshot};
use tokio::time::Sleep;
use wasmtime::component::Accessor;

use super::members::{Answer, Common, Job, Member, Shared};
use super::service;
use crate::binding::Binding;
use crate::call::guarded;
use crate::component::Handler;
use crate::guest::request::Request;
use crate::sandbox::PARKED;
use crate::state::State;

/// The part of one request in a shared instance. If it is dropped before it is [finished](Part::finish), the instance
/// takes no further request: the guest may still work on this request, which nobody can end alone.
pub(super) struct Part {
    common: Arc<Common>,
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    /// CPU time that the instance had used before this request.
    before: Duration,
    finished: AtomicBool,
}

impl Part {
    /// Does the same as [`Self::fault`], and also ends the instance if an operator has ended this request.
    pub(super) fn failure(&self, context: &Context<'_>) -> Option<Failure> {
        let common = &self.common;
        self.meter.show(common.meter.cpu().saturating_sub(self.before), common.meter.memory());
        if self.meter.is_killed() {
            common.meter.kill();
            return Some(Outcome::Killed.into());
        }
        self.meter.register(context);
        self.fault()
    }

    /// The fault that ended the instance, if any.
    pub(super) fn fault(&self) -> Option<Failure> {
        self.common.over.get().and_then(Clone::clone)
    }

    /// Marks the response as sent whole.
    pub(super) fn finish(&self) {
        self.finished.store(true, Relaxed);
    }

    /// Waits for the guest's response.
    async fn hear(&self, mut answer: oneshot::Receiver<Answer>) -> Result<Answer, Failure> {
        let answered = poll_fn(|context| match self.failure(context) {
            Some(failure) => Poll::Ready(Err(failure)),
            None => Pin::new(&mut answer).poll(context).map(Ok),
        });
        match answered.await? {
            Ok(answer) => Ok(answer),
            // The instance has ended, and is about to give the reason.
            Err(_) => Err(self.common.over.wait().await.clone().unwrap_or_else(ended)),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.meter.show(self.common.meter.cpu().saturating_sub(self.before), self.common.meter.memory());
        if !self.finished.load(Relaxed)
            && let Some(shared) = &self.binding.shared
        {
            shared.members.lock().retain(|member| !Arc::ptr_eq(&member.common, &self.common));
        }
        self.common.active.fetch_sub(1, Relaxed);
        self.common.meter.wake();
    }
}

/// Gives a request to an instance that has room for it, or to a new instance, and waits for the response.
pub(super) async fn ask(
    shared: &Shared,
    binding: &Arc<Binding>,
    meter: &Arc<Meter>,
    request: Request,
    sent: oneshot::Receiver<()>,
) -> Result<(Part, Answer), Failure> {
    let (answer, heard) = oneshot::channel();
    let mut job = Job { request, answer, sent };
    let part = loop {
        let (jobs, part) = place(shared, binding, meter)?;
        match jobs.send(job) {
            Ok(()) => break part,
            // The instance has just reached its idle time.
            Err(mpsc::error::SendError(back)) => job = back,
        }
    };
    let answer = part.hear(heard).await?;
    Ok((part, answer))
}

fn place(
    shared: &Shared,
    binding: &Arc<Binding>,
    meter: &Arc<Meter>,
) -> Result<(mpsc::UnboundedSender<Job>, Part), Failure> {
    let mut members = shared.members.lock();
    members.retain(|member| !member.jobs.is_closed());
    let has_room = |member: &Member| member.common.active.load(Relaxed) < shared.concurrency;
    let at = match members.iter().position(has_room) {
        Some(at) => at,
        None => {
            members.push(Member::start(binding, meter, shared.idle)?);
            members.len() - 1
        }
    };
    let member = &mut members[at];
    member.taken += 1;
    member.common.active.fetch_add(1, Relaxed);
    let (jobs, common) = (member.jobs.clone(), member.common.clone());
    if member.taken >= shared.requests {
        members.swap_remove(at);
    }
    let before = common.meter.cpu();
    Ok((jobs, Part { common, binding: binding.clone(), meter: meter.clone(), before, finished: false.into() }))
}

impl Member {
    /// Starts an instance. Its account starts as a copy of the first request's, whose id appears in the guest's log
    /// lines.
    fn start(binding: &Arc<Binding>, meter: &Arc<Meter>, idle: Duration) -> Result<Self, Failure> {
        let places = binding.component.sandbox.parked().clone();
        let place = places.try_acquire_many_owned(binding.component.places).map_err(|_| {
            let detail = format!("shared and parked instances have all of their {} places", PARKED);
            Failure::new(Outcome::Overloaded, detail)
        })?;
        let common = Arc::new(Common {
            meter: binding.meter(meter.subject.clone()),
            over: SetOnce::new(),
            active: AtomicU32::new(0),
        });
        let (jobs, taken) = mpsc::unbounded_channel();
        tokio::spawn(live(binding.clone(), common.clone(), taken, idle, place));
        Ok(Self { jobs, common, taken: 0 })
    }
}

/// Runs a shared instance. It ends in one of four ways: it can get no more requests and has answered all; it was idle
/// for too long; it has a fault; or the guest works on for longer than the deadline after the last request.
async fn live(
    binding: Arc<Binding>,
    common: Arc<Common>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    idle: Duration,
    _place: OwnedSemaphorePermit,
) {
    let meter = &common.meter;
    // This is the budget of the first request, which pays for the start.
    meter.start_budget(binding.grants.limits.cpu);
    let mut store = match binding.store(meter) {
        Ok(store) => store,
        Err(failure) => {
            let _ = common.over.set(Some(failure));
            return;
        }
    };
    let ended = {
        let serving = pin!(async {
            let Handler::Service(handler) = &binding.component.handler else { return Ok(()) };
            let Some(first) = jobs.recv().await else { return Ok(()) };
            let instance = binding.component.pre.instantiate_async(&mut store).await?;
            let guest = handler.load(&mut store, &instance)?;
            store
                .run_concurrent(async |accessor| {
                    work(accessor, &guest, &binding, &common, first, &mut jobs, idle).await
                })
                .await?
        });
        let mut serving = pin!(guarded(meter, binding.turns(), None, serving));
        let mut late: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|context| {
            if let Poll::Ready(ended) = serving.as_mut().poll(context) {
                return Poll::Ready(Some(ended));
            }
            if common.active.load(Relaxed) > 0 {
                late = None;
                return Poll::Pending;
            }
            let late = late.get_or_insert_with(|| Box::pin(tokio::time::sleep(binding.grants.limits.deadline + idle)));
            late.as_mut().poll(context).map(|()| None)
        })
        .await
    };
    let failure = match ended {
        Some(Ok(Ok(()))) => None,
        Some(Ok(Err(error))) => Some(binding.classify(&store, &error)),
        Some(Err(outcome)) => Some(outcome.into()),
        None => Some(Outcome::DeadlineExceeded.into()),
    };
    if let Some(failure) = failure.as_ref().filter(|failure| admits(meter, &failure.detail)) {
        let tenant = meter.subject.tenant.as_ref().map(|tenant| &*tenant.name);
        let (component, route) = (&meter.subject.component, &meter.subject.route);
        tracing::warn!(tenant, %component, %route, instance = meter.id, "a shared instance ended: {failure}");
    }
    // This comes before the store is gone: bodies that end with the store would look whole.
    let _ = common.over.set(failure);
}

/// Takes requests and calls the guest for each, inside the event loop of the store.
async fn work(
    accessor: &Accessor<State>,
    guest: &service::Guest,
    binding: &Binding,
    common: &Common,
    first: Job,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    idle: Duration,
) -> wasmtime::Result<()> {
    let mut calls = pin!(FuturesUnordered::new());
    calls.push(call(accessor, guest, first));
    let mut is_open = true;
    let mut waits: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(Some(called)) = calls.as_mut().poll_next(context) {
                called?;
                continue;
            }
            if is_open && let Poll::Ready(job) = jobs.poll_recv(context) {
                match job {
                    Some(job) => {
                        common.meter.add_budget(binding.grants.limits.cpu);
                        calls.push(call(accessor, guest, job));
                    }
                    None => is_open = false,
                }
                continue;
            }
            if !calls.is_empty() || accessor.poll_no_interesting_tasks(context).is_pending() {
                waits = None;
                return Poll::Pending;
            }
            // A body in transit would look whole if the store were gone.
            common.meter.register(context);
            if common.active.load(Relaxed) > 0 {
                waits = None;
                return Poll::Pending;
            }
            if !is_open {
                return Poll::Ready(Ok(()));
            }
            let wait = waits.get_or_insert_with(|| {
                accessor.with(|mut access| access.get().rest());
                Box::pin(tokio::time::sleep(idle))
            });
            if wait.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // Requests that were sent meanwhile are still answered.
            jobs.close();
        }
    })
    .await
}

/// Makes one call. The guest's other tasks go on after it.
async fn call(accessor: &Accessor<State>, guest: &service::Guest, job: Job) -> wasmtime::Result<()> {
    let Job { request, answer, sent } = job;
    let request = accessor.with(|mut access| service::lower(access.get(), request));
    let answered = service::answer(accessor, guest, request, sent).await?;
    // Nobody takes the response when the client has left.
    let _ = answer.send(answered);
    Ok(())
}

fn ended() -> Failure {
    Failure::new(Outcome::Trapped, "the shared instance ended without an answer")
}
