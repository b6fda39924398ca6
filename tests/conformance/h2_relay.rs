//! WebSockets over HTTP/1.1 in, over HTTP/2 out: puts clients that know only RFC 6455 before a server's RFC 8441.
//!
//! `h2-relay LISTEN SERVER [--shared]`; both are addresses, SERVER speaks HTTP/2 without TLS. Each handshake becomes
//! an extended CONNECT, a 200 becomes a 101, and from there on bytes are copied both ways and nothing is looked at.
//! Each tunnel has a connection of its own; with `--shared`, all are streams of one. Reads are coalesced as they
//! come, so that frames arrive at the server in other pieces than they were sent in: a harder test than without it.
//!
//! For tests on loopback: it trusts its client, and does not limit how many there are.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode, Version};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The longest request head that is read.
const MAX_HEAD: usize = 16 << 10;

/// Bytes read from the client at once.
const READ: usize = 64 << 10;

/// What the server may have under way before it waits for the client.
const WINDOW: u32 = 1 << 20;

/// How long the server may take to say that it knows extended CONNECT.
const SETTINGS: Duration = Duration::from_secs(5);

/// RFC 6455, 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (listen, server, shared) = match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [listen, server] => (listen.parse()?, server.parse()?, false),
        [listen, server, "--shared"] => (listen.parse::<SocketAddr>()?, server.parse::<SocketAddr>()?, true),
        _ => return Err("usage: h2-relay LISTEN SERVER [--shared]".into()),
    };
    let listener = TcpListener::bind(listen).await?;
    let shared = if shared { Some(connect(server).await?) } else { None };
    println!("relaying {} to {server}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let shared = shared.clone();
        tokio::spawn(async move {
            if let Err(error) = relay(client, server, shared).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn relay(mut client: TcpStream, server: SocketAddr, shared: Option<SendRequest<Bytes>>) -> Result<(), Error> {
    client.set_nodelay(true)?;
    let Some(handshake) = Handshake::read(&mut client, server).await? else { return Ok(()) };
    let connection = match shared {
        Some(connection) => connection,
        None => connect(server).await?,
    };
    let mut connection = connection.ready().await?;
    let (answer, mut out) = connection.send_request(handshake.request, false)?;
    let answer = answer.await?;
    client.write_all(head(&answer, &handshake.key).as_bytes()).await?;
    if answer.status() != StatusCode::OK {
        out.send_reset(Reason::CANCEL);
        return Ok(client.shutdown().await?);
    }
    let (read, write) = client.into_split();
    tokio::try_join!(up(read, out, handshake.rest), down(answer.into_body(), write))?;
    Ok(())
}

/// A connection that has said that it takes extended CONNECT (RFC 8441, 3).
async fn connect(server: SocketAddr) -> Result<SendRequest<Bytes>, Error> {
    let socket = TcpStream::connect(server).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(4 * WINDOW).enable_push(false);
    let (requests, connection) = builder.handshake(socket).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the connection to the server failed: {error}");
        }
    });
    let told = async {
        while !requests.is_extended_connect_protocol_enabled() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SETTINGS, told).await.map_err(|_| "the server does not announce SETTINGS_ENABLE_CONNECT_PROTOCOL")?;
    Ok(requests)
}

/// What the client asked, as it is asked of the server.
struct Handshake {
    request: Request<()>,
    key: String,
    /// What came right behind it.
    rest: Bytes,
}

impl Handshake {
    /// None when the client closes before it is complete.
    async fn read(client: &mut TcpStream, server: SocketAddr) -> Result<Option<Self>, Error> {
        let mut bytes = BytesMut::new();
        loop {
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Request::new(&mut fields);
            let httparse::Status::Complete(length) = head.parse(&bytes)? else {
                if bytes.len() > MAX_HEAD {
                    return Err("the client's head is too long".into());
                }
                continue;
            };
            let uri = format!("http://{server}{}", head.path.unwrap_or("/"));
            let mut request = Request::builder().method(Method::CONNECT).uri(uri).version(Version::HTTP_2);
            let mut key = None;
            for field in head.headers.iter() {
                // RFC 8441, 5: the key and the fields of the upgrade have no place there.
                match field.name.to_ascii_lowercase().as_str() {
                    "connection" | "host" | "upgrade" => {}
                    "sec-websocket-key" => key = Some(String::from_utf8(field.value.to_vec())?),
                    name => request = request.header(name, field.value),
                }
            }
            let request = request.extension(Protocol::from_static("websocket")).body(())?;
            let key = key.ok_or("the client sent no Sec-WebSocket-Key")?;
            return Ok(Some(Self { request, key, rest: bytes.split_off(length).freeze() }));
        }
    }
}

/// The server's answer as HTTP/1.1 has it.
fn head(answer: &Response<RecvStream>, key: &str) -> String {
    let mut head = if answer.status() == StatusCode::OK {
        let accept = BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: {accept}\r\n"
        )
    } else {
        format!("HTTP/1.1 {}\r\ncontent-length: 0\r\n", answer.status())
    };
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "content-length") {
        // Writing to a string cannot fail.
        let _ = write!(head, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    head + "\r\n"
}

/// Client to server. The end of the one is the end of the other.
async fn up(mut client: OwnedReadHalf, mut out: SendStream<Bytes>, rest: Bytes) -> Result<(), Error> {
    send(&mut out, rest).await?;
    loop {
        let mut piece = BytesMut::with_capacity(READ);
        match client.read_buf(&mut piece).await {
            Ok(0) => return Ok(out.send_data(Bytes::new(), true)?),
            Ok(_) => send(&mut out, piece.freeze()).await?,
            // A client that is done closes without reading on, which the kernel may tell as a reset.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                out.send_reset(Reason::CANCEL);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the stream's window, piece by piece.
async fn send(out: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), Error> {
    while !bytes.is_empty() {
        out.reserve_capacity(bytes.len());
        let Some(room) = poll_fn(|context| out.poll_capacity(context)).await.transpose()? else {
            return Err("the server ended the stream while the client was sending".into());
        };
        out.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

/// Server to client.
async fn down(mut body: RecvStream, mut client: OwnedWriteHalf) -> Result<(), Error> {
    while let Some(piece) = body.data().await {
        let piece = piece?;
        client.write_all(&piece).await?;
        body.flow_control().release_capacity(piece.len())?;
    }
    Ok(client.shutdown().await?)
}
