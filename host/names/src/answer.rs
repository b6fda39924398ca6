//! A look-up of one name in both families.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RecordType};

/// How much longer to wait for the second family when the first has addresses (RFC 8305, 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// The most addresses of one name that are kept: the first ones.
const MOST: usize = 64;

/// Addresses with their expiry.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) addresses: std::sync::Arc<[IpAddr]>,
    pub(crate) until: Instant,
}

/// Looks up the addresses of an absolute name. `None` if it has no address.
pub(crate) async fn ask(resolver: &TokioResolver, name: &Name) -> Result<Option<Answer>, NetError> {
    let of = |kind| Box::pin(resolver.lookup(name.clone(), kind));
    let (first, other) = match select(of(RecordType::AAAA), of(RecordType::A)).await {
        Either::Left((first, other)) | Either::Right((first, other)) => (first, other),
    };
    let other = match &first {
        Ok(found) if addresses(found).next().is_some() => {
            tokio::time::timeout(RESOLUTION_DELAY, other).await.unwrap_or(Err(NetError::Timeout))
        }
        _ => other.await,
    };
    let found: Vec<&Lookup> = [&first, &other].into_iter().filter_map(|found| found.as_ref().ok()).collect();
    let together: Vec<IpAddr> = found.iter().flat_map(|found| addresses(found)).take(MOST).collect();
    if !together.is_empty() {
        let with_addresses = found.iter().filter(|found| addresses(found).next().is_some());
        let until = with_addresses.map(|found| found.valid_until()).min().unwrap_or_else(Instant::now);
        return Ok(Some(Answer { addresses: together.into(), until }));
    }
    // Of two failures, prefer one other than "no such record".
    match [first, other].into_iter().filter_map(Result::err).find(|error| !error.is_no_records_found()) {
        Some(error) => Err(error),
        None => Ok(None),
    }
}

pub(crate) fn addresses(found: &Lookup) -> impl Iterator<Item = IpAddr> {
    found.answers().iter().filter_map(|record| record.data.ip_addr())
}
