//! A measured server: started, waited for, read from /proc, and ended.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::client;
use crate::tree::{Profile, Tree};

/// How long a server may take to its first answer. The first start compiles components.
const START: Duration = Duration::from_secs(60);

/// Clock ticks per second in /proc/PID/stat: USER_HZ, which is 100 on every architecture that Rust supports.
const TICKS: f64 = 100.0;

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The peak since the last [`Process::reset_peak`].
    pub peak: u64,
}

impl Process {
    /// Starts a server, whose output goes to a file.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // Capturing backtraces is slow, and costs some of the servers more than others.
        for variable in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "RUST_LOG"] {
            command.env_remove(variable);
        }
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Starts the server with this manifest, which is kept next to the log as `NAME.toml`.
    pub fn serve(tree: &Tree, profile: Profile, name: &str, manifest: &str) -> Result<Self> {
        let scratch = tree.scratch("bench")?;
        let path = scratch.join(name).with_extension("toml");
        fs::write(&path, manifest).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(tree.server(profile));
        command.arg("serve").arg(&path);
        Self::start(command, &path.with_extension("log"))
    }

    /// The path of its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for the first 200.
    pub fn ready(&mut self, address: SocketAddr, path: &str) -> Result<()> {
        let started = Instant::now();
        loop {
            if client::get(address, path).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended ({status}): {}", fs::read_to_string(&self.log).unwrap_or_default().trim());
            }
            if started.elapsed() > START {
                bail!("no answer from {address}{path} in {} s; see {}", START.as_secs(), self.log.display());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Waits until a server listens at an address, for servers without a path to request.
    pub fn accepts(&self, address: SocketAddr) -> Result<()> {
        let started = Instant::now();
        while let Err(error) = TcpStream::connect(address) {
            if started.elapsed() > START {
                bail!("nobody listens at {address} ({error}); see {}", self.log.display());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Asks the server to end, and waits until it has.
    pub fn terminate(&mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context("the server has ended by itself")?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > START {
                bail!("the server does not end; see {}", self.log.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// CPU time used so far by all threads, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The second field is the name in parentheses, which may contain any characters; utime and stime are 14 and 15.
        let fields = stat.rsplit_once(')').context("/proc/PID/stat has no name")?.1;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(ticks.sum::<Result<u64, _>>().context("/proc/PID/stat has no times")? as f64 / TICKS)
    }

    /// Reads the resident memory.
    pub fn memory(&self) -> Result<Memory> {
        let status = self.read("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a field is missing")?;
            line.trim().trim_end_matches(" kB").parse::<u64>().context("a field is no number")
        };
        Ok(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// Resets the peak to the current resident memory (proc_pid_clear_refs(5)).
    pub fn reset_peak(&self) -> Result<()> {
        fs::write(self.path("clear_refs"), "5").context("cannot reset the peak of the resident memory")
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.path(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free loopback address.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    listener.local_addr().context("a listener has no address")
}
