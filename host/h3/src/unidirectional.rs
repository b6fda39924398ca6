//! Unidirectional streams (RFC 9114 section 6.2, RFC 9204 section 4.2): the client's three, and this side's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream};
use tokio::sync::{Notify, watch};

use crate::code::{Code, Fault};
use crate::control::{ControlEvent, ControlReader};
use crate::frame::{self, FrameType};
use crate::receive::RecvHalf;
use crate::shared::Shared;
use crate::webtransport::Arrival;
use crate::{config, varint};

/// The client's unique streams that have come.
#[derive(Debug, Default)]
pub(crate) struct Seen(AtomicU8);

/// Reads one stream of the client to its end.
pub(crate) async fn receive(shared: Arc<Shared>, seen: Arc<Seen>, stream: RecvStream) {
    if let Err(fault) = receive_typed(&shared, &seen, stream).await {
        tracing::debug!(%fault, "connection refused");
        shared.fail(&fault);
    }
}

/// Opens the control stream, sends SETTINGS and then every GOAWAY (section 6.2.1).
pub(crate) async fn send_control(shared: Arc<Shared>, mut goaway: watch::Receiver<Option<u64>>) {
    let Some(mut stream) = open(&shared, CONTROL).await else { return };
    let mut frame = BytesMut::with_capacity(64);
    config::settings(&shared.config).write_frame(shared.quic.stable_id() as u64, &mut frame);
    loop {
        let bytes = frame.split().freeze();
        if !write(&shared, &mut stream, bytes).await {
            return;
        }
        let changed = tokio::select! {
            changed = goaway.changed() => changed,
            _ = stream.stopped() => return closed(&shared, "the control stream was stopped"),
        };
        let (Ok(()), Some(id)) = (changed, *goaway.borrow_and_update()) else { return };
        frame::write_header(FrameType::GOAWAY, varint::size(id) as u64, &mut frame);
        varint::write(id, &mut frame);
    }
}

/// Sends the instructions of the QPACK encoder.
pub(crate) async fn send_encoder_instructions(shared: Arc<Shared>) {
    // RFC 9204 section 4.2: it need not be opened if it is not used.
    let ready = &shared.encoder_ready;
    send_instructions(&shared, QPACK_ENCODER, ready, || shared.take_encoder_stream()).await;
}

/// Sends the instructions of the QPACK decoder.
pub(crate) async fn send_decoder_instructions(shared: Arc<Shared>) {
    let ready = &shared.decoder_ready;
    send_instructions(&shared, QPACK_DECODER, ready, || shared.take_decoder_stream()).await;
}

async fn send_instructions(shared: &Shared, kind: u64, ready: &Notify, take: impl Fn() -> Bytes) {
    let Some(mut stream) = open(shared, kind).await else { return };
    // The type is sent at once, so that the client need not wait for it.
    let mut bytes = Bytes::new();
    loop {
        if !write(shared, &mut stream, bytes).await {
            return;
        }
        tokio::select! {
            () = ready.notified() => {}
            _ = stream.stopped() => return closed(shared, "a QPACK stream was stopped"),
        }
        bytes = take();
    }
}

async fn open(shared: &Shared, kind: u64) -> Option<SendStream> {
    let mut stream = shared.quic.open_uni().await.ok()?;
    let mut header = BytesMut::with_capacity(8);
    varint::write(kind, &mut header);
    // The data of these streams unblocks other streams.
    stream.set_priority(1).ok()?;
    stream.write_all(&header).await.ok()?;
    Some(stream)
}

async fn write(shared: &Shared, stream: &mut SendStream, bytes: Bytes) -> bool {
    if bytes.is_empty() {
        return true;
    }
    match stream.write_chunk(bytes).await {
        Ok(()) => true,
        Err(quinn::WriteError::Stopped(_)) => {
            closed(shared, "a critical stream was stopped");
            false
        }
        Err(_) => false,
    }
}

/// Fails the connection because a critical stream ended (RFC 9114 section 6.2.1, RFC 9204 section 4.2).
fn closed(shared: &Shared, reason: &str) {
    shared.fail(&Fault::connection(Code::CLOSED_CRITICAL_STREAM, reason));
}

async fn receive_typed(shared: &Shared, seen: &Seen, mut stream: RecvStream) -> Result<(), Fault> {
    let mut partial = varint::Partial::default();
    let (kind, mut input) = loop {
        // Section 6.2: a stream may end before its type is known.
        let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await else { return Ok(()) };
        let mut input = chunk.bytes;
        if let Some(kind) = partial.read(&mut input) {
            break (kind, input);
        }
    };
    match kind {
        CONTROL => {
            seen.first(kind)?;
            let mut reader = ControlReader::default();
            loop {
                while let Some(event) = reader.next(&mut input)? {
                    match event {
                        ControlEvent::Settings(settings) => shared.set_peer_settings(settings)?,
                        // Section 5.2: it concerns pushes, and there are none. The client closes when it is done.
                        ControlEvent::GoAway { .. } => {}
                    }
                }
                let Some(next) = critical(&mut stream).await? else { return Ok(()) };
                input = next;
            }
        }
        QPACK_ENCODER | QPACK_DECODER => {
            seen.first(kind)?;
            loop {
                match kind {
                    QPACK_ENCODER => shared.on_encoder_stream(&input)?,
                    _ => shared.on_decoder_stream(&input)?,
                }
                let Some(next) = critical(&mut stream).await? else { return Ok(()) };
                input = next;
            }
        }
        // Section 6.2.2: only servers push.
        PUSH => Err(Fault::connection(Code::STREAM_CREATION_ERROR, "a push stream from a client")),
        WEBTRANSPORT if shared.webtransport.is_offered() => {
            let session = loop {
                if let Some(session) = partial.read(&mut input) {
                    break session;
                }
                let Ok(Some(chunk)) = stream.read_chunk(CHUNK, true).await else { return Ok(()) };
                input = chunk.bytes;
            };
            let recv = RecvHalf::new(stream, Code::WEBTRANSPORT_BUFFERED_STREAM_REJECTED);
            shared.webtransport.deliver(session, Arrival::new(None, recv, input))
        }
        // Section 6.2: streams of unknown types are not read, and are no error.
        _ => {
            // This fails on a stream that is over.
            let _ = stream.stop(Code::STREAM_CREATION_ERROR.varint());
            Ok(())
        }
    }
}

/// Reads the next bytes of a stream that must not end (RFC 9114 section 6.2.1, RFC 9204 section 4.2); `None` once the
/// connection has ended.
async fn critical(stream: &mut RecvStream) -> Result<Option<Bytes>, Fault> {
    match stream.read_chunk(CHUNK, true).await {
        Ok(Some(chunk)) => Ok(Some(chunk.bytes)),
        Ok(None) | Err(ReadError::Reset(_)) => {
            Err(Fault::connection(Code::CLOSED_CRITICAL_STREAM, "a critical stream was closed"))
        }
        Err(_) => Ok(None),
    }
}

impl Seen {
    /// Checks that this is the first stream of its kind (section 6.2.1 and RFC 9204 section 4.2).
    fn first(&self, kind: u64) -> Result<(), Fault> {
        let bit = 1 << kind;
        match self.0.fetch_or(bit, Ordering::AcqRel) & bit {
            0 => Ok(()),
            _ => Err(Fault::connection(Code::STREAM_CREATION_ERROR, format!("a second stream of type {kind:#x}"))),
        }
    }
}

const CONTROL: u64 = 0x00;
const PUSH: u64 = 0x01;
const QPACK_ENCODER: u64 = 0x02;
const QPACK_DECODER: u64 = 0x03;
const WEBTRANSPORT: u64 = 0x54;

/// The most bytes that are taken from quinn at once.
const CHUNK: usize = 16 * 1024;
