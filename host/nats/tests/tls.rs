//! TLS with authorities of one's own, a client's certificate, and what is said when either side has another mind.

mod support;

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use roadrunner_nats::{Server, Settings, Tls};
use support::{Member, Nats, file, settings, until};
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key.
    fn signs(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn tls(&self) -> Tls {
        Tls::with_authorities(self.pem.as_bytes()).unwrap()
    }

    /// `tls` in the configuration of a server.
    fn config(&self, folder: &TempDir, name: &str, more: &str) -> String {
        let (certificate, key) = self.signs(name);
        let path = |kind: &str, text: &str| file(folder.path(), &format!("{name}.{kind}"), text);
        let (certificate, key) = (path("crt", &certificate), path("key", &key));
        let authority = path("ca", &self.pem);
        format!("tls {{ cert_file: \"{certificate}\", key_file: \"{key}\", ca_file: \"{authority}\"{more} }}")
    }
}

fn localhost(broker: &Nats, tls: Option<Tls>) -> Settings {
    let server = Server { host: "localhost".to_owned(), port: broker.port() };
    Settings { tls, ..settings(&[server]) }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }

    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let filter = tracing_subscriber::EnvFilter::new("roadrunner_nats=info");
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).with_writer(self.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }

    async fn says(&self, text: &str) {
        assert!(until(|| self.text().contains(text)).await, "not {text}: {}", self.text());
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_certificate_is_for_the_name_in_the_url() {
    let (log, authority, folder) = (Log::default(), Authority::new("own"), TempDir::new().unwrap());
    let _guard = log.listen();
    let Some(mut broker) = Nats::start("tls::the_certificate", &authority.config(&folder, "localhost", "")).await
    else {
        return;
    };
    let settings = localhost(&broker, Some(authority.tls()));
    let (here, there) = (Member::connected(settings.clone()).await, Member::connected(settings).await);
    here.hears(&there, "news").await;
    broker.kill();
    here.is_connected(false).await;
    there.is_connected(false).await;
    broker.run().await;
    here.is_connected(true).await;
    there.is_connected(true).await;
    here.heard_again(&there, "news").await;
    // By its address it is somebody else.
    let server = Server { host: "127.0.0.1".to_owned(), port: broker.port() };
    let wrong = Member::start(Settings { tls: Some(authority.tls()), ..support::settings(&[server]) });
    log.says("TLS: invalid peer certificate: certificate not valid for name \"127.0.0.1\"").await;
    let other = Member::start(localhost(&broker, Some(Authority::new("other").tls())));
    log.says("TLS: invalid peer certificate: UnknownIssuer").await;
    let public = Member::start(localhost(&broker, Some(Tls::public())));
    assert!(until(|| log.text().matches("UnknownIssuer").count() >= 2).await);
    assert_eq!((wrong.connects(), other.connects(), public.connects()), (0, 0, 0));
}

#[tokio::test]
async fn plaintext_and_tls_do_not_meet_and_the_fix_is_told() {
    let (log, authority, folder) = (Log::default(), Authority::new("own"), TempDir::new().unwrap());
    let _guard = log.listen();
    let Some(secure) = Nats::start("tls::plaintext_and_tls", &authority.config(&folder, "localhost", "")).await else {
        return;
    };
    let plain = Member::start(localhost(&secure, None));
    log.says("the server asks for TLS: write its URL with tls://").await;
    let Some(open) = Nats::start("tls::plaintext_and_tls", "").await else { return };
    let careful = Member::start(localhost(&open, Some(authority.tls())));
    log.says("the server offers none: write its URL with nats://").await;
    assert_eq!((plain.connects(), careful.connects()), (0, 0));
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let (authority, folder) = (Authority::new("own"), TempDir::new().unwrap());
    let Some(broker) =
        Nats::start("tls::a_client_certificate", &authority.config(&folder, "localhost", ", verify: true")).await
    else {
        return;
    };
    let (certificate, key) = authority.signs("host");
    let identified = authority.tls().identified_by(certificate.as_bytes(), key.as_bytes()).unwrap();
    let right = Member::connected(localhost(&broker, Some(identified))).await;
    let without = Member::start(localhost(&broker, Some(authority.tls())));
    let (certificate, key) = Authority::new("other").signs("host");
    let strange = authority.tls().identified_by(certificate.as_bytes(), key.as_bytes()).unwrap();
    let strange = Member::start(localhost(&broker, Some(strange)));
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((right.connects(), without.connects(), strange.connects()), (1, 0, 0));
    let (certificate, _) = authority.signs("host");
    let (_, key) = authority.signs("host");
    for (certificate, key) in [(&*certificate, &*key), ("", &*key), (&*certificate, ""), (&*key, &*certificate)] {
        assert!(authority.tls().identified_by(certificate.as_bytes(), key.as_bytes()).is_err());
    }
    assert!(Tls::with_authorities(b"").is_err() && Tls::with_authorities(key.as_bytes()).is_err());
}

/// Servers tell of each other by address, and their certificates are for names.
#[tokio::test]
async fn a_server_that_is_known_by_its_address_has_the_name_of_who_told_of_it() {
    let (authority, folder) = (Authority::new("own"), TempDir::new().unwrap());
    let tls = authority.config(&folder, "localhost", "");
    let Some(mut brokers) = Nats::cluster("tls::known_by_its_address", 2, &tls).await else { return };
    let member = Member::connected(localhost(&brokers[0], Some(authority.tls()))).await;
    brokers[0].kill();
    member.is_connected(false).await;
    member.is_connected(true).await;
    assert_eq!(member.connects(), 2);
}
