//! The request, its body and the ends of a response: the interface `types`, which every guest imports.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use roadrunner_account::{Covering, Meter, Outcome, cover};
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};

use crate::bindings::roadrunner::handler::types::{self, Error, Field, WsMessage};
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of};
use crate::guest::output::{BodyWriter, MessageSender, Outgoing};
use crate::guest::request::{Body, BodyError, ClientCertificate, Request, Upgrade};
use crate::guest::response::fields;
use crate::guest::webtransport::SessionHandle;

/// The most bytes that `body.read(0)` returns.
const DEFAULT_READ: usize = 64 << 10;

/// The capability that every guest has: its request, and the ways to answer it.
pub struct Exchange;

/// The body of an instance's request.
#[derive(Debug, Default)]
pub struct Lent {
    /// The body until the guest takes it.
    pub(crate) body: Option<Body>,
    /// Whether the guest has taken it.
    pub(crate) is_taken: bool,
}

impl Capability for Exchange {
    type Grant = ();
    type Held = Lent;

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        types::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl Call<'_, Exchange> {
    /// Charges a piece that the guest has written to its account, for as long as anything holds it.
    async fn covered(&mut self, piece: Bytes) -> Result<Bytes> {
        let mut covered = cover(&self.core.meter, piece.clone());
        if covered.as_ref().err() == Some(&Outcome::BuffersExceeded) {
            // The future is boxed, since it is rare, and a guest's call pays for the size of its future.
            covered = Box::pin(room_for(&self.core.meter, piece)).await;
        }
        self.core.granted(covered)
    }
}

impl types::Host for Call<'_, Exchange> {}

impl types::HostRequest for Call<'_, Exchange> {
    fn id(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.core.table.get(&this)?.id.to_string())
    }

    fn method(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.core.table.get(&this)?.head.method.as_str().to_owned())
    }

    fn scheme(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.core.table.get(&this)?.scheme.to_owned())
    }

    fn authority(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.core.table.get(&this)?.authority.clone())
    }

    fn path(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.core.table.get(&this)?.head.uri.path().to_owned())
    }

    fn query(&mut self, this: Resource<Request>) -> Result<Option<String>> {
        Ok(self.core.table.get(&this)?.head.uri.query().map(str::to_owned))
    }

    fn version(&mut self, this: Resource<Request>) -> Result<types::Version> {
        Ok(match self.core.table.get(&this)?.head.version {
            http::Version::HTTP_10 => types::Version::Http10,
            http::Version::HTTP_2 => types::Version::Http2,
            http::Version::HTTP_3 => types::Version::Http3,
            _ => types::Version::Http11,
        })
    }

    fn peer(&mut self, this: Resource<Request>) -> Result<String> {
        Ok(self.core.table.get(&this)?.peer.to_string())
    }

    fn client_certificate(&mut self, this: Resource<Request>) -> Result<Option<types::ClientCertificate>> {
        let certificate = self.core.table.get(&this)?.client_certificate.clone();
        Ok(certificate.map(|ClientCertificate { subject, issuer, serial, names, sha256 }| types::ClientCertificate {
            subject,
            issuer,
            serial,
            names,
            sha256,
        }))
    }

    fn param(&mut self, this: Resource<Request>, name: String) -> Result<Option<String>> {
        let params = &self.core.table.get(&this)?.params;
        Ok(params.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.clone()))
    }

    fn params(&mut self, this: Resource<Request>) -> Result<Vec<(String, String)>> {
        let params = &self.core.table.get(&this)?.params;
        Ok(params.iter().map(|(name, value)| (name.to_string(), value.clone())).collect())
    }

    fn route(&mut self, this: Resource<Request>) -> Result<Option<String>> {
        Ok(self.core.table.get(&this)?.route.as_deref().map(str::to_owned))
    }

    fn header(&mut self, this: Resource<Request>, name: String) -> Result<Option<Vec<u8>>> {
        Ok(self.core.table.get(&this)?.head.headers.get(&*name).map(|value| value.as_bytes().to_vec()))
    }

    fn header_values(&mut self, this: Resource<Request>, name: String) -> Result<Vec<Vec<u8>>> {
        let values = self.core.table.get(&this)?.head.headers.get_all(&*name);
        Ok(values.iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn headers(&mut self, this: Resource<Request>) -> Result<Vec<Field>> {
        Ok(fields(&self.core.table.get(&this)?.head.headers))
    }

    fn body(&mut self, this: Resource<Request>) -> Result<Option<Resource<Body>>> {
        self.core.table.get(&this)?;
        match self.held.body.take() {
            Some(body) => {
                self.held.is_taken = true;
                Ok(Some(self.core.table.push(body)?))
            }
            None => Ok(None),
        }
    }

    fn upgrade(&mut self, this: Resource<Request>) -> Result<Option<types::Upgrade>> {
        Ok(self.core.table.get(&this)?.upgrade.as_ref().map(|upgrade| match upgrade {
            Upgrade::WebSocket(offers) => types::Upgrade::Websocket(offers.clone()),
            Upgrade::WebTransport => types::Upgrade::Webtransport,
        }))
    }

    fn drop(&mut self, this: Resource<Request>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl types::HostBody for Call<'_, Exchange> {
    async fn read(&mut self, this: Resource<Body>, max: u32) -> Result<Result<Option<Vec<u8>>, Error>> {
        let max = if max == 0 { DEFAULT_READ } else { max as usize };
        let piece = self.core.table.get_mut(&this)?.read(max).await;
        Ok(piece.map(|piece| piece.map(Vec::from)).map_err(Error::from))
    }

    async fn read_to_end(&mut self, this: Resource<Body>) -> Result<Result<Vec<u8>, Error>> {
        let all = self.core.table.get_mut(&this)?.read_to_end(&self.core.meter).await;
        Ok(all.map(Vec::from).map_err(Error::from))
    }

    async fn trailers(&mut self, this: Resource<Body>) -> Result<Result<Vec<Field>, Error>> {
        let trailers = self.core.table.get_mut(&this)?.trailers().await;
        Ok(trailers.map(|trailers| fields(&trailers)).map_err(Error::from))
    }

    fn drop(&mut self, this: Resource<Body>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl types::HostBodyWriter for Call<'_, Exchange> {
    async fn write(&mut self, this: Resource<BodyWriter>, chunk: Vec<u8>) -> Result<Result<(), Error>> {
        let outbox = self.core.table.get(&this)?.0.clone();
        if chunk.is_empty() {
            return Ok(Ok(()));
        }
        let chunk = self.covered(chunk.into()).await?;
        let length = chunk.len();
        Ok(outbox.put(chunk, length).await.map_err(|_| Error::Closed))
    }

    fn drop(&mut self, this: Resource<BodyWriter>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl types::HostWsSender for Call<'_, Exchange> {
    async fn send(&mut self, this: Resource<MessageSender>, message: WsMessage) -> Result<Result<(), Error>> {
        let outbox = self.core.table.get(&this)?.0.clone();
        let message = match message {
            WsMessage::Text(text) => Outgoing::Text(text),
            WsMessage::Binary(bytes) => Outgoing::Binary(bytes.into()),
        };
        let size = message.payload_len() as u64;
        self.core.charge(size)?;
        let room = message.frame_len();
        let sent = outbox.put(message, room).await;
        self.core.memory.release(size);
        Ok(sent.map_err(|_| Error::Closed))
    }

    async fn close(&mut self, this: Resource<MessageSender>, code: u16, reason: String) -> Result<()> {
        let outbox = self.core.table.get(&this)?.0.clone();
        // A client that has left needs no close handshake.
        let _ = outbox.put_last(Outgoing::Close(code, reason)).await;
        Ok(())
    }

    fn drop(&mut self, this: Resource<MessageSender>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl types::HostWtSession for Call<'_, Exchange> {
    async fn open_bidirectional(&mut self, this: Resource<SessionHandle>) -> Result<Result<u64, Error>> {
        let session = self.core.table.get(&this)?.0.clone();
        Ok(session.open(true).await.map_err(Error::from))
    }

    async fn open_unidirectional(&mut self, this: Resource<SessionHandle>) -> Result<Result<u64, Error>> {
        let session = self.core.table.get(&this)?.0.clone();
        Ok(session.open(false).await.map_err(Error::from))
    }

    async fn send(&mut self, this: Resource<SessionHandle>, id: u64, bytes: Vec<u8>) -> Result<Result<(), Error>> {
        let session = self.core.table.get(&this)?.0.clone();
        let bytes = self.covered(bytes.into()).await?;
        Ok(session.send(id, bytes).await.map_err(Error::from))
    }

    fn finish(&mut self, this: Resource<SessionHandle>, id: u64) -> Result<()> {
        self.core.table.get(&this)?.0.finish(id);
        Ok(())
    }

    fn reset(&mut self, this: Resource<SessionHandle>, id: u64, code: u32) -> Result<()> {
        self.core.table.get(&this)?.0.reset(id, code);
        Ok(())
    }

    fn stop(&mut self, this: Resource<SessionHandle>, id: u64, code: u32) -> Result<()> {
        self.core.table.get(&this)?.0.stop(id, code);
        Ok(())
    }

    fn send_datagram(&mut self, this: Resource<SessionHandle>, bytes: Vec<u8>) -> Result<Result<(), Error>> {
        Ok(self.core.table.get(&this)?.0.send_datagram(&bytes).map_err(Error::from))
    }

    fn close(&mut self, this: Resource<SessionHandle>, code: u32, reason: String) -> Result<()> {
        self.core.table.get(&this)?.0.close(code, &reason);
        Ok(())
    }

    fn drop(&mut self, this: Resource<SessionHandle>) -> Result<()> {
        self.core.table.delete(this)?;
        Ok(())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Closed => Self::Closed,
            BodyError::Timeout => Self::Timeout,
            BodyError::TooLarge(limit) => Self::TooLarge(limit),
            BodyError::Malformed(reason) => Self::Internal(reason),
        }
    }
}

/// Waits until the host has room for a piece, unless it is too large to wait.
async fn room_for(meter: &Arc<Meter>, piece: Bytes) -> Result<Bytes, Outcome> {
    let mut covering = Covering::default();
    covering.put(piece);
    poll_fn(|context| covering.poll(meter, context)).await
}
