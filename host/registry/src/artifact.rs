//! Manifests (OCI image specification 1.1): the layouts of components and of signatures.
//!
//! | layout | config | layer |
//! |---|---|---|
//! | the CNCF's | `application/vnd.wasm.config.v0+json` | `application/wasm` |
//! | its predecessor | any | `application/vnd.wasm.content.layer.v1+wasm` |
//! | cosign's signatures | any | `application/vnd.dev.cosign.simplesigning.v1+json` |
//!
//! A component is the only layer of its manifest.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The config of a component.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The layer of a component.
const LAYER: &str = "application/wasm";

/// The layer of a component in the older layout.
const OLDER_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// The layer of a signature: the signed payload.
const SIGNED: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation of such a layer that holds the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The largest signed payload, in bytes.
pub(crate) const MAX_SIGNED: u64 = 64 << 10;

/// The most signatures of one manifest that are read.
const MAX_SIGNATURES: usize = 16;

/// The media types of indexes, which have manifests instead of layers.
pub(crate) const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// The media types of manifests.
pub(crate) const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// A layer of a manifest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layer {
    /// The SHA-256 of its bytes, as 64 hexadecimal digits.
    pub digest: String,
    /// Its size, in bytes.
    pub size: u64,
}

/// Why a manifest is not that of a component.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Its config has another media type.
    #[error("its config has the media type {0:?}; that of a component has {CONFIG:?}")]
    Config(String),
    /// A digest is not a SHA-256.
    #[error("its layer has the digest {0:?}, which is not a SHA-256")]
    Digest(String),
    /// It is an index of other manifests.
    #[error("it is an index of several images; name one of them by its digest")]
    Index,
    /// Its layer has another media type.
    #[error("its layer has the media type {0:?}; a component has {LAYER:?}, or {OLDER_LAYER:?}")]
    Layer(String),
    /// It has no layer, or several.
    #[error("it has {0} layers; a component is one")]
    Layers(usize),
    /// It is not a valid manifest.
    #[error("its manifest is not understood: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The layer of a manifest that holds the component.
pub fn component_layer(manifest: &[u8]) -> Result<Layer, Refused> {
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|error| Refused::Malformed(error.to_string()))?;
    let is_index = |kind: &String| INDEXES.contains(&kind.as_str());
    if manifest.manifests.is_some() || manifest.media_type.as_ref().is_some_and(is_index) {
        return Err(Refused::Index);
    }
    let [layer] = &manifest.layers[..] else { return Err(Refused::Layers(manifest.layers.len())) };
    let config = manifest.config.map(|config| config.media_type).unwrap_or_default();
    match layer.media_type.as_str() {
        LAYER if config == CONFIG => layer.layer(),
        LAYER => Err(Refused::Config(config)),
        OLDER_LAYER => layer.layer(),
        other => Err(Refused::Layer(other.to_owned())),
    }
}

/// The signatures of a manifest of signatures: the signed payload's layer, and the signature in base64. Entries that
/// are too large, too many, or of another kind are skipped.
pub(crate) fn signatures(manifest: &[u8]) -> Vec<(Layer, String)> {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(manifest) else { return Vec::new() };
    let is_signed = |layer: &Descriptor| layer.media_type == SIGNED && layer.size <= MAX_SIGNED;
    let signed = manifest.layers.into_iter().filter(is_signed).take(MAX_SIGNATURES);
    signed
        .filter_map(|mut layer| {
            let signature = layer.annotations.remove(SIGNATURE)?;
            Some((layer.layer().ok()?, signature))
        })
        .collect()
}

impl Descriptor {
    fn layer(&self) -> Result<Layer, Refused> {
        let digest = self.digest.strip_prefix("sha256:").filter(|digest| is_digest(digest));
        let digest = digest.ok_or_else(|| Refused::Digest(self.digest.clone()))?;
        Ok(Layer { digest: digest.to_owned(), size: self.size })
    }
}

/// Whether a text is a SHA-256. Any other text could be a path.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(config: &str, layers: &[&str]) -> String {
        let digest = format!("sha256:{}", "a1".repeat(32));
        let layer = |kind: &&str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":7}}"#);
        let layers = layers.iter().map(layer).collect::<Vec<_>>().join(",");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{digest}","size":2}},"layers":[{layers}]}}"#
        )
    }

    #[test]
    fn both_layouts_are_components() {
        let expected = Ok(Layer { digest: "a1".repeat(32), size: 7 });
        assert_eq!(component_layer(manifest(CONFIG, &[LAYER]).as_bytes()), expected);
        for config in ["application/vnd.wasm.config.v1+json", "application/vnd.unknown.config.v1+json"] {
            assert_eq!(component_layer(manifest(config, &[OLDER_LAYER]).as_bytes()), expected, "{config}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let image = "application/vnd.oci.image.config.v1+json";
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        for (text, refused) in [
            (manifest(image, &[LAYER]), Refused::Config(image.to_owned())),
            (manifest(CONFIG, &[tar]), Refused::Layer(tar.to_owned())),
            (manifest(CONFIG, &[]), Refused::Layers(0)),
            (manifest(CONFIG, &[LAYER, LAYER]), Refused::Layers(2)),
            (r#"{"manifests":[]}"#.to_owned(), Refused::Index),
            (format!(r#"{{"mediaType":"{}"}}"#, INDEXES[1]), Refused::Index),
            (
                manifest(CONFIG, &[LAYER]).replace("sha256:a1", "sha512:a1"),
                Refused::Digest(format!("sha512:{}", "a1".repeat(32))),
            ),
            (
                manifest(CONFIG, &[LAYER]).replace("a1a1", "../."),
                Refused::Digest(format!("sha256:{}", "../.".repeat(16))),
            ),
        ] {
            assert_eq!(component_layer(text.as_bytes()), Err(refused), "{text}");
        }
        for text in ["", "[]", "{\"layers\":7}", "\u{feff}{}"] {
            assert!(matches!(component_layer(text.as_bytes()), Err(Refused::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn signatures_are_annotations() {
        let text = manifest("any", &[SIGNED, LAYER]);
        assert_eq!(signatures(text.as_bytes()), []);
        let text = text.replacen("\"size\":7", &format!(r#""size":7,"annotations":{{"{SIGNATURE}":"c2ln"}}"#), 1);
        assert_eq!(signatures(text.as_bytes()), [(Layer { digest: "a1".repeat(32), size: 7 }, "c2ln".to_owned())]);
        assert_eq!(signatures(b"nothing"), []);
    }

    #[test]
    fn only_so_many_signatures_are_looked_at() {
        let annotations = format!(r#""annotations":{{"{SIGNATURE}":"c2ln"}}"#);
        let signed =
            |size: u64| manifest("any", &[SIGNED; 20]).replace("\"size\":7", &format!("\"size\":{size},{annotations}"));
        assert_eq!(signatures(signed(MAX_SIGNED).as_bytes()).len(), MAX_SIGNATURES);
        assert_eq!(signatures(signed(MAX_SIGNED + 1).as_bytes()), []);
    }
}
