//! The secrets that the manifest grants to this component.

use crate::bindings::roadrunner::handler::secrets as wit;

/// The secret of this name. `None` for any name that is not granted, whether such a secret exists or not.
///
/// The returned value is ordinary memory of this instance. Do not log it.
pub fn get(name: &str) -> Option<Vec<u8>> {
    wit::get(name)
}

/// The secret of this name as text. `None` also for a secret that is not UTF-8.
pub fn text(name: &str) -> Option<String> {
    get(name).and_then(|secret| String::from_utf8(secret).ok())
}
