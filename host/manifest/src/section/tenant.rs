//! Sections about who owns what: tenants and their quotas.

use toml::Spanned;

use crate::decode::section;
use crate::scalar::units::{GIB, HOUR, KIB};
use crate::scalar::{Bytes, Count, FilePath, HostPattern, Subject, Time};

section! {
    /// An owner of components, with hosts and quotas. What names a tenant can be reached only on its hosts, and cannot
    /// name what belongs to another.
    pub(crate) struct TenantSection {
        /// The hosts that its routes answer for, `"example.com"` or `"*.example.org"`, without a port. Its routes that
        /// name none answer for all of these. No other tenant can have one of them, or a wildcard over one.
        hosts: Vec<Spanned<HostPattern>>;
        /// PEM files of public keys, of which one must have signed each of its components, instead of those in
        /// [signatures].
        signed_by: Vec<Spanned<FilePath>>;
        /// What all its components may use together.
        quota: QuotaSection;
        /// A file with a token for the admin listener, as `token-file` in [admin]. Whoever shows it sees and changes what
        /// is this tenant's alone: its metrics, instances and components. No two tokens are the same.
        admin_token_file: FilePath;
        /// The certificates of clients with which the admin listener takes them for this tenant, as `subjects` in [admin].
        admin_subjects: Vec<Spanned<Subject>>;
    }
}

section! {
    /// What all components of one tenant may use together, beside the limits of each request. What is not set here is
    /// not limited.
    pub(crate) struct QuotaSection {
        /// Instances at once that are answering requests. Over it, a request waits, and is then answered with 503.
        instances: Count<1, 100_000>;
        /// Sessions held at once. Over it, the request is answered with 503.
        held: Count<0, 100_000>;
        /// Sessions that hibernate at once. Over it, a session stays held.
        hibernated: Count<0, 10_000_000>;
        /// Memory of all instances: linear memories, tables, what the host buffers for them, and the states of sessions
        /// that hibernate. Growth over it fails inside the guest.
        memory: Bytes<{ 64 * KIB }, { 1024 * GIB }>;
        /// CPU time of all guests in one second of wall-clock time: `"500ms"` is half a processor, `"2s"` are two. Over
        /// it, guests that run pause, and new requests wait, for as long as `queue-wait`, and are then answered with 503
        /// and `Retry-After`. One second's worth can be saved up.
        cpu_per_second: Time<1, HOUR>;
        /// Requests a second, those for files included. Over it, a request is answered with 429 and `Retry-After`. One
        /// second's worth can be saved up.
        requests_per_second: Count<1, 1_000_000>;
        /// Log text a second. Lines over it are dropped and counted. One second's worth can be saved up.
        log_bytes_per_second: Bytes<0, GIB>;
        /// Subscriptions to topics of the bus at once. Over it, the guest's `subscribe` fails.
        topics: Count<0, 10_000_000>;
        /// Messages that wait for its sessions on all topics together. One that does not fit is missed.
        topic_bytes: Bytes<0, { 64 * GIB }>;
        /// What the files below its directories take, those of `[directory]` with this tenant. Over it, guests can add no
        /// more.
        disk: Bytes<0, { 65_536 * GIB }>;
        /// Outgoing connections open at once. Over it, an outgoing request is refused.
        outbound_connections: Count<0, 10_000>;
        /// Bytes a second of the bodies of outgoing requests and their answers. Over it, they pause. One second's worth
        /// can be saved up.
        outbound_bytes_per_second: Bytes<KIB, { 64 * GIB }>;
        /// Bytes of all versions of its components that are kept in the directory of [deploy], and of those that are being
        /// uploaded. Over it, an upload is refused with 507.
        deployed_bytes: Bytes<KIB, { 1024 * GIB }>;
        /// Bytes of what is compiled from these versions, in the cache of compiled code. Over it, a deployment is refused
        /// with 507.
        compiled_bytes: Bytes<KIB, { 1024 * GIB }>;
        /// What its components have in stores in files and in memory: keys and values, and 64 bytes for each key. Over it,
        /// nothing is added.
        store_bytes: Bytes<KIB, { 1024 * GIB }>;
    }
}
