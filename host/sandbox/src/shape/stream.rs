//! The shape `stream`: a guest that writes its response piece by piece, in one call.

use bytes::Bytes;
use http::HeaderMap;
use roadrunner_account::{Failure, Outcome};
use roadrunner_log::Quoted;

use crate::component::Component;
use crate::guest::core::Stop;
use crate::guest::output::{Outbox, Writer};
use crate::guest::response;
use crate::instance::Instance;
use crate::native::{Guest, Lent};

impl Instance {
    /// Calls `streaming.run`, which writes to `outbox`, and returns its trailers. The CPU time of the handler counts
    /// too.
    pub async fn run(&mut self, outbox: &Outbox<Bytes>) -> Result<HeaderMap, Failure> {
        let call = async |guest: &mut Guest, component: &Component| {
            let Guest { store, instance, .. } = guest;
            let Some(exports) = &component.exports.streaming else { return Err(Stop(Outcome::Unsupported).into()) };
            let guest = exports.load(&mut *store, instance)?;
            let writer = Lent::new(store, Writer(outbox.clone()))?;
            let ended = guest.call_run(&mut *store, writer.borrow()).await?;
            writer.end(store)?;
            Ok(ended)
        };
        match self.call(None, call).await? {
            Ok(trailers) => response::trailers(trailers, self.binding.bounds(&self.meter)),
            Err(error) => Err(Failure::new(Outcome::GuestError, Quoted::debug(error))),
        }
    }
}
