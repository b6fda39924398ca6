//! The `fields` of `wasi:http`: a length that a guest gives twice, in the same words, is a single length.
//!
//! RFC 9110, 8.6 lets a recipient treat a repeated content-length as a single value. Guests that copy fields from one
//! message to another repeat it without meaning to, and many end when the host refuses. The engine's own functions do
//! refuse; the functions of this module shadow them. Different lengths are refused as before.

use http::header::CONTENT_LENGTH;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::{FieldMap, WasiHttpView, p2, p3};

use crate::engine::Wasi;

/// Shadows the functions of an interface that set values of fields.
macro_rules! shadow {
    ($linker:expr, $name:literal, $($types:ident)::+) => {{
        use $($types)::+::{HeaderError, Host as _, HostFields as _};
        type Added<R> = Result<(Result<R, HeaderError>,)>;
        let mut interface = $linker.instance($name)?;
        interface.func_wrap(
            "[static]fields.from-list",
            |mut store: StoreContextMut<'_, T>, (mut list,): (Vec<(String, Vec<u8>)>,)| -> Added<_> {
                let mut length = None;
                list.retain(|(name, value)| !is_length(name) || length.replace(value.clone()).as_ref() != Some(value));
                let mut http = store.data_mut().http();
                match http.from_list(list) {
                    Ok(fields) => Ok((Ok(fields),)),
                    Err(error) => Ok((Err(http.convert_header_error(error)?),)),
                }
            },
        )?;
        interface.func_wrap(
            "[method]fields.append",
            |mut store: StoreContextMut<'_, T>,
             (fields, name, value): (Resource<FieldMap>, String, Vec<u8>)|
             -> Added<()> {
                let mut http = store.data_mut().http();
                if is_length(&name) && http.table.get(&fields)?.get(CONTENT_LENGTH).is_some_and(|known| *known == *value) {
                    return Ok((Ok(()),));
                }
                match http.append(fields, name, value) {
                    Ok(()) => Ok((Ok(()),)),
                    Err(error) => Ok((Err(http.convert_header_error(error)?),)),
                }
            },
        )?;
        interface.func_wrap(
            "[method]fields.set",
            |mut store: StoreContextMut<'_, T>,
             (fields, name, mut values): (Resource<FieldMap>, String, Vec<Vec<u8>>)|
             -> Added<()> {
                if is_length(&name) {
                    values.dedup();
                }
                let mut http = store.data_mut().http();
                match http.set(fields, name, values) {
                    Ok(()) => Ok((Ok(()),)),
                    Err(error) => Ok((Err(http.convert_header_error(error)?),)),
                }
            },
        )?;
    }};
}

/// Replaces the engine's functions by those of this module.
pub(crate) fn add_to_linker<T: WasiHttpView + 'static>(linker: &mut Linker<T>, wasi: Wasi) -> Result<()> {
    linker.allow_shadowing(true);
    shadow!(linker, "wasi:http/types@0.2.12", p2::bindings::http::types);
    if wasi == Wasi::Preview3 {
        shadow!(linker, "wasi:http/types@0.3.0", p3::bindings::http::types);
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn is_length(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str())
}
