//! Sections about what the host keeps for components: secrets, and stores of keys and values.

use crate::decode::section;
use crate::scalar::units::{GIB, HOUR, KIB, MIB};
use crate::scalar::{Bytes, Count, FilePath, RedisUrl, SecretName, Time, Variable};

section! {
    /// A secret: bytes that only the components see that it is granted to. It is read when the host starts and when the
    /// manifest is loaded again. Exactly one of the keys says where it is.
    pub(crate) struct SecretSection {
        /// A file of at most 64 KiB. It belongs to the user of the host or to root, its group may read it and not write
        /// it, and others may do neither. A line break at the end of a text is not part of the secret.
        file: FilePath;
        /// A variable of the host's environment.
        env: Variable;
    }
}

section! {
    /// A store of keys and values. Exactly one of `path`, `memory` and `url` says where it is. Each component that it is
    /// granted to sees keys of its own.
    pub(crate) struct StoreSection {
        /// A file, made if it is not there, in a folder that is. No other process can have it open. What was
        /// acknowledged to a guest is on the disk.
        path: FilePath;
        /// Whether it is in the host's memory, and gone when the host ends.
        memory: bool = "false";
        /// A Redis server: `redis://`, `rediss://` for TLS, or `redis+unix:///PATH`, without a password.
        url: RedisUrl;
        /// The secret that the host authenticates with at the Redis server.
        password: SecretName;
        /// Whether all components of a tenant that it is granted to, and all without one, see the same keys.
        shared: bool = "false";
        /// Keys and values of all components together, and 64 bytes for each key, in a file or in memory. Over it,
        /// nothing is added. A file can be up to some three times as large.
        size: Bytes<{ 4 * KIB }, { 1024 * GIB }> = "\"64MiB\"";
        /// One key.
        key_size: Bytes<1, { 4 * KIB }> = "\"512B\"";
        /// One value.
        value_size: Bytes<1, { 64 * MIB }> = "\"1MiB\"";
        /// Operations at once of one component. More wait.
        operations: Count<1, 10_000> = "64";
        /// How long an operation may take, with the wait for its place.
        timeout: Time<1, { HOUR }> = "\"1s\"";
    }
}
