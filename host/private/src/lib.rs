//! Files with secrets: tokens, passwords, private keys. [`read`] reads them, and refuses a file that others can read or
//! change.
//!
//! | | permission |
//! |---|---|
//! | owner | the user that the host runs as, or root |
//! | group | read only |
//! | others | none |
//!
//! The group may read, since operators hand a secret of root to a service in this way: Debian's `ssl-cert`, the
//! `fsGroup` of Kubernetes with `defaultMode: 0440`. The mode of the file at the end of all links counts, and not that
//! of its folders.
//!
//! Knows nothing of the contents of the files.

#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The mode bits that a file must not have: write for its group, any for others.
const TOO_OPEN: u32 = 0o027;

/// Why a secret is not read. No text reveals anything of the secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is a directory, a pipe, or a device.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Others can read or change it.
    #[error("{path} has the mode {mode:04o}, so that others can read or change it: chmod 600 {path}", path = .0.display(), mode = .1)]
    Open(PathBuf, u32),
    /// It belongs to another user.
    #[error("{path} belongs to the user {owner}, and not to {own}, which the host runs as: chown {own} {path}", path = .0.display(), owner = .1, own = .2)]
    Owner(PathBuf, u32, u32),
    /// It does not exist, or cannot be read.
    #[error("{}: {reason}", .0.display(), reason = .1)]
    Read(PathBuf, #[source] io::Error),
    /// It is longer than the caller allows.
    #[error("{} is longer than {most} bytes", .0.display(), most = .1)]
    TooLong(PathBuf, usize),
}

/// Reads a whole file with a secret, of at most this many bytes.
///
/// # Errors
/// Others can read or change it, it is too long, or it cannot be read.
pub fn read(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |error| Error::Read(path.to_owned(), error);
    let file = open(path)?;
    // Allocated at once: growth would leave parts of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 2));
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > most {
        return Err(Error::TooLong(path.to_owned(), most));
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, Error> {
    let failed = |error| Error::Read(path.to_owned(), error);
    // Without this flag, opening a pipe without a writer would wait. The flags are small, so they fit.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    // Metadata of the open file, and not of the file that its name leads to a moment later.
    let data = file.metadata().map_err(failed)?;
    if !data.is_file() {
        return Err(Error::NotAFile(path.to_owned()));
    }
    let (owner, own) = (data.uid(), rustix::process::geteuid().as_raw());
    if owner != own && owner != 0 {
        return Err(Error::Owner(path.to_owned(), owner, own));
    }
    let mode = data.mode() & 0o777;
    if mode & TOO_OPEN != 0 {
        return Err(Error::Open(path.to_owned(), mode));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Reads a file with this mode, and returns its content or the error, with `FILE` for its path.
    fn told(content: &[u8], mode: u32) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("secret"), folder.path().join("link"));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        symlink("secret", &link).unwrap();
        let of = |path: &Path| {
            let said = |error: Error| error.to_string().replace(&*path.to_string_lossy(), "FILE");
            read(path, 8).map(|bytes| bytes.to_vec()).map_err(said)
        };
        assert_eq!(of(&path), of(&link), "a link is what it leads to");
        of(&path)
    }

    #[test]
    fn every_mode_is_what_it_lets_others_do() {
        for mode in 0..=0o777 {
            if mode & 0o400 == 0 {
                // It depends on the user who runs the test.
                continue;
            }
            match told(b"hunter2", mode) {
                Ok(read) => assert!(mode & 0o027 == 0 && read == b"hunter2", "{mode:o}"),
                Err(_) => assert!(mode & 0o027 != 0, "{mode:o}"),
            }
        }
    }

    #[test]
    fn what_is_said() {
        let open = "FILE has the mode 0666, so that others can read or change it: chmod 600 FILE";
        assert_eq!(told(b"hunter2", 0o666).unwrap_err(), open);
        assert_eq!(told(b"hunter2!!", 0o600).unwrap_err(), "FILE is longer than 8 bytes");
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| read(path, 8).unwrap_err().to_string().replace(&*path.to_string_lossy(), "FILE");
        assert_eq!(said(folder.path()), "FILE is not a file");
        assert_eq!(said(&folder.path().join("none")), "FILE: No such file or directory (os error 2)");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg("-m").arg("600").arg(&pipe).status();
        if made.is_ok_and(|status| status.success()) {
            assert_eq!(said(&pipe), "FILE is not a file");
        }
        let owner = Error::Owner("FILE".into(), 7, 8).to_string();
        assert_eq!(owner, "FILE belongs to the user 7, and not to 8, which the host runs as: chown 8 FILE");
    }
}
