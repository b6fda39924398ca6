//! Everything that a limit has to stop. Where the host refuses and does not trap, the answer says how far it went, so
//! that a test can tell a limit from a crash. guests/README.md has the table.

mod floods;
mod hoards;
mod labour;
mod memory;
mod spin;

use std::thread;
use std::time::Duration;

use roadrunner_guest::{IntoResponse, Request, Response, StatusCode, handler};

#[handler]
fn attack(request: Request) -> Response {
    let query = request.query_pairs();
    let n = query.parsed("n");
    let mib: usize = query.parsed("mib").unwrap_or(64);
    let kib: usize = query.parsed("kib").unwrap_or(64);
    match request.path().as_str() {
        "/abort" => std::process::abort(),
        "/exit" => std::process::exit(query.parsed("code").unwrap_or(1)),
        "/panic" => panic!("a panic of the guest"),
        "/trap" => std::arch::wasm32::unreachable(),
        "/sleep" => sleep(query.parsed("ms")).into_response(),

        "/spin" => spin::forever(),
        "/spin/callback" => spin::callback().into_response(),
        "/spin/stream" => spin::stream().into_response(),
        "/spin/for" => spin::for_a_while(Duration::from_millis(query.parsed("ms").unwrap_or(10))).into_response(),
        "/recursion" => spin::recursion(u64::MAX).to_string().into_response(),
        "/recursion/stack" => spin::stack_recursion(u64::MAX).to_string().into_response(),

        "/memory/allocate" => memory::allocate(kib).into_response(),
        "/memory/callback" => memory::callback().into_response(),
        "/memory/grow" => memory::grow().into_response(),
        "/memory/hold" => memory::hold(kib).into_response(),
        "/memory/many" => memory::many(),
        "/memory/one" => memory::one().into_response(),

        "/handles/pollables" => hoards::pollables(n.unwrap_or(1_000_000)).into_response(),
        "/handles/streams" => hoards::streams(n.unwrap_or(1_000_000)).into_response(),
        "/subscriptions" => hoards::subscriptions(n.unwrap_or(100_000)).into_response(),
        "/timers" => hoards::timers(n.unwrap_or(100_000)).into_response(),

        "/call/header" => floods::header_name(&request, mib).into_response(),
        "/call/log" => floods::log_line(mib).into_response(),
        "/call/publish" => floods::publish(mib).into_response(),
        "/call/topic" => floods::topic(mib).into_response(),
        "/call/write" => floods::write(mib).into_response(),
        "/labour/noise" => labour::noise(kib, query.parsed("stream").unwrap_or(false)),
        "/labour/polls" => labour::polls(n.unwrap_or(900), query.parsed("times").unwrap_or(100)).into_response(),
        "/labour/random" => {
            labour::random(n.unwrap_or(65_536), query.parsed("times").unwrap_or(1), true).into_response()
        }
        "/labour/insecure" => {
            labour::random(n.unwrap_or(65_536), query.parsed("times").unwrap_or(1), false).into_response()
        }
        "/labour/url" => labour::url_for(kib).into_response(),
        "/log" => floods::log_lines(n.unwrap_or(1_000_000)).into_response(),
        "/print" => floods::print(n.unwrap_or(1_000_000)).into_response(),
        "/publish" => floods::publish_many(n.unwrap_or(1_000_000)).into_response(),
        "/response/body" => floods::body(mib).into_response(),
        "/response/header" => floods::header(kib).into_response(),
        "/response/name" => floods::name(query.parsed("kib").unwrap_or(mib << 10)).into_response(),
        "/response/text" => floods::text(mib),
        "/response/headers" => floods::headers(n.unwrap_or(10_000)).into_response(),
        "/response/trailers" => floods::trailers(n.unwrap_or(10_000)).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Sleeps for so many milliseconds, or for good.
fn sleep(ms: Option<u64>) -> &'static str {
    thread::sleep(ms.map_or(Duration::MAX, Duration::from_millis));
    "awake\n"
}
