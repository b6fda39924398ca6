//! The captures of a pattern.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::tree::Captures;
use crate::pattern::{RoutePattern, decode_segment};

/// Captures in the pattern's order, percent-decoded. Names belong to the table. Values belong to the path if nothing
/// had to be decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params<'t, 'p>(SmallVec<[(&'t str, Cow<'p, str>); 2]>);

impl<'t, 'p> Params<'t, 'p> {
    /// `None` if a capture is not UTF-8 after decoding.
    pub(super) fn new(pattern: &'t RoutePattern, path: &'p str, captures: &Captures) -> Option<Self> {
        if captures.is_empty() {
            return Some(Self::default());
        }
        let values = captures.iter().map(|&(start, end)| decode_segment(&path[start..end]));
        pattern.captures().zip(values).map(|(name, value)| Some((name, value?))).collect::<Option<_>>().map(Self)
    }

    /// The value of a capture.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(captured, _)| *captured == name).map(|(_, value)| value)
    }

    /// The value of the last capture, which is that of `*rest` if the pattern has one.
    pub fn last(&self) -> Option<&str> {
        self.0.last().map(|(_, value)| value.as_ref())
    }

    /// Names and values, in the pattern's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'t str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// The number of captures.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
