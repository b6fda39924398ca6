//! Paths of named routes.

use std::fmt::Debug;
use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::bindings::roadrunner::handler::routes;
use crate::bindings::roadrunner::handler::types::Error;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Of};

/// A builder of paths of named routes.
pub trait Urls: Send + Sync + Debug {
    /// Builds the path with its parameters filled in. An error says why there is none.
    fn url_for(&self, name: &str, params: &[(String, String)]) -> Result<String, String>;
}

/// The capability `routes`.
pub struct Routes;

impl Capability for Routes {
    type Grant = Option<Arc<dyn Urls>>;
    type Held = ();

    fn link<T: Carries<Self>>(linker: &mut Linker<T>, _: Wasi) -> Result<()> {
        routes::add_to_linker::<_, Of<Self>>(linker, T::call)
    }
}

impl routes::Host for Call<'_, Routes> {
    fn url_for(&mut self, name: String, params: Vec<(String, String)>) -> Result<Result<String, Error>> {
        let url = match self.grant {
            Some(urls) => urls.url_for(&name, &params),
            None => Err("there are no named routes".to_owned()),
        };
        Ok(url.map_err(Error::Refused))
    }
}
