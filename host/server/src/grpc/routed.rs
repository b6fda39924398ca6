//! The services behind a route for calls, by their names.

use bytes::Bytes;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use roadrunner_manifest::{RoutePattern, Segment};

/// The services behind a route for calls.
pub(crate) struct Routed {
    /// A path that the route's pattern matches.
    pub(super) path: String,
    /// The full names of the services.
    pub(super) names: Vec<String>,
    /// The descriptors that the component ships; empty for none.
    pub(super) descriptors: Bytes,
}

impl Routed {
    /// The services behind a route: the one that its path names, or else all that its component describes.
    pub(crate) fn new(pattern: &RoutePattern, descriptors: Bytes) -> Self {
        let names = match pattern.segments() {
            [Segment::Literal(service), _, ..] => vec![service.clone()],
            _ => described(&descriptors),
        };
        let sample = pattern.segments().iter().map(|segment| match segment {
            Segment::Literal(text) => text.as_str(),
            Segment::Param(_) | Segment::Rest(_) => "x",
        });
        Self { path: sample.fold(String::new(), |path, segment| path + "/" + segment), names, descriptors }
    }
}

/// The full names of the services in a set of descriptors. A set that is not valid describes none.
fn described(descriptors: &Bytes) -> Vec<String> {
    let Ok(set) = FileDescriptorSet::decode(descriptors.clone()) else { return Vec::new() };
    let names = set.file.iter().flat_map(|file| {
        let package = file.package();
        file.service.iter().map(move |service| match package {
            "" => service.name().to_owned(),
            package => format!("{package}.{}", service.name()),
        })
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use prost_types::{FileDescriptorProto, ServiceDescriptorProto};

    use super::*;

    fn descriptors() -> Bytes {
        let service = |name: &str| ServiceDescriptorProto { name: Some(name.to_owned()), ..Default::default() };
        let file = FileDescriptorProto {
            name: Some("a.proto".to_owned()),
            package: Some("a.v1".to_owned()),
            service: vec![service("One"), service("Two")],
            ..Default::default()
        };
        FileDescriptorSet { file: vec![file] }.encode_to_vec().into()
    }

    #[test]
    fn a_route_names_its_service_or_takes_those_of_its_component() {
        for (pattern, path, names) in [
            ("/a.v1.One/:method", "/a.v1.One/x", &["a.v1.One"][..]),
            ("/a.v1.One/*rest", "/a.v1.One/x", &["a.v1.One"]),
            ("/a.v1.One/Call", "/a.v1.One/Call", &["a.v1.One"]),
            ("/*rest", "/x", &["a.v1.One", "a.v1.Two"]),
            ("/:service/:method", "/x/x", &["a.v1.One", "a.v1.Two"]),
        ] {
            let pattern = RoutePattern::new(pattern).expect("a pattern");
            let routed = Routed::new(&pattern, descriptors());
            assert_eq!(routed.path, path);
            assert_eq!(routed.names, names, "{path}");
        }
    }

    #[test]
    fn descriptors_that_are_not_valid_describe_nothing() {
        assert!(described(&Bytes::from_static(b"\xff\xff")).is_empty());
        assert!(described(&Bytes::new()).is_empty());
    }
}
