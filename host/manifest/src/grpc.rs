//! gRPC: the services that the host answers itself, and its limit on messages.

use std::ops::Range;

use toml::Spanned;

use crate::decode::Field;
use crate::resolver::value;
use crate::scalar::Bytes;
use crate::scalar::units::GIB;
use crate::section::section;

/// `[grpc]`, without the services, which are routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// The longest message of a caller, in bytes; `None` for no limit.
    pub max_message: Option<u32>,
}

/// A service of gRPC that the host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcService {
    /// Whether services are served.
    Health,
    /// The descriptors of services.
    Reflection,
    /// The same, in the version that older clients ask for.
    ReflectionAlpha,
}

impl GrpcService {
    /// The full name, with which its path begins.
    pub fn name(self) -> &'static str {
        match self {
            Self::Health => "grpc.health.v1.Health",
            Self::Reflection => "grpc.reflection.v1.ServerReflection",
            Self::ReflectionAlpha => "grpc.reflection.v1alpha.ServerReflection",
        }
    }
}

section! {
    /// gRPC. Calls of the services of components need nothing of this section.
    #[title = "`[grpc]`"]
    pub(crate) struct GrpcSection {
        /// Whether the host answers `grpc.health.v1.Health`: a service is served if a route with `grpc = true` leads to
        /// it.
        health: bool = "false";
        /// Whether the host answers `grpc.reflection.v1.ServerReflection`, and `v1alpha`, with the descriptors of the
        /// services behind routes with `grpc = true`.
        reflection: bool = "false";
        /// The longest message of a caller. Over it, the call ends with RESOURCE_EXHAUSTED before the guest sees the
        /// message. Without it, the libraries of guests have their own limit, which is 4 MiB in tonic.
        max_receive_message_length: Bytes<1, { 4 * GIB - 1 }>;
    }
}

pub(crate) fn grpc(section: &Field<GrpcSection>) -> Grpc {
    let limit = value(section).and_then(|grpc| value(&grpc.max_receive_message_length));
    Grpc { max_message: limit.and_then(|limit| u32::try_from(limit.get()).ok()) }
}

/// The services that a manifest asks for, each with its key.
pub(crate) fn services(section: &Field<GrpcSection>) -> impl Iterator<Item = (GrpcService, Range<usize>)> {
    let keys = value(section).map(|grpc| {
        [
            (&grpc.health, GrpcService::Health),
            (&grpc.reflection, GrpcService::Reflection),
            (&grpc.reflection, GrpcService::ReflectionAlpha),
        ]
    });
    keys.into_iter().flatten().filter_map(|(key, service)| {
        let key = key.as_ref().filter(|key| *key.get_ref())?;
        Some((service, Spanned::span(key)))
    })
}
