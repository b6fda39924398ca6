//! Directories that a component is granted, through `wasi:filesystem` 0.2.
//!
//! There are three phases. A [`Disk`] is opened once for each directory of the manifest. A [`Preopen`] says where a
//! component sees it and whether it can change it. [`OpenFiles`] is the state of one instance. A request resolves no
//! path and makes no system call for its preopens: they are clones of existing handles.
//!
//! The functions of this module shadow those of the engine. Calls that only read are passed on to the engine. Calls
//! that open or change something go through the disk, which tracks its size and reaches nothing outside. All of them
//! run on threads that may wait.
//!
//! Resources that the host holds for a guest count. Each descriptor, stream and listing is one of its `handles`.
//! Listings and bytes to be written count as its memory while they exist, and so does each stream, with its maximum.

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
    /// Grants a directory for reading, or also for changes. Guests see it at `path`.
    ///
    /// # Errors
    /// Fails when the process has too many files open.
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

/// The open files of one instance. Resources are identified by their number in the instance's table.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles {
    /// The disk of each descriptor.
    disks: HashMap<u32, Disk>,
    /// The size of each listing, in bytes.
    listings: HashMap<u32, u64>,
}

impl OpenFiles {
    /// Gives back the memory that the host held for the request: the instance has answered.
    pub(crate) fn rest(&mut self) {
        self.listings.clear();
    }
}

/// Replaces the engine's functions by those of this module.
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

    /// The disk of a descriptor.
    fn disk_of(&mut self, descriptor: &Resource<Descriptor>) -> Result<Disk> {
        let disk = self.called().files().disks.get(&descriptor.rep()).cloned();
        disk.ok_or_else(|| wasmtime::Error::msg("a descriptor that is of no granted directory"))
    }

    /// Charges memory that the host holds for a while.
    fn charge(&mut self, bytes: u64) -> Result<()> {
        match self.memory.charge(bytes) {
            true => Ok(()),
            false => Err(Stop(self.memory.exceeded()).into()),
        }
    }

    /// Charges memory for the most that another stream may hold.
    fn stream_charge(&mut self) -> Result<Charge> {
        let charge = Charge::take(self.meter.clone(), streams::HOLDS);
        self.memory.is_granted(charge).ok_or_else(|| Stop(self.memory.exceeded()).into())
    }
}

/// Converts an error for the guest.
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
