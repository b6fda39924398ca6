//! The log does no harm: text of guests and clients in it is short, on one line and recognizable, and nothing waits for
//! its reader.

use std::time::{Duration, Instant};

use roadrunner_tests::{Ask, Server, Setup, Way, within};
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

/// Whether a human-readable line is harmless: no control character but the newline, and nothing that changes the
/// direction of text.
fn is_harmless(text: &str) -> bool {
    let is_hidden = |character| matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !text.chars().any(|character| (character.is_control() && character != '\n') || is_hidden(character))
}

async fn says(server: &Server, text: &str) -> String {
    let found = within(Duration::from_secs(5), async || {
        server.log.text().lines().find(|line| line.contains(text)).map(str::to_owned)
    });
    found.await.unwrap_or_else(|| panic!("nothing says {text:?}:\n{}", server.log)).0
}

/// Neighbours: one whose answers attack the log, and one whose requests must continue.
fn neighbours() -> Setup {
    Setup::with(
        "[tenant.hostile]\nhosts = [\"hostile\"]\n[tenant.victim]\nhosts = [\"victim\"]\n\
         [component.hostile]\nfile = \"{guests}/hostile.wasm\"\ntenant = \"hostile\"\n\
         limits = { memory = \"128MiB\", host-call-bytes = \"64MiB\", log-bytes = \"4MiB\", response-head = \"1MiB\", cpu = \"20s\", deadline = \"30s\" }\n\
         [component.victim]\nfile = \"{guests}/answers.wasm\"\ntenant = \"victim\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"hostile\"]\ncomponent = \"hostile\"\n\
         [[route]]\npath = \"/*rest\"\nhosts = [\"victim\"]\ncomponent = \"victim\"\n",
    )
}

/// The 99th percentile of the victim's request times, one request after the other.
async fn p99(server: &Server, requests: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..requests {
        let start = Instant::now();
        let answer = server.fetch(Way::H2c, Ask::get("/counter").host("victim")).await;
        assert_eq!(answer.status, 200);
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() - 1 - times.len() / 100]
}

/// A header name of nearly a mebibyte with terminal control characters, once on each protocol, and four at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_header_name_is_a_short_line() {
    let server = neighbours().server("workers = 2").alone().start().await;
    for way in Way::ALL {
        let before = server.log.text().len();
        let path = format!("/response/name?kib=1000&way={way:?}");
        assert_eq!(server.fetch(way, Ask::get(&path).host("hostile")).await.status, 500, "{way:?}");
        let line = server.access(&path).await;
        assert_eq!(line["outcome"], "invalid-response", "{way:?}: {line}");
        let text = server.log.text()[before..].to_owned();
        assert!(text.contains("is not a header name") && text.contains("more bytes"), "{way:?}: {text}");
        assert!(text.len() < 2048, "{way:?}: {} bytes", text.len());
    }
    let quiet = p99(&server, 100).await;
    let mut attacks = JoinSet::new();
    for _ in 0..4 {
        let client = server.connect(Way::H1).await;
        attacks.spawn(async move {
            let mut client = client;
            for _ in 0..5 {
                client.fetch(Ask::get("/response/name?mib=15").host("hostile")).await;
            }
        });
    }
    let loaded = p99(&server, 200).await;
    attacks.join_all().await;
    println!("quiet {quiet:?}, loaded {loaded:?}");
    assert!(loaded < quiet * 2 + Duration::from_millis(500), "quiet {quiet:?}, loaded {loaded:?}");
}

/// A guest's text in a line of the host is charged to its log account.
#[tokio::test]
async fn lines_of_the_host_about_a_guest_are_charged() {
    let server = Setup::of("hostile").limit("log-bytes = 64, response-head = \"1MiB\"").start().await;
    server.fetch(Way::H1, Ask::get("/response/name?kib=1000")).await;
    server.access("/response/name?kib=1000").await;
    assert!(!server.log.text().contains("is not a header name"), "{}", server.log);
    assert!(server.metrics().await.sum("roadrunner_guest_log_dropped_bytes_total", "") > 500.0);
}

/// A client's target, and a guest's line, human-readable and in JSON.
#[tokio::test]
async fn text_of_others_cannot_look_like_the_hosts() {
    let message = "%E2%80%AE%1b[2J%C2%9b%E2%80%A8%E2%80%8bready%20request=0%20status=200%0A2026-01-01T00:00:00Z";
    for is_human in [true, false] {
        let setup = Setup::of("answers");
        let server = if is_human { setup.human_log() } else { setup }.start().await;
        for way in Way::ALL {
            server.fetch(way, Ask::get(&format!("/log/info?message={message}&way={way:?}"))).await;
            let long = format!("/counter?{}", "x".repeat(5_000));
            assert_eq!(server.fetch(way, Ask::get(&long)).await.status, 200, "{way:?}");
        }
        let line = says(&server, "ready request").await;
        let cut = says(&server, "more bytes").await;
        assert!(cut.len() < 3000 && cut.contains("/counter?xxx"), "{}", cut.len());
        let text = server.log.text();
        assert!(is_harmless(&text), "{text:?}");
        if is_human {
            assert!(
                line.contains("guest: \"\\\\u{202e}\\\\u{1b}[2J\\\\u{9b}\\\\u{2028}\\\\u{200b}ready request=0"),
                "{line}"
            );
            assert!(!text.lines().any(|line| line.starts_with("2026-01-01")), "{text}");
        } else {
            let line: Value = serde_json::from_str(&line).expect("JSON");
            assert!(line["message"].as_str().is_some_and(is_harmless), "{line}");
            assert_ne!(line["request"], "0", "{line}");
        }
    }
}

#[tokio::test]
async fn pieces_of_a_line_are_one_line() {
    let server = Setup::of("answers").start().await;
    for way in Way::ALL {
        server.fetch(way, Ask::get(&format!("/print/pieces?{way:?}"))).await;
        let id = server.access(&format!("/print/pieces?{way:?}")).await["request"].clone();
        let of_guest = || {
            let lines = server.log.lines().into_iter();
            let lines = lines.filter(|line| line["target"] == "guest" && line["request"] == id);
            let mut lines: Vec<_> = lines.filter_map(|line| line["message"].as_str().map(str::to_owned)).collect();
            lines.sort();
            lines
        };
        let found = within(Duration::from_secs(5), async || (of_guest().len() >= 4).then_some(()));
        found.await.unwrap_or_else(|| panic!("{way:?}: {:?}", of_guest()));
        assert_eq!(of_guest(), ["and another", "on standard output", "one line", "the last"], "{way:?}");
    }
}

/// Requests, health, drain and exit continue, whatever is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_reader_that_has_stopped() {
    for is_common in [false, true] {
        let format = if is_common { "access-log-format = \"common\"" } else { "" };
        let mut server = neighbours().server(format).start().await;
        server.log.pause(true);
        for way in Way::ALL {
            let mut client = server.connect(way).await;
            for _ in 0..400 {
                let answer = client.fetch(Ask::get("/counter").host("victim")).await;
                assert_eq!(answer.status, 200, "{way:?}");
            }
        }
        for path in ["/live", "/ready"] {
            assert_eq!(server.admin_request("GET", path).await.0, 200, "{path}");
        }
        let start = Instant::now();
        server.signal(Signal::TERM);
        let status = server.exit().await;
        assert_eq!(status.code(), Some(0), "a clean end");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_is_counted_for_whom_it_is_of() {
    let server = neighbours().alone().start().await;
    let dropped = async |tenant: &str| {
        let labels = format!("reason=\"queue-full\",tenant=\"{tenant}\"");
        server.metrics().await.sample(&format!("roadrunner_log_dropped_total{{{labels}}}"))
    };
    server.log.pause(true);
    for _ in 0..4 {
        server.fetch(Way::H1, Ask::get("/log?n=20000").host("hostile")).await;
    }
    for _ in 0..100 {
        assert_eq!(server.fetch(Way::H2c, Ask::get("/counter?mine").host("victim")).await.status, 200);
    }
    assert!(dropped("hostile").await > 10_000.0, "{}", dropped("hostile").await);
    assert_eq!(dropped("victim").await, 0.0);
    server.log.pause(false);
    let told = server.log.message("lines of the log were dropped").await;
    assert!(told["lines"].as_u64().is_some_and(|lines| lines > 10_000), "{told}");
    let found = within(Duration::from_secs(10), async || {
        let mine = server.log.lines().iter().filter(|line| line["uri"] == "/counter?mine").count();
        (mine == 100).then_some(())
    });
    assert!(found.await.is_some(), "no line of the other tenant is lost");
}
