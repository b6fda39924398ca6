//! State that all tasks of one connection share: its QPACK tables, its counters, and the way to fail.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use quinn::ConnectionError;
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig, Field, FieldRef};
use roadrunner_values::TransportSettings;
use tokio::sync::{Notify, oneshot};

use crate::code::{Code, Fault};
use crate::datagram_queue::Queues;
use crate::resets::Resets;
use crate::settings::Settings;
use crate::webtransport::Registry;

/// One connection, shared by all its tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) quic: quinn::Connection,
    pub(crate) config: Arc<TransportSettings>,
    pub(crate) info: Arc<ConnectionInfo>,
    pub(crate) datagrams: Queues,
    pub(crate) webtransport: Registry,
    qpack: Mutex<Qpack>,
    resets: Mutex<Resets>,
    /// There may be encoder instructions to send.
    pub(crate) encoder_ready: Notify,
    /// There may be decoder instructions to send.
    pub(crate) decoder_ready: Notify,
    peer: OnceLock<Settings>,
    /// The client's settings have come.
    settled: Notify,
    fault: OnceLock<Fault>,
    active: AtomicUsize,
    pub(crate) idle: Notify,
}

/// The client's end of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    quic: quinn::Connection,
    server_name: Option<Arc<str>>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client closed it.
    ByClient,
    /// This side closed it.
    Here,
    /// An error of the transport.
    Lost,
    /// The client was silent for [`Timeouts::h3_lost`](roadrunner_values::Timeouts::h3_lost).
    Silent,
}

#[derive(Debug)]
struct Qpack {
    encoder: Encoder,
    decoder: Decoder,
    /// The waiters for entries, by stream. Never more than
    /// [`Http3::qpack_blocked_streams`](roadrunner_values::Http3::qpack_blocked_streams), which the decoder enforces.
    blocked: HashMap<u64, oneshot::Sender<()>>,
}

/// A decoded field section.
#[derive(Debug)]
pub(crate) enum Section {
    Fields(Vec<Field>),
    TooLarge,
}

impl Shared {
    pub(crate) fn new(quic: quinn::Connection, config: Arc<TransportSettings>) -> Arc<Shared> {
        let qpack = Qpack {
            encoder: Encoder::new(EncoderConfig {
                max_table_capacity: u64::from(config.http3.qpack_table),
                ..EncoderConfig::default()
            }),
            decoder: Decoder::new(DecoderConfig {
                max_table_capacity: u64::from(config.http3.qpack_table),
                max_blocked_streams: u64::from(config.http3.qpack_blocked_streams),
                max_field_section_size: u64::from(config.http3.max_header_list),
            }),
            blocked: HashMap::new(),
        };
        Arc::new(Shared {
            info: Arc::new(ConnectionInfo::of(&quic)),
            datagrams: Queues::new(config.webtransport.datagram_queue),
            webtransport: Registry::new(&config),
            quic,
            qpack: Mutex::new(qpack),
            resets: Mutex::new(Resets::new(config.http3.resets_per_second)),
            encoder_ready: Notify::new(),
            decoder_ready: Notify::new(),
            peer: OnceLock::new(),
            settled: Notify::new(),
            fault: OnceLock::new(),
            active: AtomicUsize::new(0),
            idle: Notify::new(),
            config,
        })
    }

    /// Ends the connection, if the fault concerns the connection. The first fault wins.
    pub(crate) fn fail(&self, fault: &Fault) {
        // An apparent fault can be the end of the connection; quinn would then take this close for the reason of the
        // end.
        if let Fault::Connection { code, reason } = fault
            && self.quic.close_reason().is_none()
            && self.fault.set(fault.clone()).is_ok()
        {
            self.quic.close(code.varint(), reason.as_bytes());
        }
    }

    /// Why this side ended the connection, if the client was at fault.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    /// Notes that a request completed.
    pub(crate) fn request_ended(&self) {
        self.resets.lock().earn();
    }

    /// Notes that the client abandoned a request. Ends the connection if the budget is exceeded, and returns whether it
    /// did.
    pub(crate) fn request_left(&self) -> bool {
        if self.quic.close_reason().is_some() || self.resets.lock().spend(Instant::now()).is_ok() {
            return false;
        }
        let reason = format!("more than {} requests left within a second", self.config.http3.resets_per_second);
        self.fail(&Fault::connection(Code::EXCESSIVE_LOAD, reason));
        true
    }

    /// Notes that the client's settings have come. The control stream ensures that they come once.
    pub(crate) fn set_peer_settings(&self, settings: Settings) -> Result<(), Fault> {
        // RFC 9297 section 2.1.1: the transport must be able to carry datagrams.
        if settings.h3_datagram && self.config.http3.datagram_buffer > 0 && self.quic.max_datagram_size().is_none() {
            return Err(Fault::connection(Code::SETTINGS_ERROR, "H3_DATAGRAM without max_datagram_frame_size"));
        }
        let (capacity, blocked) = (settings.qpack_max_table_capacity, settings.qpack_blocked_streams);
        self.qpack.lock().encoder.set_peer_settings(capacity, blocked);
        self.encoder_ready.notify_one();
        // A second call cannot happen, and would change nothing.
        let _ = self.peer.set(settings);
        self.settled.notify_waiters();
        Ok(())
    }

    /// The client's settings, once they have come.
    pub(crate) fn peer(&self) -> Option<&Settings> {
        self.peer.get()
    }

    /// Waits for the client's settings.
    pub(crate) async fn settled(&self) {
        let mut settled = pin!(self.settled.notified());
        // Enabled before the check, so that settings cannot arrive unnoticed in between.
        settled.as_mut().enable();
        if self.peer.get().is_none() {
            settled.await;
        }
    }

    pub(crate) fn encode<'a>(&self, stream: u64, fields: impl Iterator<Item = FieldRef<'a>>) -> Bytes {
        let mut section = Vec::with_capacity(128);
        self.qpack.lock().encoder.encode(stream, fields, &mut section);
        self.encoder_ready.notify_one();
        section.into()
    }

    /// Decodes a section, and waits for the entries it needs. `blocked` keeps the wait between polls.
    pub(crate) fn poll_decode(
        &self,
        cx: &mut Context<'_>,
        stream: u64,
        section: &[u8],
        blocked: &mut Blocked,
    ) -> Poll<Result<Section, Fault>> {
        loop {
            if let Some(wait) = &mut blocked.wait {
                // The sender is dropped only with the connection; then the streams fail by themselves.
                if wait.poll_unpin(cx).is_pending() {
                    return Poll::Pending;
                }
                blocked.wait = None;
            }
            let mut qpack = self.qpack.lock();
            let decoded = qpack.decoder.decode(stream, section)?;
            self.decoder_ready.notify_one();
            return Poll::Ready(Ok(match decoded {
                Decoded::Fields(fields) => Section::Fields(fields),
                Decoded::TooLarge { .. } => Section::TooLarge,
                Decoded::Blocked { .. } => {
                    let (wake, wait) = oneshot::channel();
                    qpack.blocked.insert(stream, wake);
                    blocked.wait = Some(wait);
                    continue;
                }
            }));
        }
    }

    /// Notes that a stream is abandoned with a section unread or undecoded (RFC 9204 section 2.2.2.2).
    pub(crate) fn cancel_decoding(&self, stream: u64) {
        let mut qpack = self.qpack.lock();
        qpack.blocked.remove(&stream);
        let cancelled = qpack.decoder.cancel_stream(stream);
        drop(qpack);
        self.decoder_ready.notify_one();
        if let Err(error) = cancelled {
            self.fail(&error.into());
        }
    }

    pub(crate) fn on_encoder_stream(&self, bytes: &[u8]) -> Result<(), Fault> {
        let mut qpack = self.qpack.lock();
        for stream in qpack.decoder.on_encoder_stream(bytes)? {
            if let Some(wake) = qpack.blocked.remove(&stream) {
                // The stream may have just been abandoned.
                let _ = wake.send(());
            }
        }
        drop(qpack);
        self.decoder_ready.notify_one();
        Ok(())
    }

    pub(crate) fn on_decoder_stream(&self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.qpack.lock().encoder.on_decoder_stream(bytes)?)
    }

    pub(crate) fn take_encoder_stream(&self) -> Bytes {
        self.qpack.lock().encoder.take_encoder_stream()
    }

    pub(crate) fn take_decoder_stream(&self) -> Bytes {
        self.qpack.lock().decoder.take_decoder_stream()
    }

    /// Counts one more stream that must end before the connection may be closed.
    pub(crate) fn activity(self: &Arc<Shared>) -> Activity {
        self.active.fetch_add(1, Ordering::AcqRel);
        Activity(Arc::clone(self))
    }

    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }
}

/// Keeps a section that waits for entries.
#[derive(Debug, Default)]
pub(crate) struct Blocked {
    wait: Option<oneshot::Receiver<()>>,
}

/// A request or a tunnel that is not over.
#[derive(Debug)]
pub(crate) struct Activity(Arc<Shared>);

impl Drop for Activity {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl ConnectionInfo {
    /// The information about a connection whose handshake is over.
    pub fn of(quic: &quinn::Connection) -> ConnectionInfo {
        let server_name = quic
            .handshake_data()
            .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
            .and_then(|data| data.server_name.map(Arc::from));
        ConnectionInfo { quic: quic.clone(), server_name }
    }

    /// How the connection ended; `None` while it lives.
    pub fn closed(&self) -> Option<Closed> {
        Some(match self.quic.close_reason()? {
            ConnectionError::ApplicationClosed(_) => Closed::ByClient,
            ConnectionError::LocallyClosed => Closed::Here,
            ConnectionError::TimedOut => Closed::Silent,
            _ => Closed::Lost,
        })
    }

    /// The client's current address. It can change: QUIC connections survive a change of address.
    pub fn remote_address(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// The address that the client uses for this side, if the system reports it.
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.quic.local_ip()
    }

    /// The host name that the client asked for in the handshake (SNI).
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// The client's certificate, if the TLS configuration asked for one and verified it.
    pub fn client_certificate(&self) -> Option<rustls::pki_types::CertificateDer<'static>> {
        let identity = self.quic.peer_identity()?;
        let mut chain = identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
        (!chain.is_empty()).then(|| chain.swap_remove(0))
    }

    /// A number for the connection, unique among live connections.
    pub fn id(&self) -> usize {
        self.quic.stable_id()
    }
}
