//! Roadrunner from outside: the real program, real sockets, real components.
//!
//! Every file is one protocol matter or one behaviour. Run one with `cargo test -p roadrunner-tests shapes::`.

mod abort;
mod bodies;
mod cancellation;
mod disconnect_reasons;
mod hostile;
mod limits;
mod loops;
mod shapes;
mod streams;
