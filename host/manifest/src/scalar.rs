//! Leaves of the manifest: text and numbers that become types which cannot be wrong.
//!
//! A leaf that is written as a TOML string implements [`Text`] and gets its decoder from there.

mod address;
pub(crate) mod choice;
mod collection;
mod duration;
mod host;
mod http;
mod name;
mod path;
mod size;
mod text;
pub(crate) mod units;

pub use address::Address;
pub(crate) use choice::{choice, choose};
pub(crate) use collection::Table;
pub use duration::format_duration;
pub(crate) use duration::{OrNone, Time};
pub use host::{HostPattern, InvalidHost};
pub(crate) use http::{HeaderField, HeaderText, MethodName, Origin};
pub use name::InvalidName;
pub(crate) use name::{Name, check_name, name};
pub(crate) use path::FilePath;
pub use size::format_size;
pub(crate) use size::{Bytes, Count};
pub(crate) use text::{ConfigKey, Fault, PlainText, Text};
