//! The checked configuration of a host.
//!
//! What is here is valid by itself: every name that one part uses exists in another, every limit is in its range,
//! the routes do not conflict. Paths are absolute or relative to the process's working folder. Whether files exist
//! is known only to [`Manifest::load`], which looks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::admin::Admin;
use crate::diagnostic::ManifestError;
use crate::limits::{Caps, HostCaps, Limits};
use crate::origin::{Origin, Registry};
use crate::resolve;
use crate::router::RouteTable;
use crate::scalar::{
    Address, BrokerUrl, ComponentName, DirectoryName, ListenerName, MediaType, MiddlewareName, OutboundOrigin,
    PeerRange, RegistryName, SecretName, StoreName, TenantName,
};
use crate::section::{AccessLogFormat, Encoding, ForwardedField, H2c, LogFormat, PathRule, Protocol};
use crate::store::{Secret, Store};
use crate::tenant::Tenant;
use crate::websocket::WebSocket;
use crate::webtransport::WebTransport;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file that it was read from; none when it was made by [`Manifest::for_component`].
    pub file: Option<PathBuf>,
    /// `[server]`.
    pub server: Server,
    /// The caps in `[limits]`.
    pub caps: HostCaps,
    /// The limits in `[limits]`, before any component, group or route changes them.
    pub limits: Limits,
    /// `[[listener]]`, never empty.
    pub listeners: Vec<Listener>,
    /// `[admin]`.
    pub admin: Option<Admin>,
    /// `[compile]`.
    pub compile: Compile,
    /// `[deploy]`; none where nothing can be deployed.
    pub deploy: Option<Deploy>,
    /// `[registry]`. One that has no section is spoken to over TLS, as nobody in particular.
    pub registries: BTreeMap<RegistryName, Registry>,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[rate-limit]`; none for no such limit.
    pub rate_limit: Option<RateLimit>,
    /// `[bus]`.
    pub bus: Bus,
    /// `[dns]`.
    pub dns: crate::dns::Dns,
    /// `[http2]`.
    pub http2: Http2,
    /// `[http3]`.
    pub http3: Http3,
    /// `[websocket]`, before any group or route changes it.
    pub websocket: WebSocket,
    /// Memory that permessage-deflate may take on the whole host, in bytes.
    pub deflate_memory: u64,
    /// `[webtransport]`, before any group or route changes it.
    pub webtransport: WebTransport,
    /// WebTransport sessions on one connection; 0 when they are not offered.
    pub webtransport_sessions: u32,
    /// Streams that wait for a session, on one connection.
    pub webtransport_buffered_streams: u32,
    /// `[tenant]`.
    pub tenants: BTreeMap<TenantName, Tenant>,
    /// `[directory]`.
    pub directories: BTreeMap<DirectoryName, Directory>,
    /// `[secret]`: where each one is.
    pub secrets: BTreeMap<SecretName, Secret>,
    /// `[store]`.
    pub stores: BTreeMap<StoreName, Store>,
    /// `[component]`.
    pub components: BTreeMap<ComponentName, Component>,
    /// `[middleware]`.
    pub middlewares: BTreeMap<MiddlewareName, Middleware>,
    /// `[[route]]` and `[[group]]`, flattened and compiled.
    pub routes: RouteTable,
}

/// What [`Manifest::for_component`] is told beside the component.
#[derive(Clone, Debug, Default)]
pub struct ComponentOptions {
    /// Where to listen; the default listener when empty.
    pub listeners: Vec<Listener>,
    /// Configuration values.
    pub config: BTreeMap<String, String>,
    /// Directories to grant, by name.
    pub directories: BTreeMap<DirectoryName, PathBuf>,
    /// Who reads request bodies.
    pub body: crate::section::BodyMode,
    /// Where to serve metrics and health.
    pub admin: Option<Address>,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
}

impl Manifest {
    /// Reads and checks a file, and looks whether the files and directories that it names are there.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES + 1), &mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LoadError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|b| *b == b'\n').count();
            LoadError::NotUtf8 { path: path.to_owned(), line }
        })?;
        Ok(resolve::manifest(&text, path, resolve::Files::Checked)?)
    }

    /// Checks a text as if it were the file at `path`, without looking at the file system.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        resolve::manifest(text, path, resolve::Files::Unchecked)
    }

    /// The configuration of `roadrunner serve app.wasm`: every method and path goes to one component, under the
    /// default limits. The component's name is made from the file's; a directory's relative path is kept as it is.
    pub fn for_component(file: &Path, options: ComponentOptions) -> Self {
        resolve::for_component(file, options)
    }
}

/// The largest manifest, in bytes.
pub const MAX_BYTES: u64 = 4 << 20;

/// Why a manifest could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It was read, and something in it is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It is not text.
    #[error("{}:{line}: the file is not UTF-8 text: save it as UTF-8", path.display())]
    NotUtf8 {
        /// The manifest.
        path: PathBuf,
        /// The first line that is not, from 1.
        line: usize,
    },
    /// It could not be read.
    #[error("cannot read the manifest {}: {source}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than [`MAX_BYTES`].
    #[error("the manifest {} is larger than {} bytes", path.display(), MAX_BYTES)]
    TooLarge {
        /// The manifest.
        path: PathBuf,
    },
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How long a shutdown waits for requests and sessions.
    pub drain: Duration,
    /// How long it serves on before, without being ready.
    pub drain_delay: Duration,
    /// Threads that serve requests; none for one a CPU.
    pub workers: Option<u32>,
    /// Where compiled components are kept; none for the user's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// The form of log lines.
    pub log: LogFormat,
    /// Whether every request leaves a line in the log.
    pub access_log: bool,
    /// The form of that line.
    pub access_log_format: AccessLogFormat,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
    /// What becomes of a path that a URL parser would change.
    pub path: PathRule,
    /// Whether a change of the manifest's file is looked for.
    pub watch: bool,
}

/// One of `[[listener]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique; its address when the manifest gives it none.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Whether it speaks HTTP/1.1. At least one of the three is spoken.
    pub http1: bool,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// Whether it speaks HTTP/3. It then has a certificate and an IP address.
    pub http3: bool,
    /// Its certificate; none for plaintext.
    pub tls: Option<Tls>,
    /// How its clients come to HTTP/2 without TLS.
    pub h2c: H2c,
    /// Connections open at once; none for no cap of its own.
    pub connections: Option<u32>,
    /// The same for one peer.
    pub connections_per_peer: Option<u32>,
    /// Who begins connections with a PROXY header; none where nobody does.
    pub proxy_protocol_from: Option<Vec<PeerRange>>,
    /// Whose word is taken on the client of a request; empty for nobody's.
    pub trusted_proxies: Vec<PeerRange>,
    /// The header field that they write.
    pub forwarded_field: ForwardedField,
    /// Requests at once; none for no cap.
    pub requests: Option<u32>,
}

impl Listener {
    /// A plaintext listener for HTTP/1.1 and HTTP/2, named by its address.
    pub fn plain(address: Address) -> Self {
        Self::named(None, address, &[Protocol::Http1, Protocol::Http2], None)
    }

    /// Whether it listens there. Port 0 is another port every time.
    pub(crate) fn has_address(&self, address: &Address) -> bool {
        self.address == *address && !matches!(address, Address::Tcp(address) if address.port() == 0)
    }

    pub(crate) fn named(
        name: Option<&ListenerName>,
        address: Address,
        protocols: &[Protocol],
        tls: Option<Tls>,
    ) -> Self {
        Self {
            name: name.map_or_else(|| address.to_string(), ToString::to_string),
            address,
            http1: protocols.contains(&Protocol::Http1),
            http2: protocols.contains(&Protocol::Http2),
            http3: protocols.contains(&Protocol::Http3),
            tls,
            h2c: H2c::PriorKnowledge,
            connections: None,
            connections_per_peer: None,
            proxy_protocol_from: None,
            trusted_proxies: Vec::new(),
            forwarded_field: ForwardedField::XForwardedFor,
            requests: None,
        }
    }
}

/// Where a listener's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// PEM files.
    Files {
        /// The certificate that clients get who ask for no other.
        default: CertificateFiles,
        /// Certificates for the names that they are made out to.
        others: Vec<CertificateFiles>,
        /// Whether clients show a certificate, and who signs it; none where they are not asked.
        clients: Option<ClientCertificates>,
        /// Whether the files are read again when they change.
        watch: bool,
    },
    /// Made when the server starts.
    SelfSigned,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// Whether they are required. Otherwise they are optional.
    pub required: bool,
    /// The PEM file of the authorities that sign them.
    pub authorities: PathBuf,
}

/// `[compile]`: what compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compile {
    /// Memory, in bytes.
    pub memory: u64,
    /// CPU time, of all threads together.
    pub cpu: Duration,
    /// Wall-clock time.
    pub time: Duration,
    /// Components at once; none for one a CPU.
    pub concurrency: Option<u32>,
    /// The largest component, in bytes.
    pub max_wasm: u64,
}

/// `[deploy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// Where deployed components are.
    pub directory: PathBuf,
    /// Versions kept of each, beside the one that serves.
    pub keep: u32,
}

/// `[timeouts]`; the manifest's reference says what happens over each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the connection to the end of its PROXY header.
    pub proxy_header: Duration,
    /// From the connection to the bytes that tell HTTP/1.1 from HTTP/2.
    pub preface: Duration,
    /// From the first byte of an HTTP/1.1 request to the end of its head.
    pub request_head: Duration,
    /// Between two pieces of a request body that is being read.
    pub body_idle: Duration,
    /// The least bytes a second of a request body; 0 for no such limit.
    pub body_min_rate: u32,
    /// How long a client may accept nothing of a response.
    pub write_stall: Duration,
    /// Between two requests on an HTTP/1.1 connection.
    pub keep_alive_idle: Duration,
    /// How long an HTTP/2 connection without streams is kept.
    pub h2_idle: Duration,
    /// How long an HTTP/3 connection without requests is kept.
    pub h3_idle: Duration,
    /// How long nothing at all may come from an HTTP/3 client.
    pub h3_lost: Duration,
    /// How long a TCP client may leave the kernel's probes unanswered.
    pub tcp_lost: Duration,
    /// After how long a silence an HTTP/2 client is sent a PING.
    pub h2_ping_interval: Duration,
    /// How long it may take to answer.
    pub h2_ping_timeout: Duration,
}

/// `[rate-limit]`, and `type = "rate-limit"`: a token bucket for each peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a second, on average.
    pub requests: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Peers that are remembered.
    pub peers: u32,
}

/// `[bus]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bus {
    /// The largest payload of a message, in bytes.
    pub payload: usize,
    /// Where hosts share their topics; none where they do not.
    pub broker: Option<Broker>,
}

/// Where hosts share their topics. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The NATS servers, at least one. All are spoken to over TLS, or none is.
    pub urls: Vec<BrokerUrl>,
    /// What the subjects begin with: a valid subject by itself.
    pub prefix: String,
    /// Who the host is to the server.
    pub credentials: BrokerCredentials,
    /// The authorities of the server's certificate; none for the public ones.
    pub authorities: Option<PathBuf>,
    /// What the host shows to the server.
    pub certificate: Option<CertificateFiles>,
    /// What may wait to be sent, and as much that has arrived.
    pub queue_bytes: usize,
    /// Messages that may wait to be sent.
    pub queue_messages: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

/// Who the host is to a NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerCredentials {
    /// Whoever has the JWT and the seed in this file.
    Creds(PathBuf),
    /// Nobody in particular.
    None,
    /// Whoever has the nkey whose seed stands in this file.
    Nkey(PathBuf),
    /// Whoever has the token in this file.
    Token(PathBuf),
    /// A user.
    User {
        /// Its name.
        name: String,
        /// The file of its password.
        password: PathBuf,
    },
}

/// `[http2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// SETTINGS_INITIAL_WINDOW_SIZE, in bytes; fits 31 bits (RFC 9113, 6.9.1).
    pub stream_window: u32,
    /// The connection's window, in bytes; fits 31 bits.
    pub connection_window: u32,
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub max_streams: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE, in bytes.
    pub max_header_list: u32,
}

/// `[http3]`. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http3 {
    /// What a client may send on one stream before it is read.
    pub stream_window: u32,
    /// The same for all streams of a connection.
    pub connection_window: u32,
    /// What is sent on a connection and not acknowledged.
    pub send_window: u32,
    /// Requests at a time on a connection.
    pub max_streams: u32,
    /// SETTINGS_MAX_FIELD_SECTION_SIZE.
    pub max_header_list: u32,
    /// The QPACK table of either direction.
    pub qpack_table: u32,
    /// SETTINGS_QPACK_BLOCKED_STREAMS.
    pub qpack_blocked_streams: u32,
    /// QUIC endpoints of a listener; none for as many as there are cores.
    pub endpoints: Option<u32>,
    /// How long a connection ID is good for; none for as long as the connection.
    pub cid_lifetime: Option<Duration>,
    /// Whether the kernel is asked to take datagrams to their endpoint.
    pub kernel_steering: bool,
    /// What waits at one endpoint for another.
    pub forward_queue: u32,
    /// From how many connections on clients prove their address; none for never.
    pub retry_above: Option<u32>,
    /// Whether safe requests are taken from a first flight.
    pub early_data: bool,
    /// The `ma` of `Alt-Svc`; zero leaves the field out.
    pub alt_svc_max_age: Duration,
    /// The port in `Alt-Svc`; none for the listener's own.
    pub alt_svc_port: Option<u16>,
}

/// One of `[directory]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    /// Whom it belongs to; none where it can be given to all.
    pub tenant: Option<TenantName>,
    /// Bytes that its files may take.
    pub size: u64,
    /// Files, directories and links that there may be in it.
    pub files: u32,
}

/// One of `[component]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Where it is.
    pub origin: Origin,
    /// The files of the keys of which one must have signed it; none where it need not be signed.
    pub keys: Vec<PathBuf>,
    /// Whom it belongs to; none for the host itself.
    pub tenant: Option<TenantName>,
    /// The directories that its sendfile responses may name.
    pub directories: Vec<DirectoryName>,
    /// The directories that it has open from its start.
    pub preopens: Vec<Preopen>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// The variables of its environment that are secrets.
    pub secret_environment: BTreeMap<String, SecretName>,
    /// The secrets that it can read.
    pub secrets: Vec<SecretName>,
    /// The stores that it can open.
    pub stores: Vec<StoreName>,
    /// How many instances of it there may be at once.
    pub caps: Caps,
    /// Its limits where no group or route changes them.
    pub limits: Limits,
    /// How long its instances are kept; none for a fresh one for every request.
    pub reuse: Option<Reuse>,
    /// Where its outgoing requests may go; none where they are refused.
    pub outbound: Option<Outbound>,
}

/// A directory that guests of a component have open from their start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preopen {
    /// The directory.
    pub directory: DirectoryName,
    /// Where guests see it: an absolute path. No two of a component are the same.
    pub path: String,
    /// Whether they can change what is in it.
    pub is_writable: bool,
}

/// Where the outgoing requests of a component may go, and what they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// The origins, at least one.
    pub origins: Vec<OutboundOrigin>,
    /// Whether names may resolve to addresses that are not public.
    pub private: bool,
    /// Connections open at once.
    pub connections: u32,
    /// To a connection.
    pub connect_timeout: Duration,
    /// To the head of the answer, and between two pieces of it.
    pub read_timeout: Duration,
    /// In all.
    pub timeout: Duration,
}

/// How long an instance is kept for further requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// Requests that it answers at most.
    pub requests: u32,
    /// Requests that it answers at once.
    pub concurrency: u32,
    /// How long it may wait for its next request.
    pub idle: Duration,
}

/// One of `[middleware]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Middleware {
    /// `type = "compression"`.
    Compression(Compression),
    /// `type = "cors"`.
    Cors(Cors),
    /// `type = "etag"`.
    Etag(Etag),
    /// `type = "rate-limit"`.
    RateLimit(RateLimit),
    /// `type = "request-id"`.
    RequestId(RequestId),
    /// `type = "response-headers"`.
    ResponseHeaders(ResponseHeaders),
    /// `type = "security-headers"`.
    SecurityHeaders(SecurityHeaders),
}

impl Middleware {
    /// The manifest's word for its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Compression(_) => "compression",
            Self::Cors(_) => "cors",
            Self::Etag(_) => "etag",
            Self::RateLimit(_) => "rate-limit",
            Self::RequestId(_) => "request-id",
            Self::ResponseHeaders(_) => "response-headers",
            Self::SecurityHeaders(_) => "security-headers",
        }
    }
}

/// Compresses responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// What may be used, the preferred first; never empty.
    pub encodings: Vec<Encoding>,
    /// The smallest body that is compressed, in bytes, when its length is known.
    pub minimum_size: u64,
    /// What is compressed, in lower case; none for what usually gets smaller.
    pub types: Option<Vec<MediaType>>,
    /// Whether event loops are compressed too.
    pub loops: bool,
}

/// Any value, or one of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyOr<T> {
    /// `["*"]`.
    Any,
    /// These.
    List(Vec<T>),
}

/// Lets pages of other origins in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The origins let in, in lower case. Never `Any` together with `credentials`.
    pub origins: AnyOr<String>,
    /// The methods that they may use.
    pub methods: Vec<Method>,
    /// The request headers that they may set. Never `Any` together with `credentials`.
    pub headers: AnyOr<HeaderName>,
    /// The response headers that their scripts may read.
    pub expose: Vec<HeaderName>,
    /// Whether credentials are sent along.
    pub credentials: bool,
    /// How long a preflight's answer may be remembered.
    pub max_age: Duration,
}

/// Gives dynamic responses a validator, and answers conditional requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag {
    /// The largest body that is looked at, in bytes.
    pub maximum_size: u64,
}

/// Headers that make browsers careful. A response that has one of them keeps its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityHeaders {
    /// The headers, and their values.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// `strict-transport-security`, for responses over TLS.
    pub transport: Option<HeaderValue>,
}

/// Puts the request's id into headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The header.
    pub header: HeaderName,
    /// Whether the id of a trusted proxy is kept.
    pub trust: bool,
}

/// Sets and removes response headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// Headers that replace those of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers for responses that have none of that name.
    pub default: Vec<(HeaderName, HeaderValue)>,
    /// Headers taken away before others are set.
    pub remove: Vec<HeaderName>,
}
