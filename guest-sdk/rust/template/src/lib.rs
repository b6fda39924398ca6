use roadrunner_guest::{IntoResponse, Request, handler};

#[handler]
fn hello(request: Request) -> impl IntoResponse {
    let name = request.param("name").unwrap_or("world".to_owned());
    format!("hello, {name}\n")
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use roadrunner_guest::testing::TestRequest;

    use super::hello;

    #[test]
    fn greets_by_name() {
        assert_eq!(TestRequest::get("/hello/you").param("name", "you").send(hello).text(), "hello, you\n");
        assert_eq!(TestRequest::get("/").send(hello).text(), "hello, world\n");
    }
}
