//! Two hosts that share the topics of their bus over a NATS server, with all kinds of failures of that server.

use std::collections::BTreeMap;
use std::time::Duration;

use roadrunner_tests::websocket::{Handshake, Socket};
use roadrunner_tests::{Ask, Exchange, Nats, Server, Setup, Way, command, within};
use rustix::process::Signal;
use serde_json::Value;

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Waits until the host is connected to its NATS server, or is not.
async fn is_connected(server: &Server, wanted: bool) {
    let wanted = f64::from(u8::from(wanted));
    let look = || async { (server.metrics().await.sum("roadrunner_bus_connected", "") == wanted).then_some(()) };
    // A server that is stopped but not gone is given up after twelve seconds.
    let seen = within(2 * TEN_SECONDS, look).await;
    assert!(seen.is_some(), "it is not {wanted}:\n{}", server.log);
}

/// Two hosts with the same manifest.
async fn hosts(setup: Setup) -> (Server, Server) {
    let first = setup.clone().start().await;
    let second = setup.beside().start().await;
    is_connected(&first, true).await;
    is_connected(&second, true).await;
    (first, second)
}

async fn publish(server: &Server, topic: &str, payload: impl Into<String>) -> String {
    server.fetch(Way::H1, Ask::post(&format!("/publish/{topic}"), payload.into())).await.text()
}

/// Publishes `probe` on one host until a session on another, which receives nothing else meanwhile, has received it.
async fn until_heard(publisher: &Server, topic: &str, session: &mut Exchange<'_>) {
    let mut read = String::new();
    for _ in 0..200 {
        publish(publisher, topic, "probe").await;
        let piece = tokio::time::timeout(Duration::from_millis(50), session.read_until("data: probe\n\n")).await;
        if let Ok(piece) = piece {
            read += &piece;
            break;
        }
    }
    assert!(read.contains("data: probe"), "nothing comes over");
    // Any probes in transit come before this.
    publish(publisher, topic, "start").await;
    session.read_until("data: start\n\n").await;
}

/// The number of messages in a text of events: received ones, and missed ones.
fn tally(text: &str) -> (usize, usize) {
    let missed = text.split("event: missed\ndata: ").skip(1);
    let missed: usize = missed.filter_map(|rest| rest.split('\n').next()?.parse::<usize>().ok()).sum();
    (text.matches("data: ").count() - text.matches("event: missed").count(), missed)
}

/// examples/chat on two hosts.
async fn chats(nats: &Nats) -> (Server, Server) {
    let path = command::workspace().join("examples/chat/roadrunner.toml");
    let text = std::fs::read_to_string(path).expect("the example has a manifest");
    let (_, sections) = text.split_once("[component.chat]").expect("it has a component");
    let sections = sections.replace("../../guests/target/wasm32-wasip2/release", "{guests}");
    let sections = sections.replace("message-rate = 20", "message-rate = 10_000");
    hosts(Setup::with(&format!("{}[component.chat]{sections}", nats.section("")))).await
}

/// A member of a room.
struct Member(Socket);

impl Member {
    async fn join(server: &Server, way: Way, room: &str, name: &str) -> Self {
        let room: String = room.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut socket = Handshake::to(&format!("/rooms/{room}?name={name}")).open(server, way).await;
        let welcome: Value = serde_json::from_str(&socket.next_text().await).expect("JSON");
        assert_eq!(welcome["kind"], "welcome");
        let mut member = Self(socket);
        let joined = member.next().await;
        assert_eq!((&joined["kind"], &joined["name"]), (&"joined".into(), &name.into()));
        member
    }

    async fn say(&mut self, text: &str) {
        assert!(self.0.text(text).await);
    }

    /// The next notice; pings are answered.
    async fn next(&mut self) -> Value {
        loop {
            let frame = self.0.next().await.expect("a notice");
            match frame.opcode {
                1 => return serde_json::from_slice(&frame.payload).expect("JSON"),
                9 => drop(self.0.send(10, frame.payload).await),
                other => panic!("a frame {other}"),
            }
        }
    }

    /// The next message by this member; other notices are skipped, and counted.
    async fn hears(&mut self, name: &str) -> (String, u64) {
        let mut missed = 0;
        loop {
            let notice = self.next().await;
            if notice["kind"] == "missed" {
                missed += notice["count"].as_u64().expect("a number");
            }
            if notice["kind"] == "said" && notice["name"] == name {
                return (notice["text"].as_str().expect("a text").to_owned(), missed);
            }
        }
    }

    /// Says something until the other member hears it.
    async fn reaches(&mut self, own: &str, other: &mut Self) {
        for attempt in 0..200 {
            let text = format!("probe {attempt}");
            self.say(&text).await;
            assert_eq!(self.hears(own).await.0, text);
            let heard = async { while other.hears(own).await.0 != text {} };
            if tokio::time::timeout(Duration::from_millis(50), heard).await.is_ok() {
                return;
            }
        }
        panic!("nothing that {own} says is heard");
    }
}

#[tokio::test]
async fn two_hosts_share_a_room() {
    let Some(nats) = Nats::start("nats::two_hosts_share_a_room", "").await else { return };
    let (first, second) = chats(&nats).await;
    for (here, there) in [(Way::H1, Way::H2c), (Way::H2Tls, Way::H1), (Way::H3, Way::H2Tls)] {
        let mut ann = Member::join(&first, here, "den", "ann").await;
        let mut bob = Member::join(&second, there, "den", "bob").await;
        bob.reaches("bob", &mut ann).await;
        ann.reaches("ann", &mut bob).await;
        // Both send at once. Each receives the other's messages and its own, once and in order.
        for n in 0..50 {
            ann.say(&format!("a {n}")).await;
            bob.say(&format!("b {n}")).await;
        }
        ann.say("end").await;
        bob.say("end").await;
        for member in [&mut ann, &mut bob] {
            let mut said = BTreeMap::<String, Vec<String>>::new();
            while said.values().filter(|texts| texts.last().is_some_and(|last| last == "end")).count() < 2 {
                let notice = member.next().await;
                assert_ne!(notice["kind"], "missed", "{notice}");
                if notice["kind"] == "said" {
                    let text = notice["text"].as_str().expect("a text").to_owned();
                    said.entry(notice["name"].as_str().expect("a name").to_owned()).or_default().push(text);
                }
            }
            for (name, mut texts) in said {
                texts.retain(|text| !text.starts_with("probe"));
                let mut expected: Vec<String> = (0..50).map(|n| format!("{} {n}", &name[..1])).collect();
                expected.push("end".to_owned());
                assert_eq!(texts, expected, "{here:?} {there:?}: of {name}");
            }
        }
        drop((ann, bob));
        first.is_quiet().await;
        second.is_quiet().await;
    }
}

#[tokio::test]
async fn event_loops_on_two_hosts_hear_each_message_once() {
    let Some(nats) = Nats::start("nats::event_loops", "").await else { return };
    let (first, second) = hosts(Setup::of("loops").and(&nats.section(""))).await;
    for way in [Way::H1, Way::H2c, Way::H3] {
        let mut client = second.connect(way).await;
        let mut session = client.open(Ask::get("/subscribe/news")).await;
        session.read_until("subscribed").await;
        until_heard(&first, "news", &mut session).await;
        for n in 0..100 {
            assert_eq!(
                publish(&first, "news", format!("n{n};")).await,
                "0\n",
                "{way:?}: those of this host are counted"
            );
        }
        let text = session.read_until("n99;\n\n").await;
        let expected: String = (0..100).map(|n| format!("data: n{n};\n\n")).collect();
        assert_eq!(text, expected, "{way:?}");
    }
    let metrics = second.metrics().await;
    assert!(metrics.sum("roadrunner_bus_received_total", "") >= 300.0);
    assert!(first.metrics().await.sum("roadrunner_bus_published_total", "") >= 300.0);
    assert_eq!(metrics.sum("roadrunner_bus_missed_total", ""), 0.0);
    second.is_quiet().await;
}

#[tokio::test]
async fn a_broker_that_is_killed_costs_messages_and_says_so() {
    let Some(mut nats) = Nats::start("nats::a_broker_that_is_killed", "").await else { return };
    let (first, second) = hosts(Setup::of("loops").and(&nats.section(""))).await;
    let (mut near, mut far) = (first.connect(Way::H1).await, second.connect(Way::H2c).await);
    let mut near = near.open(Ask::get("/subscribe/news")).await;
    near.read_until("subscribed").await;
    let mut far = far.open(Ask::get("/subscribe/news")).await;
    far.read_until("subscribed").await;
    until_heard(&first, "news", &mut far).await;
    near.read_until("data: start\n\n").await;

    for round in 0..2 {
        nats.kill();
        is_connected(&first, false).await;
        is_connected(&second, false).await;
        for n in 0..5 {
            assert_eq!(publish(&first, "news", format!("down {n}")).await, "1\n", "{round}: this host goes on");
        }
        let text = near.read_until("data: down 4\n\n").await;
        assert_eq!(tally(&text), (5, 0), "{round}: {text}");
        nats.run().await;
        is_connected(&first, true).await;
        is_connected(&second, true).await;
        // Some may be published before the other host has subscribed again; they count as missed, too.
        let mut text = String::new();
        let mut sent = 0;
        while !text.contains("data: up") {
            sent += 1;
            publish(&first, "news", format!("up {sent}")).await;
            let more = tokio::time::timeout(Duration::from_millis(100), far.read_until("data: up")).await;
            text += &more.unwrap_or_default();
        }
        publish(&first, "news", "last").await;
        text += &far.read_until("data: last\n\n").await;
        let (received, missed) = tally(&text);
        assert!(missed >= 5, "{round}: {text}");
        assert_eq!(received + missed, 5 + sent + 1, "{round}: each is received or counted: {text}");
        // Sessions of the publishing host do not know either which messages of the others they missed.
        let text = near.read_until("data: last\n\n").await;
        assert_eq!(tally(&text), (sent + 1, 1), "{round}: {text}");
    }
    let metrics = first.metrics().await;
    assert!(metrics.sum("roadrunner_bus_dropped_total", "reason=\"disconnected\"") >= 10.0);
    assert_eq!(metrics.sum("roadrunner_bus_connects_total", ""), 3.0);
}

#[tokio::test]
async fn a_cluster_goes_on_when_a_server_of_it_dies() {
    let Some(mut cluster) = Nats::cluster("nats::a_cluster", 3, "").await else { return };
    // By the URL of one, which both are connected to.
    let (first, second) = hosts(Setup::of("loops").and(&cluster[0].section(""))).await;
    let mut client = second.connect(Way::H1).await;
    let mut session = client.open(Ask::get("/subscribe/news")).await;
    session.read_until("subscribed").await;
    until_heard(&first, "news", &mut session).await;
    cluster[0].kill();
    for n in 0..5 {
        publish(&first, "news", format!("between {n}")).await;
    }
    for host in [&first, &second] {
        let connects = || async { host.metrics().await.sum("roadrunner_bus_connects_total", "") };
        let again = || async { (connects().await == 2.0).then_some(()) };
        assert!(within(TEN_SECONDS, again).await.is_some(), "{}", host.log);
    }
    let mut text = String::new();
    let mut sent = 0;
    while !text.contains("data: up") {
        sent += 1;
        publish(&first, "news", format!("up {sent}")).await;
        let more = tokio::time::timeout(Duration::from_millis(100), session.read_until("data: up")).await;
        text += &more.unwrap_or_default();
    }
    publish(&first, "news", "last").await;
    text += &session.read_until("data: last\n\n").await;
    let (received, missed) = tally(&text);
    assert!(missed >= 1, "{text}");
    assert_eq!(received + missed, 5 + sent + 1, "each is received or counted: {text}");
}

#[tokio::test]
async fn a_room_survives_its_broker() {
    let Some(mut nats) = Nats::start("nats::a_room_survives_its_broker", "").await else { return };
    let (first, second) = chats(&nats).await;
    let mut ann = Member::join(&first, Way::H1, "den", "ann").await;
    let mut bob = Member::join(&second, Way::H2c, "den", "bob").await;
    ann.reaches("ann", &mut bob).await;
    bob.reaches("bob", &mut ann).await;
    nats.kill();
    is_connected(&second, false).await;
    bob.say("anybody?").await;
    assert_eq!(bob.hears("bob").await, ("anybody?".to_owned(), 0));
    nats.run().await;
    is_connected(&first, true).await;
    is_connected(&second, true).await;
    bob.say("again").await;
    assert_eq!(bob.hears("bob").await, ("again".to_owned(), 1));
    let mut missed = 0;
    for attempt in 0.. {
        assert!(attempt < 100, "bob is not heard");
        bob.say("hello").await;
        if let Ok((text, more)) = tokio::time::timeout(Duration::from_millis(100), ann.hears("bob")).await {
            assert!(text == "hello" || text == "again", "{text}");
            missed += more;
            break;
        }
    }
    assert!(missed >= 1, "ann is told that she missed something");
}

#[tokio::test]
async fn topics_are_only_themselves() {
    let Some(nats) = Nats::start("nats::topics", "").await else { return };
    let (first, second) = chats(&nats).await;
    let long = "🦤".repeat(32);
    let rooms = ["*", ">", "a.b", "a", "a.*", "a.>", "a b", "größe", "=", "=2E", "$SYS", "den\r\nPING", &long];
    let mut pairs = Vec::new();
    for room in rooms {
        let mut there = Member::join(&second, Way::H1, room, "bob").await;
        let mut here = Member::join(&first, Way::H1, room, "ann").await;
        here.reaches("ann", &mut there).await;
        pairs.push((here, there));
    }
    for (room, (here, _)) in rooms.iter().zip(&mut pairs) {
        here.say(&format!("in {room}")).await;
    }
    for (room, (here, there)) in rooms.iter().zip(&mut pairs) {
        here.say("end").await;
        assert_eq!(there.hears("ann").await.0, format!("in {room}"));
        assert_eq!(there.hears("ann").await.0, "end", "nothing from elsewhere");
    }
}

#[tokio::test]
async fn topic_and_payload_have_their_limits() {
    let Some(nats) = Nats::start("nats::topic_and_payload", "").await else { return };
    let setup = Setup::of("loops").and(&nats.section("payload = \"100KiB\"")).limit("body = \"1MiB\"");
    let (first, second) = hosts(setup).await;
    let topic = "t".repeat(256);
    let mut client = second.connect(Way::H1).await;
    let mut session = client.open(Ask::get(&format!("/subscribe/{topic}"))).await;
    session.read_until("subscribed").await;
    until_heard(&first, &topic, &mut session).await;
    assert_eq!(publish(&first, &topic, "x".repeat(100 << 10)).await, "0\n");
    session.read_until("xx\n\n").await;
    for (topic, payload) in [(&*topic, "x".repeat((100 << 10) + 1)), (&*format!("{topic}t"), "x".to_owned())] {
        let answer = first.fetch(Way::H1, Ask::post(&format!("/publish/{topic}"), payload)).await;
        assert_ne!(answer.status, 200, "{answer:?}");
    }
    // The payload limit belongs to the bus, and not only to the server.
    let alone = Setup::of("loops").and("[bus]\npayload = \"1KiB\"").beside().start().await;
    assert_eq!(publish(&alone, "news", "x".repeat(1024)).await, "0\n");
    let answer = alone.fetch(Way::H1, Ask::post("/publish/news", "x".repeat(1025))).await;
    assert_ne!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn another_owner_is_not_reachable() {
    let Some(nats) = Nats::start("nats::another_owner", "").await else { return };
    let setup = Setup::with(
        "[component.ours]\nfile = \"{guests}/loops.wasm\"\n[component.theirs]\nfile = \"{guests}/loops.wasm\"\n\
         [[group]]\nhosts = [\"ours\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"ours\"\n\
         [[group]]\nhosts = [\"theirs\"]\n[[group.route]]\npath = \"/*rest\"\ncomponent = \"theirs\"\n",
    );
    let (first, second) = hosts(setup.and(&nats.section(""))).await;
    let mut client = second.connect(Way::H1).await;
    let mut session = client.open(Ask::get("/subscribe/news").host("ours")).await;
    session.read_until("subscribed\n\n").await;
    let publish = async |host: &str, topic: &str, text: &'static str| {
        first.fetch(Way::H2c, Ask::post(&format!("/publish/{topic}"), text).host(host)).await.text()
    };
    for topic in ["news", "ours.news", "*", "..ours.news"] {
        publish("theirs", topic, "secret").await;
    }
    let mut text = String::new();
    for _ in 0..200 {
        publish("ours", "news", "hello").await;
        let more = tokio::time::timeout(Duration::from_millis(50), session.read_until("data: hello\n\n")).await;
        text += &more.unwrap_or_default();
        if !text.is_empty() {
            break;
        }
    }
    assert_eq!(text.replace("data: hello\n\n", ""), "", "nothing else came");
    assert!(!text.is_empty(), "nothing came at all");
}

/// A client with access to the NATS server may publish in every topic, and can do nothing else.
#[tokio::test]
async fn a_stranger_can_speak_and_do_no_harm() {
    let Some(nats) = Nats::start("nats::a_stranger", "").await else { return };
    let (first, second) = hosts(Setup::of("loops").and(&nats.section("payload = \"64KiB\""))).await;
    let mut client = second.connect(Way::H1).await;
    let mut session = client.open(Ask::get("/subscribe/news")).await;
    session.read_until("subscribed").await;
    until_heard(&first, "news", &mut session).await;

    let mut stranger = nats.stranger().await;
    stranger.subscribe(">").await;
    publish(&first, "news", "seen").await;
    let heard = stranger.next().await;
    assert_eq!((&*heard.subject, &*heard.payload), ("roadrunner.loops.news", &b"seen"[..]));
    assert!(heard.headers.starts_with("NATS/1.0\r\nRoadrunner-Sequence: "), "{heard:?}");
    session.read_until("data: seen\n\n").await;
    let subject = "roadrunner.loops.news";
    stranger.unsubscribe().await;

    stranger.publish(subject, b"plain").await;
    assert_eq!(session.read_until("\n\n").await, "data: plain\n\n");
    for headers in [
        &b"NATS/1.0\r\n\r\n"[..],
        b"NATS/1.0\r\nRoadrunner-Sequence: x y z\r\n\r\n",
        b"NATS/1.0\r\nRoadrunner-Sequence: 0 0 18446744073709551615\r\n\r\n",
        b"NATS/1.0\r\nRoadrunner-Sequence: 0 0 0\r\n\r\n",
        b"NATS/1.0\r\nRoadrunner-Sequence: 0 0 1\r\nroadrunner-sequence: x\r\n\r\n",
    ] {
        stranger.publish_with(subject, headers, b"odd").await;
        let text = session.read_until("data: odd\n\n").await;
        assert_eq!(text, "data: odd\n\n", "{headers:?}");
    }
    // A forged number makes one message look like the end of a long series, and has no other effect.
    let forged =
        heard.headers.rsplit_once(' ').expect("it ends with the number").0.to_owned() + " 999999999999\r\n\r\n";
    stranger.publish_with(subject, forged.as_bytes(), b"forged").await;
    let text = session.read_until("data: forged\n\n").await;
    assert_eq!(text, format!("event: missed\ndata: {}\n\ndata: forged\n\n", u32::MAX));
    publish(&first, "news", "true").await;
    assert_eq!(session.read_until("\n\n").await, "data: true\n\n");

    // Oversized messages are dropped on arrival, and count as missed.
    stranger.publish(subject, &vec![b'x'; 1 << 20]).await;
    stranger.publish(subject, &vec![b'x'; (64 << 10) + 1]).await;
    stranger.publish_with(subject, &[b"NATS/1.0\r\nX: ", &*vec![b'x'; 200 << 10], b"\r\n\r\n"].concat(), b"").await;
    stranger.publish(subject, b"small").await;
    assert_eq!(session.read_until("data: small\n\n").await, "event: missed\ndata: 3\n\ndata: small\n\n");
    assert_eq!(second.metrics().await.sum("roadrunner_bus_dropped_total", "too-large"), 3.0);

    // Headers that are none cost the connection, which comes back.
    let connects = async || second.metrics().await.sum("roadrunner_bus_connects_total", "");
    let before = connects().await;
    stranger.publish_with(subject, b"NATS/1.0\r\nRoadrunner-Sequence\r\n: \xff\xfe\r\n\r\n", b"odd").await;
    let again = || async { (connects().await > before).then_some(()) };
    assert!(within(TEN_SECONDS, again).await.is_some(), "{}", second.log);
    let mut text = String::new();
    while !text.contains("data: back") {
        publish(&first, "news", "back").await;
        let more = tokio::time::timeout(Duration::from_millis(100), session.read_until("data: back\n\n")).await;
        text += &more.unwrap_or_default();
    }
    assert!(text.starts_with("event: missed\n") && !text.contains("odd"), "{text}");
    // The other host was not subscribed, and has lost nothing.
    assert_eq!(first.metrics().await.sum("roadrunner_bus_connects_total", ""), 1.0);

    // Subjects that no topic has.
    for subject in ["roadrunner", "roadrunner.loops", "roadrunner.loops.news.more", "roadrunner.loops.=zz"] {
        stranger.publish(subject, b"elsewhere").await;
    }
    // More than a session can hold, faster than it reads.
    for _ in 0..2000 {
        stranger.publish(subject, &[b'f'; 16 << 10]).await;
    }
    stranger.settle().await;
    let text = loop {
        publish(&first, "news", "over").await;
        let text = tokio::time::timeout(Duration::from_secs(2), session.read_until("data: over\n\n")).await;
        if let Ok(text) = text {
            break text;
        }
    };
    assert!(!text.contains("elsewhere"));
    assert!(second.resident() < 600 << 20, "{} bytes", second.resident());
    is_connected(&second, true).await;
}

/// A NATS server that reads nothing only fills the queue.
#[tokio::test]
async fn a_full_queue_fails_publishing_and_passes() {
    let Some(nats) = Nats::start("nats::a_full_queue", "").await else { return };
    for keys in ["queue-bytes = \"1MiB\"", "queue-messages = 2"] {
        let first = Setup::of("loops").and(&nats.section(keys)).start().await;
        is_connected(&first, true).await;
        let dropped = async || first.metrics().await.sum("roadrunner_bus_dropped_total", "queue-full");
        nats.signal(Signal::STOP);
        // The system's socket buffers take some first.
        let large = "x".repeat(400 << 10);
        let mut refused = None;
        for _ in 0..300 {
            let answer = first.fetch(Way::H1, Ask::post("/publish/news", large.clone())).await;
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("the queue is bounded");
        assert!(dropped().await >= 1.0, "{keys}: {refused:?}");
        assert!(first.metrics().await.sum("roadrunner_bus_queue_bytes", "") <= f64::from(1 << 20), "{keys}");
        nats.signal(Signal::CONT);
        let again = || async { (publish(&first, "news", "x").await == "0\n").then_some(()) };
        assert!(within(TEN_SECONDS, again).await.is_some(), "{keys}: it does not recover");
    }
}

#[tokio::test]
async fn a_silent_broker_is_given_up() {
    let Some(nats) = Nats::start("nats::a_silent_broker", "").await else { return };
    let server = Setup::of("loops").and(&nats.section("connect-timeout = \"500ms\"")).start().await;
    is_connected(&server, true).await;
    nats.signal(Signal::STOP);
    is_connected(&server, false).await;
    // The system still accepts connections for it, but they are not answered.
    let told = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("no answer within 500ms"));
    assert!(server.log.wait(told).await.is_some(), "{}", server.log);
    nats.signal(Signal::CONT);
    is_connected(&server, true).await;
}

#[tokio::test]
async fn a_host_starts_without_its_broker() {
    let Some(mut nats) = Nats::stopped("nats::a_host_starts", "") else { return };
    let setup = Setup::of("loops").and(&nats.section(""));
    let (first, second) = (setup.clone().start().await, setup.beside().start().await);
    assert_eq!(first.admin_request("GET", "/ready").await.0, 200);
    assert_eq!(first.metrics().await.sum("roadrunner_bus_connected", ""), 0.0);
    let mut client = second.connect(Way::H1).await;
    let mut session = client.open(Ask::get("/subscribe/news")).await;
    session.read_until("subscribed").await;
    assert_eq!(publish(&second, "news", "alone").await, "1\n");
    assert_eq!(session.read_until("data: alone\n\n").await.matches("data: ").count(), 1);
    nats.run().await;
    is_connected(&first, true).await;
    is_connected(&second, true).await;
    until_heard(&first, "news", &mut session).await;
}

#[tokio::test]
async fn what_a_session_says_last_is_not_lost_in_a_drain() {
    let Some(nats) = Nats::start("nats::drain", "").await else { return };
    let (mut first, second) = hosts(Setup::of("loops").server("drain = \"500ms\"").and(&nats.section(""))).await;
    let mut listener = second.connect(Way::H1).await;
    let mut listener = listener.open(Ask::get("/subscribe/disconnects")).await;
    listener.read_until("subscribed").await;
    until_heard(&first, "disconnects", &mut listener).await;
    let mut client = first.connect(Way::H1).await;
    let mut session = client.open(Ask::get("/disconnect")).await;
    session.read_until("open").await;
    first.signal(Signal::TERM);
    listener.read_until("ConnectionLost\n\n").await;
    first.exit().await;
}

#[tokio::test]
async fn tls_and_a_password() {
    let Some(mut nats) = Nats::stopped("nats::tls_and_a_password", "") else { return };
    let section = |nats: &Nats, password: &str| {
        let section =
            nats.section(&format!("user = \"host\"\npassword-file = \"{password}\"\nca-file = \"certificate.pem\""));
        section.replace("nats://127.0.0.1", "tls://localhost")
    };
    let setup = Setup::of("loops").private_file("right", "se cret\n").private_file("wrong", "guess");
    let right = setup.clone().and(&section(&nats, "right")).start().await;
    let wrong = setup.and(&section(&nats, "wrong")).beside().start().await;
    let key = right.folder().join("key.pem");
    let (certificate, key) = (right.certificate().display().to_string(), key.display().to_string());
    nats.configure(&format!(
        "tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\nauthorization {{ user: \"host\", password: \"se cret\" }}"
    ));
    nats.run().await;
    is_connected(&right, true).await;
    assert_eq!(publish(&right, "news", "x").await, "0\n");
    let published = || async { (right.metrics().await.sum("roadrunner_bus_published_total", "") >= 1.0).then_some(()) };
    assert!(within(TEN_SECONDS, published).await.is_some(), "{}", right.log);
    // It was told the reason once, perhaps before the server was there; it keeps trying, and never gets in.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(wrong.metrics().await.sum("roadrunner_bus_connects_total", ""), 0.0);
    assert!(!wrong.log.to_string().contains("guess") && !right.log.to_string().contains("se cret"));
    // Plaintext to a server that requires TLS is refused with the fix.
    let plain = Setup::of("loops").and(&nats.section("")).beside().start().await;
    let told = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("tls://"));
    assert!(plain.log.wait(told).await.is_some(), "{}", plain.log);
}
