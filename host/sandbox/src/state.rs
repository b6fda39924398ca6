//! The host's state for one instance: its grants, what its capabilities hold, and what all of them share.
//!
//! A new capability is a module, and a line in the list of this module.

use std::sync::Arc;

use roadrunner_account::{Meter, Outcome};
use roadrunner_values::Limits;
use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::capability::config::Config;
use crate::capability::exchange::Exchange;
use crate::capability::fields;
use crate::capability::files::Files;
use crate::capability::http::{Http, Outbound};
use crate::capability::log::Log;
use crate::capability::routes::Routes;
use crate::capability::secrets::SecretStore;
use crate::capability::session::Events;
use crate::capability::sql::Sql;
use crate::capability::store::Stores;
use crate::capability::wasi;
use crate::capability::wasi_config::StandardConfig;
use crate::engine::Wasi;
use crate::guest::core::{Call, Capability, Carries, Core};

/// Makes of a list of capabilities the grants, the parts of the state, and the linking.
macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident: $capability:ty,)*) => {
        /// The limits of each instance of a component, and what its instances may use; by default nothing.
        #[derive(Debug, Default)]
        pub struct Grants {
            /// The limits of each instance.
            pub limits: Arc<Limits>,
            /// The way out for HTTP requests; none where they are refused.
            pub outbound: Option<Arc<dyn Outbound>>,
            /// The environment variables that guests see.
            pub environment: Vec<(String, String)>,
            $($(#[$doc])* pub $name: <$capability as Capability>::Grant,)*
        }

        /// What the capabilities of one instance hold.
        #[derive(Default)]
        pub(crate) struct Held {
            $(pub(crate) $name: <$capability as Capability>::Held,)*
        }

        impl Held {
            fn rest(&mut self) {
                $(<$capability>::rest(&mut self.$name);)*
            }
        }

        $(impl Carries<$capability> for State {
            fn call(&mut self) -> Call<'_, $capability> {
                self.core.meter.count_host_call();
                Call { grant: &self.grants.$name, held: &mut self.held.$name, core: &mut self.core }
            }
        })*

        fn link_capabilities(linker: &mut Linker<State>, wasi: Wasi) -> Result<()> {
            $(<$capability>::link(linker, wasi)?;)*
            Ok(())
        }
    };
}

capabilities! {
    /// Values from the manifest, for `config`.
    config: Config,
    /// The topics that `bus` and `timers` wake a session with.
    events: Events,
    /// The request itself; every guest has it.
    exchange: Exchange,
    /// The directories that guests have open at their start, for `wasi:filesystem`.
    preopens: Files,
    /// The log; every guest has it.
    log: Log,
    /// The named routes, for `routes.url-for`.
    urls: Routes,
    /// The secrets that `secrets.get` finds.
    secrets: SecretStore,
    /// The databases that `sql.open` finds, by name.
    databases: Sql,
    /// The stores that `store.open` finds, by name.
    stores: Stores,
    /// The values of `config`, for `wasi:config/store`.
    wasi_config: StandardConfig,
}

pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) grants: Arc<Grants>,
    pub(crate) held: Held,
    wasi: Option<Box<Base>>,
    http: Option<Box<Http>>,
}

/// The part of WASI that language runtimes need.
struct Base {
    context: WasiCtx,
    printer: wasi::Printer,
}

impl State {
    pub(crate) fn new(grants: Arc<Grants>, meter: Arc<Meter>) -> Self {
        Self { core: Core::new(grants.limits.clone(), meter), grants, held: Held::default(), wasi: None, http: None }
    }

    /// The state of an instance that was restored, and has this much memory.
    pub(crate) fn restored(
        grants: &Arc<Grants>,
        meter: &Arc<Meter>,
        memory: u64,
    ) -> std::result::Result<Self, Outcome> {
        let mut state = Self::new(grants.clone(), meter.clone());
        state.core.memory.take_over(memory)?;
        Ok(state)
    }

    /// Ends the printed lines: the instance has answered.
    pub(crate) fn end_lines(&self) {
        if let Some(wasi) = &self.wasi {
            wasi.printer.end();
        }
    }

    /// Clears the host's state for the request that was answered, while the instance waits for another.
    pub(crate) fn rest(&mut self) {
        self.core.memory.rest();
        self.held.rest();
        if let Some(http) = &mut self.http {
            http.hooks.owed = 0;
        }
    }

    /// Prepares the instance for another request.
    pub(crate) fn start_over(&mut self, meter: &Arc<Meter>) {
        self.core.meter = meter.clone();
        self.core.memory.start_over(meter);
        if let Some(wasi) = &self.wasi {
            wasi.printer.set(meter);
        }
        if let Some(http) = &mut self.http {
            http.hooks.meter = meter.clone();
        }
    }

    /// Whether a body with pieces from the store was made since the last call of this function.
    pub(crate) fn take_made_body(&mut self) -> bool {
        self.http.as_mut().is_some_and(|http| std::mem::take(&mut http.hooks.has_made_body))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.core.meter.count_host_call();
        let wasi = self.wasi.get_or_insert_with(|| {
            let printer = wasi::Printer::new(&self.core.meter);
            let context = wasi::context(&printer, &self.grants.environment);
            Box::new(Base { context, printer })
        });
        WasiCtxView { ctx: &mut wasi.context, table: &mut self.core.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Core { memory, meter, table, .. } = &mut self.core;
        meter.count_host_call();
        let http = self.http.get_or_insert_with(|| Box::new(Http::new(self.grants.outbound.clone(), meter)));
        // The capacity of bodies made in the last call. It is never more than was left.
        let owed = std::mem::take(&mut http.hooks.owed);
        if owed > 0 && owed <= memory.left() {
            memory.charge(owed);
        }
        http.hooks.left = memory.left();
        WasiHttpCtxView { hooks: &mut http.hooks, table, ctx: &mut http.context }
    }
}

/// Adds all interfaces that a component of this version can import.
pub(crate) fn link(linker: &mut Linker<State>, wasi: Wasi) -> Result<()> {
    if wasi == Wasi::Preview3 {
        wasmtime_wasi::p3::add_to_linker(linker)?;
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    // Standard libraries of languages build on 0.2, even in components that export a handler of 0.3.
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    fields::add_to_linker(linker, wasi)?;
    link_capabilities(linker, wasi)
}
