//! Attacks on the host's log.

use tokio::task::{JoinHandle, JoinSet};

use super::{Attack, Reader, Target};

/// An answer whose field name is 15 MB of the escape character: an error that quotes it.
pub const GIANT_NAMES: Attack = Attack {
    name: "15 MB of field name, which the host's error quotes",
    quota: "instances = 4, memory = \"256MiB\", cpu-per-second = \"200ms\", log-bytes-per-second = \"64KiB\"",
    run: |target| ask(target, 4, "/response/name?mib=14"),
    ..Attack::NONE
};

/// Standard error has no reader, and requests fill it.
pub const STALLED_READER: Attack = Attack {
    name: "requests while nobody reads the log",
    quota: "instances = 4, cpu-per-second = \"200ms\"",
    run: |target| ask(target, 2, "/log?n=100"),
    log: Reader::Stalls,
    ..Attack::NONE
};

/// Clients request a path repeatedly.
pub fn ask(target: Target, clients: usize, path: &'static str) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut asking = JoinSet::new();
        for _ in 0..clients {
            let target = target.clone();
            asking.spawn(async move {
                while target.goes_on() {
                    target.get_of_new_connection(path).await;
                }
            });
        }
        while asking.join_next().await.is_some() {}
    })
}
