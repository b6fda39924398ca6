//! What nobody should do with files, or find out.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use roadrunner_guest::http::StatusCode;
use roadrunner_guest::{IntoResponse, Pairs, Response};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags, filesystem_error_code};
use wasip2::io::streams::StreamError;

pub(crate) fn operate(operation: &str, query: &Pairs) -> io::Result<Response> {
    let path = query.get("path").unwrap_or_default();
    let to = query.get("to").unwrap_or_default();
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let text = match operation {
        "/bare-link" => bare(|from, to_directory| from.link_at(PathFlags::empty(), path, to_directory, to)),
        "/bare-open" => bare(|from, _| read(from, path)),
        "/bare-create" => bare(|from, _| {
            let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
            from.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::CREATE | OpenFlags::TRUNCATE, flags).map(drop)
        }),
        "/bare-rename" => bare(|from, to_directory| from.rename_at(path, to_directory, to)),
        "/bare-put" => bare(|from, _| put(from, path, number("size"))),
        "/bare-write" => bare(|from, _| write(from, path, number("size"))),
        "/bare-stat" => bare(|from, _| from.stat_at(PathFlags::SYMLINK_FOLLOW, path).map(|stat| stat.size)),
        "/bare-symlink" => bare(|from, _| from.symlink_at(to, path)),
        "/environment" => environment(),
        "/fill" => fill(path, number("size")),
        "/fill-removed" => fill_removed(path, number("size")),
        "/listings" => listings(path, number("n")),
        "/many-files" => many_files(path, number("n")),
        "/open-many" => open_many(path, number("n"))?,
        "/race" => race(path, number("n"), |path| fs::read_to_string(path)),
        "/race-write" => race(path, number("n"), |path| fs::write(path, "inside").map(|()| String::new())),
        "/sockets" => sockets(),
        "/streams" => streams(path, number("n")),
        _ => return Ok(StatusCode::NOT_FOUND.into_response()),
    };
    Ok(text.into_response())
}

/// Calls WASI with the first and the last preopen, past the standard library.
fn bare<T: Debug>(call: impl FnOnce(&Descriptor, &Descriptor) -> Result<T, ErrorCode>) -> String {
    let preopens = preopens::get_directories();
    match (preopens.first(), preopens.last()) {
        (Some((first, _)), Some((last, _))) => match call(first, last) {
            Ok(value) => format!("Ok({value:?})"),
            Err(code) => format!("Err({})", code.name()),
        },
        _ => "no preopens".to_owned(),
    }
}

fn read(from: &Descriptor, path: &str) -> Result<String, ErrorCode> {
    let file = from.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(100, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes bytes to the start of a file, in one call.
fn put(from: &Descriptor, path: &str, size: usize) -> Result<u64, ErrorCode> {
    create(from, path)?.write(&vec![b'x'; size], 0)
}

/// The same through a stream: the code is that of the error which the stream has failed with.
fn write(from: &Descriptor, path: &str, size: usize) -> Result<(), ErrorCode> {
    let stream = create(from, path)?.append_via_stream()?;
    match stream.blocking_write_and_flush(&vec![b'x'; size]) {
        Ok(()) => Ok(()),
        Err(StreamError::LastOperationFailed(error)) => Err(filesystem_error_code(&error).unwrap_or(ErrorCode::Io)),
        Err(StreamError::Closed) => Err(ErrorCode::Pipe),
    }
}

fn create(from: &Descriptor, path: &str) -> Result<Descriptor, ErrorCode> {
    from.open_at(PathFlags::empty(), path, OpenFlags::CREATE, DescriptorFlags::WRITE)
}

fn environment() -> String {
    let variables: Vec<_> = env::vars().collect();
    let arguments: Vec<_> = env::args().collect();
    let directory = wasip2::cli::environment::initial_cwd();
    format!("{variables:?} {arguments:?} {directory:?}")
}

/// Writes blocks to a file of its own until that fails; how many, and why.
fn fill(path: &str, size: usize) -> String {
    let block = vec![b'x'; size.max(1)];
    let mut written = 0_u64;
    let error = loop {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        match file.and_then(|mut file| file.write_all(&block)) {
            Ok(()) => written += block.len() as u64,
            Err(error) => break error,
        }
    };
    format!("{written}, then {error}")
}

/// The same with a file that has no name any more.
fn fill_removed(path: &str, size: usize) -> String {
    let block = vec![b'x'; size.max(1)];
    let mut written = 0_u64;
    let error = loop {
        let mut file = match File::create(path) {
            Ok(file) => file,
            Err(error) => break error,
        };
        if let Err(error) = fs::remove_file(path).and_then(|()| file.write_all(&block)) {
            break error;
        }
        written += block.len() as u64;
        // Kept open to the end.
        std::mem::forget(file);
    };
    format!("{written}, then {error}")
}

/// Makes files until that fails.
fn many_files(path: &str, most: usize) -> String {
    for n in 0..most {
        if let Err(error) = File::create(format!("{path}/{n}")) {
            return format!("{n}, then {error}");
        }
    }
    format!("all {most}")
}

/// Opens a file many times, and keeps each open.
fn open_many(path: &str, most: usize) -> io::Result<String> {
    let files: io::Result<Vec<File>> = (0..most).map(|_| File::open(path)).collect();
    Ok(format!("{} open", files?.len()))
}

/// Begins to list a directory many times.
fn listings(path: &str, most: usize) -> String {
    bare(|from, _| {
        let directory = from.open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
        let listings: Result<Vec<_>, _> = (0..most).map(|_| directory.read_directory()).collect();
        listings.map(|listings| listings.len())
    })
}

/// Begins to read a file many times.
fn streams(path: &str, most: usize) -> String {
    bare(|from, _| {
        let file = from.open_at(PathFlags::empty(), path, OpenFlags::empty(), DescriptorFlags::READ)?;
        let streams: Result<Vec<_>, _> = (0..most).map(|_| file.read_via_stream(0)).collect();
        streams.map(|streams| streams.len())
    })
}

/// Does the same with a file again and again, while somebody else changes what its name leads to; everything that was
/// seen.
fn race(path: &str, times: usize, operation: impl Fn(&str) -> io::Result<String>) -> String {
    let mut seen = BTreeSet::new();
    for _ in 0..times {
        seen.insert(match operation(path) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        });
    }
    format!("{seen:?}")
}

/// Tries everything that would need a network.
fn sockets() -> String {
    let kind = |result: io::Result<()>| result.err().map_or_else(|| "done".to_owned(), |error| error.to_string());
    let connected = kind(TcpStream::connect("127.0.0.1:80").map(drop));
    let listening = kind(TcpListener::bind("127.0.0.1:0").map(drop));
    let datagrams = kind(UdpSocket::bind("127.0.0.1:0").map(drop));
    let looked_up = kind("localhost:80".to_socket_addrs().map(drop));
    format!("connect: {connected}\nlisten: {listening}\nudp: {datagrams}\nlookup: {looked_up}\n")
}
