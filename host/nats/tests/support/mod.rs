//! A NATS server of the test's own, and clients that write down what they are told.
#![allow(dead_code, reason = "each test uses a part of it")]

mod nats;
#[path = "../../../../tests/support/ports.rs"]
mod ports;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use roadrunner_names::Resolver;
use roadrunner_nats::{Client, Credentials, Handler, PublishError, Server, Settings};
use tokio::task::JoinHandle;

pub use self::nats::Nats;

/// How long anything may take.
pub const SOON: Duration = Duration::from_secs(20);

impl Nats {
    /// Its address.
    pub fn server(&self) -> Server {
        Server { host: "127.0.0.1".to_owned(), port: self.port() }
    }
}

/// Settings with short times.
pub fn settings(servers: &[Server]) -> Settings {
    Settings {
        servers: servers.to_vec(),
        names: Resolver::new(roadrunner_names::Settings::default()).own(),
        tls: None,
        credentials: Credentials::None,
        name: "test".to_owned(),
        label: "Test-Number",
        queue_bytes: 1 << 20,
        queue_messages: 1000,
        max_payload: 512 << 10,
        connect_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_millis(300),
        min_backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(200),
    }
}

/// What a handler was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Gap,
    Message(String, Option<String>, Bytes),
    Overrun(String),
    Skipped(String),
}

#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<Told>>,
    /// How long each message takes.
    pause: Mutex<Duration>,
}

impl Handler for Recorder {
    fn gap(&self) {
        self.told.lock().push(Told::Gap);
    }

    fn message(&self, subject: &Arc<str>, label: Option<&str>, payload: Bytes) {
        std::thread::sleep(*self.pause.lock());
        self.told.lock().push(Told::Message(subject.to_string(), label.map(str::to_owned), payload));
    }

    fn overrun(&self, subject: &Arc<str>) {
        self.told.lock().push(Told::Overrun(subject.to_string()));
    }

    fn skipped(&self, subject: &Arc<str>) {
        self.told.lock().push(Told::Skipped(subject.to_string()));
    }
}

/// A client whose driver runs; ended when it is dropped.
pub struct Member {
    pub client: Client,
    recorder: Arc<Recorder>,
    driver: JoinHandle<()>,
}

impl Member {
    pub fn start(settings: Settings) -> Self {
        let recorder = Arc::new(Recorder::default());
        let (client, driver) = Client::new(settings, recorder.clone()).expect("the credentials are right");
        Self { client, recorder, driver: tokio::spawn(driver.run()) }
    }

    pub async fn connected(settings: Settings) -> Self {
        let member = Self::start(settings);
        member.is_connected(true).await;
        member
    }

    pub async fn is_connected(&self, wanted: bool) {
        assert!(until(|| self.client.is_connected() == wanted).await, "it is not {wanted}");
    }

    /// Publishes to the account `a`. Whether there was a connection.
    pub fn publish(&self, subject: &str, label: impl ToString, payload: &[u8]) -> Result<bool, PublishError> {
        self.client.publish(&"a".into(), &subject.into(), label.to_string(), Bytes::copy_from_slice(payload))
    }

    pub fn subscribe(&self, subject: &str) {
        self.client.subscribe(&subject.into());
    }

    /// Subscribes, and waits until another one's messages come.
    pub async fn hears(&self, other: &Self, subject: &str) {
        self.subscribe(subject);
        self.heard_again(other, subject).await;
    }

    /// Waits until another one's messages come, and those under way have come as well.
    pub async fn heard_again(&self, other: &Self, subject: &str) {
        let start = Instant::now();
        let heard = |label: &str| {
            let is_it = |told: &Told| matches!(told, Told::Message(_, Some(found), _) if found == label);
            self.recorder.told.lock().iter().any(is_it)
        };
        while !heard("probe") {
            assert!(start.elapsed() < SOON, "nothing comes over");
            other.publish(subject, "probe", b"").unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let last = format!("last probe {:?}", Instant::now());
        other.publish(subject, &last, b"").unwrap();
        assert!(until(|| heard(&last)).await, "probes do not end");
        self.recorder
            .told
            .lock()
            .retain(|told| !matches!(told, Told::Message(_, Some(label), _) if label == "probe" || label == &last));
    }

    /// What it was told since the last call, when it is this much.
    pub async fn told(&self, count: usize) -> Vec<Told> {
        let all = until(|| self.recorder.told.lock().len() >= count).await;
        let told = self.take();
        assert!(all, "only {}: {told:?}", told.len());
        told
    }

    /// What it was told since the last call.
    pub fn take(&self) -> Vec<Told> {
        std::mem::take(&mut self.recorder.told.lock())
    }

    /// Makes it slow.
    pub fn pause(&self, pause: Duration) {
        *self.recorder.pause.lock() = pause;
    }

    pub fn connects(&self) -> u64 {
        self.client.counters().connects.load(Relaxed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A message as a [`Member`] is told of it.
pub fn message(subject: &str, label: impl ToString, payload: &[u8]) -> Told {
    Told::Message(subject.to_owned(), Some(label.to_string()), Bytes::copy_from_slice(payload))
}

/// Whether it comes true soon.
pub async fn until(mut is_true: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < SOON {
        if is_true() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Text as a file that a server is configured with.
pub fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}
