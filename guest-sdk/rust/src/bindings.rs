//! The bindings that wit-bindgen makes of `roadrunner:handler`. Only this crate and the `handler` attribute use them.

#![allow(missing_docs, unused_qualifications)]
#![allow(clippy::undocumented_unsafe_blocks)] // Generated code.

wit_bindgen::generate!({
    path: "../../wit",
    world: "service",
    pub_export_macro: true,
    export_macro_name: "export",
    default_bindings_module: "roadrunner_guest::__private::bindings",
});
