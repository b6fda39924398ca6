//! `roadrunner`: see `roadrunner --help`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With RUST_BACKTRACE set, dropping an instance would capture a backtrace: 10 us for each request.
    // SAFETY: no other thread exists yet.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    // A held session has two buffers of 8 KiB of which little was ever written; in huge pages all of it is resident, 8 KiB
    // more for each. A kernel that knows no huge pages refuses, which is as good.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    roadrunner_server::cli::main()
}
