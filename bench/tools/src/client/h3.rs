//! HTTP/3, by quinn and the crate h3.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Method, Request};
use quinn::{Connection, Endpoint};
use tokio::task::AbortHandle;

use super::{Answers, Target};
use crate::scenarios::Does;
use crate::tls;

/// A connection.
pub struct Client {
    target: Arc<Target>,
    requests: Vec<Request<()>>,
    next: usize,
    sender: SendRequest<OpenStreams, Bytes>,
    driver: AbortHandle,
    quic: Connection,
    answers: Answers,
    session: Option<RequestStream<BidiStream<Bytes>, Bytes>>,
}

impl Client {
    pub(super) async fn connect(target: &Arc<Target>, endpoint: &Endpoint) -> Result<Self> {
        let quic = tls::quic_connect(endpoint, target.address).await?;
        let (mut connection, sender) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        let driver =
            tokio::spawn(async move { drop(std::future::poll_fn(|context| connection.poll_close(context)).await) });
        let requests = target.paths.iter().map(|path| request(target, path)).collect::<Result<_>>()?;
        Ok(Self {
            target: target.clone(),
            requests,
            next: 0,
            sender,
            driver: driver.abort_handle(),
            quic,
            answers: Answers::default(),
            session: None,
        })
    }

    pub(super) async fn exchange(&mut self) -> Result<u64> {
        if self.target.scenario.does == Does::Listen {
            return self.events().await;
        }
        let batch = self.target.scenario.batch();
        let mut streams = Vec::with_capacity(batch);
        for _ in 0..batch {
            streams.push(self.ask().await?);
        }
        for mut stream in streams {
            let head = stream.recv_response().await.context("no answer")?;
            let mut body = Vec::with_capacity(self.target.answer.len());
            while let Some(mut data) = stream.recv_data().await.context("the answer broke off")? {
                while data.has_remaining() {
                    let piece = data.chunk();
                    body.extend_from_slice(piece);
                    let length = piece.len();
                    data.advance(length);
                }
            }
            let encoding = head.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes());
            self.target.check(head.status().as_u16(), &body, encoding, &mut self.answers)?;
        }
        Ok(batch as u64)
    }

    pub(super) async fn listen(&mut self) -> Result<()> {
        let mut stream = self.ask().await?;
        let head = stream.recv_response().await.context("no answer")?;
        ensure!(head.status() == self.target.scenario.status, "the server answered {}", head.status());
        self.session = Some(stream);
        Ok(())
    }

    async fn events(&mut self) -> Result<u64> {
        if self.session.is_none() {
            self.listen().await?;
        }
        let stream = self.session.as_mut().context("the session is open")?;
        let mut data = stream.recv_data().await?.context("the session ended")?;
        Ok(Target::events(&data.copy_to_bytes(data.remaining())))
    }

    async fn ask(&mut self) -> Result<RequestStream<BidiStream<Bytes>, Bytes>> {
        let request = self.requests[self.next].clone();
        self.next = (self.next + 1) % self.requests.len();
        let mut stream = self.sender.send_request(request).await.context("cannot ask")?;
        if !self.target.body.is_empty() {
            stream.send_data(self.target.body.clone()).await.context("cannot send the body")?;
        }
        stream.finish().await.context("cannot end the request")?;
        Ok(stream)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
        self.quic.close(H3_NO_ERROR.into(), b"");
    }
}

fn request(target: &Target, path: &str) -> Result<Request<()>> {
    let method = if target.body.is_empty() { Method::GET } else { Method::POST };
    let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    for (name, value) in &target.fields {
        request = request.header(name, value);
    }
    if !target.body.is_empty() {
        request = request.header(CONTENT_LENGTH, target.body.len());
    }
    let request = request.body(()).context("the request is not one")?;
    ensure!(request.uri().authority().is_some(), "the request has no authority");
    Ok(request)
}

const H3_NO_ERROR: u32 = 0x100;
