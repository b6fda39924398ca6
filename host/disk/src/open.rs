//! Opens files and directories below a directory.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{self as beneath, FileType, FollowSymlinks, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::change::set_size;
use crate::disk::{Disk, Inner};

/// Flags against waiting, if there is a FIFO after all, and against making a terminal that of the host.
const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// The mode of opening a file or directory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenHow {
    /// It is opened for reading.
    pub read: bool,
    /// It is opened for writing.
    pub write: bool,
    /// A file is created if there is none. It is then opened for writing, too.
    pub create: bool,
    /// It must not exist yet.
    pub exclusive: bool,
    /// Its content is removed. It is then opened for writing, too.
    pub truncate: bool,
    /// It must be a directory.
    pub directory: bool,
    /// A link at the end of the path is followed.
    pub follow: bool,
}

/// An opened file or directory.
#[derive(Debug)]
pub struct Opened {
    /// Its descriptor.
    pub file: File,
    /// Whether it is a directory.
    pub is_directory: bool,
}

impl Disk {
    /// Opens a file or a directory.
    ///
    /// # Errors
    /// EPERM for anything else, and for a path that leads out of the directory. ENOSPC if a new file would exceed the
    /// limit.
    pub async fn open_at(&self, directory: Arc<File>, path: String, how: OpenHow) -> io::Result<Opened> {
        if how.create || how.truncate {
            return self.change(move |disk| open(disk, &directory, Path::new(&path), how)).await;
        }
        let disk = self.0.clone();
        self.0.threads.start(move || open(&disk, &directory, Path::new(&path), how)).await
    }
}

fn open(disk: &Arc<Inner>, directory: &File, path: &Path, how: OpenHow) -> io::Result<Opened> {
    let follow = if how.follow { FollowSymlinks::Yes } else { FollowSymlinks::No };
    let creates = match beneath::stat(directory, path, follow) {
        Ok(_) if how.create && how.exclusive => return Err(Errno::EXIST.into()),
        Ok(found) => {
            check(found.file_type(), how)?;
            false
        }
        Err(error) if how.create && error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    let mut options = OpenOptions::new();
    options
        .read(how.read)
        .write(how.write || how.create || how.truncate)
        .create(how.create && !how.exclusive)
        .create_new(how.create && how.exclusive)
        // The flags are small, so they fit.
        .custom_flags(FLAGS.bits() as i32)
        ._cap_fs_ext_follow(follow);
    if creates {
        disk.take(0, 1)?;
    }
    let opened = beneath::open(directory, path, &options);
    if creates && opened.is_err() {
        disk.give_back(0, 1);
    }
    let file = opened?;
    // The path may lead to another file than a moment ago.
    let metadata = file.metadata()?;
    let is_directory = metadata.is_dir();
    if how.directory && !is_directory {
        return Err(Errno::NOTDIR.into());
    }
    if !is_directory && !metadata.is_file() {
        return Err(Errno::PERM.into());
    }
    if how.truncate && !is_directory {
        set_size(disk, &file, 0)?;
    }
    Ok(Opened { file, is_directory })
}

/// Whether this kind of file can be opened at all.
fn check(kind: FileType, how: OpenHow) -> io::Result<()> {
    match kind {
        _ if kind.is_dir() => Ok(()),
        _ if how.directory => Err(Errno::NOTDIR.into()),
        _ if kind.is_file() => Ok(()),
        _ if kind.is_symlink() => Err(Errno::LOOP.into()),
        _ => Err(Errno::PERM.into()),
    }
}
