//! Whatever stands in a manifest, the answer is a manifest or a report.

use std::path::Path;

use proptest::prelude::*;
use roadrunner_manifest::{Manifest, Style};

const FULL: &str = include_str!("full.toml");

fn check(text: &str) {
    if let Err(error) = Manifest::parse(text, Path::new("roadrunner.toml")) {
        assert!(!error.diagnostics().is_empty(), "refused without a reason: {text}");
        assert!(error.render(Style::Coloured).len() > error.render(Style::Plain).len());
    }
}

/// Keys and values that have a meaning somewhere, so that they come together where they have none.
fn line() -> impl Strategy<Value = String> {
    let words: Vec<String> = FULL
        .split(|c: char| c.is_whitespace() || "[]{}=,.\"".contains(c))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let word = prop::sample::select(words);
    let value = prop_oneof![
        word.clone().prop_map(|word| format!("{word:?}")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<f32>().prop_map(|value| format!("{value:?}")),
        "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
        Just("2026-01-01".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        (word.clone(), word.clone()).prop_map(|(key, value)| format!("[{{ {key} = {value:?} }}, {value:?}]")),
        (word.clone(), word.clone()).prop_map(|(key, value)| format!("{{ {key} = {value:?} }}")),
    ];
    let path = prop::collection::vec(word.clone(), 1..4).prop_map(|words| words.join("."));
    prop_oneof![
        3 => (path.clone(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => path.clone().prop_map(|path| format!("[{path}]")),
        1 => path.prop_map(|path| format!("[[{path}]]")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "(\\PC|[\\r\\n\\t=\\[\\]{}\"'.]){0,200}") {
        check(&text);
    }

    #[test]
    fn known_words_in_any_order(lines in prop::collection::vec(line(), 0..30)) {
        check(&lines.join("\n"));
    }

    #[test]
    fn a_good_manifest_with_a_piece_replaced(from in 0..FULL.len(), length in 0usize..60, piece in "\\PC{0,10}") {
        let end = (from + length).min(FULL.len());
        if FULL.is_char_boundary(from) && FULL.is_char_boundary(end) {
            check(&format!("{}{piece}{}", &FULL[..from], &FULL[end..]));
        }
    }

    #[test]
    fn a_good_manifest_with_lines_from_elsewhere(at in 0usize..150, lines in prop::collection::vec(line(), 1..4)) {
        let mut text: Vec<&str> = FULL.lines().collect();
        let at = at.min(text.len());
        text.splice(at..at, lines.iter().map(String::as_str));
        check(&text.join("\n"));
    }
}

#[test]
fn a_large_wrong_file_is_reported_in_time() {
    let text = "x = 1\n".repeat(100_000) + &"[server]\ny\n".repeat(50_000);
    let start = std::time::Instant::now();
    let error = Manifest::parse(&text, Path::new("m.toml")).expect_err("it is wrong");
    assert_eq!(error.diagnostics().len(), 100);
    assert!(error.to_string().contains("more problems"));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
