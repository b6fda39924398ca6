//! A core module becomes a component.
//!
//! Compilers of C and of most other languages make core modules. One that was linked with bindings of
//! [`roadrunner:handler`](../../../wit/handler.wit) carries the type of the component that it is meant to be, in a custom
//! section whose name begins with `component-type`; [`componentize`] wraps it accordingly. Imports that the program does
//! not use are left out.
//!
//! What a module imports of WASI 0.1 is joined with the adapter of the engine's makers, which makes WASI 0.2 of it. The C
//! SDK has those functions of its own that most programs need, so that few of its modules take it.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

/// Why a module cannot become a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// The input is a component already.
    #[error("it is a component already")]
    Component,
    /// The encoder's reason: a missing export, a wrong type, an import that the contract does not have.
    #[error("{0}")]
    Encoder(String),
    /// The input does not begin as WebAssembly does.
    #[error("it is no WebAssembly module")]
    NoModule,
    /// The module does not say what component it is meant to be.
    #[error("it has no section `component-type`: link it with the bindings of an SDK, or of wit-bindgen")]
    Untyped,
}

/// The component that a core module is meant to be, validated.
///
/// # Errors
/// When the input is none, or does not import and export what its type says.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    // Magic number, then version and layer (Core Specification, 5.5.16; Component Model, Binary).
    match module.get(..8) {
        Some([b'\0', b'a', b's', b'm', 1, 0, 0, 0]) => {}
        Some([b'\0', b'a', b's', b'm', _, _, 1, 0]) => return Err(ComponentizeError::Component),
        _ => return Err(ComponentizeError::NoModule),
    }
    if !mentions(module, MARK) {
        return Err(ComponentizeError::Untyped);
    }
    // One that is not needed would still have its say in which versions of WASI are imported.
    let needs_adapter = mentions(module, WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME.as_bytes());
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(module)
        .and_then(|encoder| match needs_adapter {
            true => encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER),
            false => Ok(encoder),
        })
        .and_then(ComponentEncoder::encode)
        .map_err(|error| ComponentizeError::Encoder(format!("{error:#}")))
}

fn mentions(module: &[u8], text: &[u8]) -> bool {
    module.windows(text.len()).any(|window| window == text)
}

/// What the names of the sections begin with that say what component a module is meant to be.
const MARK: &[u8] = b"component-type";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused_with_the_reason() {
        for input in [&b""[..], b"\0asm", b"#include <stdio.h>"] {
            assert!(matches!(componentize(input), Err(ComponentizeError::NoModule)), "{input:?}");
        }
        assert!(matches!(componentize(b"\0asm\x0d\0\x01\0"), Err(ComponentizeError::Component)));
        assert!(matches!(componentize(b"\0asm\x01\0\0\0"), Err(ComponentizeError::Untyped)));
    }

    #[test]
    fn a_damaged_module_is_refused_and_does_not_panic() {
        let mut module = b"\0asm\x01\0\0\0\0\x14\x0ecomponent-type".to_vec();
        module.extend_from_slice(b"12345");
        assert!(matches!(componentize(&module), Err(ComponentizeError::Encoder(_))));
    }
}
