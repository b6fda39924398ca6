//! `cargo xtask layout`: the size of the crates under host/ and the knots in them, as a table between two marks in
//! docs/design/layout.md.
//!
//! A module is a file. It imports another module when its text has a path to an item there, in a `use` or elsewhere; a
//! path to a re-export leads to the item. A knot is a set of modules that all import each other, directly or by way of
//! others. Test modules and comments do not count. The code is laid out by rustfmt, so the indentation shows where an
//! item ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};

use crate::tree::Tree;

const PAGE: &str = "docs/design/layout.md";

/// The marks around the table.
const MARKS: (&str, &str) = ("<!-- layout: made by `cargo xtask layout` -->\n", "<!-- end of layout -->");

/// The options of a run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Only compare the table with the code
    #[arg(long)]
    check: bool,
}

/// Measures the crates, and writes or compares the table.
pub fn run(tree: &Tree, options: &Options) -> Result<ExitCode> {
    let mut table = String::from(
        "| Crate | Modules | Lines | Largest knot | Longest file | Longest function |\n|---|---:|---:|---|---|---|\n",
    );
    let folders = fs::read_dir(tree.root.join("host")).context("there is no folder host")?;
    let folders = folders.map(|folder| Ok(folder?.path())).collect::<Result<BTreeSet<_>>>()?;
    for folder in folders.iter().filter(|folder| folder.join("src/lib.rs").is_file()) {
        let mut files = Vec::new();
        read(&folder.join("src"), "", &mut files)?;
        let size = measure(&files);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !options.check && !size.knot.is_empty() {
            println!("{name}: {}", size.knot.join(", "));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `host/{name}` | {size}");
    }
    let path = tree.root.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let (head, rest) = page.split_once(MARKS.0).with_context(|| format!("{PAGE} has no {:?}", MARKS.0))?;
    let (_, tail) = rest.split_once(MARKS.1).with_context(|| format!("{PAGE} has no {:?}", MARKS.1))?;
    let made = format!("{head}{}{table}{}{tail}", MARKS.0, MARKS.1);
    if options.check {
        ensure!(made == page, "the table of {PAGE} is out of date: run `cargo xtask layout`");
    } else {
        fs::write(&path, made).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the files of a crate except `main.rs`, by their paths below `src`.
fn read(folder: &Path, below: &str, files: &mut Vec<(String, String)>) -> Result<()> {
    let unreadable = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let name = format!("{below}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), files)?;
        } else if name.ends_with(".rs") && name != "main.rs" {
            files.push((name, fs::read_to_string(&path).with_context(unreadable)?));
        }
    }
    Ok(())
}

/// The measurements of a crate.
#[derive(Debug, Default)]
struct Size {
    modules: usize,
    lines: usize,
    /// The modules of the largest knot, by name, and its lines.
    knot: Vec<String>,
    knot_lines: usize,
    file: (usize, String),
    function: (usize, String),
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { modules, lines, knot, knot_lines, file, function } = self;
        let share = 100 * knot_lines / (*lines).max(1);
        let knot = if knot.is_empty() { "none".to_owned() } else { format!("{share} %: {} modules", knot.len()) };
        let (file, function) = (format!("{} `{}`", file.0, file.1), format!("{} `{}`", function.0, function.1));
        write!(f, "{modules} | {lines} | {knot} | {file} | {function} |")
    }
}

/// Measures a crate from its files, each a path below `src` and a text.
fn measure(files: &[(String, String)]) -> Size {
    let mut size = Size::default();
    let mut modules = BTreeMap::new();
    let mut tests = Vec::new();
    for (file, text) in files {
        let name = file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        let name = if name == "lib" { String::new() } else { name };
        let lines = without_tests(text, &name, &mut tests);
        modules.insert(name, (file, lines));
    }
    modules.retain(|name, _| !tests.iter().any(|test| name == test || name.starts_with(&format!("{test}::"))));
    for (file, lines) in modules.values() {
        size.modules += 1;
        size.lines += lines.len();
        size.file = std::mem::take(&mut size.file).max((lines.len(), (*file).clone()));
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = function(line) else { continue };
            let length = item_end(&lines[index..]) + 1;
            size.function = std::mem::take(&mut size.function).max((length, format!("{name}` in `{file}")));
        }
    }
    let names: Vec<&String> = modules.keys().collect();
    let crate_ = Paths::of(&modules);
    let mut reaches: Vec<Vec<bool>> =
        names.iter().map(|from| names.iter().map(|to| crate_.imports(from).contains(*to)).collect()).collect();
    for via in 0..names.len() {
        for from in 0..names.len() {
            for to in 0..names.len() {
                reaches[from][to] |= reaches[from][via] && reaches[via][to];
            }
        }
    }
    for from in 0..names.len() {
        let knot: Vec<_> = (0..names.len()).filter(|to| reaches[from][*to] && reaches[*to][from]).collect();
        let lines = knot.iter().map(|index| modules[names[*index]].1.len()).sum();
        if knot.len() > 1 && lines > size.knot_lines {
            let shown = |index: &usize| if names[*index].is_empty() { "lib".to_owned() } else { names[*index].clone() };
            (size.knot, size.knot_lines) = (knot.iter().map(shown).collect(), lines);
        }
    }
    size
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
        let item = index + 1;
        if let Some(name) = lines.get(item).and_then(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';')) {
            tests.push(join(module, name));
        }
        index = item + item_end(&lines[item.min(lines.len())..]) + 1;
    }
    kept
}

/// The distance from the first line of an item to its last.
fn item_end(lines: &[&str]) -> usize {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let Some(first) = lines.first() else { return 0 };
    let ends = |(index, line): (usize, &&str)| {
        let is_level = !line.is_empty() && indent(line) == indent(first);
        is_level && (line.ends_with(';') || line.trim().starts_with('}') || index == 0 && line.ends_with('}'))
    };
    lines.iter().enumerate().position(ends).unwrap_or(lines.len() - 1)
}

/// The name of the function that begins on a line.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.trim().split_once("fn ")?;
    let is_qualifier = |word: &str| word.starts_with("pub") || ["async", "const", "unsafe", "extern"].contains(&word);
    let is_head = before.split_whitespace().all(|word| is_qualifier(word) || word.starts_with('"'));
    rest.split(|c: char| !is_word(c)).next().filter(|name| is_head && !name.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// The paths in a crate's modules.
struct Paths {
    modules: BTreeMap<String, Vec<Vec<String>>>,
    /// The re-exports, by module and name.
    exports: BTreeMap<(String, String), Vec<String>>,
}

impl Paths {
    fn of(modules: &BTreeMap<String, (&String, Vec<&str>)>) -> Self {
        let mut paths = Self { modules: BTreeMap::new(), exports: BTreeMap::new() };
        for (name, (_, lines)) in modules {
            let code: Vec<_> = lines.iter().copied().filter(|line| !line.trim_start().starts_with("//")).collect();
            let code = code.join("\n");
            let mut found = Vec::new();
            for (at, _) in code.char_indices() {
                let before = code[..at].chars().next_back().unwrap_or(' ');
                let word = code[at..].split(|c: char| !is_word(c)).next().unwrap_or_default();
                let is_start = ["crate", "self", "super"].contains(&word) || modules.contains_key(&join(name, word));
                if word.is_empty() || is_word(before) || "':.".contains(before) || !is_start {
                    continue;
                }
                let line = code[..at].rsplit('\n').next().unwrap_or_default().trim();
                let mut tree = Vec::new();
                parse(&code[at..], &mut Vec::new(), &mut tree);
                for (path, alias) in tree {
                    if line.starts_with("pub") && line.ends_with("use") {
                        paths.exports.insert((name.clone(), alias), path.clone());
                    }
                    found.push(path);
                }
            }
            paths.modules.insert(name.clone(), found);
        }
        paths
    }

    /// The modules that a module imports.
    fn imports(&self, module: &str) -> BTreeSet<String> {
        let paths = self.modules[module].iter().filter(|path| path.len() > 1);
        paths.map(|path| self.resolve(module, path, 0)).filter(|to| to != module).collect()
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

/// Parses a path, or a tree of paths, at the start of a text; returns the rest. Each path comes with its name here.
fn parse<'t>(text: &'t str, prefix: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) -> &'t str {
    let depth = prefix.len();
    let mut rest = text.trim_start();
    loop {
        let word = rest.split(|c: char| !is_word(c)).next().unwrap_or_default();
        prefix.push(word.to_owned());
        rest = &rest[word.len()..];
        let Some(below) = rest.strip_prefix("::") else { break };
        if let Some(mut group) = below.strip_prefix('{') {
            while !group.trim_start().starts_with('}') && !group.is_empty() {
                group = parse(group, prefix, found).trim_start().trim_start_matches(',');
            }
            prefix.truncate(depth);
            return group.trim_start().strip_prefix('}').unwrap_or_default();
        }
        if !below.starts_with(is_word) {
            rest = below.trim_start_matches(|c| c != ',' && c != ';' && c != '}');
            break;
        }
        rest = below;
    }
    let mut alias = prefix.last().cloned().unwrap_or_default();
    if let Some(renamed) = rest.strip_prefix(" as ") {
        alias = renamed.split(|c: char| !is_word(c)).next().unwrap_or_default().to_owned();
        rest = &renamed[alias.len()..];
    }
    found.push((prefix.clone(), alias));
    prefix.truncate(depth);
    rest
}
