//! A download of 1 GiB costs the host less than 8 MiB. Alone in its process, since it measures all of its memory.

use std::fs::File;

use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use roadrunner_files::{Directory, FileCache, Options, RequestView, respond};

/// Resident memory that is not backed by files, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_download_of_a_gibibyte_stays_small() {
    const SIZE: u64 = 1 << 30;
    let root = tempfile::tempdir().unwrap();
    let directory = Directory::open("large", root.path(), "large").unwrap();
    let file = File::create(root.path().join("large")).unwrap();
    file.set_len(SIZE).unwrap();
    let before = resident();
    let request = RequestView { method: &Method::GET, headers: &HeaderMap::new() };
    let mut response = respond(&directory, &FileCache::default(), "large", &request, Options::for_route()).await;
    let (mut total, mut most) = (0, 0);
    while let Some(frame) = response.body_mut().frame().await {
        total += frame.unwrap().into_data().unwrap().len() as u64;
        if total % (64 << 20) < 128 * 1024 {
            most = most.max(resident().saturating_sub(before));
            // Sent data need not stay in the kernel's memory either.
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
    assert_eq!(total, SIZE);
    assert!(most < 8 << 20, "{most} bytes");
}
