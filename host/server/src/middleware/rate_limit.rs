//! A limit on the request rate of a peer, for some routes.

use std::any::Any;
use std::sync::Arc;

use http::Request;
use roadrunner_account::Outcome;
use roadrunner_manifest::RateLimit;
use roadrunner_wire::RequestBody;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::layer::{Middleware, RouteService};
use crate::answer::{Reason, refuse};
use crate::context::Context;
use crate::rate_limit::RateLimiter;

pub(super) struct RateLimitMiddleware(Arc<RateLimiter>);

impl RateLimitMiddleware {
    pub(super) fn new(settings: RateLimit) -> Self {
        Self(Arc::new(RateLimiter::new(settings)))
    }
}

impl Middleware for RateLimitMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        let limiter = self.0.clone();
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let peer = request.extensions().get::<Context>().and_then(|context| context.peer.ip());
            let taken = peer.map_or(Ok(()), |peer| limiter.take(peer));
            let inner = inner.clone();
            async move {
                match taken {
                    Ok(()) => inner.oneshot(request).await,
                    Err(wait) => Ok(refuse(Reason::TooSoon(Outcome::RateLimited, wait))),
                }
            }
        });
        BoxCloneSyncService::new(service)
    }

    /// Keeps the buckets of peers, as long as the rate stays.
    fn keep(&mut self, before: &dyn Middleware) {
        let before: &dyn Any = before;
        if let Some(Self(before)) = before.downcast_ref().filter(|Self(before)| before.settings() == self.0.settings())
        {
            self.0 = before.clone();
        }
    }
}
