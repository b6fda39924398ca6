//! Bindings generated from `wit/handler.wit`, in a module of their own that rarely changes: the expansion is large.

#![allow(missing_docs, reason = "the WIT file documents every item")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "service",
    imports: {
        "roadrunner:handler/store.[method]bucket.delete": async | trappable,
        "roadrunner:handler/store.[method]bucket.exists": async | trappable,
        "roadrunner:handler/store.[method]bucket.get": async | trappable,
        "roadrunner:handler/store.[method]bucket.increment": async | trappable,
        "roadrunner:handler/store.[method]bucket.keys": async | trappable,
        "roadrunner:handler/store.[method]bucket.set": async | trappable,
        "roadrunner:handler/store.[method]bucket.set-if": async | trappable,
        "roadrunner:handler/types.[method]body.read": async | trappable,
        "roadrunner:handler/types.[method]body.read-to-end": async | trappable,
        "roadrunner:handler/types.[method]body.trailers": async | trappable,
        "roadrunner:handler/types.[method]body-writer.write": async | trappable,
        "roadrunner:handler/types.[method]ws-sender.send": async | trappable,
        "roadrunner:handler/types.[method]ws-sender.close": async | trappable,
        "roadrunner:handler/types.[method]wt-session.open-bidirectional": async | trappable,
        "roadrunner:handler/types.[method]wt-session.open-unidirectional": async | trappable,
        "roadrunner:handler/types.[method]wt-session.send": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "roadrunner:handler/store.bucket": crate::capability::store::OpenBucket,
        "roadrunner:handler/types.request": crate::guest::request::Request,
        "roadrunner:handler/types.body": crate::guest::request::Body,
        "roadrunner:handler/types.body-writer": crate::guest::output::BodyWriter,
        "roadrunner:handler/types.ws-sender": crate::guest::output::MessageSender,
        "roadrunner:handler/types.wt-session": crate::guest::webtransport::SessionHandle,
    },
});
