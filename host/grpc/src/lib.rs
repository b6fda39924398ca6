//! The parts of gRPC that a server in front of a handler needs: the protocol of a request, its deadline, its status,
//! and the framing of its messages. Bytes and fields in, values out; no sockets, no codec of messages.
//!
//! | module | subject |
//! |---|---|
//! | [`Code`] | the codes of a status, and their relation to HTTP's |
//! | [`Protocol`] | gRPC or gRPC-Web, by the content type |
//! | [`Status`] | the code and message in which a call ends, as fields or as bytes |
//! | [`Messages`] | the borders of messages in a body, and what is wrong with them |
//! | [`timeout`] | the field `grpc-timeout` |
//!
//! The protocol is described in the [documents of gRPC](https://github.com/grpc/grpc/tree/master/doc):
//! PROTOCOL-HTTP2.md, PROTOCOL-WEB.md, statuscodes.md and http-grpc-status-mapping.md.
//!
//! # Not covered
//!
//! The content of messages and their compression belong to the handler. Connect has HTTP statuses of its own, so that
//! plain HTTP answers are right for it.

#![forbid(unsafe_code)]

mod code;
mod messages;
mod protocol;
mod status;
mod timeout;

pub use code::Code;
pub use messages::{MessageError, Messages};
pub use protocol::Protocol;
pub use status::{Status, status_of};
pub use timeout::{TIMEOUT, timeout};
