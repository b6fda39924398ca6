//! The shared instances of a route, and the requests on their way to them.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use parking_lot::Mutex;
use roadrunner_account::{Failure, Meter};
use tokio::sync::{SetOnce, mpsc, oneshot};
use wasmtime_wasi_http::WasiBody;

use crate::guest::request::Request;

/// A guest's response; an error of its own as text.
pub(super) type Answer = Result<Given, String>;

/// A response that a guest has given.
pub(super) struct Given {
    pub(super) response: http::Response<WasiBody>,
    /// Whether its body is not the guest's own.
    pub(super) is_passed_on: bool,
}

/// The shared instances of one route.
pub struct Shared {
    pub(super) concurrency: u32,
    pub(super) requests: u32,
    pub(super) idle: Duration,
    pub(super) members: Mutex<Vec<Member>>,
}

/// An instance that still takes requests.
pub(super) struct Member {
    pub(super) jobs: mpsc::UnboundedSender<Job>,
    pub(super) common: Arc<Common>,
    pub(super) taken: u32,
}

/// State shared by an instance and the requests that wait for its responses.
pub(super) struct Common {
    pub(super) meter: Arc<Meter>,
    /// The end of the instance: the failure, or none inside when it ended in good order.
    pub(super) over: SetOnce<Option<Failure>>,
    /// Requests in progress.
    pub(super) active: AtomicU32,
}

/// A request for a shared instance.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) sent: oneshot::Receiver<()>,
}

impl Shared {
    /// Creates a pool of instances that answer at most `requests` requests, at most `concurrency` of them at once, and
    /// wait at most `idle` for the next.
    pub fn new(requests: u32, concurrency: u32, idle: Duration) -> Self {
        Self { concurrency, requests, idle, members: Mutex::default() }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("concurrency", &self.concurrency)
            .field("requests", &self.requests)
            .field("idle", &self.idle)
            .field("members", &self.members.lock().len())
            .finish()
    }
}
