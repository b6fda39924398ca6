//! The counters of requests: those of each route, and those that belong to no route.
//!
//! They are plain atomics, touched once at the start and once at the end of a request.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use http::StatusCode;
use roadrunner_account::{Meter, Outcome};
use roadrunner_grpc::Code;

use crate::access::Caller;
use crate::metrics::{Shows, Text};

/// Upper bounds of the duration buckets, in microseconds.
const BUCKETS: [u64; 12] = [100, 250, 500, 1000, 2500, 5000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// The counters that belong to no route.
#[derive(Debug, Default)]
pub(crate) struct HostCounters {
    not_found: AtomicU64,
    method_not_allowed: AtomicU64,
    bad_path: AtomicU64,
    rate_limited: AtomicU64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    switches: AtomicU64,
    switches_refused: AtomicU64,
}

impl HostCounters {
    pub(crate) fn unrouted(&self, status: StatusCode) {
        match status {
            StatusCode::METHOD_NOT_ALLOWED => &self.method_not_allowed,
            StatusCode::BAD_REQUEST => &self.bad_path,
            StatusCode::TOO_MANY_REQUESTS => &self.rate_limited,
            _ => &self.not_found,
        }
        .fetch_add(1, Relaxed);
    }

    /// Counts a reload, taken or refused.
    pub(crate) fn reloaded(&self, taken: bool) {
        if taken { &self.reloads } else { &self.reloads_refused }.fetch_add(1, Relaxed);
    }

    /// Counts a deployment or a rollback, taken or refused.
    pub(crate) fn switched(&self, taken: bool) {
        if taken { &self.switches } else { &self.switches_refused }.fetch_add(1, Relaxed);
    }
}

impl Shows for HostCounters {
    fn show(&self, _: &Caller, text: &mut Text) {
        text.family("roadrunner_requests_unrouted_total", "counter", "Requests that came to no route.");
        for (reason, count) in [
            ("not-found", &self.not_found),
            ("method-not-allowed", &self.method_not_allowed),
            ("bad-path", &self.bad_path),
            ("rate-limited", &self.rate_limited),
        ] {
            text.sample(&[("reason", reason)], count.load(Relaxed));
        }
        text.family("roadrunner_reloads_total", "counter", "Times that the manifest was loaded again.");
        text.sample(&[("result", "taken")], self.reloads.load(Relaxed));
        text.sample(&[("result", "refused")], self.reloads_refused.load(Relaxed));
        text.family("roadrunner_deployments_total", "counter", "Changes of components by the admin listener.");
        text.sample(&[("result", "taken")], self.switches.load(Relaxed));
        text.sample(&[("result", "refused")], self.switches_refused.load(Relaxed));
    }
}

/// The counters of one route.
#[derive(Debug, Default)]
pub(crate) struct RouteCounters {
    in_flight: AtomicI64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Calls of gRPC, by code.
    grpc: [AtomicU64; Code::ALL.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    duration_micros: AtomicU64,
    cpu_nanos: AtomicU64,
    peak_memory: AtomicU64,
    log_dropped: AtomicU64,
    host_calls: AtomicU64,
}

impl RouteCounters {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, outcome: Outcome, grpc: Option<Code>, elapsed: Duration, meter: Option<&Meter>) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.in_flight.fetch_sub(1, Relaxed);
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
        if let Some(code) = grpc {
            self.grpc[usize::from(code.number())].fetch_add(1, Relaxed);
        }
        self.buckets[BUCKETS.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
        self.duration_micros.fetch_add(micros, Relaxed);
        if let Some(meter) = meter {
            self.cpu_nanos.fetch_add(u64::try_from(meter.cpu().as_nanos()).unwrap_or(u64::MAX), Relaxed);
            if meter.peak_memory() > self.peak_memory.load(Relaxed) {
                self.peak_memory.fetch_max(meter.peak_memory(), Relaxed);
            }
            self.host_calls.fetch_add(meter.host_calls(), Relaxed);
            if meter.log_dropped() > 0 {
                self.log_dropped.fetch_add(meter.log_dropped(), Relaxed);
            }
        }
    }

    fn show_durations(&self, labels: &Labels<'_>, text: &mut Text) {
        let mut total = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            total += count.load(Relaxed);
            let bound = BUCKETS.get(index).map_or("+Inf".to_owned(), |micros| (*micros as f64 / 1e6).to_string());
            text.part("_bucket", &[labels, &[("le", &*bound)][..]].concat(), total);
        }
        text.part("_sum", labels, self.duration_micros.load(Relaxed) as f64 / 1e6);
        text.part("_count", labels, total);
    }
}

/// The labels of a route.
pub(crate) type Labels<'l> = [(&'l str, &'l str)];

/// Shows the counters of routes, each with its labels.
pub(crate) fn show_routes(routes: &[(Vec<(&str, &str)>, &RouteCounters)], text: &mut Text) {
    text.family("roadrunner_requests_total", "counter", "Requests that ended, by route and outcome.");
    for (labels, counters) in routes {
        for outcome in Outcome::ALL {
            let count = counters.outcomes[outcome as usize].load(Relaxed);
            if count > 0 || outcome == Outcome::Ok {
                text.sample(&[labels, &[("outcome", outcome.row().label)][..]].concat(), count);
            }
        }
    }
    text.family("roadrunner_grpc_calls_total", "counter", "Calls of gRPC that ended, by route and code.");
    for (labels, counters) in routes {
        for code in Code::ALL {
            let count = counters.grpc[usize::from(code.number())].load(Relaxed);
            if count > 0 {
                text.sample(&[labels, &[("grpc_code", code.name())][..]].concat(), count);
            }
        }
    }
    text.family("roadrunner_request_duration_seconds", "histogram", "From the route to the end of the response.");
    for (labels, counters) in routes {
        counters.show_durations(labels, text);
    }
    type Value = fn(&RouteCounters) -> f64;
    let families: [(&'static str, &str, &str, Value); 5] = [
        ("roadrunner_requests_in_flight", "gauge", "Requests that have not ended.", |route| {
            route.in_flight.load(Relaxed) as f64
        }),
        ("roadrunner_guest_cpu_seconds_total", "counter", "CPU time of guests, and of the host for them.", |route| {
            route.cpu_nanos.load(Relaxed) as f64 / 1e9
        }),
        ("roadrunner_guest_host_calls_total", "counter", "Calls of guests into the host.", |route| {
            route.host_calls.load(Relaxed) as f64
        }),
        ("roadrunner_guest_peak_memory_bytes", "gauge", "The most memory that one instance has used.", |route| {
            route.peak_memory.load(Relaxed) as f64
        }),
        ("roadrunner_guest_log_dropped_bytes_total", "counter", "Log text over the limit log-bytes.", |route| {
            route.log_dropped.load(Relaxed) as f64
        }),
    ];
    for (name, kind, help, value) in families {
        text.family(name, kind, help);
        for (labels, counters) in routes {
            text.sample(labels, value(counters));
        }
    }
}
