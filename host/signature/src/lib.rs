//! Verifies that one of several keys has signed some bytes.
//!
//! | key, as a PEM file with a `PUBLIC KEY` | signature |
//! |---|---|
//! | ECDSA on P-256 | DER (RFC 3279, 2.2.3), over the SHA-256 of the bytes |
//! | Ed25519 | 64 bytes (RFC 8032), over the bytes themselves |
//!
//! A signature is written in base64. `cosign sign-blob` makes it, and so does `openssl dgst -sha256 -sign`, or `openssl
//! pkeyutl -sign -rawin` for Ed25519, followed by `openssl base64`.
//!
//! Knows nothing of the signed content or of certificates: the operator decides whose keys are in the list, and removes
//! a key that is no longer trusted.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// The largest file of keys, in bytes.
pub const MAX_KEYS: u64 = 64 << 10;

/// The longest signature in base64, in bytes, including line breaks.
pub const MAX_SIGNATURE: usize = 1 << 10;

/// Public keys, at least one.
#[derive(Debug, PartialEq)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    algorithm: &'static dyn VerificationAlgorithm,
    bytes: Vec<u8>,
}

impl PartialEq for Key {
    /// Keys of the two algorithms differ in length.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

/// Why a file cannot be used as public keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is a key of another kind.
    #[error("{} has a key that is neither ECDSA on P-256 nor Ed25519", .0.display())]
    Algorithm(PathBuf),
    /// It contains no key.
    #[error("{} has no public key in PEM: it begins with -----BEGIN PUBLIC KEY-----", .0.display())]
    None(PathBuf),
    /// It cannot be read.
    #[error("{}: {reason}", .0.display(), reason = .1)]
    Read(PathBuf, io::Error),
    /// It is larger than [`MAX_KEYS`].
    #[error("{} is larger than {MAX_KEYS} bytes", .0.display())]
    TooLarge(PathBuf),
}

/// None of the keys has signed the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signature is of none of the keys, or of other bytes")]
pub struct NotSigned;

impl Keys {
    /// Loads the keys of PEM files, each of which has at least one.
    pub fn load(files: &[PathBuf]) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        for path in files {
            keys.extend(read(path)?);
        }
        Ok(Self(keys))
    }

    /// Checks that one of the keys has made this signature of these bytes.
    pub fn verify(&self, bytes: &[u8], signature: &Signature) -> Result<(), NotSigned> {
        let made = |key: &Key| UnparsedPublicKey::new(key.algorithm, &key.bytes).verify(bytes, &signature.0).is_ok();
        if self.0.iter().any(made) { Ok(()) } else { Err(NotSigned) }
    }
}

/// A claimed signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature(Vec<u8>);

impl FromStr for Signature {
    type Err = NotASignature;

    /// Parses base64, in one line or several.
    fn from_str(text: &str) -> Result<Self, NotASignature> {
        if text.len() > MAX_SIGNATURE {
            return Err(NotASignature);
        }
        let text: String = text.split_ascii_whitespace().collect();
        match BASE64_STANDARD.decode(text) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            _ => Err(NotASignature),
        }
    }
}

/// The error for a text that is not a [`Signature`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a signature is base64 of at most {MAX_SIGNATURE} bytes: `cosign sign-blob` writes it, or `openssl base64`")]
pub struct NotASignature;

fn read(path: &Path) -> Result<Vec<Key>, KeyError> {
    let failed = |error| KeyError::Read(path.to_owned(), error);
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_KEYS + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_KEYS {
        return Err(KeyError::TooLarge(path.to_owned()));
    }
    let mut keys = Vec::new();
    for item in SubjectPublicKeyInfoDer::pem_slice_iter(&text) {
        let item = item.map_err(|_| KeyError::None(path.to_owned()))?;
        keys.push(parse(&item).ok_or_else(|| KeyError::Algorithm(path.to_owned()))?);
    }
    if keys.is_empty() { Err(KeyError::None(path.to_owned())) } else { Ok(keys) }
}

/// Parses a SubjectPublicKeyInfo (RFC 5280, 4.1) of a kind whose DER always begins with the same bytes.
fn parse(der: &[u8]) -> Option<Key> {
    let kinds: [(&[u8], usize, &'static dyn VerificationAlgorithm); 2] =
        [(&P256, 65, &ECDSA_P256_SHA256_ASN1), (&EDWARDS, 32, &ED25519)];
    kinds.into_iter().find_map(|(prefix, length, algorithm)| {
        let bytes = der.strip_prefix(prefix)?;
        (bytes.len() == length).then(|| Key { algorithm, bytes: bytes.to_owned() })
    })
}

/// The bytes before an uncompressed point on P-256 (RFC 5480, 2.1.1): id-ecPublicKey, secp256r1.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The bytes before an Ed25519 key (RFC 8410, 4).
const EDWARDS: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[cfg(test)]
mod tests;
