//! From a client's first datagram to a connection that is ready to serve.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, Incoming};
use roadrunner_values::TransportSettings;
use rustls::server::{ProducesTickets, ServerSessionMemoryCache};
use tokio::time::{Instant, timeout_at};

use crate::code::Code;

/// Accepts a client and completes its handshake.
///
/// With [`Http3::early_data`](roadrunner_values::Http3::early_data) the connection is ready as soon as the client's
/// first message is read, so that requests in that message can be answered. The handshake must still end in time, or
/// the connection is closed.
///
/// # Errors The handshake failed, or took longer than [`Timeouts::handshake`](roadrunner_values::Timeouts::handshake).
pub async fn establish(incoming: Incoming, config: &TransportSettings) -> Result<Connection, HandshakeError> {
    let deadline = Instant::now() + config.timeouts.handshake;
    let mut connecting = incoming.accept()?;
    if !config.http3.early_data {
        return Ok(timeout_at(deadline, connecting).await.map_err(|_| timed_out(config))??);
    }
    // The first message may take several datagrams; the server name and ALPN are known after it.
    timeout_at(deadline, connecting.handshake_data()).await.map_err(|_| timed_out(config))??;
    match connecting.into_0rtt() {
        Ok((connection, completed)) => {
            let quic = connection.clone();
            tokio::spawn(async move {
                if timeout_at(deadline, completed).await.is_err() {
                    quic.close(Code::NO_ERROR.varint(), b"the handshake timed out");
                }
            });
            Ok(connection)
        }
        // Documented as impossible on a server.
        Err(connecting) => Ok(timeout_at(deadline, connecting).await.map_err(|_| timed_out(config))??),
    }
}

/// Why a handshake gave no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client and this server found no agreement, or the client left.
    #[error("the QUIC handshake failed: {0}")]
    Failed(#[from] ConnectionError),
    /// It took longer than [`Timeouts::handshake`](roadrunner_values::Timeouts::handshake).
    #[error("the QUIC handshake took longer than {0:?}")]
    TimedOut(Duration),
}

fn timed_out(config: &TransportSettings) -> HandshakeError {
    HandshakeError::TimedOut(config.timeouts.handshake)
}

/// Makes a TLS configuration accept early data.
///
/// Its tickets are then numbers of sessions that the server remembers, and forgets at their first use: a replayed first
/// flight finds its session gone, and its early data is ignored (RFC 8446 section 8.1). Self-contained tickets could
/// not do that, and rustls does not accept early data with them.
pub(crate) fn accept_early_data(tls: &mut rustls::ServerConfig) {
    tls.ticketer = Arc::new(Remembered);
    tls.session_storage = ServerSessionMemoryCache::new(REMEMBERED_SESSIONS);
    // RFC 9001 section 4.6.1: this and 0 are the only valid values.
    tls.max_early_data_size = u32::MAX;
}

/// The number of sessions that are remembered for [`accept_early_data`]; the oldest are forgotten first. Each takes
/// less than 1 KiB, and a connection makes two.
const REMEMBERED_SESSIONS: usize = 8192;

/// Issues no self-contained tickets.
#[derive(Debug)]
struct Remembered;

impl ProducesTickets for Remembered {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
