//! The driver of one connection: accepts streams, sorts datagrams, and drains in two phases.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use roadrunner_values::TransportSettings;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::code::{Code, Fault};
use crate::exchange::{self, Admits};
use crate::serve::{Command, DrainSignal};
use crate::service::{Notice, Service};
use crate::shared::Shared;
use crate::unidirectional::{self, Seen};
use crate::{datagram, varint};

/// Serves one connection to its end. Dropping the future drops every request on it and closes it.
///
/// On a drain it sends GOAWAY with the largest identifier. After a round trip it sends GOAWAY with the first identifier
/// that it has not accepted. It closes with `H3_NO_ERROR` when the last request is over (RFC 9114 section 5.2).
///
/// # Errors
/// The rule that the client broke, if the connection ended for that reason.
pub async fn serve_connection<S: Service>(
    quic: Connection,
    service: Arc<S>,
    config: Arc<TransportSettings>,
    mut signal: DrainSignal,
) -> Result<(), Fault> {
    let shared = Shared::new(quic, config);
    let _close = CloseOnDrop(Arc::clone(&shared));
    let (goaway, goaway_receiver) = watch::channel(None);
    let mut tasks = JoinSet::new();
    tasks.spawn(unidirectional::send_control(Arc::clone(&shared), goaway_receiver));
    tasks.spawn(unidirectional::send_encoder_instructions(Arc::clone(&shared)));
    tasks.spawn(unidirectional::send_decoder_instructions(Arc::clone(&shared)));

    let idle_at = Some(Instant::now() + shared.config.timeouts.h3_idle);
    let mut driver =
        Driver { seen: Arc::default(), tasks, service, goaway, phase: Phase::Serving { idle_at }, next: 0, shared };
    driver.obey(signal.command());
    loop {
        let (shared, quic) = (Arc::clone(&driver.shared), driver.shared.quic.clone());
        tokio::select! {
            stream = quic.accept_bi() => match stream {
                Ok((send, recv)) => driver.request(send, recv),
                Err(error) => return driver.ended(&error),
            },
            stream = quic.accept_uni() => match stream {
                Ok(recv) => {
                    driver.tasks.spawn(unidirectional::receive(Arc::clone(&shared), Arc::clone(&driver.seen), recv));
                }
                Err(error) => return driver.ended(&error),
            },
            datagram = quic.read_datagram() => match datagram {
                Ok(datagram) => driver.datagram(datagram),
                Err(error) => return driver.ended(&error),
            },
            Some(done) = driver.tasks.join_next() => {
                if let Err(error) = done && error.is_panic() {
                    tracing::error!("a task of an HTTP/3 connection panicked");
                    shared.fail(&Fault::connection(Code::INTERNAL_ERROR, "internal error"));
                }
            }
            command = signal.changed() => driver.obey(command),
            () = shared.idle.notified() => driver.idle(),
            () = driver.phase.timer() => driver.timer(),
        }
    }
}

struct Driver<S> {
    shared: Arc<Shared>,
    service: Arc<S>,
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
    goaway: watch::Sender<Option<u64>>,
    phase: Phase,
    /// The first request stream that was not accepted.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The first GOAWAY was sent; requests that crossed it are still accepted.
    Announced { until: Instant },
    /// The second GOAWAY was sent: no request from `first_refused` on is accepted.
    Leaving { first_refused: u64, close_from: Instant },
    /// `idle_at` is the idle deadline of a connection without a request.
    Serving { idle_at: Option<Instant> },
}

impl Phase {
    async fn timer(self) {
        match self {
            Phase::Announced { until } => sleep_until(until).await,
            Phase::Leaving { close_from, .. } if close_from > Instant::now() => sleep_until(close_from).await,
            Phase::Serving { idle_at: Some(idle_at) } => sleep_until(idle_at).await,
            Phase::Leaving { .. } | Phase::Serving { idle_at: None } => pending().await,
        }
    }
}

impl<S: Service> Driver<S> {
    fn request(&mut self, mut send: SendStream, mut recv: RecvStream) {
        let id = u64::from(VarInt::from(recv.id()));
        let refused = matches!(self.phase, Phase::Leaving { first_refused, .. } if id >= first_refused);
        if refused && !self.shared.webtransport.has_sessions() {
            // RFC 9114 section 5.2: the client may retry it elsewhere. Neither call fails on an open stream.
            let _ = recv.stop(Code::REQUEST_REJECTED.varint());
            let _ = send.reset(Code::REQUEST_REJECTED.varint());
            return;
        }
        if !refused {
            self.next = id + 4;
        }
        let admits = if refused { Admits::WebTransportStreams } else { Admits::Everything };
        if let Phase::Serving { idle_at } = &mut self.phase {
            *idle_at = None;
        }
        // quinn yields streams in the order of their identifiers, even before any of their bytes have come; so nothing
        // is read here.
        let activity = self.shared.activity();
        let (shared, service) = (Arc::clone(&self.shared), Arc::clone(&self.service));
        self.tasks.spawn(async move {
            service.watch(exchange::serve(shared, &*service, send, recv, activity, admits)).await
        });
    }

    fn datagram(&self, datagram: bytes::Bytes) {
        match datagram::parse(datagram) {
            Ok((stream, payload)) => self.shared.datagrams.deliver(stream, payload),
            Err(fault) => self.shared.fail(&fault),
        }
    }

    fn obey(&mut self, command: Command) {
        match (command, self.phase) {
            (Command::Cut, _) => self.shared.quic.close(Code::NO_ERROR.varint(), b"cut"),
            (Command::Drain, Phase::Serving { .. }) => self.announce(),
            (Command::Drain | Command::Serve, _) => {}
        }
    }

    fn announce(&mut self) {
        // RFC 9114 section 5.2: the largest identifier that a client could ever open.
        self.goaway.send_replace(Some(varint::MAX - 3));
        self.phase = Phase::Announced { until: Instant::now() + self.round_trip() };
    }

    fn timer(&mut self) {
        match self.phase {
            Phase::Serving { .. } => {
                self.service.notice(Notice::IdleTimedOut);
                self.announce();
            }
            Phase::Announced { .. } => {
                self.goaway.send_replace(Some(self.next));
                // Allows a round trip for the GOAWAY itself, which a close would overtake.
                let close_from = Instant::now() + self.round_trip();
                self.phase = Phase::Leaving { first_refused: self.next, close_from };
            }
            Phase::Leaving { .. } => self.idle(),
        }
    }

    /// Handles the end of the last request: starts the idle clock, or closes at the end of a drain.
    fn idle(&mut self) {
        if self.shared.active() > 0 {
            return;
        }
        match &mut self.phase {
            Phase::Serving { idle_at } => *idle_at = Some(Instant::now() + self.shared.config.timeouts.h3_idle),
            Phase::Leaving { close_from, .. } if *close_from <= Instant::now() => {
                self.shared.quic.close(Code::NO_ERROR.varint(), b"");
            }
            Phase::Announced { .. } | Phase::Leaving { .. } => {}
        }
    }

    /// An estimate of the time in which a frame arrives and is seen, within reason.
    fn round_trip(&self) -> Duration {
        (self.shared.quic.rtt() * 3 / 2).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    fn ended(&self, error: &ConnectionError) -> Result<(), Fault> {
        tracing::debug!(%error, "connection ended");
        self.shared.fault().cloned().map_or(Ok(()), Err)
    }
}

/// Closes a connection whose driver is dropped; otherwise it would live as long as a request task holds it.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // If the connection has ended, quinn would take this close for the reason of the end.
        if self.0.quic.close_reason().is_none() {
            self.0.quic.close(Code::NO_ERROR.varint(), b"");
        }
    }
}
