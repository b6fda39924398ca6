//! Handlers of every shape, called on the machine's own target.
#![cfg(not(target_family = "wasm"))]

use std::time::Duration;

use roadrunner_guest::testing::{TestHost, TestRequest};
use roadrunner_guest::{
    Disconnect, Error, Event, EventLoop, IntoResponse, Json, Next, Rejection, Request, SendFile, Sender, Sse,
    StatusCode, Stream, Upgrade, WebSocket, WebSocketHandler, WsMessage, bus, config, handler, log, routes, secrets,
    sql, store, timers,
};

#[handler]
fn hello(request: Request) -> impl IntoResponse {
    let name = request.param("name").unwrap_or("world".to_owned());
    (StatusCode::CREATED, [("x-version", format!("{:?}", request.version()))], format!("hello, {name}\n"))
}

#[test]
fn a_handler_with_the_attribute_is_a_function() {
    let response = TestRequest::get("/").param("name", "you").send(hello);
    assert_eq!((response.status(), response.text().as_str()), (201, "hello, you\n"));
    assert_eq!(response.header("X-Version").as_deref(), Some("HTTP/1.1"));
    assert_eq!(TestRequest::get("/").send(hello).text(), "hello, world\n");
}

#[test]
fn a_request_is_what_the_test_says() {
    let request = TestRequest::new("PUT", "/a%20b?x=1&x=2")
        .origin("https", "example.org")
        .header("Cookie", "a=b")
        .route("things")
        .peer("[2001:db8::1]:1")
        .build();
    assert_eq!((request.method().as_str(), request.path().as_str()), ("PUT", "/a%20b"));
    assert_eq!(request.query_pairs().get_all("x").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((request.scheme().as_str(), request.authority().as_str()), ("https", "example.org"));
    assert_eq!(request.cookies().get("a"), Some("b"));
    assert_eq!((request.route().as_deref(), request.peer().as_str()), (Some("things"), "[2001:db8::1]:1"));
    assert_eq!((request.param("none"), request.upgrade(), request.client_certificate()), (None, None, None));
    let http = TestRequest::get("/x?y").build().into_http().expect("a request");
    assert_eq!(http.uri().to_string(), "http://localhost/x?y");
}

#[test]
fn bodies_end_as_the_test_says() {
    fn double(request: Request) -> Result<Json<u32>, Rejection> {
        request.json().map(|number: u32| Json(number * 2))
    }
    let json = |body: &str| TestRequest::post("/", body).header("content-type", "application/json");
    assert_eq!(json("21").send(double).text(), "42");
    assert_eq!(json("x").send(double).status(), 400);
    assert_eq!(TestRequest::post("/", "21").send(double).status(), 415);
    assert_eq!(json("2").cut_short(Error::Closed).send(double).status(), 400);
    assert_eq!(json("2").cut_short(Error::TooLarge(1)).send(double).status(), 413);

    let request = TestRequest::post("/", "abc").piece("de").trailer("x-sum", "5").build();
    let mut body = request.body();
    assert_eq!(body.read_up_to(2).expect("a piece").as_deref(), Some(&b"ab"[..]));
    assert_eq!(body.read().expect("a piece").as_deref(), Some(&b"c"[..]));
    assert_eq!(body.trailers().expect("trailers").get("x-sum"), Some(&b"5"[..]));
    assert_eq!((body.read().expect("the end"), request.body().read().expect("no body")), (None, None));
}

#[test]
fn a_stream_runs_to_its_end_or_to_its_client_s() {
    fn count(_: Request) -> Stream {
        Stream::new(|out| {
            for number in 0..3 {
                writeln!(out, "{number}")?;
            }
            Ok([("x-count", "3")])
        })
    }
    let response = TestRequest::get("/").send(count);
    assert_eq!(response.chunks(), [b"0\n", b"1\n", b"2\n"]);
    assert_eq!((response.trailers().get("x-count"), response.error()), (Some(&b"3"[..]), None));
    let response = TestRequest::get("/").reads(5).send(count);
    assert_eq!((response.text().as_str(), response.error()), ("0\n1\n", Some(&Error::Closed)));
}

#[test]
fn a_session_is_sent_events() {
    fn follow(request: Request) -> Result<EventLoop, Error> {
        bus::subscribe(&request.param("room").unwrap_or_default())?;
        timers::every(Duration::from_secs(1));
        let mut seen = 0;
        Ok(EventLoop::new(move |event, out| match event {
            Event::Timer(_) => {
                seen += 1;
                write!(out, "{seen}.")?;
                Ok(Next::Continue)
            }
            Event::Disconnect(Disconnect::Closed) => Ok(Next::stop()),
            _ => Err(Error::internal("another event")),
        }))
    }
    let host = TestHost::fresh();
    let mut session = TestRequest::get("/").param("room", "blue").send(follow).event_loop();
    assert_eq!(host.subscriptions(), ["blue"]);
    let timers = host.timers();
    assert_eq!(timers, [(1, 1000, true)]);
    for _ in 0..2 {
        assert_eq!(session.event(Event::Timer(timers[0].0)), Ok(Next::Continue));
    }
    assert_eq!((session.written().as_str(), session.written().as_str()), ("1.2.", ""));
    assert_eq!(session.event(Event::Disconnect(Disconnect::Closed)), Ok(Next::stop()));
    assert!(session.event(Event::Drain(1)).is_err());

    let events = TestRequest::get("/").send(|_| Sse::new(|_, out| out.data("a\nb").map(|()| Next::Continue)));
    assert_eq!(events.header("content-type").as_deref(), Some("text/event-stream"));
    let mut session = events.event_loop();
    session.event(Event::Timer(1)).expect("a write");
    assert_eq!(session.written(), "data: a\ndata: b\n\n");
}

#[test]
fn a_websocket_is_sent_messages() {
    struct Echo;
    impl WebSocketHandler for Echo {
        fn on_message(&mut self, message: WsMessage, out: &Sender<'_>) -> roadrunner_guest::Result<Next> {
            out.send(message)?;
            Ok(Next::Continue)
        }
    }
    fn accept(request: Request) -> WebSocket {
        let Some(Upgrade::WebSocket(offered)) = request.upgrade() else { panic!("no handshake") };
        WebSocket::session(Echo).subprotocol(&offered[0])
    }
    let ask = TestRequest::get("/").upgrade(Upgrade::WebSocket(vec!["chat".to_owned()]));
    let response = ask.send(accept);
    assert_eq!(response.status(), 101);
    let mut socket = response.websocket();
    assert_eq!(socket.subprotocol(), Some("chat"));
    assert_eq!(socket.open(), Ok(Next::Continue));
    socket.message("hi").expect("an answer");
    assert_eq!(socket.sent(), [WsMessage::Text("hi".to_owned())]);
    assert_eq!(socket.event(Event::Drain(1)), Ok(Next::stop()));
    assert_eq!(socket.closed().map(|(code, _)| code), Some(1001));
    assert_eq!(socket.message("late"), Err(Error::Closed));
}

#[test]
fn the_host_answers_and_listens() {
    fn tell(_: Request) -> Result<String, Error> {
        log::info!("{} left", 3);
        bus::publish("orders", "tea")?;
        let path = routes::url_for("order", &[("id", "a b")])?;
        Ok(format!("{path} {:?} {:?}", config::get("colour"), config::entries().len()))
    }
    let host = TestHost::fresh().config("colour", "blue").route("order", "/orders/:id");
    assert_eq!(TestRequest::get("/").send(tell).text(), "/orders/a%20b Some(\"blue\") 1");
    assert_eq!(host.log(), [(log::Level::Info, "3 left".to_owned())]);
    assert_eq!(host.published(), [("orders".to_owned(), b"tea".to_vec())]);
    assert!(matches!(routes::url_for("none", &[]), Err(Error::Refused(_))));
    assert!(matches!(routes::url_for("order", &[]), Err(Error::Refused(_))));
    let _ = TestHost::fresh();
    assert_eq!(TestRequest::get("/").send(tell).status(), 500);
}

#[test]
fn secrets_and_stores_are_there_when_they_are_granted() {
    let _host = TestHost::fresh().secret("token", "hush").store("visits");
    assert_eq!((secrets::text("token").as_deref(), secrets::get("other")), (Some("hush"), None));
    assert!(matches!(store::Bucket::open("other"), Err(Error::Refused(_))));
    let bucket = store::Bucket::open("visits").expect("it is granted");
    assert_eq!((bucket.increment("a", 2), bucket.increment("a", -5)), (Ok(2), Ok(-3)));
    assert_eq!(bucket.set_if("b", None, "1"), Ok(true));
    assert_eq!((bucket.set_if("b", None, "2"), bucket.set_if("b", Some(b"1"), "x")), (Ok(false), Ok(true)));
    assert!(bucket.increment("b", 1).is_err());
    let first = bucket.keys("", None, 1).expect("keys");
    let second = bucket.keys("", first.cursor.as_deref(), 1).expect("keys");
    assert_eq!((first.keys, second.keys, second.cursor), (vec!["a".to_owned()], vec!["b".to_owned()], None));
    assert_eq!(
        (bucket.delete("a"), bucket.exists("a"), bucket.get("b")),
        (Ok(true), Ok(false), Ok(Some(b"x".to_vec())))
    );
}

#[test]
fn a_test_answers_statements() {
    let _host = TestHost::fresh().database("shop", |statement, parameters| match (statement, parameters) {
        ("select name from items where id = $1", [sql::Value::Integer(7)]) => Ok(sql::Rows {
            columns: vec![sql::Column { name: "name".into(), type_name: "text".into() }],
            rows: vec![vec!["apple".into()], vec![sql::Value::Null]],
        }),
        ("begin" | "commit", []) => Ok(sql::Rows::default()),
        _ => Err(sql::Error::Fault(Box::new(sql::Fault { code: "42601".into(), ..sql::Fault::default() }))),
    });
    assert!(matches!(sql::Database::open("other"), Err(sql::Error::Host(Error::Refused(_)))));
    let shop = sql::Database::open("shop").expect("it is granted");
    let rows = shop.query("select name from items where id = $1", [7.into()]).expect("it is answered");
    let names: Vec<Option<&str>> = rows.iter().map(|row| row.get("name").expect("it is a text")).collect();
    assert_eq!(names, [Some("apple"), None]);
    let row = rows.first().expect("there are two");
    assert!(row.get::<i64>("name").is_err() && row.get::<&str>("other").is_err() && row.at::<&str>(1).is_err());
    let transaction = shop.begin().expect("it is answered");
    assert_eq!(transaction.execute("selec", []).expect_err("it is wrong").code(), Some("42601"));
    assert_eq!(transaction.commit(), Ok(()));
}

#[cfg(feature = "tracing")]
#[test]
fn events_of_tracing_are_lines_of_the_log() {
    let host = TestHost::fresh();
    TestRequest::get("/").send(|_| {
        tracing::warn!(left = 3, "few");
        "done"
    });
    assert_eq!(host.log(), [(log::Level::Warn, "few left=3".to_owned())]);
}

#[test]
fn a_file_is_named() {
    let response = TestRequest::get("/").send(|_| SendFile::new("files", "a.pdf").range(5, Some(6)));
    assert_eq!((response.file(), response.file_range()), (Some(("files", "a.pdf")), Some((5, Some(6)))));
}
