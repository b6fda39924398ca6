//! Rewrites components, and says which of them can be put back: `cargo run -p roadrunner-restore --example rewrite -- FILE...`

use std::time::Instant;

fn main() {
    for path in std::env::args().skip(1) {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("cannot read {path}: {error}");
                continue;
            }
        };
        let start = Instant::now();
        let rewritten = roadrunner_restore::rewrite(&bytes);
        let time = start.elapsed();
        match rewritten {
            Ok(rewritten) => {
                let valid =
                    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all()).validate_all(&rewritten);
                let valid = valid.map_or_else(|error| format!("NOT VALID: {error}"), |_| "valid".to_owned());
                println!("{path}: {} bytes more, {valid}, {time:?}", rewritten.len() - bytes.len());
            }
            Err(reason) => println!("{path}: no: {reason}, {time:?}"),
        }
    }
}
