//! A component: validated, compiled, linked, and identified by its exports.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use roadrunner_account::Digest;
use roadrunner_log::{MAX_QUOTED, escaped};
use wasmparser::{KnownCustom, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Compiled, InstancePre};
use wasmtime_wasi_http::p2::bindings::exports::wasi::http::incoming_handler;
use wasmtime_wasi_http::p3::bindings::ServiceIndices;

use crate::bindings::exports::roadrunner::handler as exports;
use crate::engine::{CompileError, Lease, Needs, Unfit, Wasi, Whose, restorable, unfit};
use crate::load_error::{HANDLER, LoadError, SERVICE_HANDLER, STANDARD_HANDLER};
use crate::restore;
use crate::sandbox::{Runtime, Sandbox};
use crate::state::State;

/// The name that componentize-js gives itself in its output.
const COMPONENTIZE_JS: &str = "ComponentizeJS";

/// The name of a custom section with the descriptors of gRPC services.
const GRPC_DESCRIPTORS: &str = "roadrunner:grpc-descriptors";

/// A component that is ready to be instantiated.
pub struct Component {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Places that one of its instances takes in every gate: more than one where it needs more of the engine's pools
    /// than a place is worth.
    pub places: u32,
    /// The descriptors of its gRPC services, a `google.protobuf.FileDescriptorSet`; empty if it ships none.
    pub grpc_descriptors: Bytes,
    pub(crate) sandbox: Sandbox,
    wasi: Wasi,
    pub(crate) pre: InstancePre<State>,
    pub(crate) handler: Handler,
    is_of_js: bool,
    pub(crate) exports: Exports,
    /// The exports by which its instances are restored; none where they cannot be.
    pub(crate) restore: Option<restore::Exports>,
    /// The first state of its instances' memory, once there was one.
    pub(crate) image: OnceLock<Arc<restore::Image>>,
    /// The lease that keeps its compiled code in the cache.
    _lease: Option<Lease>,
}

/// Facts about a component, read from its bytes.
struct Facts {
    digest: Digest,
    wasi: Wasi,
    places: u32,
    is_of_js: bool,
    grpc_descriptors: Bytes,
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

/// Makes of a list of interfaces the exports of a component, with the shape that each is for.
macro_rules! optional {
    ($($name:ident $(: $shape:literal)?,)*) => {
        /// The interfaces that a component may export beside its handler.
        pub(crate) struct Exports {
            $(pub(crate) $name: Option<exports::$name::GuestIndices>,)*
        }

        impl Exports {
            fn of(pre: &InstancePre<State>) -> Self {
                Self { $($name: exports::$name::GuestIndices::new(pre).ok(),)* }
            }

            /// The shapes that the component supports through them.
            fn shapes(&self) -> impl Iterator<Item = &'static str> {
                let shapes = [$($(self.$name.is_some().then_some($shape),)?)*];
                shapes.into_iter().flatten()
            }
        }
    };
}

optional! {
    streaming: "stream",
    event_loop: "loop",
    websocket: "websocket",
    websocket_batch,
    webtransport: "webtransport",
    hibernation,
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
    /// The reason why its instances cannot be put back to their first state; none where they can.
    pub not_restored: Option<String>,
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
        let (is_of_js, grpc_descriptors) = (is_made_by(bytes, COMPONENTIZE_JS), grpc_descriptors(bytes));
        let facts = Facts { digest, wasi, places, is_of_js, grpc_descriptors };
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
        let facts = Facts { digest, wasi, places, is_of_js, grpc_descriptors: self.grpc_descriptors.clone() };
        Self::link(&self.sandbox, facts, &compiled, path)
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
        let Facts { digest, wasi, places, is_of_js, grpc_descriptors } = facts;
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
            grpc_descriptors,
            exports: Exports::of(&pre),
            restore: restore::Exports::of(compiled),
            image: OnceLock::new(),
            pre,
            wasi,
            sandbox: sandbox.clone(),
            _lease: sandbox.compiler().map(|compiler| compiler.cache().lease(&digest)),
        }))
    }

    /// Whether the component takes several messages of a WebSocket in one call.
    pub fn takes_batches(&self) -> bool {
        self.exports.websocket_batch.is_some()
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

    /// Whether an instance can be put back to its first state after an answer.
    pub fn can_be_restored(&self) -> bool {
        self.restore.is_some()
    }

    /// The response shapes that the component supports.
    pub fn shapes(&self) -> Vec<&'static str> {
        if self.kind() != Kind::Native {
            return vec!["standard"];
        }
        let mut shapes = vec!["buffered", "sendfile"];
        shapes.extend(self.exports.shapes());
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
    let not_restored = match wasi {
        Wasi::Preview2 => {
            roadrunner_restore::rewrite(&bytes).err().map(|reason| escaped(&reason.to_string(), MAX_QUOTED))
        }
        Wasi::Preview3 => Some("it is a component of WASI 0.3".to_owned()),
    };
    Ok(Interfaces { digest, exports: exported(&compiled), imports, not_restored })
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

/// The descriptors in the sections that the SDK makes for them. Sets one after the other are one set, as all messages of
/// protobuf are.
fn grpc_descriptors(bytes: &[u8]) -> Bytes {
    let mut all = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Ok(Payload::CustomSection(section)) = payload
            && section.name() == GRPC_DESCRIPTORS
        {
            all.extend_from_slice(section.data());
        }
    }
    all.into()
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
        return Compiled::new(engine, restorable(bytes.to_vec(), wasi(bytes))).map_err(|error| rejected(path, &error));
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
    let own = kind.exports(compiled.engine()).filter(|(name, _)| !restore::is_added(name));
    own.map(|(name, item)| (name.to_owned(), describe(&item.ty))).collect()
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
