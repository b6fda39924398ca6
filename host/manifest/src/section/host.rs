//! Sections about the host itself: server, listeners, admin, timeouts, HTTP/2, HTTP/3.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, section};
use crate::scalar::units::{DAY, GIB, HOUR, KIB, MIB};
use crate::scalar::{
    Address, BrokerUrls, Bytes, Count, FilePath, ListenerName, OrNone, PeerRange, PlainText, Subject, SubjectPrefix,
    Time, choice,
};

section! {
    /// The program as a whole.
    pub(crate) struct ServerSection {
        /// How long a shutdown waits for requests and sessions to finish before it cuts them.
        drain: Time<0, { HOUR }> = "\"10s\"";
        /// How long a shutdown serves on before it begins, while `/ready` says no: as long as a load balancer takes to
        /// notice.
        drain_delay: Time<0, { HOUR }> = "\"0ms\"";
        /// Threads that serve requests. Without it, one for each CPU that the process may use.
        workers: Count<1, 1024>;
        /// Where compiled components are kept. Without it, `roadrunner` in the user's cache folder. Must be
        /// writable by nobody else: what is found there is run as native code.
        cache_dir: FilePath;
        /// How log lines and the access log are written to standard error.
        log: LogFormat = "\"human\"";
        /// Whether every request leaves a line in the log when it is over.
        access_log: bool = "true";
        /// The form of that line: `fields`, like other log lines, or `common`, the NCSA common log format as it is.
        access_log_format: AccessLogFormat = "\"fields\"";
        /// Whether components of `wasi:http/service` 0.3 are served. They run on an engine of their own, with a pool of
        /// as many instances as `instances` in [limits] says. Its support for WASI 0.3 is called experimental by those
        /// who make it. Without it, such a component is refused.
        wasi_03: bool = "false";
        /// What becomes of a request whose path a URL parser would change: one with `.` or `..` as a segment, also written
        /// with `%2e`, with `\`, or with `//` at its beginning. `"strict"`: 400. `"as-sent"`: it is passed on as it is;
        /// a guest that parses URLs then sees another path than the routes, and what protects one path does not protect
        /// the other.
        path: PathRule = "\"strict\"";
        /// Whether the host looks every second whether this file, or that of a component, has changed, and then does
        /// what `roadrunner reload` does.
        watch: bool = "false";
    }
}

choice! {
    /// What becomes of a path that a URL parser would change.
    pub enum PathRule {
        /// It is passed on.
        AsSent = "as-sent",
        /// 400.
        Strict = "strict",
    }
}

choice! {
    /// The form of log lines.
    pub enum LogFormat {
        /// For a person at a terminal.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// The form of a line of the access log.
    pub enum AccessLogFormat {
        /// Fields, in the form that `log` says.
        Fields = "fields",
        /// The NCSA common log format.
        Common = "common",
    }
}

section! {
    /// One address that the host listens on.
    pub(crate) struct ListenerSection {
        /// The listener's name in logs and metrics. Without it, its address.
        name: ListenerName;
        /// Where to listen. Port 0 lets the system choose, and the log says which. An IPv6 address accepts IPv6 only.
        /// `systemd:NAME` takes over a socket that systemd has opened (socket activation), by its name or its index.
        address: Address [required];
        /// What is spoken here. Without `tls`, HTTP/2 is recognised by its preface (prior knowledge); with it, by
        /// ALPN. HTTP/3 needs `tls` and an IP address, and uses the UDP port of the same number.
        protocols: Vec<Spanned<Protocol>> = "[\"http1\", \"http2\"]";
        /// Requests at once on all connections of this listener, from the head until the response is sent; event loops
        /// and WebSockets count for as long as they live. Over it, a request is answered with 503 and `Retry-After`.
        /// Without it, there is no such cap.
        requests: Count<1, 10_000_000>;
        /// A certificate chain and its key as PEM files, or `"self-signed"` for one made at the start, which no
        /// client trusts. Without it, the listener is plaintext.
        tls: TlsChoice;
        /// How clients of a plaintext listener with both protocols come to HTTP/2. `"prior-knowledge"`: they start
        /// with its preface. `"upgrade"`: so, or they ask with `Upgrade: h2c` in a request without a body; behind a
        /// proxy that passes `Upgrade` on without knowing it, what follows escapes the proxy's rules. `"off"`: not at
        /// all. With TLS, ALPN decides, and the key may not be there. Without it: `"prior-knowledge"`.
        h2c: H2c;
        /// Connections open at once on this listener. Over it, a new one is closed at once. Holds beside `connections`
        /// in [limits].
        connections: Count<1, 1_000_000>;
        /// The same for one peer: an IPv4 address or an IPv6 /64. Behind the PROXY protocol the client counts, and
        /// not the proxy. Holds beside `connections-per-peer` in [limits].
        connections_per_peer: Count<1, 1_000_000>;
        /// Turns the PROXY protocol (versions 1 and 2) on, and says whose connections begin with its header: every
        /// connection must come from one of these and have one, before TLS. Others are closed.
        proxy_protocol_from: Vec<Spanned<PeerRange>>;
        /// Whose word is taken on the client of a request, in the header field that `forwarded-field` names. The
        /// last address in it that is not itself one of these is the client's. Without it, only the connection says
        /// who the client is.
        trusted_proxies: Vec<Spanned<PeerRange>>;
        /// The header field that the trusted proxies write. The other one is not looked at, since a client may have
        /// sent it. `"x-forwarded-for"` goes together with `X-Forwarded-Proto`.
        forwarded_field: ForwardedField = "\"x-forwarded-for\"";
    }
}

choice! {
    /// How clients of a plaintext listener come to HTTP/2.
    pub enum H2c {
        /// Not at all.
        Off = "off",
        /// With its preface.
        PriorKnowledge = "prior-knowledge",
        /// With its preface, or with `Upgrade: h2c`.
        Upgrade = "upgrade",
    }
}

choice! {
    /// The header field in which proxies say for whom they ask.
    pub enum ForwardedField {
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
        /// `X-Forwarded-For` and `X-Forwarded-Proto`.
        XForwardedFor = "x-forwarded-for",
    }
}

choice! {
    /// A version of HTTP, as a listener offers it.
    pub enum Protocol {
        /// HTTP/1.0 and HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
        /// HTTP/3.
        Http3 = "http3",
    }
}

section! {
    /// A certificate chain and its key.
    pub(crate) struct TlsSection {
        /// The PEM file of the certificate chain, the server's own certificate first.
        certificate: FilePath [required];
        /// The PEM file of its private key, which nobody else can read or change (`chmod 600`, or 640).
        key: FilePath [required];
        /// Further certificates, each for the names that it is made out to (its DNS alternative names), chosen by the
        /// name that the client asks for (SNI). Clients that ask for another name, or for none, get the first one.
        certificates: Vec<Spanned<CertificateSection>>;
        /// Whether clients show a certificate: `"optional"`, they may; `"required"`, they must. One that does not
        /// verify fails the handshake. The guest sees what it says in `request.client-certificate`.
        client_auth: ClientAuth = "\"off\"";
        /// The PEM file of the authorities that sign certificates of clients. Revocation is not checked.
        client_ca: FilePath;
        /// Whether these files are looked at every two seconds, and read again when they have changed. Connections that
        /// exist are not touched, and files that cannot be used leave what was there before in use.
        watch: bool = "true";
    }
}

section! {
    /// One more certificate chain and its key.
    pub(crate) struct CertificateSection {
        /// The PEM file of the certificate chain, the server's own certificate first.
        certificate: FilePath [required];
        /// The PEM file of its private key, which nobody else can read or change (`chmod 600`, or 640).
        key: FilePath [required];
    }
}

choice! {
    /// Whether clients show a certificate.
    pub enum ClientAuth {
        /// They are not asked.
        Off = "off",
        /// They may.
        Optional = "optional",
        /// They must.
        Required = "required",
    }
}

/// The value of `tls`.
#[derive(Clone, Debug)]
pub(crate) enum TlsChoice {
    Files(Box<TlsSection>),
    SelfSigned,
}

impl Decode for TlsChoice {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => TlsSection::decode(value, place, context).map(|files| Self::Files(Box::new(files))),
            DeValue::String(text) if text == "self-signed" => Some(Self::SelfSigned),
            _ => {
                let expected = "\"self-signed\", or { certificate = \"cert.pem\", key = \"key.pem\" }";
                context.report(value.span(), format!("{place} names no certificate"), format!("write {expected}"));
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "self-signed" }, TlsSection::schema(generator)] })
    }

    fn kind() -> String {
        "`\"self-signed\"`, or a section with `certificate` and `key`".to_owned()
    }
}

section! {
    /// The admin listener: metrics, health, live instances, deploying. Its address is a unix socket, which only the host's
    /// user can open, or a loopback address; with `tls` it may be any, where `token-file` or `client-auth = "required"` says
    /// who may ask.
    pub(crate) struct AdminSection {
        /// Where to listen.
        address: Address [required];
        /// A file with the token that the operator shows (`authorization: Bearer TOKEN`): one line, readable by nobody
        /// else. With it, only `/live` and `/ready` are answered to those who show nothing. Deploying over TCP needs it,
        /// or a certificate.
        token_file: FilePath;
        /// As `tls` of a listener. A client that shows a certificate (`client-auth`) needs no token. Not for unix sockets.
        tls: TlsChoice;
        /// The certificates of clients that speak for the host: each by its subject, or by one of its alternative names.
        /// Without it, all that `client-ca` has signed do, and no tenant can have `admin-subjects`.
        subjects: Vec<Spanned<Subject>>;
    }
}

section! {
    /// What compiling a component may take. Components are compiled in a process of their own, without files, sockets
    /// and privileges, and only when the cache does not have them.
    pub(crate) struct CompileSection {
        /// Memory of that process. Over it, the component is refused.
        memory: Bytes<{ 64 * MIB }, { 1024 * GIB }> = "\"2GiB\"";
        /// CPU time of that process, all its threads together, in whole seconds. Over it, the component is refused.
        cpu: Time<1000, { HOUR }> = "\"60s\"";
        /// Wall-clock time of that process. Over it, the component is refused.
        time: Time<1000, { DAY }> = "\"5m\"";
        /// Components compiled at once; others wait. Without it, one for each CPU that the process may use.
        concurrency: Count<1, 1024>;
        /// The largest component. Over it, it is not read.
        max_wasm: Bytes<{ KIB }, { 4 * GIB }> = "\"64MiB\"";
    }
}

section! {
    /// Components that are put in place while the host runs, by the admin listener. Without this section there are none,
    /// and a component is what its `file` is.
    pub(crate) struct DeploySection {
        /// Where they are kept. It is made if it does not exist, and must be writable by nobody else.
        directory: FilePath [required];
        /// Versions of each component that are kept to go back to, beside the one that serves.
        keep: Count<0, 1000> = "5";
    }
}

section! {
    /// How long the host waits for its clients. What a guest may take is in the limits.
    pub(crate) struct TimeoutsSection {
        /// From the connection, or its first datagram, to the end of the TLS handshake. Over it, the connection is closed.
        handshake: Time<1, { HOUR }> = "\"10s\"";
        /// From the connection to the end of its PROXY header, on listeners with `proxy-protocol-from`. Over it, the
        /// connection is closed.
        proxy_header: Time<1, { HOUR }> = "\"5s\"";
        /// From the connection to the first bytes that tell HTTP/1.1 from HTTP/2. Over it, the connection is
        /// closed.
        preface: Time<1, { HOUR }> = "\"10s\"";
        /// From the first byte of an HTTP/1.1 request to the end of its head. Over it, the connection is closed. On
        /// HTTP/3, from the opening of the stream; over it, the request is answered with 408.
        request_head: Time<1, { HOUR }> = "\"10s\"";
        /// Between two pieces of a request body that is being read. Over it, the read fails, and a request that
        /// has no response yet is answered with 408.
        body_idle: Time<1, { DAY }> = "\"30s\"";
        /// The least bytes a second of a request body, averaged over the time for which the host has waited for it,
        /// after a grace of one `body-idle`. Below it, what `body-idle` says. 0 turns it off.
        body_min_rate: Bytes<0, { GIB }> = "\"240B\"";
        /// How long a client may accept nothing of a response that is ready to be sent. Over it, the response is
        /// aborted.
        write_stall: Time<1, { DAY }> = "\"30s\"";
        /// Between two requests on an HTTP/1.1 connection. Over it, the connection is closed.
        keep_alive_idle: Time<1, { DAY }> = "\"60s\"";
        /// How long an HTTP/2 connection without any stream is kept. Over it, it gets GOAWAY.
        h2_idle: Time<1, { DAY }> = "\"3m\"";
        /// How long an HTTP/3 connection without any request is kept. Over it, it gets GOAWAY and is closed.
        h3_idle: Time<1, { DAY }> = "\"3m\"";
        /// How long nothing at all may come from an HTTP/3 client, which is sent a PING after a third of it. Over it,
        /// the connection is lost.
        h3_lost: Time<1, { HOUR }> = "\"30s\"";
        /// How long a TCP client may be silent although the kernel asks after it, which it first does after a third of it
        /// (RFC 9293, 3.8.4). Over it, the connection is lost. A client that is merely quiet is kept: its kernel answers.
        tcp_lost: Time<6_000, { DAY }> = "\"2m\"";
        /// After so long without a byte from an HTTP/2 client it is sent a PING. A client that answers is kept, however
        /// quiet its streams are.
        h2_ping_interval: Time<100, { DAY }> = "\"20s\"";
        /// How long an HTTP/2 client may take to answer that PING. Over it, the connection is closed.
        h2_ping_timeout: Time<100, { HOUR }> = "\"20s\"";
    }
}

section! {
    /// The bus, on which the sessions of one owner publish and subscribe to topics. With `url`, hosts that have the same
    /// NATS server and the same `prefix` share their topics; without it, every host has its own.
    pub(crate) struct BusSection {
        /// The NATS server, over plaintext (`nats://`) or TLS (`tls://`), or a list of several of one cluster. One of a
        /// cluster is enough when it is up: it tells of the others. Who may publish there can speak in every topic: give
        /// the hosts an account of their own, or a network.
        url: BrokerUrls;
        /// What the subjects begin with. Hosts with another prefix are apart.
        prefix: SubjectPrefix = "\"roadrunner\"";
        /// The user that the host is to the server. Goes together with `password-file`.
        user: PlainText;
        /// The file of the user's password. A line break at its end does not count.
        password_file: FilePath;
        /// The file of a token, where the server knows no users.
        token_file: FilePath;
        /// The file of credentials that `nsc` writes: a JWT, and the seed of its nkey.
        creds_file: FilePath;
        /// The file of the seed of a user's nkey.
        nkey_file: FilePath;
        /// The PEM file of the authorities that sign the server's certificate. Without it, those that Mozilla trusts.
        ca_file: FilePath;
        /// The PEM file of a certificate, with its chain, that the host shows to the server. Goes together with `key-file`.
        certificate_file: FilePath;
        /// The PEM file of the certificate's private key.
        key_file: FilePath;
        /// The largest payload of a message. Over it, publishing fails with `too-large`. The server's own limit holds
        /// beside it.
        payload: Bytes<1, { MIB - KIB }> = "\"512KiB\"";
        /// What may wait to be sent to the server, in bytes; each message counts for 256 more. One owner may use half of
        /// it. Over it, publishing fails with `refused`. As much may have arrived and wait; over it, messages are missed.
        queue_bytes: Bytes<{ MIB }, { 1024 * MIB }> = "\"8MiB\"";
        /// The same in messages.
        queue_messages: Count<2, 1_000_000> = "10_000";
        /// From asking for the server's address until it has taken the credentials. Over it, the host tries the next one.
        connect_timeout: Time<100, { HOUR }> = "\"5s\"";
    }
}

section! {
    /// How many requests one peer may make: an IPv4 address, or the first 64 bits of an IPv6 address. Over it, a request
    /// is answered with 429 and `Retry-After`, before any route is looked for. Without this section there is no such
    /// limit. Clients of a unix socket have no address and are not limited.
    pub(crate) struct RateLimitSection {
        /// Requests a second, on average.
        requests: Count<1, 1_000_000> [required];
        /// Requests at once after a pause. Without it, as many as `requests`.
        burst: Count<1, 1_000_000>;
        /// Peers that are remembered. Of more, those are forgotten that have been quiet for the longest time. Each takes
        /// 16 bytes.
        peers: Count<64, 16_777_216> = "65_536";
    }
}

section! {
    /// Settings of HTTP/2 (RFC 9113).
    pub(crate) struct Http2Section {
        /// Request body that a client may send on one stream before the guest reads (SETTINGS_INITIAL_WINDOW_SIZE).
        /// Each open stream may hold so much memory.
        stream_window: Bytes<{ 64 * KIB - 1 }, { 2048 * MIB - 1 }> = "\"1MiB\"";
        /// The same for all streams of one connection together.
        connection_window: Bytes<{ 64 * KIB - 1 }, { 2048 * MIB - 1 }> = "\"1MiB\"";
        /// Streams that a client may have open on one connection (SETTINGS_MAX_CONCURRENT_STREAMS).
        max_streams: Count<1, 65_535> = "200";
        /// Decoded size of a request's head (SETTINGS_MAX_HEADER_LIST_SIZE). Over it, the request is answered with
        /// 431.
        max_header_list: Bytes<{ KIB }, { MIB }> = "\"16KiB\"";
    }
}

section! {
    /// Settings of HTTP/3 (RFC 9114), for listeners that speak it.
    pub(crate) struct Http3Section {
        /// Request body that a client may send on one stream before the guest reads
        /// (initial_max_stream_data_bidi_remote). Each open stream may hold so much memory.
        stream_window: Bytes<{ 16 * KIB }, { 16 * MIB }> = "\"256KiB\"";
        /// The same for all streams of one connection together (initial_max_data).
        connection_window: Bytes<{ 64 * KIB }, { 1024 * MIB }> = "\"2MiB\"";
        /// What is sent on one connection and not acknowledged yet. Each connection may hold so much memory.
        send_window: Bytes<{ 64 * KIB }, { 1024 * MIB }> = "\"1MiB\"";
        /// Requests that a client may have open on one connection (initial_max_streams_bidi).
        max_streams: Count<1, 65_535> = "100";
        /// Decoded size of a request's head (SETTINGS_MAX_FIELD_SECTION_SIZE). Over it, the request is answered with
        /// 431.
        max_header_list: Bytes<{ KIB }, { MIB }> = "\"16KiB\"";
        /// What the table of header fields that were sent before may hold, for each direction
        /// (SETTINGS_QPACK_MAX_TABLE_CAPACITY). 0B turns it off.
        qpack_table: Bytes<0, { MIB }> = "\"4KiB\"";
        /// Requests that may wait for entries of that table at once (SETTINGS_QPACK_BLOCKED_STREAMS).
        qpack_blocked_streams: Count<0, 65_535> = "16";
        /// QUIC endpoints on the UDP port of a listener, each with a socket and a task of its own. Without it, as many as
        /// there are cores for this process. On other systems than Linux there is always one.
        endpoints: Count<1, 1024>;
        /// How long a QUIC connection ID is good for. Then the client gets new ones and gives the old up, so that
        /// nobody can follow it by them for longer (RFC 9000, 5.1.2).
        cid_lifetime: OrNone<Time<1000, { 7 * DAY }>> = "\"1h\"";
        /// Have the kernel take each datagram to the endpoint that has its connection, by a filter on the UDP port.
        /// Without it, or where the system does not permit it, endpoints forward them to one another.
        kernel_steering: bool = "true";
        /// Datagrams that one endpoint has received for another and that wait there. Over it, they are dropped.
        forward_queue: Bytes<{ 64 * KIB }, { 64 * MIB }> = "\"1MiB\"";
        /// While a listener has so many connections, new QUIC clients first prove their address by a round trip more
        /// (a Retry packet, RFC 9000, 8.1.2). 0 has all of them prove it, `"none"` none.
        retry_above: OrNone<Count<0, 10_000_000>> = "1000";
        /// Take requests from the first flight of a client that was here before (0-RTT), which saves it a round trip.
        /// Safe methods only; others are answered with 425, and the guest sees `early-data: 1`. A process serves a first
        /// flight once, but an observer can hold it back for up to a minute and then deliver it.
        early_data: bool = "false";
        /// How long clients of the listener's other protocols may remember that it speaks HTTP/3 (the `ma` of
        /// `Alt-Svc`). 0s leaves the field out.
        alt_svc_max_age: Time<0, { 365 * DAY }> = "\"24h\"";
        /// The port that `Alt-Svc` names, where clients see another than the listener's own. Without it, the
        /// listener's own.
        alt_svc_port: Count<1, 65_535>;
    }
}
