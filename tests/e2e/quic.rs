//! The QUIC endpoints of a listener: clients that change their address, Retry, early data, and the metrics.

use roadrunner_tests::{Ask, Client, Server, Setup, Way, soon};

async fn server(keys: &str) -> Server {
    Setup::of("inspector").and(&format!("[http3]\nendpoints = 4\n{keys}")).start().await
}

async fn client(server: &Server) -> Client {
    Client::connect(server.address("tls"), Way::H3).await
}

#[tokio::test]
async fn a_connection_survives_its_clients_addresses() {
    for steering in [false, true] {
        let server = server(&format!("kernel-steering = {steering}")).await;
        for _ in 0..4 {
            let mut client = client(&server).await;
            for _ in 0..6 {
                assert_eq!(client.fetch(Ask::get("/")).await.status, 200);
                client.h3().change_address();
            }
        }
        let metrics = server.metrics().await;
        let forwarded = metrics.sum("roadrunner_quic_datagrams_forwarded_total", "listener=\"tls\"");
        if !steering {
            assert!(forwarded > 0.0, "no endpoint received what was for another");
        }
        assert_eq!(metrics.sum("roadrunner_quic_datagrams_dropped_total", ""), 0.0);
        assert_eq!(metrics.sum("roadrunner_quic_handshakes_total", ""), 4.0);
        assert_eq!(metrics.sum("roadrunner_quic_handshakes_total", "endpoint=\"4\""), 0.0, "there are four");
        server.is_quiet().await;
    }
}

#[tokio::test]
async fn retry_is_asked_for_from_a_number_of_connections_on() {
    for (keys, retries) in [("retry-above = 0", 5.0), ("retry-above = 3", 2.0), ("retry-above = \"none\"", 0.0)] {
        let server = server(keys).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(client(&server).await);
            assert_eq!(clients.last_mut().expect("one").fetch(Ask::get("/")).await.status, 200);
        }
        let metrics = server.metrics().await;
        assert_eq!(metrics.sum("roadrunner_quic_retries_total", "listener=\"tls\""), retries, "{keys}");
        assert_eq!(metrics.sum("roadrunner_quic_connections_open", ""), 5.0);
    }
}

#[tokio::test]
async fn early_data_is_off_unless_it_is_asked_for() {
    let server = server("").await;
    let mut client = client(&server).await;
    assert_eq!(client.fetch(Ask::get("/")).await.status, 200);
    assert!(client.h3().early().await.is_none());
}

#[tokio::test]
async fn early_data_is_for_safe_methods() {
    let server = server("early-data = true").await;
    let mut first = client(&server).await;
    assert_eq!(first.fetch(Ask::get("/")).await.status, 200);
    let fields = |method: &str| {
        let pairs = [(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    // Whether the requests or the end of the handshake arrive first depends on the machine.
    let (mut early, mut refused) = (0, 0);
    for _ in 0..20 {
        let mut again = first.h3().early().await.expect("a ticket that allows it");
        let get = again.request(&fields("GET"), true).await;
        let post = again.request(&fields("POST"), true).await;
        let get = soon(get.answer()).await;
        assert_eq!(get.status, 200);
        let seen: serde_json::Value = serde_json::from_slice(&get.body).expect("JSON");
        let post = soon(post.answer()).await.status;
        assert!(matches!(post, 200 | 425), "{post}");
        early += u32::from(seen.to_string().contains("early-data"));
        refused += u32::from(post == 425);
        // The connection works like any other now.
        assert_eq!(again.fetch(Ask::post("/", "late")).await.status, 200);
    }
    assert!(early > 0 && refused > 0, "{early} of 20 were early, {refused} too early");
}
