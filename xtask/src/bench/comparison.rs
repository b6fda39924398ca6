//! docs/comparison.md: the features of other hosts, each with its source, and the rates that were measured beside them.
//! It is made from bench/comparison.json and the results; nothing in the page is typed by hand.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::contenders::FRESH;
use super::page::{Everything, table};
use crate::tree::Tree;

/// The page.
pub const PAGE: &str = "docs/comparison.md";

/// The features and their sources.
const FEATURES: &str = "bench/comparison.json";

#[derive(Debug, Deserialize)]
struct Comparison {
    /// When the sources were read.
    read: String,
    /// The hosts, this one first.
    hosts: Vec<Host>,
    rows: Vec<Feature>,
}

#[derive(Debug, Deserialize)]
struct Host {
    name: String,
    /// The version that the cells are about.
    version: String,
}

#[derive(Debug, Deserialize)]
struct Feature {
    feature: String,
    /// One cell for each host: `yes`, `no` or a few words, and the source.
    cells: Vec<[String; 2]>,
}

/// The page.
///
/// # Errors
/// The features cannot be read, or a cell has no source.
pub fn page(tree: &Tree, everything: &Everything) -> Result<String> {
    let path = tree.root.join(FEATURES);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let comparison: Comparison =
        serde_json::from_str(&text).with_context(|| format!("{} is not understood", path.display()))?;
    comparison.check()?;
    Ok(render(&comparison, everything))
}

impl Comparison {
    fn check(&self) -> Result<()> {
        for row in &self.rows {
            let Feature { feature, cells } = row;
            ensure!(cells.len() == self.hosts.len(), "{feature} has {} cells", cells.len());
            for [text, source] in cells {
                let known = source.starts_with("https://") || source.ends_with(".md") || source.contains(".md#");
                ensure!(!text.is_empty() && known, "{feature}: the cell {text:?} has no source");
            }
        }
        Ok(())
    }

    /// The features that this host lacks and another one has.
    fn lacking(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.rows.iter().filter_map(|row| {
            let [ours, others @ ..] = row.cells.as_slice() else { return None };
            let having = self.hosts[1..].iter().zip(others).filter(|(_, [text, _])| text != "no");
            let names: Vec<&str> = having.map(|(host, _)| host.name.as_str()).collect();
            (ours[0] == "no" && !names.is_empty()).then_some((row.feature.as_str(), names))
        })
    }
}

fn render(comparison: &Comparison, everything: &Everything) -> String {
    let mut text = format!(
        "# Comparison\n\nMade by `cargo xtask bench --render` from bench/comparison.json and bench/results. Each cell links to its\n\
         source, which was read {}.\n\n## What others have, and Roadrunner does not\n\n",
        comparison.read
    );
    for (feature, hosts) in comparison.lacking() {
        text += &format!("- {feature}: {}\n", hosts.join(", "));
    }
    text += "\nWhere another server is faster:\n\n";
    let lost = everything.lost();
    for (row, times) in &lost {
        text += &format!("- {}, {}: {}, {times:.2} times\n", row.workload, row.protocol, row.server);
    }
    if lost.is_empty() {
        text += "- nowhere among the measured servers\n";
    }
    text += "\n## Features\n\n";
    let versions = comparison.hosts.iter().map(|host| format!("{} {}", host.name, host.version));
    text += &format!("{}.\n\n", versions.collect::<Vec<_>>().join("; "));
    let mut head = vec![""];
    head.extend(comparison.hosts.iter().map(|host| host.name.as_str()));
    let rows = comparison.rows.iter().map(|row| {
        let cells = row.cells.iter().map(|[text, source]| format!("[{text}]({source})"));
        std::iter::once(row.feature.clone()).chain(cells).collect()
    });
    text += &table(&head, 0, rows);
    text += &rates(everything);
    text
}

/// The rates of all servers, as parts of the native server's.
fn rates(everything: &Everything) -> String {
    let results = &everything.scenarios;
    let mut servers: Vec<&str> = Vec::new();
    let mut scenarios: Vec<(&str, &str)> = Vec::new();
    for row in &results.throughput {
        if !servers.contains(&row.server.as_str()) {
            servers.push(&row.server);
        }
        let scenario = (row.workload.as_str(), row.protocol.as_str());
        if !scenarios.contains(&scenario) {
            scenarios.push(scenario);
        }
    }
    servers.retain(|server| *server != super::contenders::NATIVE);
    let mut head = vec!["scenario", ""];
    head.extend(&servers);
    let rows = scenarios.iter().map(|(workload, protocol)| {
        let cells = servers.iter().map(|server| {
            let row = results.throughput.iter().find(|row| {
                (row.workload.as_str(), row.protocol.as_str(), row.server.as_str()) == (*workload, *protocol, *server)
            });
            match row.and_then(|row| row.of_native) {
                Some(ratio) if *server == FRESH => format!("**{ratio:.2}**"),
                Some(ratio) => format!("{ratio:.2}"),
                None => "-".to_owned(),
            }
        });
        [(*workload).to_owned(), (*protocol).to_owned()].into_iter().chain(cells).collect()
    });
    let table = table(&head, servers.len(), rows);
    let machine = results.machine.line();
    format!(
        "## Rates\n\nParts of native hyper's rate in the same run, of `cargo xtask bench`. {machine} {}.\n\
         [Performance](performance.md) has the rest.\n\n{table}",
        results.machine.programs.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_current() {
        let tree = Tree::find().unwrap();
        let written = fs::read_to_string(tree.root.join(PAGE)).unwrap_or_default();
        let current = written == page(&tree, &Everything::read(&tree).unwrap()).unwrap();
        assert!(current, "{PAGE} is not what {FEATURES} and bench/results say: run `cargo xtask bench --render`");
    }

    #[test]
    fn a_lack_is_a_no_against_something() {
        let text = r#"{"read": "in 2026", "hosts": [{"name": "ours", "version": "1"}, {"name": "theirs", "version": "2"}],
            "rows": [{"feature": "gRPC", "cells": [["no", "a.md"], ["yes", "https://example.com"]]},
                     {"feature": "HTTP/3", "cells": [["yes", "a.md"], ["no", "https://example.com"]]}]}"#;
        let mut comparison: Comparison = serde_json::from_str(text).unwrap();
        comparison.check().unwrap();
        assert_eq!(comparison.lacking().collect::<Vec<_>>(), [("gRPC", vec!["theirs"])]);
        comparison.rows[0].cells[1][1] = String::new();
        assert!(comparison.check().is_err());
    }
}
