//! Routes that answer with files, without any component.

use std::path::{Component, Path};

use http::HeaderValue;

use crate::directory::DirectoryName;
use crate::scalar::{Fault, HeaderText, Text};
use crate::section::section;

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticFiles {
    /// The directory whose files are served.
    pub directory: DirectoryName,
    /// The files of the directory that it serves.
    pub files: Files,
    /// The file served for a directory.
    pub index: Option<String>,
    /// The `cache-control` header of successful answers.
    pub cache_control: Option<HeaderValue>,
    /// Whether `.br` and `.gz` siblings are sent to clients that accept them.
    pub precompressed: bool,
}

/// The files of a directory that a static route serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// The file with this relative path.
    One(String),
    /// The file whose path is the pattern's last capture. That path comes from the client: it is resolved below the
    /// directory and nowhere else.
    Captured,
}

section! {
    /// A route that answers with files, without any component.
    #[title = "`static` of a route"]
    pub(crate) struct StaticSection {
        /// The directory whose files are served.
        directory: DirectoryName [required];
        /// The only file that is served, for a route whose path has no `*` capture. Without it, the capture is the path
        /// of the file.
        file: RelativePath;
        /// The file that is served for a directory. An empty text turns this off.
        index: IndexFile = "\"index.html\"";
        /// The `cache-control` header of the answers 200, 206 and 304. Without it, there is none.
        cache_control: HeaderText;
        /// Whether to send a `.br` or `.gz` file next to the requested one, to clients that accept it.
        precompressed: bool = "true";
    }
}

/// The name of an index file, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexFile(pub(crate) Option<String>);

impl Text for IndexFile {
    const KIND: &'static str = "a file name, or an empty text";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        if text.contains('/') {
            return Err(Fault::new("is a path", "write the name of a file, without a slash"));
        }
        RelativePath::parse(text).map(|path| Self(Some(path.0)))
    }
}

/// A path below a granted directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelativePath(pub(crate) String);

impl Text for RelativePath {
    const KIND: &'static str = "a path inside the directory";

    fn parse(text: &str) -> Result<Self, Fault> {
        let inside = !text.contains('\0')
            && !text.is_empty()
            && Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
        if !inside {
            return Err(Fault::new(
                format!("is \"{text}\", which is not a path inside the directory"),
                "write a relative path without `..`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}
