//! Never finishes its start: what the host runs to make an instance, before it can call any export, loops forever.

use std::hint::black_box;

use roadrunner_guest::{IntoResponse, Request, handler};

/// The name under which a core module exports what a component runs when it is instantiated.
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    let mut rounds: u64 = 0;
    loop {
        rounds = black_box(rounds.wrapping_add(1));
    }
}

#[handler]
fn never(_request: Request) -> impl IntoResponse {
    "this is never sent\n"
}
