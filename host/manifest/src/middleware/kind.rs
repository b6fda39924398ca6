//! The parts that all types of middlewares share.

use crate::decode::Decode;
use crate::resolver::Resolver;
use crate::scalar::{Fault, Text, name};
use crate::section::Section;

name! {
    /// The name of a middleware: `security` in `[middleware.security]`.
    pub struct MiddlewareName = "middleware";
}

/// The section of a type of middleware.
pub(crate) trait Kind: Section + Decode {
    /// The checked middleware.
    type Value;

    /// Checks the section. `None` means that a required key is absent, which has been reported.
    fn check(&self, name: &MiddlewareName, resolver: &mut Resolver<'_>) -> Option<Self::Value>;
}

/// The key `type`, whose value has chosen the section that it stands in.
#[derive(Clone, Debug)]
pub(crate) struct Chosen;

impl Text for Chosen {
    const KIND: &'static str = "the type of a middleware";

    fn parse(_: &str) -> Result<Self, Fault> {
        Ok(Self)
    }
}
