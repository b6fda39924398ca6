//! Bodies that wait.

use std::time::Duration;

use roadrunner_tests::http2::Connection;
use roadrunner_tests::{Ask, Client, Way, client};
use tokio::task::JoinHandle;

use super::{Attack, Target};

/// Streams of one connection: as many as a server of HTTP/2 usually allows.
const STREAMS: usize = 100;

/// Large answers over HTTP/2 that the client does not read, and large bodies that it does not end.
pub const UNREAD: Attack = Attack {
    name: "answers that nobody reads, and bodies that do not end",
    quota: "instances = 20, memory = \"256MiB\", cpu-per-second = \"200ms\"",
    run: attack,
    ..Attack::NONE
};

fn attack(target: Target) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while target.goes_on() {
            let mut reader = Connection::start_with_window(client::dial(target.address, Way::H2c).await, 65_535).await;
            let mut writer = Client::connect(target.address, Way::H2c).await;
            for _ in 0..STREAMS {
                held.push(reader.begin_get_of("hostile", "/response/body?mib=8").await);
                let mut upload = writer.open(Ask::post_open("/sleep").host("hostile")).await;
                let piece = vec![b'x'; 8 << 20];
                let _ = tokio::time::timeout(Duration::from_millis(100), upload.send(piece)).await;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            held.clear();
        }
    })
}
