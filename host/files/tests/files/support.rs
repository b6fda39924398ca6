//! A directory to serve, and requests for its files.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use roadrunner_files::{Directory, FileBody, FileCache, Options, RequestView, respond};
use tempfile::TempDir;

/// The modification time of files written by [`Site::write`]: half a second after the date of RFC 9110.
pub const LAST_MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

pub struct Site {
    root: TempDir,
    pub directory: Directory,
    pub cache: FileCache,
}

/// A response read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Site {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::open("site", root.path(), "site").unwrap();
        Self { root, directory, cache: FileCache::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file with an old modification time.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
        let file = File::options().write(true).open(self.path(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(784_111_777_500)).unwrap();
    }

    pub fn link(&self, target: &str, name: &str) {
        symlink(target, self.path(name)).unwrap();
    }

    pub async fn response(
        &self,
        method: Method,
        path: &str,
        fields: &[(HeaderName, &str)],
        options: Options<'_>,
    ) -> Response<FileBody> {
        let headers: HeaderMap =
            fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        let request = RequestView { method: &method, headers: &headers };
        respond(&self.directory, &self.cache, path, &request, options).await
    }

    pub async fn ask(&self, method: Method, path: &str, fields: &[(HeaderName, &str)], options: Options<'_>) -> Answer {
        let (head, body) = self.response(method, path, fields, options).await.into_parts();
        let expected = http_body::Body::size_hint(&body).exact().expect("the size is known");
        let body = body.collect().await.expect("the file stands still").to_bytes();
        assert_eq!(body.len() as u64, expected, "the size that was promised");
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str, fields: &[(HeaderName, &str)]) -> Answer {
        self.ask(Method::GET, path, fields, Options::for_route()).await
    }
}

impl Answer {
    /// The only value of a field.
    pub fn field(&self, name: HeaderName) -> Option<&str> {
        let mut values = self.headers.get_all(&name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} twice");
        value
    }

    pub fn code(&self) -> u16 {
        self.status.as_u16()
    }
}
