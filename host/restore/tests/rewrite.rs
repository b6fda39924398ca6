//! A rewritten component is valid, has all that was there, and lends its memory; others are refused with a reason.

use roadrunner_restore::{GLOBALS, MEMORY, Reason, rewrite};
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// A component with a handler, whose module has this text.
fn component(module: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
          (core module $m {module}
            (func (export "roadrunner:handler/handler@0.1.0#handle")))
          (core instance $i (instantiate $m))
          (func $f (canon lift (core func $i "roadrunner:handler/handler@0.1.0#handle")))
          (instance $h (export "handle" (func $f)))
          (export "roadrunner:handler/handler@0.1.0" (instance $h)))"#
    );
    wat::parse_str(text).expect("a component")
}

fn exports(component: &[u8]) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.expect("it is valid") {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 0 => {
                names.extend(section.into_iter().map(|export| export.expect("it is valid").name.name.to_owned()));
            }
            _ => {}
        }
    }
    names
}

fn refused(module: &str) -> String {
    match rewrite(&component(module)) {
        Err(Reason::Unknown(text)) => text,
        other => panic!("{module}: {other:?}"),
    }
}

const MEMORY_OF_ONE: &str = "(memory (export \"memory\") 1)";

#[test]
fn what_is_rewritten_is_valid_and_lends_its_memory() {
    for module in [
        "",
        "(global (mut i32) (i32.const 1)) (global i64 (i64.const 2))",
        "(global (mut v128) (v128.const i64x2 1 2)) (global (mut f32) (f32.const 1)) (global (mut f64) (f64.const 1))",
        "(table 4 funcref) (global (mut funcref) (ref.null func)) (global (mut externref) (ref.null extern))",
        "(data (i32.const 8) \"text\") (func $start) (start $start)",
        "(@custom \"name\" \"\\00\\02\\01m\")",
    ] {
        let before = component(&format!("{MEMORY_OF_ONE} {module}"));
        let after = rewrite(&before).unwrap_or_else(|reason| panic!("{module}: {reason}"));
        Validator::new_with_features(WasmFeatures::all()).validate_all(&after).expect("it is valid");
        let mut wanted = exports(&before);
        wanted.push(MEMORY.to_owned());
        assert_eq!(exports(&after), wanted, "{module}");
    }
}

/// Modules beside that of the handler save their globals when the host says so.
#[test]
fn other_modules_get_a_function_for_their_globals() {
    let text = format!(
        r#"(component
          (core module $other (global (mut i32) (i32.const 1)))
          (core module $m {MEMORY_OF_ONE} (global (mut i32) (i32.const 1))
            (func (export "roadrunner:handler/handler@0.1.0#handle")))
          (core instance (instantiate $other))
          (core instance $i (instantiate $m))
          (func $f (canon lift (core func $i "roadrunner:handler/handler@0.1.0#handle")))
          (export "f" (func $f)))"#
    );
    let after = rewrite(&wat::parse_str(text).expect("a component")).expect("it can be restored");
    Validator::new_with_features(WasmFeatures::all()).validate_all(&after).expect("it is valid");
    assert_eq!(exports(&after), ["f", MEMORY, &format!("{GLOBALS}0")]);
}

#[test]
fn state_that_is_not_known_is_refused() {
    for (module, reason) in [
        ("", "no memory"),
        ("(memory (export \"memory\") 1) (memory 1)", "several memories"),
        ("(memory (export \"memory\") 0)", "empty at its start"),
        ("(memory (export \"memory\") i64 1)", "64 bits"),
        ("(memory (export \"memory\") 1 1 shared)", "shared"),
        ("(memory 1)", "not exported"),
    ] {
        assert!(refused(module).contains(reason), "{module}: {}", refused(module));
    }
    for instruction in [
        "(table.set $t (i32.const 0) (ref.null func))",
        "(drop (table.grow $t (ref.null func) (i32.const 1)))",
        "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))",
        "(table.copy $t $t (i32.const 0) (i32.const 0) (i32.const 1))",
        "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))",
        "(elem.drop $e)",
        "(data.drop $d)",
        "(atomic.fence)",
    ] {
        let module = format!(
            "{MEMORY_OF_ONE} (table $t 4 funcref) (elem $e funcref (ref.null func)) (data $d \"x\") (func {instruction})"
        );
        assert!(refused(&module).contains("instruction"), "{instruction}: {}", refused(&module));
    }
    let globals = format!("{MEMORY_OF_ONE} {}", "(global (mut i32) (i32.const 1))".repeat(257));
    assert!(refused(&globals).contains("more than 256 globals"));
    let reserved = format!("{MEMORY_OF_ONE} (func (export \"roadrunner:restore#lend\"))");
    assert!(refused(&reserved).contains("a name that the host uses"));
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    assert!(matches!(rewrite(b"\0asm\x01\0\0\0"), Err(Reason::Unknown(_))));
    for bytes in [&b""[..], b"text", b"\0asm\x0d\0\x01\0\x01\xff\xff\xff\xff\x0f"] {
        assert!(rewrite(bytes).is_err(), "{bytes:?}");
    }
    // Every beginning of a component, and a component with any one byte changed: no panic.
    let whole = component(&format!("{MEMORY_OF_ONE} (global (mut i32) (i32.const 1))"));
    for at in 0..whole.len() {
        let _ = rewrite(&whole[..at]);
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            if let Ok(after) = rewrite(&changed) {
                let is_valid =
                    |bytes: &[u8]| Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).is_ok();
                assert!(!is_valid(&changed) || is_valid(&after), "byte {at}, bit {bit}");
            }
        }
    }
}
