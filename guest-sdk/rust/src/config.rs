//! The values that the manifest gives to this route and component.

use crate::bindings::roadrunner::handler::config as wit;

/// The value of a key.
pub fn get(key: &str) -> Option<String> {
    wit::get(key)
}

/// All values, sorted by key.
pub fn entries() -> Vec<(String, String)> {
    wit::entries()
}
