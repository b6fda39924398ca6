//! The counters of the engine, the resolver, the log and the runtime, which know nothing of metrics.

use roadrunner_names::Resolver;
use roadrunner_sandbox::Sandbox;
use tokio::runtime::Handle;

use super::{Shows, Text};
use crate::access::Caller;

impl Shows for Sandbox {
    fn show(&self, _: &Caller, text: &mut Text) {
        text.gauge(
            "roadrunner_instances",
            "Instances that exist now, running and held, sessions that hibernate, and responses that are being \
             compressed.",
            self.accounts().instances.len(),
        );
        let (count, bytes) = self.restored_used();
        let help = "Instances in their first state that wait for a request.";
        text.gauge("roadrunner_instances_restored", help, count);
        text.gauge("roadrunner_instances_restored_bytes", "What they have written, and keep.", bytes);
        let buffers = &self.accounts().buffers;
        let help = "What the host holds for requests, outside of guests.";
        text.gauge("roadrunner_buffered_bytes", help, buffers.used());
        text.gauge("roadrunner_buffered_limit_bytes", "What it may hold.", buffers.limit());
        text.counter("roadrunner_buffered_refused_total", "Times that some did not fit.", buffers.refused());
        text.family(
            "roadrunner_pool_exhausted_total",
            "counter",
            "Requests that found a pool of the engine empty, by who had most of the places.",
        );
        for (component, tenant, count) in self.exhaustion().counts() {
            let tenant = tenant.as_deref().map(|tenant| ("tenant", tenant));
            let labels: Vec<_> = [("component", &*component)].into_iter().chain(tenant).collect();
            text.sample(&labels, count);
        }
        let (running, waiting) = self.compilations();
        text.family("roadrunner_compilations", "gauge", "Components that are compiled now, and those that wait.");
        text.sample(&[("state", "running")], running);
        text.sample(&[("state", "waiting")], waiting);
        let help = "1 since swap was turned on while the host ran.";
        text.gauge("roadrunner_swap_since_start", help, u8::from(self.is_swapped()));
    }
}

impl Shows for Resolver {
    fn show(&self, _: &Caller, text: &mut Text) {
        let help = "Look-ups of names for guests that are under way.";
        text.gauge("roadrunner_dns_lookups", help, self.under_way());
    }
}

/// The log of the process.
pub(super) struct Log;

impl Shows for Log {
    /// Shows lost lines. The host's own lines, and those of components without a tenant, have an empty tenant.
    fn show(&self, caller: &Caller, text: &mut Text) {
        let dropped = roadrunner_log::dropped();
        text.family("roadrunner_log_dropped_total", "counter", "Lines of the log that were dropped, by the reason.");
        for (tenant, count) in dropped.queue_full.iter().filter(|(tenant, _)| caller.sees(tenant.as_deref())) {
            text.sample(&[("reason", "queue-full"), ("tenant", tenant.as_deref().unwrap_or_default())], count);
        }
        if caller.tenant().is_none() {
            text.sample(&[("reason", "write-failed"), ("tenant", "")], dropped.unwritten);
        }
    }
}

/// The runtime that the caller runs on.
pub(super) struct Runtime;

impl Shows for Runtime {
    fn show(&self, _: &Caller, text: &mut Text) {
        let tasks = Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        let help = "Tasks of the runtime: connections, streams, and a few of the host's own.";
        text.gauge("roadrunner_tasks", help, tasks);
    }
}
