//! What a user sees when a manifest is wrong: each `errors/NAME.toml` with the report in `errors/NAME.txt`.
//!
//! After a wanted change of a message, `BLESS=1 cargo test -p roadrunner-manifest --test errors` writes the reports
//! anew; the difference is what is to be reviewed.

use std::fs;
use std::path::{Path, PathBuf};

use roadrunner_manifest::{LoadError, Manifest, Style};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors")
}

#[test]
fn reports_are_as_written_down() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut cases = 0;
    let mut wrong = Vec::new();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder()).expect("the folder of cases").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for case in entries.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        cases += 1;
        let text = fs::read_to_string(case).expect("a case");
        let report = match Manifest::parse(&text, Path::new("roadrunner.toml")) {
            Ok(_) => "the manifest is right\n".to_owned(),
            Err(error) => error.render(Style::Plain),
        };
        let golden = case.with_extension("txt");
        if bless {
            fs::write(&golden, &report).expect("a writable folder");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if report != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- found\n{report}", case.display()));
        }
        assert!(!report.contains("the manifest is right"), "{} is not wrong", case.display());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 40, "only {cases} cases were found");
    for report in entries.iter().filter(|path| path.extension().is_some_and(|extension| extension == "txt")) {
        assert!(report.with_extension("toml").exists(), "{} has no case", report.display());
    }
}

#[test]
fn every_report_names_place_and_fix() {
    for entry in fs::read_dir(folder()).expect("the folder of cases") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).expect("a case");
            let error = Manifest::parse(&text, Path::new("roadrunner.toml")).expect_err("a wrong manifest");
            for problem in error.diagnostics() {
                assert!(!problem.message.is_empty() && !problem.fix.is_empty(), "{}: {problem:?}", path.display());
                assert!(problem.span.end <= text.len(), "{}: {problem:?}", path.display());
            }
        }
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let error = Manifest::parse("[server]\nfoo = 1\n", Path::new("m.toml")).expect_err("an unknown key");
    let coloured = error.render(Style::Coloured);
    let mut plain = coloured.clone();
    for code in ["\x1b[1m", "\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_ne!(plain, coloured);
    assert_eq!(plain, error.render(Style::Plain));
}

#[test]
fn files_that_are_not_there_are_reported_at_their_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("roadrunner.toml");
    fs::write(folder.path().join("file"), "").expect("a file");
    fs::create_dir(folder.path().join("folder")).expect("a folder");
    let text = "\
[component.a]
file = \"missing.wasm\"
[component.b]
file = \"folder\"
[component.c]
file = \"file\"
[directory.d]
path = \"missing\"
[directory.e]
path = \"file\"
[directory.f]
path = \"folder\"
[[listener]]
address = \"127.0.0.1:0\"
tls = { certificate = \"missing.pem\", key = \"file\" }
";
    fs::write(&manifest, text).expect("a manifest");
    let Err(LoadError::Manifest(error)) = Manifest::load(&manifest) else { panic!("not refused") };
    let lines: Vec<usize> =
        error.diagnostics().iter().map(|problem| text[..problem.span.start].lines().count()).collect();
    assert_eq!(lines, [2, 4, 8, 10, 15], "{error}");
}

#[test]
fn what_is_no_manifest_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("roadrunner.toml");
    let error = Manifest::load(&path).expect_err("no file").to_string();
    assert!(error.contains("cannot read") && error.contains("roadrunner.toml"), "{error}");
    fs::write(&path, b"[server]\n# \xff\n").expect("a file");
    let error = Manifest::load(&path).expect_err("not text").to_string();
    assert!(error.contains(":2:") && error.contains("UTF-8"), "{error}");
    fs::write(&path, vec![b'#'; 5 << 20]).expect("a file");
    let error = Manifest::load(&path).expect_err("too large").to_string();
    assert!(error.contains("larger than"), "{error}");
}
