//! The capabilities that a manifest grants to components. A new one is a file, and a line in the list below.

mod broker;
mod bus;
mod environment;
mod files;
mod outbound;
mod preopens;
mod provider;
pub(crate) mod secrets;
mod sql;
mod stores;

use anyhow::Result;

use self::provider::Provider;
pub(crate) use self::provider::{Granted, Grantee, Opening};
use crate::access::Caller;
use crate::metrics::{Shows, Text};

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident: $provider:ty,)*) => {
        /// All capabilities, open for one manifest.
        pub(crate) struct Capabilities {
            $($(#[$doc])* pub(crate) $name: $provider,)*
        }

        impl Capabilities {
            /// Opens what a manifest names. What has not changed is taken from `before`.
            pub(crate) fn open(opening: &Opening<'_>, before: Option<&Self>) -> Result<Self> {
                Ok(Self { $($name: Provider::open(opening, before.map(|before| &before.$name))?,)* })
            }

            /// Grants a component what the manifest says.
            pub(crate) fn grant(&self, component: Grantee<'_>) -> Granted {
                let mut granted = Granted::default();
                $(self.$name.grant(component, &mut granted);)*
                granted
            }
        }

        impl Shows for Capabilities {
            fn show(&self, caller: &Caller, text: &mut Text) {
                $(self.$name.show(caller, text);)*
            }
        }
    };
}

capabilities! {
    /// Topics, here and on other hosts.
    bus: bus::Bus,
    /// The environment of WASI guests.
    environment: environment::Environment,
    /// Directories that files are sent from.
    files: files::Files,
    /// Ways out to other servers.
    outbound: outbound::WaysOut,
    /// Directories that WASI guests have open.
    preopens: preopens::Preopens,
    /// Secrets, by name.
    secrets: secrets::Secrets,
    /// Databases.
    sql: sql::Sql,
    /// Stores of keys and values.
    stores: stores::Stores,
}
