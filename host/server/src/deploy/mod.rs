//! Deployment of components while the host runs: upload, compile, switch, and back.
//!
//! A version is taken in four steps, and requests see only the last step:
//!
//! 1. Its bytes reach the disk under a temporary name, from the client or from a registry.
//! 2. Its signature is verified, and it is compiled and linked, so that anything it lacks is known now.
//! 3. A state of the host is bound to it, in addition to the serving state.
//! 4. Its history reaches the disk, and the two states are exchanged.
//!
//! The task that reloads the manifest does the last two steps, so that all changes have one order. Requests and
//! sessions in progress end with the code that they started with.
//!
//! The last deployed version serves after a restart, whatever the manifest's `file` is by then. Going back past the
//! first deployment restores the component that served before it, byte for byte. Only components that the manifest has
//! can be deployed: it says which capabilities they are granted.

pub(crate) mod code;
mod coming;
mod refusal;
pub(crate) mod served;
pub(crate) mod store;
pub(crate) mod switch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use roadrunner_account::{Digest, Payer, Tenant};
use roadrunner_manifest::{OciReference, Origin};
use roadrunner_sandbox::{CompileError, Component, LoadError};
use roadrunner_threads::{ORDERS, Share};
use roadrunner_wire::RequestBody;
use serde::{Deserialize, Serialize};

use self::code::{bytes_of, versions_of};
use self::coming::Coming;
pub(crate) use self::refusal::Refusal;
use self::served::Other;
use self::store::{Store, StoreError, Upload, Version, Whole};
use self::switch::Switch;
use crate::access::Caller;
use crate::app::App;
use crate::orders::{OrderError, Orders};
use crate::source::{Asking, Proof, SIGNATURE, Source};

/// The longest registry reference of a component, in bytes.
const LONGEST_REFERENCE: usize = 1 << 10;

/// A component as `GET /components` and `roadrunner components` show it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComponentInfo {
    /// Its name in the manifest.
    pub name: String,
    /// The SHA-256 of the serving version.
    pub digest: String,
    /// `deployed`, or `file` for the origin that the manifest names, or named before the first deployment.
    pub source: String,
    /// The time at which the deployed version began to serve, in seconds since 1970; none for a file.
    pub since: Option<u64>,
    /// The versions that are kept for going back, the latest first.
    pub previous: Vec<String>,
}

/// The service that deploys components. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deploy {
    app: App,
    orders: Orders,
    max_wasm: u64,
    /// The names of components that are being changed.
    busy: Arc<Mutex<BTreeSet<String>>>,
    coming: coming::All,
    /// A lock for switches: only one at a time may check and change the size of compiled code.
    switching: Arc<tokio::sync::Mutex<()>>,
}

impl Deploy {
    pub(crate) fn new(app: App, orders: Orders, max_wasm: u64) -> Self {
        Self { app, orders, max_wasm, busy: Arc::default(), coming: coming::All::default(), switching: Arc::default() }
    }

    /// Lists every component that the caller sees, by name.
    pub(crate) fn list(&self, caller: &Caller) -> Vec<ComponentInfo> {
        let serving = self.app.current();
        let seen =
            serving.loaded.components.keys().filter(|name| caller.sees(serving.accounts.owners.of_component(name)));
        seen.filter_map(|name| self.info(name)).collect()
    }

    /// Receives the bytes of a component and deploys it.
    pub(crate) async fn put(
        &self,
        name: &str,
        request: Request<RequestBody>,
        caller: &Caller,
    ) -> Result<ComponentInfo, Refusal> {
        let (store, turn) = self.begin(name, caller)?;
        let mut coming = Coming::new(&self.coming, self.tenant(name));
        // A declared length is checked before anything is read.
        let told = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.fits(&store, name, &mut coming, told.unwrap_or_default())?;
        let proof = match request.headers().get(SIGNATURE) {
            Some(value) => Proof::Signature(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            None => Proof::None,
        };
        let mut body = request.into_body();
        let mut upload = store.upload(self.payer(name)).await?;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Refusal::Cut)?.into_data() else { continue };
            self.fits(&store, name, &mut coming, upload.bytes() + piece.len() as u64)?;
            upload.write(&piece).await.map_err(|error| self.no_room(error))?;
        }
        let (deploy, name) = (self.clone(), name.to_owned());
        // From here on the deployment runs to its end, whether the client waits for it or not.
        let task = tokio::spawn(async move {
            let _held = (turn, coming);
            deploy.take(store, name, upload, proof).await
        });
        ended(task.await)
    }

    /// Pulls the component that the body names from its registry and deploys it.
    pub(crate) async fn pull(&self, name: &str, body: RequestBody, caller: &Caller) -> Result<ComponentInfo, Refusal> {
        let (store, turn) = self.begin(name, caller)?;
        let body = Limited::new(body, LONGEST_REFERENCE).collect().await.map_err(|_| Refusal::Cut)?.to_bytes();
        let reference = OciReference::new(String::from_utf8_lossy(&body).trim());
        let reference = reference.map_err(|error| Refusal::Invalid(error.to_string()))?;
        let (serving, source) = (self.app.current(), self.source(name)?);
        // The host's credentials may give access to other tenants' repositories.
        if caller.tenant().is_some() && !is_beside(&reference, &source.origin) {
            return Err(Refusal::Repository(name.to_owned()));
        }
        let unnamed = || Refusal::Registry(reference.registry.to_string());
        // Otherwise a caller that may deploy could make the host connect to any address.
        let access = serving.loaded.sources.registry(&reference.registry).ok_or_else(unnamed)?;
        let mut coming = Coming::new(&self.coming, self.tenant(name));
        let (deploy, name) = (self.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            let pull = move || source.pull(&serving.host.puller, &reference, &access);
            let (bytes, proof) =
                deploy.threads(&name).start(pull).await.map_err(|error| Refusal::Invalid(format!("{error:#}")))?;
            deploy.fits(&store, &name, &mut coming, bytes.len() as u64)?;
            let _held = (turn, coming);
            let mut upload = store.upload(deploy.payer(&name)).await?;
            upload.write(&bytes).await.map_err(|error| deploy.no_room(error))?;
            deploy.take(store, name, upload, proof).await
        });
        ended(task.await)
    }

    /// Goes back to the previous version, or to the component that served before the first deployment.
    pub(crate) async fn rollback(&self, name: &str, caller: &Caller) -> Result<ComponentInfo, Refusal> {
        let (store, turn) = self.begin(name, caller)?;
        let mut versions = store.history(name);
        if versions.pop().is_none() {
            return Err(Refusal::NothingBefore(name.to_owned()));
        }
        let (deploy, name) = (self.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            let _turn = turn;
            let source = deploy.source(&name)?;
            let (path, digest, proof) = match versions.last_mut() {
                Some(version) => {
                    version.since = now();
                    (store.path(&version.digest), version.digest, version.proof.clone())
                }
                None => {
                    let copy = store.served.copy(&name).ok_or_else(|| Refusal::NotKept(name.clone()))?;
                    (store.served.path(&copy.digest), copy.digest, copy.proof)
                }
            };
            let component = deploy.load(&name, &source, path, "what it had before", digest, proof).await?;
            let instead_of = match versions.is_empty() {
                true => Some(deploy.named(source.clone()).await).filter(|named| *named != Other::Bytes(digest)),
                false => None,
            };
            deploy.switch(Switch { name, component, source, versions, whole: None, instead_of, store }).await
        });
        ended(task.await)
    }

    /// Removes a version that does not serve.
    pub(crate) async fn forget(&self, name: &str, digest: &str, caller: &Caller) -> Result<(), Refusal> {
        let (store, turn) = self.begin(name, caller)?;
        let mut versions = store.history(name);
        let position = versions.iter().position(|version| version.digest.to_string() == digest);
        let position = position.ok_or_else(|| Refusal::NoVersion(name.to_owned()))?;
        if position + 1 == versions.len() {
            return Err(Refusal::Current);
        }
        versions.remove(position);
        let (app, name) = (self.app.clone(), name.to_owned());
        let threads = self.threads(&name);
        let commit = move || {
            let _turn = turn;
            store.commit(&name, versions, None)?;
            code::tidy(&app.current());
            Ok(())
        };
        // The task runs to its end, whether the client waits for it or not.
        ended(tokio::spawn(async move { threads.start(commit).await }).await)
    }

    /// Checks that an upload may have this many bytes.
    fn fits(&self, store: &Store, name: &str, coming: &mut Coming, bytes: u64) -> Result<(), Refusal> {
        if bytes > self.max_wasm {
            return Err(Refusal::TooLarge(self.max_wasm));
        }
        let kept = || {
            let serving = self.app.current();
            let tenant = serving.accounts.owners.of_component(name);
            let others = serving.loaded.components.keys().filter(|other| *other != name);
            let others = others.filter(|other| serving.accounts.owners.of_component(other) == tenant);
            others.map(|other| store.bytes(other)).sum::<u64>() + store.bytes_beside(name)
        };
        coming.grow(bytes, kept).map_err(Refusal::QuotaExceeded)
    }

    /// The threads of the component's tenant; the host's own components share those without a name.
    fn threads(&self, name: &str) -> Share {
        let serving = self.app.current();
        ORDERS.share(serving.accounts.owners.of_component(name).unwrap_or_default())
    }

    /// Checks that the compiled code of a tenant's versions fits, with the versions that a change adds and without
    /// those that it pushes out.
    fn code_fits(&self, switch: &Switch) -> Result<(), Refusal> {
        let Some(tenant) = self.tenant(&switch.name) else { return Ok(()) };
        let Some(limit) = tenant.compiled_bytes.limit().filter(|_| switch.whole.is_some()) else { return Ok(()) };
        let serving = self.app.current();
        let others = versions_of(&serving, Some(&tenant.name), Some(&switch.name));
        let own = switch.versions.iter().map(|version| version.digest);
        if bytes_of(&serving, others.into_iter().chain(own).collect()) > limit {
            tenant.compiled_bytes.count();
            return Err(Refusal::CodeExceeded(limit));
        }
        Ok(())
    }

    /// The tenant that a component belongs to.
    fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let serving = self.app.current();
        serving.accounts.tenants.get(serving.accounts.owners.of_component(name)?).cloned()
    }

    /// The payer for work on a component.
    fn payer(&self, name: &str) -> Payer {
        Payer::tenant(self.app.current().host.sandbox.accounts(), self.tenant(name))
    }

    /// Takes the exclusive right to change this component, and returns it with the store. For a caller, a component
    /// that it does not see does not exist.
    fn begin(&self, name: &str, caller: &Caller) -> Result<(Arc<Store>, Turn), Refusal> {
        let serving = self.app.current();
        let store = serving.host.deployed.clone().ok_or(Refusal::Off)?;
        if !serving.loaded.components.contains_key(name) || !caller.sees(serving.accounts.owners.of_component(name)) {
            return Err(Refusal::NoComponent(name.to_owned()));
        }
        if !self.busy.lock().insert(name.to_owned()) {
            return Err(Refusal::Busy(name.to_owned()));
        }
        Ok((store, Turn { busy: self.busy.clone(), name: name.to_owned() }))
    }

    async fn take(
        &self,
        store: Arc<Store>,
        name: String,
        upload: Upload,
        proof: Proof,
    ) -> Result<ComponentInfo, Refusal> {
        let whole = upload.finish().await.map_err(|error| self.no_room(error))?;
        let taken = self.take_whole(store, name, whole, proof).await;
        // A refused version, or a version that was pushed out, leaves nothing behind.
        let app = self.app.clone();
        let _ = tokio::task::spawn_blocking(move || code::tidy(&app.current())).await;
        taken
    }

    async fn take_whole(
        &self,
        store: Arc<Store>,
        name: String,
        whole: Whole,
        proof: Proof,
    ) -> Result<ComponentInfo, Refusal> {
        let source = self.source(&name)?;
        let component =
            self.load(&name, &source, whole.path.clone(), "the upload", whole.digest, proof.clone()).await?;
        let version = Version { digest: whole.digest, bytes: whole.bytes, since: now(), proof };
        let versions = store.with(&name, version);
        self.switch(Switch { name, component, source, versions, whole: Some(whole), instead_of: None, store }).await
    }

    /// The source of a component in the manifest, with its keys.
    fn source(&self, name: &str) -> Result<Arc<Source>, Refusal> {
        let serving = self.app.current();
        serving.loaded.sources.of(name).cloned().ok_or_else(|| Refusal::NoComponent(name.to_owned()))
    }

    /// Verifies, compiles and links a component, off the threads that serve.
    async fn load(
        &self,
        name: &str,
        source: &Arc<Source>,
        path: PathBuf,
        label: &'static str,
        expected: Digest,
        proof: Proof,
    ) -> Result<Arc<Component>, Refusal> {
        let (sandbox, source) = (self.app.current().host.sandbox.clone(), source.clone());
        blocking(&self.threads(name), self.payer(name), move || {
            let bytes = Component::read(&sandbox, &path, label.as_ref())?;
            let digest = Digest::of(&bytes);
            anyhow::ensure!(digest == expected, "{label} is damaged: its digest is sha256:{digest}");
            source.prepare(&sandbox, label.as_ref(), &bytes, &proof, Asking::Tenant, None)
        })
        .await
    }

    /// Reads the origin that the manifest names now.
    async fn named(&self, source: Arc<Source>) -> Other {
        let serving = self.app.current();
        let threads = self.threads(&source.name);
        threads.start(move || Other::of(&source.read(&serving.host.sandbox, &serving.host.puller))).await
    }

    async fn switch(&self, switch: Switch) -> Result<ComponentInfo, Refusal> {
        let name = switch.name.clone();
        let _turn = self.switching.lock().await;
        self.code_fits(&switch)?;
        let (component, source) =
            (switch.component.digest, if switch.versions.is_empty() { "file" } else { "deployed" });
        self.orders.switch(switch).await?;
        tracing::info!(component = name, digest = %component, source, "switched a component");
        self.info(&name).ok_or(Refusal::NoComponent(name))
    }

    fn info(&self, name: &str) -> Option<ComponentInfo> {
        let serving = self.app.current();
        let component = serving.loaded.components.get(name)?;
        let versions = serving.host.deployed.as_ref().map(|store| store.history(name)).unwrap_or_default();
        let current = versions.last();
        Some(ComponentInfo {
            name: name.to_owned(),
            digest: component.digest.to_string(),
            source: if current.is_some() { "deployed" } else { "file" }.to_owned(),
            since: current.map(|version| version.since),
            previous: versions.iter().rev().skip(1).map(|version| version.digest.to_string()).collect(),
        })
    }

    fn no_room(&self, error: std::io::Error) -> Refusal {
        Refusal::Store(StoreError::Io("the upload".into(), error))
    }
}

/// The exclusive right to change one component, while it is held.
struct Turn {
    busy: Arc<Mutex<BTreeSet<String>>>,
    name: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.name);
    }
}

/// Loads a component on threads where it disturbs nothing else.
async fn blocking(
    threads: &Share,
    payer: Payer,
    load: impl FnOnce() -> Result<Arc<Component>> + Send + 'static,
) -> Result<Arc<Component>, Refusal> {
    threads.start(move || payer.work(load)).await.map_err(|error| match error.downcast_ref() {
        Some(LoadError::Compile(_, CompileError::TooLarge(most))) => Refusal::TooLarge(*most),
        _ => Refusal::Invalid(format!("{error:#}")),
    })
}

/// Whether a reference is another version of the manifest's origin.
fn is_beside(reference: &OciReference, origin: &Origin) -> bool {
    match origin {
        Origin::File(_) => false,
        Origin::Registry(own) => (&own.registry, &own.repository) == (&reference.registry, &reference.repository),
    }
}

fn ended<T>(task: Result<Result<T, Refusal>, tokio::task::JoinError>) -> Result<T, Refusal> {
    task.unwrap_or_else(|panic| Err(OrderError::Refused(panic.into()).into()))
}

/// The time in seconds since 1970; 0 on a machine whose clock is before that.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
