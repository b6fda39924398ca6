//! Directories that a component is granted, through `wasi:filesystem` 0.2.
//!
//! The three phases: a [`Disk`] is opened once for each directory of the manifest, a [`Preopen`] says where one component
//! sees it and whether it can change it, and [`OpenFiles`] is what one instance has open. A request resolves no path and
//! makes no system call to have its preopens: they are clones of handles that are there.
//!
//! The functions of the engine's own implementation are shadowed by those of this module. What only looks is passed on to
//! it; what opens or changes something goes through the disk, which keeps its size and reaches nothing outside. All of it
//! runs on threads that may wait.
//!
//! What the host holds for a guest counts: each descriptor, stream and listing is one of its `handles`, a listing and
//! what is written count as its memory while they are there, and each stream for as much as it may hold.

mod descriptor;
mod streams;

use std::collections::HashMap;
use std::fmt;
use std::io;

use roadrunner_disk::Disk;
use rustix::io::Errno;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemView as _};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::account::Charge;
use crate::state::{State, Stop};

/// A directory that a component is granted.
#[derive(Clone)]
pub struct Preopen {
    disk: Disk,
    path: String,
    handle: Dir,
}

impl Preopen {
    /// Grants a directory to be read, or to be changed too. Guests see it at `path`.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub fn new(disk: Disk, path: &str, is_writable: bool) -> io::Result<Self> {
        let (perms, mode) = match is_writable {
            true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
            false => (FsPerms::ReadOnly, OpenMode::READ),
        };
        let handle = Dir::new(disk.root().try_clone()?, perms, mode, false);
        Ok(Self { disk, path: path.to_owned(), handle })
    }
}

impl fmt::Debug for Preopen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preopen").field("disk", &self.disk).field("path", &self.path).finish_non_exhaustive()
    }
}

/// What one instance has open. Resources are known by their number in the instance's table.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    /// The disk of each descriptor.
    disks: HashMap<u32, Disk>,
    /// What each listing holds, in bytes.
    listings: HashMap<u32, u64>,
}

impl OpenFiles {
    /// The instance has answered: what the host held for the request is no longer charged.
    pub(crate) fn rest(&mut self) {
        self.listings.clear();
    }
}

/// Puts this module's functions in the place of the engine's.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    preopens::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut State| state)?;
    types::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut State| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl preopens::Host for State {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let binding = self.called().binding.clone();
        let open = |preopen: &Preopen| {
            let descriptor = self.push(Descriptor::Dir(preopen.handle.clone()), &preopen.disk)?;
            Ok((descriptor, preopen.path.clone()))
        };
        binding.preopens.iter().map(open).collect()
    }
}

impl types::Host for State {
    fn convert_error_code(&mut self, error: FsError) -> Result<types::ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<types::ErrorCode>> {
        if let Some(error) = self.table.get(&error)?.downcast_ref::<io::Error>()
            && let Some(code) = unknown_to_the_engine(error)
        {
            return Ok(Some(code));
        }
        self.filesystem().filesystem_error_code(error)
    }
}

impl State {
    fn files(&mut self) -> &mut OpenFiles {
        self.files.get_or_insert_default()
    }

    fn push(&mut self, descriptor: Descriptor, disk: &Disk) -> Result<Resource<Descriptor>> {
        let descriptor = self.table.push(descriptor)?;
        self.files().disks.insert(descriptor.rep(), disk.clone());
        Ok(descriptor)
    }

    /// The disk that a descriptor is of.
    fn disk_of(&mut self, descriptor: &Resource<Descriptor>) -> Result<Disk> {
        let disk = self.called().files().disks.get(&descriptor.rep()).cloned();
        disk.ok_or_else(|| wasmtime::Error::msg("a descriptor that is of no granted directory"))
    }

    /// Takes memory for what the host holds for a while.
    fn charge(&mut self, bytes: u64) -> Result<()> {
        match self.memory.charge(bytes) {
            true => Ok(()),
            false => Err(Stop(self.memory.exceeded()).into()),
        }
    }

    /// Takes memory for what one more stream may hold.
    fn stream_charge(&mut self) -> Result<Charge> {
        let charge = Charge::take(self.meter.clone(), streams::HOLDS);
        self.memory.is_granted(charge).ok_or_else(|| Stop(self.memory.exceeded()).into())
    }
}

/// What a guest is told of an error.
fn told(error: io::Error) -> FsError {
    unknown_to_the_engine(&error).map_or_else(|| error.into(), FsError::from)
}

fn unknown_to_the_engine(error: &io::Error) -> Option<types::ErrorCode> {
    match Errno::from_io_error(error)? {
        Errno::DQUOT => Some(types::ErrorCode::Quota),
        Errno::XDEV => Some(types::ErrorCode::CrossDevice),
        Errno::TXTBSY => Some(types::ErrorCode::TextFileBusy),
        Errno::ROFS => Some(types::ErrorCode::ReadOnly),
        _ => None,
    }
}
