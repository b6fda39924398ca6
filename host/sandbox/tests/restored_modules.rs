//! Random modules, rewritten so that their instances can be put back: an instance that was put back does what a new one
//! does, bit for bit.
//!
//! A module's instance is called, put back, and called again. Each time a new instance gets the same call: results,
//! memory, globals and tables afterwards have to be the same. The memory is put back by a copy of the whole; that the
//! list of written pages misses none is another test's subject. The modules are those of `host/restore/modules`, made
//! with wasm-smith.

use roadrunner_restore::rewrite;
use wasmparser::{Parser, Payload};
use wasmtime::{Engine, Instance, Module, Store, Val};

/// The modules, each after its length.
const MODULES: &[u8] = include_bytes!("modules.bin");

/// The calls of each instance.
const CALLS: u64 = 4;

/// The fuel of one call.
const FUEL: u64 = 100_000;

const HANDLER: &str = "roadrunner:handler/handler@0.1.0#handle";

/// The step that is left out, to see that the comparison finds it.
#[derive(Clone, Copy, PartialEq)]
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

fn modules() -> impl Iterator<Item = &'static [u8]> {
    let mut rest = MODULES;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (module, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        rest = after;
        Some(module)
    })
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
    /// None where the start of the module fails.
    fn new(engine: &Engine, module: &Module) -> Option<Self> {
        let mut store = Store::new(engine, ());
        store.set_fuel(FUEL).expect("fuel is on");
        let instance = Instance::new(&mut store, module, &[]).ok()?;
        Some(Self { store, instance })
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
    /// It is not for this test: the engine or the rewriter refuses it, or it does not start.
    Left,
    /// Its instance was put back so many times, and was the same as a new one.
    Same(u64),
    Different(String),
}

fn verdict(engine: &Engine, plain: &[u8], seed: u64, missing: Missing) -> Verdict {
    // The engine lacks some proposals.
    let Ok(as_it_was) = Module::new(engine, plain) else { return Verdict::Left };
    let Ok(rewritten) = rewrite(&component(plain)) else { return Verdict::Left };
    let rewritten = Module::new(engine, module_in(&rewritten)).expect("it is valid");
    // The module as it was puts back no globals.
    let module = if missing == Missing::Globals { as_it_was } else { rewritten };
    let mut kept: Option<(Running, Vec<u8>)> = None;
    let (mut restored, mut state) = (0, seed);
    for call in 0..CALLS {
        let args = [Val::I32(next(&mut state) as i32), Val::I64(next(&mut state) as i64)];
        let Some(mut new) = Running::new(engine, &module) else { return Verdict::Left };
        restored += u64::from(kept.is_some());
        let (mut old, image) = kept.take().unwrap_or_else(|| {
            let mut made = Running::new(engine, &module).expect("it starts, as the other did");
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
    for (seed, module) in modules().enumerate() {
        match verdict(&engine, module, seed as u64, missing) {
            Verdict::Left => {}
            Verdict::Same(times) => restored += times,
            Verdict::Different(text) => different.push(text),
        }
    }
    (restored, different)
}

#[test]
fn a_restored_instance_is_a_new_one_bit_for_bit() {
    let (restored, different) = all(Missing::Nothing);
    assert!(different.is_empty(), "{}: {}", different.len(), different[0]);
    assert!(restored > 100, "only {restored} were put back");
}

/// The positive controls.
#[test]
fn a_missing_step_is_found() {
    for missing in [Missing::Memory, Missing::Globals] {
        assert!(!all(missing).1.is_empty(), "the comparison is blind");
    }
}
