//! Turns names into addresses, and addresses into a connection. No thread waits for either: an unanswered name costs a
//! socket and some memory, for as long as a caller waits for it.
//!
//! Each [`Share`] has a limited number of places for pending look-ups, and so have all of them together. Above that, a
//! look-up waits for a place; the caller bounds how long. Answers are kept while they are valid, in a cache of a
//! bounded size.
//!
//! The machine's configuration applies: `/etc/hosts` first, and then the servers, the search list and the options of
//! `/etc/resolv.conf`. Both are checked while names are looked up, and read again when they have changed.
//!
//! Not covered: DNSSEC, which is left to the server, DNS over TLS or HTTPS, the modules of `nsswitch.conf`, and the
//! order of RFC 6724: [`connect`] tries addresses of both families side by side (RFC 8305).

#![forbid(unsafe_code)]

mod answer;
mod race;
mod resolver;
mod system;

pub use race::connect;
pub use resolver::{Error, Resolver, Settings, Share};
