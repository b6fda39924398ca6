//! docs/limits.md against the manifest's reference and against these tests: every limit has a row, every row a test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Keys that are numbers, sizes or durations but no limits.
const NO_LIMITS: [&str; 13] = [
    "http3.alt-svc-max-age",
    "http3.alt-svc-port",
    "http3.cid-lifetime",
    "http3.endpoints",
    "middleware.compression.minimum-size",
    "middleware.cors.max-age",
    "middleware.etag.maximum-size",
    "middleware.security-headers.transport-security",
    "server.workers",
    "websocket.deflate-client-window",
    "websocket.deflate-level",
    "websocket.deflate-server-window",
    "websocket.deflate-threshold",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The name of a reference section in the page; `None` for a section that repeats another.
fn section(title: &str) -> Option<String> {
    let title = title.replace('`', "");
    if let Some(kind) = title.split("type = ").nth(1) {
        return Some(format!("middleware.{}", kind.trim_matches('"')));
    }
    match title.as_str() {
        "limits of a component or a route" | "limits of a group" => None,
        "websocket of a group or a route" | "webtransport of a group or a route" => None,
        "The file" => Some(String::new()),
        title => {
            let name = title.split(' ').next()?.trim_matches(['[', ']']);
            Some(name.strip_suffix(".NAME").unwrap_or(name).to_owned())
        }
    }
}

/// The keys of the reference whose values are numbers, sizes or durations.
fn measured_keys() -> BTreeSet<String> {
    let reference = read("docs/manifest.md");
    let (_, sections) = reference.split_once("## Sections").expect("the tables");
    let mut keys = BTreeSet::new();
    let mut current = None;
    for line in sections.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            current = section(title);
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let (Some(name), Some(kind), Some(section)) = (cells[0].strip_prefix("| `"), cells.get(1), current.as_ref())
        else {
            continue;
        };
        if ["a number", "a size", "a duration"].iter().any(|measure| kind.starts_with(measure)) {
            keys.insert(format!("{section}.{}", name.trim_end_matches('`')));
        }
    }
    assert!(keys.len() > 50, "the reference was not understood: {keys:?}");
    keys
}

/// The rows of the page: key and test.
fn rows() -> BTreeMap<String, String> {
    let page = read("docs/limits.md");
    let mut rows = BTreeMap::new();
    let mut has_tests = false;
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if line.starts_with("| key |") {
            has_tests = cells.last().is_some_and(|cell| *cell == "test");
            assert!(has_tests, "a table of keys without tests: {line}");
        } else if !line.starts_with('|') {
            has_tests = false;
        } else if has_tests && line.starts_with("| `") {
            assert_eq!(cells.len(), 6, "{line}");
            let ticked = |cell: &str| cell.trim_matches('`').to_owned();
            let before = rows.insert(ticked(cells[0]), ticked(cells[5]));
            assert!(before.is_none(), "two rows for {}", cells[0]);
        }
    }
    assert!(rows.len() > 40, "the page was not understood: {rows:?}");
    rows
}

/// The file of a test: `limits::memory` or `wire/timeouts::half_a_head`.
fn file_of(module: &str) -> String {
    match module.split_once('/') {
        None => format!("tests/e2e/{module}.rs"),
        Some(("qpack", module)) => format!("host/qpack/tests/{module}.rs"),
        Some(("websocket", module)) => format!("host/websocket/tests/codec/{module}.rs"),
        Some((krate, module)) if module.starts_with("src/") => format!("host/{krate}/{module}.rs"),
        Some((krate, module)) => format!("host/{krate}/tests/{module}.rs"),
    }
}

/// Whether a source has a test of this name: the attribute is right before the function.
fn has_test(source: &str, function: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if is_test && !line.starts_with("#[") {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            if name.is_some_and(|name| name.split('(').next() == Some(function)) {
                return true;
            }
            is_test = false;
        }
    }
    false
}

#[test]
fn every_limit_has_a_row() {
    let (keys, rows) = (measured_keys(), rows());
    let excused = |key: &str| NO_LIMITS.contains(&key);
    let without: Vec<_> = keys.iter().filter(|key| !rows.contains_key(*key) && !excused(key)).collect();
    assert!(without.is_empty(), "docs/limits.md has no row for {without:?}");
    let unknown: Vec<_> = rows.keys().filter(|key| !keys.contains(*key)).collect();
    assert!(unknown.is_empty(), "docs/limits.md has rows for what the manifest does not have: {unknown:?}");
}

#[test]
fn every_row_has_a_test() {
    for (key, test) in rows() {
        let (module, function) = test.split_once("::").unwrap_or_else(|| panic!("{key} names no test: {test:?}"));
        let source = read(&file_of(module));
        assert!(has_test(&source, function), "{key} names the test {test}, which is not in {}", file_of(module));
        let name = key.rsplit('.').next().unwrap_or_default();
        let mentioned = module.contains('/') || source.contains(name) || source.contains(&name.replace('-', "_"));
        assert!(mentioned, "{key} names the test {test}, whose file says nothing of `{name}`");
    }
}

/// The sources of the host that declare metrics: all except the list of their order.
fn declarations(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            declarations(&path, sources);
        } else if !path.ends_with("src/metrics.rs") {
            *sources += &std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn metrics_of_the_page_are_metrics_of_the_host() {
    let page = read("docs/limits.md");
    let order = read("host/server/src/metrics.rs");
    let mut sources = String::new();
    declarations(&repository().join("host/server/src"), &mut sources);
    let names =
        page.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).filter(|word| word.starts_with("roadrunner_"));
    let mut found = 0;
    for name in names {
        let quoted = format!("\"{name}\"");
        assert!(sources.contains(&quoted), "no part of the host shows the metric {name}");
        assert!(order.contains(&quoted), "the metric {name} has no place in the order");
        found += 1;
    }
    assert!(found > 30, "the page was not understood: {found} metrics");
}
