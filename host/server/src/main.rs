//! `roadrunner`: see `roadrunner --help`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With RUST_BACKTRACE set, dropping an instance would capture a backtrace: 10 us for each request.
    // SAFETY: no other thread exists yet.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    roadrunner_server::cli::main()
}
