//! The reasons why a component is not deployed.

use http::StatusCode;

use super::store::StoreError;
use crate::access::Caller;
use crate::orders::OrderError;

/// The reason why a component was not deployed. The serving version stays.
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
    #[error("the component {0} serves what it had before anything was deployed, and there is nothing to go back to")]
    NothingBefore(String),
    #[error(
        "of what the component {0} had before anything was deployed, no copy was kept: deploy the version that you want"
    )]
    NotKept(String),
    #[error("the component {0} has no such version")]
    NoVersion(String),
    #[error("nothing can be deployed here: set `directory` in [deploy]")]
    Off,
    #[error(
        "the manifest does not name the registry {0}: add [registry.\"{0}\"] to let components be deployed from there"
    )]
    Registry(String),
    #[error("a tenant can have {0} pulled from the repository that its `file` names alone")]
    Repository(String),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the component is larger than {0} bytes (`max-wasm` in [compile])")]
    TooLarge(u64),
    #[error("the tenant may have {0} bytes of versions (`deployed-bytes` in its quota), and this is more; remove some")]
    QuotaExceeded(u64),
    #[error(
        "the tenant may have {0} bytes of compiled code (`compiled-bytes` in its quota), and this is more; remove some \
         versions"
    )]
    CodeExceeded(u64),
    #[error("not switched, and what was before keeps serving: {0}")]
    NotSwitched(#[from] OrderError),
}

impl Refusal {
    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Cut => StatusCode::BAD_REQUEST,
            Self::Busy(_) | Self::Current | Self::NothingBefore(_) | Self::NotKept(_) => StatusCode::CONFLICT,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Registry(_) | Self::Repository(_) => StatusCode::FORBIDDEN,
            Self::NoComponent(_) | Self::NoVersion(_) | Self::Off => StatusCode::NOT_FOUND,
            Self::Store(_) | Self::NotSwitched(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::QuotaExceeded(_) | Self::CodeExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// The message for a caller. Some errors may name paths and other tenants, so a tenant gets a general message for
    /// them.
    pub(crate) fn told(&self, caller: &Caller) -> String {
        match self {
            Self::Store(_) | Self::NotSwitched(_) if caller.tenant().is_some() => {
                "not switched, and what was before keeps serving; the host's log says why".to_owned()
            }
            refusal => refusal.to_string(),
        }
    }
}
