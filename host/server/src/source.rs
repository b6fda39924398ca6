//! The sources of components, and the verification of their signatures.
//!
//! | source | proof of origin |
//! |---|---|
//! | a file | its signature, in `FILE.sig` beside it |
//! | an upload | its signature, in the header [`SIGNATURE`] |
//! | a registry | the manifest that has its SHA-256, and signatures of that manifest |
//!
//! Bytes are read once: the verified bytes are the compiled bytes. A component without a required signature never
//! reaches the compiler, whichever way it came: at the start, at a reload, by an upload, or by going back to a previous
//! version.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use roadrunner_manifest::{self as manifest, Manifest, OciReference, Origin, RegistryName};
use roadrunner_registry::{Access, Claim, Pulled, Puller, Reference, User, component_layer, sha256};
use roadrunner_sandbox::{Component, Sandbox, Whose};
use roadrunner_signature::{Keys, MAX_SIGNATURE, NotASignature, Signature};
use serde::{Deserialize, Serialize};

use crate::capability::secrets;

/// The header with the signature of an upload, in base64.
pub(crate) const SIGNATURE: &str = "roadrunner-signature";

/// The type that a payload of cosign declares.
const PAYLOAD: &str = "cosign container image signature";

/// The largest file of authorities, in bytes.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// The sources of all components of a manifest.
#[derive(Debug)]
pub(crate) struct Sources {
    components: BTreeMap<String, Arc<Source>>,
    /// The registries that the manifest names, in a section or for a component.
    registries: BTreeMap<RegistryName, Arc<Access>>,
}

/// The source of one component.
#[derive(Debug)]
pub(crate) struct Source {
    /// The component's name in the manifest.
    pub(crate) name: String,
    /// The tenant that the component belongs to; none for the host itself.
    pub(crate) tenant: Option<String>,
    /// The component's place according to the manifest.
    pub(crate) origin: Origin,
    /// The keys, one of which must have signed the component; none where it need not be signed.
    keys: Option<Keys>,
    /// The access to its registry.
    access: Arc<Access>,
}

/// The proof of a component's origin, not yet verified.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proof {
    /// A manifest, and signatures of it.
    Image { manifest: String, claims: Vec<Claim> },
    /// Nothing.
    #[default]
    None,
    /// A signature of the bytes, in base64.
    Signature(String),
}

/// The party that asks for a compilation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asking {
    /// The operator, with a manifest.
    Operator,
    /// Its tenant, with a deployment: one at a time.
    Tenant,
}

/// The reason why a component's signature is rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("the signature of {0} cannot be read: {1}")]
    Malformed(String, NotASignature),
    #[error("{0} is not signed, and the component {1} must be: {2}")]
    Missing(String, String, &'static str),
    #[error("{0} has no signature of a key of the component {1}: it is of another key, or of other bytes")]
    Wrong(String, String),
}

impl Sources {
    /// Reads keys, passwords and authorities.
    pub(crate) fn read(manifest: &Manifest) -> Result<Self> {
        let sections = manifest.registries.iter();
        let mut registries = sections
            .map(|(name, registry)| Ok((name.clone(), Arc::new(access(manifest, name, registry)?))))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let mut components = BTreeMap::new();
        for (name, component) in &manifest.components {
            let access = match &component.origin {
                Origin::File(_) => Arc::default(),
                Origin::Registry(reference) => registries.entry(reference.registry.clone()).or_default().clone(),
            };
            let failed = || format!("cannot read the keys that must have signed the component {name}");
            let keys = (!component.keys.is_empty()).then(|| Keys::load(&component.keys));
            let keys = keys.transpose().with_context(failed)?;
            let tenant = component.tenant.as_ref().map(ToString::to_string);
            let source = Source { name: name.to_string(), tenant, origin: component.origin.clone(), keys, access };
            components.insert(name.to_string(), Arc::new(source));
        }
        Ok(Self { components, registries })
    }

    pub(crate) fn of(&self, component: &str) -> Option<&Arc<Source>> {
        self.components.get(component)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.components.values()
    }

    /// The access to a registry; none for a registry that the manifest does not name.
    pub(crate) fn registry(&self, name: &RegistryName) -> Option<Arc<Access>> {
        self.registries.get(name).cloned()
    }
}

impl Source {
    /// Reads or pulls the component, verifies and compiles it. Takes up to minutes.
    pub(crate) fn load(&self, sandbox: &Sandbox, puller: &Puller) -> Result<Arc<Component>> {
        let (bytes, proof) = self.read(sandbox, puller)?;
        self.prepare(sandbox, self.origin.to_string().as_ref(), &bytes, &proof, Asking::Operator, None)
    }

    /// Verifies and compiles bytes that were read, or returns `known` where it has the same bytes.
    pub(crate) fn prepare(
        &self,
        sandbox: &Sandbox,
        label: &Path,
        bytes: &[u8],
        proof: &Proof,
        asking: Asking,
        known: Option<&Arc<Component>>,
    ) -> Result<Arc<Component>> {
        self.verify(label.display(), bytes, proof)?;
        let tenant = self.tenant.as_deref().filter(|_| asking == Asking::Tenant);
        Ok(Component::from_bytes(sandbox, bytes, label, Whose { component: &self.name, tenant }, known)?)
    }

    /// Reads or pulls the bytes, with their proof. They are not verified.
    pub(crate) fn read(&self, sandbox: &Sandbox, puller: &Puller) -> Result<(Vec<u8>, Proof)> {
        Ok(match &self.origin {
            Origin::File(path) => (Component::read(sandbox, path, path)?, self.beside(path)?),
            Origin::Registry(reference) => self.pull(puller, reference, &self.access)?,
        })
    }

    /// Pulls a component from a registry, with its proof of origin. They are not verified.
    pub(crate) fn pull(&self, puller: &Puller, reference: &OciReference, access: &Access) -> Result<(Vec<u8>, Proof)> {
        let name = Reference {
            registry: reference.registry.to_string(),
            repository: reference.repository.clone(),
            tag: reference.tag.clone(),
            digest: reference.digest.clone(),
        };
        // A kept component may have been signed again since.
        let accepts = |pulled: &Pulled| self.verify(reference, &pulled.component, &Proof::of(pulled)).is_ok();
        let pulled = puller.pull(&name, access, self.keys.is_some(), accepts)?;
        let proof = Proof::of(&pulled);
        Ok((pulled.component, proof))
    }

    /// Checks that bytes are signed as this component must be. Errors name `label`.
    pub(crate) fn verify(&self, label: impl fmt::Display, bytes: &[u8], proof: &Proof) -> Result<(), Unsigned> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let label = label.to_string();
        let missing = |fix| Err(Unsigned::Missing(label.clone(), self.name.clone(), fix));
        let is_signed = match proof {
            Proof::None => return missing(SIGN_IT),
            Proof::Image { claims, .. } if claims.is_empty() => return missing(SIGN_IMAGE),
            Proof::Image { manifest, claims } => {
                let is_of_manifest =
                    component_layer(manifest.as_bytes()).is_ok_and(|layer| layer.digest == sha256(bytes));
                let digest = format!("sha256:{}", sha256(manifest.as_bytes()));
                is_of_manifest && claims.iter().any(|claim| is_signed(keys, claim, &digest))
            }
            Proof::Signature(text) => {
                let signature: Signature = text.parse().map_err(|error| Unsigned::Malformed(label.clone(), error))?;
                keys.verify(bytes, &signature).is_ok()
            }
        };
        if is_signed { Ok(()) } else { Err(Unsigned::Wrong(label, self.name.clone())) }
    }

    /// Whether another source asks for the same signatures.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        self.keys == other.keys
    }

    /// Reads the signature beside a file, where a signature is required.
    fn beside(&self, path: &Path) -> Result<Proof> {
        if self.keys.is_none() {
            return Ok(Proof::None);
        }
        let path = signature_of(path);
        Ok(read_signature(&path)?.map_or(Proof::None, Proof::Signature))
    }
}

const SIGN_IT: &str = "put its signature beside it, in FILE.sig, which `roadrunner deploy` sends along";
const SIGN_IMAGE: &str = "`cosign sign` leaves its signature in the registry";

impl Proof {
    fn of(pulled: &Pulled) -> Self {
        Self::Image { manifest: pulled.manifest.clone(), claims: pulled.claims.clone() }
    }
}

/// The path of a file's signature: `FILE.sig`.
pub(crate) fn signature_of(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Reads the text of a signature file; none where there is no file.
pub(crate) fn read_signature(path: &Path) -> Result<Option<String>> {
    let failed = || format!("cannot read the signature {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(failed)?,
    };
    let mut text = String::new();
    file.take(MAX_SIGNATURE as u64 + 1).read_to_string(&mut text).with_context(failed)?;
    Ok(Some(text))
}

/// Whether one of the keys has signed a payload that names this manifest.
fn is_signed(keys: &Keys, claim: &Claim, digest: &str) -> bool {
    let Ok(signature) = claim.signature.parse() else { return false };
    let names_it = |payload: Payload| payload.critical.kind == PAYLOAD && payload.critical.image.digest == digest;
    // The payload is read only after its signature is verified.
    keys.verify(claim.payload.as_bytes(), &signature).is_ok()
        && serde_json::from_str(&claim.payload).is_ok_and(names_it)
}

/// The payload that cosign signs: "simple signing" of containers/image.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Builds the access to a registry.
fn access(manifest: &Manifest, name: &RegistryName, registry: &manifest::Registry) -> Result<Access> {
    let user = match &registry.user {
        Some((user, secret)) => {
            let place = manifest.secrets.get(secret.as_str()).context("the manifest was checked")?;
            let secret = secrets::read_one(secret, place)?;
            let password = std::str::from_utf8(secret.expose());
            let password = password.with_context(|| format!("the password for the registry {name} is not text"))?;
            Some(User { name: user.clone(), password: password.to_owned().into() })
        }
        None => None,
    };
    let authorities = registry.authorities.as_deref().map(authorities).transpose()?;
    Ok(Access { user, authorities, plaintext: registry.plaintext, timeout: registry.timeout })
}

fn authorities(path: &Path) -> Result<String> {
    let failed = || format!("cannot read the authorities in {}", path.display());
    let mut text = String::new();
    File::open(path).with_context(failed)?.take(MAX_AUTHORITIES).read_to_string(&mut text).with_context(failed)?;
    ensure!(text.contains("-----BEGIN CERTIFICATE-----"), "{} has no certificate in PEM", path.display());
    Ok(text)
}
