//! Python's `websockets` and `wsproto` against this codec, in both roles, on loopback sockets.
//!
//! Needs a Python with both packages: `ROADRUNNER_PYTHON`, or `python3`. Without it the tests print SKIPPED.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use roadrunner_websocket::handshake::{ClientHandshake, ServerHandshake};
use roadrunner_websocket::{CloseCode, Config, DeflateConfig, End, Event, Message, Role, Session, State, WindowBits};

#[test]
fn python_clients_are_served() {
    let Some(python) = python() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || serve(socket));
        }
    });
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/clients.py"))
        .arg(port.to_string())
        .output()
        .expect("python starts");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_python_server_is_talked_to() {
    let Some(python) = python() else { return };
    let mut server = Server(
        Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/server.py"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts"),
    );
    let mut line = String::new();
    let stdout = server.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("the server prints its port");
    let port: u16 = line.trim().parse().expect("a port");
    let bits = |bits| WindowBits::new(bits).expect("in range");
    for takeover in [true, false] {
        for window in [bits(9), bits(12), WindowBits::MAX] {
            let deflate = DeflateConfig {
                server_context_takeover: takeover,
                client_context_takeover: takeover,
                server_window: window,
                client_window: window,
                ..DeflateConfig::default()
            };
            talk(port, Some(deflate));
        }
    }
    talk(port, None);
}

/// A server that is stopped when its test ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python() -> Option<String> {
    let python = std::env::var("ROADRUNNER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import websockets.sync, wsproto"]).output();
    match found {
        Ok(output) if output.status.success() => Some(python),
        Ok(_) => {
            println!("SKIPPED: {python} lacks the packages websockets and wsproto");
            None
        }
        Err(error) => {
            println!("SKIPPED: {python} does not start: {error}");
            None
        }
    }
}

/// Echoes until the client closes.
fn serve(mut socket: TcpStream) {
    let (head, rest) = read_head(&mut socket);
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&head).expect("a whole head");
    let headers = header_map(request.headers);
    let handshake = ServerHandshake::upgrade(&Method::GET, Version::HTTP_11, &headers).expect("a handshake");
    let willing =
        DeflateConfig { server_context_takeover: true, client_context_takeover: true, ..DeflateConfig::default() };
    let params = handshake.deflate(&willing);
    let protocol = handshake.protocols().first().map(String::as_str);
    let answer = handshake.answer(protocol, params.as_ref()).expect("it was offered");
    write_head(&mut socket, "HTTP/1.1 101 Switching Protocols", &answer);

    let config = Arc::new(Config { deflate: Some(willing), ..Config::default() });
    let mut session = Session::new(Role::Server, config, params, Instant::now());
    session.feed(&rest);
    let end = drive(&mut socket, &mut session, |session, message| {
        let now = Instant::now();
        match &message {
            Message::Text(text) => session.send_text(text, now),
            Message::Binary(bytes) => session.send_binary(bytes, now),
        }
        .expect("the queue was just written");
    });
    assert!(matches!(end, End::PeerClosed(Some(_))), "{end:?}");
    let _ = socket.shutdown(Shutdown::Both);
}

/// Sends messages of many sizes to be echoed, then closes.
fn talk(port: u16, deflate: Option<DeflateConfig>) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    let handshake = ClientHandshake::upgrade(&["echo"], deflate.clone()).expect("there is randomness");
    let mut headers = handshake.request();
    headers.insert("host", HeaderValue::from_static("localhost"));
    write_head(&mut socket, "GET / HTTP/1.1", &headers);
    let (head, rest) = read_head(&mut socket);
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(&head).expect("a whole head");
    let status = StatusCode::from_u16(response.code.expect("parsed")).expect("a status");
    let opened = handshake.verify(status, &header_map(response.headers)).expect("the server agrees");
    assert_eq!(opened.protocol.as_deref(), Some("echo"));
    assert_eq!(opened.deflate.is_some(), deflate.is_some());

    let config = Arc::new(Config { deflate, ..Config::default() });
    let mut session = Session::new(Role::Client, config, opened.deflate, Instant::now());
    session.feed(&rest);
    let mut texts: Vec<String> = [0, 1, 125, 126, 4000, 65_535, 65_536, 300_000].map(words).into();
    session.send_text(texts.last().expect("not empty"), Instant::now()).expect("open");
    let end = drive(&mut socket, &mut session, |session, message| {
        let sent = texts.pop().expect("one answer for each message");
        assert_eq!(message, Message::Text(sent.into()));
        match texts.last() {
            Some(next) => session.send_text(next, Instant::now()).expect("open"),
            None => session.close(CloseCode::NORMAL, "done", Instant::now()),
        }
    });
    assert!(matches!(&end, End::Closed(Some(frame)) if frame.code == CloseCode::NORMAL), "{end:?}");
}

/// Runs a session over a blocking socket until it has ended and everything is written.
fn drive(socket: &mut TcpStream, session: &mut Session, mut on_message: impl FnMut(&mut Session, Message)) -> End {
    let mut buffer = vec![0; 50_000];
    let mut ended = None;
    loop {
        while let Some(event) = session.next_event(Instant::now()) {
            match event {
                Event::Message(message) => on_message(session, message),
                Event::Ended(end) => ended = Some(end),
            }
            socket.write_all(session.outgoing()).expect("the peer reads");
            session.written(session.outgoing().len());
        }
        socket.write_all(session.outgoing()).expect("the peer reads");
        session.written(session.outgoing().len());
        if session.state() == State::Closed {
            return ended.expect("a closed session has said why");
        }
        match socket.read(&mut buffer).expect("the peer answers in time") {
            0 => session.feed_eof(),
            count => session.feed(&buffer[..count]),
        }
    }
}

fn words(length: usize) -> String {
    (0..)
        .map(|word: u32| format!("word {word} "))
        .flat_map(|word| word.into_bytes())
        .take(length)
        .map(char::from)
        .collect()
}

/// Reads a head, and the bytes after it.
fn read_head(socket: &mut TcpStream) -> (Vec<u8>, Vec<u8>) {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = socket.read(&mut buffer).expect("the peer sends a head");
        assert!(count > 0, "the peer closed inside its head");
        head.extend_from_slice(&buffer[..count]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return (head, rest);
        }
    }
}

fn write_head(socket: &mut TcpStream, first: &str, headers: &HeaderMap) {
    let mut head = format!("{first}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str().expect("visible ASCII")));
    }
    socket.write_all((head + "\r\n").as_bytes()).expect("the peer reads");
}

fn header_map(fields: &[httparse::Header<'_>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).expect("parsed");
        headers.append(name, HeaderValue::from_bytes(field.value).expect("parsed"));
    }
    headers
}
