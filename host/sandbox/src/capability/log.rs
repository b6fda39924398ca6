//! Lines that a guest writes to the host's log.

use roadrunner_account::{LogLevel, write};
use wasmtime::Result;
use wasmtime::component::Linker;

use crate::bindings::roadrunner::handler::log;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of};

/// The capability `log`.
pub struct Log;

impl Capability for Log {
    type Grant = ();
    type Held = ();

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        log::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl log::Host for Call<'_, Log> {
    fn log(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Trace => LogLevel::Trace,
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        write(&self.core.meter, level, &message);
        Ok(())
    }
}
