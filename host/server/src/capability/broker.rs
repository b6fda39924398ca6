//! The bus over NATS: topics become subjects, and messages lost in transit are noticed.
//!
//! | topic of the bus | subject |
//! |---|---|
//! | `room/den` of the owner `chat` | `roadrunner.chat.room=2Fden` |
//!
//! A subject has the prefix of `[bus]`, then a token for the owner and a token for the topic. Bytes other than letters,
//! digits, `-` and `_` are written as `=` and two hexadecimal digits, and an empty text as `=`. So different texts have
//! different tokens, and no token has a dot or a wildcard.
//!
//! A message has the header `Roadrunner-Sequence: HOST EPOCH NUMBER`: a random id of the process that published it, and
//! the message's number among those that the process has published to this topic. A host that sees a gap tells its
//! sessions how many messages they have missed. A message without the header comes from another program, and is
//! delivered unchanged. The numbers of [`PUBLISHED`] topics are remembered. With more topics, all numbers are forgotten
//! and a new epoch begins; a gap at that change is not noticed.
//!
//! After a lost connection, the messages that passed meanwhile are unknown: every session is told of at least one
//! missed message of each of its topics. Messages that were published meanwhile reached only the sessions of this host.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_manifest::{self as manifest, BrokerCredentials};
use roadrunner_names::Share;
use roadrunner_nats::{Client, Credentials, Driver, Handler, PublishError as QueueError, Server, Settings, Tls};
use roadrunner_sandbox::{Broker, Bus, PublishError};

use crate::metrics::Text;

/// Topics whose last number the publishing host remembers. Each takes about its own length and 100 bytes.
const PUBLISHED: usize = 16_384;

/// Publishing hosts that are distinguished in one topic. With more, gaps are noticed only for the latest.
const PUBLISHERS: usize = 64;

/// The interval of pings to the server. The server may be silent for three times as long.
const PING_INTERVAL: Duration = Duration::from_secs(4);

/// The pauses between attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The largest file of a password, a token or a seed, in bytes.
const MAX_SECRET: usize = 4 << 10;

/// The largest file of credentials or of a private key, in bytes.
const MAX_KEY: usize = 64 << 10;

/// The name of the header.
const HEADER: &str = "Roadrunner-Sequence";

/// The sender of this host's messages to the server.
#[derive(Debug)]
pub(super) struct Nats {
    client: Client,
    prefix: String,
    host: u64,
    published: Mutex<Published>,
    subjects: Arc<Subjects>,
}

/// The last numbers of this host's messages, by topic.
#[derive(Debug, Default)]
struct Published {
    epoch: u32,
    numbers: HashMap<Arc<str>, u64>,
}

/// The topics behind the subjects of this host's subscriptions.
#[derive(Debug, Default)]
struct Subjects(Mutex<HashMap<Arc<str>, Subject>>);

#[derive(Debug)]
struct Subject {
    owner: Arc<str>,
    topic: Arc<str>,
    /// The last number of each host and epoch.
    heard: HashMap<(u64, u32), u64>,
}

/// The receiver that hands arriving messages to the bus.
struct Arrivals {
    bus: Bus,
    host: u64,
    subjects: Arc<Subjects>,
}

/// A message's place in a sequence: the host and the epoch, and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sequence {
    host: u64,
    epoch: u32,
    number: u64,
}

/// Links the bus with those of other hosts, over this server. The connection is made when the driver runs.
pub(super) fn join(
    bus: &Bus,
    settings: &manifest::Broker,
    max_payload: usize,
    names: Share,
) -> Result<(Arc<Nats>, Driver)> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let host = u64::from_ne_bytes(id);
    let subjects = Arc::new(Subjects::default());
    let arrivals = Arrivals { bus: bus.clone(), host, subjects: subjects.clone() };
    let (client, driver) = Client::new(client_settings(settings, max_payload, names)?, Arc::new(arrivals))?;
    let prefix = settings.prefix.clone();
    let nats = Arc::new(Nats { client, prefix, host, published: Mutex::default(), subjects });
    bus.join(nats.clone());
    Ok((nats, driver))
}

fn client_settings(settings: &manifest::Broker, max_payload: usize, names: Share) -> Result<Settings> {
    let servers = settings.urls.iter().map(|url| Server { host: url.host.clone(), port: url.port });
    let is_secure = settings.urls.iter().any(|url| url.tls);
    let invalid = |file: &Path| format!("{} of [bus]", file.display());
    let credentials = match &settings.credentials {
        BrokerCredentials::Creds(file) => Credentials::creds(&text(file, MAX_KEY)?).with_context(|| invalid(file))?,
        BrokerCredentials::None => Credentials::None,
        BrokerCredentials::Nkey(file) => Credentials::nkey(&secret(file)?).with_context(|| invalid(file))?,
        BrokerCredentials::Token(file) => Credentials::Token(secret(file)?),
        BrokerCredentials::User { name, password } => {
            Credentials::User { name: name.clone(), password: secret(password)? }
        }
    };
    Ok(Settings {
        servers: servers.collect(),
        names,
        tls: is_secure.then(|| tls(settings)).transpose()?,
        credentials,
        name: "roadrunner".to_owned(),
        label: HEADER,
        queue_bytes: settings.queue_bytes,
        queue_messages: settings.queue_messages,
        max_payload,
        connect_timeout: settings.connect_timeout,
        ping_interval: PING_INTERVAL,
        min_backoff: BACKOFF.0,
        max_backoff: BACKOFF.1,
    })
}

fn tls(settings: &manifest::Broker) -> Result<Tls> {
    let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let tls = match &settings.authorities {
        None => Tls::public(),
        Some(file) => {
            let tls = Tls::with_authorities(&read(file)?).map_err(anyhow::Error::msg);
            tls.with_context(|| format!("`ca-file` of [bus], {}", file.display()))?
        }
    };
    let Some(files) = &settings.certificate else { return Ok(tls) };
    let key = roadrunner_private::read(&files.key, MAX_KEY)?;
    let tls = tls.identified_by(&read(&files.certificate)?, &key).map_err(anyhow::Error::msg);
    tls.with_context(|| format!("`certificate-file` and `key-file` of [bus], {}", files.certificate.display()))
}

/// The content of a file, without a line break at its end.
fn secret(file: &Path) -> Result<String> {
    let text = text(file, MAX_SECRET)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// The content of a file with a secret, of at most `most` bytes.
fn text(file: &Path, most: usize) -> Result<String> {
    let bytes = roadrunner_private::read(file, most)?;
    Ok(std::str::from_utf8(&bytes).with_context(|| format!("{} is not text", file.display()))?.to_owned())
}

impl Nats {
    /// The connection to the server.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Shows the connection.
    pub(super) fn show(&self, text: &mut Text) {
        let counters = self.client.counters();
        let help = "1 while the bus is connected to its NATS server.";
        text.gauge("roadrunner_bus_connected", help, u8::from(self.client.is_connected()));
        let help = "Messages of the bus that wait for the NATS server.";
        text.gauge("roadrunner_bus_queue_bytes", help, self.client.queued_bytes());
        for (name, help, counter) in [
            ("roadrunner_bus_connects_total", "Connections to the NATS server that were made.", &counters.connects),
            ("roadrunner_bus_errors_total", "What the NATS server complained of.", &counters.errors),
            ("roadrunner_bus_published_total", "Messages to the NATS server.", &counters.published),
            ("roadrunner_bus_received_total", "Messages from the NATS server.", &counters.received),
        ] {
            text.counter(name, help, counter.load(Relaxed));
        }
        text.family(
            "roadrunner_bus_dropped_total",
            "counter",
            "Messages that did not get to or from the NATS server, by the reason.",
        );
        for (reason, counter) in [
            ("disconnected", &counters.dropped_disconnected),
            ("queue-full", &counters.dropped_queue),
            ("too-large", &counters.dropped_large),
            ("overrun", &counters.dropped_overrun),
        ] {
            text.sample(&[("reason", reason)], counter.load(Relaxed));
        }
    }

    fn subject(&self, owner: &str, topic: &str) -> Arc<str> {
        let mut subject = String::with_capacity(self.prefix.len() + owner.len() + topic.len() + 16);
        subject.push_str(&self.prefix);
        for text in [owner, topic] {
            subject.push('.');
            push_token(&mut subject, text);
        }
        subject.into()
    }
}

impl Broker for Nats {
    fn subscribe(&self, owner: &Arc<str>, topic: &Arc<str>) {
        let subject = self.subject(owner, topic);
        let known = Subject { owner: owner.clone(), topic: topic.clone(), heard: HashMap::new() };
        self.subjects.0.lock().insert(subject.clone(), known);
        self.client.subscribe(&subject);
    }

    fn unsubscribe(&self, owner: &Arc<str>, topic: &Arc<str>) {
        let subject = self.subject(owner, topic);
        self.client.unsubscribe(&subject);
        self.subjects.0.lock().remove(&subject);
    }

    fn publish(&self, owner: &Arc<str>, topic: &str, payload: &Bytes) -> Result<(), PublishError> {
        let subject = self.subject(owner, topic);
        // The lock is held until the message is queued, so that the numbers leave in order.
        let mut published = self.published.lock();
        let number = published.numbers.get(&subject).copied().unwrap_or(0) + 1;
        let sequence = Sequence { host: self.host, epoch: published.epoch, number };
        let taken = self.client.publish(owner, &subject, sequence.text(), payload.clone());
        match taken {
            // A message that is dropped for lack of a connection keeps its number: the other hosts have missed it.
            Ok(_) => {}
            Err(QueueError::QueueFull) => return Err(PublishError::QueueFull),
            Err(QueueError::TooLarge(limit)) => return Err(PublishError::TooLarge(limit as u64)),
        }
        if published.numbers.len() >= PUBLISHED && !published.numbers.contains_key(&subject) {
            published.numbers.clear();
            published.epoch = published.epoch.wrapping_add(1);
        } else {
            published.numbers.insert(subject, number);
        }
        Ok(())
    }
}

impl Handler for Arrivals {
    fn gap(&self) {
        self.bus.lose_some();
    }

    fn overrun(&self, subject: &Arc<str>) {
        // How many is not known, or told by the number of what comes next.
        self.lose(subject, 0);
    }

    fn message(&self, subject: &Arc<str>, label: Option<&str>, payload: Bytes) {
        let sequence = label.and_then(Sequence::of);
        // The server does not send us our own, but a connection of before may still have been served.
        if sequence.is_some_and(|sequence| sequence.host == self.host) {
            return;
        }
        let (owner, topic, lost) = {
            let mut subjects = self.subjects.0.lock();
            let Some(known) = subjects.get_mut(subject) else { return };
            (known.owner.clone(), known.topic.clone(), sequence.map_or(0, |sequence| known.gap(sequence)))
        };
        self.bus.arrive(&owner, &topic, &payload, lost);
    }

    fn skipped(&self, subject: &Arc<str>) {
        self.lose(subject, 1);
    }
}

impl Arrivals {
    fn lose(&self, subject: &Arc<str>, lost: u32) {
        let known = self.subjects.0.lock().get(subject).map(|known| (known.owner.clone(), known.topic.clone()));
        if let Some((owner, topic)) = known {
            self.bus.lose(&owner, &topic, lost);
        }
    }
}

impl Subject {
    /// The number of messages of this publisher that are missing before this one.
    fn gap(&mut self, Sequence { host, epoch, number }: Sequence) -> u32 {
        if self.heard.len() >= PUBLISHERS && !self.heard.contains_key(&(host, epoch)) {
            self.heard.clear();
        }
        let last = self.heard.insert((host, epoch), number);
        // The first message of a publisher leaves no gap. A number that counts backwards is forged.
        let gap = last.map_or(0, |last| number.saturating_sub(last).saturating_sub(1));
        u32::try_from(gap).unwrap_or(u32::MAX)
    }
}

impl Sequence {
    /// The value of the header.
    fn text(self) -> String {
        let Self { host, epoch, number } = self;
        format!("{host:016x} {epoch} {number}")
    }

    /// From the value of the header; none if it is not ours.
    fn of(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let host = u64::from_str_radix(words.next()?, 16).ok()?;
        let (epoch, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { host, epoch, number })
    }
}

fn push_token(subject: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if text.is_empty() {
        subject.push('=');
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            subject.push(char::from(byte));
        } else {
            subject.push('=');
            subject.push(char::from(DIGITS[usize::from(byte >> 4)]));
            subject.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> String {
        let mut token = String::new();
        push_token(&mut token, text);
        token
    }

    #[test]
    fn tokens_have_no_meaning_to_the_server() {
        let texts = ["", "=", "==", "a.b", "a", "*", ">", "a b", "\r\n", "room/den", "ä", "=2F", "/", "\0", "$SYS"];
        let tokens: std::collections::BTreeSet<_> = texts.iter().map(|text| token(text)).collect();
        assert_eq!(tokens.len(), texts.len(), "no two are written alike: {tokens:?}");
        for token in &tokens {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
            assert!(!token.is_empty() && token.bytes().all(plain), "{token}");
        }
        assert_eq!(token("room/den"), "room=2Fden");
    }

    #[test]
    fn gaps_are_seen_for_each_publisher() {
        let mut subject = Subject { owner: "a".into(), topic: "t".into(), heard: HashMap::new() };
        let mut gap = |host, epoch, number| subject.gap(Sequence { host, epoch, number });
        assert_eq!(gap(1, 0, 5), 0, "the first one");
        assert_eq!(gap(1, 0, 6), 0);
        assert_eq!(gap(1, 0, 9), 2);
        assert_eq!(gap(2, 0, 100), 0, "another host");
        assert_eq!(gap(1, 1, 1), 0, "another epoch");
        assert_eq!(gap(1, 0, 3), 0, "forged");
        assert_eq!(gap(1, 0, u64::MAX), u32::MAX);
        assert_eq!(gap(1, 0, 0), 0);
        for host in 10..200 {
            assert_eq!(gap(host, 0, 1), 0);
        }
        assert!(subject.heard.len() <= PUBLISHERS);
    }

    #[test]
    fn sequences_survive_the_wire_and_nothing_else_is_one() {
        let sequence = Sequence { host: 0xfe, epoch: 3, number: u64::MAX };
        assert_eq!(Sequence::of(&sequence.text()), Some(sequence));
        for text in ["", " ", "1 2", "1 2 3 4", "1 2 -3", "zz 2 3", "11112222333344445 2 3", "1  2 3", "1 2 3 "] {
            assert_eq!(Sequence::of(text), None, "{text:?}");
        }
    }
}
