//! Pages of keys.

/// The most keys in one page.
pub const MAX_PAGE: usize = 1000;

/// Some keys of a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys. In an embedded store they are sorted; Redis gives them in any order, and may give one twice.
    pub keys: Vec<String>,
    /// The cursor for the next page; `None` after the last.
    pub next: Option<String>,
}
