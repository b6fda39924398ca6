//! A limit on the request rate of a peer, for some routes.

use std::sync::Arc;

use http::Request;
use roadrunner_account::Outcome;
use roadrunner_wire::RequestBody;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::Inner;
use crate::app;
use crate::context::Context;
use crate::rate_limit::RateLimiter;

pub(super) fn wrap(limiter: Arc<RateLimiter>, inner: Inner) -> Inner {
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let peer = request.extensions().get::<Context>().and_then(|context| context.peer.ip());
        let taken = peer.map_or(Ok(()), |peer| limiter.take(peer));
        let inner = inner.clone();
        async move {
            match taken {
                Ok(()) => inner.oneshot(request).await,
                Err(wait) => Ok(app::retry_after(app::failure(Outcome::RateLimited), wait)),
            }
        }
    });
    BoxCloneSyncService::new(service)
}
