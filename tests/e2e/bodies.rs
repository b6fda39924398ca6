//! Request bodies: read by the host before the instance exists (`auto`), or pulled from the wire (`manual`).

use std::time::Duration;

use roadrunner_tests::{Ask, Client, Setup, Way, command, pattern};

/// FNV-1a with 64 bits, as the guest prints it.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{} {hash:016x}\n", bytes.len())
}

/// A form with a file passes through an instance that has no room for all of it and the growth of a buffer.
#[tokio::test]
async fn the_parts_of_a_form_are_read_as_they_arrive() {
    let test = "bodies::the_parts_of_a_form_are_read_as_they_arrive";
    let server = Setup::of("bodies").limit("memory = \"24MiB\", body = \"24MiB\"").manual().start().await;
    let large = pattern(20_000_000);
    let mut body = b"--x--y\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nhello\r\n--x--y\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\nContent-Type: x/y\r\n\r\n"
        .to_vec();
    body.extend_from_slice(&large);
    body.extend_from_slice(b"\r\n--x--y--\r\n");
    for way in Way::EACH {
        let mut client = server.connect(way).await;
        let ask = |body: &[u8]| {
            Ask::post("/multipart", body.to_vec()).header("content-type", "multipart/form-data; boundary=x--y")
        };
        let answer = client.fetch(ask(&body)).await;
        let wanted = format!("title - - 5\nfile a.bin x/y {}\n", large.len());
        assert_eq!((answer.status, answer.text()), (200, wanted), "{way:?}");
        let answer = client.fetch(ask(&body[..body.len() - 10])).await;
        assert_eq!(answer.status, 400, "{way:?}: {}", answer.text());
        let answer = client.fetch(Ask::post("/multipart", "a=b")).await;
        assert_eq!(answer.status, 415, "{way:?}");
    }
    if let Some(mut curl) = command::tool(test, "curl") {
        curl.args(["-sS", "-F", "title=a b", "-F", "file=@-;filename=b q.txt;type=text/z"]);
        curl.arg(format!("http://{}/multipart", server.address("plain"))).stdin(std::process::Stdio::null());
        let done = command::output(curl).await;
        assert_eq!(done.stdout, "title - - 3\nfile b q.txt text/z 0\n", "{done:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn every_way_to_read_a_body_works_in_both_modes() {
    let (auto, manual) = (Setup::of("bodies").start().await, Setup::of("bodies").manual().beside().start().await);
    let large = pattern(300_001);
    for (mode, server) in [("auto", &auto), ("manual", &manual)] {
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            for (path, body, wanted) in [
                ("/all", &b"hello"[..], "5\n"),
                ("/all", &large, "300001\n"),
                ("/digest", b"hello", &digest(b"hello")),
                ("/digest", &large, &digest(&large)),
                ("/std-read", b"hello, body", "11\n"),
                ("/drop", b"hello", "dropped\n"),
                ("/ignore", b"hello", "ignored\n"),
                ("/twice", b"hello", "5 and 0\n"),
                ("/after-end", b"hello", "5 then 0 then none\n"),
                ("/error", b"hello", "whole 5\n"),
                ("/late?ms=20", b"hello", "5\n"),
            ] {
                for (kind, ask) in
                    [("sized", Ask::post(path, body.to_vec())), ("unsized", Ask::post_unsized(path, body.to_vec()))]
                {
                    let answer = client.fetch(ask).await;
                    assert_eq!((answer.status, answer.text().as_str()), (200, wanted), "{mode} {way:?} {kind} {path}");
                }
            }
            let half = client.fetch(Ask::post("/half?n=2", "hello")).await;
            assert!(half.text().starts_with('2'), "{mode} {way:?}: {half:?}");
            let form = Ask::post("/form", "a=1&b=%20x").header("content-type", "application/x-www-form-urlencoded");
            assert_eq!(client.fetch(form).await.text(), "a=1\nb= x\n", "{mode} {way:?}");
            assert_eq!(client.fetch(Ask::post("/form", "a=1")).await.status, 415, "{mode} {way:?}");
            assert_eq!(client.fetch(Ask::get("/all")).await.text(), "0\n", "{mode} {way:?}: no body");
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn pieces_are_as_small_as_the_guest_asks() {
    let server = Setup::of("bodies").manual().start().await;
    for way in Way::ALL {
        let answer = server.fetch(way, Ask::post("/count?max=7", pattern(1000))).await;
        assert_eq!(answer.text(), "1000 bytes, largest piece 7\n", "{way:?}");
        let answer = server.fetch(way, Ask::post("/count", pattern(1 << 20))).await;
        let largest =
            answer.text().trim().rsplit(' ').next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(usize::MAX);
        assert!(answer.text().starts_with("1048576 bytes") && largest <= 64 << 10, "{way:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_manual_body_reaches_the_guest_before_it_is_complete() {
    let server = Setup::of("demo").manual().start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open("/echo")).await;
        for piece in ["one", "two", "three"] {
            assert!(exchange.send(piece).await, "{way:?}");
            assert_eq!(exchange.read_until(piece).await, piece, "{way:?}: back before the next is sent");
        }
        exchange.finish(&[]).await;
        let answer = exchange.rest().await;
        assert!(answer.end.is_whole() && answer.body.is_empty(), "{way:?}: {answer:?}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn a_body_that_the_client_cuts_short_is_an_error_and_not_an_end() {
    let server = Setup::of("bodies").manual().start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open("/error")).await;
        assert!(exchange.send("half").await, "{way:?}");
        server.has_instances(1).await;
        match way.has_streams() {
            true => exchange.reset(),
            false => drop(exchange),
        }
        drop(client);
        server.is_quiet().await;
    }
    for line in server.log.settled().await.lines().iter().filter(|line| line["target"] == "guest") {
        let message = line["message"].as_str().unwrap_or("");
        assert!(!message.contains("whole"), "a cut body looked whole: {message}");
    }
}

/// The client half-closes: HTTP/1.1 can still be answered, and the guest learns that the body is incomplete.
#[tokio::test]
async fn a_body_shorter_than_its_length_is_told_to_the_guest() {
    let server = Setup::of("bodies").manual().start().await;
    for way in [Way::H1, Way::H2c] {
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::post_open_with_length("/error", 100)).await;
        exchange.send("short").await;
        exchange.finish(&[]).await;
        if way == Way::H1 {
            drop(exchange);
            client.h1().shut_down().await;
            let answer = client.h1().answer("POST").await;
            assert!(answer.status == 0 || answer.text() == "closed\n", "{answer:?}");
        } else {
            // RFC 9113, 8.1.1: malformed.
            let answer = exchange.rest().await;
            assert!(!answer.text().contains("whole"), "{answer:?}");
        }
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_times_out() {
    let timeouts = "[timeouts]\nbody-idle = \"200ms\"";
    let (auto, manual) = (
        Setup::of("bodies").and(timeouts).start().await,
        Setup::of("bodies").manual().and(timeouts).beside().start().await,
    );
    for way in Way::ALL {
        let mut client = auto.connect(way).await;
        let mut exchange = client.open(Ask::post_open_with_length("/all", 10)).await;
        exchange.send("half").await;
        assert_eq!(exchange.head().await, 408, "auto {way:?}");
        drop(exchange);
        drop(client);
        let line = auto.access("/all").await;
        assert_eq!((&line["status"], &line["outcome"]), (&408.into(), &"cancelled".into()), "auto {way:?}");

        let mut client = manual.connect(way).await;
        let mut exchange = client.open(Ask::post_open_with_length("/error", 10)).await;
        exchange.send("half").await;
        assert_eq!(exchange.head().await, 408, "manual {way:?}: whatever the guest answers");
        drop(exchange);
        drop(client);
        assert!(manual.log.message("body: timeout").await.is_object(), "manual {way:?}: the guest is told");
    }
    auto.is_quiet().await;
    manual.is_quiet().await;
}

#[tokio::test]
async fn a_guest_that_does_not_read_slows_its_client_down() {
    let server = Setup::of("bodies")
        .manual()
        .and("[http2]\nstream-window = \"65535B\"\nconnection-window = \"65535B\"")
        .start()
        .await;
    for way in Way::ALL {
        // A close would wait for bytes that the server does not read; a reset does not.
        let address = server.address(if way.is_tls() { "tls" } else { "plain" });
        let mut client = Client::connect_abortive(address, way).await;
        // Sockets hold some megabytes; the guest sleeps much longer than sending takes.
        let mut exchange = client.open(Ask::post_open("/late?ms=20000")).await;
        let flood = async { while exchange.send(vec![b'x'; 64 << 10]).await {} };
        assert!(
            tokio::time::timeout(Duration::from_millis(700), flood).await.is_err(),
            "{way:?}: the server has to stall the client"
        );
        assert!(server.resident() < 200 << 20, "{way:?}: {}", server.resident());
        drop(exchange);
        drop(client);
        server.is_quiet().await;
    }
}
