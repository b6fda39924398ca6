//! Loading of a manifest's secrets, from files and from the environment.
//!
//! Secrets are read at the start and at each reload, and kept in memory that is overwritten when they are forgotten.
//! Errors name a secret and its place, and nothing else about it.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use roadrunner_manifest::{self as manifest, Manifest};
use roadrunner_sandbox::Secret;
use zeroize::Zeroizing;

use super::provider::{Granted, Grantee, Opening, Provider};

/// The longest secret, in bytes.
const LONGEST: usize = 64 << 10;

/// The secrets of a manifest, by name.
pub(crate) struct Secrets(BTreeMap<String, Secret>);

impl Provider for Secrets {
    fn open(opening: &Opening<'_>, _: Option<&Self>) -> Result<Self> {
        Ok(Self(opening.secrets.clone()))
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        let named = component.settings.secrets.iter();
        let found = named.filter_map(|name| Some((name.to_string(), self.0.get(name.as_str())?.clone())));
        granted.grants.secrets = found.collect();
    }
}

/// Reads all secrets of a manifest, by name.
pub(crate) fn read(manifest: &Manifest) -> Result<BTreeMap<String, Secret>> {
    manifest.secrets.iter().map(|(name, place)| Ok((name.to_string(), read_one(name, place)?))).collect()
}

/// Reads one secret.
pub(crate) fn read_one(name: &manifest::SecretName, place: &manifest::Secret) -> Result<Secret> {
    let bytes = match place {
        manifest::Secret::Environment(variable) => environment(variable),
        manifest::Secret::File(path) => file(path),
    };
    Ok(Secret::new(bytes.with_context(|| format!("cannot read the secret {name}"))?))
}

fn environment(variable: &str) -> Result<Zeroizing<Vec<u8>>> {
    let value = std::env::var_os(variable);
    let bytes = Zeroizing::new(value.with_context(|| format!("{variable} is not in the environment"))?.into_vec());
    ensure!(bytes.len() <= LONGEST, "{variable} is longer than {LONGEST} bytes");
    ensure!(!bytes.is_empty(), "{variable} is empty");
    Ok(bytes)
}

fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = roadrunner_private::read(path, LONGEST)?;
    // Editors end a text with a line break; binary data is left alone.
    if std::str::from_utf8(&bytes).is_ok() && bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    ensure!(!bytes.is_empty(), "{} is empty", path.display());
    // The copy is as small as possible; its source is overwritten.
    Ok(Zeroizing::new(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(name: &str, content: &[u8], mode: u32) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("roadrunner-secret-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn read(name: &str, content: &[u8], mode: u32) -> Result<Vec<u8>, String> {
        let path = written(name, content, mode);
        let result = file(&path).map(|bytes| bytes.to_vec()).map_err(|error| format!("{error:#}"));
        std::fs::remove_file(&path).unwrap();
        result
    }

    #[test]
    fn a_text_loses_the_line_break_at_its_end_and_nothing_else() {
        assert_eq!(read("text", b"a\nb\r\n", 0o600).unwrap(), b"a\nb");
        assert_eq!(read("two", b"a\n\n", 0o640).unwrap(), b"a\n");
        assert_eq!(read("binary", b"\xff\n", 0o400).unwrap(), b"\xff\n");
    }

    #[test]
    fn empty_and_long_ones_are_refused() {
        assert!(read("empty", b"\n", 0o600).unwrap_err().contains("is empty"));
        let long = vec![b'x'; LONGEST + 1];
        assert!(read("long", &long, 0o600).unwrap_err().contains("longer than 65536 bytes"));
        assert_eq!(read("longest", &long[1..], 0o600).unwrap().len(), LONGEST);
    }
}
