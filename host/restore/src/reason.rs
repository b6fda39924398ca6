//! The reasons why instances cannot be put back.

/// The reason why the instances of a component cannot be put back.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The bytes are not a valid component.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// The component has a part whose state is not known.
    #[error("{0}")]
    Unknown(String),
}

impl Reason {
    /// A part whose state is not known.
    pub(crate) fn unknown(text: &str) -> Self {
        Self::Unknown(text.to_owned())
    }
}

impl From<wasmparser::BinaryReaderError> for Reason {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid(error.to_string())
    }
}
