//! Keys and signatures, made by the openssl command line.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::command;

/// A private key.
#[derive(Debug)]
pub struct Signer {
    folder: TempDir,
    openssl: PathBuf,
    algorithm: Algorithm,
}

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

impl Signer {
    /// Makes a new key. `None`, with a line that says so, if openssl is not installed.
    pub fn new(test: &str, algorithm: Algorithm) -> Option<Self> {
        let openssl = command::tool(test, "openssl")?.get_program().into();
        let folder = TempDir::with_prefix("roadrunner-signer-").expect("a temporary folder");
        let signer = Self { folder, openssl, algorithm };
        match algorithm {
            Algorithm::Ecdsa => signer.run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem"]),
            Algorithm::Ed25519 => signer.run(&["genpkey", "-algorithm", "ed25519", "-out", "key.pem"]),
        };
        signer.run(&["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
        Some(signer)
    }

    /// Its public key, in PEM.
    pub fn public(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("public.pem")).expect("our own file")
    }

    /// Signs these bytes; the signature is in base64, in lines as openssl writes it.
    pub fn sign(&self, bytes: &[u8]) -> String {
        std::fs::write(self.folder.path().join("bytes"), bytes).expect("a file");
        match self.algorithm {
            Algorithm::Ecdsa => self.run(&["dgst", "-sha256", "-sign", "key.pem", "-out", "signature", "bytes"]),
            Algorithm::Ed25519 => {
                self.run(&["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "bytes", "-out", "signature"])
            }
        };
        self.run(&["base64", "-in", "signature"])
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.openssl);
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        let done = command.output().expect("openssl can be started");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }
}
