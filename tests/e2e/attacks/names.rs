//! Names that never resolve.

use tokio::task::{JoinHandle, JoinSet};

use super::{Attack, Target};

/// Outgoing requests at once: more than a host has threads that may block.
const REQUESTS: usize = 600;

/// Outgoing requests to names for which no DNS server answers; the victim's own requests go to a name that resolves.
pub const SILENT: Attack = Attack {
    name: "600 outgoing requests to names that nobody answers for",
    quota: "instances = 700, memory = \"1GiB\", cpu-per-second = \"200ms\", outbound-connections = 700",
    guest: "standard",
    victim: "standard",
    path: |around| format!("/fetch?http://good.test:{}/", around.upstream.port()),
    keys: |around| {
        let port = around.upstream.port();
        format!("outbound = [\"http://*.test:{port}\"]\noutbound-private = true\noutbound-connections = 700")
    },
    sections: |around| format!("[dns]\nservers = [\"{}\"]", around.dns.address()),
    // An older host uses the machine's resolver.
    runs_on_older: false,
    run: attack,
    ..Attack::NONE
};

fn attack(target: Target) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut asking = JoinSet::new();
        for number in 0..REQUESTS {
            let target = target.clone();
            asking.spawn(async move {
                let mut round = 0;
                while target.goes_on() {
                    round += 1;
                    let name = format!("n{number}-{round}.silent.test:{}", target.upstream.port());
                    target.get_of_new_connection(&format!("/fetch?http://{name}/")).await;
                }
            });
        }
        while asking.join_next().await.is_some() {}
    })
}
