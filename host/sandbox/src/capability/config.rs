//! Values of the manifest that a component can read.

use std::collections::BTreeMap;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::bindings::roadrunner::handler::config;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of};

/// The capability `config`.
pub struct Config;

impl Capability for Config {
    type Grant = BTreeMap<String, String>;
    type Held = ();

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        config::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl config::Host for Call<'_, Config> {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        Ok(self.grant.get(&key).cloned())
    }

    fn entries(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.grant.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
