//! The secrets that the manifest grants to this component.

use crate::bindings::roadrunner::handler::secrets as wit;

/// One secret by its name. None for any name that is not granted, whether there is such a secret or not.
///
/// What it returns is ordinary memory of this instance. Do not log it.
pub fn get(name: &str) -> Option<Vec<u8>> {
    wit::get(name)
}

/// The same for a secret that is text. None for one that is not UTF-8, too.
pub fn text(name: &str) -> Option<String> {
    get(name).and_then(|secret| String::from_utf8(secret).ok())
}
