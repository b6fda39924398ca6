//! Large bodies, one exchange at a time, each on its own fresh server.

use std::fs::File;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::client;
use super::contenders::{self, Contender, FRESH};
use super::manifest::{self, MANY, Written};
use super::results::BodyRow;
use crate::toolchain::say;
use crate::tree::{Profile, quoted};

/// A body that the guest reads and discards.
pub const UPLOAD_MANUAL: &str = "upload 20 MiB, manual";

/// A body that the guest writes piece by piece.
pub const DOWNLOAD_STREAM: &str = "download 1 GiB, stream";

/// The bytes of the downloaded file.
const FILE: u64 = 1 << 30;

/// The number of uploaded bytes.
const UPLOAD: usize = super::scenarios::UPLOAD_BYTES;

/// Measures the growth of the resident memory for one large exchange, at its peak.
pub fn bodies(bench: &Bench<'_>) -> Result<Vec<BodyRow>> {
    say("moving large bodies");
    let pause = Duration::ZERO;
    // A reader that takes a mebibyte and pauses makes the guest wait, instead of filling memory.
    let (slow, rest) = (64 << 20, Duration::from_millis(20));
    let fresh = |name: &str, transfer: &dyn Fn(SocketAddr) -> Result<u64>| {
        body(name, &contenders::roadrunner(bench, "bodies", FRESH, &bench.workload(), "")?, transfer)
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
    let manifest = file_manifest(bench)?;
    let server = Contender::with_manifest(bench, "files", "bodies", &bench.tree.server(Profile::Release), &manifest)?;
    let file = |address| client::download(address, "/files/large.bin", u64::MAX, u64::MAX, pause);
    rows.push(body("download 1 GiB, file", &server, &file)?);
    Ok(rows)
}

/// A manifest without components: `/` and a sparse file of a gibibyte.
pub fn file_manifest(bench: &Bench<'_>) -> Result<Written> {
    let folder = bench.scratch.join("large");
    std::fs::create_dir_all(&folder)?;
    File::create(folder.join("large.bin"))?.set_len(FILE)?;
    std::fs::write(folder.join("hello.txt"), "alive\r\n")?;
    let text = format!(
        "[directory.files]\npath = {}\n\n\
         [[route]]\npath = \"/\"\nstatic = {{ directory = \"files\", file = \"hello.txt\" }}\n\n\
         [[route]]\npath = \"/files/*path\"\nstatic = {{ directory = \"files\" }}\n",
        quoted(&folder)?
    );
    manifest::write(bench, "files", MANY, &text)
}

fn body(name: &str, server: &Contender, transfer: &dyn Fn(SocketAddr) -> Result<u64>) -> Result<BodyRow> {
    let process = server.process()?;
    let before = process.memory()?.resident;
    process.reset_peak()?;
    let started = Instant::now();
    let bytes = transfer(server.http1()?).with_context(|| name.to_owned())?;
    let seconds = started.elapsed().as_secs_f64();
    let peak = process.memory()?.peak;
    Ok(BodyRow {
        name: name.to_owned(),
        mib: bytes as f64 / f64::from(1 << 20),
        mib_per_second: bytes as f64 / f64::from(1 << 20) / seconds,
        growth_mib: peak.saturating_sub(before) as f64 / 1024.0,
    })
}
