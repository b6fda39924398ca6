//! `#[roadrunner_guest::handler]` makes a function the handler of a component, and `#[roadrunner_guest::service]` the
//! tower service that a function returns.
//!
//! They generate a private type that joins the function to the adapter of the SDK, and the exports of
//! `roadrunner:handler`. The function itself stays unchanged and can be called by native tests. `handler` does not route:
//! a component has one handler, and the manifest or the handler's own `match` on the path selects the action.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote, quote_spanned};
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, ReturnType, Token, Type};

/// Makes this function the handler of the component.
///
/// It takes a `Request` and returns anything that implements `IntoResponse`, so also a `Result` of two such types:
///
/// ```ignore
/// #[roadrunner_guest::handler]
/// fn hello(_request: Request) -> impl IntoResponse {
///     "hello, world\n"
/// }
/// ```
///
/// With the SDK's feature `hibernation`, the attribute can name the types of sessions that may leave their instance
/// while they are idle: `resume_event_loop = Type` for a `Session`, `resume_websocket = Type` for a `WebSocketHandler`,
/// `resume_webtransport = Type` for a `WebTransportHandler`, once for each such type. They implement serde's
/// `Serialize` and `Deserialize`.
///
/// ```ignore
/// #[roadrunner_guest::handler(resume_websocket = Counter)]
/// fn count(_request: Request) -> WebSocket {
///     WebSocket::session(Counter::default())
/// }
/// ```
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item: Tokens = item.into();
    match expand(arguments.into(), item.clone()) {
        Ok(tokens) => tokens.into(),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error).into()
        }
    }
}

/// Makes the tower service that this function returns answer the component's requests: an `axum::Router`, or any other
/// `tower::Service` of requests of the `http` crate. The function is called for each request.
///
/// ```ignore
/// #[roadrunner_guest::service]
/// fn app() -> axum::Router {
///     axum::Router::new().route("/", axum::routing::get(async || "hello, world\n"))
/// }
/// ```
#[proc_macro_attribute]
pub fn service(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item: Tokens = item.into();
    match expand_service(arguments.into(), item.clone()) {
        Ok(tokens) => tokens.into(),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error).into()
        }
    }
}

fn expand_service(arguments: Tokens, item: Tokens) -> syn::Result<Tokens> {
    if !arguments.is_empty() {
        return Err(Error::new(arguments.span(), "`service` takes nothing; routes are those of the service"));
    }
    let wrong = "`service` stands before a function that makes a tower service: `fn app() -> axum::Router`";
    let function: ItemFn = syn::parse2(item).map_err(|error| Error::new(error.span(), wrong))?;
    let signature = &function.sig;
    let is_plain =
        signature.asyncness.is_none() && signature.unsafety.is_none() && signature.generics.params.is_empty();
    if !is_plain || !signature.inputs.is_empty() {
        return Err(Error::new(signature.span(), wrong));
    }
    let ReturnType::Type(_, made) = &signature.output else { return Err(Error::new(signature.span(), wrong)) };
    let name = &signature.ident;
    let service = quote_spanned!(made.span()=> ::roadrunner_guest::service::call(#name(), request));
    Ok(quote! {
        #function

        const _: () = {
            struct Component;

            impl ::roadrunner_guest::__private::Entry for Component {
                fn answer(request: ::roadrunner_guest::Request) -> ::roadrunner_guest::Response {
                    #service
                }
            }

            // Natively the function can be tested; there is no host to export it to.
            #[cfg(target_family = "wasm")]
            ::roadrunner_guest::__private::export!(Component with_types_in ::roadrunner_guest::__private::bindings);
        };
    })
}

fn expand(arguments: Tokens, item: Tokens) -> syn::Result<Tokens> {
    let hibernation = Resumed::parse(arguments)?;
    let hibernation = hibernation_of(&hibernation);
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), "`handler` stands before a function: `fn name(request: Request) -> impl IntoResponse`")
    })?;
    check_signature(&function)?;
    let name = &function.sig.ident;
    // Types are checked at the user's own tokens, so that the compiler's message points there.
    let result = match &function.sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => name.span(),
    };
    let argument = match function.sig.inputs.first() {
        Some(FnArg::Typed(argument)) => argument.ty.span(),
        _ => name.span(),
    };
    let request = quote_spanned!(argument=> ::core::convert::identity::<::roadrunner_guest::Request>(request));
    let answer = quote_spanned!(result=> ::roadrunner_guest::IntoResponse::into_response(answer));
    Ok(quote! {
        #function

        const _: () = {
            struct Component;

            impl ::roadrunner_guest::__private::Entry for Component {
                fn answer(request: ::roadrunner_guest::Request) -> ::roadrunner_guest::Response {
                    let answer = #name(#request);
                    #answer
                }

                #hibernation
            }

            // Natively the function can be tested; there is no host to export it to.
            #[cfg(target_family = "wasm")]
            ::roadrunner_guest::__private::export!(Component with_types_in ::roadrunner_guest::__private::bindings);
        };
    })
}

/// A type of sessions that may hibernate.
struct Resumed {
    /// The end of the names of the SDK's functions for its shape.
    shape: &'static str,
    ty: Type,
}

impl Resumed {
    fn parse(arguments: Tokens) -> syn::Result<Vec<Resumed>> {
        let span = arguments.span();
        let list = Punctuated::<Resumed, Token![,]>::parse_terminated.parse2(arguments)?;
        if list.len() > usize::from(u8::MAX) {
            return Err(Error::new(span, "no more than 255 types of sessions can hibernate"));
        }
        Ok(list.into_iter().collect())
    }
}

impl Parse for Resumed {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name: Ident = input.parse()?;
        let Some(shape) = SHAPES.into_iter().find(|shape| name == format!("resume_{shape}")) else {
            let message = "`handler` takes `resume_event_loop = Type`, `resume_websocket = Type` and \
                           `resume_webtransport = Type`, for sessions that hibernate; routes are in the manifest";
            return Err(Error::new(name.span(), message));
        };
        input.parse::<Token![=]>()?;
        Ok(Self { shape, ty: input.parse()? })
    }
}

/// The functions that serialise sessions of these types and restore them.
fn hibernation_of(types: &[Resumed]) -> Option<Tokens> {
    if types.is_empty() {
        return None;
    }
    let call = |index: usize, resumed: &Resumed, what: &str, argument: Tokens| {
        let Resumed { shape, ty } = resumed;
        let function = format_ident!("{what}_{shape}", span = ty.span());
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        quote_spanned!(ty.span()=> .or_else(|| ::roadrunner_guest::__private::hibernation::#function::<#ty>(#index, #argument)))
    };
    let suspend = types.iter().enumerate().map(|(index, resumed)| call(index, resumed, "suspend", quote!(held)));
    let resume = types.iter().enumerate().map(|(index, resumed)| call(index, resumed, "resume", quote!(state)));
    Some(quote! {
        fn suspend(held: &::roadrunner_guest::__private::Held) -> ::core::option::Option<::std::vec::Vec<u8>> {
            ::core::option::Option::None #(#suspend)*
        }

        fn resume(state: &[u8]) -> ::core::option::Option<::roadrunner_guest::__private::Held> {
            ::core::option::Option::None #(#resume)*
        }
    })
}

fn check_signature(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if let Some(token) = &signature.asyncness {
        return Err(Error::new(
            token.span(),
            "a handler is not async: calls that wait (reading a body, writing a chunk) suspend the instance and leave the host free",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "a handler has no generic parameters"));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new(token.span(), "a handler is a safe function"));
    }
    match signature.inputs.len() {
        1 => {}
        0 => {
            return Err(Error::new(
                signature.paren_token.span.join(),
                "a handler takes one argument: `request: Request`",
            ));
        }
        _ => {
            return Err(Error::new(
                signature.inputs.span(),
                "a handler takes one argument, `request: Request`; everything else is asked of it: `request.param(\"id\")`",
            ));
        }
    }
    if let Some(FnArg::Receiver(receiver)) = signature.inputs.first() {
        return Err(Error::new(receiver.span(), "a handler is a free function; it takes `request: Request`"));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(Error::new(signature.ident.span(), "a handler returns a response: add `-> impl IntoResponse`"));
    }
    Ok(())
}

/// The shapes whose sessions can hibernate.
const SHAPES: [&str; 3] = ["event_loop", "websocket", "webtransport"];

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: Tokens, item: Tokens) -> String {
        expand(arguments, item).expect_err("it is refused").to_string()
    }

    #[test]
    fn a_handler_is_kept_as_it_is_and_exported() {
        let function = quote!(
            fn hello(request: Request) -> impl IntoResponse {
                "hello"
            }
        );
        let expanded = expand(quote!(), function.clone()).expect("it is right").to_string();
        assert!(expanded.starts_with(&function.to_string()), "{expanded}");
        assert!(expanded.contains("export !"), "{expanded}");
    }

    #[test]
    fn wrong_signatures_are_refused_in_words() {
        let cases = [
            (
                quote!(
                    fn f() -> R {}
                ),
                "a handler takes one argument: `request: Request`",
            ),
            (
                quote!(
                    fn f(a: A, b: B) -> R {}
                ),
                "a handler takes one argument, `request: Request`; everything else is asked of it: `request.param(\"id\")`",
            ),
            (
                quote!(
                    fn f(self) -> R {}
                ),
                "a handler is a free function; it takes `request: Request`",
            ),
            (
                quote!(
                    fn f(request: Request) {}
                ),
                "a handler returns a response: add `-> impl IntoResponse`",
            ),
            (
                quote!(
                    async fn f(request: Request) -> R {}
                ),
                "a handler is not async: calls that wait (reading a body, writing a chunk) suspend the instance and leave the host free",
            ),
            (
                quote!(
                    fn f<T>(request: T) -> R {}
                ),
                "a handler has no generic parameters",
            ),
            (
                quote!(
                    unsafe fn f(request: Request) -> R {}
                ),
                "a handler is a safe function",
            ),
            (
                quote!(
                    struct S;
                ),
                "`handler` stands before a function: `fn name(request: Request) -> impl IntoResponse`",
            ),
        ];
        for (item, message) in cases {
            assert_eq!(refusal(quote!(), item), message);
        }
        let function = quote!(
            fn f(request: Request) -> R {}
        );
        assert_eq!(
            refusal(quote!(path = "/"), function),
            "`handler` takes `resume_event_loop = Type`, `resume_websocket = Type` and `resume_webtransport = Type`, for \
             sessions that hibernate; routes are in the manifest"
        );
    }

    #[test]
    fn a_service_is_made_by_a_function_without_arguments() {
        let function = quote!(
            fn app() -> axum::Router {
                routes()
            }
        );
        let expanded = expand_service(quote!(), function.clone()).expect("it is right").to_string();
        assert!(expanded.starts_with(&function.to_string()), "{expanded}");
        assert!(expanded.contains("service :: call (app () , request)"), "{expanded}");
        let wrong = [
            quote!(
                fn app(request: Request) -> Router {}
            ),
            quote!(
                fn app() {}
            ),
            quote!(
                async fn app() -> Router {}
            ),
            quote!(
                struct S;
            ),
        ];
        for item in wrong {
            let error = expand_service(quote!(), item).expect_err("it is refused").to_string();
            assert!(error.contains("fn app() -> axum::Router"), "{error}");
        }
    }

    #[test]
    fn sessions_that_hibernate_are_tried_in_order() {
        let function = quote!(
            fn f(request: Request) -> R {}
        );
        let arguments =
            quote!(resume_websocket = Room, resume_event_loop = clock::Clock<u8>, resume_webtransport = Wt,);
        let expanded = expand(arguments, function).expect("it is right").to_string().replace(' ', "");
        for call in [
            "suspend_websocket::<Room>(0u8,held)",
            "suspend_event_loop::<clock::Clock<u8>>(1u8,held)",
            "resume_websocket::<Room>(0u8,state)",
            "resume_event_loop::<clock::Clock<u8>>(1u8,state)",
            "suspend_webtransport::<Wt>(2u8,held)",
            "resume_webtransport::<Wt>(2u8,state)",
        ] {
            assert!(expanded.contains(call), "{call}: {expanded}");
        }
    }
}
