//! Every lookup with both resolvers, against a tree with everything that must not be served.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};
use tempfile::TempDir;

use super::*;

/// `root/` is granted, `outside/` is beside it.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    std::fs::create_dir_all(at("root/sub/deep")).unwrap();
    std::fs::create_dir_all(at("outside")).unwrap();
    std::fs::write(at("root/file"), "inside").unwrap();
    std::fs::write(at("root/sub/file"), "inside").unwrap();
    std::fs::write(at("root/back\\slash"), "inside").unwrap();
    std::fs::write(at("outside/file"), "outside").unwrap();

    symlink("sub/file", at("root/link-inside")).unwrap();
    symlink("../../file", at("root/sub/deep/link-up-inside")).unwrap();
    symlink("sub", at("root/link-directory")).unwrap();
    symlink("link-inside", at("root/link-to-link")).unwrap();

    symlink("../outside/file", at("root/link-out")).unwrap();
    symlink("../outside", at("root/link-directory-out")).unwrap();
    symlink("sub/../../outside/file", at("root/link-winding-out")).unwrap();
    symlink("link-out", at("root/link-to-link-out")).unwrap();
    symlink(at("outside/file"), at("root/link-absolute")).unwrap();
    symlink(at("root/file"), at("root/link-absolute-inside")).unwrap();
    symlink("/proc/self/root/etc/passwd", at("root/link-proc")).unwrap();
    symlink("../root/file", at("root/link-out-and-back")).unwrap();
    symlink("loop-b", at("root/loop-a")).unwrap();
    symlink("loop-a", at("root/loop-b")).unwrap();
    symlink("nothing", at("root/dangling")).unwrap();
    tree
}

fn both(tree: &TempDir) -> [Directory; 2] {
    let root = tree.path().join("root");
    [Directory::open("files", &root, "files").unwrap(), Directory::open_portable("files", &root).unwrap()]
}

fn content(entry: Result<Entry, LookupError>) -> String {
    let Ok(Entry::File(mut file, metadata)) = entry else {
        panic!("not a file: {entry:?}");
    };
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(metadata.len(), text.len() as u64);
    text
}

fn reason(entry: Result<Entry, LookupError>) -> NotFound {
    match entry {
        Err(LookupError::NotFound(reason)) => reason,
        other => panic!("found: {other:?}"),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn this_kernel_resolves_by_itself() {
    let tree = tree();
    let [kernel, portable] = both(&tree);
    assert!(matches!(kernel.inner.resolver, Resolver::Kernel(_)), "{kernel:?}");
    assert!(matches!(portable.inner.resolver, Resolver::Portable(_)), "{portable:?}");
}

#[test]
fn what_is_inside_is_found() {
    let tree = tree();
    for directory in both(&tree) {
        for path in [
            "file",
            "sub/file",
            "link-inside",
            "link-to-link",
            "link-directory/file",
            "sub/deep/link-up-inside",
            "link-directory/deep/link-up-inside",
        ] {
            assert_eq!(content(directory.lookup(path, Access::Blocking)), "inside", "{path} {directory:?}");
        }
        for path in ["", "sub", "link-directory", "sub/deep"] {
            assert!(matches!(directory.lookup(path, Access::Blocking), Ok(Entry::Directory)), "{path}");
        }
    }
}

#[test]
fn what_leads_out_is_not() {
    let tree = tree();
    let absolute = tree.path().join("outside/file");
    for directory in both(&tree) {
        for path in [
            "link-out",
            "link-directory-out/file",
            "link-winding-out",
            "link-to-link-out",
            "link-absolute",
            "link-absolute-inside",
            "link-proc",
            "link-out-and-back",
            "loop-a",
            // The parser refuses it, and the lookup refuses it without the parser, too.
            "../outside/file",
            "sub/../../outside/file",
            "/etc/passwd",
            absolute.to_str().unwrap(),
        ] {
            let entry = directory.lookup(path, Access::Blocking);
            assert_eq!(reason(entry), NotFound::LeavesDirectory, "{path} {directory:?}");
        }
    }
}

#[test]
fn what_is_not_there_is_missing_and_what_is_no_file_is_none() {
    let tree = tree();
    let root = tree.path().join("root");
    rustix::fs::mknodat(CWD, root.join("fifo"), rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(root.join("socket")).unwrap();
    let long = "x".repeat(5000);
    for directory in both(&tree) {
        for (path, expected) in [
            ("nothing", NotFound::Missing),
            ("sub/nothing/file", NotFound::Missing),
            ("dangling", NotFound::Missing),
            ("file/below", NotFound::NotAFile),
            ("file/", NotFound::NotAFile),
            ("fifo", NotFound::NotAFile),
            ("socket", NotFound::NotAFile),
            (&long, NotFound::InvalidPath),
        ] {
            let started = Instant::now();
            assert_eq!(reason(directory.lookup(path, Access::Blocking)), expected, "{path} {directory:?}");
            assert!(started.elapsed() < Duration::from_secs(1), "{path} blocks");
        }
    }
}

#[test]
fn what_is_in_memory_is_found_without_waiting() {
    let tree = tree();
    let [kernel, portable] = both(&tree);
    assert_eq!(content(kernel.lookup("sub/file", Access::Blocking)), "inside");
    assert_eq!(content(kernel.lookup("sub/file", Access::Cached)), "inside");
    assert!(matches!(portable.lookup("sub/file", Access::Cached), Err(LookupError::Uncached)));
}

#[test]
fn a_directory_that_moves_is_still_the_one() {
    let tree = tree();
    for directory in both(&tree) {
        let (root, moved) = (tree.path().join("root"), tree.path().join("moved"));
        std::fs::rename(&root, &moved).unwrap();
        symlink("outside", &root).unwrap();
        assert_eq!(content(directory.lookup("file", Access::Blocking)), "inside");
        std::fs::remove_file(&root).unwrap();
        std::fs::rename(&moved, &root).unwrap();
    }
}

#[test]
fn only_a_directory_can_be_granted() {
    let tree = tree();
    let error = Directory::open("assets", tree.path().join("root/file"), "it").unwrap_err();
    assert!(error.to_string().starts_with("directory \"assets\": cannot open "), "{error}");
    assert!(Directory::open("assets", tree.path().join("root/nothing"), "it").is_err());
    // The operator may choose a link to a directory.
    assert!(Directory::open("assets", tree.path().join("root/link-directory-out"), "it").is_ok());
}

/// A thread exchanges a directory and a link to an outside directory as fast as it can.
#[test]
#[cfg(target_os = "linux")]
fn no_exchange_of_links_lets_a_lookup_out() {
    let tree = tree();
    let root = tree.path().join("root");
    symlink("../outside", root.join("swapped")).unwrap();
    // For links that climb, the kernel checks renames most closely.
    symlink("../sub/../sub/file", root.join("sub/climbing")).unwrap();

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (a, b) = (root.join("sub"), root.join("swapped"));
                rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for directory in both(&tree) {
            let (mut inside, mut refused) = (0, 0);
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(1) {
                for path in ["sub/file", "sub/climbing", "link-directory/file", "swapped/file"] {
                    for access in [Access::Cached, Access::Blocking] {
                        match directory.lookup(path, access) {
                            Ok(entry) => {
                                assert_eq!(content(Ok(entry)), "inside", "{path} {directory:?}");
                                inside += 1;
                            }
                            Err(LookupError::NotFound(_)) => refused += 1,
                            Err(LookupError::Uncached) => {}
                            // Renamed too often in a row; the answer is 503.
                            Err(LookupError::Io(error)) => {
                                assert_eq!(Errno::from_io_error(&error), Some(Errno::AGAIN), "{error}");
                            }
                        }
                    }
                }
            }
            assert!(inside > 100 && refused > 100, "no race: {inside} inside, {refused} refused, {directory:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}
