//! The protocols of a listener, and the errors when it cannot be opened.

use roadrunner_tests::client::Io;
use roadrunner_tests::{Ask, Client, Setup, Way, command, soon};
use tokio::net::{TcpListener, TcpStream, UnixStream};

fn hello(listeners: &str) -> Setup {
    Setup::of("inspector").and(listeners)
}

#[tokio::test]
async fn a_unix_socket_speaks_both_versions() {
    let server = hello("[[listener]]\nname = \"local\"\naddress = \"unix:web.sock\"").start().await;
    for way in Way::PLAIN {
        let socket = soon(UnixStream::connect(server.folder().join("web.sock"))).await.expect("it listens");
        let io: Io = Box::new(socket);
        let answer = Client::on(io, way).await.fetch(Ask::get("/")).await;
        let seen: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(seen["version"], way.version());
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn an_ipv6_address_is_ipv6_only() {
    let listener = "[[listener]]\nname = \"six\"\naddress = \"[::1]:0\"";
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return println!("SKIPPED: an_ipv6_address_is_ipv6_only: this machine has no IPv6");
    }
    let server = hello(listener).start().await;
    for way in Way::PLAIN {
        let answer = Client::connect(server.address("six"), way).await.fetch(Ask::get("/")).await;
        let seen: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(seen["peer"].as_str().expect("text").starts_with("[::1]:"), "{seen}");
    }
    let four = (std::net::Ipv4Addr::LOCALHOST, server.address("six").port());
    assert!(soon(TcpStream::connect(four)).await.is_err());
    server.is_quiet().await;
}

/// Sockets that were open before the program: by name and by index, and still open after it has ended.
#[tokio::test]
async fn sockets_of_systemd_are_taken_over() {
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let addresses = sockets.each_ref().map(|socket| socket.local_addr().expect("it is bound"));
    let [first, second] = sockets;
    let kept = first.try_clone().expect("a descriptor");
    let tls = "tls = { certificate = \"certificate.pem\", key = \"key.pem\" }";
    let server = hello(&format!(
        "[[listener]]\nname = \"named\"\naddress = \"systemd:first\"\n\
         [[listener]]\nname = \"counted\"\naddress = \"systemd:1\"\n{tls}"
    ))
    .inherit(first)
    .inherit(second)
    .start()
    .await;
    assert_eq!([server.address("named"), server.address("counted")], addresses);
    for (address, way) in [(addresses[0], Way::H1), (addresses[0], Way::H2c), (addresses[1], Way::H2Tls)] {
        assert_eq!(Client::connect(address, way).await.fetch(Ask::get("/")).await.status, 200, "{way:?}");
    }
    server.is_quiet().await;
    drop(server);
    // The socket belongs to systemd, and accepts connections for the next process.
    TcpStream::connect(addresses[0]).await.expect("it still listens");
    kept.accept().expect("the connection waits");
}

#[tokio::test]
async fn a_socket_of_systemd_that_is_not_there_is_named() {
    let (folder, manifest) = hello("[[listener]]\nname = \"web\"\naddress = \"systemd:web\"").write();
    let mut serve = command::roadrunner();
    serve.arg("serve").arg(&manifest).current_dir(folder.path());
    // They are for another process.
    serve.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    let done = command::output(serve).await;
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("systemd:web") && done.stderr.contains("socket unit"), "{}", done.stderr);
    // A check needs no sockets.
    let mut check = command::roadrunner();
    check.args(["check", "--manifest"]).arg(&manifest).current_dir(folder.path());
    assert_eq!(command::output(check).await.code, 0);
}

#[tokio::test]
async fn a_version_that_is_not_spoken_is_refused() {
    let server = hello(
        "[[listener]]\nname = \"one\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http1\"]\n\
         [[listener]]\nname = \"two\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"http2\"]",
    )
    .start()
    .await;
    let one = server.address("one");
    assert_eq!(Client::connect(one, Way::H1).await.fetch(Ask::get("/")).await.status, 200);
    let mut client = Client::connect(one, Way::H1).await;
    client.h1().write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let said = client.h1().to_close().await;
    assert!(!said.contains("200"), "{said:?}");

    let two = server.address("two");
    assert_eq!(Client::connect(two, Way::H2c).await.fetch(Ask::get("/")).await.status, 200);
    let mut client = Client::connect(two, Way::H1).await;
    client.h1().write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let said = client.h1().to_close().await;
    assert!(!said.contains("200 OK"), "{said:?}");
    server.is_quiet().await;
}

#[tokio::test]
async fn a_plain_client_of_a_tls_port_harms_nobody() {
    let server = hello("").start().await;
    let mut client =
        Client::on(Box::new(TcpStream::connect(server.address("tls")).await.expect("it listens")), Way::H1).await;
    client.h1().write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!client.h1().to_close().await.contains("HTTP/1.1 200"));
    assert_eq!(server.fetch(Way::H2Tls, Ask::get("/")).await.status, 200);
    assert_eq!(server.metrics().await.sum("roadrunner_handshakes_failed_total", ""), 1.0);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let (folder, manifest) = hello(&format!("[[listener]]\nname = \"third\"\naddress = \"{address}\"")).write();
    let mut serve = command::roadrunner();
    serve.arg("serve").arg(&manifest).current_dir(folder.path());
    let done = command::output(serve).await;
    assert_eq!(done.code, 1, "{done:?}");
    for part in ["third", &address, "stop the program"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
}

/// It has no password: every client that reaches it may end instances.
#[tokio::test]
async fn the_admin_listener_stays_on_this_machine() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let text = format!(
        "[admin]\naddress = \"0.0.0.0:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[component.a]\nfile = {:?}\n[[route]]\npath = \"/\"\ncomponent = \"a\"\n",
        command::guest("hello")
    );
    std::fs::write(folder.path().join("roadrunner.toml"), text).expect("a file");
    let mut serve = command::roadrunner();
    serve.arg("serve").current_dir(folder.path()).env("XDG_CACHE_HOME", command::cache());
    let done = command::output(serve).await;
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stderr.contains("admin") && done.stderr.contains("0.0.0.0"), "{}", done.stderr);
}
