//! Every scenario against the native server, over its protocols.

mod support;

use roadrunner_bench::client::Target;
use roadrunner_bench::load;
use roadrunner_bench::native::Native;
use roadrunner_bench::scenarios::{self, Needs, Protocol, SCENARIOS};
use support::Server;

#[test]
fn the_native_server_answers_every_scenario() {
    let server = Server::start(Native::new());
    for scenario in SCENARIOS {
        for &protocol in scenario.protocols {
            let target = Target::new(scenario, protocol, server.address(protocol)).unwrap();
            load::check(&target).unwrap_or_else(|error| panic!("{} over {protocol:?}: {error:#}", scenario.name));
        }
    }
}

#[test]
fn a_wrong_answer_is_an_error() {
    let server = Server::start(Native::new());
    let mut wrong = *scenarios::find("hello").unwrap();
    wrong.answer = || b"alive\n".to_vec();
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        let error = load::check(&Target::new(&wrong, protocol, server.address(protocol)).unwrap()).unwrap_err();
        assert!(error.to_string().contains("another one"), "{error:#}");
    }
    let mut plain = *scenarios::find("hello").unwrap();
    plain.needs = Needs::Compression;
    let error = load::check(&Target::new(&plain, Protocol::H1, server.address(Protocol::H1)).unwrap()).unwrap_err();
    assert!(error.to_string().contains("not compressed"), "{error:#}");
}

#[test]
fn sizes_are_those_of_the_origin() {
    let answer = |name: &str| (scenarios::find(name).unwrap().answer)();
    let body = |name: &str| (scenarios::find(name).unwrap().body)();
    assert_eq!(answer("hello").len(), 7);
    assert_eq!(answer("json").len(), 115);
    assert_eq!(answer("gzip_response").len(), 16_021);
    assert_eq!(answer("large_response").len(), 65_536);
    assert_eq!(body("echo").len(), 256);
    assert_eq!(body("post_4kb_form").len(), 4095);
    assert_eq!(body("large_post_streaming").len(), 1 << 20);
    for json in [answer("json"), answer("gzip_response")] {
        serde_json::from_slice::<serde_json::Value>(&json).unwrap();
    }
    let fields = (scenarios::find("headers_heavy").unwrap().fields)();
    assert_eq!(fields.last().unwrap(), &("x-bench-16".to_owned(), "g".repeat(16)));
}
