//! The interface `types`: the request that a test has made, and the output of a handler.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

pub type Field = (String, Vec<u8>);

#[derive(Clone, Debug)]
pub enum Error {
    Closed,
    Timeout,
    TooLarge(u64),
    Refused(String),
    Internal(String),
}

#[derive(Clone, Copy, Debug, Default)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
    Http3,
}

#[derive(Clone, Debug)]
pub enum Upgrade {
    Websocket(Vec<String>),
    Webtransport,
}

#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub subject: String,
    pub issuer: String,
    pub serial: String,
    pub names: Vec<String>,
    pub sha256: String,
}

/// A body, piece by piece, and how it ends.
#[derive(Debug, Default)]
pub struct Body {
    pub(crate) pieces: Mutex<VecDeque<Vec<u8>>>,
    pub(crate) end: Option<Error>,
    pub(crate) trailers: Vec<Field>,
}

/// The meaning of a `max` of 0.
const PIECE: usize = 65536;

impl Body {
    pub fn read(&self, max: u32) -> Result<Option<Vec<u8>>, Error> {
        let max = if max == 0 { PIECE } else { max as usize };
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut piece) = pieces.pop_front() {
            if piece.len() > max {
                pieces.push_front(piece.split_off(max));
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        self.end.clone().map_or(Ok(None), Err)
    }

    pub fn read_to_end(&self) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.read(0)? {
            all.extend(piece);
        }
        Ok(all)
    }

    pub fn trailers(&self) -> Result<Vec<Field>, Error> {
        self.read_to_end()?;
        Ok(self.trailers.clone())
    }
}

/// A request, with the values of a test.
#[derive(Default)]
pub struct Request {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) version: Version,
    pub(crate) peer: String,
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) route: Option<String>,
    pub(crate) headers: Vec<Field>,
    pub(crate) body: Mutex<Option<Body>>,
    pub(crate) upgrade: Option<Upgrade>,
}

impl Request {
    pub fn id(&self) -> String {
        "test".to_owned()
    }

    pub fn method(&self) -> String {
        self.method.clone()
    }

    pub fn scheme(&self) -> String {
        self.scheme.clone()
    }

    pub fn authority(&self) -> String {
        self.authority.clone()
    }

    pub fn path(&self) -> String {
        self.path.clone()
    }

    pub fn query(&self) -> Option<String> {
        self.query.clone()
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn peer(&self) -> String {
        self.peer.clone()
    }

    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        self.certificate.clone()
    }

    pub fn param(&self, name: &str) -> Option<String> {
        self.params.iter().find(|(param, _)| param == name).map(|(_, value)| value.clone())
    }

    pub fn params(&self) -> Vec<(String, String)> {
        self.params.clone()
    }

    pub fn route(&self) -> Option<String> {
        self.route.clone()
    }

    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.header_values(name).into_iter().next()
    }

    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.headers.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
    }

    pub fn headers(&self) -> Vec<Field> {
        self.headers.clone()
    }

    pub fn body(&self) -> Option<Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade.clone()
    }
}

/// Keeps the written bytes, up to a limit after which the client is gone.
#[derive(Debug)]
pub struct BodyWriter {
    pub(crate) chunks: RefCell<Vec<Vec<u8>>>,
    pub(crate) left: Cell<usize>,
}

impl BodyWriter {
    pub fn write(&self, chunk: &[u8]) -> Result<(), Error> {
        let left = self.left.get().checked_sub(chunk.len()).ok_or(Error::Closed)?;
        self.left.set(left);
        if !chunk.is_empty() {
            self.chunks.borrow_mut().push(chunk.to_owned());
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub missed: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Disconnect {
    Closed,
    Reset,
    ConnectionLost,
    Timeout,
}

#[derive(Clone, Debug)]
pub enum Event {
    Message(Message),
    Timer(u64),
    Body(Vec<u8>),
    BodyEnd(Vec<Field>),
    Drain(u64),
    Disconnect(Disconnect),
}

#[derive(Clone, Debug)]
pub enum WsMessage {
    Text(String),
    Binary(Vec<u8>),
}

/// Keeps the sent messages, until the close.
#[derive(Debug, Default)]
pub struct WsSender {
    pub(crate) sent: RefCell<Vec<WsMessage>>,
    pub(crate) closed: RefCell<Option<(u16, String)>>,
}

impl WsSender {
    pub fn send(&self, message: &WsMessage) -> Result<(), Error> {
        if self.closed.borrow().is_some() {
            return Err(Error::Closed);
        }
        self.sent.borrow_mut().push(message.clone());
        Ok(())
    }

    pub fn close(&self, code: u16, reason: &str) {
        self.closed.borrow_mut().get_or_insert((code, reason.to_owned()));
    }
}

pub struct WtStream {
    pub id: u64,
    pub bidirectional: bool,
}

pub struct WtData {
    pub id: u64,
    pub bytes: Vec<u8>,
}

pub struct WtAbort {
    pub id: u64,
    pub code: u32,
}

pub struct WtClose {
    pub code: u32,
    pub reason: String,
}

pub enum WtEvent {
    Opened(WtStream),
    Data(WtData),
    Finished(u64),
    Reset(WtAbort),
    Stopped(WtAbort),
    Datagram(Vec<u8>),
    Draining,
    Closed(WtClose),
}

/// A session that is over: [`crate::testing`] does not cover WebTransport.
#[derive(Debug, Default)]
pub struct WtSession(());

impl WtSession {
    pub fn open_bidirectional(&self) -> Result<u64, Error> {
        Err(Error::Closed)
    }

    pub fn open_unidirectional(&self) -> Result<u64, Error> {
        Err(Error::Closed)
    }

    pub fn send(&self, _: u64, _: &[u8]) -> Result<(), Error> {
        Err(Error::Closed)
    }

    pub fn finish(&self, _: u64) {}

    pub fn reset(&self, _: u64, _: u32) {}

    pub fn stop(&self, _: u64, _: u32) {}

    pub fn send_datagram(&self, _: &[u8]) -> Result<(), Error> {
        Err(Error::Closed)
    }

    pub fn close(&self, _: u32, _: &str) {}
}
