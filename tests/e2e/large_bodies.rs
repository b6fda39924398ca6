//! Large bodies pass through whole, and the bytes in transit never fill the host's memory.

use std::time::Duration;

use bytes::Bytes;
use roadrunner_tests::{Ask, End, Exchange, Server, Setup, Way, pattern};

const MIB: usize = 1 << 20;

/// The most that one exchange may add to the host's memory.
const GROWTH: u64 = 8 << 20;

/// Uploads at once.
const UPLOADS: u64 = 4;

/// One byte more than the largest body in mode `auto` by default.
const ODD: usize = 2 * MIB + 1;

#[tokio::test]
async fn two_mebibytes_and_a_byte_both_ways() {
    let server = Setup::with(
        "[component.bodies]\nfile = \"{guests}/bodies.wasm\"\n[component.demo]\nfile = \"{guests}/demo.wasm\"\n\
         [component.answers]\nfile = \"{guests}/answers.wasm\"\n[component.streams]\nfile = \"{guests}/streams.wasm\"\n\
         [[route]]\npath = \"/all\"\ncomponent = \"bodies\"\n\
         [[route]]\npath = \"/digest\"\ncomponent = \"bodies\"\nlimits = { body = \"4MiB\" }\n\
         [[route]]\npath = \"/std-read\"\ncomponent = \"bodies\"\nbody = \"manual\"\nlimits = { cpu = \"10s\" }\n\
         [[route]]\npath = \"/echo\"\ncomponent = \"demo\"\nbody = \"manual\"\n\
         [[route]]\npath = \"/size/:n\"\ncomponent = \"answers\"\n[[route]]\npath = \"/bytes\"\ncomponent = \"streams\"\n",
    )
    .start()
    .await;
    let body = pattern(ODD);
    for way in Way::ALL {
        assert_eq!(
            server.fetch(way, Ask::post("/all", body.clone())).await.status,
            413,
            "{way:?}: the default is 2 MiB"
        );
        assert_eq!(server.fetch(way, Ask::post("/all", body[1..].to_vec())).await.text(), "2097152\n", "{way:?}");
        assert!(server.fetch(way, Ask::post("/digest", body.clone())).await.text().starts_with("2097153 "), "{way:?}");
        assert_eq!(
            server.fetch(way, Ask::post_unsized("/std-read", body.clone())).await.text(),
            "2097153\n",
            "{way:?}"
        );
        for ask in [Ask::post("/echo", body.clone()), Ask::post_unsized("/echo", body.clone())] {
            let answer = server.fetch(way, ask).await;
            assert!(
                answer.body == body && answer.end == End::streamed(way),
                "{way:?}: {} bytes came back",
                answer.body.len()
            );
        }
        for path in ["/size/2097153", "/bytes?n=2097153"] {
            let answer = server.fetch(way, Ask::get(path)).await;
            assert!(
                answer.body == body && answer.end.is_whole(),
                "{way:?} {path}: {} bytes, {:?}",
                answer.body.len(),
                answer.end
            );
        }
    }
    server.is_quiet().await;
}

/// The server's memory after it has served one of each.
async fn settled(server: &Server, way: Way, path: &str) -> u64 {
    server.fetch(way, Ask::get(path)).await;
    server.is_quiet().await;
    server.resident()
}

#[tokio::test]
async fn uploads_of_20_mib_are_not_in_memory() {
    let server = Setup::of("demo").manual().alone().start().await;
    for way in Way::ALL {
        server.fetch(way, Ask::post("/upload", vec![b'x'; MIB])).await;
        let before = settled(&server, way, "/hello").await;
        // Several at once: the allocator takes memory in steps that are large compared with the needs of one.
        let mut clients = Vec::new();
        for _ in 0..UPLOADS {
            clients.push(server.connect(way).await);
        }
        let mut exchanges = Vec::new();
        for client in &mut clients {
            exchanges.push(client.open(Ask::post_open_with_length("/upload", 20 << 20)).await);
        }
        let piece = Bytes::from(vec![b'x'; MIB]);
        let mut most = 0;
        for _ in 0..20 {
            for exchange in &mut exchanges {
                assert!(exchange.send(piece.clone()).await, "{way:?}");
            }
            most = most.max(server.resident());
        }
        for mut exchange in exchanges {
            exchange.finish(&[]).await;
            assert_eq!(exchange.rest().await.text(), "20971520\n", "{way:?}");
        }
        let each = most.saturating_sub(before) / UPLOADS;
        println!("{way:?}: an upload of 20 MiB added {} KiB", each >> 10);
        assert!(each < GROWTH, "{way:?}: each added {each} bytes");
    }
}

/// Reads everything, and returns the number of bytes and the server's peak memory.
async fn drain(server: &Server, exchange: &mut Exchange<'_>) -> (u64, u64) {
    let (mut bytes, mut most, mut next) = (0, 0, 0);
    while let Some(piece) = exchange.piece().await {
        bytes += piece.len() as u64;
        if bytes >= next {
            most = most.max(server.resident());
            next = bytes + (32 << 20);
        }
    }
    (bytes, most)
}

#[tokio::test]
async fn a_download_of_a_gibibyte_is_not_in_memory() {
    let server = Setup::of("streams").limit("cpu = \"60s\"").alone().start().await;
    for (way, size) in [(Way::H1, 1_u64 << 30), (Way::H2c, 1 << 30), (Way::H1Tls, 128 << 20), (Way::H2Tls, 128 << 20)] {
        server.fetch(way, Ask::get("/bytes?n=4000000")).await;
        let before = settled(&server, way, "/empty").await;
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get(&format!("/bytes?n={size}"))).await;
        let (bytes, most) = drain(&server, &mut exchange).await;
        assert_eq!(bytes, size, "{way:?}");
        assert_eq!(exchange.rest().await.end, End::streamed(way), "{way:?}");
        assert!(most.saturating_sub(before) < GROWTH, "{way:?}: grew by {} bytes", most - before);
    }
}

#[tokio::test]
async fn a_file_of_a_gibibyte_is_not_in_memory() {
    let setup = Setup::with(
        "[directory.files]\npath = \"public\"\n[[route]]\npath = \"/*path\"\nstatic = { directory = \"files\" }\n",
    );
    let server = setup.file("public/small", "small").alone().start().await;
    for (way, size) in [(Way::H1, 1_u64 << 30), (Way::H2c, 1 << 30), (Way::H1Tls, 128 << 20), (Way::H2Tls, 128 << 20)] {
        let name = format!("{way:?}");
        let file = std::fs::File::create(server.folder().join("public").join(&name)).expect("a file");
        file.set_len(size).expect("a sparse file");
        server.fetch(way, Ask::get(&format!("/{name}")).header("range", "bytes=0-4000000")).await;
        let before = settled(&server, way, "/small").await;
        let mut client = server.connect(way).await;
        let mut exchange = client.open(Ask::get(&format!("/{name}"))).await;
        let (bytes, most) = drain(&server, &mut exchange).await;
        assert_eq!((bytes, exchange.rest().await.end), (size, End::sized(way)), "{way:?}");
        println!("{way:?}: a file of {size} bytes added {} KiB", most.saturating_sub(before) >> 10);
        assert!(most.saturating_sub(before) < GROWTH, "{way:?}: grew by {} bytes", most - before);
    }
}

/// Clients that do not read hold their guests, and a bounded amount of memory each.
#[tokio::test]
async fn slow_readers_hold_guests_and_not_memory() {
    const READERS: usize = 30;
    let server = Setup::of("streams").alone().start().await;
    for way in Way::ALL {
        let before = settled(&server, way, "/empty").await;
        let mut clients = Vec::new();
        for _ in 0..READERS {
            clients.push(server.connect(way).await);
        }
        let mut exchanges = Vec::new();
        for client in &mut clients {
            let mut exchange = client.open(Ask::get("/bytes?n=1000000000")).await;
            assert_eq!(exchange.head().await, 200);
            exchanges.push(exchange);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(server.instances().await.len(), READERS, "{way:?}: each waits for its client");
        let grown = server.resident().saturating_sub(before);
        assert!(grown < READERS as u64 * (1 << 20), "{way:?}: {grown} bytes for {READERS} readers");
        // They wait, and use no CPU.
        let cpu = async || {
            server.instances().await.iter().map(|instance| instance["cpu_us"].as_u64().unwrap_or(0)).sum::<u64>()
        };
        let first = cpu().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(cpu().await - first < 20_000, "{way:?}: guests that wait use the processor");
        drop(exchanges);
        drop(clients);
        server.is_quiet().await;
    }
}
