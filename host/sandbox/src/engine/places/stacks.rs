//! The number of stacks that an instance of WASI 0.3 can occupy: one for each part of it that can wait in the middle of
//! a call.
//!
//! Such a part is an instance of a component that has core instances. While it waits, the engine lets no other call
//! into it. A component can instantiate components that it contains, each of them any number of times. A component that
//! it gets from elsewhere cannot be counted, and is not served.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Instance,
    Parser, Payload,
};

/// A component whose parts cannot be counted.
#[derive(Debug, thiserror::Error)]
#[error("it instantiates a component that it does not contain, so that nobody can count its stacks")]
pub(crate) struct Uncounted;

/// One level of nesting.
#[derive(Default)]
struct Level {
    /// Whether this is a core module, which has no parts.
    is_module: bool,
    has_core: bool,
    /// Parts of the components that it instantiates.
    parts: u32,
    /// Parts of each component in its index space; none where they are not known.
    components: Vec<Option<u32>>,
}

/// Counts the parts of a validated component. Unreadable parts count nothing.
pub(super) fn of(bytes: &[u8]) -> Result<u32, Uncounted> {
    let mut levels = vec![Level::default()];
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        match payload {
            Payload::ModuleSection { .. } => levels.push(Level { is_module: true, ..Level::default() }),
            Payload::ComponentSection { .. } => levels.push(Level::default()),
            Payload::End(_) if levels.len() > 1 => {
                let Some(done) = levels.pop() else { continue };
                if let Some(outer) = levels.last_mut().filter(|_| !done.is_module) {
                    outer.components.push(Some(done.parts.saturating_add(u32::from(done.has_core))));
                }
            }
            payload => section(&mut levels, payload)?,
        }
    }
    Ok(levels.first().map_or(0, |outermost| outermost.parts.saturating_add(u32::from(outermost.has_core))))
}

fn section(levels: &mut [Level], payload: Payload<'_>) -> Result<(), Uncounted> {
    let Some((level, outer)) = levels.split_last_mut() else { return Ok(()) };
    match payload {
        Payload::InstanceSection(section) => {
            let made = |instance: Instance<'_>| matches!(instance, Instance::Instantiate { .. });
            level.has_core |= section.into_iter().flatten().any(made);
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.into_iter().flatten() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance {
                    let parts = level.components.get(component_index as usize).copied().flatten().ok_or(Uncounted)?;
                    level.parts = level.parts.saturating_add(parts);
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section.into_iter().flatten() {
                if matches!(import.ty, ComponentTypeRef::Component(_)) {
                    level.components.push(None);
                }
            }
        }
        Payload::ComponentExportSection(section) => {
            for export in section.into_iter().flatten() {
                if export.kind == ComponentExternalKind::Component {
                    level.components.push(level.components.get(export.index as usize).copied().flatten());
                }
            }
        }
        Payload::ComponentAliasSection(section) => {
            for alias in section.into_iter().flatten() {
                match alias {
                    ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                        let from = match count as usize {
                            0 => Some(&*level),
                            count => outer.len().checked_sub(count).and_then(|at| outer.get(at)),
                        };
                        let parts = from.and_then(|from| from.components.get(index as usize)).copied().flatten();
                        level.components.push(parts);
                    }
                    ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                        level.components.push(None);
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<u32, Uncounted> {
        of(&wat::parse_str(text).expect("a component"))
    }

    const PART: &str = "(core module $m) (core instance (instantiate $m))";

    #[test]
    fn each_instance_of_a_component_with_code_counts() {
        assert_eq!(parts(&format!("(component {PART})")).expect("counted"), 1);
        let twice = "(instance (instantiate $c)) (instance (instantiate $c))";
        assert_eq!(parts(&format!("(component (component $c {PART}) {twice})")).expect("counted"), 2);
        assert_eq!(parts(&format!("(component {PART} (component $c {PART}) {twice})")).expect("counted"), 3);
        assert_eq!(parts(&format!("(component (component $c) {twice})")).expect("counted"), 0, "types alone");
    }

    #[test]
    fn nested_instances_multiply() {
        let twice =
            |inner: &str| format!("(component $c {inner}) (instance (instantiate $c)) (instance (instantiate $c))");
        let nested = twice(&twice(&twice(PART)));
        assert_eq!(parts(&format!("(component {nested})")).expect("counted"), 8);
    }

    #[test]
    fn a_component_of_an_outer_one_counts_and_a_foreign_one_cannot() {
        let outer = format!(
            "(component $o (component $c {PART}) (component $d (alias outer $o $c (component $e)) \
             (instance (instantiate $e))) (instance (instantiate $d)))"
        );
        assert_eq!(parts(&outer).expect("counted"), 1);
        let foreign = "(component (import \"c\" (component $c)) (instance (instantiate $c)))";
        assert!(parts(foreign).is_err());
    }
}
