//! The client's address: the PROXY protocol at the start of a connection, and forwarding header fields in a request.
//! There is one address, the same for the guest, the access log and the caps.

use std::time::{Duration, Instant};

use roadrunner_tests::client::{Io, secure};
use roadrunner_tests::command::{self, tool};
use roadrunner_tests::{Answer, Ask, Client, Server, Setup, Way, soon};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// A plain and a TLS listener with these keys, named `behind` and `behind-tls`.
fn behind(keys: &str) -> String {
    format!(
        "[[listener]]\nname = \"behind\"\naddress = \"127.0.0.1:0\"\n{keys}\n\
         [[listener]]\nname = \"behind-tls\"\naddress = \"127.0.0.1:0\"\n{keys}\n\
         tls = {{ certificate = \"certificate.pem\", key = \"key.pem\" }}\n"
    )
}

const PROXIED: &str = "proxy-protocol-from = [\"127.0.0.0/8\"]";

fn listener(way: Way) -> &'static str {
    if way.is_tls() { "behind-tls" } else { "behind" }
}

/// A connection that begins with these bytes, before TLS.
async fn after(server: &Server, way: Way, header: &[u8]) -> Client {
    let mut tcp = soon(TcpStream::connect(server.address(listener(way)))).await.expect("the server accepts");
    soon(tcp.write_all(header)).await.expect("the server reads");
    Client::on(secure(tcp, way).await, way).await
}

fn seen(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// A header of version 2: command, family, and the rest.
fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).expect("it is short").to_be_bytes());
    bytes.extend(rest);
    bytes
}

#[tokio::test]
async fn a_proxy_header_names_the_client() {
    let server = Setup::of("inspector").and(&behind(PROXIED)).start().await;
    let v4 = [192, 0, 2, 8, 198, 51, 100, 1, 0x30, 0x39, 0, 80];
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 9;
    v6[33] = 7;
    let tlvs = [&v4[..], &[0x02, 0, 3, b'a', b'b', b'c', 0x04, 0, 0]].concat();
    let headers = [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n".to_vec(), "192.0.2.7:56324"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(), "[2001:db8::7]:4711"),
        (block(0x21, 0x11, &v4), "192.0.2.8:12345"),
        (block(0x21, 0x11, &tlvs), "192.0.2.8:12345"),
        (block(0x21, 0x21, &v6), "[2001:db8::9]:7"),
    ];
    for way in Way::TCP {
        for (index, (header, peer)) in headers.iter().enumerate() {
            let path = format!("/{way:?}/{index}");
            let answer = after(&server, way, header).await.fetch(Ask::get(&path)).await;
            assert_eq!(seen(&answer)["peer"], *peer, "{way:?} {header:?}");
            assert_eq!(seen(&answer)["scheme"], if way.is_tls() { "https" } else { "http" });
            assert_eq!(server.access(&path).await["peer"], *peer);
        }
        // The proxy's own connections.
        for header in [b"PROXY UNKNOWN\r\n".to_vec(), block(0x20, 0, &[]), block(0x21, 0, &[1, 2, 3])] {
            let answer = after(&server, way, &header).await.fetch(Ask::get("/")).await;
            let peer = seen(&answer)["peer"].as_str().expect("text").to_owned();
            assert!(peer.starts_with("127.0.0.1:"), "{way:?} {header:?}: {peer}");
        }
    }
    server.is_quiet().await;
    assert_eq!(server.metrics().await.sum("roadrunner_proxy_headers_refused_total", ""), 0.0);
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_with_what_follows() {
    let server = Setup::of("inspector").and(&behind(PROXIED)).start().await;
    let sent =
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET /pieces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for step in [1, 7, sent.len()] {
        let mut tcp = TcpStream::connect(server.address("behind")).await.expect("the server accepts");
        tcp.set_nodelay(true).expect("a socket option");
        for piece in sent.chunks(step) {
            tcp.write_all(piece).await.expect("the server reads");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut said = String::new();
        soon(tcp.read_to_string(&mut said)).await.expect("the server answers");
        assert!(said.starts_with("HTTP/1.1 200") && said.contains("192.0.2.7:56324"), "by {step}: {said}");
    }
    server.is_quiet().await;
}

/// The connection is closed silently: a client other than the proxy could otherwise claim any address.
#[tokio::test]
async fn without_a_good_header_there_is_no_connection() {
    let strangers =
        "[[listener]]\nname = \"stranger\"\naddress = \"127.0.0.1:0\"\nproxy-protocol-from = [\"192.0.2.0/24\"]\n";
    let server = Setup::of("hello").and(&behind(PROXIED)).and(strangers).start().await;
    let mut long = b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2".to_vec();
    long.resize(200, b' ');
    let mut cases = vec![
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"PROXY TCP4 999.0.2.7 198.51.100.1 1 2\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        long,
        block(0x21, 0x11, &[192, 0, 2, 8]),
        block(0x21, 0x12, &[0; 12]),
        block(0x31, 0x11, &[0; 12]),
        block(0x21, 0x11, &[0; 60_000]),
    ];
    for case in &mut cases {
        let mut tcp = TcpStream::connect(server.address("behind")).await.expect("the server accepts");
        let _ = tcp.write_all(case).await;
        let mut said = Vec::new();
        // A reset is an end too.
        let _ = soon(tcp.read_to_end(&mut said)).await;
        assert!(said.is_empty(), "{case:?}: {said:?}");
    }
    let mut stranger = TcpStream::connect(server.address("stranger")).await.expect("the server accepts");
    let _ = stranger.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\nGET / HTTP/1.0\r\n\r\n").await;
    let mut said = Vec::new();
    let _ = soon(stranger.read_to_end(&mut said)).await;
    assert!(said.is_empty(), "{said:?}");

    let metrics = server.metrics().await;
    let refused = |reason| metrics.sum("roadrunner_proxy_headers_refused_total", reason);
    assert_eq!((refused("malformed"), refused("untrusted")), (cases.len() as f64, 1.0));
    assert_eq!(metrics.sum("roadrunner_wire_requests_total", ""), 0.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn the_header_has_to_come_in_time() {
    let server = Setup::of("hello").and(&behind(PROXIED)).and("[timeouts]\nproxy-header = \"300ms\"").start().await;
    let start = Instant::now();
    for sent in [&b""[..], b"PROXY TCP4 192.0.2.7", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\0\0"] {
        for way in [Way::H1, Way::H1Tls] {
            let mut tcp = TcpStream::connect(server.address(listener(way))).await.expect("the server accepts");
            tcp.write_all(sent).await.expect("the server reads");
            let mut said = Vec::new();
            let _ = soon(tcp.read_to_end(&mut said)).await;
            assert!(said.is_empty(), "{said:?}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(server.metrics().await.sum("roadrunner_timeouts_total", "proxy-header"), 6.0);
    server.is_quiet().await;
}

#[tokio::test]
async fn a_proxy_header_elsewhere_is_a_malformed_request() {
    let server = Setup::of("hello").start().await;
    let mut client = server.connect(Way::H1).await;
    client.h1().write(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let said = client.h1().to_close().await;
    assert!(said.starts_with("HTTP/1.1 400") && said.matches("HTTP/1.1").count() == 1, "{said}");
}

#[tokio::test]
async fn curl_sends_a_proxy_header() {
    let server = Setup::of("inspector").and(&behind(PROXIED)).start().await;
    for (scheme, name) in [("http", "behind"), ("https", "behind-tls")] {
        let Some(mut curl) = tool("client_addresses::curl_sends_a_proxy_header", "curl") else { return };
        let url = format!("{scheme}://localhost:{}/", server.address(name).port());
        curl.args(["-sS4", "--haproxy-protocol", "--cacert"]).arg(server.certificate()).arg(url);
        let done = command::output(curl).await;
        assert!(done.stdout.contains("\"peer\":\"127.0.0.1:"), "{done:?}");
    }
    server.is_quiet().await;
}

/// The caps count the clients behind a proxy, and not the proxy.
#[tokio::test]
async fn the_clients_behind_a_proxy_have_caps_of_their_own() {
    let server = Setup::of("hello").and(&behind(&format!("{PROXIED}\nconnections-per-peer = 1"))).start().await;
    let header = |last: u8| format!("PROXY TCP4 192.0.2.{last} 198.51.100.1 1 2\r\n").into_bytes();
    let mut first = after(&server, Way::H1, &header(1)).await;
    assert_eq!(first.fetch(Ask::get("/")).await.status, 200);
    let mut second = after(&server, Way::H1, &header(1)).await;
    assert_eq!(second.fetch(Ask::get("/")).await.status, 0, "one connection of this client");
    let mut third = after(&server, Way::H1, &header(2)).await;
    assert_eq!(third.fetch(Ask::get("/")).await.status, 200, "another client");
    assert_eq!(server.metrics().await.sum("roadrunner_connections_rejected_total", ""), 1.0);
    drop((first, second, third));
    server.is_quiet().await;
    assert_eq!(after(&server, Way::H1, &header(1)).await.fetch(Ask::get("/")).await.status, 200);
}

const TRUSTING: &str = "trusted-proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";

async fn peer_and_scheme(client: &mut Client, ask: Ask) -> (String, String) {
    let seen = seen(&client.fetch(ask).await);
    let text = |key: &str| seen[key].as_str().expect("text").to_owned();
    (text("peer"), text("scheme"))
}

#[tokio::test]
async fn trusted_proxies_name_the_client_of_each_request() {
    let server = Setup::of("inspector").and(&behind(TRUSTING)).start().await;
    for way in Way::TCP {
        // Two clients on one connection of the proxy.
        let mut client = Client::connect(server.address(listener(way)), way).await;
        let path = format!("/forwarded/{way:?}");
        let ask = Ask::get(&path).header("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.3");
        let (peer, scheme) = peer_and_scheme(&mut client, ask.header("x-forwarded-proto", "https")).await;
        assert_eq!((&*peer, &*scheme), ("192.0.2.1:0", "https"), "{way:?}");
        assert_eq!(server.access(&path).await["peer"], "192.0.2.1:0");
        let (peer, _) = peer_and_scheme(&mut client, Ask::get("/").header("x-forwarded-for", "[2001:db8::1]:99")).await;
        assert_eq!(peer, "[2001:db8::1]:99", "{way:?}");
        // Empty members are ignored (RFC 9110, 5.6.1.2), and so is a line of them.
        let ask = Ask::get("/").header("x-forwarded-for", "192.0.2.1,, 10.0.0.3 ,").header("x-forwarded-for", ",");
        let (peer, scheme) = peer_and_scheme(&mut client, ask.header("x-forwarded-proto", "https,")).await;
        assert_eq!((&*peer, &*scheme), ("192.0.2.1:0", "https"), "{way:?}");
        let (peer, scheme) =
            peer_and_scheme(&mut client, Ask::get("/").header("forwarded", "for=6.6.6.6;proto=https")).await;
        assert!(peer.starts_with("127.0.0.1:"), "{way:?}: the other field is not the proxy's: {peer}");
        assert_eq!(scheme, if way.is_tls() { "https" } else { "http" });
    }
    // The other listeners trust no proxy.
    for way in Way::TCP {
        let ask = Ask::get("/").header("x-forwarded-for", "192.0.2.1").header("x-forwarded-proto", "https");
        let (peer, scheme) = peer_and_scheme(&mut server.connect(way).await, ask).await;
        assert!(peer.starts_with("127.0.0.1:"), "{way:?}: {peer}");
        assert_eq!(scheme, if way.is_tls() { "https" } else { "http" });
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn the_field_forwarded_can_be_the_proxys() {
    let keys = format!("{TRUSTING}\nforwarded-field = \"forwarded\"");
    let server = Setup::of("inspector").and(&behind(&keys)).start().await;
    for way in Way::TCP {
        let mut client = Client::connect(server.address(listener(way)), way).await;
        let ask = Ask::get("/")
            .header("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:47\";proto=https, for=10.1.1.1")
            .header("x-forwarded-for", "6.6.6.6");
        let (peer, scheme) = peer_and_scheme(&mut client, ask).await;
        assert_eq!((&*peer, &*scheme), ("[2001:db8::7]:47", "https"), "{way:?}");
        // A comma in quotes does not separate, and the client's text is no entry just because a proxy quotes it.
        for value in [
            "for=192.0.2.1;proto=https, ,",
            "for=192.0.2.1;;host=\"a,b\";proto=https , for=10.0.0.1",
            "for=192.0.2.1;proto=https;host=\"x, for=6.6.6.6;a=\"",
            "for=\"6.6.6.6, for=192.0.2.1;proto=\"htt\\ps\"",
        ] {
            let (peer, scheme) = peer_and_scheme(&mut client, Ask::get("/").header("forwarded", value)).await;
            assert_eq!((&*peer, &*scheme), ("192.0.2.1:0", "https"), "{way:?}: {value}");
        }
    }
    server.is_quiet().await;
}

/// Behind a load balancer with the PROXY protocol, the trusted proxy is the one that the header names.
#[tokio::test]
async fn both_at_once() {
    let keys = format!("{PROXIED}\ntrusted-proxies = [\"192.0.2.0/24\"]");
    let server = Setup::of("inspector").and(&behind(&keys)).start().await;
    for (proxy, wanted) in [("192.0.2.9", "203.0.113.5:0"), ("198.51.100.9", "198.51.100.9:1")] {
        let header = format!("PROXY TCP4 {proxy} 127.0.0.1 1 2\r\n");
        let mut client = after(&server, Way::H1, header.as_bytes()).await;
        let ask = Ask::get("/").header("x-forwarded-for", "203.0.113.5");
        assert_eq!(peer_and_scheme(&mut client, ask).await.0, wanted);
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn proxies_on_a_unix_socket() {
    let server = Setup::of("inspector")
        .and("[[listener]]\nname = \"local\"\naddress = \"unix:local.sock\"\ntrusted-proxies = [\"unix\"]")
        .and("[[listener]]\nname = \"proxied\"\naddress = \"unix:proxied.sock\"\nproxy-protocol-from = [\"unix\"]")
        .start()
        .await;
    let connect = async |name: &str| soon(UnixStream::connect(server.folder().join(name))).await.expect("it listens");
    let io: Io = Box::new(connect("local.sock").await);
    let mut client = Client::on(io, Way::H1).await;
    let (peer, scheme) = peer_and_scheme(
        &mut client,
        Ask::get("/").header("x-forwarded-for", "192.0.2.1").header("x-forwarded-proto", "https"),
    )
    .await;
    assert_eq!((&*peer, &*scheme), ("192.0.2.1:0", "https"));
    assert_eq!(peer_and_scheme(&mut client, Ask::get("/")).await.0, "local");
    let mut socket = connect("proxied.sock").await;
    socket.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 5 443\r\n").await.expect("the server reads");
    let io: Io = Box::new(socket);
    assert_eq!(peer_and_scheme(&mut Client::on(io, Way::H1).await, Ask::get("/")).await.0, "192.0.2.7:5");
    drop(client);
    server.is_quiet().await;
}
