//! TLS, with a real server on loopback: which certificates are trusted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use roadrunner_names::{Resolver, Share};
use roadrunner_outbound::{Client, Error, Grant, Host, Settings, Timeouts};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Starts a server with a certificate for this name; returns its address and its certificate.
async fn server(name: &str) -> (SocketAddr, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut head = [0; 4096];
            let length = socket.read(&mut head).await.unwrap_or(0);
            assert!(head[..length].starts_with(b"GET /x?y HTTP/1.1\r\n"), "{:?}", head[..length].escape_ascii());
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").await;
            let _ = socket.shutdown().await;
        }
    });
    (address, certificate)
}

async fn ask(client: &Client, url: &str) -> Result<Bytes, Error> {
    let request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
    let (response, driver) = client.send(request, Timeouts::default()).await?;
    let (body, _) = tokio::join!(response.into_body().collect(), driver);
    Ok(body?.to_bytes())
}

fn names() -> Share {
    Resolver::new(roadrunner_names::Settings::default()).own()
}

fn client(address: SocketAddr, host: Host, trusted: Option<CertificateDer<'static>>) -> Client {
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(trusted);
    let grants = vec![Grant { tls: true, host, port: address.port() }];
    let connect = Duration::from_secs(20);
    let timeouts = Timeouts { connect, ..Timeouts::default() };
    Client::trusting(Settings { grants, private: true, timeouts, ..Settings::default() }, names(), authorities)
}

#[tokio::test]
async fn a_certificate_of_the_right_name_and_authority_is_believed() {
    let (address, certificate) = server("localhost").await;
    let client = client(address, Host::Name("localhost".into()), Some(certificate));
    let url = format!("https://localhost:{}/x?y", address.port());
    assert_eq!(ask(&client, &url).await.unwrap(), "yes");
    assert_eq!(client.open(), 0, "its place is free again");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_not() {
    let (address, certificate) = server("other.example").await;
    let client = client(address, Host::Name("localhost".into()), Some(certificate));
    let error = ask(&client, &format!("https://localhost:{}/x?y", address.port())).await.unwrap_err();
    assert!(matches!(error, Error::Tls(_)), "{error}");
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_not() {
    let (address, _) = server("localhost").await;
    let grants = vec![Grant { tls: true, host: Host::Name("localhost".into()), port: address.port() }];
    let client = Client::new(Settings { grants, private: true, ..Settings::default() }, names());
    let error = ask(&client, &format!("https://localhost:{}/x?y", address.port())).await.unwrap_err();
    assert!(matches!(error, Error::Tls(_)), "{error}");
    assert_eq!(client.open(), 0);
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_refused() {
    let (address, _) = server("localhost").await;
    let grants = vec![Grant { tls: true, host: Host::Name("localhost".into()), port: address.port() }];
    let client = Client::new(Settings { grants, ..Settings::default() }, names());
    let error = ask(&client, &format!("https://localhost:{}/x?y", address.port())).await.unwrap_err();
    assert_eq!(error.rule(), Some("outbound-private"), "{error}");
}
