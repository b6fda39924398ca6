//! Keys and sections as the JSON Schema and the reference describe them.

use std::fmt::Write as _;

use schemars::{Schema, SchemaGenerator};

/// A section of the reference.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) doc: String,
    pub(crate) keys: Vec<Key>,
}

/// One key of a section, for the schema and the reference.
pub(crate) struct Key {
    pub(crate) name: String,
    /// Its doc comment, lines joined.
    pub(crate) doc: String,
    /// The default as it would be written in the file.
    pub(crate) default: Option<String>,
    /// The reference's word in the place of a default.
    pub(crate) absent: Option<&'static str>,
    pub(crate) required: bool,
    pub(crate) kind: String,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) tables: fn(&mut Vec<Table>),
    /// Whether a default is a value that the key accepts, and means the default.
    #[cfg(test)]
    pub(crate) accepts: fn(&str) -> bool,
}

impl Table {
    pub(crate) fn render(&self, out: &mut String) {
        let Self { title, doc, .. } = self;
        // Writing to a String cannot fail.
        let _ = write!(out, "\n### {title}\n\n{doc}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for Key { name, doc, default, absent, required, kind, .. } in &self.keys {
            let default = match default {
                _ if *required => "required".to_owned(),
                Some(default) => format!("`{default}`"),
                None => absent.unwrap_or_default().to_owned(),
            };
            let _ = writeln!(out, "| `{name}` | {} | {} | {} |", cell(kind), cell(&default), cell(doc));
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>")
}

/// Adds a section, and then the sections that its keys hold, unless it is present already.
pub(crate) fn add_table(tables: &mut Vec<Table>, table: Table) {
    if tables.iter().any(|known| known.title == table.title) {
        return;
    }
    let inner: Vec<fn(&mut Vec<Table>)> = table.keys.iter().map(|key| key.tables).collect();
    tables.push(table);
    inner.into_iter().for_each(|add| add(tables));
}
