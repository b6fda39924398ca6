//! Writes the random modules that `host/sandbox/tests/restored_modules.rs` puts back, one after another, each after its
//! length in four bytes. Give the number of modules and the file: `cargo run -- 400 ../../sandbox/tests/modules.bin`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use wasm_smith::{Config, InstructionKind, InstructionKinds, Module};

/// The exports of every module, without their contents.
const EXPORTS: &str = r#"(module
    (memory (export "memory") 1 3)
    (table (export "table") 4 8 funcref)
    (global (export "g0") (mut i32) (i32.const 0))
    (global (export "g1") (mut i64) (i64.const 0))
    (global (export "g2") (mut f32) (f32.const 0))
    (global (export "g3") (mut f64) (f64.const 0))
    (global (export "g4") (mut v128) (v128.const i64x2 0 0))
    (global (export "g5") (mut i32) (i32.const 0))
    (func (export "roadrunner:handler/handler@0.1.0#handle") (param i32 i64) (result i32) unreachable))"#;

/// The longest module that is taken, in bytes.
const LONGEST: usize = 1500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, path] = &arguments[..] else {
        eprintln!("give the number of modules, and the file to write");
        return ExitCode::FAILURE;
    };
    let Ok(count) = count.parse::<usize>() else {
        eprintln!("{count} is no number");
        return ExitCode::FAILURE;
    };
    let mut out = Vec::new();
    let modules = (0..).filter_map(random).filter(|module| module.len() <= LONGEST).take(count);
    for module in modules {
        out.extend_from_slice(&u32::try_from(module.len()).expect("it is short").to_le_bytes());
        out.extend_from_slice(&module);
    }
    match std::fs::write(path, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The next of a sequence of numbers that look random (Steele and Vigna's SplitMix64).
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random module; none where the bytes do not suffice for one.
fn random(seed: u64) -> Option<Vec<u8>> {
    use InstructionKind::{Control, Memory, Numeric, Parametric, Reference, Table, Variable, Vector};
    let mut kinds = vec![Numeric, Vector, Parametric, Variable, Memory, Control];
    if seed.is_multiple_of(4) {
        // Some of these change tables: such modules have to be refused.
        kinds.extend([Reference, Table]);
    }
    let mut state = seed;
    let bytes: Vec<u8> = (0..1024).flat_map(|_| next(&mut state).to_le_bytes()).collect();
    let config = Config {
        exports: Some(wat::parse_str(EXPORTS).expect("a module")),
        allowed_instructions: InstructionKinds::new(&kinds),
        max_imports: 0,
        max_funcs: 4,
        max_memories: 1,
        max_tables: 2,
        max_data_segments: 4,
        min_data_segments: 1,
        max_instructions: 120,
        disallow_traps: !seed.is_multiple_of(8),
        canonicalize_nans: true,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        ..Config::default()
    };
    Some(Module::new(config, &mut arbitrary::Unstructured::new(&bytes)).ok()?.to_bytes())
}
