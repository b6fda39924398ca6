//! The client of the h3 crate.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use http::{Request, Response, StatusCode};

use super::Server;

type SendRequest = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

pub struct Client {
    requests: SendRequest,
    /// Dropping it closes the socket.
    pub endpoint: quinn::Endpoint,
    pub quic: quinn::Connection,
    pub driver: tokio::task::JoinHandle<h3::error::ConnectionError>,
}

impl Client {
    pub async fn connect(server: &Server) -> Client {
        let endpoint = Client::endpoint(server);
        Client::on(endpoint, server.address).await.expect("a handshake")
    }

    /// An endpoint with its own socket and session store.
    pub fn endpoint(server: &Server) -> quinn::Endpoint {
        Client::endpoint_with(server, rustls::crypto::aws_lc_rs::default_provider())
    }

    pub fn endpoint_with(server: &Server, provider: rustls::crypto::CryptoProvider) -> quinn::Endpoint {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(server.certificate.clone()).expect("a certificate");
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        tls.enable_early_data = true;
        let mut endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        endpoint
    }

    /// Connects to an address, which need not be the server's own.
    pub async fn on(endpoint: quinn::Endpoint, address: SocketAddr) -> Result<Client, quinn::ConnectionError> {
        let quic = endpoint.connect(address, "localhost").expect("an address").await?;
        Ok(Client::over(endpoint, quic).await)
    }

    pub async fn over(endpoint: quinn::Endpoint, quic: quinn::Connection) -> Client {
        let (mut connection, requests) =
            h3::client::new(h3_quinn::Connection::new(quic.clone())).await.expect("an HTTP/3 connection");
        let driver = tokio::spawn(async move { std::future::poll_fn(|cx| connection.poll_close(cx)).await });
        Client { requests, endpoint, quic, driver }
    }

    pub async fn get(&self, path: &str) -> Vec<u8> {
        self.send("GET", path, &[]).await.1
    }

    /// A request without a body, and its response.
    pub async fn exchange(&self, method: &str, path: &str) -> (Response<()>, Vec<u8>) {
        let request =
            Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).expect("a request");
        let mut stream = self.requests.clone().send_request(request).await.expect("it is sent");
        sent(stream.finish().await);
        let response = stream.recv_response().await.expect("a response");
        let mut body = Vec::new();
        while let Some(mut data) = stream.recv_data().await.expect("data") {
            body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        (response, body)
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: &[Bytes],
    ) -> (StatusCode, Vec<u8>, Option<http::HeaderMap>) {
        let request =
            Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).expect("a request");
        let stream = self.requests.clone().send_request(request).await.expect("it is sent");
        let (mut send, mut receive) = stream.split();
        let body = body.to_vec();
        let writer = tokio::spawn(async move {
            for piece in body {
                sent(send.send_data(piece).await);
            }
            sent(send.finish().await);
        });
        let response = receive.recv_response().await.expect("a response");
        let mut received = Vec::new();
        while let Some(mut data) = receive.recv_data().await.expect("data") {
            received.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
        let trailers = receive.recv_trailers().await.expect("trailers");
        writer.await.expect("no panic");
        (response.status(), received, trailers)
    }
}

/// RFC 9114, 4.1: a server that has answered may stop the rest of a request with H3_NO_ERROR; here an end that came
/// late.
fn sent(result: Result<(), StreamError>) {
    if let Err(error) = result {
        let is_stopped = matches!(&error, StreamError::RemoteTerminate { code, .. } if *code == Code::H3_NO_ERROR);
        assert!(is_stopped || error.is_h3_no_error(), "{error}");
    }
}
