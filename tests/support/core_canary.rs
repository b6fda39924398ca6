//! The isolation canary for memory, a table and globals. Compilers write no tables and few globals, so this is a core
//! module, `core_canary.wat`, which is made into a component here.
//!
//! Globals cannot be accessed in a loop, so this generates [`GLOBALS`] of each type, and the code that fills and
//! searches them. Not covered: references to objects of the host or of a garbage collector, which the engine is built
//! without.

use std::fmt::Write as _;

use roadrunner_componentize::componentize;
use wit_component::StringEncoding;
use wit_parser::Resolve;

use crate::command;

/// The number of globals of each numeric type, and of references to functions.
const GLOBALS: usize = 16;

/// The component, which serves the paths below `/core/`.
///
/// # Panics
/// When the module is not valid.
pub fn component() -> Vec<u8> {
    of(include_str!("core_canary.wat"))
}

/// The same without growth and without a table that changes, so that its instances can be put back to their first
/// state.
///
/// # Panics
/// When the module is not valid.
pub fn restorable() -> Vec<u8> {
    let changes = ["memory.grow", "table.grow", "table.fill"];
    let lines =
        include_str!("core_canary.wat").lines().filter(|line| !changes.iter().any(|change| line.contains(change)));
    of(&lines.collect::<Vec<_>>().join("\n"))
}

fn of(text: &str) -> Vec<u8> {
    let globals = Globals::write();
    let text = text
        .replace("{globals}", &globals.declared)
        .replace("{fill}", &globals.filled)
        .replace("{search}", &globals.searched)
        .replace("{places}", &globals.places.to_string());
    let mut module = wat::parse_str(text).unwrap_or_else(|error| panic!("core_canary.wat: {error}"));
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(command::workspace().join("wit")).expect("wit/ parses");
    let world = resolve.select_world(&[package], Some("minimal")).expect("it has this world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("the world can be encoded");
    componentize(&module).expect("the module is what the world asks for")
}

/// Lines of the module.
#[derive(Default)]
struct Globals {
    declared: String,
    filled: String,
    searched: String,
    places: usize,
}

impl Globals {
    /// Writes the lines. Every other global starts with a value other than zero.
    fn write() -> Self {
        let mut globals = Self::default();
        for at in 0..GLOBALS {
            let value = at * (at % 2);
            let number = |kind: &str| format!("({kind}.const {value})");
            globals
                .add("i64", at, &number("i64"), "(local.get $word)", |now| format!("(i64.ne {now} {})", number("i64")));
            globals.add("i32", at, &number("i32"), "(i32.wrap_i64 (local.get $word))", |now| {
                format!("(i32.ne {now} {})", number("i32"))
            });
            globals.add("f64", at, &number("f64"), "(f64.reinterpret_i64 (local.get $word))", |now| {
                format!("(f64.ne {now} {})", number("f64"))
            });
            globals.add("f32", at, &number("f32"), "(f32.reinterpret_i32 (i32.wrap_i64 (local.get $word)))", |now| {
                format!("(f32.ne {now} {})", number("f32"))
            });
            let vector = format!("(v128.const i64x2 {value} {value})");
            globals.add("v128", at, &vector, "(i64x2.splat (local.get $word))", |now| {
                format!("(v128.any_true (v128.xor {now} {vector}))")
            });
            globals.add("funcref", at, "(ref.null func)", "(ref.func $mark)", |now| {
                format!("(i32.eqz (ref.is_null {now}))")
            });
        }
        globals
    }

    fn add(&mut self, kind: &str, at: usize, first: &str, filled: &str, differs: impl Fn(&str) -> String) {
        let name = format!("${kind}-{at}");
        let differs = differs(&format!("(global.get {name})"));
        let written = writeln!(self.declared, "  (global {name} (mut {kind}) {first})")
            .and_then(|()| writeln!(self.filled, "    (global.set {name} {filled})"))
            .and_then(|()| writeln!(self.searched, "    (local.set $count (i32.add (local.get $count) {differs}))"));
        written.expect("a string takes everything");
        self.places += 1;
    }
}
