//! Random modules, rewritten so that their instances can be put back: an instance that was put back does what a new one
//! does, bit for bit.
//!
//! A module's instance is called, put back, and called again. Each time a new instance gets the same call: results,
//! memory, globals and tables afterwards have to be the same. The memory is put back by a copy of the whole; that the
//! list of written pages misses none is another test's subject.

use roadrunner_restore::rewrite;
use wasmparser::{Parser, Payload};
use wasmtime::{Engine, Instance, Module, Store, Val};

/// The number of random modules.
const MODULES: u64 = 400;

/// The calls of each instance.
const CALLS: u64 = 4;

/// The fuel of one call.
const FUEL: u64 = 100_000;

const HANDLER: &str = "roadrunner:handler/handler@0.1.0#handle";

/// The step that is left out, to see that the comparison finds it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Missing {
    Nothing,
    Memory,
    Globals,
}

/// The next of a sequence of numbers that look random (Steele and Vigna's SplitMix64).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random statement on `$acc`, on memory and on globals. Addresses are below 64 KiB.
fn statement(seed: &mut u64, depth: u32) -> String {
    let number = next(seed) as i32;
    let address = format!("(i32.and (i32.add (local.get $acc) (i32.const {number})) (i32.const 0x7fff))");
    let length = next(seed) % 300;
    match next(seed) % 12 {
        0 => format!("(i32.store {address} (local.get $acc))"),
        1 => format!("(i64.store {address} (local.get 1))"),
        2 => format!("(v128.store {address} (i32x4.splat (local.get $acc)))"),
        3 => format!("(local.set $acc (i32.xor (local.get $acc) (i32.load {address})))"),
        4 => format!("(memory.fill {address} (local.get $acc) (i32.const {length}))"),
        5 => format!("(memory.copy {address} (i32.const {length}) (i32.const {length}))"),
        6 => "(global.set $g0 (local.get $acc)) (global.set $g1 (local.get 1))".to_owned(),
        7 => "(global.set $g2 (f32.convert_i32_s (local.get $acc))) (global.set $g3 (f64.convert_i64_s (local.get 1)))"
            .to_owned(),
        8 => {
            "(global.set $g4 (i32x4.splat (local.get $acc))) (global.set $g5 (i32.add (global.get $g5) (i32.const 1)))"
                .to_owned()
        }
        9 => "(global.set $own (i32.add (global.get $own) (i32.const 3))) \
              (local.set $acc (i32.add (local.get $acc) (global.get $own)))"
            .to_owned(),
        10 if depth < 3 => {
            let (then, other) = (statement(seed, depth + 1), statement(seed, depth + 1));
            format!("(if (i32.and (local.get $acc) (i32.const 1)) (then {then}) (else {other}))")
        }
        10 => format!("(drop (memory.grow (i32.const {})))", next(seed) % 2),
        _ => format!("(local.set $acc (i32.add (i32.mul (local.get $acc) (i32.const {number})) (global.get $g0)))"),
    }
}

/// A random module. Some fail, and some grow their memory.
fn random(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let statements: String = (0..4 + next(&mut state) % 24).map(|_| statement(&mut state, 0)).collect();
    let last = if next(&mut state).is_multiple_of(16) { "(if (local.get $acc) (then unreachable))" } else { "" };
    let (first, second, place) = (next(&mut state) as i32, next(&mut state) as i64, next(&mut state) % 30_000);
    let text = format!(
        r#"(module
            (memory (export "memory") 1 3)
            (table (export "table") 4 8 funcref)
            (elem (i32.const 1) $handle)
            (data (i32.const {place}) "the first state of the memory")
            (global $g0 (export "g0") (mut i32) (i32.const {first}))
            (global $g1 (export "g1") (mut i64) (i64.const {second}))
            (global $g2 (export "g2") (mut f32) (f32.const 1.5))
            (global $g3 (export "g3") (mut f64) (f64.const -2.5))
            (global $g4 (export "g4") (mut v128) (v128.const i64x2 {second} 7))
            (global $g5 (export "g5") (mut i32) (i32.const {place}))
            (global $own (mut i32) (i32.const 11))
            (func $handle (export "{HANDLER}") (param i32 i64) (result i32) (local $acc i32)
                (local.set $acc (local.get 0))
                {statements} {last}
                (local.get $acc)))"#
    );
    wat::parse_str(text).expect("a module")
}

/// The smallest component around a module.
fn component(module: &[u8]) -> Vec<u8> {
    let mut out = b"\0asm\x0d\0\x01\0".to_vec();
    out.push(1);
    let mut length = module.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(module);
    // One core instance, of module 0, without arguments.
    out.extend_from_slice(&[2, 4, 1, 0, 0, 0]);
    out
}

/// The one module in a component.
fn module_in(component: &[u8]) -> Vec<u8> {
    for payload in Parser::new(0).parse_all(component) {
        if let Payload::ModuleSection { unchecked_range, .. } = payload.expect("it is valid") {
            return component[unchecked_range].to_vec();
        }
    }
    panic!("there is no module");
}

struct Running {
    store: Store<()>,
    instance: Instance,
}

impl Running {
    fn new(engine: &Engine, module: &Module) -> Self {
        let mut store = Store::new(engine, ());
        store.set_fuel(FUEL).expect("fuel is on");
        let instance = Instance::new(&mut store, module, &[]).expect("it starts");
        Self { store, instance }
    }

    /// Calls the handler; none when it fails.
    fn call(&mut self, args: &[Val; 2]) -> Option<i32> {
        self.store.set_fuel(FUEL).expect("fuel is on");
        let handler = self.instance.get_func(&mut self.store, HANDLER).expect("it is exported");
        let mut results = [Val::I32(0)];
        handler.call(&mut self.store, args, &mut results).ok()?;
        results[0].i32()
    }

    fn memory(&mut self) -> Vec<u8> {
        let memory = self.instance.get_memory(&mut self.store, "memory").expect("it is exported");
        memory.data(&self.store).to_vec()
    }

    fn restore(&mut self, image: &[u8]) {
        let memory = self.instance.get_memory(&mut self.store, "memory").expect("it is exported");
        memory.data_mut(&mut self.store).copy_from_slice(image);
    }

    /// All that a guest can see: memory, globals, and what its table holds.
    fn state(&mut self) -> (Vec<u8>, String) {
        let mut rest = String::new();
        for number in 0..6 {
            let global = self.instance.get_global(&mut self.store, &format!("g{number}")).expect("it is exported");
            // Bits, so that a NaN is equal to itself.
            rest += &match global.get(&mut self.store) {
                Val::I32(bits) => format!("{bits} "),
                Val::I64(bits) => format!("{bits} "),
                Val::F32(bits) => format!("{bits} "),
                Val::F64(bits) => format!("{bits} "),
                Val::V128(bits) => format!("{} ", bits.as_u128()),
                other => panic!("{other:?}"),
            };
        }
        let table = self.instance.get_table(&mut self.store, "table").expect("it is exported");
        for at in 0..table.size(&self.store) {
            let element = table.get(&mut self.store, at).expect("it is inside");
            rest += if element.is_null() { "null " } else { "function " };
        }
        (self.memory(), rest)
    }
}

/// What became of a module.
enum Verdict {
    /// Its instance was put back so many times, and was the same as a new one.
    Same(u64),
    Different(String),
}

fn verdict(engine: &Engine, plain: &[u8], seed: u64, missing: Missing) -> Verdict {
    let rewritten = rewrite(&component(plain)).expect("it can be restored");
    let rewritten = Module::new(engine, module_in(&rewritten)).expect("it is valid");
    // The module as it was puts back no globals.
    let module = if missing == Missing::Globals { Module::new(engine, plain).expect("it is valid") } else { rewritten };
    let mut kept: Option<(Running, Vec<u8>)> = None;
    let (mut restored, mut state) = (0, seed);
    for call in 0..CALLS {
        let args = [Val::I32(next(&mut state) as i32), Val::I64(next(&mut state) as i64)];
        let mut new = Running::new(engine, &module);
        restored += u64::from(kept.is_some());
        let (mut old, image) = kept.take().unwrap_or_else(|| {
            let mut made = Running::new(engine, &module);
            let image = made.memory();
            (made, image)
        });
        let (wanted, found) = (new.call(&args), old.call(&args));
        if wanted != found {
            return Verdict::Different(format!("seed {seed}, call {call}: {wanted:?} {found:?}"));
        }
        let (wanted, found) = (new.state(), old.state());
        if wanted != found {
            return Verdict::Different(format!("seed {seed}, call {call}: {} {}", wanted.1, found.1));
        }
        // An instance that failed, or whose memory has grown, is dropped by the host as well.
        if wanted.0.len() == image.len() && new.store.get_fuel().is_ok_and(|left| left > 0) {
            if missing != Missing::Memory {
                old.restore(&image);
            }
            kept = Some((old, image));
        }
    }
    Verdict::Same(restored)
}

fn all(missing: Missing) -> (u64, Vec<String>) {
    let mut config = wasmtime::Config::new();
    config.consume_fuel(true);
    let engine = Engine::new(&config).expect("an engine");
    let (mut restored, mut different) = (0, Vec::new());
    for seed in 0..MODULES {
        match verdict(&engine, &random(seed), seed, missing) {
            Verdict::Same(times) => restored += times,
            Verdict::Different(text) => {
                different.push(text);
                if missing != Missing::Nothing {
                    break;
                }
            }
        }
    }
    (restored, different)
}

#[test]
fn a_restored_instance_is_a_new_one_bit_for_bit() {
    let (restored, different) = all(Missing::Nothing);
    assert!(different.is_empty(), "{}: {}", different.len(), different[0]);
    assert!(restored > MODULES, "only {restored} were put back");
}

/// The positive controls.
#[test]
fn a_missing_step_is_found() {
    for missing in [Missing::Memory, Missing::Globals] {
        assert!(!all(missing).1.is_empty(), "without {missing:?} the comparison is blind");
    }
}
