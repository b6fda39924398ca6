//! `roadrunner`: see `roadrunner --help`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With RUST_BACKTRACE set, dropping an instance would capture a backtrace: 10 us for each request.
    // SAFETY: no other thread exists yet.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    // A held session has two buffers of 8 KiB, mostly never written; in huge pages they are fully resident, 8 KiB more
    // for each. A kernel without huge pages refuses the call, which has the same effect.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    roadrunner_server::cli::main()
}
