//! All operations that change a directory's usage: each charges first, then acts, and gives back the room that it did
//! not need.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use cap_primitives::fs::{self as beneath, DirOptions, FollowSymlinks};
use rustix::io::Errno;

use crate::block::blocks;
use crate::disk::{Disk, Inner, is_full};

/// Where a write begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// At this offset.
    At(u64),
    /// At the end of the file.
    End,
}

// Each takes paths below a directory of this disk, and fails as the system call of its name does; also with ENOSPC when
// the directory is full, and with EDQUOT when its owner's limit is reached.
impl Disk {
    /// Writes all of the bytes, and returns their number.
    pub async fn write(
        &self,
        file: Arc<File>,
        place: Place,
        bytes: impl AsRef<[u8]> + Clone + Send + 'static,
    ) -> io::Result<usize> {
        self.change(move |disk| write(disk, &file, place, bytes.as_ref())).await
    }

    /// Makes a file longer or shorter.
    pub async fn set_size(&self, file: Arc<File>, size: u64) -> io::Result<()> {
        self.change(move |disk| set_size(disk, &file, size)).await
    }

    /// mkdir.
    pub async fn create_directory(&self, directory: Arc<File>, path: String) -> io::Result<()> {
        self.change(move |disk| adding(disk, || beneath::create_dir(&directory, Path::new(&path), &DirOptions::new())))
            .await
    }

    /// symlink. An absolute target is refused.
    pub async fn create_symlink(&self, target: String, directory: Arc<File>, path: String) -> io::Result<()> {
        self.change(move |disk| adding(disk, || beneath::symlink(Path::new(&target), &directory, Path::new(&path))))
            .await
    }

    /// link, between two directories of this disk.
    pub async fn link(&self, from: (Arc<File>, String), to: (Arc<File>, String)) -> io::Result<()> {
        self.change(move |disk| {
            adding(disk, || beneath::hard_link(&from.0, Path::new(&from.1), &to.0, Path::new(&to.1)))
        })
        .await
    }

    /// rename, between two directories of this disk.
    pub async fn rename(&self, from: (Arc<File>, String), to: (Arc<File>, String)) -> io::Result<()> {
        self.change(move |disk| {
            let replaces = beneath::stat(&to.0, Path::new(&to.1), FollowSymlinks::No).is_ok();
            beneath::rename(&from.0, Path::new(&from.1), &to.0, Path::new(&to.1))?;
            if replaces {
                disk.removed();
            }
            Ok(())
        })
        .await
    }

    /// rmdir.
    pub async fn remove_directory(&self, directory: Arc<File>, path: String) -> io::Result<()> {
        self.change(move |disk| {
            beneath::remove_dir(&directory, Path::new(&path))?;
            disk.give_back(0, 1);
            Ok(())
        })
        .await
    }

    /// unlink.
    pub async fn remove_file(&self, directory: Arc<File>, path: String) -> io::Result<()> {
        self.change(move |disk| {
            beneath::remove_file(&directory, Path::new(&path))?;
            disk.removed();
            Ok(())
        })
        .await
    }

    /// Runs a change when it is its turn. A change that does not fit is tried again once earlier removals are counted.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        job: impl Fn(&Arc<Inner>) -> io::Result<T> + Clone + Send + 'static,
    ) -> io::Result<T> {
        loop {
            let turn = self.0.turn.clone().lock_owned().await;
            // Registered now, so that no measurement is missed: measuring needs the turn, too.
            let measured = self.0.measured.notified();
            let (disk, job) = (self.0.clone(), job.clone());
            let done = self.0.threads.start(move || {
                let _turn = turn;
                let result = job(&disk);
                let may_fit_later = result.as_ref().is_err_and(is_full) && disk.is_stale();
                (result, may_fit_later)
            });
            match done.await {
                (_, true) => measured.await,
                (result, false) => return result,
            }
        }
    }
}

/// Adds a file without content, or a name.
fn adding(disk: &Arc<Inner>, add: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    disk.take(0, 1)?;
    add().inspect_err(|_| disk.give_back(0, 1))
}

fn write(disk: &Arc<Inner>, file: &File, place: Place, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let before = file.metadata()?.len();
    let start = match place {
        Place::At(offset) => offset,
        Place::End => before,
    };
    let end = start.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
    growing(disk, file, before, before.max(end), || file.write_all_at(bytes, start))?;
    Ok(bytes.len())
}

pub(crate) fn set_size(disk: &Arc<Inner>, file: &File, size: u64) -> io::Result<()> {
    let before = file.metadata()?.len();
    growing(disk, file, before, size, || file.set_len(size))
}

/// Changes a file's length from `before` to `after`, and charges the length that results.
fn growing(
    disk: &Arc<Inner>,
    file: &File,
    before: u64,
    after: u64,
    change: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let taken = blocks(after).saturating_sub(blocks(before));
    disk.take(taken, 0)?;
    let result = change();
    // An error can come after part of the change; if the length cannot be read, the room stays charged.
    let now = file.metadata().map_or(after.max(before), |data| data.len());
    disk.give_back((blocks(before) + taken).saturating_sub(blocks(now)), 0);
    result
}
