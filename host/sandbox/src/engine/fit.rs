//! Reasons why a component has no room in the engine's pools, and the remedies.
//!
//! The engine says only in words which part of a component is too large. A manifest can set only one of these limits;
//! advice about the others would lead nowhere.

use wasmtime::Error;

/// The part of a component that does not fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfit {
    /// The memory at its start, which is more than any route allows.
    Memory,
    /// Something that nobody can set, with the remedy.
    Fixed(&'static str),
}

/// The engine's words for each part, and the remedy.
const SAYINGS: [(&str, Unfit); 8] = [
    ("minimum byte size", Unfit::Memory),
    ("defined memories count", Unfit::Fixed("a core module can have one memory here: build it without multi-memory")),
    ("defined tables count", Unfit::Fixed("a core module can have one table here")),
    (
        "minimum element size",
        Unfit::Fixed(
            "a table can have 20000 elements, which are functions that are called by pointer: link fewer of them",
        ),
    ),
    (
        "instance size does not fit",
        Unfit::Fixed(
            "the engine keeps 1 MiB for functions, globals and imports of an instance, which no limit of the manifest \
             changes: link less into the component, drop exports that nobody calls (wasm-opt, --gc-sections), or \
             make two components of it",
        ),
    ),
    ("core module instances", Unfit::Fixed("merge its modules, or make two components of it")),
    ("Wasm linear memories", Unfit::Fixed("let its parts share a memory, or make two components of it")),
    ("tables, which exceeds", Unfit::Fixed("let its parts share a table, or make two components of it")),
];

/// Returns the part that does not fit, if the error says that the component compiled but the pools have no room for it.
pub(crate) fn unfit(error: &Error) -> Option<Unfit> {
    let text = format!("{error:#}");
    if !text.contains("pooling allocator") {
        return None;
    }
    SAYINGS.into_iter().find_map(|(saying, unfit)| text.contains(saying).then_some(unfit))
}
