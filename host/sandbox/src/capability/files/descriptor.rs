//! Descriptors: calls that open or change something go through the disk, all others to the engine.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use roadrunner_disk::{Disk, OpenHow, Place};
use rustix::fs::Dir as Listing;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{self, Descriptor, Dir};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode, Filesize,
    HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::streams::{Reader, Writer};
use super::{Files, told};
use crate::guest::core::Call;

/// The size of a listing's entry in addition to its name, in bytes.
const ENTRY: u64 = 96;

impl HostDescriptor for Call<'_, Files> {
    async fn open_at(
        &mut self,
        directory: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let disk = self.disk_of(&directory).map_err(FsError::trap)?;
        let from = self.directory(&directory)?.clone();
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(synchronous) {
            return Err(ErrorCode::Unsupported.into());
        }
        let changes = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
        if open_flags.contains(OpenFlags::DIRECTORY) && open_flags.intersects(changes) {
            return Err(ErrorCode::Invalid.into());
        }
        let how = OpenHow {
            // A file opened without flags is opened for reading, as in the engine.
            read: flags.contains(DescriptorFlags::READ) || !flags.contains(DescriptorFlags::WRITE),
            write: flags.contains(DescriptorFlags::WRITE),
            create: open_flags.contains(OpenFlags::CREATE),
            exclusive: open_flags.contains(OpenFlags::EXCLUSIVE),
            truncate: open_flags.contains(OpenFlags::TRUNCATE),
            directory: open_flags.contains(OpenFlags::DIRECTORY),
            follow: path_flags.contains(PathFlags::SYMLINK_FOLLOW),
        };
        let writes = how.write || how.create || how.truncate;
        if writes && from.perms.write_not_permitted() {
            return Err(ErrorCode::ReadOnly.into());
        }
        let opened = disk.open_at(from.dir.clone(), path, how).await.map_err(told)?;
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, how.read);
        mode.set(OpenMode::WRITE, writes);
        let descriptor = match opened.is_directory {
            true => Descriptor::Dir(Dir::new(opened.file, from.perms, mode, false)),
            false => {
                let file = filesystem::File::new(opened.file, from.perms, mode, false);
                disk.is_open(&file.file);
                Descriptor::File(file)
            }
        };
        self.push(descriptor, &disk).map_err(FsError::trap)
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.files().disks.remove(&descriptor.rep());
        HostDescriptor::drop(&mut self.engine(), descriptor)
    }

    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let (disk, file) = self.writable(&descriptor)?;
        let size = bytes.len() as u64;
        self.core.charge(size).map_err(FsError::trap)?;
        let written = disk.write(file, Place::At(offset), Bytes::from(bytes)).await;
        self.core.memory.release(size);
        Ok(written.map_err(told)? as u64)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&descriptor, Place::At(offset))
    }

    fn append_via_stream(&mut self, descriptor: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&descriptor, Place::End)
    }

    fn read_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        let charge = self.stream_charge().map_err(FsError::trap)?;
        let stream = self.engine().read_via_stream(descriptor, offset)?;
        let inner = self.core.table.delete(stream)?;
        let reader: DynInputStream = Box::new(Reader { inner, _charge: charge });
        Ok(self.core.table.push(reader)?)
    }

    async fn set_size(&mut self, descriptor: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let (disk, file) = self.writable(&descriptor)?;
        disk.set_size(file, size).await.map_err(told)
    }

    async fn read_directory(&mut self, descriptor: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let directory = self.directory(&descriptor)?.dir.clone();
        // The engine reads the whole listing at once.
        let disk = self.disk_of(&descriptor).map_err(FsError::trap)?;
        let size = disk.threads().start(move || listing_size(&directory)).await.map_err(told)?;
        self.core.charge(size).map_err(FsError::trap)?;
        let listing = self.engine().read_directory(descriptor).await;
        match &listing {
            Ok(listing) => drop(self.files().listings.insert(listing.rep(), size)),
            Err(_) => self.core.memory.release(size),
        }
        listing
    }

    async fn create_directory_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        let (disk, directory) = self.changeable(&directory)?;
        disk.create_directory(directory, path).await.map_err(told)
    }

    async fn symlink_at(&mut self, directory: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        let (disk, directory) = self.changeable(&directory)?;
        disk.create_symlink(target, directory, path).await.map_err(told)
    }

    async fn link_at(
        &mut self,
        from: Resource<Descriptor>,
        path_flags: PathFlags,
        from_path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        if path_flags.contains(PathFlags::SYMLINK_FOLLOW) {
            return Err(ErrorCode::Invalid.into());
        }
        let (disk, from, to) = self.of_one_disk(&from, &to)?;
        disk.link((from, from_path), (to, to_path)).await.map_err(told)
    }

    async fn rename_at(
        &mut self,
        from: Resource<Descriptor>,
        from_path: String,
        to: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        let (disk, from, to) = self.of_one_disk(&from, &to)?;
        disk.rename((from, from_path), (to, to_path)).await.map_err(told)
    }

    async fn remove_directory_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        let (disk, directory) = self.changeable(&directory)?;
        disk.remove_directory(directory, path).await.map_err(told)
    }

    async fn unlink_file_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<()> {
        let (disk, directory) = self.changeable(&directory)?;
        disk.remove_file(directory, path).await.map_err(told)
    }

    // The following functions change no size and open nothing.

    async fn advise(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.engine().advise(descriptor, offset, length, advice).await
    }

    async fn sync_data(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.engine().sync_data(descriptor).await
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.engine().sync(descriptor).await
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.engine().get_flags(descriptor).await
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.engine().get_type(descriptor).await
    }

    async fn set_times(
        &mut self,
        descriptor: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.engine().set_times(descriptor, accessed, modified).await
    }

    async fn set_times_at(
        &mut self,
        directory: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.engine().set_times_at(directory, path_flags, path, accessed, modified).await
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.engine().read(descriptor, length, offset).await
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.engine().stat(descriptor).await
    }

    async fn stat_at(
        &mut self,
        directory: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.engine().stat_at(directory, path_flags, path).await
    }

    async fn readlink_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.engine().readlink_at(directory, path).await
    }

    async fn is_same_object(
        &mut self,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.engine().is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, descriptor: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.engine().metadata_hash(descriptor).await
    }

    async fn metadata_hash_at(
        &mut self,
        directory: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.engine().metadata_hash_at(directory, path_flags, path).await
    }
}

impl HostDirectoryEntryStream for Call<'_, Files> {
    async fn read_directory_entry(
        &mut self,
        listing: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.engine().read_directory_entry(listing).await
    }

    fn drop(&mut self, listing: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        let size = self.files().listings.remove(&listing.rep());
        self.core.memory.release(size.unwrap_or(0));
        HostDirectoryEntryStream::drop(&mut self.engine(), listing)
    }
}

impl Call<'_, Files> {
    fn directory(&self, descriptor: &Resource<Descriptor>) -> FsResult<&Dir> {
        match self.core.table.get(descriptor)? {
            Descriptor::Dir(directory) => Ok(directory),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    /// Gets a directory whose entries may be changed.
    fn changeable(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<(Disk, Arc<File>)> {
        let disk = self.disk_of(descriptor).map_err(FsError::trap)?;
        let directory = self.directory(descriptor)?;
        match directory.perms {
            FsPerms::ReadOnly => Err(ErrorCode::ReadOnly.into()),
            FsPerms::ReadWrite => Ok((disk, directory.dir.clone())),
        }
    }

    /// Gets two directories of one disk. Entries cannot be moved between two disks, as between two file systems.
    fn of_one_disk(
        &mut self,
        from: &Resource<Descriptor>,
        to: &Resource<Descriptor>,
    ) -> FsResult<(Disk, Arc<File>, Arc<File>)> {
        let (disk, from) = self.changeable(from)?;
        let (other, to) = self.changeable(to)?;
        match disk.is(&other) {
            true => Ok((disk, from, to)),
            false => Err(ErrorCode::CrossDevice.into()),
        }
    }

    /// Gets a file whose content may be changed.
    fn writable(&mut self, descriptor: &Resource<Descriptor>) -> FsResult<(Disk, Arc<File>)> {
        let disk = self.disk_of(descriptor).map_err(FsError::trap)?;
        match self.core.table.get(descriptor)? {
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
            Descriptor::File(file) if file.perms.write_not_permitted() => Err(ErrorCode::ReadOnly.into()),
            Descriptor::File(file) if !file.open_mode.contains(OpenMode::WRITE) => Err(ErrorCode::BadDescriptor.into()),
            Descriptor::File(file) => Ok((disk, file.file.clone())),
        }
    }

    fn writer(&mut self, descriptor: &Resource<Descriptor>, place: Place) -> FsResult<Resource<DynOutputStream>> {
        let (disk, file) = self.writable(descriptor)?;
        let charge = self.stream_charge().map_err(FsError::trap)?;
        let writer: DynOutputStream = Box::new(Writer::new(disk, file, place, charge));
        Ok(self.core.table.push(writer)?)
    }
}

/// The size of a directory's listing, in bytes.
fn listing_size(directory: &File) -> io::Result<u64> {
    let mut size = 0;
    for entry in Listing::read_from(directory)? {
        size += entry?.file_name().to_bytes().len() as u64 + ENTRY;
    }
    Ok(size)
}
