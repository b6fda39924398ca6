//! Putting components in place while the host runs: upload, compile, switch, and back.
//!
//! A version is taken in four steps, and only the last one is seen by requests: its bytes reach the disk under a
//! temporary name; it is compiled and linked, so that what it lacks is known now; a host is bound to it beside the one
//! that serves; its history reaches the disk and the two are exchanged. The last two are done by the task that reloads
//! the manifest, so that there is one order of all changes. Requests and sessions under way end with the code that they
//! started with.
//!
//! What was deployed last serves after a restart, whatever the manifest's `file` is by then. Only components that the
//! manifest has can be deployed: it says what they are granted.

mod coming;
pub(crate) mod store;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use roadrunner_sandbox::{Component, Digest, LoadError, Tenant};
use roadrunner_wire::RequestBody;
use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::app::App;
use crate::reload::Reload;
use coming::Coming;
use store::{Store, StoreError, Upload, Version, Whole};

/// A component as `GET /components` and `roadrunner components` show it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ComponentInfo {
    /// Its name in the manifest.
    pub name: String,
    /// The SHA-256 of what serves.
    pub digest: String,
    /// `deployed`, or `file` for what the manifest names.
    pub source: String,
    /// When what is deployed began to serve, in seconds since 1970; none for a file.
    pub since: Option<u64>,
    /// The versions that are kept to go back to, the latest first.
    pub previous: Vec<String>,
}

/// Why a component was not put in place. What served before goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the body of the request was cut short")]
    Cut,
    #[error("another change of the component {0} is under way; wait for it, and look at what it did")]
    Busy(String),
    #[error("the version that serves cannot be removed; deploy another one, or roll back")]
    Current,
    #[error("{0}")]
    Invalid(String),
    #[error("the manifest has no component {0}")]
    NoComponent(String),
    #[error("the component {0} serves the manifest's file, and there is nothing to go back to")]
    NothingBefore(String),
    #[error("the component {0} has no such version")]
    NoVersion(String),
    #[error("nothing can be deployed here: set `directory` in [deploy]")]
    Off,
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the component is larger than {0} bytes (`max-wasm` in [compile])")]
    TooLarge(u64),
    #[error("the tenant may have {0} bytes of versions (`deployed-bytes` in its quota), and this is more; remove some")]
    QuotaExceeded(u64),
    #[error("not switched, and what was before keeps serving: {0}")]
    NotSwitched(String),
}

impl Refusal {
    /// The status with which it is told.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Busy(_) | Self::Current | Self::NothingBefore(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoComponent(_) | Self::NoVersion(_) | Self::Off => StatusCode::NOT_FOUND,
            Self::Store(_) | Self::NotSwitched(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QuotaExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// What a caller is told. What a tenant has no part in may name what is not its business: paths, and other tenants.
    pub(crate) fn told(&self, caller: &Caller) -> String {
        match self {
            Self::Store(_) | Self::NotSwitched(_) if caller.tenant().is_some() => {
                "not switched, and what was before keeps serving; the host's log says why".to_owned()
            }
            refusal => refusal.to_string(),
        }
    }
}

/// A component that is ready to serve, and the history that it then has.
pub(crate) struct Switch {
    pub(crate) name: String,
    pub(crate) component: Arc<Component>,
    versions: Vec<Version>,
    /// Its bytes, when they are not kept yet.
    whole: Option<Whole>,
    store: Arc<Store>,
}

impl Switch {
    /// Makes it last. From here on a restart serves it.
    pub(crate) fn commit(self) -> Result<(), StoreError> {
        self.store.commit(&self.name, self.versions, self.whole.as_ref())
    }
}

/// Puts components in place. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Deploy {
    app: App,
    reload: Reload,
    max_wasm: u64,
    /// The names whose component is being changed.
    busy: Arc<Mutex<BTreeSet<String>>>,
    coming: coming::All,
}

impl Deploy {
    pub(crate) fn new(app: App, reload: Reload, max_wasm: u64) -> Self {
        Self { app, reload, max_wasm, busy: Arc::default(), coming: coming::All::default() }
    }

    /// Every component that the caller sees, by name.
    pub(crate) fn list(&self, caller: &Caller) -> Vec<ComponentInfo> {
        let inner = self.app.current();
        let seen = inner.components.keys().filter(|name| caller.sees(inner.owners.of_component(name)));
        seen.filter_map(|name| self.info(name)).collect()
    }

    /// Takes the bytes of a component from the wire and puts it in place.
    pub(crate) async fn put(
        &self,
        name: &str,
        request: Request<RequestBody>,
        caller: &Caller,
    ) -> Result<ComponentInfo, Refusal> {
        let (store, turn) = self.begin(name, caller)?;
        let mut coming = Coming::new(&self.coming, self.tenant(name));
        // Before anything of it is read, where its length is told.
        let told = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.fits(&store, name, &mut coming, told.unwrap_or_default())?;
        let mut body = request.into_body();
        let mut upload = store.upload().await?;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Refusal::Cut)?.into_data() else { continue };
            self.fits(&store, name, &mut coming, upload.bytes() + piece.len() as u64)?;
            upload.write(&piece).await.map_err(|error| self.no_room(error))?;
        }
        let (deploy, name) = (self.clone(), name.to_owned());
        // From here on it goes to its end, whether the client waits for that or not.
        let task = tokio::spawn(async move {
            let _held = (turn, coming);
            deploy.take(store, name, upload).await
        });
        ended(task.await)
    }

    /// Goes back to the version before, or to the manifest's file when there is none.
    pub(crate) async fn rollback(&self, name: &str, caller: &Caller) -> Result<ComponentInfo, Refusal> {
        let (store, turn) = self.begin(name, caller)?;
        let mut versions = store.history(name);
        if versions.pop().is_none() {
            return Err(Refusal::NothingBefore(name.to_owned()));
        }
        let (deploy, name) = (self.clone(), name.to_owned());
        let task = tokio::spawn(async move {
            let _turn = turn;
            let path = match versions.last_mut() {
                Some(version) => {
                    version.since = now();
                    store.path(&version.digest)
                }
                None => {
                    let inner = deploy.app.current();
                    inner.files.get(&name).cloned().ok_or_else(|| Refusal::NoComponent(name.clone()))?
                }
            };
            let expected = versions.last().map(|version| version.digest);
            let component = deploy.load(path, "what it had before", expected).await?;
            deploy.switch(Switch { name, component, versions, whole: None, store }).await
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
        let name = name.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Ok(store.commit(&name, versions, None)?)
        });
        ended(task.await)
    }

    /// Whether an upload may have so many bytes.
    fn fits(&self, store: &Store, name: &str, coming: &mut Coming, bytes: u64) -> Result<(), Refusal> {
        if bytes > self.max_wasm {
            return Err(Refusal::TooLarge(self.max_wasm));
        }
        let kept = || {
            let inner = self.app.current();
            let tenant = inner.owners.of_component(name);
            let others = inner.components.keys().filter(|other| *other != name);
            let others = others.filter(|other| inner.owners.of_component(other) == tenant);
            others.map(|other| store.bytes(other)).sum::<u64>() + store.bytes_beside(name)
        };
        coming.grow(bytes, kept).map_err(Refusal::QuotaExceeded)
    }

    /// Whom a component belongs to.
    fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        let inner = self.app.current();
        inner.tenants.get(inner.owners.of_component(name)?).cloned()
    }

    /// The store, and the only right to change this component. A component that the caller does not see is none.
    fn begin(&self, name: &str, caller: &Caller) -> Result<(Arc<Store>, Turn), Refusal> {
        let inner = self.app.current();
        let store = inner.host.deployed.clone().ok_or(Refusal::Off)?;
        if !inner.components.contains_key(name) || !caller.sees(inner.owners.of_component(name)) {
            return Err(Refusal::NoComponent(name.to_owned()));
        }
        if !self.busy.lock().insert(name.to_owned()) {
            return Err(Refusal::Busy(name.to_owned()));
        }
        Ok((store, Turn { busy: self.busy.clone(), name: name.to_owned() }))
    }

    async fn take(&self, store: Arc<Store>, name: String, upload: Upload) -> Result<ComponentInfo, Refusal> {
        let whole = upload.finish().await.map_err(|error| self.no_room(error))?;
        let component = self.load(whole.path.clone(), "the upload", Some(whole.digest)).await?;
        let version = Version { digest: whole.digest, bytes: whole.bytes, since: now() };
        let versions = store.with(&name, version);
        self.switch(Switch { name, component, versions, whole: Some(whole), store }).await
    }

    /// Compiles and links, off the threads that serve.
    async fn load(
        &self,
        path: std::path::PathBuf,
        label: &'static str,
        expected: Option<Digest>,
    ) -> Result<Arc<Component>, Refusal> {
        let sandbox = self.app.current().host.sandbox.clone();
        let loaded = tokio::task::spawn_blocking(move || Component::load_as(&sandbox, &path, label.as_ref())).await;
        let component = match loaded {
            Ok(Ok(component)) => component,
            Ok(Err(LoadError::Compile(_, roadrunner_sandbox::CompileError::TooLarge(most)))) => {
                return Err(Refusal::TooLarge(most));
            }
            Ok(Err(error)) => return Err(Refusal::Invalid(error.to_string())),
            Err(panic) => return Err(Refusal::Invalid(panic.to_string())),
        };
        if expected.is_some_and(|expected| expected != component.digest) {
            return Err(Refusal::Invalid(format!("{label} is damaged: its digest is sha256:{}", component.digest)));
        }
        Ok(component)
    }

    async fn switch(&self, switch: Switch) -> Result<ComponentInfo, Refusal> {
        let name = switch.name.clone();
        let (component, source) =
            (switch.component.digest, if switch.versions.is_empty() { "file" } else { "deployed" });
        self.reload.switch(switch).await.map_err(Refusal::NotSwitched)?;
        tracing::info!(component = name, digest = %component, source, "switched a component");
        self.info(&name).ok_or(Refusal::NoComponent(name))
    }

    fn info(&self, name: &str) -> Option<ComponentInfo> {
        let inner = self.app.current();
        let component = inner.components.get(name)?;
        let versions = inner.host.deployed.as_ref().map(|store| store.history(name)).unwrap_or_default();
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

/// The right to change one component, for as long as it is held.
struct Turn {
    busy: Arc<Mutex<BTreeSet<String>>>,
    name: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.name);
    }
}

fn ended<T>(task: Result<Result<T, Refusal>, tokio::task::JoinError>) -> Result<T, Refusal> {
    task.unwrap_or_else(|error| Err(Refusal::NotSwitched(error.to_string())))
}

/// Seconds since 1970; 0 on a machine whose clock is before that.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
