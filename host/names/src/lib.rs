//! Names become addresses, and addresses a connection. No thread waits for either: a name that nobody answers costs a
//! socket and some memory, for as long as somebody waits for it.
//!
//! Each [`Share`] has so many places for look-ups that are under way, and all of them together have so many. Over that, a
//! look-up waits for a place; it is the caller's to bound how long. Answers are kept for as long as they hold, in a cache
//! of a bounded size.
//!
//! What the machine says holds: `/etc/hosts` before anything else, and then the servers, the search list and the options
//! of `/etc/resolv.conf`. Both are looked at again while names are asked for, and read again when they have changed.
//!
//! Does not do: DNSSEC, which is for the server that is asked, DNS over TLS or HTTPS, the modules of `nsswitch.conf`, and
//! the order of RFC 6724: [`connect`] tries addresses of both families side by side (RFC 8305).

mod answer;
mod race;
mod resolver;
mod system;

pub use race::connect;
pub use resolver::{Error, Resolver, Settings, Share};
