//! Settings of HTTP/2 that bound the memory a client can occupy on the host.

use roadrunner_tests::client::dial;
use roadrunner_tests::frames::{self, RST_STREAM, SETTINGS};
use roadrunner_tests::{Ask, Setup, Way};

#[tokio::test]
async fn max_streams() {
    let server = Setup::of("loops").and("[http2]\nmax-streams = 3").start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let mut io = dial(server.address(if way.is_tls() { "tls" } else { "plain" }), way).await;
        frames::send(&mut io, &frames::opening(&[])).await;
        let settings = frames::until(&mut io, SETTINGS).await.expect("the server's settings");
        let most = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("SETTINGS_MAX_CONCURRENT");
        assert_eq!(most[2..], [0, 0, 0, 3], "{way:?}");
        // A client that ignores them.
        for stream in [1, 3, 5, 7] {
            frames::send(&mut io, &frames::request(way, stream, "GET", "/idle", true)).await;
        }
        let reset = frames::until(&mut io, RST_STREAM).await.expect("one too many");
        assert_eq!((reset.stream, reset.error()), (7, 7), "{way:?}: REFUSED_STREAM");
        server.has_instances(3).await;
        drop(io);
        server.is_quiet().await;
    }
}

/// RFC 9113, 6.5.2: the size of a field is that of its decoded name and value plus 32 bytes.
#[tokio::test]
async fn max_header_list() {
    let server = Setup::of("hello").and("[http2]\nmax-header-list = \"8KiB\"").start().await;
    for way in Way::TCP {
        for (size, status) in [(6000, 200), (9000, 431)] {
            let ask = Ask::get("/").header("x-large", &"x".repeat(size));
            assert_eq!(server.fetch(way, ask).await.status, status, "{way:?} {size}");
        }
        // Many small fields: at most 100 bytes each on the wire, and 32 more each in the count.
        let ask = (0..70).fold(Ask::get("/"), |ask, index| ask.header(&format!("x-{index}"), &"y".repeat(90)));
        let status = server.fetch(way, ask).await.status;
        assert_eq!(status, if way.is_h2() { 431 } else { 200 }, "{way:?}");
    }
    for way in [Way::H2c, Way::H2Tls] {
        let mut client = server.connect(way).await;
        assert_eq!(client.fetch(Ask::get("/").header("x-large", &"x".repeat(9000))).await.status, 431, "{way:?}");
        assert_eq!(client.fetch(Ask::get("/")).await.status, 200, "{way:?}: the connection is still good");
    }
}
