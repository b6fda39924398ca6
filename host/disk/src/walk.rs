//! Measures a directory.
//!
//! At any depth, only two descriptors are open at a time: the way back up is `..`, and its target is compared with the
//! directory seen on the way down.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::block::blocks;

/// The flags for opening directories. A link is not followed.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The result of a measurement.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Measured {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    /// There are more files than the limit, and not all were counted.
    pub(crate) beyond: bool,
}

/// Measures the contents of a directory, until there are more than `most` files.
pub(crate) fn measure(root: &File, most: u64) -> io::Result<Measured> {
    let mut walk = Walk { measured: Measured::default(), linked: HashSet::new() };
    let mut current = rustix::fs::openat(root, ".", FLAGS, Mode::empty())?;
    let mut here = walk.list(&current)?;
    let mut above: Vec<Level> = Vec::new();
    while walk.measured.files <= most {
        if let Some(name) = here.below.pop() {
            match rustix::fs::openat(&current, name, FLAGS, Mode::empty()) {
                Ok(child) => {
                    let level = walk.list(&child)?;
                    above.push(std::mem::replace(&mut here, level));
                    current = child;
                }
                // Removed since, or not readable for us.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(errno) => return Err(errno.into()),
            }
            continue;
        }
        let Some(level) = above.pop() else { return Ok(walk.measured) };
        current = rustix::fs::openat(&current, "..", FLAGS, Mode::empty())?;
        if identity(&rustix::fs::fstat(&current)?) != level.identity {
            return Err(io::Error::other("a directory was moved while it was measured"));
        }
        here = level;
    }
    Ok(Measured { beyond: true, ..walk.measured })
}

/// The identity of a file: its device and its inode number.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A directory on the way down.
struct Level {
    identity: (u64, u64),
    /// The subdirectories that are still to be measured.
    below: Vec<CString>,
}

struct Walk {
    measured: Measured,
    /// Files with several names that were already counted.
    linked: HashSet<(u64, u64)>,
}

impl Walk {
    /// Counts the entries of a directory itself.
    fn list(&mut self, directory: &OwnedFd) -> io::Result<Level> {
        let mut level = Level { identity: identity(&rustix::fs::fstat(directory)?), below: Vec::new() };
        for entry in Dir::read_from(directory.as_fd())? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            self.measured.files += 1;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => level.below.push(name.to_owned()),
                FileType::RegularFile if stat.st_nlink == 1 || self.linked.insert(identity(&stat)) => {
                    self.measured.bytes += blocks(u64::try_from(stat.st_size).unwrap_or(0));
                }
                _ => {}
            }
        }
        Ok(level)
    }
}
