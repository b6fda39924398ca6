//! Claimed signatures.

use serde::{Deserialize, Serialize};

/// A claimed signature of a manifest, in cosign's form.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claim {
    /// The signed payload: JSON that names the manifest.
    pub payload: String,
    /// The signature, in base64.
    pub signature: String,
}
