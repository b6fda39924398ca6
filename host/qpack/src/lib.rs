//! QPACK (RFC 9204): field compression for HTTP/3, as pure functions over bytes.
//!
//! # Contract
//! One [`Encoder`] and one [`Decoder`] per connection. They know nothing of sockets, tasks or time; the connection
//! driver moves bytes between them and four places:
//!
//! | bytes | from | to |
//! |---|---|---|
//! | encoded field section (payload of HEADERS) | [`Encoder::encode`] | the request stream |
//! | encoder stream, out | [`Encoder::take_encoder_stream`] | our unidirectional stream of type 0x02 |
//! | decoder stream, in | the peer's stream of type 0x03 | [`Encoder::on_decoder_stream`] |
//! | encoded field section | the request stream | [`Decoder::decode`] |
//! | encoder stream, in | the peer's stream of type 0x02 | [`Decoder::on_encoder_stream`] |
//! | decoder stream, out | [`Decoder::take_decoder_stream`] | our unidirectional stream of type 0x03 |
//!
//! Every [`Error`] is a connection error; CONNECTION_CLOSE carries [`Error::code`]. After an error, call nothing more
//! on the half that returned it.
//!
//! All memory is bounded by the configuration: the dynamic tables by their capacity, a half-received instruction by
//! four times that capacity, outgoing instructions by a fixed backlog, decoded fields by
//! [`DecoderConfig::max_field_section_size`].
//!
//! # Not covered
//! - Stream types, their uniqueness and their closure (RFC 9204 section 4.2) and the settings' codes (section 5): the
//!   HTTP/3 layer owns streams and SETTINGS.
//! - Flow control: a blocked section stays with the caller, who calls [`Decoder::decode`] again.
//! - HTTP rules for names and values. A field here is two byte strings.

#![forbid(unsafe_code)]

mod decoder;
mod dynamic_table;
mod encoder;
mod error;
mod field;
mod huffman;
mod instruction;
mod line;
mod prefix;
mod reader;
mod static_table;
mod string;

pub use decoder::{Decoded, Decoder, DecoderConfig};
pub use encoder::{Encoder, EncoderConfig};
pub use error::{Error, ErrorCode, Reason};
pub use field::{Field, FieldRef};

#[cfg(test)]
mod rfc_examples;
