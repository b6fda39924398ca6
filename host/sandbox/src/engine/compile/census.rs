//! Bounds on the number of items in a component, counted over all its nested parts together before it is validated.
//!
//! The engine has limits of its own for most of this. These bounds are far lower, and far above the output of
//! toolchains. They limit the memory that a compiler allocates before it compiles anything.

use wasmparser::{Parser, Payload};

/// Core and component types.
const TYPES: u64 = 200_000;

/// Core functions with code.
const FUNCTIONS: u64 = 500_000;

/// Core and component instances.
const INSTANCES: u64 = 10_000;

/// Core modules, and components inside the component.
const PARTS: u64 = 1000;

/// Imports, exports and aliases.
const NAMES: u64 = 1_000_000;

/// Components inside components.
const NESTING: u64 = 16;

/// The reason why a component is not compiled.
#[derive(Debug, thiserror::Error)]
pub(super) enum CensusError {
    #[error("it has more than {1} {0}")]
    TooMany(&'static str, u64),
    #[error("{0}")]
    Malformed(#[from] wasmparser::BinaryReaderError),
}

/// Counts the items, and checks them against the bounds.
pub(super) fn check(wasm: &[u8]) -> Result<(), CensusError> {
    let mut types = Count::new("types", TYPES);
    let mut functions = Count::new("functions", FUNCTIONS);
    let mut instances = Count::new("instances", INSTANCES);
    let mut parts = Count::new("modules and components", PARTS);
    let mut names = Count::new("imports, exports and aliases", NAMES);
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                parts.add(1)?;
                depth += 1;
                if depth > NESTING {
                    return Err(CensusError::TooMany("levels of nesting", NESTING));
                }
            }
            // The end of the outermost component is the last payload.
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::TypeSection(section) => types.add(section.count())?,
            Payload::CoreTypeSection(section) => types.add(section.count())?,
            Payload::ComponentTypeSection(section) => types.add(section.count())?,
            Payload::FunctionSection(section) => functions.add(section.count())?,
            Payload::ComponentCanonicalSection(section) => functions.add(section.count())?,
            Payload::InstanceSection(section) => instances.add(section.count())?,
            Payload::ComponentInstanceSection(section) => instances.add(section.count())?,
            Payload::ImportSection(section) => names.add(section.count())?,
            Payload::ComponentImportSection(section) => names.add(section.count())?,
            Payload::ExportSection(section) => names.add(section.count())?,
            Payload::ComponentExportSection(section) => names.add(section.count())?,
            Payload::ComponentAliasSection(section) => names.add(section.count())?,
            _ => {}
        }
    }
    Ok(())
}

struct Count {
    what: &'static str,
    left: u64,
    most: u64,
}

impl Count {
    fn new(what: &'static str, most: u64) -> Self {
        Self { what, left: most, most }
    }

    fn add(&mut self, count: u32) -> Result<(), CensusError> {
        self.left = self.left.checked_sub(u64::from(count)).ok_or(CensusError::TooMany(self.what, self.most))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![id];
        let mut length = content.len();
        loop {
            let more = length > 0x7f;
            bytes.push((length & 0x7f) as u8 | if more { 0x80 } else { 0 });
            length >>= 7;
            if !more {
                break;
            }
        }
        bytes.extend_from_slice(content);
        bytes
    }

    fn nested(levels: u64) -> Vec<u8> {
        (0..levels).fold(COMPONENT.to_vec(), |inner, _| [&COMPONENT[..], &section(4, &inner)].concat())
    }

    #[test]
    fn nesting_is_bounded() {
        check(&nested(NESTING)).expect("within the bound");
        let error = check(&nested(NESTING + 1)).expect_err("over the bound").to_string();
        assert_eq!(error, "it has more than 16 levels of nesting");
        // The engine's own parser is never called for nesting that is deeper than any stack.
        assert!(check(&nested(10_000)).is_err());
    }

    #[test]
    fn parts_are_counted_over_all_sections() {
        let parts = |count: u64| {
            let part = section(4, &COMPONENT);
            [COMPONENT.to_vec(), part.repeat(count as usize)].concat()
        };
        check(&parts(PARTS)).expect("within the bound");
        let error = check(&parts(PARTS + 1)).expect_err("over the bound").to_string();
        assert_eq!(error, "it has more than 1000 modules and components");
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        assert!(matches!(check(&nested(2)[..10]), Err(CensusError::Malformed(_))));
    }
}
