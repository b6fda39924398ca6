//! Services of gRPC, with the crate [tonic](https://docs.rs/tonic): its generated code, its requests and its statuses.
//!
//! ```ignore
//! #[handler]
//! fn greeter(request: Request) -> impl IntoResponse {
//!     grpc::Router::new(request).add_service(GreeterServer::new(Greeter))
//! }
//! ```
//!
//! The code of a service comes from its `.proto` file in a build script, with the crate `roadrunner-guest-build`.
//!
//! **Shapes.** A call that is over at once is a buffered response. Another is a stream, or a loop if it still reads
//! requests, or is subscribed to a topic. Messages of the client are read when the method asks for them, and each
//! message to the client waits until it can be sent.
//!
//! **Waiting.** There is no runtime of tokio. A method waits for its own requests, for [`sleep`] and for a
//! [`Subscription`]; combinators of the crate `futures` join them. A bidirectional method returns its stream before it
//! reads its first request if it also waits for a timer or a topic: requests come as events only then.
//!
//! **gRPC-Web** is answered, too: browsers can call the same service over any version of HTTP.

mod call;
mod inbox;
mod router;
mod waiting;

pub use router::Router;
pub use tonic;
pub use waiting::{Sleep, Subscription, sleep, subscribe};

/// Includes the code of a package, as `roadrunner-guest-build` has made it, and ships its descriptors, which the host
/// needs for reflection. Use it in a module of its own.
#[macro_export]
macro_rules! include_proto {
    ($package:tt) => {
        include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));

        #[cfg(target_family = "wasm")]
        #[used]
        #[unsafe(link_section = "roadrunner:grpc-descriptors")]
        static DESCRIPTORS: [u8; include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).len()] =
            *include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    };
}
