//! Relative paths: parsed once, so that only plain paths reach the file system.
//!
//! The input is percent-decoded text. Parsing does not keep a lookup inside its directory (the kernel does, see
//! [`crate::directory`]). It refuses paths that no honest client sends, and ensures that a file has only one name.

use std::fmt;

/// A path below a directory: no empty, `.` or `..` segment, no NUL, no backslash, not absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RelativePath<'a> {
    text: &'a str,
    slash: bool,
}

impl<'a> RelativePath<'a> {
    /// Parses `path`. With `hidden` false, a segment that starts with a dot is refused, except for a leading
    /// `.well-known` (RFC 8615), which exists to be served.
    pub(crate) fn parse(path: &'a str, hidden: bool) -> Result<Self, NotFound> {
        let (text, slash) = match path.strip_suffix('/') {
            Some("") => return Err(NotFound::InvalidPath),
            Some(text) => (text, true),
            None => (path, path.is_empty()),
        };
        if text.is_empty() {
            return Ok(Self { text, slash });
        }
        // A backslash is legal in a Unix file name, but the author of such a URL meant a separator.
        if text.contains(['\0', '\\']) {
            return Err(NotFound::InvalidPath);
        }
        for (index, segment) in text.split('/').enumerate() {
            if matches!(segment, "" | "." | "..") {
                return Err(NotFound::InvalidPath);
            }
            if !hidden && segment.starts_with('.') && !(index == 0 && segment == ".well-known") {
                return Err(NotFound::Hidden);
            }
        }
        Ok(Self { text, slash })
    }

    /// The path without a trailing slash; empty for the directory itself.
    pub(crate) fn as_str(&self) -> &'a str {
        self.text
    }

    /// Whether the path ended in a slash, or was empty, and so can only name a directory.
    pub(crate) fn names_directory(&self) -> bool {
        self.slash
    }

    /// The last segment; empty for the directory itself.
    pub(crate) fn last_segment(&self) -> &'a str {
        self.text.rsplit('/').next().unwrap_or_default()
    }
}

/// Why a path led to no file. The client always gets 404; the log may tell the reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// The host's user may not read it.
    Denied,
    /// It has a segment that starts with a dot, and hidden files are not served here.
    Hidden,
    /// It is absolute, or has an empty, `.` or `..` segment, a NUL or a backslash, or is too long.
    InvalidPath,
    /// It leads out of the directory, through a symbolic link, or into a loop of them.
    LeavesDirectory,
    /// No file has this name.
    Missing,
    /// It is a directory without an index, or a FIFO, a socket or a device.
    NotAFile,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "permission denied",
            Self::Hidden => "hidden file",
            Self::InvalidPath => "not a plain relative path",
            Self::LeavesDirectory => "leads out of the directory",
            Self::Missing => "does not exist",
            Self::NotAFile => "not a regular file",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_taken_as_they_are() {
        for (path, text, slash, last) in [
            ("a", "a", false, "a"),
            ("a/b.txt", "a/b.txt", false, "b.txt"),
            ("a/b/", "a/b", true, "b"),
            ("", "", true, ""),
            ("...", "...", false, "..."),
            ("a..b/c.", "a..b/c.", false, "c."),
            ("ü/日本 語", "ü/日本 語", false, "日本 語"),
            ("%2e%2e/a", "%2e%2e/a", false, "a"),
        ] {
            let parsed = RelativePath::parse(path, true).expect(path);
            assert_eq!((parsed.as_str(), parsed.names_directory(), parsed.last_segment()), (text, slash, last));
        }
    }

    #[test]
    fn tricks_are_refused() {
        for path in [
            "/",
            "//",
            "/etc/passwd",
            "//etc",
            "..",
            "../",
            "../a",
            "a/..",
            "a/../b",
            "a/../../b",
            ".",
            "./a",
            "a/.",
            "a//b",
            "a//",
            "a\0",
            "a\0.txt",
            "..\\a",
            "a\\..\\b",
            "\\\\host\\share",
            "C:\\x",
        ] {
            assert_eq!(RelativePath::parse(path, true), Err(NotFound::InvalidPath), "{path:?}");
        }
    }

    #[test]
    fn hidden_files_are_refused_unless_wanted() {
        for path in [".git/config", "a/.env", ".htaccess", "a/.b/c", "a/.well-known/x", ".well-known/.x", ".x/"] {
            assert_eq!(RelativePath::parse(path, false), Err(NotFound::Hidden), "{path:?}");
            assert!(RelativePath::parse(path, true).is_ok(), "{path:?}");
        }
        assert!(RelativePath::parse(".well-known/security.txt", false).is_ok());
    }
}
