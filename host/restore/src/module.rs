//! One core module: what its state consists of, and the functions that are added to it.

use std::ops::Range;

use wasmparser::{
    CompositeInnerType, ExportSectionReader, ExternalKind, FunctionBody, ImportSectionReader, MemoryType, Operator,
    Parser, Payload, TypeRef, ValType, for_each_operator,
};

use crate::encode::{bytes, list, longer, name, number, section};
use crate::reason::Reason;

/// The prefix of the names that are added to a module. A module that uses it already is refused.
pub(crate) const PREFIX: &str = "roadrunner:restore#";

/// The function that lends the memory, and the function that ends the loan.
pub(crate) const LEND: &str = "roadrunner:restore#lend";
pub(crate) const LENT: &str = "roadrunner:restore#lent";

/// The function that saves globals or puts them back.
pub(crate) const RESET: &str = "roadrunner:restore#globals";

/// The ids of a module's sections, in the order in which they stand.
const ORDER: [u8; 14] = [1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11, CUSTOM];

const CUSTOM: u8 = 0;

const TYPES: u8 = 1;
const FUNCTIONS: u8 = 3;
const GLOBALS: u8 = 6;
const EXPORTS: u8 = 7;
const CODE: u8 = 10;

/// The largest number of pages of 64 KiB whose length is a number of 32 bits.
const MAX_PAGES: u64 = (1 << 16) - 1;

/// The most globals of a module that are put back. Compilers write a few.
const MAX_GLOBALS: usize = 256;

/// A part of a section: its id, its number of entries, and the bytes of the entries.
struct Section<'a> {
    id: u8,
    count: u32,
    entries: &'a [u8],
}

/// The facts about a module.
#[derive(Default)]
pub(crate) struct Module<'a> {
    sections: Vec<Section<'a>>,
    /// Bytes of each section that is copied as it is.
    copied: Vec<(u8, Range<usize>)>,
    bytes: &'a [u8],
    /// The number of parameters of each type; none for a type that is no function.
    types: Vec<Option<u32>>,
    /// The type of each function, imported and own.
    functions: Vec<u32>,
    imported_globals: u32,
    /// The own globals: their type, and whether they can change.
    globals: Vec<(ValType, bool)>,
    /// The number of own memories.
    pub(crate) memories: u32,
    /// Names of exported memories.
    pub(crate) exported_memory: Option<&'a str>,
    /// Exported functions.
    exports: Vec<(&'a str, ExternalKind, u32)>,
}

/// What is added to a module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Additions {
    /// The functions that lend the memory.
    pub(crate) lends: bool,
    /// A function that saves the globals and puts them back.
    pub(crate) resets: bool,
    /// The same before each exported function with this test.
    pub(crate) resets_before: Option<fn(&str) -> bool>,
}

impl Additions {
    /// Whether nothing is added.
    pub(crate) fn is_empty(self) -> bool {
        !self.lends && !self.resets && self.resets_before.is_none()
    }
}

/// The globals that are added to a module, by their indices.
struct Twins {
    globals: Vec<Vec<u8>>,
    /// Whether the others have been saved.
    saved: u32,
    /// Each global that can change, with the place where it is saved.
    pairs: Vec<(u32, u32)>,
    /// The bytes of the memory that a loan replaces.
    old: u32,
}

/// The functions that are added to a module.
struct Functions {
    /// The index of the first.
    first: u32,
    declared: Vec<Vec<u8>>,
    code: Vec<Vec<u8>>,
}

impl Functions {
    /// Adds a function of a type; returns its index.
    fn add(&mut self, kind: u32, body: &[u8]) -> u32 {
        let mut declared = Vec::new();
        number(&mut declared, kind);
        self.declared.push(declared);
        let mut entry = Vec::new();
        bytes(&mut entry, &[&[0], body, &[END]].concat());
        self.code.push(entry);
        self.first + self.code.len() as u32 - 1
    }
}

impl<'a> Module<'a> {
    /// Reads a module, which must be valid.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut module = Self { bytes, ..Self::default() };
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            let range = payload.as_section();
            match payload {
                Payload::TypeSection(types) => {
                    let count = types.count();
                    for group in types.clone() {
                        for kind in group?.types() {
                            module.types.push(match &kind.composite_type.inner {
                                CompositeInnerType::Func(function) => u32::try_from(function.params().len()).ok(),
                                _ => None,
                            });
                        }
                    }
                    module.keep(TYPES, count, range)?;
                }
                Payload::ImportSection(imports) => {
                    module.import(imports)?;
                    module.copy(2, range);
                }
                Payload::FunctionSection(functions) => {
                    let count = functions.count();
                    for kind in functions {
                        module.functions.push(kind?);
                    }
                    module.keep(FUNCTIONS, count, range)?;
                }
                Payload::MemorySection(memories) => {
                    module.memories = memories.count();
                    memories.into_iter().try_for_each(|memory| check(memory?))?;
                    module.copy(5, range);
                }
                Payload::GlobalSection(globals) => {
                    let count = globals.count();
                    for global in globals {
                        let kind = global?.ty;
                        module.globals.push((kind.content_type, kind.mutable));
                    }
                    module.keep(GLOBALS, count, range)?;
                }
                Payload::ExportSection(exports) => {
                    module.export(exports)?;
                    // Written from the list.
                    module.keep(EXPORTS, 0, range)?;
                }
                Payload::CodeSectionStart { count, range, .. } => module.keep(CODE, count, Some((CODE, range)))?,
                Payload::CodeSectionEntry(body) => check_code(&body)?,
                Payload::TagSection(_) => return Err(Reason::unknown("it has tags of exceptions")),
                Payload::Version { .. } | Payload::End(_) => {}
                // Names of functions stay true: no index changes.
                Payload::CustomSection(_) => module.copy(CUSTOM, range),
                Payload::TableSection(_)
                | Payload::StartSection { .. }
                | Payload::ElementSection(_)
                | Payload::DataCountSection { .. }
                | Payload::DataSection(_) => {
                    let id = range.as_ref().map_or(CUSTOM, |(id, _)| *id);
                    module.copy(id, range);
                }
                _ => return Err(Reason::unknown("it has a section that is not known here")),
            }
        }
        Ok(module)
    }

    fn import(&mut self, imports: ImportSectionReader<'a>) -> Result<(), Reason> {
        for import in imports.into_imports() {
            match import?.ty {
                TypeRef::Func(kind) => self.functions.push(kind),
                TypeRef::Global(_) => self.imported_globals += 1,
                TypeRef::Memory(memory) => check_kind(memory)?,
                TypeRef::Table(_) => {}
                _ => {
                    return Err(Reason::unknown(
                        "it imports something that is neither function, global, memory nor table",
                    ));
                }
            }
        }
        Ok(())
    }

    fn export(&mut self, exports: ExportSectionReader<'a>) -> Result<(), Reason> {
        for export in exports {
            let export = export?;
            if export.name.starts_with(PREFIX) {
                return Err(Reason::unknown("it exports a name that the host uses"));
            }
            if export.kind == ExternalKind::Memory {
                self.exported_memory = Some(export.name);
            }
            self.exports.push((export.name, export.kind, export.index));
        }
        Ok(())
    }

    /// Whether it has a global that can change.
    pub(crate) fn has_state(&self) -> bool {
        self.globals.iter().any(|(_, mutable)| *mutable)
    }

    /// Whether it exports a function with such a name.
    pub(crate) fn exports(&self, is_meant: fn(&str) -> bool) -> bool {
        self.exports.iter().any(|(name, kind, _)| *kind == ExternalKind::Func && is_meant(name))
    }

    fn copy(&mut self, id: u8, range: Option<(u8, Range<usize>)>) {
        self.copied.extend(range.map(|(_, range)| (id, range)));
    }

    /// Keeps a section for additions. Its payload begins with its count.
    fn keep(&mut self, id: u8, count: u32, range: Option<(u8, Range<usize>)>) -> Result<(), Reason> {
        let Some((_, range)) = range else { return Ok(()) };
        let payload = &self.bytes[range];
        let digits = payload.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
        self.sections.push(Section { id, count, entries: &payload[digits..] });
        Ok(())
    }

    /// The module with additions.
    pub(crate) fn with(&self, additions: Additions) -> Result<Vec<u8>, Reason> {
        let Additions { lends, resets, resets_before } = additions;
        let types = [function_type(&[], &[]), function_type(&[], &[I32]), function_type(&[I32], &[])];
        let [plain, lend, lent] = [0, 1, 2].map(|at| self.types.len() as u32 + at);
        let Twins { globals, saved, pairs, old } = self.twins()?;
        let mut added = Functions { first: self.functions.len() as u32, declared: Vec::new(), code: Vec::new() };
        let mut exports = Vec::new();
        if lends {
            exports.push((LEND, added.add(lend, &lending(old))));
            exports.push((LENT, added.add(lent, &returning(old))));
        }
        let mut replaced = Vec::new();
        if resets || resets_before.is_some() {
            let reset = added.add(plain, &resetting(saved, &pairs));
            if resets {
                exports.push((RESET, reset));
            }
            for (at, (name, kind, index)) in self.exports.iter().enumerate() {
                if *kind == ExternalKind::Func && resets_before.is_some_and(|is_meant| is_meant(name)) {
                    replaced.push((at, added.add(self.functions[*index as usize], &self.after(reset, *index)?)));
                }
            }
        }
        let exports = self.exported(&exports, &replaced);
        let Functions { declared, code, .. } = added;
        Ok(self.written(&exports, &[(TYPES, &types[..]), (FUNCTIONS, &declared), (GLOBALS, &globals), (CODE, &code)]))
    }

    /// The globals that are added.
    fn twins(&self) -> Result<Twins, Reason> {
        let first = self.imported_globals + self.globals.len() as u32;
        let mut globals = vec![global(I32, &[0x41, 0])?];
        let saved = first;
        let mut pairs = Vec::new();
        for (index, (kind, mutable)) in self.globals.iter().enumerate() {
            if *mutable {
                let (code, zero) = zero(*kind)?;
                pairs.push((self.imported_globals + index as u32, first + globals.len() as u32));
                globals.push(global(code, &zero)?);
            }
        }
        if pairs.len() > MAX_GLOBALS {
            return Err(Reason::unknown(&format!("it has more than {MAX_GLOBALS} globals that change")));
        }
        let old = first + globals.len() as u32;
        globals.push(global(I64, &[0x42, 0])?);
        Ok(Twins { globals, saved, pairs, old })
    }

    /// The body of a function that calls `first`, and then the function `index` with its own parameters.
    fn after(&self, first: u32, index: u32) -> Result<Vec<u8>, Reason> {
        let kind = self.functions[index as usize];
        let Some(params) = self.types[kind as usize] else {
            return Err(Reason::unknown("its handler is no function"));
        };
        let mut body = vec![CALL];
        number(&mut body, first);
        for param in 0..params {
            body.push(0x20);
            number(&mut body, param);
        }
        body.push(CALL);
        number(&mut body, index);
        Ok(body)
    }

    /// The whole module, with other exports, and with more entries in some sections.
    fn written(&self, exports: &[Vec<u8>], more: &[(u8, &[Vec<u8>])]) -> Vec<u8> {
        let mut out = b"\0asm\x01\0\0\0".to_vec();
        for id in ORDER {
            if id == EXPORTS {
                section(&mut out, id, &list(exports));
            } else if let Some((_, more)) = more.iter().find(|(longer, _)| *longer == id) {
                let there = self.sections.iter().find(|section| section.id == id);
                let (count, entries) = there.map_or((0, &[][..]), |section| (section.count, section.entries));
                section(&mut out, id, &longer(count, entries, more));
            } else {
                for (_, range) in self.copied.iter().filter(|(copied, _)| *copied == id) {
                    section(&mut out, id, &self.bytes[range.clone()]);
                }
            }
        }
        out
    }

    /// The entries of the export section, with additions, and with other functions in the place of some.
    fn exported(&self, added: &[(&str, u32)], replaced: &[(usize, u32)]) -> Vec<Vec<u8>> {
        let entry = |exported: &str, kind: u8, index: u32| {
            let mut out = Vec::new();
            name(&mut out, exported);
            out.push(kind);
            number(&mut out, index);
            out
        };
        let there = self.exports.iter().enumerate().map(|(at, (exported, kind, index))| {
            let index = replaced.iter().find(|(place, _)| *place == at).map_or(*index, |(_, index)| *index);
            entry(exported, code_of(*kind), index)
        });
        there.chain(added.iter().map(|(exported, index)| entry(exported, 0, *index))).collect()
    }
}

/// Checks that a memory is of the kind that is known.
fn check_kind(memory: MemoryType) -> Result<(), Reason> {
    if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
        return Err(Reason::unknown("it has a memory of 64 bits, a shared memory, or pages of another size"));
    }
    Ok(())
}

/// Checks that an own memory can be lent.
fn check(memory: MemoryType) -> Result<(), Reason> {
    if memory.initial == 0 || memory.initial > MAX_PAGES {
        return Err(Reason::unknown("its memory is empty at its start, or has 4 GiB"));
    }
    check_kind(memory)
}

/// Checks that a function has no instruction whose effects cannot be put back.
fn check_code(body: &FunctionBody<'_>) -> Result<(), Reason> {
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        let operator = operators.read()?;
        if !is_known(&operator) {
            return Err(Reason::unknown(&format!(
                "it has an instruction that changes a table, drops a segment, or is not known here: {operator:?}"
            )));
        }
    }
    Ok(())
}

const I32: u8 = 0x7f;
const I64: u8 = 0x7e;
const CALL: u8 = 0x10;
const END: u8 = 0x0b;
const GET: u8 = 0x23;
const SET: u8 = 0x24;

/// Lends the whole memory as a list of bytes. The engine reads such a result from the memory itself, so that its first
/// eight bytes hold it for the time of the loan.
fn lending(old: u32) -> Vec<u8> {
    // i32.const 0, i64.load; global.set old
    let mut body = vec![0x41, 0, 0x29, 0, 0, SET];
    number(&mut body, old);
    // The address: i32.const 0, i32.const 0, i32.store. The length: i32.const 0, memory.size, i32.const 16, i32.shl,
    // i32.store offset=4. The result: i32.const 0.
    body.extend_from_slice(&[0x41, 0, 0x41, 0, 0x36, 0, 0]);
    body.extend_from_slice(&[0x41, 0, 0x3f, 0, 0x41, 16, 0x74, 0x36, 0, 4]);
    body.extend_from_slice(&[0x41, 0]);
    body
}

/// Gives the eight bytes back.
fn returning(old: u32) -> Vec<u8> {
    let mut body = vec![0x41, 0, GET];
    number(&mut body, old);
    body.extend_from_slice(&[0x37, 0, 0]);
    body
}

/// Saves globals at the first call, and puts them back at every later call.
fn resetting(saved: u32, pairs: &[(u32, u32)]) -> Vec<u8> {
    let mut body = vec![GET];
    number(&mut body, saved);
    let copy = |body: &mut Vec<u8>, from: u32, to: u32| {
        body.push(GET);
        number(body, from);
        body.push(SET);
        number(body, to);
    };
    // if
    body.extend_from_slice(&[0x04, 0x40]);
    pairs.iter().for_each(|(global, twin)| copy(&mut body, *twin, *global));
    // else
    body.push(0x05);
    pairs.iter().for_each(|(global, twin)| copy(&mut body, *global, *twin));
    body.extend_from_slice(&[0x41, 1, SET]);
    number(&mut body, saved);
    body.push(END);
    body
}

/// The type of a function.
fn function_type(params: &[u8], results: &[u8]) -> Vec<u8> {
    let mut out = vec![0x60];
    bytes(&mut out, params);
    bytes(&mut out, results);
    out
}

/// The code of a type, and the instructions that make its zero.
fn zero(kind: ValType) -> Result<(u8, Vec<u8>), Reason> {
    Ok(match kind {
        ValType::I32 => (I32, vec![0x41, 0]),
        ValType::I64 => (I64, vec![0x42, 0]),
        ValType::F32 => (0x7d, vec![0x43, 0, 0, 0, 0]),
        ValType::F64 => (0x7c, vec![0x44, 0, 0, 0, 0, 0, 0, 0, 0]),
        ValType::V128 => (0x7b, [&[0xfd, 12][..], &[0; 16]].concat()),
        ValType::Ref(kind) if kind == wasmparser::RefType::FUNCREF => (0x70, vec![0xd0, 0x70]),
        ValType::Ref(kind) if kind == wasmparser::RefType::EXTERNREF => (0x6f, vec![0xd0, 0x6f]),
        ValType::Ref(_) => return Err(Reason::unknown("it has a global with a reference of another kind")),
    })
}

/// A mutable global.
fn global(kind: u8, zero: &[u8]) -> Result<Vec<u8>, Reason> {
    Ok([&[kind, 1][..], zero, &[END]].concat())
}

fn code_of(kind: ExternalKind) -> u8 {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => 0,
        ExternalKind::Table => 1,
        ExternalKind::Memory => 2,
        ExternalKind::Global => 3,
        ExternalKind::Tag => 4,
    }
}

/// Makes of the list of all instructions the test whether a proposal is known.
macro_rules! proposals {
    ($(@$proposal:ident $operator:ident $({ $($payload:tt)* })? => $visit:ident ($($rest:tt)*))*) => {
        /// Whether the effects of an instruction on the state are known, and can be put back.
        #[expect(unreachable_patterns, reason = "the list has the excluded instructions too")]
        fn is_known(operator: &Operator<'_>) -> bool {
            match operator {
                // These change a table, or drop a segment for good.
                Operator::TableSet { .. }
                | Operator::TableGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
                | Operator::DataDrop { .. }
                | Operator::ElemDrop { .. } => false,
                $(Operator::$operator { .. } => proposals!(is $proposal),)*
                _ => false,
            }
        }
    };
    (is mvp) => { true };
    (is sign_extension) => { true };
    (is saturating_float_to_int) => { true };
    (is bulk_memory) => { true };
    (is reference_types) => { true };
    (is simd) => { true };
    (is tail_call) => { true };
    (is $other:ident) => { false };
}

for_each_operator!(proposals);
