//! The compiler's own process: bytes in, compiled code out, and nothing else.
//!
//! It is started as this program with the arguments of a [`CompileOrder`]. Standard input is the component, to its end;
//! standard output is the compiled code; standard error is the reason when there is none.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use roadrunner_child::Bounds;
use wasmtime::Engine;

use super::{census, confine};
use crate::engine::{self, Wasi};

/// The exit code of a compiler that rejects its component.
pub(super) const REJECTED: i32 = 1;

/// The exit code of a compiler that could not be confined.
pub(super) const NOT_CONFINED: i32 = 2;

/// What a compiler is told beside the component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompileOrder {
    /// What it may use.
    pub bounds: Bounds,
    /// The settings of the engine that will run the code, as a hash. Other settings would make code that it refuses.
    pub fingerprint: u64,
}

impl CompileOrder {
    /// The order as arguments, for [`Self::parse`].
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.bounds.arguments().to_vec();
        arguments.push(self.fingerprint.to_string());
        arguments
    }

    /// An order from its arguments; none when they are something else.
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let (bounds, [fingerprint]) = Bounds::parse(arguments)? else { return None };
        Some(Self { bounds, fingerprint: fingerprint.parse().ok()? })
    }

    /// Does what was ordered, and is all that the process does: it gives up everything else first. To be called before
    /// the program has opened anything or started a thread.
    pub fn run(&self) -> ExitCode {
        let (code, reason) = match self.confined() {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failure::NotConfined(reason)) => (NOT_CONFINED, reason),
            Err(Failure::Rejected(reason)) => (REJECTED, reason),
        };
        // With a pipe that is gone there is nobody to tell.
        let _ = io::stderr().write_all(reason.as_bytes());
        ExitCode::from(code as u8)
    }

    fn confined(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::NotConfined(error.to_string());
        self.bounds.apply().map_err(failed)?;
        let engine = self.engine().map_err(Failure::NotConfined)?;
        // Nothing that was read from outside has been looked at so far.
        confine::filter_calls().map_err(failed)?;
        let rejected = |error: &dyn std::fmt::Display| Failure::Rejected(error.to_string());
        let mut wasm = Vec::new();
        io::stdin().lock().read_to_end(&mut wasm).map_err(|error| rejected(&error))?;
        census::check(&wasm).map_err(|error| rejected(&error))?;
        let code = engine.precompile_component(&wasm).map_err(|error| Failure::Rejected(format!("{error:#}")))?;
        drop(wasm);
        let mut out = io::stdout().lock();
        out.write_all(&code).and_then(|()| out.flush()).map_err(|error| rejected(&error))
    }

    /// The engine that has the ordered settings.
    fn engine(&self) -> Result<Engine, String> {
        for wasi in [Wasi::Preview2, Wasi::Preview3] {
            let engine = Engine::new(&engine::compiler_config(wasi)).map_err(|error| error.to_string())?;
            if fingerprint(&engine) == self.fingerprint {
                return Ok(engine);
            }
        }
        Err("its engine is not the host's: is the program another one?".into())
    }
}

enum Failure {
    NotConfined(String),
    Rejected(String),
}

/// What tells engines apart whose code is not interchangeable.
pub(crate) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
