//! Texts about the manifest in general: its JSON Schema, for editors, and its reference, for people.
//!
//! Both are made from the sections that the decoder is made from. docs/roadrunner.schema.json and docs/manifest.md hold
//! the results; a test fails when they are not current.

use schemars::generate::SchemaSettings;

use crate::decode::Decode;
use crate::file::ManifestSection;
use crate::keys::Table;

/// The JSON Schema of `roadrunner.toml`, indented and with a final newline. Editors know its version best, draft 7.
pub fn json_schema() -> String {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<ManifestSection>();
    schema.insert("title".to_owned(), "roadrunner.toml".into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is made of strings, numbers and lists");
    text.push('\n');
    text
}

/// The reference of `roadrunner.toml` as Markdown: the rules for all keys, then every section with its keys.
pub fn reference() -> String {
    let mut out = String::from(include_str!("document/preface.md"));
    out.push_str("\n## Sections\n");
    tables().iter().for_each(|table| table.render(&mut out));
    out
}

/// Every section, in the order of the file.
fn tables() -> Vec<Table> {
    let mut tables = Vec::new();
    ManifestSection::tables(&mut tables);
    tables
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::keys::Key;
    use crate::section::default_value;

    /// `BLESS=1` writes the file instead.
    fn check(name: &str, current: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, current).expect("a writable docs folder");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == current,
            "docs/{name} is not current: run `BLESS=1 cargo test -p roadrunner-manifest` and review the difference"
        );
    }

    #[test]
    fn the_written_schema_is_current() {
        check("roadrunner.schema.json", &json_schema());
    }

    #[test]
    fn the_written_reference_is_current() {
        check("manifest.md", &reference());
    }

    #[test]
    fn every_default_is_a_value_of_its_key() {
        let keys: Vec<Key> = tables().into_iter().flat_map(|table| table.keys).collect();
        let mut defaults = keys.iter().filter_map(|key| Some((key, key.default.as_deref()?))).peekable();
        assert!(defaults.peek().is_some());
        for (key, default) in defaults {
            assert!((key.accepts)(default), "{} cannot be {default}", key.name);
            assert_ne!(default_value(default), serde_json::Value::Null, "{}", key.name);
        }
    }

    #[test]
    fn every_key_of_the_schema_is_in_the_reference_and_explained() {
        fn keys<'s>(schema: &'s serde_json::Value, found: &mut Vec<(&'s str, &'s serde_json::Value)>) {
            if let Some(properties) = schema.get("properties").and_then(serde_json::Value::as_object) {
                found.extend(properties.iter().map(|(name, schema)| (name.as_str(), schema)));
            }
            match schema {
                serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
                serde_json::Value::Object(map) => map.values().for_each(|value| keys(value, found)),
                _ => {}
            }
        }
        let schema: serde_json::Value = serde_json::from_str(&json_schema()).expect("JSON");
        let reference = reference();
        let mut found = Vec::new();
        keys(&schema, &mut found);
        assert!(found.len() > 80, "only {} keys", found.len());
        for (name, schema) in found {
            assert!(reference.contains(&format!("\n| `{name}` | ")), "{name} is not in the reference");
            let described = schema.get("description").is_some() || schema.get("const").is_some();
            assert!(described || schema.get("allOf").is_some() || schema.get("$ref").is_some(), "{name}: {schema}");
        }
    }
}
