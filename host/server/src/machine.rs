//! The machine's memory, as far as this process may use it, and the part of it that requests may take.

use std::fs;
use std::path::Path;

/// The mount point of control groups, version 2.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The memory that is assumed for a machine that does not report it.
const UNKNOWN: u64 = 4 << 30;

/// The divisor of the machine's memory that gives the default of `limits.buffered`.
const BUFFERS_PART: u64 = 4;

/// The bytes that the host may hold for all requests together: `limits.buffered`, or its default.
pub(crate) fn buffers(configured: Option<u64>) -> u64 {
    configured.unwrap_or_else(|| memory() / BUFFERS_PART)
}

/// Bytes of memory: those of the machine, or those of the narrowest control group around this process.
fn memory() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| of_groups(Path::new(CGROUPS), &text));
    total.into_iter().chain(group).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of /proc/meminfo.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The smallest `memory.max` of a process's group and its parents; none without a limit.
fn of_groups(root: &Path, own: &str) -> Option<u64> {
    let group = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = root.join(group);
    let limit = |group: &Path| fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok();
    own.ancestors().take_while(|group| group.starts_with(root)).filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        assert_eq!(total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(memory() > 64 << 20);
        assert_eq!((buffers(Some(1 << 20)), buffers(None)), (1 << 20, memory() / 4));
    }

    #[test]
    fn the_narrowest_group_decides() {
        let root = std::env::temp_dir().join(format!("roadrunner-groups-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b/c")).expect("a folder");
        for (group, limit) in [("a", "1000\n"), ("a/b", "max\n"), ("a/b/c", "5000\n")] {
            fs::write(root.join(group).join("memory.max"), limit).expect("a file");
        }
        assert_eq!(of_groups(&root, "0::/a/b/c\n"), Some(1000));
        assert_eq!(of_groups(&root, "12:memory:/x\n"), None);
        assert_eq!(of_groups(&root, "0::/\n"), None);
        fs::remove_dir_all(root).expect("it was made here");
    }
}
