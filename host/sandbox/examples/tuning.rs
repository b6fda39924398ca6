//! The cost of a fresh instance under different settings: admission, store, instance, `handle`, drop; no sockets.
//!
//! `cargo run --release --example tuning -p roadrunner-sandbox -- HELLO.wasm STOCK.wasm > bench/results/tuning.json`
//!
//! The variants take turns, round after round, and the median of the rounds is reported. So if the machine changes its
//! speed, it changes for all variants. The first row is the shipped configuration; the other rows are given as ratios
//! to it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roadrunner_account::{Gate, GateSettings, Gates, Peer, RequestId, Subject};
use roadrunner_sandbox::{Binding, Component, EngineSettings, Parking, Request, Reset, Response, Sandbox};

const ROUNDS: usize = 9;
const CALLS: u32 = 4000;

const ABOUT: &str = "What one request costs the sandbox alone, without sockets: admission, store, instance, `handle`, \
    drop. Median of nine rounds in which all settings take turns, by the example `tuning` of `roadrunner-sandbox`.";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(hello), Some(stock)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: tuning HELLO.wasm STOCK.wasm [ROWS]");
        std::process::exit(2);
    };
    let (hello, stock) = (Path::new(&hello), Path::new(&stock));
    let reset = |reset| EngineSettings { slots: 64, reset, ..EngineSettings::default() };
    let mut variants = vec![
        Variant::new("restored, as shipped", reset(Reset::Auto), hello, How::Restored),
        Variant::new("reused instance", reset(Reset::Auto), hello, How::Reused),
        Variant::new("made for each call", reset(Reset::Auto), hello, How::Made),
        Variant::new("guest linked without the template's arguments", reset(Reset::Auto), stock, How::Made),
        Variant::new("scan, keep 1 MiB", reset(Reset::Scan(1 << 20)), hello, How::Made),
        Variant::new("scan, keep 2 MiB", reset(Reset::Scan(2 << 20)), hello, How::Made),
        Variant::new("clear, keep nothing", reset(Reset::Clear(0)), hello, How::Made),
        Variant::new("clear, keep 64 KiB", reset(Reset::Clear(64 << 10)), hello, How::Made),
        Variant::new("clear, keep 256 KiB", reset(Reset::Clear(256 << 10)), hello, How::Made),
        Variant::new("clear, keep 1 MiB", reset(Reset::Clear(1 << 20)), hello, How::Made),
        Variant::new("no slots", reset(Reset::Unmap), hello, How::Made),
    ];
    // For a profile of the first rows.
    variants.truncate(arguments.next().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut one = vec![Vec::new(); variants.len()];
    let mut two = vec![Vec::new(); variants.len()];
    for round in 0..=ROUNDS {
        for (index, variant) in variants.iter().enumerate() {
            let single = runtime.block_on(variant.run());
            let start = Instant::now();
            runtime.block_on(async {
                let threads =
                    [variant.binding.clone(), variant.binding.clone()].map(|binding| tokio::spawn(calls(binding)));
                for thread in threads {
                    thread.await.expect("the calls do not panic");
                }
            });
            let double = start.elapsed() / (2 * CALLS);
            // The first round warms up.
            if round > 0 {
                one[index].push(single);
                two[index].push(double);
            }
        }
    }
    let base = median(&mut one[0].clone());
    let rows: Vec<_> = variants
        .iter()
        .enumerate()
        .map(|(index, variant)| {
            let (single, double) = (median(&mut one[index]), median(&mut two[index]));
            format!(
                "    {{\"setting\": {:?}, \"value\": \"{:.2} us\", \"note\": \"{:.2} of the first row; {:.0} thousand calls/s on two threads\"}}",
                variant.name,
                single.as_secs_f64() * 1e6,
                single.as_secs_f64() / base.as_secs_f64(),
                1e-3 / double.as_secs_f64()
            )
        })
        .collect();
    println!("{{\n  \"about\": {ABOUT:?},\n  \"rows\": [\n{}\n  ]\n}}", rows.join(",\n"));
}

/// The origin of the instance of a call.
enum How {
    Made,
    Restored,
    Reused,
}

struct Variant {
    name: &'static str,
    binding: Arc<Binding>,
}

impl Variant {
    fn new(name: &'static str, settings: EngineSettings, file: &Path, how: How) -> Self {
        let sandbox = Sandbox::new(&settings, None).expect("an engine");
        let component = Component::load(&sandbox, file).expect("a component");
        let binding = Binding {
            parking: match how {
                How::Made => None,
                How::Restored => Some(Parking::restored(&component, None)),
                How::Reused => Some(Parking::new(&component, 1000, Duration::from_secs(60))),
            },
            component,
            grants: Arc::default(),
            gates: Gates::new(vec![Gate::new(GateSettings::default())]),
            shared: None,
        };
        Self { name, binding: Arc::new(binding) }
    }

    async fn run(&self) -> Duration {
        let start = Instant::now();
        calls(self.binding.clone()).await;
        start.elapsed() / CALLS
    }
}

async fn calls(binding: Arc<Binding>) {
    let (component, route): (Arc<str>, Arc<str>) = ("hello".into(), "/".into());
    for count in 0..CALLS {
        let permit = binding.gates.admit().await.expect("room");
        let meter = binding.meter(Subject {
            request: RequestId::Made(0, count.into()),
            tenant: None,
            component: component.clone(),
            digest: binding.component.digest,
            route: route.clone(),
            peer: Peer::Local,
            connection: Arc::default(),
        });
        let answer = binding.respond(meter, permit, request(count)).await;
        let (instance, response) = answer.expect("an answer");
        assert!(matches!(&response, Response::Buffered { body, .. } if body == "hello, world\n"));
        instance.finish();
    }
}

fn request(count: u32) -> Request {
    let (head, ()) = http::Request::new(()).into_parts();
    Request {
        id: RequestId::Made(0, count.into()),
        head,
        scheme: "http",
        authority: "localhost".into(),
        peer: Peer::Local,
        client_certificate: None,
        params: Vec::new(),
        route: None,
        body: None,
        upgrade: None,
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
