//! `grpc.health.v1.Health`: whether a service is served here.
//!
//! A service is served if a route for calls leads to it, and until the host drains. The empty name asks about the host.

use std::pin::Pin;
use std::sync::{Arc, Weak};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::MAX_MESSAGE;
use crate::serving::{Host, Serving};

/// The server for callers of this authority.
pub(super) fn server(serving: &Arc<Serving>, authority: &str) -> HealthServer<HealthOf> {
    let health = HealthOf { host: serving.host.clone(), authority: authority.to_owned() };
    HealthServer::new(health).max_decoding_message_size(MAX_MESSAGE)
}

/// The health of the services that an authority reaches.
#[derive(Clone)]
pub(super) struct HealthOf {
    host: Arc<Host>,
    authority: String,
}

impl HealthOf {
    /// The status of a service now.
    fn status(&self, serving: Option<&Serving>, service: &str) -> ServingStatus {
        let Some(serving) = serving else { return ServingStatus::NotServing };
        let names = |name: &String| name == service;
        if !service.is_empty() && !serving.reached(&self.authority).any(|routed| routed.names.iter().any(names)) {
            return ServingStatus::ServiceUnknown;
        }
        if self.host.drain.is_announced() { ServingStatus::NotServing } else { ServingStatus::Serving }
    }

    fn current(&self) -> Option<Arc<Serving>> {
        self.host.latest.borrow().upgrade()
    }
}

#[tonic::async_trait]
impl Health for HealthOf {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(self.current().as_deref(), &request.get_ref().service) {
            // health.proto: for Check, an unknown service is an error.
            ServingStatus::ServiceUnknown => Err(Status::not_found("this service is not served here")),
            status => Ok(Response::new(HealthCheckResponse { status: status.into() })),
        }
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch {
            health: self.clone(),
            service: request.into_inner().service,
            latest: self.host.latest.subscribe(),
            drain: self.host.drain.changes(),
            told: None,
        };
        Ok(Response::new(Box::pin(stream::unfold(watch, |mut watch| async move {
            let status = watch.next().await?;
            Some((Ok(HealthCheckResponse { status: status.into() }), watch))
        }))))
    }
}

/// A caller that is told of each change.
struct Watch {
    health: HealthOf,
    service: String,
    latest: watch::Receiver<Weak<Serving>>,
    drain: watch::Receiver<()>,
    /// The status that the caller knows.
    told: Option<ServingStatus>,
}

impl Watch {
    /// The next status; none once sessions have to end.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let serving = self.latest.borrow_and_update().upgrade();
            self.drain.mark_unchanged();
            let status = self.health.status(serving.as_deref(), &self.service);
            drop(serving);
            if self.told.replace(status) != Some(status) {
                return Some(status);
            }
            if self.health.host.drain.deadline().is_some() {
                return None;
            }
            tokio::select! {
                changed = self.latest.changed() => changed.ok()?,
                changed = self.drain.changed() => changed.ok()?,
            }
        }
    }
}
