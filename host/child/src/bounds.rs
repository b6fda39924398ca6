//! The restrictions that a child takes on before it reads a byte, enforced by the kernel.
//!
//! | restriction | mechanism |
//! |---|---|
//! | no descriptors but the three pipes | close_range(2), and a limit on more |
//! | memory, CPU time, the size of files, core dumps | resource limits (setrlimit(2)) |
//! | no privileges of set-user-ID programs | `PR_SET_NO_NEW_PRIVS` |
//! | no life after the host | `PR_SET_PDEATHSIG` |
//! | a lower priority than the serving threads | nice(2) |
//!
//! Its environment contains only the variables of [`Errand`](crate::Errand).

use std::io;

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal, setrlimit};

/// The address space besides the memory: the program itself, and the unused reserves of the allocator.
const PROGRAM: u64 = 512 << 20;

/// The niceness of a child relative to the serving threads.
const NICENESS: i32 = 5;

/// The CPU time in seconds, beyond the bound, for a child that ignores the kernel's signal.
const DEAF: u64 = 5;

/// The limits of a child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Memory, in bytes.
    pub memory: u64,
    /// CPU time of all its threads together, in seconds.
    pub cpu_seconds: u64,
    /// Descriptors, the three pipes included.
    pub descriptors: u64,
    /// The process that wants the result. The child ends with it.
    pub parent: u32,
}

impl Bounds {
    /// The bounds as arguments, for [`Self::parse`].
    pub fn arguments(&self) -> [String; 4] {
        [self.memory, self.cpu_seconds, self.descriptors, self.parent.into()].map(|number| number.to_string())
    }

    /// Parses bounds from the first arguments, and returns the remaining arguments; `None` if the arguments are
    /// something else.
    pub fn parse(arguments: &[String]) -> Option<(Self, &[String])> {
        let ([memory, cpu, descriptors, parent], rest) = arguments.split_first_chunk()?;
        let bounds = Self {
            memory: memory.parse().ok()?,
            cpu_seconds: cpu.parse().ok()?,
            descriptors: descriptors.parse().ok()?,
            parent: parent.parse().ok()?,
        };
        Some((bounds, rest))
    }

    /// Applies the bounds to this process. Call it before the program has opened anything or started a thread.
    ///
    /// # Errors
    ///
    /// The kernel refuses a bound, or the host is gone. The child must not continue then.
    pub fn apply(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The host may have died before that.
        if getppid().map(Pid::as_raw_pid) != i32::try_from(self.parent).ok() {
            return Err(io::Error::other("the host is gone"));
        }
        rustix::thread::set_no_new_privs(true)?;
        // SAFETY: this is the first action of the process, so that nothing in it owns a descriptor beyond the three
        // standard ones.
        if unsafe { libc::close_range(3, u32::MAX, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // A failure only costs the host speed, not correctness.
        let _ = nice(NICENESS);
        let at_most = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
        at_most(Resource::As, self.memory.saturating_add(PROGRAM))?;
        at_most(Resource::Data, self.memory)?;
        // At the soft limit the kernel tells why it ends the process; the hard limit is for processes that ignore that.
        let cpu = Rlimit { current: Some(self.cpu_seconds), maximum: Some(self.cpu_seconds.saturating_add(DEAF)) };
        setrlimit(Resource::Cpu, cpu)?;
        at_most(Resource::Nofile, self.descriptors)?;
        at_most(Resource::Fsize, 0)?;
        at_most(Resource::Core, 0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_survive_a_command_line() {
        let bounds = Bounds { memory: 1 << 40, cpu_seconds: 60, descriptors: 3, parent: 7 };
        let mut arguments = bounds.arguments().to_vec();
        arguments.push("more".to_owned());
        let (parsed, rest) = Bounds::parse(&arguments).expect("bounds");
        assert_eq!((parsed, rest), (bounds, &["more".to_owned()][..]));
        assert!(Bounds::parse(&arguments[1..]).is_none(), "a number is missing");
        assert!(Bounds::parse(&arguments[..3]).is_none(), "cut short");
    }

    #[test]
    fn a_child_of_somebody_else_does_not_go_on() {
        // No process has this number as its parent; the bounds applied before that check apply to this process anyway.
        let bounds = Bounds { memory: 0, cpu_seconds: 0, descriptors: 0, parent: u32::MAX };
        let refused = std::thread::spawn(move || bounds.apply()).join().expect("no panic");
        assert_eq!(refused.expect_err("it must not go on").to_string(), "the host is gone");
    }
}
