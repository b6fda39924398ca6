use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustix::fs::{CWD, Mode};
use tempfile::TempDir;

use super::*;

const BLOCK: u64 = 4096;

const CREATE: OpenHow = OpenHow {
    read: true,
    write: true,
    create: true,
    exclusive: false,
    truncate: false,
    directory: false,
    follow: true,
};

const READ: OpenHow = OpenHow { write: false, create: false, ..CREATE };

fn disk(folder: &TempDir, blocks: u64, files: u64) -> Disk {
    let disk = Disk::open("d", folder.path(), "d").unwrap();
    disk.hold_to(Limits { bytes: blocks * BLOCK, files }, None).unwrap();
    disk
}

async fn create(disk: &Disk, path: &str) -> io::Result<Arc<File>> {
    open(disk, disk.root(), path, CREATE).await
}

async fn open(disk: &Disk, directory: &Arc<File>, path: &str, how: OpenHow) -> io::Result<Arc<File>> {
    let file = Arc::new(disk.open_at(directory.clone(), path.to_owned(), how).await?.file);
    disk.is_open(&file);
    Ok(file)
}

async fn write(disk: &Disk, file: &Arc<File>, place: Place, length: u64) -> io::Result<usize> {
    disk.write(file.clone(), place, vec![b'x'; length as usize]).await
}

/// The size of the files according to `du`.
fn on_disk(folder: &Path) -> u64 {
    let of = |entry: io::Result<fs::DirEntry>| entry.unwrap().metadata().unwrap().blocks() * 512;
    fs::read_dir(folder).unwrap().map(of).sum()
}

#[test]
fn a_directory_knows_its_owner() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::open("d", folder.path(), "tenant:a").unwrap();
    assert!(disk.is_of("tenant:a") && !disk.is_of("tenant:b"));
}

#[tokio::test]
async fn a_directory_has_a_size() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("before"), vec![0; 5000]).unwrap();
    let disk = disk(&folder, 4, 10);
    assert_eq!(disk.usage(), Usage { bytes: 2 * BLOCK, files: 1, refused: 0 });
    let file = create(&disk, "a").await.unwrap();
    assert_eq!(write(&disk, &file, Place::At(0), BLOCK + 1).await.unwrap(), 4097);
    assert_eq!(disk.usage().bytes, 4 * BLOCK);
    assert_eq!(write(&disk, &file, Place::End, BLOCK - 1).await.unwrap(), 4095, "its second block has room");
    for place in [Place::End, Place::At(2 * BLOCK), Place::At(1 << 40)] {
        assert_eq!(write(&disk, &file, place, 1).await.unwrap_err().kind(), ErrorKind::StorageFull);
    }
    assert!(write(&disk, &file, Place::At(u64::MAX), 1).await.is_err());
    assert_eq!(disk.set_size(file.clone(), 1 << 40).await.unwrap_err().kind(), ErrorKind::StorageFull);
    write(&disk, &file, Place::At(0), 2 * BLOCK).await.expect("what is there may be written again");
    assert_eq!(file.metadata().unwrap().len(), 2 * BLOCK);
    disk.set_size(file.clone(), 1).await.unwrap();
    assert_eq!(disk.usage().bytes, 3 * BLOCK, "known at once");
    let again = OpenHow { truncate: true, ..CREATE };
    open(&disk, disk.root(), "before", again).await.unwrap();
    assert_eq!(disk.usage(), Usage { bytes: BLOCK, files: 2, refused: 4 });
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_do_not_exceed_it() {
    let folder = TempDir::new().unwrap();
    let disk = disk(&folder, 100, 10);
    let shared = create(&disk, "shared").await.unwrap();
    let writers = (0..8).map(|n| {
        let (disk, shared) = (disk.clone(), shared.clone());
        tokio::spawn(async move {
            let own = create(&disk, &format!("own-{n}")).await.unwrap();
            let mut written = 0;
            for step in 0..200 {
                let result = match step % 4 {
                    0 => write(&disk, &own, Place::End, 1000).await,
                    1 => write(&disk, &shared, Place::End, 1500).await,
                    2 => write(&disk, &shared, Place::At(step * 700), 900).await,
                    _ => disk.set_size(shared.clone(), step * 600).await.map(|()| 0),
                };
                match result {
                    Ok(bytes) => written += bytes,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull),
                }
            }
            written
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert!(writer.await.unwrap() > 0);
    }
    let there: u64 = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len().div_ceil(BLOCK) * BLOCK)
        .sum();
    assert_eq!(disk.usage().bytes, there, "charged exactly");
    assert!(there <= 100 * BLOCK && on_disk(folder.path()) <= 100 * BLOCK);
}

#[tokio::test]
async fn what_is_removed_gives_its_room_back() {
    let folder = TempDir::new().unwrap();
    let disk = disk(&folder, 4, 3);
    let root = || disk.root().clone();
    let file = create(&disk, "a").await.unwrap();
    write(&disk, &file, Place::End, 3 * BLOCK).await.unwrap();
    disk.link((root(), "a".to_owned()), (root(), "b".to_owned())).await.unwrap();
    assert_eq!(disk.usage(), Usage { bytes: 3 * BLOCK, files: 2, refused: 0 });
    drop(file);
    disk.remove_file(root(), "a".to_owned()).await.unwrap();
    let other = create(&disk, "c").await.unwrap();
    let full = write(&disk, &other, Place::End, 2 * BLOCK).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull, "it still has another name, which was looked at");
    assert_eq!(disk.usage().bytes, 3 * BLOCK);
    let held = open(&disk, disk.root(), "b", READ).await.unwrap();
    disk.remove_file(root(), "b".to_owned()).await.unwrap();
    write(&disk, &other, Place::End, 2 * BLOCK).await.expect_err("somebody has it open");
    drop(held);
    let mut tries = 0;
    while let Err(error) = write(&disk, &other, Place::End, 2 * BLOCK).await {
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        tries += 1;
        assert!(tries < 100, "{:?}", disk.usage());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let third = create(&disk, "d").await.unwrap();
    write(&disk, &third, Place::End, 2 * BLOCK).await.unwrap();
    // Renaming over an existing name removes that file: the write waits until the removal is counted.
    disk.rename((root(), "d".to_owned()), (root(), "c".to_owned())).await.unwrap();
    drop(other);
    write(&disk, &third, Place::End, 2 * BLOCK).await.unwrap();
    assert_eq!(disk.usage().bytes, 4 * BLOCK);
}

#[tokio::test]
async fn a_directory_has_so_many_files() {
    let folder = TempDir::new().unwrap();
    let disk = disk(&folder, 4, 4);
    let root = || disk.root().clone();
    create(&disk, "a").await.unwrap();
    disk.create_directory(root(), "b".to_owned()).await.unwrap();
    disk.create_symlink("a".to_owned(), root(), "c".to_owned()).await.unwrap();
    disk.link((root(), "a".to_owned()), (root(), "b/d".to_owned())).await.unwrap();
    create(&disk, "a").await.expect("it is there already");
    for full in [
        create(&disk, "e").await.map(drop),
        disk.create_directory(root(), "e".to_owned()).await,
        disk.create_symlink("a".to_owned(), root(), "e".to_owned()).await,
        disk.link((root(), "a".to_owned()), (root(), "e".to_owned())).await,
    ] {
        assert_eq!(full.unwrap_err().kind(), ErrorKind::StorageFull);
    }
    disk.remove_file(root(), "b/d".to_owned()).await.unwrap();
    create(&disk, "e").await.expect("it waits until that is counted");
    disk.remove_directory(root(), "b".to_owned()).await.unwrap();
    create(&disk, "b").await.expect("this is known at once");
    assert_eq!(disk.usage().files, 4);
}

#[tokio::test]
async fn one_that_holds_too_much_already_takes_no_more() {
    let folder = TempDir::new().unwrap();
    for n in 0..10 {
        fs::write(folder.path().join(n.to_string()), "x").unwrap();
    }
    let disk = disk(&folder, 100, 5);
    let file = open(&disk, disk.root(), "3", OpenHow { create: false, ..CREATE }).await.unwrap();
    assert_eq!(write(&disk, &file, Place::End, BLOCK).await.unwrap_err().kind(), ErrorKind::StorageFull);
    write(&disk, &file, Place::At(0), 1).await.unwrap();
    disk.hold_to(Limits { bytes: 100 * BLOCK, files: 50 }, None).unwrap();
    write(&disk, &file, Place::End, BLOCK).await.unwrap();
}

#[tokio::test]
async fn deep_directories_are_measured() {
    let folder = TempDir::new().unwrap();
    let disk = disk(&folder, 100, 1000);
    let mut here = disk.root().clone();
    for _ in 0..400 {
        disk.create_directory(here.clone(), "deep".to_owned()).await.unwrap();
        here = open(&disk, &here, "deep", READ).await.unwrap();
    }
    let file = open(&disk, &here, "file", CREATE).await.unwrap();
    write(&disk, &file, Place::End, 1).await.unwrap();
    let measured = walk::measure(disk.root(), 1000).unwrap();
    assert_eq!((measured.files, measured.bytes), (401, BLOCK));
    let measured = walk::measure(disk.root(), 100).unwrap();
    assert!(measured.beyond && measured.files == 101);
}

#[tokio::test]
async fn nothing_outside_and_nothing_special_is_opened() {
    let (folder, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path().join("secret"), folder.path().join("link")).unwrap();
    symlink("..", folder.path().join("up")).unwrap();
    rustix::fs::mknodat(CWD, folder.path().join("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    symlink("fifo", folder.path().join("to-fifo")).unwrap();
    let disk = disk(&folder, 4, 10);
    let absolute = outside.path().join("secret").display().to_string();
    for path in ["link", "up", "up/x", "..", "../x", &absolute, "fifo", "to-fifo", "/proc/self/environ"] {
        for how in [READ, CREATE, OpenHow { truncate: true, ..CREATE }] {
            let opened = open(&disk, disk.root(), path, how);
            let opened = tokio::time::timeout(Duration::from_secs(5), opened).await.expect("no waiting");
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::PermissionDenied, "{path}");
        }
    }
    let no_follow = OpenHow { follow: false, ..READ };
    let link = open(&disk, disk.root(), "to-fifo", no_follow).await.unwrap_err();
    assert_eq!(rustix::io::Errno::from_io_error(&link), Some(rustix::io::Errno::LOOP));
    assert_eq!(disk.usage().files, 4, "nothing was made");
}

#[derive(Debug, Default)]
struct Most(AtomicU64);

impl Owner for Most {
    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| (used + bytes <= 3 * BLOCK).then_some(used + bytes);
        self.0.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Relaxed);
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_sub(bytes, Relaxed);
    }
}

#[tokio::test]
async fn an_owner_has_so_much_in_all() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(one.path().join("before"), "x").unwrap();
    let owner = Arc::new(Most::default());
    let open = |folder: &TempDir| {
        let disk = Disk::open("d", folder.path(), "d").unwrap();
        disk.hold_to(Limits { bytes: 10 * BLOCK, files: 10 }, Some(owner.clone())).unwrap();
        disk
    };
    let (one, two) = (open(&one), open(&two));
    let file = create(&one, "a").await.unwrap();
    write(&one, &file, Place::End, BLOCK).await.unwrap();
    let other = create(&two, "b").await.unwrap();
    assert_eq!(write(&two, &other, Place::End, 2 * BLOCK).await.unwrap_err().kind(), ErrorKind::QuotaExceeded);
    write(&two, &other, Place::End, BLOCK).await.unwrap();
    one.set_size(file, 0).await.unwrap();
    write(&two, &other, Place::End, BLOCK).await.unwrap();
    drop(one);
    assert_eq!(owner.0.load(Relaxed), 2 * BLOCK);
    two.hold_to(Limits { bytes: 10 * BLOCK, files: 10 }, None).unwrap();
    assert_eq!(owner.0.load(Relaxed), 0);
}
