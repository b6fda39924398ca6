//! What the host keeps for components: secrets, and stores of keys and values.

use std::path::PathBuf;
use std::time::Duration;

use crate::scalar::SecretName;

/// `[secret]`: where one is. What it is stands in no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A variable of the host's environment.
    Environment(String),
    /// A file.
    File(PathBuf),
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where it keeps what it is given.
    pub place: StorePlace,
    /// Whether all components that it is granted to see the same keys.
    pub shared: bool,
    /// Bytes of a key.
    pub key_size: u64,
    /// Bytes of a value.
    pub value_size: u64,
    /// Operations at once of one component.
    pub operations: u32,
    /// How long an operation may take.
    pub timeout: Duration,
}

/// Where a store keeps what it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A file.
    File {
        /// Where it is; no two stores have the same.
        path: PathBuf,
        /// Bytes of keys and values.
        size: u64,
    },
    /// The host's memory.
    Memory {
        /// Bytes of keys and values.
        size: u64,
    },
    /// A Redis server.
    Redis {
        /// Its URL, without a password.
        url: String,
        /// What to authenticate with.
        password: Option<SecretName>,
    },
}
