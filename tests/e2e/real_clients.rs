//! Widely used programs, for a short while each, without a single error.

use std::process::Command;

use roadrunner_tests::command::{self, Done, tool};
use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Server, Setup, Way};

async fn start() -> Server {
    Setup::of("demo")
        .manual()
        .component("directories = [\"files\"]")
        .and("[directory.files]\npath = \"public\"")
        .file("public/small.txt", "small\n")
        .host_limits("instances = 100\nheld = 100")
        .start()
        .await
}

fn url(server: &Server, way: Way, path: &str) -> String {
    let (scheme, listener) = if way.is_tls() { ("https", "tls") } else { ("http", "plain") };
    format!("{scheme}://localhost:{}{path}", server.address(listener).port())
}

async fn run(mut command: Command, arguments: &[&str]) -> Done {
    command.args(arguments);
    let done = command::output(command).await;
    assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
    done
}

#[tokio::test]
async fn curl() {
    let server = start().await;
    let certificate = server.certificate().display().to_string();
    for way in Way::TCP {
        let version = match way {
            Way::H1 | Way::H1Tls => "--http1.1",
            Way::H2c => "--http2-prior-knowledge",
            Way::H2Tls | Way::H3 => "--http2",
        };
        for (path, more, wanted) in [
            ("/hello", &[][..], "hello, world\n"),
            ("/stream?n=3", &[], "chunk 0\nchunk 1\nchunk 2\n"),
            ("/files/small.txt", &[], "small\n"),
            ("/files/small.txt", &["-r", "0-1"], "sm"),
            ("/echo", &["--data-binary", "an echo"], "an echo"),
            ("/echo", &["-H", "transfer-encoding: chunked", "--data-binary", "an echo"], "an echo"),
            ("/upload", &["--data-binary", "12345"], "5\n"),
            ("/upload", &["-H", "expect: 100-continue", "--data-binary", "12345"], "5\n"),
            ("/nothing", &[], ""),
        ] {
            if way.has_streams() && more.iter().any(|argument| argument.contains("transfer-encoding")) {
                continue;
            }
            let Some(command) = tool("real_clients::curl", "curl") else { return };
            let url = url(&server, way, path);
            let done = run(command, &[&["-sS", version, "--cacert", &certificate, &url], more].concat()).await;
            match path {
                "/nothing" => assert!(done.stderr.is_empty(), "{way:?}: {done:?}"),
                _ => assert_eq!(done.stdout, wanted, "{way:?} {path} {more:?}: {done:?}"),
            }
        }
        let Some(command) = tool("real_clients::curl", "curl") else { return };
        let done = run(
            command,
            &[
                "-sS",
                version,
                "--cacert",
                &certificate,
                "-o",
                "/dev/null",
                "-w",
                "%{http_version} %{http_code}",
                &url(&server, way, "/json"),
            ],
        )
        .await;
        assert_eq!(done.stdout, if way.has_streams() { "2 200" } else { "1.1 200" }, "{way:?}");
    }
    server.is_quiet().await;
}

/// A certificate made at the start, which clients must be told to accept.
#[tokio::test]
async fn curl_with_a_certificate_made_at_the_start() {
    let server = Setup::of("hello")
        .and("[[listener]]\nname = \"own\"\naddress = \"127.0.0.1:0\"\ntls = \"self-signed\"")
        .start()
        .await;
    let Some(command) = tool("real_clients::curl_with_a_certificate_made_at_the_start", "curl") else { return };
    let url = format!("https://localhost:{}/", server.address("own").port());
    assert_eq!(run(command, &["-sS", "-k", "--http2", &url]).await.stdout, "hello, world\n");
    let mut distrustful = Command::new("curl");
    distrustful.args(["-sS", &url]);
    assert_ne!(command::output(distrustful).await.code, 0);
}

#[tokio::test]
async fn nghttp() {
    let server = start().await;
    for way in [Way::H2c, Way::H2Tls] {
        let Some(command) = tool("real_clients::nghttp", "nghttp") else { return };
        let done = run(
            command,
            &["-v", &url(&server, way, "/stream?n=3"), &url(&server, way, "/hello"), &url(&server, way, "/json")],
        )
        .await;
        assert!(done.stdout.contains("chunk 2") && done.stdout.contains("hello, world"), "{way:?}: {}", done.stdout);
        assert!(done.stdout.contains("x-chunks: 3"), "{way:?}: trailers: {}", done.stdout);
        assert!(!done.stdout.contains("RST_STREAM"), "{way:?}: {}", done.stdout);
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn h2load() {
    let server = start().await;
    for (way, path, more) in [
        (Way::H2c, "/hello", &[][..]),
        (Way::H2Tls, "/hello", &[]),
        (Way::H2c, "/stream?n=5", &[]),
        (Way::H2c, "/upload", &["-d", "upload"]),
        (Way::H1, "/hello", &["--h1"]),
        (Way::H1Tls, "/stream?n=5", &["--h1"]),
    ] {
        let Some(mut command) = tool("real_clients::h2load", "h2load") else { return };
        let body = server.folder().join("upload");
        std::fs::write(body, vec![b'x'; 10_000]).expect("a file");
        command.current_dir(server.folder());
        let url = url(&server, way, path);
        let done = run(command, &[&["-n", "2000", "-c", "8", "-m", "8", &url], more].concat()).await;
        let line = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(done.stdout.contains(line), "{way:?} {path}: {}", done.stdout);
        assert!(done.stdout.contains("2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{way:?} {path}: {}", done.stdout);
        server.is_quiet().await;
    }
    assert_eq!(server.metrics().await.outcome("ok"), 12_000.0);
}

#[tokio::test]
async fn wrk() {
    let server = start().await;
    for (way, path) in
        [(Way::H1, "/hello"), (Way::H1Tls, "/hello"), (Way::H1, "/stream?n=5"), (Way::H1, "/files/small.txt")]
    {
        let Some(command) = tool("real_clients::wrk", "wrk") else { return };
        let done = run(command, &["-t1", "-c32", "-d1s", &url(&server, way, path)]).await;
        assert!(done.stdout.contains("requests in"), "{way:?} {path}: {}", done.stdout);
        for sign in ["Non-2xx", "Socket errors"] {
            assert!(!done.stdout.contains(sign), "{way:?} {path}: {}", done.stdout);
        }
        server.is_quiet().await;
    }
}

/// slowhttptest's own attacks: slow heads, slow bodies, slow reading. It reports at the end whether the service was
/// still reachable; here our own client checks that while it runs.
#[tokio::test]
async fn slowhttptest() {
    if tool("real_clients::slowhttptest", "slowhttptest").is_none() {
        return;
    }
    let server = Setup::with(&["answers", "bodies", "streams"].map(component).concat())
        .and(
            "[timeouts]\nrequest-head = \"3s\"\nbody-idle = \"3s\"\nbody-min-rate = \"1KiB\"\nwrite-stall = \"3s\"\n\
             [[route]]\npath = \"/size/:n\"\ncomponent = \"answers\"\n[[route]]\npath = \"/bytes\"\ncomponent = \"streams\"\n[[route]]\npath = \"/digest\"\ncomponent = \"bodies\"\nbody = \"manual\"\n",
        )
        .host_limits("instances = 100\nheld = 1")
        .start()
        .await;
    for (attack, path, timeout) in
        [("-H", "/size/10", "request-head"), ("-B", "/digest", "body-"), ("-X", "/bytes?n=4000000", "write-stall")]
    {
        let url = url(&server, Way::H1, path);
        let mut slow = Command::new("slowhttptest");
        slow.args([attack, "-c", "60", "-r", "100", "-i", "2", "-x", "10", "-s", "100000", "-w", "512", "-y", "1024"]);
        slow.args(["-n", "2", "-z", "16", "-k", "1", "-p", "3", "-l", "8", "-u", &url]).current_dir(server.folder());
        let done = tokio::spawn(command::output(slow));
        while !done.is_finished() {
            let start = std::time::Instant::now();
            assert_eq!(server.fetch(Way::H1, Ask::get("/size/10")).await.status, 200, "{attack}");
            assert!(start.elapsed() < std::time::Duration::from_secs(2), "{attack}: {:?}", start.elapsed());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let done = done.await.expect("it does not panic");
        assert!(
            done.stdout.contains("slow HTTP test status") || done.stderr.contains("Exit status"),
            "{attack}: {done:?}"
        );
        assert!(server.metrics().await.sum("roadrunner_timeouts_total", timeout) > 0.0, "{attack}: {timeout}");
        server.is_quiet().await;
    }
}
