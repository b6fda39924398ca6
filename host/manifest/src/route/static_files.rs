//! Routes that answer with files, without any component.

use std::path::{Component, Path};

use http::HeaderValue;
use toml::Spanned;

use crate::decode::section;
use crate::directory::DirectoryName;
use crate::pattern::RoutePattern;
use crate::resolve::value;
use crate::route::resolve::Routes;
use crate::route::{RouteSection, Target};
use crate::scalar::{Fault, HeaderText, Text};

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

impl<'s> Routes<'_, '_, 's> {
    pub(crate) fn files(
        &mut self,
        route: &RouteSection,
        section: &Spanned<StaticSection>,
        pattern: Option<&RoutePattern>,
    ) -> Option<Target> {
        let files = section.get_ref();
        // Keys for components would be accepted and ignored.
        for (key, span) in [
            ("config", route.config.as_ref().map(Spanned::span)),
            ("limits", route.limits.as_ref().map(Spanned::span)),
            ("websocket", route.websocket.as_ref().map(Spanned::span)),
            ("webtransport", route.webtransport.as_ref().map(Spanned::span)),
            ("body", route.body.as_ref().map(Spanned::span)),
        ] {
            if let Some(span) = span {
                self.report(
                    span,
                    format!("`{key}` has no meaning for a static route"),
                    "remove it: there is no instance",
                );
            }
        }
        let chosen = match (value(&files.file), pattern) {
            (Some(_), Some(pattern)) if pattern.has_rest() => {
                let fix = "remove `file`, or the capture from `path`";
                self.report(section.span(), format!("`file` is set, and `{pattern}` captures the path of a file"), fix);
                None
            }
            (Some(file), _) => Some(Files::One(file.0.clone())),
            (None, Some(pattern)) if !pattern.has_rest() => {
                if !files.failed.iter().any(|key| key == "file") {
                    let fix = "end `path` in `/*path`, or name one `file`";
                    self.report(section.span(), format!("`{pattern}` does not say which file is asked for"), fix);
                }
                None
            }
            (None, _) => Some(Files::Captured),
        };
        let tenant = value(&route.tenant);
        let directory = files.directory.as_ref()?;
        if !self.resolver.known_directory(directory, tenant) {
            return None;
        }
        Some(Target::Static(StaticFiles {
            directory: directory.get_ref().clone(),
            files: chosen?,
            index: files.index().0,
            cache_control: value(&files.cache_control).map(|header| header.0.clone()),
            precompressed: files.precompressed(),
        }))
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
