//! Turns a core module into a component.
//!
//! Compilers of C and of most other languages make core modules. A module that was linked with bindings of
//! [`roadrunner:handler`](../../../wit/handler.wit) carries its intended component type, in a custom section whose name
//! begins with `component-type`; [`componentize`] wraps it accordingly. Unused imports are left out.
//!
//! A module's imports of WASI 0.1 are satisfied by the adapter from the engine's makers, which maps them to WASI 0.2.
//! The C SDK has its own versions of those functions that most programs need, so that few of its modules use the
//! adapter.

#![forbid(unsafe_code)]

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

/// Why a module cannot become a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// The input is already a component.
    #[error("it is a component already")]
    Component,
    /// The encoder's reason: a missing export, a wrong type, an import that is not in the contract.
    #[error("{0}")]
    Encoder(String),
    /// The input does not begin like WebAssembly.
    #[error("it is no WebAssembly module")]
    NoModule,
    /// The module does not name its component type.
    #[error("it has no section `component-type`: link it with the bindings of an SDK, or of wit-bindgen")]
    Untyped,
}

/// Makes the component that a core module is meant to be, and validates it.
///
/// # Errors
/// When the input is not such a module, or does not import and export what its type says.
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
    // An unneeded adapter would still affect which versions of WASI are imported.
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

/// The prefix of the names of sections that hold a component type.
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
