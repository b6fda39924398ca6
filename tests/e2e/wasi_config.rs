//! `wasi:config/store`: a guest reads the values of `config` by the standard's interface.

use roadrunner_componentize::componentize;
use roadrunner_tests::{Ask, Setup, Way, command};
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// The world of a guest that knows the handler and the standard's configuration.
const WORLD: &str = "package roadrunner:test;\n\
    world reader { include roadrunner:handler/minimal@0.1.0; import wasi:config/store@0.2.0-rc.1; }\n";

/// The interface of the standard.
const CONFIG: &str = "package wasi:config@0.2.0-rc.1;\n\
    interface store {\n\
        variant error { upstream(string), io(string) }\n\
        get: func(key: string) -> result<option<string>, error>;\n\
        get-all: func() -> result<list<tuple<string, string>>, error>;\n\
    }\n";

/// Answers with the value of `greeting`; with 404 where there is none.
const MODULE: &str = r#"(module
  (import "wasi:config/store@0.2.0-rc.1" "get" (func $get (param i32 i32 i32)))
  (import "roadrunner:handler/types@0.1.0" "[resource-drop]request" (func $drop (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "greeting")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "roadrunner:handler/handler@0.1.0#handle") (param $request i32) (result i32)
    (call $drop (local.get $request))
    ;; At 128: whether it failed; at 132: whether there is a value; at 136 and 140: the value.
    (call $get (i32.const 16) (i32.const 8) (i32.const 128))
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store16 (i32.const 72) (select (i32.const 200) (i32.const 404) (i32.load8_u (i32.const 132))))
    (i32.store (i32.const 84) (i32.load (i32.const 136)))
    (i32.store (i32.const 88) (select (i32.load (i32.const 140)) (i32.const 0) (i32.load8_u (i32.const 132))))
    (i32.const 64)))"#;

fn component() -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_dir(command::workspace().join("wit")).expect("wit/ parses");
    resolve.push_str("config.wit", CONFIG).expect("the interface parses");
    let package = resolve.push_str("reader.wit", WORLD).expect("the world parses");
    let world = resolve.select_world(&[package], Some("reader")).expect("it has this world");
    let mut module = wat::parse_str(MODULE).expect("the module parses");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("the world can be encoded");
    componentize(&module).expect("the module is what the world asks for")
}

#[tokio::test]
async fn values_are_read_by_the_standard_interface() {
    let manifest = "[component.reader]\nfile = \"reader.wasm\"\nconfig = { greeting = \"good day\" }\n\
        [component.silent]\nfile = \"reader.wasm\"\n\
        [[route]]\npath = \"/own\"\ncomponent = \"reader\"\n\
        [[route]]\npath = \"/route\"\ncomponent = \"reader\"\nconfig = { greeting = \"good night\" }\n\
        [[route]]\npath = \"/none\"\ncomponent = \"silent\"\n";
    let server = Setup::with(manifest).file("reader.wasm", component()).start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        // Twice, since the second one may be answered by an instance that was put back.
        for _ in 0..2 {
            assert_eq!(client.fetch(Ask::get("/own")).await.text(), "good day", "{way:?}");
            assert_eq!(client.fetch(Ask::get("/route")).await.text(), "good night", "{way:?}");
            assert_eq!(client.fetch(Ask::get("/none")).await.status, 404, "{way:?}");
        }
    }
}
