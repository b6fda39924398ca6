//! What can be said about the manifest without one: its JSON Schema, for editors, and its reference, for people.
//!
//! Both are made from the sections that the decoder is made from. docs/roadrunner.schema.json and docs/manifest.md
//! hold the results; a test fails when they are not current.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;

use crate::admin::AdminSection;
use crate::bus::BusSection;
use crate::compile::CompileSection;
use crate::component::ComponentSection;
use crate::decode::{Key, Section};
use crate::deploy::DeploySection;
use crate::directory::DirectorySection;
use crate::dns::DnsSection;
use crate::http2::Http2Section;
use crate::http3::Http3Section;
use crate::limits::{GroupLimitsSection, HostLimitsSection, LimitsSection};
use crate::listener::ListenerSection;
use crate::manifest::ManifestSection;
use crate::middleware::MiddlewareType;
use crate::middleware::compression::CompressionSection;
use crate::middleware::cors::CorsSection;
use crate::middleware::etag::EtagSection;
use crate::middleware::rate_limit::RateLimitMiddlewareSection;
use crate::middleware::request_id::RequestIdSection;
use crate::middleware::response_headers::ResponseHeadersSection;
use crate::middleware::security_headers::SecurityHeadersSection;
use crate::rate_limit::RateLimitSection;
use crate::registry::RegistrySection;
use crate::reuse::ReuseSection;
use crate::route::RouteSection;
use crate::route::group::GroupSection;
use crate::route::static_files::StaticSection;
use crate::secret::SecretSection;
use crate::server::ServerSection;
use crate::signature::SignaturesSection;
use crate::store::StoreSection;
use crate::tenant::{QuotaSection, TenantSection};
use crate::timeouts::TimeoutsSection;
use crate::tls::TlsSection;
use crate::wasi::PreopenSection;
use crate::websocket::{HostWebSocketSection, WebSocketSection};
use crate::webtransport::{HostWebTransportSection, WebTransportSection};

/// The JSON Schema (draft 7, which editors know best) of `roadrunner.toml`, indented and with a final newline.
pub fn json_schema() -> String {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<ManifestSection>();
    schema.insert("title".to_owned(), "roadrunner.toml".into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is made of strings, numbers and lists");
    text.push('\n');
    text
}

/// The reference of `roadrunner.toml` as Markdown: what is common to all keys, then every section with its keys.
pub fn reference() -> String {
    let mut out = String::from(include_str!("document/preface.md"));
    out.push_str("\n## Sections\n");
    tables().iter().for_each(|table| table.render(&mut out));
    out
}

/// A section of the reference.
struct Table {
    title: String,
    doc: String,
    keys: Vec<Key>,
    /// What stands for the default of a key that has none.
    absent: fn(&str) -> &'static str,
}

/// Every section there is.
fn tables() -> Vec<Table> {
    vec![
        section::<ManifestSection>("The file"),
        section::<ServerSection>("`[server]`"),
        section::<HostLimitsSection>("`[limits]`"),
        section::<ListenerSection>("`[[listener]]`"),
        section::<TlsSection>("`tls` of a listener"),
        section::<AdminSection>("`[admin]`"),
        section::<CompileSection>("`[compile]`"),
        section::<DeploySection>("`[deploy]`"),
        section::<SignaturesSection>("`[signatures]`"),
        section::<RegistrySection>("`[registry.NAME]`"),
        section::<TimeoutsSection>("`[timeouts]`"),
        section::<RateLimitSection>("`[rate-limit]`"),
        section::<BusSection>("`[bus]`"),
        section::<DnsSection>("`[dns]`"),
        section::<Http2Section>("`[http2]`"),
        section::<Http3Section>("`[http3]`"),
        section::<HostWebSocketSection>("`[websocket]`"),
        section::<HostWebTransportSection>("`[webtransport]`"),
        section::<TenantSection>("`[tenant.NAME]`"),
        quota::<QuotaSection>("`quota` of a tenant"),
        section::<DirectorySection>("`[directory.NAME]`"),
        section::<SecretSection>("`[secret.NAME]`"),
        section::<StoreSection>("`[store.NAME]`"),
        section::<ComponentSection>("`[component.NAME]`"),
        section::<PreopenSection>("`preopens` of a component"),
        limits::<LimitsSection>("`limits` of a component or a route"),
        section::<ReuseSection>("`reuse` of a component"),
        section::<RouteSection>("`[[route]]`"),
        section::<StaticSection>("`static` of a route"),
        section::<GroupSection>("`[[group]]`"),
        limits::<GroupLimitsSection>("`limits` of a group"),
        limits::<WebSocketSection>("`websocket` of a group or a route"),
        limits::<WebTransportSection>("`webtransport` of a group or a route"),
        middleware::<CompressionSection>(MiddlewareType::Compression),
        middleware::<CorsSection>(MiddlewareType::Cors),
        middleware::<EtagSection>(MiddlewareType::Etag),
        middleware::<RateLimitMiddlewareSection>(MiddlewareType::RateLimit),
        middleware::<RequestIdSection>(MiddlewareType::RequestId),
        middleware::<ResponseHeadersSection>(MiddlewareType::ResponseHeaders),
        middleware::<SecurityHeadersSection>(MiddlewareType::SecurityHeaders),
    ]
}

fn section<S: Section>(title: &str) -> Table {
    Table { title: title.to_owned(), doc: S::doc(), keys: S::keys(), absent: |_| "" }
}

/// Settings without a default of their own have what the outer section has; caps hold where they are written.
fn limits<S: Section>(title: &str) -> Table {
    let absent = |key: &str| if ["instances", "held"].contains(&key) { "no cap" } else { "inherited" };
    Table { absent, ..section::<S>(title) }
}

/// Nothing is inherited from anywhere.
fn quota<S: Section>(title: &str) -> Table {
    Table { absent: |_| "no limit", ..section::<S>(title) }
}

fn middleware<S: Section>(kind: MiddlewareType) -> Table {
    let mut table = section::<S>(&format!("`[middleware.NAME]` with `type = \"{kind}\"`"));
    for key in table.keys.iter_mut().filter(|key| key.name == "type") {
        key.kind = format!("`\"{kind}\"`");
    }
    table
}

impl Table {
    fn render(&self, out: &mut String) {
        let Self { title, doc, .. } = self;
        // Writing to a String cannot fail.
        let _ = write!(out, "\n### {title}\n\n{doc}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n");
        for Key { name, doc, default, required, kind, .. } in &self.keys {
            let default = match default {
                _ if *required => "required".to_owned(),
                Some(default) => format!("`{default}`"),
                None => (self.absent)(name).to_owned(),
            };
            let _ = writeln!(out, "| `{name}` | {} | {} | {} |", cell(kind), cell(&default), cell(doc));
        }
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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
        let mut defaults = keys.iter().filter_map(|key| Some((key, key.default?))).peekable();
        assert!(defaults.peek().is_some());
        for (key, default) in defaults {
            assert!((key.default_decodes)(default), "{} cannot be {default}", key.name);
            assert_ne!(crate::decode::default_value(default), serde_json::Value::Null, "{}", key.name);
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
