//! The confinement of a compiler beyond the bounds of every child: a filter of system calls, by seccomp(2).
//!
//! The filter allows calls for memory, threads, clocks, and for reading and writing open files. So the compiler opens
//! no file, no socket and no process, signals nobody and traces nobody. A call that is not listed fails with EPERM. On
//! an architecture that has no list here, the filter is left out.

use std::io;

use libc::{c_long, sock_filter, sock_fprog};

/// Installs the filter; from here on, this thread and the threads that it starts can make no other calls.
pub(super) fn filter_calls() -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE else { return Ok(()) };
    let program = program(architecture);
    let program = sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` names the instructions and their number; the kernel copies them and does not write to them.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// AUDIT_ARCH_* of linux/audit.h, by which the kernel names the table of a call's number.
const ARCHITECTURE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    Some(0xc000_003e)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xc000_00b7)
} else {
    None
};

/// The calls that a compiler makes: memory, threads, locks, clocks, signals to itself, and the pipes.
const ALLOWED: [c_long; 38] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Offsets in `struct seccomp_data` (linux/seccomp.h); arguments are little-endian where there is a list.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

fn program(architecture: u32) -> Vec<sock_filter> {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let answer = |value| statement(libc::BPF_RET | libc::BPF_K, value);
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let fails_with = |errno: i32| answer(libc::SECCOMP_RET_ERRNO | errno as u32);
    let mut program = vec![
        load(ARCH),
        // On another architecture, the numbers have other meanings.
        jump(libc::BPF_JEQ, architecture, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    for call in ALLOWED {
        program.extend([jump(libc::BPF_JEQ, number(call), 0, 1), allow]);
    }
    program.extend([
        // The arguments are behind a pointer. With ENOSYS, a C library uses the older call.
        jump(libc::BPF_JEQ, number(libc::SYS_clone3), 0, 1),
        fails_with(libc::ENOSYS),
        // An abort is a signal to the process itself. Signals to other processes are not needed, and so not allowed.
        jump(libc::BPF_JEQ, number(libc::SYS_tgkill), 0, 4),
        load(FIRST_ARGUMENT),
        jump(libc::BPF_JEQ, std::process::id(), 0, 1),
        allow,
        fails_with(libc::EPERM),
        // Threads are allowed, processes are not.
        jump(libc::BPF_JEQ, number(libc::SYS_clone), 0, 3),
        load(FIRST_ARGUMENT),
        jump(libc::BPF_JSET, libc::CLONE_THREAD as u32, 0, 1),
        allow,
        fails_with(libc::EPERM),
    ]);
    program
}

/// Converts the number of a system call, which is small.
fn number(call: c_long) -> u32 {
    call as u32
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Compares, and skips this many instructions.
fn jump(comparison: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | comparison | libc::BPF_K) as u16, jt: if_true, jf: if_false, k }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, UdpSocket};
    use std::process::Command;
    use std::thread;

    use super::*;

    /// A filter holds for the thread that asks for it, and for the threads that it starts. So this test uses a thread
    /// of its own, and other tests are not affected.
    #[test]
    fn a_compiler_opens_nothing_and_starts_nobody() {
        if ARCHITECTURE.is_none() {
            println!("SKIPPED: confine: there is no list of system calls for this architecture");
            return;
        }
        let confined = thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).expect("no new privileges");
            filter_calls().expect("a filter");
            let denied = |error: io::Error| error.raw_os_error() == Some(libc::EPERM);
            assert!(File::open("/etc/passwd").is_err_and(denied), "files");
            assert!(File::create("/tmp/roadrunner-confined").is_err_and(denied), "new files");
            assert!(TcpListener::bind("127.0.0.1:0").is_err_and(denied), "listeners");
            assert!(UdpSocket::bind("127.0.0.1:0").is_err_and(denied), "sockets");
            assert!(Command::new("/bin/true").spawn().is_err(), "programs");
            assert!(std::fs::read_dir("/proc").is_err_and(denied), "other processes");
            // The calls that a compiler needs still work.
            let threads: Vec<_> = (0..2).map(|index| thread::spawn(move || vec![index; 1 << 20].len())).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).sum::<usize>()
        });
        assert_eq!(confined.join().expect("the confined thread"), 2 << 20);
        assert!(File::open("/etc/passwd").is_ok(), "others are not confined");
    }
}
