//! `#[roadrunner_guest::handler]`: makes a function the handler of a component.
//!
//! What it generates: a private type that joins the function to the adapter of the SDK, and the exports of
//! `roadrunner:handler`. The function itself stays as it was written and can be called by native tests.
//! What it does not do: routing. A component has one handler; the manifest or the handler's own `match` on the path
//! picks what it does.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, ReturnType};

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

fn expand(arguments: Tokens, item: Tokens) -> syn::Result<Tokens> {
    if !arguments.is_empty() {
        return Err(Error::new(arguments.span(), "`handler` takes no arguments; routes are in the manifest"));
    }
    let function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), "`handler` stands before a function: `fn name(request: Request) -> impl IntoResponse`")
    })?;
    check_signature(&function)?;
    let name = &function.sig.ident;
    // Types are checked at the places the user wrote, so that the compiler's message points there.
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
            }

            // Natively the function can be tested; there is no host to export it to.
            #[cfg(target_family = "wasm")]
            ::roadrunner_guest::__private::export!(Component with_types_in ::roadrunner_guest::__private::bindings);
        };
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
        assert_eq!(refusal(quote!(path = "/"), function), "`handler` takes no arguments; routes are in the manifest");
    }
}
