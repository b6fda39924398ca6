//! Outgoing requests of guests: those that the manifest grants, and no others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use roadrunner_tests::{Ask, Server, Setup, Way, pattern};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server on loopback that guests contact.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counter.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let answer: Vec<u8> = match head.split(' ').nth(1).unwrap() {
                        "/large" => {
                            let head = "HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n";
                            [head.as_bytes(), &pattern(3_000_000)].concat()
                        }
                        "/silent" => {
                            tokio::time::sleep(Duration::from_secs(30)).await;
                            return;
                        }
                        "/stalls" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!".to_vec(),
                        "/long-head" => {
                            let field = format!("x-a: {}\r\n", "x".repeat(200_000));
                            format!("HTTP/1.1 200 OK\r\n{field}content-length: 0\r\n\r\n").into_bytes()
                        }
                        "/redirect" => {
                            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec()
                        }
                        "/hold" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_vec(),
                        _ => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()).into_bytes(),
                    };
                    let _ = socket.write_all(&answer).await;
                    // Until the other side is done.
                    let _ = socket.read(&mut byte).await;
                });
            }
        });
        Self { address, asked, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A guest of WASI 0.2, and one of 0.3.
const GUESTS: [&str; 2] = ["standard", "service"];

fn setup(guest: &str) -> Setup {
    Setup::of(guest).server("wasi-03 = true")
}

async fn fetch(server: &Server, url: &str) -> (u16, String) {
    let answer = server.fetch(Way::H1, Ask::get(&format!("/fetch?{url}"))).await;
    (answer.status, answer.text())
}

async fn refused(server: &Server, guest: &str, url: &str, code: &str, rule: &str) {
    assert_eq!(fetch(server, url).await, (502, format!("ErrorCode::{code}\n")), "{url}");
    let line = server.log.wait(|line| line["rule"] == rule && line["component"] == guest).await;
    assert!(line.is_some(), "{url}: no line in the log names the rule {rule}");
}

#[tokio::test]
async fn go_where_they_are_granted() {
    for guest in GUESTS {
        let upstream = Upstream::start().await;
        let grant = format!("outbound = [\"{}\"]", upstream.url(""));
        let server = setup(guest).component(&grant).start().await;
        for way in Way::EACH {
            let answer = server.fetch(way, Ask::get(&format!("/fetch?{}", upstream.url("/a?b=c")))).await;
            assert_eq!((answer.status, answer.header("x-fetched")), (200, "yes"), "{way:?}");
            let text = answer.text().to_lowercase();
            assert!(text.starts_with("get /a?b=c http/1.1\r\n"), "{way:?}: {text}");
            assert_eq!(text.matches("\r\nhost: ").count(), 1, "{way:?}: {text}");
            assert!(text.contains(&format!("\r\nhost: {}\r\n", upstream.address)), "{way:?}: {text}");
            let answer = server.fetch(way, Ask::get(&format!("/fetch?{}", upstream.url("/large")))).await;
            assert!(answer.body == pattern(3_000_000), "{way:?}: {} bytes", answer.body.len());
        }
        assert_eq!(
            fetch(&server, &upstream.url("/redirect")).await,
            (302, String::new()),
            "it is the guest's to follow"
        );
        let metrics = server.metrics().await;
        let name = &format!("roadrunner_outbound_requests_total{{component=\"{guest}\",result=\"answered\"}}");
        assert_eq!(metrics.sample(name), 7.0);
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn go_nowhere_else() {
    for guest in GUESTS {
        let upstream = Upstream::start().await;
        let other = Upstream::start().await;
        let port = upstream.address.port();
        let grant = format!("outbound = [\"{}\", \"http://localhost:{port}\"]", upstream.url(""));
        let server = setup(guest).component(&grant).start().await;
        for url in [
            other.url("/"),
            format!("https://127.0.0.1:{port}/"),
            format!("http://127.0.0.2:{port}/"),
            format!("http://[::ffff:127.0.0.1]:{port}/"),
            format!("http://evil.localhost:{port}/"),
        ] {
            refused(&server, guest, &url, "HttpRequestDenied", "outbound").await;
        }
        // The name is granted, but the address that it resolves to is not.
        refused(&server, guest, &format!("http://localhost:{port}/"), "DestinationIpProhibited", "outbound-private")
            .await;
        assert_eq!((upstream.asked(), other.asked()), (0, 0));
        let metrics = server.metrics().await;
        assert_eq!(
            metrics.sample(&format!("roadrunner_outbound_requests_total{{component=\"{guest}\",result=\"refused\"}}")),
            6.0
        );
    }
}

#[tokio::test]
async fn reach_private_addresses_by_name_only_when_told() {
    let upstream = Upstream::start().await;
    let port = upstream.address.port();
    let grant = format!("outbound = [\"http://localhost:{port}\"]\noutbound-private = true");
    let server = Setup::of("standard").component(&grant).start().await;
    assert_eq!(fetch(&server, &format!("http://localhost:{port}/")).await.0, 200);
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn have_timeouts() {
    for guest in GUESTS {
        let upstream = Upstream::start().await;
        let grant = format!("outbound = [\"{}\"]\noutbound-read-timeout = \"200ms\"", upstream.url(""));
        let server = setup(guest).component(&grant).start().await;
        // The guest asks for a minute, and gets no more than the host allows.
        let (status, text) = fetch(&server, &upstream.url("/silent")).await;
        assert_eq!((status, text.as_str()), (502, "ErrorCode::ConnectionReadTimeout\n"));
        let (status, text) = fetch(&server, &upstream.url("/stalls")).await;
        assert!(status == 200 && text.starts_with("five!\n") && text.len() > 6, "{text}");
        let grant = format!("outbound = [\"{}\"]\noutbound-timeout = \"200ms\"", upstream.url(""));
        let server = setup(guest).component(&grant).start().await;
        assert_eq!(fetch(&server, &upstream.url("/silent")).await.0, 502);
        let (status, text) = fetch(&server, &upstream.url("/stalls")).await;
        assert!(status == 200 && text.starts_with("five!\n") && text.len() > 6, "{text}");
        // TEST-NET-1 (RFC 5737) answers nobody; a network that refuses at once is just as good.
        let grant = "outbound = [\"http://192.0.2.1\"]\noutbound-connect-timeout = \"200ms\"";
        let server = setup(guest).component(grant).start().await;
        let (status, text) = fetch(&server, "http://192.0.2.1/").await;
        assert_eq!(status, 502);
        assert!(text.contains("ConnectionTimeout") || text.contains("ConnectionRefused"), "{text}");
    }
}

#[tokio::test]
async fn have_a_cap_on_connections() {
    let upstream = Upstream::start().await;
    let grant = format!("outbound = [\"{}\"]\noutbound-connections = 5", upstream.url(""));
    let server = Setup::of("standard").component(&grant).start().await;
    let text = server.text(&format!("/flood?{}", upstream.url("/hold"))).await;
    assert_eq!(text, "5 answered, 15 over the limit\n");
    // The instance is gone, and its connections with it.
    server.is_empty_after().await;
    let open = roadrunner_tests::within(Duration::from_secs(5), || async {
        let metrics = server.metrics().await;
        (metrics.sample("roadrunner_outbound_connections_open{component=\"standard\"}") == 0.0).then_some(())
    });
    open.await.expect("the connections are closed");
}

#[tokio::test]
async fn a_long_head_is_refused() {
    let upstream = Upstream::start().await;
    let server = Setup::of("standard").component(&format!("outbound = [\"{}\"]", upstream.url(""))).start().await;
    let (status, text) = fetch(&server, &upstream.url("/long-head")).await;
    assert_eq!((status, text.as_str()), (502, "ErrorCode::HttpProtocolError\n"));
}

/// `outbound-connections` and `outbound-bytes-per-second` of a quota.
#[tokio::test]
async fn have_quotas_of_their_tenant() {
    let upstream = Upstream::start().await;
    let tenant = |name: &str, quota: &str| {
        let url = upstream.url("");
        format!(
            "[tenant.{name}]\nhosts = [\"{name}\"]\nquota = {{ {quota} }}\n\
             [component.{name}]\nfile = \"{{guests}}/standard.wasm\"\ntenant = \"{name}\"\noutbound = [\"{url}\"]\n\
             [[route]]\npath = \"/*rest\"\ncomponent = \"{name}\"\n"
        )
    };
    let quota = "outbound-connections = 1, outbound-bytes-per-second = \"512KiB\"";
    let server = Setup::with(&(tenant("one", quota) + &tenant("two", ""))).start().await;
    let ask = |host: &str, path: &str| Ask::get(&format!("/fetch?{}", upstream.url(path))).host(host);
    let mut client = server.connect(Way::H1).await;
    let waits = client.open(ask("one", "/silent")).await;
    let connections = async || server.metrics().await.sum("roadrunner_tenant_outbound_connections_open", "\"one\"");
    for _ in 0..200 {
        if connections().await == 1.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = server.fetch(Way::H1, ask("one", "/a")).await;
    assert_eq!((answer.status, answer.text().as_str()), (502, "ErrorCode::ConnectionLimitReached\n"));
    let line = server.log.wait(|line| line["rule"] == "quota.outbound-connections").await;
    assert!(line.is_some_and(|line| line["component"] == "one"), "{}", server.log);
    assert_eq!(server.fetch(Way::H1, ask("two", "/a")).await.status, 200, "another tenant");
    drop(waits);
    drop(client);
    server.is_quiet().await;
    assert_eq!(connections().await, 0.0);

    // One second's worth is available at once, and then it comes at its rate.
    let start = std::time::Instant::now();
    let answer = server.fetch(Way::H1, ask("one", "/large")).await;
    assert!(answer.body == pattern(3_000_000), "{} bytes", answer.body.len());
    assert!(start.elapsed() > Duration::from_secs(4), "3 MB at 512 KiB a second in {:?}", start.elapsed());
    let metrics = server.metrics().await;
    assert!(metrics.sum("roadrunner_tenant_outbound_bytes_total", "\"one\"") >= 3_000_000.0);
    for quota in ["outbound-connections", "outbound-bytes-per-second"] {
        let exceeded = |tenant: &str| {
            metrics.sample(&format!("roadrunner_tenant_quota_exceeded_total{{tenant=\"{tenant}\",quota=\"{quota}\"}}"))
        };
        assert!(exceeded("one") >= 1.0 && exceeded("two") == 0.0, "{quota}");
    }
}

#[tokio::test]
async fn end_with_the_client() {
    let upstream = Upstream::start().await;
    let server = Setup::of("standard").component(&format!("outbound = [\"{}\"]", upstream.url(""))).start().await;
    let mut client = server.connect(Way::H1).await;
    let exchange = client.open(Ask::get(&format!("/fetch?{}", upstream.url("/silent")))).await;
    server.has_instances(1).await;
    drop(exchange);
    drop(client);
    server.is_empty_after().await;
}
