//! The pictures of docs/architecture.md: the way of a request, and the crates of the host.
//!
//! A picture is SVG, made from text: the stations below, and the dependencies that `cargo metadata` lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::toolchain::cargo;
use crate::tree::{Tree, generated};

/// The dependencies of each crate, by the names of their folders.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Writes the pictures, or with `check` tells whether the written ones are current.
pub fn run(tree: &Tree, check: bool) -> Result<()> {
    for (name, text) in [("request", request()), ("crates", crates(&dependencies(tree)?))] {
        let path = tree.root.join(format!("docs/pictures/{name}.svg"));
        generated(&path, &text, check, "cargo xtask pictures")?;
    }
    Ok(())
}

/// The way of a request: in through the upper row, and back through the lower one.
fn request() -> String {
    let mut picture = Picture::new("The way of a request", 910, 330);
    for (x, (way_in, way_back)) in (15..).step_by(180).zip(WAY_IN.iter().zip(&WAY_BACK)) {
        for (y, (name, lines)) in [(20, way_in), (160, way_back)] {
            picture.station((x, y), (160, 80), name, lines);
        }
        if x > 15 {
            picture.line((x - 20, 60), (x, 60), "arrow");
            picture.line((x, 200), (x - 20, 200), "arrow");
        }
    }
    picture.line((815, 100), (815, 160), "arrow");
    picture.line((95, 275), (95, 240), "dashed");
    picture.line((95, 275), (635, 275), "dashed");
    picture.line((635, 275), (635, 240), "dashed arrow");
    picture.text((365, 298), "line", "the connection polls the body, and the body polls the guest");
    picture.0 + "</svg>\n"
}

/// The crates of the host, each above its dependencies. A dependency that follows from others has no arrow.
fn crates(graph: &Graph) -> String {
    let depths: BTreeMap<_, _> = graph.keys().map(|name| (name.clone(), depth(graph, name))).collect();
    let mut rows = vec![Vec::new(); depths.values().max().map_or(0, |last| last + 1)];
    depths.iter().for_each(|(name, depth)| rows[*depth].push(name.clone()));
    let mut edges = Vec::new();
    for (from, to) in direct(graph) {
        // A long arrow has a place of its own in each row between, so that it crosses no box.
        let mut last = from.clone();
        for (number, row) in rows.iter_mut().enumerate().take(depths[&to]).skip(depths[&from] + 1) {
            let place = format!("{from} to {to} in row {number}");
            row.push(place.clone());
            edges.push((std::mem::replace(&mut last, place.clone()), place));
        }
        edges.push((last, to));
    }
    (0..8).for_each(|sweep| settle(&mut rows, &edges, sweep % 2 == 0));
    let places = places(&rows);
    let width = rows.iter().map(Vec::len).max().unwrap_or(0) as i32 * STEP;
    let mut picture = Picture::new("The crates of the host", width, rows.len() as i32 * ROW - 30);
    let point = |name: &String, y: i32| (places[name].0 + STEP / 2, places[name].1 + y);
    for (from, to) in &edges {
        picture.line(point(from, 36), point(to, 0), if graph.contains_key(to) { "arrow" } else { "" });
        if !graph.contains_key(to) {
            picture.line(point(to, 0), point(to, 36), "");
        }
    }
    for name in graph.keys() {
        picture.station((places[name].0 + 8, places[name].1), (STEP - 16, 36), name, &[]);
    }
    picture.0 + "</svg>\n"
}

/// Sorts each row by the middle of its neighbours: of those above it on the way down, of those below it on the way up.
fn settle(rows: &mut [Vec<String>], edges: &[(String, String)], down: bool) {
    for step in 0..rows.len() {
        let row = if down { step } else { rows.len() - 1 - step };
        let places = places(rows);
        let middle = |name: &String| {
            let ends = edges.iter().map(|(from, to)| if down { (to, from) } else { (from, to) });
            let near: Vec<_> = ends.filter(|(own, _)| *own == name).map(|(_, other)| places[other].0).collect();
            near.iter().sum::<i32>().checked_div(near.len() as i32).unwrap_or(places[name].0)
        };
        rows[row].sort_by_cached_key(|name| (middle(name), name.clone()));
    }
}

/// The left upper corner of each place; rows are centred.
fn places(rows: &[Vec<String>]) -> BTreeMap<String, (i32, i32)> {
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let row = |(row, y): (&Vec<String>, i32)| {
        let start = (widest - row.len()) as i32 * STEP / 2;
        row.iter().zip(0..).map(|(name, x)| (name.clone(), (start + x * STEP, 20 + y * ROW))).collect::<Vec<_>>()
    };
    rows.iter().zip(0..).flat_map(row).collect()
}

/// The dependencies that do not follow from others.
fn direct(graph: &Graph) -> Vec<(String, String)> {
    fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
        graph[from].iter().any(|next| next == to || reaches(graph, next, to))
    }
    let edges = graph.iter().flat_map(|(from, all)| all.iter().map(move |to| (from.clone(), to.clone())));
    edges.filter(|(from, to)| !graph[from].iter().any(|next| reaches(graph, next, to))).collect()
}

/// The longest way to a crate from a crate on which no other depends.
fn depth(graph: &Graph, name: &str) -> usize {
    graph.iter().filter(|(_, all)| all.contains(name)).map(|(above, _)| depth(graph, above) + 1).max().unwrap_or(0)
}

/// The crates below host/, as cargo knows them.
fn dependencies(tree: &Tree) -> Result<Graph> {
    let mut command = cargo(&tree.root);
    let output = command.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).output()?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not understood")?;
    let host = tree.root.join("host");
    let name = |path: &Value| Some(Path::new(path.as_str()?).strip_prefix(&host).ok()?.to_str()?.to_owned());
    let graph = metadata["packages"].as_array().into_iter().flatten().filter_map(|package| {
        let all = package["dependencies"].as_array()?.iter().filter(|dependency| dependency["kind"].is_null());
        let own = name(&package["manifest_path"])?.strip_suffix("/Cargo.toml")?.to_owned();
        Some((own, all.filter_map(|dependency| name(&dependency["path"])).collect()))
    });
    Ok(graph.collect())
}

/// The text of an SVG file.
struct Picture(String);

impl Picture {
    fn new(title: &str, width: i32, height: i32) -> Self {
        let sized = HEAD.replace("WIDTH", &width.to_string()).replace("HEIGHT", &height.to_string());
        Self(sized.replace("TITLE", title))
    }

    /// A box with a name and some lines.
    fn station(&mut self, (x, y): (i32, i32), (width, height): (i32, i32), name: &str, lines: &[&str]) {
        self.0 += &format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\n");
        self.text((x + width / 2, y + 23), "name", name);
        for (line, below) in lines.iter().zip(1..) {
            self.text((x + width / 2, y + 25 + below * 18), "line", line);
        }
    }

    fn line(&mut self, (x1, y1): (i32, i32), (x2, y2): (i32, i32), class: &str) {
        self.0 += &format!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>\n");
    }

    fn text(&mut self, (x, y): (i32, i32), class: &str, text: &str) {
        self.0 += &format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n");
    }
}

/// The width of a crate's place.
const STEP: i32 = 130;

/// The height of a row of crates.
const ROW: i32 = 100;

const WAY_IN: [(&str, [&str; 2]); 5] = [
    ("listener", ["socket, TLS, QUIC", "host/wire"]),
    ("connection", ["HTTP/1.1, 2 or 3", "host/wire, host/h3"]),
    ("exchange", ["request, any protocol", "host/wire"]),
    ("admission", ["rate limit of the peer", "host/server"]),
    ("router", ["tenant, route", "host/manifest"]),
];

const WAY_BACK: [(&str, [&str; 2]); 5] = [
    ("wire", ["framing, back-pressure", "host/wire"]),
    ("exchange", ["response, any protocol", "host/wire"]),
    ("shape", ["one driver for each", "host/server"]),
    ("instance", ["place, fresh memory", "host/account, sandbox"]),
    ("middleware", ["layers of the route", "host/server"]),
];

const HEAD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" width="WIDTH" height="HEIGHT" viewBox="0 0 WIDTH HEIGHT">
<title>TITLE</title>
<style>rect { fill: #eef3f8; stroke: #46617c } line { stroke: #46617c; stroke-width: 1.3 }
text { font: 12px sans-serif; text-anchor: middle; fill: #1c2733 } .name { font-size: 14px; font-weight: bold }
.arrow { marker-end: url(#head) } .dashed { stroke-dasharray: 5 4 }</style>
<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#46617c"/></marker><rect width="100%" height="100%" style="fill: white; stroke: none"/>
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_pictures_are_current() {
        run(&Tree::find().unwrap(), true).unwrap();
    }
}
