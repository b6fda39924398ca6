//! The manifest's named routes, for links that stay correct when a path changes.

use crate::bindings::roadrunner::handler::routes as wit;
use crate::error::Result;

/// The path of a named route with its parameters filled in and percent-encoded.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused) names an unknown route, a missing or an extra parameter.
pub fn url_for(name: &str, params: &[(&str, &str)]) -> Result<String> {
    let params: Vec<_> = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Ok(wit::url_for(name, &params)?)
}
