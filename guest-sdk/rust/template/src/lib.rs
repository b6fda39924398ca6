use roadrunner_guest::{IntoResponse, Request, handler};

#[handler]
fn hello(request: Request) -> impl IntoResponse {
    let name = request.param("name").unwrap_or("world".to_owned());
    format!("hello, {name}\n")
}
