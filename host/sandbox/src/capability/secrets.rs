//! Secrets that a component is granted.
//!
//! The value of a secret leaves this module only into the memory of a guest that asks for it by name. It is in no log,
//! no error, no metric and no `Debug`, and is overwritten when the host forgets it. The host does not prevent a guest
//! from leaking it afterwards, for example by logging it; the guest's memory is made fresh like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use roadrunner_account::Outcome;
use wasmtime::Result;
use wasmtime::component::Linker;
use zeroize::Zeroizing;

use crate::bindings::roadrunner::handler::secrets;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of, Stop};

/// Secret bytes. Cheap to clone; the last clone overwrites them.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes the bytes, which should exist nowhere else.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(bytes))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The secrets of one component, by name.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// The capability `secrets`.
pub struct SecretStore;

impl Capability for SecretStore {
    type Grant = Secrets;
    type Held = ();

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        secrets::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl secrets::Host for Call<'_, SecretStore> {
    fn get(&mut self, name: String) -> Result<Option<Vec<u8>>> {
        let Some(secret) = self.grant.0.get(&name) else { return Ok(None) };
        // The engine has a copy of its own until the guest has the secret; the copy is bounded, as secrets are.
        let bytes = secret.expose();
        if (bytes.len() as u64) > self.core.memory.left() {
            return Err(Stop(Outcome::MemoryExceeded).into());
        }
        Ok(Some(bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_no_more_than_the_name() {
        let secret = Secret::new(Zeroizing::new(b"hunter2".to_vec()));
        let secrets: Secrets = [("password".to_owned(), secret)].into_iter().collect();
        assert_eq!(format!("{secrets:?}"), "Secrets({\"password\": Secret})");
    }
}
