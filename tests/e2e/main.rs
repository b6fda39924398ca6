//! Roadrunner from outside: the real program, real sockets, real components.
//!
//! Every file is one protocol matter or one behaviour. Run one with `cargo test -p roadrunner-tests shapes::`.

mod abort;
mod admission;
mod bodies;
mod bus;
mod cancellation;
mod chat;
mod cli;
mod client_addresses;
mod connection_caps;
mod disconnect_reasons;
mod drain;
mod expect_continue;
mod files;
mod groups_config_urls;
mod h2c;
mod hibernation;
mod hostile;
mod http2;
mod http3;
mod http3_limits;
mod isolation;
mod keep_alive;
mod large_bodies;
mod limits;
mod limits_page;
mod listeners;
mod loops;
mod malformed;
mod middlewares;
mod observability;
mod quic;
mod real_clients;
mod reload;
mod routing;
mod shapes;
mod streams;
mod timeouts;
mod tls;
mod trailers;
mod websocket_clients;
mod websocket_handshake;
mod websocket_limits;
mod websocket_memory;
mod websocket_sessions;
