//! `roadrunner routes`: the route table for people.

use super::columns::columns;
use crate::manifest::Manifest;
use crate::route::static_files::Files;
use crate::route::{Methods, Route, Target};

/// One line for each route, by host and path, under a line of headings. `-` means none, `*` any.
pub fn routes_table(manifest: &Manifest) -> String {
    let mut rows: Vec<Vec<String>> = manifest.routes.routes().iter().map(row).collect();
    rows.sort();
    let headings = ["HOST", "PATH", "METHODS", "TARGET", "BODY", "NAME", "MIDDLEWARES"];
    rows.insert(0, headings.map(str::to_owned).to_vec());
    columns(&rows)
}

fn row(route: &Route) -> Vec<String> {
    let or = |text: String, empty: &str| if text.is_empty() { empty.to_owned() } else { text };
    let list = |items: Vec<String>| items.join(",");
    let methods = match &route.methods {
        Methods::Any => "*".to_owned(),
        Methods::Listed(methods) => list(methods.iter().map(ToString::to_string).collect()),
    };
    let (target, body) = match &route.target {
        Target::Component(name) => (name.to_string(), route.body.to_string()),
        Target::Grpc(service) => (service.name().to_owned(), "-".to_owned()),
        Target::Static(files) => {
            let directory = &files.directory;
            let target = match &files.files {
                Files::Captured => format!("static {directory}"),
                Files::One(file) => format!("static {directory}/{file}"),
            };
            (target, "-".to_owned())
        }
    };
    vec![
        or(list(route.hosts.iter().map(ToString::to_string).collect()), "*"),
        route.pattern.to_string(),
        methods,
        target,
        body,
        or(route.name.as_ref().map(ToString::to_string).unwrap_or_default(), "-"),
        or(list(route.middlewares.iter().map(ToString::to_string).collect()), "-"),
    ]
}
