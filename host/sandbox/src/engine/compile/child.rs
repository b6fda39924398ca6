//! The compiler's own process: bytes in, compiled code out, and nothing else.
//!
//! The process runs this program with the arguments of a [`CompileOrder`]. Standard input is the component, to its end;
//! standard output is the compiled code; standard error is the reason when there is no code.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use roadrunner_child::Bounds;
use wasmtime::Engine;

use super::{census, confine};
use crate::engine::config::{Wasi, compiler_config, fingerprint};

/// The exit code of a compiler that rejects its component.
pub(super) const REJECTED: i32 = 1;

/// The exit code of a compiler that could not be confined.
pub(super) const NOT_CONFINED: i32 = 2;

/// The instructions for a compiler, in addition to the component.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompileOrder {
    /// The bounds of the compiler.
    pub bounds: Bounds,
    /// The settings of the engine that will run the code, as a hash. The engine would refuse code made with other
    /// settings.
    pub fingerprint: u64,
}

impl CompileOrder {
    /// Converts the order to arguments, for [`Self::parse`].
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = self.bounds.arguments().to_vec();
        arguments.push(self.fingerprint.to_string());
        arguments
    }

    /// Parses an order from its arguments; none when they are not an order.
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let (bounds, [fingerprint]) = Bounds::parse(arguments)? else { return None };
        Some(Self { bounds, fingerprint: fingerprint.parse().ok()? })
    }

    /// Carries out the order, as the only task of the process, after giving up everything else. Call it before the
    /// program has opened anything or started a thread.
    pub fn run(&self) -> ExitCode {
        let (code, reason) = match self.confined() {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failure::NotConfined(reason)) => (NOT_CONFINED, reason),
            Err(Failure::Rejected(reason)) => (REJECTED, reason),
        };
        // If the pipe is gone, nobody is there to read the reason.
        let _ = io::stderr().write_all(reason.as_bytes());
        ExitCode::from(code as u8)
    }

    fn confined(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::NotConfined(error.to_string());
        self.bounds.apply().map_err(failed)?;
        let (engine, wasi) = self.engine().map_err(Failure::NotConfined)?;
        // No input from outside has been read so far.
        confine::filter_calls().map_err(failed)?;
        let rejected = |error: &dyn std::fmt::Display| Failure::Rejected(error.to_string());
        let mut wasm = Vec::new();
        io::stdin().lock().read_to_end(&mut wasm).map_err(|error| rejected(&error))?;
        census::check(&wasm).map_err(|error| rejected(&error))?;
        let wasm = restorable(wasm, wasi);
        let code = engine.precompile_component(&wasm).map_err(|error| Failure::Rejected(format!("{error:#}")))?;
        drop(wasm);
        let mut out = io::stdout().lock();
        out.write_all(&code).and_then(|()| out.flush()).map_err(|error| rejected(&error))
    }

    /// Creates the engine that has the ordered settings.
    fn engine(&self) -> Result<(Engine, Wasi), String> {
        for wasi in [Wasi::Preview2, Wasi::Preview3] {
            let engine = Engine::new(&compiler_config(wasi)).map_err(|error| error.to_string())?;
            if fingerprint(&engine) == self.fingerprint {
                return Ok((engine, wasi));
            }
        }
        Err("its engine is not the host's: is the program another one?".into())
    }
}

/// The component with what is needed to restore its instances, where that is possible.
pub(crate) fn restorable(wasm: Vec<u8>, wasi: Wasi) -> Vec<u8> {
    match wasi {
        Wasi::Preview2 => roadrunner_restore::rewrite(&wasm).unwrap_or(wasm),
        // Tasks of a guest of WASI 0.3 live in the engine.
        Wasi::Preview3 => wasm,
    }
}

enum Failure {
    NotConfined(String),
    Rejected(String),
}
