//! The component around the modules.

use std::ops::Range;

use wasmparser::{Encoding, Instance, Parser, Payload, Validator, WasmFeatures};

use crate::encode::{bytes, list, name, number, section, type_index};
use crate::module::{Additions, LEND, LENT, Module, RESET};
use crate::reason::Reason;

/// The export that lends the memory to the host: a function without parameters, with a list of bytes as its result.
pub const MEMORY: &str = "roadrunner-restore-memory";

/// The prefix of the exports that save the globals of one module, or put them back: functions without parameters and
/// results, whose names end in a number from zero.
pub const GLOBALS: &str = "roadrunner-restore-globals";

/// The prefixes of the handlers that put back the globals of their module by themselves.
pub const HANDLERS: [&str; 2] = ["roadrunner:handler/handler@0.1.", "wasi:http/incoming-handler@0.2."];

/// The version of the additions, for caches of rewritten components.
pub const VERSION: u32 = 1;

/// A module of the component, and its instance.
struct Part<'a> {
    range: Range<usize>,
    module: Module<'a>,
    /// The core instance that is made of it.
    instance: Option<u32>,
}

/// The numbers of things that a component has before the additions.
struct Counts {
    functions: u32,
    core_functions: u32,
    core_memories: u32,
    types: u32,
}

/// Rewrites a component so that its instances can be put back.
///
/// # Errors
///
/// The reason why they cannot.
pub fn rewrite(bytes: &[u8]) -> Result<Vec<u8>, Reason> {
    // From here on, all that is read is valid.
    Validator::new_with_features(WasmFeatures::all()).validate_all(bytes)?;
    let (mut parts, counts) = read(bytes)?;
    let mut memories = parts.iter().enumerate().filter(|(_, part)| part.module.memories > 0);
    let (Some((owner, _)), None) = (memories.next(), memories.next()) else {
        return Err(Reason::unknown("it has no memory, or several modules with one"));
    };
    if parts[owner].module.memories != 1 {
        return Err(Reason::unknown("it has several memories"));
    }
    let mut out = Vec::with_capacity(bytes.len() + 1024);
    let mut copied = 0;
    let mut resets = Vec::new();
    for (at, part) in parts.iter_mut().enumerate() {
        let is_owner = at == owner;
        let has_handler = part.module.exports(is_handler);
        let additions = Additions {
            lends: is_owner,
            resets: part.module.has_state() && !has_handler,
            resets_before: (part.module.has_state() && has_handler).then_some(is_handler),
        };
        if additions.is_empty() {
            continue;
        }
        let Some(instance) = part.instance else {
            // A module without an instance has no state.
            continue;
        };
        if additions.resets {
            resets.push(instance);
        }
        let module = part.module.with(additions)?;
        let head = head_of(bytes, &part.range);
        out.extend_from_slice(&bytes[copied..head]);
        section(&mut out, 1, &module);
        copied = part.range.end;
    }
    out.extend_from_slice(&bytes[copied..]);
    let Some(instance) = parts[owner].instance else { return Err(Reason::unknown("its memory has no instance")) };
    let Some(memory) = parts[owner].module.exported_memory else {
        return Err(Reason::unknown("its memory is not exported to the component"));
    };
    add(&mut out, &counts, (instance, memory), &resets);
    Ok(out)
}

/// Reads the modules of a component and the number of everything else.
fn read(component: &[u8]) -> Result<(Vec<Part<'_>>, Counts), Reason> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut parts: Vec<Part<'_>> = Vec::new();
    let (mut depth, mut instances, mut counts) = (0_u32, 0_u32, None);
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        if let Payload::End(_) = payload {
            if depth == 0 {
                let types = validator.types(0).ok_or_else(|| Reason::unknown("it is no component"))?;
                counts = Some(Counts {
                    functions: types.component_function_count(),
                    core_functions: types.function_count(),
                    core_memories: types.memory_count(),
                    types: types.component_type_count(),
                });
            }
            depth = depth.saturating_sub(1);
        }
        // For the numbers alone.
        validator.payload(&payload)?;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(Reason::unknown("it is no component"));
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                if depth > 0 {
                    return Err(Reason::unknown("it is composed of components"));
                }
                depth += 1;
                let range = unchecked_range;
                let bytes = component.get(range.clone()).ok_or_else(|| Reason::unknown("a module of it is cut"))?;
                let module = Module::read(bytes)?;
                parts.push(Part { range, module, instance: None });
            }
            Payload::ComponentSection { .. } => depth += 1,
            Payload::InstanceSection(section) => {
                if depth > 0 {
                    return Err(Reason::unknown("it is composed of components"));
                }
                for made in section {
                    if let Instance::Instantiate { module_index, .. } = made? {
                        let part = parts.get_mut(module_index as usize);
                        let part = part.ok_or_else(|| Reason::unknown("it imports a core module"))?;
                        if part.instance.replace(instances).is_some() {
                            return Err(Reason::unknown("it makes several instances of one module"));
                        }
                    }
                    instances += 1;
                }
            }
            Payload::ComponentStartSection { .. } => return Err(Reason::unknown("it has a start function")),
            _ => {}
        }
    }
    let counts = counts.ok_or_else(|| Reason::unknown("it has no end"))?;
    Ok((parts, counts))
}

/// The place at which the section of a module begins: its id, and its length in as many bytes as it takes.
fn head_of(component: &[u8], range: &Range<usize>) -> usize {
    // The length stands right before the module; the id, which is 1, before that. A length ends in the only byte of its
    // bytes without the topmost bit.
    let mut at = range.start - 1;
    while at > 0 && component[at - 1] & 0x80 != 0 {
        at -= 1;
    }
    at - 1
}

/// Adds the exports behind all that is there.
fn add(out: &mut Vec<u8>, counts: &Counts, (owner, memory): (u32, &str), resets: &[u32]) {
    let mut aliases =
        vec![alias(FUNCTION, owner, LEND), alias(FUNCTION, owner, LENT), alias(CORE_MEMORY, owner, memory)];
    aliases.extend(resets.iter().map(|instance| alias(FUNCTION, *instance, RESET)));
    section(out, 6, &list(&aliases));
    // list<u8>; func() -> list<u8>; func()
    let mut lends = vec![0x40, 0, 0];
    type_index(&mut lends, counts.types);
    section(out, 7, &list(&[vec![0x70, 0x7d], lends, vec![0x40, 0, 1, 0]]));
    let mut lifts = vec![lift(
        counts.core_functions,
        &[option(0x03, counts.core_memories), option(0x05, counts.core_functions + 1)],
        counts.types + 1,
    )];
    let firsts = (counts.core_functions + 2)..;
    lifts.extend(resets.iter().zip(firsts).map(|(_, function)| lift(function, &[], counts.types + 2)));
    section(out, 8, &list(&lifts));
    let mut exports = vec![export(MEMORY, counts.functions)];
    let names = (0..).map(|number| format!("{GLOBALS}{number}"));
    exports.extend(names.take(resets.len()).zip(counts.functions + 1..).map(|(name, index)| export(&name, index)));
    section(out, 11, &list(&exports));
}

const FUNCTION: u8 = 0;
const CORE_MEMORY: u8 = 2;

/// An alias of a core instance's export.
fn alias(kind: u8, instance: u32, exported: &str) -> Vec<u8> {
    let mut out = vec![0, kind, 1];
    number(&mut out, instance);
    name(&mut out, exported);
    out
}

fn option(kind: u8, index: u32) -> Vec<u8> {
    let mut out = vec![kind];
    number(&mut out, index);
    out
}

fn lift(function: u32, options: &[Vec<u8>], kind: u32) -> Vec<u8> {
    let mut out = vec![0, 0];
    number(&mut out, function);
    out.extend_from_slice(&list(options));
    number(&mut out, kind);
    out
}

fn export(exported: &str, function: u32) -> Vec<u8> {
    let mut out = vec![0];
    bytes(&mut out, exported.as_bytes());
    out.push(1);
    number(&mut out, function);
    out.push(0);
    out
}

fn is_handler(exported: &str) -> bool {
    exported.ends_with("#handle") && HANDLERS.iter().any(|handler| exported.starts_with(handler))
}
