//! Unread request bodies: over HTTP/1.1 the connection is kept, or its close is announced; over HTTP/2 and HTTP/3 only
//! the stream ends.

use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Metrics, Server, Setup, Way};

/// Guests and routes that do not read, with their answers.
const UNREAD: [(&str, &str, u16); 7] = [
    ("manual", "/ignore", 200),
    ("standard", "/hello", 200),
    ("service", "/hello", 200),
    ("other", "/nothing", 404),
    ("other", "/get", 405),
    ("other", "/static/file", 405),
    ("bodies", "/all", 413),
];

async fn start() -> Server {
    let mut setup = Setup::default().server("wasi-03 = true").file("public/file", "file");
    for guest in ["bodies", "standard", "service"] {
        setup = setup.and(&component(guest));
    }
    for host in ["standard", "service"] {
        setup = setup.and(&format!(
            "[[group]]\nhosts = [\"{host}\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"{host}\""
        ));
    }
    setup
        .and(
            "[directory.files]\npath = \"public\"\n\
             [[group]]\nhosts = [\"manual\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"bodies\"\nbody = \"manual\"\n\
             [[group]]\nhosts = [\"bodies\"]\nlimits = { body = \"1KiB\" }\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"bodies\"\n\
             [[group]]\nhosts = [\"other\"]\n[[group.route]]\npath = \"/get\"\ncomponent = \"bodies\"\nmethods = [\"GET\"]\n\
             [[group.route]]\npath = \"/static/*path\"\nstatic = { directory = \"files\" }\n",
        )
        .start()
        .await
}

#[tokio::test]
async fn sixty_posts_on_one_connection() {
    let server = start().await;
    let accepted = |metrics: &Metrics| metrics.sum("roadrunner_connections_accepted_total", "");
    for way in Way::ALL {
        for (host, path, status) in UNREAD {
            let before = accepted(&server.metrics().await);
            let mut client = server.connect(way).await;
            for round in 0..60 {
                let length = [2000, 30_000, 200_000][round % 3];
                let body = vec![b'x'; length];
                let ask = if round % 2 == 0 { Ask::post(path, body) } else { Ask::post_unsized(path, body) };
                let answer = client.fetch(ask.host(host)).await;
                if answer.status != status {
                    server.log.settled().await;
                }
                assert_eq!((answer.status, answer.end.is_whole()), (status, true), "{way:?} {host}{path} {round}");
                assert_eq!(answer.header("connection"), "", "{way:?} {host}{path} {round}");
            }
            assert_eq!(accepted(&server.metrics().await) - before, 1.0, "{way:?} {host}{path}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn what_is_too_much_is_announced() {
    let server = start().await;
    for way in [Way::H1, Way::H1Tls] {
        for (host, path, status) in UNREAD {
            let mut client = server.connect(way).await;
            let answer = client.open(Ask::post_open_with_length(path, 1 << 20).host(host)).await.rest().await;
            assert_eq!(answer.status, status, "{way:?} {host}{path}");
            let is_late = answer.status == 200 && host != "manual";
            assert!(answer.header("connection") == "close" || is_late, "{way:?} {host}{path}: {:?}", answer.headers);
        }
    }
    server.is_quiet().await;
}
