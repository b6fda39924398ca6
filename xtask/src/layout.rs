//! `cargo xtask layout`: the size of the crates under host/ and the knots in them, as a table in docs/design/layout.md.
//!
//! A module is a file. It imports another module when its text has a path to an item there, in a `use` or elsewhere; a
//! path to a re-export leads to the item. A knot is a set of modules that all import each other, directly or by way of
//! others. Test items and comments do not count. The code is laid out by rustfmt, so the indentation shows where an
//! item ends. A crate over one of the limits is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::tree::{Tree, generated};

/// The marks around the table.
const MARKS: (&str, &str) = ("<!-- layout: made by `cargo xtask layout` -->\n", "<!-- end of layout -->");

/// The largest part of a crate that is one knot, in percent of its lines.
const MAX_KNOT: usize = 25;

/// The most lines of a file.
const MAX_FILE: usize = 600;

/// The most lines of a function.
const MAX_FUNCTION: usize = 80;

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only compare the table with the code
    #[arg(long)]
    pub check: bool,
}

/// Measures the crates, and writes or compares the table.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    let head =
        "| Crate | Modules | Lines | Largest knot | Longest file | Longest function |\n|---|---:|---:|---|---|---|\n";
    let (mut table, mut over) = (head.to_owned(), Vec::new());
    let folders = fs::read_dir(tree.root.join("host")).context("there is no folder host")?;
    let folders = folders.map(|folder| Ok(folder?.path())).collect::<Result<BTreeSet<_>>>()?;
    for folder in folders.iter().filter(|folder| folder.join("src/lib.rs").is_file()) {
        let mut files = Vec::new();
        read(&folder.join("src"), "", &mut files)?;
        let (name, size) = (folder.file_name().unwrap_or_default().to_string_lossy(), measure(&files));
        println!("{name}: {}", size.knot.join(" "));
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `host/{name}` | {} |", size.row());
        over.extend(size.over().map(|limit| format!("host/{name} has {limit}")));
    }
    let path = tree.root.join("docs/design/layout.md");
    let page = fs::read_to_string(&path).context("there is no docs/design/layout.md")?;
    let (head, rest) = page.split_once(MARKS.0).context("layout.md has no mark before the table")?;
    let (_, tail) = rest.split_once(MARKS.1).context("layout.md has no mark after the table")?;
    let page = format!("{head}{}{table}{}{tail}", MARKS.0, MARKS.1);
    generated(&path, &page, options.check, "cargo xtask layout")?;
    ensure!(over.is_empty(), "{}", over.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Reads the files of a crate except `main.rs`, by their paths below `src`.
fn read(folder: &Path, below: &str, files: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = format!("{below}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), files)?;
        } else if name.ends_with(".rs") && name != "main.rs" {
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// The measurements of a crate.
#[derive(Debug, Default)]
struct Size {
    modules: usize,
    lines: usize,
    /// The modules of the largest knot, and their lines.
    knot: Vec<String>,
    knot_lines: usize,
    file: (usize, String),
    function: (usize, String),
}

impl Size {
    /// The lines of the largest knot, in percent of all.
    fn share(&self) -> usize {
        100 * self.knot_lines / self.lines.max(1)
    }

    /// The parts that are over a limit.
    fn over(&self) -> impl Iterator<Item = String> {
        let limits = [
            (self.share() > MAX_KNOT).then(|| format!("a knot over {MAX_KNOT} %: {}", self.knot.join(" "))),
            (self.file.0 > MAX_FILE).then(|| format!("a file over {MAX_FILE} lines: {}", self.file.1)),
            (self.function.0 > MAX_FUNCTION)
                .then(|| format!("a function over {MAX_FUNCTION} lines: `{}`", self.function.1)),
        ];
        limits.into_iter().flatten()
    }

    fn row(&self) -> String {
        let Self { modules, lines, knot, file, function, .. } = self;
        let share = self.share();
        let knot = if knot.is_empty() { "none".to_owned() } else { format!("{share} %, {} modules", knot.len()) };
        format!("{modules} | {lines} | {knot} | {}: `{}` | {}: `{}`", file.0, file.1, function.0, function.1)
    }
}

/// Measures a crate from its files, each a path below `src` and a text.
fn measure(files: &[(String, String)]) -> Size {
    let (mut size, mut crate_, mut tests) = (Size::default(), Crate::default(), Vec::new());
    for (file, text) in files {
        let name = if file == "lib.rs" { "" } else { file.trim_end_matches(".rs").trim_end_matches("/mod") };
        let name = name.replace('/', "::");
        let lines = without_tests(text, &name, &mut tests);
        crate_.modules.insert(name, (file, lines));
    }
    crate_.modules.retain(|name, _| !tests.iter().any(|test| name == test || name.starts_with(&join(test, ""))));
    for (file, lines) in crate_.modules.values() {
        size.modules += 1;
        size.lines += lines.len();
        size.file = std::mem::take(&mut size.file).max((lines.len(), (*file).clone()));
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = function(line) else { continue };
            let function = (item(&lines[index..]), format!("{name}` in `{file}"));
            size.function = std::mem::take(&mut size.function).max(function);
        }
    }
    let imports = crate_.imports();
    let reached: BTreeMap<_, _> = imports.keys().map(|from| (from, reached(&imports, from))).collect();
    for (from, there) in &reached {
        let knot: Vec<_> = there.iter().filter(|to| reached[to].contains(*from)).cloned().collect();
        let lines = knot.iter().map(|name| crate_.modules[name].1.len()).sum();
        if knot.len() > 1 && lines > size.knot_lines {
            (size.knot, size.knot_lines) = (knot, lines);
        }
    }
    size
}

/// The modules that a module imports, directly or by way of others.
fn reached(imports: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(module) = left.pop() {
        left.extend(imports[module].iter().filter(|to| reached.insert((*to).clone())).map(String::as_str));
    }
    reached
}

/// The lines of a file outside of test items. The names of test modules in files of their own go to `tests`.
fn without_tests<'t>(text: &'t str, module: &str, tests: &mut Vec<String>) -> Vec<&'t str> {
    let lines: Vec<&str> = text.lines().collect();
    let (mut kept, mut index) = (Vec::new(), 0);
    while index < lines.len() {
        if lines[index].trim() != "#[cfg(test)]" {
            kept.push(lines[index]);
            index += 1;
            continue;
        }
        index += 1;
        let file = lines.get(index).and_then(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'));
        tests.extend(file.map(|name| join(module, name)));
        index += item(&lines[index.min(lines.len())..]);
    }
    kept
}

/// The number of lines of the item at the start.
fn item(lines: &[&str]) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let ends = |(index, line): (usize, &&str)| {
        let is_level = !line.is_empty() && indent(line) == indent(lines[0]);
        is_level && (line.ends_with(';') || line.trim().starts_with('}') || index == 0 && line.ends_with('}'))
    };
    lines.iter().enumerate().position(ends).map_or(lines.len(), |last| last + 1)
}

/// The name of the function that begins on a line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.trim().split_once("fn ")?;
    let is_qualifier = |word: &str| word.starts_with("pub") || ["async", "const", "unsafe", "extern"].contains(&word);
    let is_head = before.split_whitespace().all(|word| is_qualifier(word) || word.starts_with('"'));
    Some(word(rest)).filter(|name| is_head && !name.is_empty())
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// The modules of a crate, by name: their files and their lines.
#[derive(Default)]
struct Crate<'f> {
    modules: BTreeMap<String, (&'f String, Vec<&'f str>)>,
    /// The re-exports, by module and name.
    exports: BTreeMap<(String, String), Vec<String>>,
}

impl Crate<'_> {
    /// The modules that each module imports.
    fn imports(&mut self) -> BTreeMap<String, BTreeSet<String>> {
        let mut paths = BTreeMap::new();
        for (name, (_, lines)) in &self.modules {
            let code: Vec<_> = lines.iter().copied().filter(|line| !line.trim_start().starts_with("//")).collect();
            let code = code.join("\n");
            let found: &mut Vec<_> = paths.entry(name.clone()).or_default();
            for (at, _) in code.char_indices() {
                let (before, first) = (code[..at].chars().next_back().unwrap_or(' '), word(&code[at..]));
                let is_start = !before.is_alphanumeric() && !"_':.".contains(before) && !first.is_empty();
                let is_root =
                    ["crate", "self", "super"].contains(&first) || self.modules.contains_key(&join(name, first));
                if !is_start || !is_root {
                    continue;
                }
                let known = found.len();
                parse(&code[at..], &[], found);
                let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
                for path in found[known..].iter().filter(|_| line.starts_with("pub") && line.ends_with("use")) {
                    let alias = path.last().cloned().unwrap_or_default();
                    self.exports.insert((name.clone(), alias), path.clone());
                }
            }
        }
        let resolved = |name: &String, found: &[Vec<String>]| {
            let paths = found.iter().filter(|path| path.len() > 1);
            paths.map(|path| self.resolve(name, path, 0)).filter(|to| to != name).collect()
        };
        paths.iter().map(|(name, found)| (name.clone(), resolved(name, found))).collect()
    }

    /// The module of the item that a path names.
    fn resolve(&self, module: &str, path: &[String], depth: usize) -> String {
        let mut at = module.to_owned();
        for segment in path {
            let export = self.exports.get(&(at.clone(), segment.clone())).filter(|_| depth < 8);
            match &**segment {
                "crate" => at.clear(),
                "self" => {}
                "super" => at = at.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned()),
                name if self.modules.contains_key(&join(&at, name)) => at = join(&at, name),
                _ => return export.map_or_else(|| at.clone(), |path| self.resolve(&at, path, depth + 1)),
            }
        }
        at
    }
}

/// Parses a path, or a tree of paths, at the start of a text; returns the rest.
fn parse<'t>(text: &'t str, prefix: &[String], found: &mut Vec<Vec<String>>) -> &'t str {
    let first = word(text);
    let path = [prefix, &[first.to_owned()]].concat();
    let rest = &text[first.len()..];
    let Some(mut group) = rest.strip_prefix("::{") else {
        if let Some(below) = rest.strip_prefix("::").filter(|below| !word(below).is_empty()) {
            return parse(below, &path, found);
        }
        found.push(path);
        return rest;
    };
    while !group.trim_start().starts_with('}') && !group.is_empty() {
        let rest = parse(group.trim_start(), &path, found);
        group = &rest[rest.find([',', '}']).unwrap_or(rest.len())..];
        group = group.trim_start_matches(',');
    }
    group.trim_start().get(1..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
