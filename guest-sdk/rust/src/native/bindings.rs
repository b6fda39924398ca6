//! The contract on the machine's own target: the items of `wit/handler.wit` that this crate calls, with the answers
//! that a test has set. The names are those of wit-bindgen, so that the rest of the crate sees no difference;
//! [`super::testing`] fills in the values.

#![allow(missing_docs)]

pub mod roadrunner {
    pub mod handler {
        pub use crate::native::{bus, config, log, routes, secrets, sql, store, timers, types};
    }
}
