//! The contract on the machine's own target: the items of `wit/handler.wit` that this crate calls, answered by what a test
//! has set. The names are those that wit-bindgen gives them, so that the rest of the crate does not know the difference;
//! what it sees as [`super::testing`] fills in the values.

#![allow(missing_docs)]

pub mod roadrunner {
    pub mod handler {
        pub use crate::native::{bus, config, log, routes, secrets, store, timers, types};
    }
}
