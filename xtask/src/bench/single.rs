//! Measurements one at a time, each on its own fresh server: held sessions, large bodies, cold starts.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::client;
use super::contenders::{Contender, MANY, write_manifest};
use super::results::{BodyRow, Cold, Held, HeldRow};
use super::rounds::median;
use crate::toolchain::say;
use crate::tree::quoted;

/// The values of `--only` for this part.
pub const NAMES: [&str; 3] = ["held", "bodies", "cold"];

/// A body that the guest reads and discards.
pub const UPLOAD_MANUAL: &str = "upload 20 MiB, manual";

/// A body that the guest writes piece by piece.
pub const DOWNLOAD_STREAM: &str = "download 1 GiB, stream";

/// The number of idle held sessions.
const SESSIONS: u64 = 10_000;

/// How long a server may settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

/// The bytes of the downloaded file.
const FILE: u64 = 1 << 30;

/// The number of uploaded bytes.
const UPLOAD: usize = 20 << 20;

/// The number of starts of each kind.
const STARTS: usize = 25;

/// The limits of a start that reserves few slots.
const FEW: &str = "held = 8\ninstances = 8";

/// Measures the memory for each idle held session. The native server holds the same connections without instances, so
/// the difference is the instance.
pub fn held(bench: &Bench<'_>) -> Result<Held> {
    let sessions = if bench.quick { SESSIONS / 10 } else { SESSIONS };
    say(&format!("holding {sessions} idle sessions"));
    let native = hold(bench, &Contender::native(bench, "held")?, sessions)?;
    let own = hold(bench, &Contender::fresh(bench, "held")?, sessions)?;
    Ok(Held { sessions, native, own })
}

fn hold(bench: &Bench<'_>, server: &Contender, sessions: u64) -> Result<HeldRow> {
    // One session first, for one-time allocations.
    drop(Holder::open(bench, server.http1, 1)?);
    sleep(SETTLE / 4);
    let before = server.process.memory()?.resident;
    let holder = Holder::open(bench, server.http1, sessions)?;
    sleep(SETTLE);
    let cpu = server.process.cpu()?;
    let during = server.process.memory()?.resident;
    sleep(SETTLE / 2);
    let idle_cpu = (server.process.cpu()? - cpu) / (SETTLE / 2).as_secs_f64();
    drop(holder);
    sleep(SETTLE);
    let after = server.process.memory()?.resident;
    Ok(HeldRow {
        kib_each: during.saturating_sub(before) as f64 / sessions as f64,
        before_mib: mib(before),
        during_mib: mib(during),
        after_mib: mib(after),
        idle_cpu_percent: idle_cpu * 100.0,
    })
}

/// bench-load with its sessions open; they close when this is dropped.
struct Holder(std::process::Child);

impl Holder {
    fn open(bench: &Bench<'_>, address: SocketAddr, sessions: u64) -> Result<Self> {
        let mut command = Command::new(bench.tool("bench-load"));
        command.args([
            "hold",
            "--address",
            &address.to_string(),
            "--path",
            "/idle",
            "--sessions",
            &sessions.to_string(),
        ]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start bench-load")?;
        let mut holder = Self(child);
        let mut line = String::new();
        let output = holder.0.stdout.as_mut().context("bench-load has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line.starts_with("holding"), "bench-load could not open {sessions} sessions");
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends with its input; it may have ended by itself.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Measures the growth of the resident memory for one large exchange, at its peak.
pub fn bodies(bench: &Bench<'_>) -> Result<Vec<BodyRow>> {
    say("moving large bodies");
    let pause = Duration::ZERO;
    // A reader that takes a mebibyte and pauses makes the guest wait, instead of filling memory.
    let (slow, rest) = (64 << 20, Duration::from_millis(20));
    let fresh = |name: &str, transfer: &dyn Fn(SocketAddr) -> Result<u64>| {
        body(name, &Contender::fresh(bench, "bodies")?, transfer)
    };
    let upload = |path: &'static str| {
        move |address| {
            let answer = client::post(address, path, &vec![b'x'; UPLOAD])?;
            let counted = format!("{UPLOAD}\n");
            ensure!(answer.status == 200 && answer.body == counted.as_bytes(), "the upload was not counted");
            Ok(UPLOAD as u64)
        }
    };
    let mut rows = vec![
        fresh(UPLOAD_MANUAL, &upload("/count"))?,
        fresh("upload 20 MiB, auto (the guest holds it all)", &upload("/collect"))?,
        fresh(DOWNLOAD_STREAM, &|address| client::download(address, "/download", u64::MAX, u64::MAX, pause))?,
        fresh("download by a slow reader, stream", &|address| {
            client::download(address, "/download", slow, 1 << 20, rest)
        })?,
    ];
    let (server, _) = file_server(bench)?;
    let file = |address| client::download(address, "/files/large.bin", u64::MAX, u64::MAX, pause);
    rows.push(body("download 1 GiB, file", &server, &file)?);
    Ok(rows)
}

fn body(name: &str, server: &Contender, transfer: &dyn Fn(SocketAddr) -> Result<u64>) -> Result<BodyRow> {
    let before = server.process.memory()?.resident;
    server.process.reset_peak()?;
    let started = Instant::now();
    let bytes = transfer(server.http1).with_context(|| name.to_owned())?;
    let seconds = started.elapsed().as_secs_f64();
    let peak = server.process.memory()?.peak;
    Ok(BodyRow {
        name: name.to_owned(),
        mib: bytes as f64 / f64::from(1 << 20),
        mib_per_second: bytes as f64 / f64::from(1 << 20) / seconds,
        growth_mib: mib(peak.saturating_sub(before)),
    })
}

/// Measures the time from the start of the program to its first answer, with the component's code in the cache, and the
/// same for a route that needs no component: the difference is the component's cost.
pub fn cold(bench: &Bench<'_>) -> Result<Cold> {
    say(&format!("starting {} times", 3 * STARTS));
    let hello = quoted(&bench.hello())?;
    let manifest =
        format!("[component.hello]\nfile = {hello}\n\n[[route]]\npath = \"/hello\"\ncomponent = \"hello\"\n");
    // The first start compiles it.
    start(bench, FEW, &manifest)?;
    let (_, files) = file_server(bench)?;
    let (mut starts, mut differences, mut next) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let own = start(bench, FEW, &manifest)?;
        differences.push(own.first - start(bench, FEW, &files)?.first);
        next.push(own.next);
        starts.push(start(bench, MANY, &manifest)?.first);
    }
    Ok(Cold { start_ms: median(starts), component_ms: median(differences), next_ms: median(next) })
}

/// Milliseconds to the first answer of a program, and to the next answer.
struct Start {
    first: f64,
    next: f64,
}

fn start(bench: &Bench<'_>, limits: &str, manifest: &str) -> Result<Start> {
    let address = super::process::free_address()?;
    let path = write_manifest(bench, "cold", address, limits, manifest)?;
    let started = Instant::now();
    let server = Contender::with_manifest(bench, "cold", "start", &path, address)?;
    let first = started.elapsed();
    let again = Instant::now();
    client::get(server.http1, "/hello")?;
    Ok(Start { first: first.as_secs_f64() * 1e3, next: again.elapsed().as_secs_f64() * 1e3 })
}

/// Starts a server without components, and returns its manifest: `/hello` and a sparse file of a gibibyte.
fn file_server(bench: &Bench<'_>) -> Result<(Contender, String)> {
    let folder = bench.scratch.join("files");
    std::fs::create_dir_all(&folder)?;
    File::create(folder.join("large.bin"))?.set_len(FILE)?;
    std::fs::write(folder.join("hello.txt"), "hello, world\n")?;
    let manifest = format!(
        "[directory.files]\npath = {}\n\n\
         [[route]]\npath = \"/hello\"\nstatic = {{ directory = \"files\", file = \"hello.txt\" }}\n\n\
         [[route]]\npath = \"/files/*path\"\nstatic = {{ directory = \"files\" }}\n",
        quoted(&folder)?
    );
    let address = super::process::free_address()?;
    let path = write_manifest(bench, "files", address, MANY, &manifest)?;
    Ok((Contender::with_manifest(bench, "files", "start", &path, address)?, manifest))
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
