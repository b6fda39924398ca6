//! The open loop against a server that waits and stalls at known times: its latencies have to be those.

mod support;

use std::time::Duration;

use roadrunner_bench::client::Target;
use roadrunner_bench::load::{self, Plan, Report};
use roadrunner_bench::native::Native;
use roadrunner_bench::scenarios::{self, Protocol};
use support::Server;

const DELAY: Duration = Duration::from_millis(5);
const STALL_FROM: Duration = Duration::from_millis(1500);
const STALL_TO: Duration = Duration::from_millis(2100);

/// Every answer takes 5 ms, and those to requests that come in a window of 600 ms come at its end.
fn stalls(now: Duration) -> Duration {
    if (STALL_FROM..STALL_TO).contains(&now) { STALL_TO - now } else { DELAY }
}

#[test]
fn a_known_delay_is_measured() {
    let server = Server::start(Native::with_delay(|_| DELAY));
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        let report = load(&server, protocol, 400.0, 16, Duration::from_secs(1));
        assert_eq!(report.unsent, 0);
        assert!((380..=420).contains(&report.requests), "{protocol:?}: {report:?}");
        let corrected = report.corrected.expect("an open load has corrected latencies");
        // A timer of the server is late by up to a millisecond, and the rest is the machine's.
        for latency in [report.uncorrected.p50, corrected.p50] {
            assert!((5_000.0..12_000.0).contains(&latency), "{protocol:?}: {latency} us");
        }
        // Without a stall, requests start when they are to.
        assert!(corrected.p50 - report.uncorrected.p50 < 1_000.0, "{protocol:?}: {corrected:?}");
    }
}

#[test]
fn a_stall_counts_for_all_requests_that_were_due_in_it() {
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        let server = Server::start(Native::with_delay(stalls));
        // It ends 1.5 s after the stall began.
        let length = (STALL_FROM + Duration::from_millis(1500)).saturating_sub(server.age());
        let report = load(&server, protocol, 500.0, 4, length);
        assert_eq!(report.unsent, 0, "{protocol:?}: the rest was caught up with");
        let corrected = report.corrected.expect("an open load has corrected latencies");
        // Four connections, so four requests of hundreds were sent in the stall: it hides behind the 99th percentile.
        assert!(report.uncorrected.p90 < 50_000.0, "{protocol:?}: {:?}", report.uncorrected);
        assert!(report.uncorrected.max > 300_000.0, "{protocol:?}: {:?}", report.uncorrected);
        // 300 requests were due in it, which waited 300 ms on average, and more until they were caught up with.
        assert!(corrected.p90 > 200_000.0, "{protocol:?}: {corrected:?}");
        assert!(corrected.p99 > 400_000.0, "{protocol:?}: {corrected:?}");
        assert!(corrected.max < 1_500_000.0, "{protocol:?}: {corrected:?}");
    }
}

#[test]
fn requests_that_a_slow_server_never_got_are_counted() {
    let server = Server::start(Native::with_delay(|_| Duration::from_millis(100)));
    // 2 connections answer 20 requests a second, and 1000 are due.
    let report = load(&server, Protocol::H1, 1000.0, 2, Duration::from_millis(500));
    assert!(report.requests < 100, "{report:?}");
    assert_eq!(report.requests + report.unsent, 500, "{report:?}");
    assert!(report.corrected.expect("an open load has corrected latencies").p50 > 1_000_000.0);
}

#[test]
fn a_closed_load_keeps_each_connection_busy() {
    let server = Server::start(Native::with_delay(|_| DELAY));
    let scenario = scenarios::find("hello").expect("it is in the table");
    let target = Target::new(scenario, Protocol::H1, server.address(Protocol::H1)).expect("it is on loopback");
    let length = Duration::from_secs(1);
    let plan = Plan { connections: 10, rate: None, warm_up: Duration::from_millis(200), length, threads: 2 };
    let report = load::run(&target, plan, || ()).expect("every answer is right");
    // At most 200 answers a second on each of 10 connections.
    assert!((500..=2000).contains(&report.requests), "{report:?}");
    assert!(report.worked > report.requests, "{report:?}");
    assert!(report.corrected.is_none());
}

fn load(server: &Server, protocol: Protocol, rate: f64, connections: usize, length: Duration) -> Report {
    let scenario = scenarios::find("hello").expect("it is in the table");
    let target = Target::new(scenario, protocol, server.address(protocol)).expect("it is on loopback");
    let plan = Plan { connections, rate: Some(rate), warm_up: Duration::ZERO, length, threads: 1 };
    load::run(&target, plan, || ()).expect("every answer is right")
}
