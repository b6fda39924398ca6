//! The savings of the dynamic table on a browser's requests: header bytes per request with and without it.

use roadrunner_qpack::{Decoded, Decoder, DecoderConfig, Encoder, EncoderConfig};

const REQUESTS: u64 = 30;

/// The request fields of a Chromium that loads a page and its parts. Path, destination and priority change.
fn request(index: u64) -> Vec<(&'static str, String)> {
    let kinds = [
        (
            "/",
            "document",
            "navigate",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
            "u=0, i",
        ),
        ("/assets/site.css", "style", "no-cors", "text/css,*/*;q=0.1", "u=0"),
        ("/assets/app.js", "script", "no-cors", "*/*", "u=1"),
        (
            "/images/photo.webp",
            "image",
            "no-cors",
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            "u=2, i",
        ),
        ("/api/items?page=", "empty", "cors", "application/json", "u=1, i"),
    ];
    let (path, destination, mode, accept, priority) = kinds[(index as usize).min(3 + index as usize % 2)];
    let fields = [
        (":method", "GET"),
        (":authority", "www.example.com"),
        (":scheme", "https"),
        (":path", path),
        ("sec-ch-ua", "\"Not;A=Brand\";v=\"99\", \"Google Chrome\";v=\"139\", \"Chromium\";v=\"139\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36",
        ),
        ("accept", accept),
        ("sec-fetch-site", if index == 0 { "none" } else { "same-origin" }),
        ("sec-fetch-mode", mode),
        ("sec-fetch-dest", destination),
        ("referer", "https://www.example.com/"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ("cookie", "session=7b0f6a1c9d2e4f58a3b6c1d0e9f8a7b6; theme=dark; consent=yes"),
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("priority", priority),
        ("dnt", "1"),
    ];
    fields
        .map(|(name, value)| match name {
            ":path" => (name, format!("{value}{}", if index > 3 { index.to_string() } else { String::new() })),
            _ => (name, value.to_string()),
        })
        .to_vec()
}

/// The bytes of each request, including the encoder stream. Requests follow each other a round trip apart.
fn measure(config: EncoderConfig, capacity: u64) -> Vec<usize> {
    let mut encoder = Encoder::new(config);
    let mut decoder = Decoder::new(DecoderConfig {
        max_table_capacity: capacity,
        max_blocked_streams: 16,
        ..DecoderConfig::default()
    });
    encoder.set_peer_settings(capacity, 16);
    (0..REQUESTS)
        .map(|index| {
            let fields = request(index);
            let mut section = Vec::new();
            encoder.encode(4 * index, fields.iter().map(|(name, value)| (*name, &value[..])), &mut section);
            let instructions = encoder.take_encoder_stream();
            decoder.on_encoder_stream(&instructions).unwrap();
            let Decoded::Fields(decoded) = decoder.decode(4 * index, &section).unwrap() else {
                panic!("not decoded");
            };
            assert_eq!(decoded.len(), fields.len());
            encoder.on_decoder_stream(&decoder.take_decoder_stream()).unwrap();
            section.len() + instructions.len()
        })
        .collect()
}

#[test]
fn a_browser_saves_most_of_its_header_bytes() {
    let off = measure(EncoderConfig::default(), 0);
    let without = later(&off);
    println!("table off:                     {without:6.1} bytes per request from the second on; each: {off:?}");
    for (name, config) in [
        ("acknowledged entries only", EncoderConfig::default()),
        ("up to 16 blocked streams", EncoderConfig { max_blocked_streams: 16, ..EncoderConfig::default() }),
        (
            "the same, inserting at once",
            EncoderConfig { max_blocked_streams: 16, insert_on_first_sight: true, ..EncoderConfig::default() },
        ),
    ] {
        let on = measure(config, 4096);
        let saved = 100.0 * (1.0 - later(&on) / without);
        println!("{name:30} {:6.1} bytes, {saved:.1} % fewer; each: {on:?}", later(&on));
        assert!(saved >= 60.0, "{name}: {saved:.1} %");
    }
}

/// The mean from the second request on.
fn later(bytes: &[usize]) -> f64 {
    bytes[1..].iter().sum::<usize>() as f64 / (bytes.len() - 1) as f64
}
