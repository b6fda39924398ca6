//! Paths as they are written: of files beside the manifest, of files inside a granted directory, and of directories as
//! guests see them.

use std::path::{Component, Path, PathBuf};

use super::{Fault, Text};

/// A path that is relative to the manifest's folder unless it is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(PathBuf);

impl FilePath {
    /// The path seen from the manifest's folder.
    pub(crate) fn resolve(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }
}

impl Text for FilePath {
    const KIND: &'static str = "a path, relative to the folder of the manifest";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text {
            "" => Err(Fault::new("is empty", "write a path, relative to the folder of the manifest")),
            text if text.contains('\0') => Err(Fault::new("contains a NUL", "remove it")),
            text if text.starts_with("~/") => {
                Err(Fault::new("starts with `~`", "write the whole path: `~` is the shell's"))
            }
            text => Ok(Self(PathBuf::from(text))),
        }
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

/// Where guests see a directory: absolute, and with nothing in it that means another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestPath(pub(crate) String);

impl Text for GuestPath {
    const KIND: &'static str = "an absolute path, such as \"/images\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write an absolute path without `.`, `..` and a `/` at the end, such as \"/images\"";
        let Some(below) = text.strip_prefix('/') else { return Err(Fault::new("is not an absolute path", example)) };
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if !below.is_empty() && !below.split('/').all(is_plain) {
            return Err(Fault::new(format!("is {text:?}"), example));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_see_directories_at_plain_paths() {
        for good in ["/", "/images", "/var/lib/a b"] {
            assert!(GuestPath::parse(good).is_ok(), "{good}");
        }
        for wrong in ["", "images", "./images", "/images/", "//images", "/a/../b", "/.", "/a\0"] {
            assert!(GuestPath::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
