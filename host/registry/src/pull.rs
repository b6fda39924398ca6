//! From a name to a component: the order of requests, the requests that can be saved, and the checks.

use std::fmt;
use std::io;
use std::path::PathBuf;

use roadrunner_child::Stop;

use crate::access::Access;
use crate::artifact::{self, Layer, MAX_SIGNED, Refused};
use crate::claim::Claim;
use crate::digest::sha256;
use crate::fetch::{Failure, Order, What};
use crate::fetcher::Fetcher;
use crate::kept::Kept;

/// The largest manifest, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// The largest file of kept signatures, in bytes.
const MAX_KEPT_CLAIMS: u64 = 2 << 20;

/// A component in a registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// The name or IPv4 address, with a port if it is not the default.
    pub registry: String,
    /// The repository in the registry.
    pub repository: String,
    /// The name of a version, which may change its content at any time.
    pub tag: String,
    /// The SHA-256 of the manifest, as 64 hexadecimal digits. If it is set, the tag has no effect.
    pub digest: Option<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, tag, digest } = self;
        write!(f, "oci://{registry}/{repository}:{tag}")?;
        digest.iter().try_for_each(|digest| write!(f, "@sha256:{digest}"))
    }
}

/// The result of a pull.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The manifest, byte for byte: signatures sign its SHA-256.
    pub manifest: String,
    /// Claimed signatures of the manifest, not verified.
    pub claims: Vec<Claim>,
    /// The component, whose SHA-256 is the one in the manifest.
    pub component: Vec<u8>,
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not let this host read it.
    #[error(
        "the registry {registry} does not let this host read {0}: check `user` and `password` in \
         [registry.\"{registry}\"] ({1})", registry = .0.registry
    )]
    Denied(Reference, String),
    /// The registry failed in another way.
    #[error("the registry {registry} does not give {0}: {1}", registry = .0.registry)]
    Failed(Reference, String),
    /// The pulled content cannot be stored.
    #[error("cannot keep what was pulled in {path}: {reason}", path = .0.display(), reason = .1)]
    Keep(PathBuf, io::Error),
    /// The component does not exist.
    #[error("the registry {registry} has no {0}: push it, or correct the name", registry = .0.registry)]
    NotFound(Reference),
    /// It is not a component.
    #[error("{0} is not a component: {1}")]
    Refused(Reference, String),
    /// It exceeds its size limit.
    #[error("{0} is refused: {1}")]
    TooLarge(Reference, String),
    /// The registry is unreachable.
    #[error(
        "cannot reach the registry {registry} for {0}: {1}; what was pulled before serves without it where `file` names \
         its digest", registry = .0.registry
    )]
    Unreachable(Reference, String),
    /// The bytes differ from the requested ones.
    #[error("the registry {registry} gives something else for {0}: its SHA-256 is {1}", registry = .0.registry)]
    WrongDigest(Reference, String),
}

/// Pulls components, and keeps them.
#[derive(Debug)]
pub struct Puller {
    fetcher: Fetcher,
    directory: PathBuf,
    max_wasm: u64,
}

impl Puller {
    /// Makes a puller that starts `program` with `argument`, which calls [`fetch`](crate::fetch()), for each request.
    /// Pulls are kept in `directory`, which is created when it is needed; a component has at most `max_wasm` bytes.
    /// `stop` ends all requests.
    pub fn new(program: impl Into<PathBuf>, argument: &str, directory: PathBuf, max_wasm: u64, stop: Stop) -> Self {
        let fetcher = Fetcher { program: program.into(), argument: argument.to_owned(), stop };
        Self { fetcher, directory, max_wasm }
    }

    /// Pulls the component of this name, and its signatures if they are needed (`signed`). Blocks until it is done.
    ///
    /// A reference with a digest that was pulled before, and that `accepts` still accepts, needs no request. A tag is
    /// always requested, and a kept component is not pulled again.
    pub fn pull(
        &self,
        reference: &Reference,
        access: &Access,
        signed: bool,
        accepts: impl Fn(&Pulled) -> bool,
    ) -> Result<Pulled, PullError> {
        let keep = |error| PullError::Keep(self.directory.clone(), error);
        let kept = Kept::open(&self.directory).map_err(keep)?;
        if let Some(pulled) = self.pulled_before(&kept, reference).filter(accepts) {
            return Ok(pulled);
        }
        let asking = Asking { fetcher: &self.fetcher, reference, access };
        let manifest = asking.manifest()?;
        let digest = sha256(&manifest);
        if reference.digest.as_ref().is_some_and(|pinned| *pinned != digest) {
            return Err(PullError::WrongDigest(reference.clone(), digest));
        }
        let refused = |refused: Refused| PullError::Refused(reference.clone(), refused.to_string());
        let layer = artifact::component_layer(&manifest).map_err(refused)?;
        let manifest = String::from_utf8(manifest).map_err(|error| refused(Refused::Malformed(error.to_string())))?;
        let claims = if signed { asking.claims(&digest)? } else { Vec::new() };
        let component = match kept.component(&layer.digest, self.max_wasm) {
            Some(component) => component,
            None => {
                let component = asking.component(&layer, self.max_wasm)?;
                kept.keep(&layer.digest, "wasm", &component).map_err(keep)?;
                tracing::info!(%reference, manifest = digest, bytes = component.len(), "pulled a component");
                component
            }
        };
        if signed {
            let text = serde_json::to_vec(&claims).map_err(|error| keep(error.into()))?;
            kept.keep(&digest, "signatures", &text).map_err(keep)?;
        }
        kept.keep(&digest, "manifest", manifest.as_bytes()).map_err(keep)?;
        Ok(Pulled { manifest, claims, component })
    }

    /// The kept content for the digest of a reference.
    fn pulled_before(&self, kept: &Kept, reference: &Reference) -> Option<Pulled> {
        let digest = reference.digest.as_ref()?;
        let manifest = kept.manifest(digest, MAX_MANIFEST)?;
        let layer = artifact::component_layer(&manifest).ok()?;
        let component = kept.component(&layer.digest, self.max_wasm)?;
        let manifest = String::from_utf8(manifest).ok()?;
        Some(Pulled { manifest, claims: kept.claims(digest, MAX_KEPT_CLAIMS), component })
    }
}

/// A pull of one reference.
struct Asking<'p> {
    fetcher: &'p Fetcher,
    reference: &'p Reference,
    access: &'p Access,
}

impl Asking<'_> {
    fn manifest(&self) -> Result<Vec<u8>, PullError> {
        let what = match &self.reference.digest {
            Some(digest) => What::Digest(format!("sha256:{digest}")),
            None => What::Tag(self.reference.tag.clone()),
        };
        self.fetch(what, MAX_MANIFEST).map_err(|failure| self.error(failure, "its manifest", MAX_MANIFEST))
    }

    fn component(&self, layer: &Layer, most: u64) -> Result<Vec<u8>, PullError> {
        if layer.size > most {
            let reason = format!("the component is larger than {most} bytes (`max-wasm` in [compile])");
            return Err(PullError::TooLarge(self.reference.clone(), reason));
        }
        let what = What::Blob(format!("sha256:{}", layer.digest));
        // A component larger than the manifest says is wrong in any case.
        let component = self.fetch(what, layer.size);
        let component = component.map_err(|failure| self.error(failure, "what it calls the component", layer.size))?;
        let digest = sha256(&component);
        if digest != layer.digest {
            return Err(PullError::WrongDigest(self.reference.clone(), digest));
        }
        Ok(component)
    }

    /// Fetches the signatures of a manifest from the place where cosign puts them: a tag made of its digest.
    fn claims(&self, digest: &str) -> Result<Vec<Claim>, PullError> {
        let manifest = match self.fetch(What::Tag(format!("sha256-{digest}.sig")), MAX_MANIFEST) {
            Ok(manifest) => manifest,
            Err((Failure::NotFound, _)) => return Ok(Vec::new()),
            Err(failure) => return Err(self.error(failure, "the manifest of its signatures", MAX_MANIFEST)),
        };
        let mut claims = Vec::new();
        for (layer, signature) in artifact::signatures(&manifest) {
            let payload = self
                .fetch(What::Blob(format!("sha256:{}", layer.digest)), MAX_SIGNED)
                .map_err(|failure| self.error(failure, "what was signed", MAX_SIGNED))?;
            // A payload that is not text is not JSON either.
            claims.extend(String::from_utf8(payload).ok().map(|payload| Claim { payload, signature }));
        }
        Ok(claims)
    }

    fn fetch(&self, what: What, most: u64) -> Result<Vec<u8>, (Failure, String)> {
        let Reference { registry, repository, .. } = self.reference.clone();
        let access = self.access.clone();
        self.fetcher.fetch(&Order { registry, repository, what, most, access })
    }

    fn error(&self, (failure, reason): (Failure, String), what: &str, most: u64) -> PullError {
        let reference = self.reference.clone();
        match failure {
            Failure::Denied => PullError::Denied(reference, reason),
            Failure::NotFound => PullError::NotFound(reference),
            Failure::Other => PullError::Failed(reference, reason),
            Failure::TooLarge => PullError::TooLarge(reference, format!("{what} is larger than {most} bytes")),
            Failure::Unreachable => PullError::Unreachable(reference, reason),
        }
    }
}
