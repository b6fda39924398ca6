//! Arbitrary field sections as requests: an accepted request contains nothing ambiguous.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadrunner_h3::head::{read_request, read_trailers};
use roadrunner_qpack::{Decoded, Decoder, DecoderConfig};

fuzz_target!(|section: &[u8]| {
    let mut decoder = Decoder::new(DecoderConfig::default());
    let Ok(Decoded::Fields(fields)) = decoder.decode(0, section) else { return };
    let _ = read_trailers(fields.clone());
    let Ok(head) = read_request(fields, true) else { return };
    assert!(head.uri.authority().is_some());
    for (name, value) in &head.headers {
        assert!(!name.as_str().bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(!matches!(name.as_str(), "connection" | "transfer-encoding" | "upgrade"));
    }
});
