//! Listening sockets that systemd has opened before the start of the program (socket activation).
//!
//! The protocol is sd_listen_fds(3): `LISTEN_PID` names the process that the sockets are for, `LISTEN_FDS` gives the
//! number of sockets from descriptor 3 on, `LISTEN_FDNAMES` names them.

use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{SocketType, sockopt};

/// The first descriptor (sd_listen_fds(3), `SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// More sockets than a manifest could use; a larger `LISTEN_FDS` is a mistake.
const MOST: usize = 1000;

/// The sockets that are not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    sockets: Vec<Socket>,
}

#[derive(Debug)]
struct Socket {
    /// systemd calls a socket without a name of its own `unknown`, or after its unit.
    name: String,
    fd: Option<OwnedFd>,
}

impl Inherited {
    /// Takes over the sockets that the environment announces. Call it once, before the program opens anything itself.
    ///
    /// # Safety
    ///
    /// The descriptors that `LISTEN_FDS` announces must be open, and nothing else in the process may own them.
    pub(crate) unsafe fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let own = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let Some(count) = variable("LISTEN_FDS").filter(|_| own) else {
            return Ok(Self::default());
        };
        let count: usize = count
            .parse()
            .ok()
            .filter(|count| *count <= MOST)
            .with_context(|| format!("LISTEN_FDS is {count:?}, not a number of sockets up to {MOST}"))?;
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = Vec::with_capacity(count);
        for fd in FIRST..FIRST + RawFd::try_from(count)? {
            // SAFETY: the caller vouches that the descriptor is open and that nothing else owns it; each is taken once.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            // Compilers and other children must not inherit it.
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).context("a socket of LISTEN_FDS is not open")?;
            sockets.push(Socket { name: names.next().unwrap_or_default().to_owned(), fd: Some(fd) });
        }
        Ok(Self { sockets })
    }

    /// Takes the socket of this name, or of this index, from 0. Several sockets may share a name: each call takes the
    /// next.
    pub(crate) fn take(&mut self, name: &str) -> Result<OwnedFd> {
        let known: Vec<_> = self.sockets.iter().map(|socket| socket.name.clone()).collect();
        let by_index = name.parse::<usize>().ok();
        let found = self.sockets.iter_mut().enumerate().find(|(index, socket)| {
            socket.fd.is_some() && (by_index == Some(*index) || by_index.is_none() && socket.name == name)
        });
        let Some(fd) = found.and_then(|(_, socket)| socket.fd.take()) else {
            match known.as_slice() {
                [] => bail!(
                    "systemd:{name}: the program was started without sockets; start it by a systemd socket unit, \
                     or with systemd-socket-activate"
                ),
                names => bail!(
                    "systemd:{name}: no such socket is left; the program was given {} ({}), which FileDescriptorName= \
                     of a socket unit names",
                    names.len(),
                    names.join(", ")
                ),
            }
        };
        let is_stream = sockopt::socket_type(fd.as_fd()).is_ok_and(|kind| kind == SocketType::STREAM);
        let listens = sockopt::socket_acceptconn(fd.as_fd()).is_ok_and(|listens| listens);
        ensure!(
            is_stream && listens,
            "systemd:{name} is not a listening stream socket; use ListenStream= and Accept=no in the socket unit"
        );
        Ok(fd)
    }
}
