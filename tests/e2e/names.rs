//! Names in outgoing requests: which servers answer for them, their cost, and which of their addresses is used.

use std::time::{Duration, Instant};

use roadrunner_tests::deaf::Deaf;
use roadrunner_tests::dns::{Dns, Entry};
use roadrunner_tests::{Answer, Ask, Server, Setup, Way, soon, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Starts an HTTP server on 127.0.0.1 that says yes, and returns its port.
pub(crate) async fn upstream() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let serve = async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = socket.read(&mut head).await;
                let _ =
                    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nyes\n").await;
            });
        }
    };
    (port, tokio::spawn(serve))
}

fn dns(dns: &Dns, keys: &str) -> String {
    format!("[dns]\nservers = [\"{}\"]\n{keys}\n", dns.address())
}

/// Tenants with one guest each, which may use any name below `test`, and files of theirs.
fn tenants(names: &[&str], port: u16, keys: &str) -> String {
    let tenant = |name: &&str| {
        format!(
            "[tenant.{name}]\nhosts = [\"{name}\"]\n\
             [component.{name}]\nfile = \"{{guests}}/standard.wasm\"\ntenant = \"{name}\"\n\
             outbound = [\"http://*.test:{port}\"]\noutbound-private = true\noutbound-connections = 1000\n{keys}\n\
             [directory.{name}]\npath = \"{name}\"\ntenant = \"{name}\"\n\
             [[route]]\npath = \"/fetch\"\ncomponent = \"{name}\"\n\
             [[route]]\npath = \"/files/*path\"\ntenant = \"{name}\"\nstatic = {{ directory = \"{name}\" }}\n"
        )
    };
    names.iter().map(tenant).collect()
}

async fn fetch(server: &Server, way: Way, host: &str, name: &str, port: u16) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = server.fetch(way, Ask::get(&format!("/fetch?http://{name}:{port}/")).host(host)).await;
    (answer, start.elapsed())
}

async fn lookups(server: &Server) -> f64 {
    server.metrics().await.sample("roadrunner_dns_lookups")
}

#[tokio::test]
async fn are_resolved_by_the_servers_of_the_manifest() {
    let (port, _upstream) = upstream().await;
    let names = Dns::start().await;
    names.says("good.test", &["127.0.0.1"]);
    names.says("gone.test", &[]);
    for guest in ["standard", "service"] {
        let grants = format!(
            "outbound = [\"http://good.test:{port}\", \"http://gone.test:{port}\", \"http://none.test:{port}\"]\n\
             outbound-private = true"
        );
        let server = Setup::of(guest).server("wasi-03 = true").component(&grants).and(&dns(&names, "")).start().await;
        for way in Way::EACH {
            let (answer, _) = fetch(&server, way, "x", "good.test", port).await;
            assert_eq!((answer.status, &*answer.text()), (200, "yes\n"), "{guest} {way:?}");
            for name in ["gone.test", "none.test"] {
                let (answer, _) = fetch(&server, way, "x", name, port).await;
                assert!(answer.status == 502 && answer.text().contains("DnsError"), "{guest} {way:?}: {answer:?}");
            }
        }
        server.is_quiet().await;
    }
    assert_eq!(names.asked("good.test"), 4, "once for each server and family");
}

/// Every address of an answer is checked, and a name gives no access to a private one.
#[tokio::test]
async fn lead_to_no_private_address() {
    let (port, _upstream) = upstream().await;
    let names = Dns::start().await;
    names.says("private.test", &["127.0.0.1", "10.0.0.1", "::1"]);
    names.says("cloud.test", &["168.63.129.16", "fd00:ec2::254", "64:ff9b::a83f:8110"]);
    let grants = format!("outbound = [\"http://private.test:{port}\", \"http://cloud.test:{port}\"]");
    let server = Setup::of("standard").component(&grants).and(&dns(&names, "")).start().await;
    for name in ["private.test", "cloud.test"] {
        let (answer, _) = fetch(&server, Way::H1, "x", name, port).await;
        assert_eq!((answer.status, &*answer.text()), (502, "ErrorCode::DestinationIpProhibited\n"), "{name}");
    }
    server.is_quiet().await;
}

/// RFC 8305: an address that does not answer delays a request by a quarter of a second.
#[tokio::test]
async fn with_a_dead_address_are_reached_by_another() {
    let (port, _upstream) = upstream().await;
    let _dead = Deaf::start(port).await;
    let names = Dns::start().await;
    names.says("two.test", &["127.0.0.2", "127.0.0.1"]);
    let grants = format!("outbound = [\"http://two.test:{port}\"]\noutbound-private = true");
    for guest in ["standard", "service"] {
        let server = Setup::of(guest).server("wasi-03 = true").component(&grants).and(&dns(&names, "")).start().await;
        for way in Way::EACH {
            let (answer, took) = fetch(&server, way, "x", "two.test", port).await;
            assert_eq!((answer.status, &*answer.text()), (200, "yes\n"), "{guest} {way:?}");
            assert!(took < Duration::from_secs(3), "{guest} {way:?}: {took:?}");
        }
        server.is_quiet().await;
    }
}

/// 600 unanswered look-ups are more than there are threads that may wait.
#[tokio::test]
async fn that_nobody_answers_hold_up_their_tenant_alone() {
    let (port, _upstream) = upstream().await;
    let names = Dns::start().await;
    names.knows(".silent.test", Entry::Silence);
    names.says("good.test", &["127.0.0.1"]);
    let setup = Setup::with(
        &(dns(&names, "lookups-per-tenant = 7")
            + &tenants(&["hung", "victim"], port, "outbound-connect-timeout = \"4s\"")),
    )
    .host_limits("instances = 700\nqueue = 700")
    .file("victim/first.txt", "a file\n")
    .file("hung/first.txt", "a file\n");
    let server =
        (0..40).fold(setup, |setup, number| setup.file(&format!("victim/{number}.txt"), "a file\n")).start().await;
    let address = server.address("plain");
    let floods: Vec<_> = (0..600)
        .map(|number| {
            tokio::spawn(async move {
                let mut socket = tokio::net::TcpStream::connect(address).await.expect("it accepts");
                let path = format!("/fetch?http://n{number}.silent.test:{port}/");
                let head = format!("GET {path} HTTP/1.1\r\nhost: hung\r\nconnection: close\r\n\r\n");
                socket.write_all(head.as_bytes()).await.expect("it reads");
                let mut answer = Vec::new();
                let _ = socket.read_to_end(&mut answer).await;
            })
        })
        .collect();
    let full = within(Duration::from_secs(20), || async { (lookups(&server).await == 7.0).then_some(()) }).await;
    assert!(full.is_some(), "{} look-ups", lookups(&server).await);
    for (number, way) in Way::EACH.into_iter().cycle().take(40).enumerate() {
        let start = Instant::now();
        let answer = server.fetch(way, Ask::get(&format!("/files/{number}.txt")).host("victim")).await;
        assert_eq!((answer.status, &*answer.text()), (200, "a file\n"), "{way:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{way:?}: a file took {:?}", start.elapsed());
    }
    for way in Way::EACH {
        let (answer, took) = fetch(&server, way, "victim", "good.test", port).await;
        assert_eq!((answer.status, &*answer.text()), (200, "yes\n"), "{way:?}");
        assert!(took < Duration::from_secs(2), "{way:?}: {took:?}");
        assert!(lookups(&server).await <= 7.0);
    }
    for flood in floods {
        flood.abort();
    }
    soon(server.is_quiet()).await;
    assert_eq!(lookups(&server).await, 0.0);
}

#[tokio::test]
async fn have_a_cap_over_all_tenants() {
    let names = Dns::start().await;
    names.knows(".silent.test", Entry::Silence);
    names.says("good.test", &["127.0.0.1"]);
    let (port, _upstream) = upstream().await;
    let keys = "outbound-connect-timeout = \"2s\"";
    let text = dns(&names, "lookups = 2") + &tenants(&["one", "two", "three"], port, keys);
    let server = Setup::with(&text).file("one/a", "").file("two/a", "").file("three/a", "").start().await;
    let mut waiting = Vec::new();
    for tenant in ["one", "two"] {
        let mut client = server.connect(Way::H1).await;
        let ask = Ask::get(&format!("/fetch?http://{tenant}.silent.test:{port}/")).host(tenant);
        waiting.push(tokio::spawn(async move { client.fetch(ask).await }));
    }
    let full = within(Duration::from_secs(10), || async { (lookups(&server).await == 2.0).then_some(()) }).await;
    assert!(full.is_some());
    // It waits for a place until one of them gives up.
    let (answer, took) = fetch(&server, Way::H2c, "three", "good.test", port).await;
    assert!(took > Duration::from_millis(300), "{took:?}: {answer:?}");
    for waits in waiting {
        let answer = waits.await.expect("no panic");
        assert!(answer.status == 502 && answer.text().contains("ConnectionTimeout"), "{answer:?}");
    }
    let (answer, _) = fetch(&server, Way::H2c, "three", "good.test", port).await;
    assert_eq!(answer.status, 200);
    server.is_quiet().await;
}
