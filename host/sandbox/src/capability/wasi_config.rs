//! The standard's `wasi:config/store`: the same values as [`super::config`], for guests that know no other contract.

use std::collections::BTreeMap;
use std::fmt;

use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables, add_to_linker};

use crate::engine::Wasi;
use crate::guest::core::{Capability, Carries};

/// The capability `wasi:config`.
pub struct StandardConfig;

/// The values that a component can read.
#[derive(Default)]
pub struct Variables(WasiConfigVariables);

impl From<&BTreeMap<String, String>> for Variables {
    fn from(values: &BTreeMap<String, String>) -> Self {
        Self(values.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").finish_non_exhaustive()
    }
}

impl Capability for StandardConfig {
    type Grant = Variables;
    type Held = ();

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        add_to_linker(linker, |state: &mut T| WasiConfig::new(&state.call().grant.0))
    }
}
