//! One request to a registry, in a separate process: an order comes in, bytes go out.
//!
//! Standard input is an [`Order`] in JSON, to its end. Standard output is the fetched content. If there is none,
//! standard error is the reason, and the exit code gives its kind ([`Failure`]). The process applies its [`Bounds`]
//! before it reads anything. Unlike a compiler, it opens sockets, and the files for resolving names.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use roadrunner_child::Bounds;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::artifact::{INDEXES, MANIFESTS};

/// Memory that the process may write to, in bytes.
pub(crate) const MEMORY: u64 = 256 << 20;

/// The CPU time of the process: many times what TLS and hashing need for the largest component.
const CPU: Duration = Duration::from_secs(60);

/// Descriptors of the process: pipes, sockets, an event loop, and the files of the resolver.
const DESCRIPTORS: u64 = 64;

/// The bounds of the process.
pub(crate) fn bounds() -> Bounds {
    let parent = std::process::id();
    Bounds { memory: MEMORY, cpu_seconds: CPU.as_secs(), descriptors: DESCRIPTORS, parent }
}

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The largest order, in bytes, most of which are certificates of authorities.
const MAX_ORDER: u64 = 2 << 20;

/// An order to fetch something.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) what: What,
    /// The most bytes to fetch.
    pub(crate) most: u64,
    pub(crate) access: Access,
}

/// An item in a repository.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum What {
    /// A blob, by `sha256:HEX`.
    Blob(String),
    /// A manifest, by `sha256:HEX`.
    Digest(String),
    /// A manifest, by its tag.
    Tag(String),
}

/// Why the fetch failed. The numbers are exit codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Failure {
    Other = 1,
    Denied = 10,
    NotFound = 11,
    TooLarge = 12,
    Unreachable = 13,
}

impl Failure {
    /// The failure of an exit code.
    pub(crate) fn of(code: Option<i32>) -> Self {
        let known = [Self::Denied, Self::NotFound, Self::TooLarge, Self::Unreachable];
        known.into_iter().find(|known| Some(i32::from(*known as u8)) == code).unwrap_or(Self::Other)
    }
}

/// Fetches the order on standard input, within the bounds in the arguments, as the whole run of the process. Call it
/// before the program has opened anything or started a thread.
pub fn fetch(arguments: &[String]) -> ExitCode {
    match bounded(arguments).and_then(|()| ordered()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((failure, reason)) => {
            // If the pipe is gone, nobody can be told.
            let _ = io::stderr().write_all(reason.as_bytes());
            ExitCode::from(failure as u8)
        }
    }
}

type Failed = (Failure, String);

fn bounded(arguments: &[String]) -> Result<(), Failed> {
    let (bounds, []) = Bounds::parse(arguments).ok_or_else(|| other("this command is the host's own"))? else {
        return Err(other("this command is the host's own"));
    };
    bounds.apply().map_err(other)
}

fn ordered() -> Result<(), Failed> {
    let mut text = Zeroizing::new(Vec::new());
    io::stdin().lock().take(MAX_ORDER).read_to_end(&mut text).map_err(other)?;
    let order: Order = serde_json::from_slice(&text).map_err(other)?;
    // A second provider is refused, which cannot happen here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(other)?;
    let timeout = order.access.timeout;
    let fetched = runtime.block_on(async { tokio::time::timeout(timeout, answer(&order)).await });
    // Do not wait for a thread that still resolves a name.
    runtime.shutdown_background();
    fetched.unwrap_or_else(|_| {
        let reason = format!("it has not answered in full within {timeout:?} (`timeout` in [registry])");
        Err((Failure::Unreachable, reason))
    })
}

async fn answer(order: &Order) -> Result<(), Failed> {
    let client = Client::try_from(config(&order.access)?).map_err(failed)?;
    let (registry, repository) = (order.registry.clone(), order.repository.clone());
    let reference = match &order.what {
        What::Blob(digest) | What::Digest(digest) => Reference::with_digest(registry, repository, digest.clone()),
        What::Tag(tag) => Reference::with_tag(registry, repository, tag.clone()),
    };
    let user = match &order.access.user {
        Some(user) => RegistryAuth::Basic(user.name.clone(), user.password.to_string()),
        None => RegistryAuth::Anonymous,
    };
    client.auth(&reference, &user, RegistryOperation::Pull).await.map_err(failed)?;
    let mut out = io::stdout().lock();
    let too_large = || (Failure::TooLarge, String::new());
    match &order.what {
        What::Blob(digest) => {
            let mut blob = client.pull_blob_stream(&reference, digest.as_str()).await.map_err(failed)?.stream;
            let mut left = order.most;
            while let Some(piece) = blob.try_next().await.map_err(interrupted)? {
                left = left.checked_sub(piece.len() as u64).ok_or_else(too_large)?;
                out.write_all(&piece).map_err(other)?;
            }
        }
        What::Digest(_) | What::Tag(_) => {
            let accepted = [MANIFESTS, INDEXES].concat();
            let (manifest, _) = client.pull_manifest_raw(&reference, &user, &accepted).await.map_err(failed)?;
            if manifest.len() as u64 > order.most {
                return Err(too_large());
            }
            out.write_all(&manifest).map_err(other)?;
        }
    }
    out.flush().map_err(other)
}

fn config(access: &Access) -> Result<ClientConfig, Failed> {
    let authorities: Result<Vec<_>, _> = match &access.authorities {
        Some(pem) => CertificateDer::pem_slice_iter(pem.as_bytes()).collect(),
        None => Ok(TLS_SERVER_ROOT_CERTS.to_vec()),
    };
    let authorities = authorities.map_err(|error| other(format!("its `ca-file`: {error}")))?;
    let authority = |der: &CertificateDer<'_>| Certificate { encoding: CertificateEncoding::Der, data: der.to_vec() };
    Ok(ClientConfig {
        protocol: if access.plaintext { ClientProtocol::Http } else { ClientProtocol::Https },
        tls_certs_only: authorities.iter().map(authority).collect(),
        connect_timeout: Some(CONNECT),
        user_agent: concat!("roadrunner/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

/// Classifies an error of the client.
fn failed(error: OciDistributionError) -> Failed {
    use OciErrorCode::{BlobUnknown, Denied, ManifestUnknown, NameUnknown, NotFound, Unauthorized};
    let failure = match &error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            Failure::Denied
        }
        OciDistributionError::ImageManifestNotFoundError(_) => Failure::NotFound,
        OciDistributionError::RegistryError { envelope, .. } => {
            let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
            match envelope {
                _ if has(&[ManifestUnknown, NameUnknown, BlobUnknown, NotFound]) => Failure::NotFound,
                _ if has(&[Unauthorized, Denied]) => Failure::Denied,
                _ => Failure::Other,
            }
        }
        OciDistributionError::RequestError(_) => Failure::Unreachable,
        OciDistributionError::ServerError { code: 401 | 403, .. } => Failure::Denied,
        OciDistributionError::ServerError { code: 404, .. } => Failure::NotFound,
        OciDistributionError::ServerError { code: 500.., .. } => Failure::Unreachable,
        _ => Failure::Other,
    };
    (failure, chain(&error))
}

fn interrupted(error: io::Error) -> Failed {
    (Failure::Unreachable, chain(&error))
}

fn other(error: impl std::fmt::Display) -> Failed {
    (Failure::Other, error.to_string())
}

/// An error with its causes, each of them once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        cause = error.source();
    }
    text
}
