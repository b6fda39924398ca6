//! The origins of components: files, and registries (`oci://REGISTRY/REPOSITORY:TAG@sha256:DIGEST`).

use std::fmt;
use std::path::PathBuf;

use toml::Spanned;

use crate::decode::Field;
use crate::registry::{MAX_NAME, RegistryName};
use crate::resolver::{FileKind, Resolver};
use crate::scalar::{Fault, FilePath, Text};

/// The origin of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// A registry.
    Registry(OciReference),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Registry(reference) => reference.fmt(f),
        }
    }
}

impl Resolver<'_> {
    /// Checks the origin of a component, the value of its `file`.
    pub(crate) fn origin(&mut self, file: &Field<ComponentFile>) -> Origin {
        match file.as_ref().map(|file| (file.span(), file.get_ref())) {
            Some((_, ComponentFile::Registry(reference))) => Origin::Registry(reference.clone()),
            Some((span, ComponentFile::Path(path))) => {
                let path = self.path(&Some(Spanned::new(span, path.clone())), FileKind::Component);
                Origin::File(path.unwrap_or_default())
            }
            None => Origin::File(PathBuf::new()),
        }
    }
}

/// The value of `file` of a component: a path, or a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ComponentFile {
    Path(FilePath),
    Registry(OciReference),
}

impl Text for ComponentFile {
    const KIND: &'static str = "a path, relative to the folder of the manifest, or `oci://REGISTRY/REPOSITORY:TAG`";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.starts_with("oci:") {
            true => OciReference::parse(text).map(Self::Registry),
            false => FilePath::parse(text).map(Self::Path),
        }
    }
}

/// The tag of a reference without one.
const DEFAULT_TAG: &str = "latest";

/// The longest tag, in bytes (OCI distribution specification 1.1).
const MAX_TAG: usize = 128;

/// A component in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciReference {
    /// The registry.
    pub registry: RegistryName,
    /// The repository.
    pub repository: String,
    /// The version by name; `latest` by default.
    pub tag: String,
    /// The SHA-256 of its manifest, as 64 hexadecimal digits. If present, the tag is ignored.
    pub digest: Option<String>,
}

impl OciReference {
    /// Checks a reference. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, InvalidReference> {
        Self::parse(text).map_err(|fault| InvalidReference { what: fault.what, fix: fault.fix })
    }
}

/// A text that is not an [`OciReference`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reference {what}: {fix}")]
pub struct InvalidReference {
    what: String,
    fix: String,
}

impl Text for OciReference {
    const KIND: &'static str = "a component in a registry, such as \"oci://ghcr.io/acme/shop:1.0\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |what: &str| {
            let fix = "write oci://REGISTRY/REPOSITORY:TAG, and @sha256:DIGEST behind it to pin one version";
            Fault::new(format!("is \"{text}\", {what}"), fix)
        };
        let rest = text.strip_prefix("oci://").ok_or_else(|| fault("which does not begin with oci://"))?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let hex = digest.strip_prefix("sha256:").filter(|hex| is_sha256(hex));
                (rest, Some(hex.ok_or_else(|| fault("whose digest is not sha256: and 64 digits in lower case"))?))
            }
            None => (rest, None),
        };
        let (registry, rest) = rest.split_once('/').ok_or_else(|| fault("which names no repository"))?;
        let registry = RegistryName::parse(registry).map_err(|_| fault("which names no registry"))?;
        let (repository, tag) = rest.split_once(':').unwrap_or((rest, DEFAULT_TAG));
        if repository.len() > MAX_NAME || !repository.split('/').all(is_part) {
            return Err(fault("whose repository is not parts of a-z, 0-9, `.`, `-` and `_` with slashes between"));
        }
        if !is_tag(tag) {
            return Err(fault("whose tag is not up to 128 letters, digits, `.`, `-` and `_`"));
        }
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        Ok(Self { registry, repository, tag, digest: digest.map(str::to_owned) })
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, tag, digest } = self;
        write!(f, "oci://{registry}/{repository}:{tag}")?;
        digest.iter().try_for_each(|digest| write!(f, "@sha256:{digest}"))
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_part(part: &str) -> bool {
    let is_of_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let ends_well = |c: char| c.is_ascii_alphanumeric();
    part.bytes().all(is_of_part) && part.starts_with(ends_well) && part.ends_with(ends_well)
}

fn is_tag(tag: &str) -> bool {
    let is_of_tag = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !tag.is_empty() && tag.len() <= MAX_TAG && !tag.starts_with(['.', '-']) && tag.bytes().all(is_of_tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let digest = "0a".repeat(32);
        for (text, shown) in [
            ("oci://ghcr.io/acme/shop", "oci://ghcr.io/acme/shop:latest".to_owned()),
            ("oci://127.0.0.1:5000/a:1.0", "oci://127.0.0.1:5000/a:1.0".to_owned()),
            ("oci://localhost/a_b/c-d.e:V_1", "oci://localhost/a_b/c-d.e:V_1".to_owned()),
            (&format!("oci://r/a@sha256:{digest}"), format!("oci://r/a:latest@sha256:{digest}")),
            (&format!("oci://r/a:1@sha256:{digest}"), format!("oci://r/a:1@sha256:{digest}")),
        ] {
            assert_eq!(OciReference::new(text).expect(text).to_string(), shown);
        }
        for text in [
            "",
            "oci:ghcr.io/acme/shop",
            "https://ghcr.io/acme/shop",
            "oci://",
            "oci://ghcr.io",
            "oci://ghcr.io/",
            "oci:///shop",
            "oci://GHCR.io/shop",
            "oci://user:secret@ghcr.io/shop",
            "oci://ghcr.io:0/shop",
            "oci://ghcr.io:65536/shop",
            "oci://[::1]:5000/shop",
            "oci://ghcr.io/Shop",
            "oci://ghcr.io/a//b",
            "oci://ghcr.io/../shop",
            "oci://ghcr.io/shop:",
            "oci://ghcr.io/shop:.a",
            "oci://ghcr.io/shop:a/b",
            "oci://ghcr.io/shop?x=y",
            &format!("oci://ghcr.io/shop:{}", "a".repeat(129)),
            "oci://ghcr.io/shop@sha256:0a",
            &format!("oci://ghcr.io/shop@sha512:{digest}"),
            &format!("oci://ghcr.io/shop@sha256:{}", digest.to_uppercase()),
        ] {
            assert!(OciReference::new(text).is_err(), "{text}");
        }
    }
}
