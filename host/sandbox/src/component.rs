//! A component: validated, compiled, linked, and identified by its exports.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use roadrunner_log::{MAX_QUOTED, escaped};
use sha2::{Digest as _, Sha256};
use wasmparser::{KnownCustom, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Compiled, InstancePre};
use wasmtime_wasi_http::p2::bindings::exports::wasi::http::incoming_handler;
use wasmtime_wasi_http::p3::bindings::ServiceIndices;

use crate::bindings::exports::roadrunner::handler as exports;
use crate::cache::Lease;
use crate::compile::{CompileError, Whose};
use crate::engine::{Runtime, Sandbox, Wasi};
use crate::fit::{Unfit, unfit};
use crate::places::Needs;
use crate::state::State;

/// The name under which a component exports its handler.
const HANDLER: &str = "roadrunner:handler/handler@0.1.0";

/// The name under which a standard component exports its own.
const STANDARD_HANDLER: &str = "wasi:http/incoming-handler@0.2";

/// The prefix of the WASI 0.3 handler's name, for every version that is compatible with it.
const SERVICE_HANDLER: &str = "wasi:http/handler@0.3.";

/// The name that componentize-js gives itself in its output.
const COMPONENTIZE_JS: &str = "ComponentizeJS";

/// The SHA-256 of a component's bytes.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Computes the digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    /// Parses 64 hexadecimal digits, in lower case.
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotADigest),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NotADigest) };
        let pairs: &[[u8; 2]; 32] = pairs.try_into().map_err(|_| NotADigest)?;
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

/// The error for a text that is not a [`Digest`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("this is not the SHA-256 of anything: write 64 hexadecimal digits in lower case")]
pub struct NotADigest;

/// A hasher that makes a [`Digest`] of bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The reason why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The component was not compiled.
    #[error("{path}: {reason}", path = .0.display(), reason = .1)]
    Compile(PathBuf, CompileError),
    /// The engine rejects the component.
    #[error("{path} is not a valid component: {reason}", path = .0.display(), reason = .1)]
    Invalid(PathBuf, String),
    /// The component needs something that this host does not offer.
    #[error("{path} cannot be linked: {reason}", path = .0.display(), reason = .1)]
    Link(PathBuf, String),
    /// The file is a core module.
    #[error(
        "{path} is a core WebAssembly module and not a component; build it for wasm32-wasip2, \
         or wrap it with a componentizing tool", path = .0.display()
    )]
    Module(PathBuf),
    /// The component exports no handler.
    #[error("{path} does not export {HANDLER}, {STANDARD_HANDLER} or {SERVICE_HANDLER}; it exports {exports}", path = .0.display(), exports = .1)]
    NoHandler(PathBuf, String),
    /// The file is neither a component nor a core module.
    #[error("{path} is not a WebAssembly component", path = .0.display())]
    NotWasm(PathBuf),
    /// The component is made for WASI 0.3, which this host was not told to serve.
    #[error(
        "{path} is a component of wasi:http/service 0.3, whose support in the engine is experimental; to serve it, \
         set `wasi-03 = true` under [server], or give --wasi-03, and start the host again", path = .0.display()
    )]
    NoWasi03(PathBuf),
    /// The component needs more memory at its start than any route allows.
    #[error(
        "{path} needs more memory from its start than the `memory` limit of every route allows; raise that limit \
         ({reason})", path = .0.display(), reason = .1
    )]
    TooLarge(PathBuf, String),
    /// The component needs more of something than a component may have, whatever the manifest says.
    #[error("{path} has no room in the engine: {fix} ({reason})", path = .0.display(), fix = .1, reason = .2)]
    Unfit(PathBuf, &'static str, String),
    /// The component needs more places than a component may have.
    #[error(
        "{path} has {count} {what}, and a component may have {most}: let its parts share them, or make several \
         components of it", path = .0.display(), what = .1, count = .2, most = .3
    )]
    TooMany(PathBuf, &'static str, u32, u32),
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}", path = .0.display(), reason = .1)]
    Read(PathBuf, io::Error),
}

/// A component that is ready to be instantiated.
pub struct Component {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Places that one of its instances takes in every gate: more than one where it needs more of the engine's pools
    /// than a place is worth.
    pub places: u32,
    pub(crate) sandbox: Sandbox,
    wasi: Wasi,
    pub(crate) pre: InstancePre<State>,
    pub(crate) handler: Handler,
    is_of_js: bool,
    pub(crate) streaming: Option<exports::streaming::GuestIndices>,
    pub(crate) event_loop: Option<exports::event_loop::GuestIndices>,
    pub(crate) websocket: Option<exports::websocket::GuestIndices>,
    pub(crate) websocket_batch: Option<exports::websocket_batch::GuestIndices>,
    pub(crate) webtransport: Option<exports::webtransport::GuestIndices>,
    pub(crate) hibernation: Option<exports::hibernation::GuestIndices>,
    /// The lease that keeps its compiled code in the cache.
    _lease: Option<Lease>,
}

/// Facts about a component, read from its bytes.
#[derive(Clone, Copy)]
struct Facts {
    digest: Digest,
    wasi: Wasi,
    places: u32,
    is_of_js: bool,
}

/// The contract by which a component answers, known by its exports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `roadrunner:handler`.
    Native,
    /// `wasi:http/service` 0.3.
    Service,
    /// `wasi:http/proxy` 0.2.
    Standard,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native, roadrunner:handler",
            Self::Service => "standard, wasi:http/service 0.3",
            Self::Standard => "standard, wasi:http/proxy 0.2",
        })
    }
}

/// The export that is called with a request.
pub(crate) enum Handler {
    Native(exports::handler::GuestIndices),
    Service(ServiceIndices),
    Standard(incoming_handler::GuestIndices),
}

/// The exports and imports of a component, by name.
#[derive(Clone, Debug)]
pub struct Interfaces {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Exports: name and kind.
    pub exports: Vec<(String, String)>,
    /// Imports: name, kind, and whether this host offers it.
    pub imports: Vec<(String, String, bool)>,
}

impl Component {
    /// Reads, validates, compiles (or takes from the cache) and links a component. Takes up to seconds: never call it
    /// while a request waits.
    pub fn load(sandbox: &Sandbox, path: &Path) -> Result<Arc<Self>, LoadError> {
        let name = path.display().to_string();
        let whose = Whose { component: &name, tenant: None };
        Self::from_bytes(sandbox, &Self::read(sandbox, path, path)?, path, whose, None)
    }

    /// Reads a file, up to the largest size that a component may have. Errors name `label`.
    pub fn read(sandbox: &Sandbox, file: &Path, label: &Path) -> Result<Vec<u8>, LoadError> {
        let failed = |error| LoadError::Read(label.into(), error);
        let most = sandbox.compiler().map_or(u64::MAX, |compiler| compiler.settings().max_wasm);
        let mut bytes = Vec::new();
        let file = fs::File::open(file).map_err(failed)?;
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > most {
            return Err(LoadError::Compile(label.into(), CompileError::TooLarge(most)));
        }
        Ok(bytes)
    }

    /// Does the same as [`Self::load`] with bytes that were read already. Returns `known` where that has the same
    /// bytes. Errors name `path`.
    pub fn from_bytes(
        sandbox: &Sandbox,
        bytes: &[u8],
        path: &Path,
        whose: Whose<'_>,
        known: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, LoadError> {
        check_preamble(bytes, path)?;
        let digest = Digest::of(bytes);
        if let Some(known) = known.filter(|known| known.digest == digest && known.is_current()) {
            return Ok(known.clone());
        }
        // An entry of its own is leased from before the compilation until the component is linked.
        let _lease = sandbox.compiler().map(|compiler| compiler.cache().lease(&digest));
        let wasi = wasi(bytes);
        let runtime = sandbox.runtime(wasi).ok_or_else(|| LoadError::NoWasi03(path.into()))?;
        let compiled = compile(sandbox, runtime, path, bytes, &digest, whose)?;
        let needs = Needs::of(&compiled, bytes, wasi)
            .map_err(|error| LoadError::Unfit(path.into(), "put the component inside", error.to_string()))?;
        if let Some((what, count, most)) = needs.excess() {
            return Err(LoadError::TooMany(path.into(), what, count, most));
        }
        let places = needs.places(wasi);
        let facts = Facts { digest, wasi, places, is_of_js: is_made_by(bytes, COMPONENTIZE_JS) };
        Self::link(sandbox, facts, &compiled, path)
    }

    /// Links the same component with the engine that new instances now have to run on.
    pub fn relink(self: &Arc<Self>) -> Result<Arc<Self>, LoadError> {
        let label = format!("sha256:{}", self.digest);
        let path = Path::new(&label);
        let invalid = |error: wasmtime::Error| LoadError::Invalid(path.into(), reason(&error));
        if self.is_current() {
            return Ok(self.clone());
        }
        let runtime = self.sandbox.runtime(self.wasi).ok_or_else(|| LoadError::NoWasi03(path.into()))?;
        let code = self.pre.component().serialize().map_err(invalid)?;
        // SAFETY: this is the code of a component that is loaded in this process, as the engine has just written it.
        let compiled = unsafe { Compiled::deserialize(&runtime.engine, code) }.map_err(invalid)?;
        let Self { digest, wasi, places, is_of_js, .. } = **self;
        Self::link(&self.sandbox, Facts { digest, wasi, places, is_of_js }, &compiled, path)
    }

    /// Whether the component may have new instances: not on slots that may hold another instance's data.
    pub(crate) fn may_start(&self) -> bool {
        !self.sandbox.is_swapped() || self.is_current() && self.sandbox.has_taken_over()
    }

    /// Whether the component is linked with the engine that new instances run on.
    fn is_current(&self) -> bool {
        let runtime = self.sandbox.runtime(self.wasi);
        runtime.is_some_and(|runtime| Engine::same(&runtime.engine, self.pre.engine()))
    }

    fn link(sandbox: &Sandbox, facts: Facts, compiled: &Compiled, path: &Path) -> Result<Arc<Self>, LoadError> {
        let Facts { digest, wasi, places, is_of_js } = facts;
        let runtime = sandbox.runtime(wasi).ok_or_else(|| LoadError::NoWasi03(path.into()))?;
        let pre =
            runtime.linker.instantiate_pre(compiled).map_err(|error| LoadError::Link(path.into(), reason(&error)))?;
        let native = exports::handler::GuestIndices::new(&pre).map(Handler::Native);
        // A component with both contracts is served by the native one, which offers more.
        let handler = native
            .or_else(|_| incoming_handler::GuestIndices::new(&pre).map(Handler::Standard))
            .or_else(|_| ServiceIndices::new(&pre).map(Handler::Service));
        let handler = handler.map_err(|_| {
            let names: Vec<_> = exported(compiled).into_iter().map(|(name, _)| name).collect();
            let names = if names.is_empty() { "nothing".into() } else { escaped(&names.join(", "), MAX_QUOTED) };
            LoadError::NoHandler(path.into(), names)
        })?;
        Ok(Arc::new(Self {
            digest,
            places,
            handler,
            is_of_js,
            streaming: exports::streaming::GuestIndices::new(&pre).ok(),
            event_loop: exports::event_loop::GuestIndices::new(&pre).ok(),
            websocket: exports::websocket::GuestIndices::new(&pre).ok(),
            websocket_batch: exports::websocket_batch::GuestIndices::new(&pre).ok(),
            webtransport: exports::webtransport::GuestIndices::new(&pre).ok(),
            hibernation: exports::hibernation::GuestIndices::new(&pre).ok(),
            pre,
            wasi,
            sandbox: sandbox.clone(),
            _lease: sandbox.compiler().map(|compiler| compiler.cache().lease(&digest)),
        }))
    }

    /// Whether the component takes several messages of a WebSocket in one call.
    pub fn takes_batches(&self) -> bool {
        self.websocket_batch.is_some()
    }

    /// The contract by which the component answers.
    pub fn kind(&self) -> Kind {
        match self.handler {
            Handler::Native(_) => Kind::Native,
            Handler::Service(_) => Kind::Service,
            Handler::Standard(_) => Kind::Standard,
        }
    }

    /// Whether an instance can answer a second request. Instances that handle fetch events in JavaScript cannot: their
    /// engine, StarlingMonkey, has one event in its life, and a second request gets no response.
    pub fn can_be_reused(&self) -> bool {
        self.kind() != Kind::Standard || !self.is_of_js
    }

    /// The response shapes that the component supports.
    pub fn shapes(&self) -> Vec<&'static str> {
        if self.kind() != Kind::Native {
            return vec!["standard"];
        }
        let mut shapes = vec!["buffered", "sendfile"];
        shapes.extend(self.streaming.is_some().then_some("stream"));
        shapes.extend(self.event_loop.is_some().then_some("loop"));
        shapes.extend(self.websocket.is_some().then_some("websocket"));
        shapes.extend(self.webtransport.is_some().then_some("webtransport"));
        shapes
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// Reads and compiles a component, and lists its exports and imports, whether it can be served or not.
pub fn inspect(sandbox: &Sandbox, path: &Path) -> Result<Interfaces, LoadError> {
    let bytes = Component::read(sandbox, path, path)?;
    check_preamble(&bytes, path)?;
    let digest = Digest::of(&bytes);
    let wasi = wasi(&bytes);
    let name = path.display().to_string();
    let whose = Whose { component: &name, tenant: None };
    let compiled = compile(sandbox, runtime(sandbox, path, &bytes)?, path, &bytes, &digest, whose)?;
    let offered = |name: &str| {
        name.starts_with("roadrunner:handler/")
            || (name.starts_with("wasi:")
                && (name.contains("@0.2.") || (wasi == Wasi::Preview3 && name.contains("@0.3."))))
    };
    let imports = compiled
        .component_type()
        .imports(compiled.engine())
        .map(|(name, item)| (name.to_owned(), describe(&item.ty), offered(name)))
        .collect();
    Ok(Interfaces { digest, exports: exported(&compiled), imports })
}

/// Checks that bytes have the preamble of a component.
fn check_preamble(bytes: &[u8], path: &Path) -> Result<(), LoadError> {
    // The preamble: magic, then version 1 and layer 0 for a core module, version 13 and layer 1 for a component.
    match bytes.get(..8) {
        Some(b"\0asm\x01\0\0\0") => Err(LoadError::Module(path.into())),
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => Ok(()),
        _ => Err(LoadError::NotWasm(path.into())),
    }
}

/// The runtime that a component is compiled for and runs on.
fn runtime<'s>(sandbox: &'s Sandbox, path: &Path, bytes: &[u8]) -> Result<&'s Runtime, LoadError> {
    sandbox.runtime(wasi(bytes)).ok_or_else(|| LoadError::NoWasi03(path.into()))
}

/// The version of WASI that decides on the engine: 0.3 for a component that exports its handler and no other handler
/// known to this host. Malformed bytes are left to the compiler.
fn wasi(bytes: &[u8]) -> Wasi {
    let mut found = Wasi::Preview2;
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload {
            Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
            Ok(Payload::End(_)) if depth > 0 => depth -= 1,
            Ok(Payload::ComponentExportSection(section)) if depth == 0 => {
                for export in section.into_iter().flatten() {
                    match export.name.name {
                        HANDLER => return Wasi::Preview2,
                        name if name.starts_with(STANDARD_HANDLER) => return Wasi::Preview2,
                        name if name.starts_with(SERVICE_HANDLER) => found = Wasi::Preview3,
                        _ => {}
                    }
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    found
}

/// Whether this tool says that it made a component, or a component within it.
fn is_made_by(bytes: &[u8], tool: &str) -> bool {
    let is_named = |payload| {
        let Ok(Payload::CustomSection(section)) = payload else { return false };
        let KnownCustom::Producers(fields) = section.as_known() else { return false };
        fields.into_iter().flatten().any(|field| field.values.into_iter().flatten().any(|value| value.name == tool))
    };
    Parser::new(0).parse_all(bytes).any(is_named)
}

/// Gets compiled code from the cache, where the compiler puts it now or did before; without a compiler, compiles in
/// this process.
fn compile(
    sandbox: &Sandbox,
    runtime: &Runtime,
    path: &Path,
    bytes: &[u8],
    digest: &Digest,
    whose: Whose<'_>,
) -> Result<Compiled, LoadError> {
    let engine = &runtime.engine;
    let Some(compiler) = sandbox.compiler() else {
        return Compiled::new(engine, bytes).map_err(|error| rejected(path, &error));
    };
    let load = || compiler.cache().load(engine, digest).map_err(|error| rejected(path, &error));
    if let Some(compiled) = load()? {
        return Ok(compiled);
    }
    let failed = |error| match error {
        CompileError::Rejected(reason) => LoadError::Invalid(path.into(), reason),
        error => LoadError::Compile(path.into(), error),
    };
    let place = compiler.enter(engine, digest, whose.tenant).map_err(failed)?;
    // Another caller may have compiled the same meanwhile.
    if place.waited
        && let Some(compiled) = load()?
    {
        return Ok(compiled);
    }
    compiler.compile(&place, engine, bytes, digest, whose).map_err(failed)?;
    drop(place);
    let vanished = || CompileError::Cache(io::Error::other("it was there, and is not any more"));
    load()?.ok_or_else(|| LoadError::Compile(path.into(), vanished()))
}

/// The error for a component that the engine rejects.
fn rejected(path: &Path, error: &wasmtime::Error) -> LoadError {
    let reason = reason(error);
    match unfit(error) {
        Some(Unfit::Memory) => LoadError::TooLarge(path.into(), reason),
        Some(Unfit::Fixed(fix)) => LoadError::Unfit(path.into(), fix, reason),
        None => LoadError::Invalid(path.into(), reason),
    }
}

/// The engine's message, on one line: it may contain a table, and its names come from the component.
fn reason(error: &wasmtime::Error) -> String {
    escaped(&format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" "), MAX_QUOTED)
}

fn exported(compiled: &Compiled) -> Vec<(String, String)> {
    let kind = compiled.component_type();
    kind.exports(compiled.engine()).map(|(name, item)| (name.to_owned(), describe(&item.ty))).collect()
}

fn describe(item: &ComponentItem) -> String {
    match item {
        ComponentItem::ComponentFunc(_) => "function",
        ComponentItem::CoreFunc(_) => "core function",
        ComponentItem::Module(_) => "module",
        ComponentItem::Component(_) => "component",
        ComponentItem::ComponentInstance(_) => "interface",
        ComponentItem::Type(_) => "type",
        ComponentItem::Resource(_) => "resource",
    }
    .to_owned()
}
