//! The request fields of a Chromium that loads a page and its parts.

/// The fields of one request, pseudo-header fields first. Path, destination and priority change from one to the next.
pub fn request(authority: &str, path: &str, index: u64) -> Vec<(&'static str, String)> {
    let kinds = [
        (
            "document",
            "navigate",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
            "u=0, i",
        ),
        ("style", "no-cors", "text/css,*/*;q=0.1", "u=0"),
        ("script", "no-cors", "*/*", "u=1"),
        ("image", "no-cors", "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "u=2, i"),
        ("empty", "cors", "application/json", "u=1, i"),
    ];
    let (destination, mode, accept, priority) = kinds[(index as usize).min(3 + index as usize % 2)];
    let site = if index == 0 { "none" } else { "same-origin" };
    let fields = [
        (":method", "GET"),
        (":authority", authority),
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
        ("sec-fetch-site", site),
        ("sec-fetch-mode", mode),
        ("sec-fetch-dest", destination),
        ("referer", "https://www.example.com/"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ("cookie", "session=7b0f6a1c9d2e4f58a3b6c1d0e9f8a7b6; theme=dark; consent=yes"),
        ("cache-control", "no-cache"),
        ("priority", priority),
    ];
    fields
        .map(|(name, value)| match name {
            ":path" => (name, format!("{value}?part={index}")),
            _ => (name, value.to_owned()),
        })
        .to_vec()
}
