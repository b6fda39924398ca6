use super::*;

/// Made with the `openssl` command line, like the signatures below.
const ECDSA: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+IgrXpGSxUBPpP44nwcL599L5IjZ
CYKSyKdESnjrMnQBHWGky7tLCQ4p/6bseIEX/j0oI9YHq3cdhpb3jvJs7w==
-----END PUBLIC KEY-----
";

const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAbLhXllMcI13uiU/1pwsBAvtzEVFiyXlbtd2cKAggdmw=
-----END PUBLIC KEY-----
";

const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEtf3433wgTDpI0SxMmAnE9rFfuXPgjOUX
WGG4CzFvBBHBo9u9VlMrwbUH/BGfqRaIhdvQUU7tWt5+aJSH6MKMoXdOXHoaatBw
EOg2yiGyEuaOJtoeXWZQ0iwUGEfCfqfi
-----END PUBLIC KEY-----
";

const SIGNED: &[u8] = b"what is signed";

const BY_ECDSA: &str = "MEQCIHpau8aqA0louJQh+8HS/BoQVxVMNRkEOOQdjO+WG5OUAiACK8Z5dpcypZ3f
7FpxPEe6AjaMZl4ys4FlXWGTvkIlfQ==
";

const BY_ED25519: &str = "Rl/b+rpaaSIw87gOc5NkZ21ny4mBrT6MP9yScEaIftSsYYIkcsaygArek39iWwiI
eh7SHlHtCzyzvd82dRObCQ==
";

fn keys(name: &str, text: &str) -> Result<Keys, KeyError> {
    let path = std::env::temp_dir().join(format!("roadrunner-keys-{name}-{}", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    let keys = Keys::load(std::slice::from_ref(&path));
    std::fs::remove_file(path).expect("our own file");
    keys
}

fn signature(text: &str) -> Signature {
    text.parse().expect("a signature")
}

#[test]
fn a_signature_is_of_its_bytes_and_its_key() {
    for (name, key, other, made) in [("ecdsa", ECDSA, ED25519, BY_ECDSA), ("ed25519", ED25519, ECDSA, BY_ED25519)] {
        let made = signature(made);
        let key = keys(name, key).expect("a key");
        assert_eq!(key.verify(SIGNED, &made), Ok(()), "{name}");
        assert_eq!(key.verify(b"what is signeD", &made), Err(NotSigned), "{name}: other bytes");
        assert_eq!(key.verify(b"", &made), Err(NotSigned), "{name}: no bytes");
        let other = keys(&format!("{name}-other"), other).expect("a key");
        assert_eq!(other.verify(SIGNED, &made), Err(NotSigned), "{name}: another key");
        for at in 0..made.0.len() {
            let mut changed = made.clone();
            changed.0[at] ^= 1;
            assert_eq!(key.verify(SIGNED, &changed), Err(NotSigned), "{name}: byte {at}");
            assert_eq!(key.verify(SIGNED, &Signature(made.0[..at].to_owned())), Err(NotSigned), "{name}: cut at {at}");
        }
    }
}

#[test]
fn one_of_several_keys_is_enough() {
    let both = keys("both", &format!("the first\n{ECDSA}\n{ED25519}")).expect("two keys");
    for made in [BY_ECDSA, BY_ED25519] {
        assert_eq!(both.verify(SIGNED, &signature(made)), Ok(()));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let reason = |name: &str, text: &str| keys(name, text).expect_err("not a key").to_string();
    assert!(reason("empty", "").contains("no public key in PEM"));
    assert!(reason("private", &ECDSA.replace("PUBLIC", "PRIVATE")).contains("no public key in PEM"));
    assert!(reason("p384", P384).contains("neither ECDSA on P-256 nor Ed25519"));
    assert!(reason("second", &format!("{ECDSA}{P384}")).contains("neither ECDSA on P-256 nor Ed25519"));
    assert!(reason("large", &ECDSA.repeat(500)).contains("larger than 65536 bytes"));
    assert!(Keys::load(&["/nowhere/key.pem".into()]).expect_err("no file").to_string().contains("/nowhere/key.pem"));
}

#[test]
fn what_is_no_signature_is_refused() {
    for text in ["", " \n", "!", "AAA", &"AAAA".repeat(257)] {
        assert_eq!(text.parse::<Signature>(), Err(NotASignature), "{text}");
    }
}
