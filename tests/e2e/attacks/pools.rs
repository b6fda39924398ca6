//! Components that take a large part of the shared pools.

use std::time::Duration;

use roadrunner_tests::{Ask, Client, Way};
use tokio::task::JoinHandle;

use super::{Attack, Target};

/// Connections, and streams of each, that sleep at once: with sixteen memories each, more than a host has.
const CONNECTIONS: usize = 9;
const STREAMS: usize = 100;

/// Requests that sleep in a component of sixteen memories.
pub const MEMORIES: Attack = Attack {
    name: "900 sleeping requests to a component of 16 memories",
    quota: "instances = 900, memory = \"1GiB\", cpu-per-second = \"200ms\"",
    memories: 15,
    run: attack,
    ..Attack::NONE
};

fn attack(target: Target) -> JoinHandle<()> {
    tokio::spawn(async move {
        while target.goes_on() {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(Client::connect(target.address, Way::H2c).await);
            }
            let mut asleep = Vec::new();
            for client in &mut clients {
                for _ in 0..STREAMS {
                    asleep.push(client.open_beside(Ask::get("/sleep?ms=4000").host("hostile")).await);
                }
            }
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
    })
}
