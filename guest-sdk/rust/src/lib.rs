#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod bus;
#[cfg(feature = "client")]
pub mod client;
pub mod config;
pub mod log;
pub mod routes;
pub mod secrets;
#[cfg(feature = "tower")]
pub mod service;
pub mod sql;
pub mod sse;
pub mod store;
pub mod timers;

mod adapter;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_family = "wasm")]
mod exports;
#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

#[cfg(not(target_family = "wasm"))]
use native::bindings;

mod body;
mod cookies;
mod error;
mod fields;
mod form;
#[cfg(feature = "grpc")]
pub mod grpc;
#[cfg(feature = "hibernation")]
#[doc(hidden)]
pub mod hibernation;
#[cfg(feature = "json")]
mod json;
mod multipart;
mod percent;
mod request;
mod response;

pub use body::Body;
pub use cookies::{CookieError, Cookies, SameSite, SetCookie};
pub use error::{Error, Rejection, Result};
pub use fields::Fields;
pub use form::Pairs;
pub use http;
pub use http::StatusCode;
#[cfg(feature = "json")]
pub use json::{Json, NdJson, line as ndjson_line};
pub use multipart::{Multipart, Part};
pub use percent::percent_decode;
pub use request::{ClientCertificate, Request, Upgrade};
pub use response::{
    Disconnect, Event, EventLoop, Html, IntoResponse, Message, Next, Redirect, Response, SendFile, Sender, Session,
    Stream, WebSocket, WebSocketHandler, WebTransport, WebTransportHandler, Writer, WsMessage, WtEvent, WtSession,
};
pub use roadrunner_guest_macros::handler;
#[cfg(feature = "tower")]
pub use roadrunner_guest_macros::service;
pub use sse::{Sse, SseEvent, SseWriter};

/// Items that the `handler` attribute refers to. They may change in any version.
#[doc(hidden)]
pub mod __private {
    pub use crate::adapter::{Entry, Held};
    #[cfg(target_family = "wasm")]
    pub use crate::bindings;
    #[cfg(target_family = "wasm")]
    pub use crate::bindings::export;
    #[cfg(feature = "hibernation")]
    pub use crate::hibernation;
}
