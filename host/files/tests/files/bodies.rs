//! Bodies of files that are large, change, shrink, grow or are exchanged while they are sent.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::Site;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, ETAG, RANGE};
use http::{Method, Response};
use http_body::Body;
use http_body_util::BodyExt;
use roadrunner_files::{FileBody, FileBodyError, Options};

const CHUNK: usize = 128 * 1024;

/// Longer than a timestamp takes to settle.
const SETTLED: Duration = Duration::from_millis(60);

/// Bytes that show their position.
fn pattern(length: usize) -> Vec<u8> {
    (0..length / 8 + 1).flat_map(|word| (word as u64).to_be_bytes()).take(length).collect()
}

async fn next(response: &mut Response<FileBody>) -> Option<Result<Bytes, FileBodyError>> {
    Some(response.body_mut().frame().await?.map(|frame| frame.into_data().expect("files have no trailers")))
}

async fn open(site: &Site, path: &str) -> Response<FileBody> {
    site.response(Method::GET, path, &[], Options::for_route()).await
}

#[tokio::test]
async fn sizes_around_every_boundary() {
    let site = Site::new();
    for size in [1, 65_535, 65_536, 65_537, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1_000_003] {
        let content = pattern(size);
        site.write("file", &content);
        let answer = site.get("file", &[]).await;
        assert!(answer.body == content, "{size}");
        assert_eq!(answer.field(CONTENT_LENGTH), Some(size.to_string().as_str()));
        if size > 10 {
            let (start, end) = (size / 3, size - 2);
            let answer = site.get("file", &[(RANGE, &format!("bytes={start}-{}", end - 1))]).await;
            assert_eq!(answer.code(), 206);
            assert!(answer.body == content[start..end], "{size}");
        }
        let head = site.ask(Method::HEAD, "file", &[], Options::for_route()).await;
        assert_eq!(head.field(CONTENT_LENGTH), Some(size.to_string().as_str()));
    }
}

/// The kernel's pages are dropped, so that reads use the blocking pool and read ahead.
#[tokio::test]
async fn a_file_that_is_not_in_memory() {
    let site = Site::new();
    for size in [10_000, 5_000_001] {
        let content = pattern(size);
        site.write("file", &content);
        let file = File::open(site.path("file")).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(site.get("file", &[]).await.body == content);
    }
}

#[tokio::test]
async fn a_large_file_comes_in_bounded_chunks() {
    let site = Site::new();
    const SIZE: u64 = 200 * 1024 * 1024;
    let file = File::create(site.path("large")).unwrap();
    file.set_len(SIZE).unwrap();
    let mut response = open(&site, "large").await;
    let (mut total, mut largest) = (0, 0);
    while let Some(chunk) = next(&mut response).await {
        let chunk = chunk.unwrap();
        total += chunk.len() as u64;
        largest = largest.max(chunk.len());
        assert_eq!(response.body().size_hint().exact(), Some(SIZE - total));
    }
    assert_eq!((total, largest), (SIZE, CHUNK));
    assert!(response.body().is_end_stream());
    assert_eq!(site.cache.len(), 0, "large files are not cached");
}

#[tokio::test]
async fn a_file_that_shrinks_ends_in_an_error() {
    for (kept, cold) in [(3 * CHUNK as u64 / 2, false), (3 * CHUNK as u64 / 2, true), (0, false), (0, true)] {
        let site = Site::new();
        site.write("file", pattern(8 * CHUNK));
        let file = File::options().write(true).open(site.path("file")).unwrap();
        if cold {
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let mut response = open(&site, "file").await;
        let mut received = next(&mut response).await.unwrap().unwrap().len();
        file.set_len(kept).unwrap();
        let error = loop {
            match next(&mut response).await.expect("it must not look whole") {
                Ok(chunk) => received += chunk.len(),
                Err(error) => break error,
            }
        };
        assert!(received < 8 * CHUNK);
        assert!(matches!(error, FileBodyError::Truncated { .. }), "{error}");
        assert!(next(&mut response).await.is_none());
    }
}

#[tokio::test]
async fn a_file_that_grows_is_sent_as_it_was() {
    let site = Site::new();
    let content = pattern(3 * CHUNK);
    site.write("log", &content);
    let mut response = open(&site, "log").await;
    let mut received = next(&mut response).await.unwrap().unwrap().to_vec();
    File::options().append(true).open(site.path("log")).unwrap().write_all(&pattern(CHUNK)).unwrap();
    while let Some(chunk) = next(&mut response).await {
        received.extend_from_slice(&chunk.unwrap());
    }
    assert!(received == content);
}

#[tokio::test]
async fn a_file_that_is_replaced_is_sent_as_it_was() {
    let site = Site::new();
    let content = pattern(3 * CHUNK);
    site.write("file", &content);
    let mut response = open(&site, "file").await;
    let mut received = next(&mut response).await.unwrap().unwrap().to_vec();
    site.write("new", "short");
    std::fs::rename(site.path("new"), site.path("file")).unwrap();
    while let Some(chunk) = next(&mut response).await {
        received.extend_from_slice(&chunk.unwrap());
    }
    assert!(received == content);
    assert_eq!(site.get("file", &[]).await.body, "short");
}

#[tokio::test]
async fn a_body_may_be_dropped_at_any_time() {
    let site = Site::new();
    site.write("file", pattern(10 * CHUNK));
    for chunks in 0..3 {
        let file = File::open(site.path("file")).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let mut response = open(&site, "file").await;
        for _ in 0..chunks {
            next(&mut response).await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_hit_shares_the_cached_bytes_and_a_change_ends_it() {
    let site = Site::new();
    site.write("file", "first content");
    tokio::time::sleep(SETTLED).await;
    let first = site.get("file", &[]).await;
    assert_eq!(site.cache.len(), 1);
    let second = site.get("file", &[]).await;
    assert_eq!(first.body.as_ptr(), second.body.as_ptr(), "a hit copies nothing");
    let part = site.get("file", &[(RANGE, "bytes=6-")]).await;
    assert_eq!((&part.body[..], part.body.as_ptr()), (&b"content"[..], first.body[6..].as_ptr()));

    // In place, same size.
    std::fs::write(site.path("file"), "other content").unwrap();
    let third = site.get("file", &[]).await;
    assert_eq!(third.body, "other content");
    assert_ne!(first.field(ETAG), third.field(ETAG));
    // In place, same size, and the same modification time as at first: its change time tells.
    site.write("file", "third content");
    assert_eq!(site.get("file", &[]).await.body, "third content");
    // Another inode.
    site.write("new", "fourth");
    std::fs::rename(site.path("new"), site.path("file")).unwrap();
    assert_eq!(site.get("file", &[]).await.body, "fourth");
    // Gone.
    std::fs::remove_file(site.path("file")).unwrap();
    assert_eq!(site.get("file", &[]).await.code(), 404);
}

#[tokio::test]
async fn a_young_file_is_not_cached_and_its_tag_is_weak() {
    let site = Site::new();
    let mut seen = false;
    for _ in 0..50 {
        let started = Instant::now();
        std::fs::write(site.path("file"), "x").unwrap();
        let answer = site.get("file", &[]).await;
        // The timestamp may lie 10 ms before the start, and settles after 20.
        if started.elapsed() < Duration::from_millis(8) {
            assert!(answer.field(ETAG).unwrap().starts_with("W/"));
            assert!(site.cache.is_empty());
            seen = true;
            break;
        }
    }
    assert!(seen, "never answered within 8 ms");
    tokio::time::sleep(SETTLED).await;
    let answer = site.get("file", &[]).await;
    assert!(answer.field(ETAG).unwrap().starts_with('"'));
    assert_eq!(site.cache.len(), 1);
}

/// Small files are replaced and rewritten while they are requested: the length is always the promised one, and a strong
/// tag never represents two contents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_torn() {
    let site = Site::new();
    site.write("renamed", "0");
    site.write("rewritten", "0");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let content = format!("{round}\n").repeat(1 + (round % 4) as usize * 1000);
                std::fs::write(site.path("new"), &content).unwrap();
                std::fs::rename(site.path("new"), site.path("renamed")).unwrap();
                std::fs::write(site.path("rewritten"), &content).unwrap();
                if round % 8 == 0 {
                    std::thread::sleep(SETTLED);
                }
            }
        });

        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let mut contents: HashMap<String, Bytes> = HashMap::new();
                let started = Instant::now();
                while started.elapsed() < Duration::from_secs(2) {
                    for path in ["renamed", "rewritten"] {
                        let (head, body) = open(&site, path).await.into_parts();
                        assert_eq!(head.status, 200);
                        let promised: usize = head.headers[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
                        let Ok(body) = body.collect().await else {
                            assert_eq!(path, "rewritten", "a replaced file stands still");
                            continue;
                        };
                        let body = body.to_bytes();
                        assert_eq!(body.len(), promised);
                        if path == "renamed" {
                            let first = body.split(|byte| *byte == b'\n').next().unwrap();
                            let whole = body.split_inclusive(|byte| *byte == b'\n');
                            assert!(whole.into_iter().all(|line| line.strip_suffix(b"\n").unwrap_or(line) == first));
                        }
                        let tag = head.headers[ETAG].to_str().unwrap().to_owned();
                        if tag.starts_with('"') {
                            let known = contents.entry(tag).or_insert_with(|| body.clone());
                            assert_eq!(*known, body, "one strong tag, two contents");
                        }
                    }
                }
                stop.store(true, Ordering::Relaxed);
                assert!(contents.len() > 10, "{} versions seen", contents.len());
            });
        });
    });
}
