//! The test's own PostgreSQL server.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ports;

/// The role that owns everything, as in the URL of [`Postgres::url`].
pub const ROLE: &str = "owner";

/// The password of [`ROLE`].
pub const PASSWORD: &str = "correct horse";

/// The user as whom a server runs that root would start, which the server refuses.
const NOBODY: u32 = 65534;

/// How long the server may take to be ready.
const READY: Duration = Duration::from_secs(60);

/// A running server, on a port that stays the same after a restart. It is killed by its process id when it is dropped.
/// Committed data survives.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    port: u16,
    programs: PathBuf,
    folder: TempDir,
}

impl Postgres {
    /// Starts a server on a free port of loopback. `None`, with a line that says so, if the programs are not installed.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, "", &[])
    }

    /// Starts a server that takes connections from TCP over TLS alone, with a certificate for `localhost` and 127.0.0.1
    /// and its key, in PEM.
    pub fn start_with_tls(test: &str, (certificate, key): &(String, String)) -> Option<Self> {
        let files = [("certificate.pem", certificate.as_str()), ("key.pem", key.as_str())];
        Self::start_with(test, "ssl = on\nssl_cert_file = 'certificate.pem'\nssl_key_file = 'key.pem'\n", &files)
    }

    fn start_with(test: &str, settings: &str, files: &[(&str, &str)]) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("SKIPPED: {test}: postgres is not installed");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        own(folder.path(), 0o700);
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).expect("a file");
        own(&password, 0o600);
        let mut make = command(&programs.join("initdb"));
        make.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--username", ROLE]);
        make.arg("--pwfile").arg(&password).arg("--pgdata").arg(&data).current_dir(folder.path());
        let made = make.output().expect("initdb can be started");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        for (name, contents) in files {
            std::fs::write(data.join(name), contents).expect("a file");
            own(&data.join(name), 0o600);
        }
        let port = ports::reserved();
        let kind = if files.is_empty() { "host" } else { "hostssl" };
        let access = format!("local all all scram-sha-256\n{kind} all all 127.0.0.1/32 scram-sha-256\n");
        std::fs::write(data.join("pg_hba.conf"), access).expect("a file");
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nmax_connections = 60\n\
             shared_buffers = 16MB\nfsync = off\n{settings}",
            folder.path().display()
        );
        std::fs::write(data.join("postgresql.conf"), settings).expect("a file");
        let child = spawn(&programs, &folder);
        let server = Self { child, port, programs, folder };
        server.is_ready();
        Some(server)
    }

    /// The URL of the database `postgres`, as [`ROLE`].
    pub fn url(&self) -> String {
        self.url_of(ROLE, "postgres")
    }

    /// The URL of a database for a role.
    pub fn url_of(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    /// The URL of the database `postgres`, as [`ROLE`], by the server's Unix socket.
    pub fn socket_url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://{ROLE}@{folder}:{}/postgres", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's certificate, for clients that are to trust it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("data/certificate.pem")
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs SQL as [`ROLE`] with psql, and returns its output: rows in lines, columns with `|` between them.
    ///
    /// # Panics
    /// When the SQL is wrong.
    pub fn run(&self, sql: &str) -> String {
        let done = self.psql(sql);
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Kills it, with all of its processes, as `kill -9` does.
    pub fn kill(&mut self) {
        // By the handle: the process is ours and not yet reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its other processes see its end, but a statement would run on.
        for process in self.processes() {
            let _ = kill_process(process, Signal::KILL);
        }
    }

    /// Starts it after [`Postgres::kill`], and waits until it takes connections.
    pub fn start_again(&mut self) {
        let _ = std::fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        self.child = spawn(&self.programs, &self.folder);
        self.is_ready();
    }

    /// Waits until it takes connections.
    fn is_ready(&self) {
        let start = Instant::now();
        while !self.psql("select 1").status.success() {
            assert!(start.elapsed() < READY, "postgres is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn psql(&self, sql: &str) -> std::process::Output {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"]);
        psql.arg("--host").arg(self.folder.path()).args(["--port", &self.port.to_string()]);
        psql.args(["--username", ROLE, "--dbname", "postgres", "--command", sql]);
        psql.env("PGPASSWORD", PASSWORD).output().expect("psql can be started")
    }

    /// The processes in the folder of the data, where the server and those that it has started are.
    fn processes(&self) -> Vec<Pid> {
        let data = self.folder.path().join("data");
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        let is_there = |id: &i32| std::fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|folder| folder == data);
        ids.filter(is_there).filter_map(Pid::from_raw).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the server's programs: on the path, or where Debian has them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let has_all = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file());
    std::env::split_paths(&path).chain(debian).find(has_all)
}

fn spawn(programs: &Path, folder: &TempDir) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log")).expect("a file");
    let mut server = command(&programs.join("postgres"));
    server.arg("-D").arg(folder.path().join("data")).current_dir(folder.path());
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("postgres can be started")
}

/// A program that root may not run itself, as somebody else.
fn command(program: &Path) -> Command {
    use std::os::unix::process::CommandExt as _;

    let mut command = Command::new(program);
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Gives a file or folder to the user as whom the server runs.
fn own(path: &Path, mode: u32) {
    if rustix::process::getuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}
