//! A client that closes its side of an HTTP/1.1 connection gets the answers to its requests (`nc -N`, socat, health
//! checks); only sessions end with it.

use std::time::Duration;

use roadrunner_tests::client::dial;
use roadrunner_tests::server::component;
use roadrunner_tests::websocket::Handshake;
use roadrunner_tests::{Ask, Client, Server, Setup, Way};

const WAYS: [Way; 2] = [Way::H1, Way::H1Tls];

/// More bytes than the kernel buffers for a socket.
const LARGE: usize = 10 << 20;

async fn start() -> Server {
    let mut setup = Setup::default().server("wasi-03 = true").file("public/large", vec![b'x'; LARGE]).and(
        "[directory.files]\npath = \"public\"\n[component.files]\nfile = \"{guests}/files.wasm\"\ndirectories = [\"files\"]\n\
         [[route]]\npath = \"/static/*path\"\nstatic = { directory = \"files\" }\n\
         [[route]]\npath = \"/guest\"\ncomponent = \"files\"",
    );
    for guest in ["hostile", "bodies", "streams", "loops", "standard", "service"] {
        setup = setup.and(&component(guest)).and(&format!(
            "[[group]]\nhosts = [\"{guest}\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"{guest}\"\nbody = \"manual\""
        ));
    }
    setup.start().await
}

#[tokio::test]
async fn answers_come_whole() {
    let server = start().await;
    for way in WAYS {
        for (host, path, body) in [
            ("x", "/static/large", LARGE),
            ("x", "/guest?path=large", LARGE),
            ("streams", "/bytes?n=3000000", 3_000_000),
            ("hostile", "/sleep?ms=300", "awake\n".len()),
            ("hostile", "/spin/for?ms=200", 0),
            ("standard", "/hello", "hello from a standard component\n".len()),
            ("service", "/hello", "hello from a service\n".len()),
        ] {
            let mut client = server.connect(way).await;
            client.h1().write(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await;
            client.h1().shut_down().await;
            // Until it is known that no more bytes come.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let answer = client.h1().answer("GET").await;
            assert_eq!((answer.status, answer.end.is_whole()), (200, true), "{way:?} {path}");
            assert!(body == 0 || answer.body.len() == body, "{way:?} {path}: {} bytes", answer.body.len());
            assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?} {path}");
        }
        let mut client = server.connect(way).await;
        let requests = "POST /all HTTP/1.1\r\nhost: bodies\r\ncontent-length: 5\r\n\r\nhello\
                        GET /sleep?ms=200 HTTP/1.1\r\nhost: hostile\r\n\r\n\
                        POST /ignore HTTP/1.1\r\nhost: bodies\r\ncontent-length: 5\r\n\r\nhello";
        client.h1().write(requests.as_bytes()).await;
        client.h1().shut_down().await;
        for text in ["5\n", "awake\n", "ignored\n"] {
            assert_eq!(client.h1().answer("GET").await.text(), text, "{way:?}: pipelined");
        }
        assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn sessions_end() {
    let server = start().await;
    let sockets = Setup::of("sockets").beside().start().await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get("/disconnect").host("loops")).await;
        exchange.read_until("open").await;
        drop(exchange);
        server.has_instances(1).await;
        client.h1().shut_down().await;
        assert!(server.is_empty_after().await < Duration::from_secs(1), "{way:?}: a loop");
        assert!(client.h1().is_closed_within(Duration::from_secs(2)).await, "{way:?}: a loop");

        let mut socket = Handshake::to("/echo").open(&sockets, way).await;
        assert!(socket.text("hello").await);
        assert_eq!(socket.next_text().await, "hello", "{way:?}");
        drop(socket);
        assert!(sockets.is_empty_after().await < Duration::from_secs(1), "{way:?}: a WebSocket");
    }
    server.is_quiet().await;
}

/// No client can be waiting for an answer that is impossible.
#[tokio::test]
async fn requests_that_are_not_whole_end() {
    let server = start().await;
    for way in WAYS {
        let mut client = server.connect(way).await;
        client.h1().write(b"POST /all HTTP/1.1\r\nhost: bodies\r\ncontent-length: 50\r\n\r\nhello").await;
        server.has_instances(1).await;
        client.h1().shut_down().await;
        assert!(server.is_empty_after().await < Duration::from_secs(1), "{way:?}");
    }
    server.is_quiet().await;
}

/// Only a write reveals a client that has closed both sides.
#[tokio::test]
async fn a_stream_ends_when_its_client_is_gone() {
    let server = start().await;
    for way in WAYS {
        let address = server.address(if way.is_tls() { "tls" } else { "plain" });
        let mut client = Client::on(dial(address, way).await, way).await;
        client.h1().write(b"GET /endless?delay=5 HTTP/1.1\r\nhost: streams\r\n\r\n").await;
        server.has_instances(1).await;
        client.h1().shut_down().await;
        drop(client);
        assert!(server.is_empty_after().await < Duration::from_secs(1), "{way:?}");
    }
    server.is_quiet().await;
}
