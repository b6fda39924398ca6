//! HTTP/2 over TLS, by the crate h2.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Method, Request};
use rustls::pki_types::ServerName;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::{Answers, Target};
use crate::scenarios::Does;

/// What one stream and the whole connection may send before it is read.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// A connection.
#[derive(Debug)]
pub struct Client {
    target: Arc<Target>,
    requests: Vec<Request<()>>,
    next: usize,
    sender: SendRequest<Bytes>,
    driver: AbortHandle,
    answers: Answers,
    session: Option<RecvStream>,
}

impl Client {
    pub(super) async fn connect(target: &Arc<Target>) -> Result<Self> {
        let tls = TlsConnector::from(target.tls.clone().context("HTTP/2 needs TLS")?);
        let name = ServerName::try_from("localhost").context("localhost is a name")?;
        let socket = tls.connect(name, target.socket().await?).await.context("the TLS handshake failed")?;
        ensure!(socket.get_ref().1.alpn_protocol() == Some(b"h2"), "the server does not speak HTTP/2");
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(socket).await.context("the server does not speak HTTP/2")?;
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        let requests = target.paths.iter().map(|path| request(target, path)).collect::<Result<_>>()?;
        let answers = Answers::default();
        Ok(Self { target: target.clone(), requests, next: 0, sender, driver, answers, session: None })
    }

    pub(super) async fn exchange(&mut self) -> Result<u64> {
        if self.target.scenario.does == Does::Listen {
            return self.events().await;
        }
        let batch = self.target.scenario.batch();
        let mut responses = Vec::with_capacity(batch);
        for _ in 0..batch {
            responses.push(self.ask().await?);
        }
        for response in responses {
            let (head, mut stream) = response.await.context("no answer")?.into_parts();
            let mut body = Vec::with_capacity(self.target.answer.len());
            while let Some(data) = stream.data().await {
                let data = data.context("the answer broke off")?;
                stream.flow_control().release_capacity(data.len())?;
                body.extend_from_slice(&data);
            }
            let encoding = head.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes());
            self.target.check(head.status.as_u16(), &body, encoding, &mut self.answers)?;
        }
        Ok(batch as u64)
    }

    pub(super) async fn listen(&mut self) -> Result<()> {
        let (head, stream) = self.ask().await?.await.context("no answer")?.into_parts();
        ensure!(head.status == self.target.scenario.status, "the server answered {}", head.status);
        self.session = Some(stream);
        Ok(())
    }

    async fn events(&mut self) -> Result<u64> {
        if self.session.is_none() {
            self.listen().await?;
        }
        let stream = self.session.as_mut().context("the session is open")?;
        let data = stream.data().await.context("the session ended")?.context("the session broke off")?;
        stream.flow_control().release_capacity(data.len())?;
        Ok(Target::events(&data))
    }

    async fn ask(&mut self) -> Result<h2::client::ResponseFuture> {
        let request = self.requests[self.next].clone();
        self.next = (self.next + 1) % self.requests.len();
        std::future::poll_fn(|context| self.sender.poll_ready(context)).await.context("the server takes no stream")?;
        let mut body = self.target.body.clone();
        let (response, mut stream) = self.sender.send_request(request, body.is_empty()).context("cannot ask")?;
        while !body.is_empty() {
            stream.reserve_capacity(body.len());
            let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            let room = room.context("the server closed the stream")?.context("the server stopped the request")?;
            let piece = body.split_to(room.min(body.len()));
            stream.send_data(piece, body.is_empty()).context("cannot send the body")?;
        }
        Ok(response)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
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
    request.body(()).context("the request is not one")
}
