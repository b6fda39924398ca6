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

use roadrunner_account::Charge;
use roadrunner_disk::Disk;
use rustix::io::Errno;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::FsError;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of};

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
#[derive(Default)]
pub struct OpenFiles {
    /// The engine's own state.
    context: WasiFilesystemCtx,
    /// The disk of each descriptor.
    disks: HashMap<u32, Disk>,
    /// The size of each listing, in bytes.
    listings: HashMap<u32, u64>,
}

/// The capability `wasi:filesystem`.
pub struct Files;

impl Capability for Files {
    type Grant = Vec<Preopen>;
    type Held = Option<Box<OpenFiles>>;

    /// Replaces the engine's functions by those of this module.
    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        linker.allow_shadowing(true);
        preopens::add_to_linker::<_, Of<Self>>(linker, T::call)?;
        types::add_to_linker::<_, Of<Self>>(linker, T::call)?;
        linker.allow_shadowing(false);
        Ok(())
    }

    fn rest(held: &mut Self::Held) {
        if let Some(files) = held {
            files.listings.clear();
        }
    }
}

impl preopens::Host for Call<'_, Files> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let preopens = self.grant;
        let open = |preopen: &Preopen| {
            let descriptor = self.push(Descriptor::Dir(preopen.handle.clone()), &preopen.disk)?;
            Ok((descriptor, preopen.path.clone()))
        };
        preopens.iter().map(open).collect()
    }
}

impl types::Host for Call<'_, Files> {
    fn convert_error_code(&mut self, error: FsError) -> Result<types::ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<types::ErrorCode>> {
        if let Some(error) = self.core.table.get(&error)?.downcast_ref::<io::Error>()
            && let Some(code) = unknown_to_the_engine(error)
        {
            return Ok(Some(code));
        }
        self.engine().filesystem_error_code(error)
    }
}

impl Call<'_, Files> {
    fn files(&mut self) -> &mut OpenFiles {
        self.held.get_or_insert_default()
    }

    /// The engine's functions.
    fn engine(&mut self) -> WasiFilesystemCtxView<'_> {
        let Call { held, core, .. } = self;
        WasiFilesystemCtxView { ctx: &mut held.get_or_insert_default().context, table: &mut core.table }
    }

    fn push(&mut self, descriptor: Descriptor, disk: &Disk) -> Result<Resource<Descriptor>> {
        let descriptor = self.core.table.push(descriptor)?;
        self.files().disks.insert(descriptor.rep(), disk.clone());
        Ok(descriptor)
    }

    /// The disk of a descriptor.
    fn disk_of(&mut self, descriptor: &Resource<Descriptor>) -> Result<Disk> {
        let disk = self.files().disks.get(&descriptor.rep()).cloned();
        disk.ok_or_else(|| wasmtime::Error::msg("a descriptor that is of no granted directory"))
    }

    /// Charges memory for the most that another stream may hold.
    fn stream_charge(&mut self) -> Result<Charge> {
        let charge = Charge::take(self.core.meter.clone(), streams::HOLDS);
        self.core.granted(charge)
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
