//! TLS: which certificate a client gets, how certificates are replaced, client certificates, and the negotiated
//! protocols.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use roadrunner_tests::command::{self, tool};
use roadrunner_tests::{Ask, Client, Server, Setup, Way, client, http3, soon, within};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A certificate and its key, in PEM, signed by itself.
fn certificate(names: &[&str]) -> (String, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

/// A client that trusts these.
fn trusting(certificates: &[&str]) -> ClientConfig {
    let mut config = client::tls(&[b"http/1.1"]);
    let mut roots = RootCertStore::empty();
    for pem in certificates {
        roots.add(der(pem)).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    config.dangerous().set_certificate_verifier(verifier.expect("it has roots"));
    config
}

async fn handshake(
    server: &Server,
    listener: &str,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = soon(TcpStream::connect(server.address(listener))).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    soon(TlsConnector::from(Arc::clone(config)).connect(name, tcp)).await
}

/// The certificate that a client of this name gets.
async fn leaf(server: &Server, config: &Arc<ClientConfig>, name: &str) -> CertificateDer<'static> {
    let stream = handshake(server, "many", config, name).await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("the server shows one")[0].clone()
}

const MANY: &str = "[[listener]]\nname = \"many\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"one.pem\"\n\
                    key = \"one-key.pem\"\ncertificates = [{ certificate = \"two.pem\", key = \"two-key.pem\" }]\n";

#[tokio::test]
async fn the_name_chooses_the_certificate() {
    let one = certificate(&["one.test", "localhost"]);
    let two = certificate(&["two.test", "*.two.test"]);
    let server = Setup::of("hello")
        .and(MANY)
        .file("one.pem", &*one.0)
        .private_file("one-key.pem", &*one.1)
        .file("two.pem", &*two.0)
        .private_file("two-key.pem", &*two.1)
        .start()
        .await;
    let config = Arc::new(trusting(&[&one.0, &two.0]));
    for (name, pem) in [
        ("one.test", &one.0),
        ("two.test", &two.0),
        ("TWO.test", &two.0),
        ("a.two.test", &two.0),
        ("localhost", &one.0),
    ] {
        assert_eq!(leaf(&server, &config, name).await, der(pem), "{name}");
    }
    // A client that asks for an unknown name, or for none, gets the first certificate, which is not issued for that
    // name.
    for name in ["other.test", "a.b.two.test", "127.0.0.1"] {
        let refused = handshake(&server, "many", &config, name).await.expect_err("it is another's certificate");
        assert!(refused.to_string().contains("not valid for name"), "{name}: {refused}");
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn certificates_are_replaced_while_connections_go_on() {
    let (one, two, three) = (certificate(&["one.test"]), certificate(&["two.test"]), certificate(&["two.test"]));
    let server = Setup::of("hello")
        .and(MANY)
        .file("one.pem", &*one.0)
        .private_file("one-key.pem", &*one.1)
        .file("two.pem", &*two.0)
        .private_file("two-key.pem", &*two.1)
        .start()
        .await;
    let config = Arc::new(trusting(&[&one.0, &two.0, &three.0]));
    let io = handshake(&server, "many", &config, "two.test").await.expect("a handshake");
    let mut before = Client::on(Box::new(io), Way::H1).await;
    assert_eq!(before.fetch(Ask::get("/")).await.status, 200);
    let write = |name: &str, text: &str| {
        // As certificate managers do: a new file replaces the old one.
        let path = server.folder().join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("our own file");
        std::fs::rename(new, path).expect("the same folder");
    };
    let count = async |name: &str| server.metrics().await.sum(name, "");

    // Nonsense changes nothing, and neither does a certificate without its key.
    write("two.pem", "nonsense");
    let failed = async || (count("roadrunner_certificate_reloads_failed_total").await >= 1.0).then_some(());
    within(Duration::from_secs(15), failed).await.expect("the server looks at its files");
    assert_eq!(leaf(&server, &config, "two.test").await, der(&two.0));
    write("two.pem", &three.0);
    let failed = async || (count("roadrunner_certificate_reloads_failed_total").await >= 2.0).then_some(());
    within(Duration::from_secs(15), failed).await.expect("the server looks at its files");
    assert_eq!(leaf(&server, &config, "two.test").await, der(&two.0));

    write("two-key.pem", &three.1);
    let done = async || (leaf(&server, &config, "two.test").await == der(&three.0)).then_some(());
    within(Duration::from_secs(15), done).await.expect("the server looks at its files");
    assert_eq!(count("roadrunner_certificate_reloads_total").await, 1.0);
    assert_eq!(leaf(&server, &config, "one.test").await, der(&one.0));
    assert_eq!(before.fetch(Ask::get("/")).await.status, 200, "the connection from before");
    drop(before);
    server.is_quiet().await;
}

/// An authority for client certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    /// A certificate for a client, and its key, in PEM.
    fn client(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new([format!("{name}.test")]).expect("a name");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(rcgen::SerialNumber::from(0x1a2b_u64));
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }
}

fn showing((certificate, key): &(String, String), protocol: &[u8]) -> Arc<ClientConfig> {
    let mut config = client::tls(&[protocol]);
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let shown =
        rustls::sign::CertifiedKey::from_der(vec![der(certificate)], key, &provider).expect("they belong together");
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
    Arc::new(config)
}

fn asking(name: &str, auth: &str) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n[listener.tls]\ncertificate = \"certificate.pem\"\n\
         key = \"key.pem\"\nclient-auth = \"{auth}\"\nclient-ca = \"clients.pem\"\n"
    )
}

/// The guest's view of the client's certificate; `None` if there was no answer.
async fn shown(server: &Server, listener: &str, config: &Arc<ClientConfig>, way: Way) -> Option<Value> {
    // In TLS 1.3 the client's handshake ends before the server has seen its certificate.
    let io = handshake(server, listener, config, "localhost").await.ok()?;
    if way.is_h2() {
        let (sender, connection) = h2::client::handshake(io).await.ok()?;
        tokio::spawn(connection);
        let mut sender = sender.ready().await.ok()?;
        let request = http::Request::get("https://localhost/").body(()).expect("a request");
        let mut body = sender.send_request(request, true).ok()?.0.await.ok()?.into_body();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            text.extend_from_slice(&piece.ok()?);
        }
        return Some(serde_json::from_slice::<Value>(&text).expect("JSON")["client_certificate"].clone());
    }
    let answer = Client::on(Box::new(io), Way::H1).await.fetch(Ask::get("/")).await;
    (answer.status == 200)
        .then(|| serde_json::from_slice::<Value>(&answer.body).expect("JSON")["client_certificate"].clone())
}

#[tokio::test]
async fn clients_show_certificates() {
    let (good, other) = (Authority::new("good"), Authority::new("other"));
    let alice = good.client("alice");
    let mallory = other.client("alice");
    let server = Setup::of("inspector")
        .and(&asking("optional", "optional"))
        .and(&asking("required", "required"))
        .file("clients.pem", good.0.pem())
        .file("alice.pem", &*alice.0)
        .private_file("alice-key.pem", &*alice.1)
        .start()
        .await;
    let wanted = serde_json::json!(["CN=alice,O=Example", "CN=good", "1a2b", ["alice.test"]]);
    for (way, protocol) in [(Way::H1Tls, &b"http/1.1"[..]), (Way::H2Tls, b"h2")] {
        let nobody = Arc::new(client::tls(&[protocol]));
        let shown = async |listener, config| shown(&server, listener, &config, way).await;
        for listener in ["optional", "required"] {
            let seen = shown(listener, showing(&alice, protocol)).await.expect("an answer");
            assert_eq!(seen, wanted, "{way:?} {listener}");
            assert_eq!(
                shown(listener, showing(&mallory, protocol)).await,
                None,
                "{way:?} {listener}: another authority"
            );
        }
        assert_eq!(shown("optional", nobody.clone()).await, Some(Value::Null), "{way:?}");
        assert_eq!(shown("required", nobody.clone()).await, None, "{way:?}");
        assert_eq!(shown("tls", showing(&alice, protocol)).await, Some(Value::Null), "{way:?}: nobody has asked");
    }
    let metrics = server.metrics().await;
    assert_eq!(metrics.sum("roadrunner_handshakes_failed_total", ""), 6.0);
    if let Some(mut curl) = tool("tls::clients_show_certificates", "curl") {
        let url = format!("https://localhost:{}/", server.address("required").port());
        curl.args(["-sS4", "--cacert"]).arg(server.certificate()).current_dir(server.folder());
        curl.args(["--cert", "alice.pem", "--key", "alice-key.pem", &url]);
        let done = command::output(curl).await;
        assert!(done.stdout.contains("CN=alice,O=Example"), "{done:?}");
    }
    server.is_quiet().await;
}

/// A removed authority is gone for tickets too.
#[tokio::test]
async fn an_authority_can_be_replaced() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server =
        Setup::of("inspector").and(&asking("required", "required")).file("clients.pem", old.0.pem()).start().await;
    let (bob, carol) = (showing(&old.client("bob"), b"http/1.1"), showing(&new.client("carol"), b"http/1.1"));
    assert!(shown(&server, "required", &bob, Way::H1).await.is_some());
    assert!(shown(&server, "required", &carol, Way::H1).await.is_none());
    std::fs::write(server.folder().join("clients.pem"), new.0.pem()).expect("a file");
    let done = async || shown(&server, "required", &carol, Way::H1).await.map(|_| ());
    within(Duration::from_secs(15), done).await.expect("the server looks at its files");
    assert!(shown(&server, "required", &bob, Way::H1).await.is_none(), "with a ticket from before");
    server.is_quiet().await;
}

/// The same certificates, authorities and changes apply to HTTP/3.
#[tokio::test]
async fn http3_has_the_same_certificates() {
    let (one, two, three) = (certificate(&["one.test"]), certificate(&["two.test"]), certificate(&["two.test"]));
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let keys =
        "protocols = [\"http1\", \"http3\"]\n[listener.tls]\nclient-auth = \"required\"\nclient-ca = \"clients.pem\"\n";
    let server = Setup::of("inspector")
        .and(&MANY.replace("[listener.tls]\n", keys))
        .file("one.pem", &*one.0)
        .private_file("one-key.pem", &*one.1)
        .file("two.pem", &*two.0)
        .private_file("two-key.pem", &*two.1)
        .file("clients.pem", old.0.pem())
        .start()
        .await;
    let dial = async |shown: &(String, String), name: &str| {
        let mut config = trusting(&[&one.0, &two.0, &three.0]);
        config.alpn_protocols = vec![b"h3".to_vec()];
        config.client_auth_cert_resolver = showing(shown, b"h3").client_auth_cert_resolver.clone();
        let connection = http3::Connection::start_with_tls(server.address("many"), config, name).await.ok()?;
        let identity = connection.quic().peer_identity().expect("the server shows a certificate");
        let leaf = identity.downcast::<Vec<CertificateDer<'static>>>().expect("certificates")[0].clone();
        let answer = Client::H3(connection).fetch(Ask::get("/")).await;
        let seen: Value = serde_json::from_slice(&answer.body).ok()?;
        Some((leaf, seen["client_certificate"][0].as_str()?.to_owned()))
    };
    let (bob, carol) = (old.client("bob"), new.client("carol"));
    assert_eq!(dial(&bob, "one.test").await, Some((der(&one.0), "CN=bob,O=Example".to_owned())));
    assert_eq!(dial(&bob, "two.test").await, Some((der(&two.0), "CN=bob,O=Example".to_owned())));
    assert_eq!(dial(&carol, "two.test").await, None);
    for (name, text) in [("two-key.pem", &three.1), ("two.pem", &three.0), ("clients.pem", &new.0.pem())] {
        std::fs::write(server.folder().join(name), text).expect("a file");
    }
    let wanted = Some((der(&three.0), "CN=carol,O=Example".to_owned()));
    let done = async || (dial(&carol, "two.test").await == wanted).then_some(());
    within(Duration::from_secs(15), done).await.expect("the server looks at its files");
    assert_eq!(dial(&bob, "two.test").await, None);
    server.is_quiet().await;
}

#[tokio::test]
async fn versions_tickets_and_key_exchange() {
    let server = Setup::of("hello").start().await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.certificate()).expect("PEM")).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("the provider has it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let config = Arc::new(config);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let io = handshake(&server, "tls", &config, "localhost").await.expect("a handshake");
            let session = io.get_ref().1;
            assert_eq!(session.protocol_version(), Some(version.version));
            if version.version == rustls::ProtocolVersion::TLSv1_3 && kind == HandshakeKind::Full {
                let group = session.negotiated_key_exchange_group().expect("there was an exchange").name();
                assert_eq!(group, rustls::NamedGroup::X25519MLKEM768, "post-quantum first");
            }
            // Tickets of TLS 1.3 come after the handshake.
            let mut client = Client::on(Box::new(io), Way::H1).await;
            assert_eq!(client.fetch(Ask::get("/")).await.text(), "hello, world\n");
            let io = handshake(&server, "tls", &config, "localhost").await.expect("a handshake");
            assert_eq!(io.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        }
    }
    server.is_quiet().await;
}

#[tokio::test]
async fn alpn_says_what_a_listener_speaks() {
    let tls = "tls = { certificate = \"certificate.pem\", key = \"key.pem\" }";
    let only = |name: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nprotocols = [\"{name}\"]\n{tls}\n")
    };
    let server = Setup::of("hello").and(&only("http1")).and(&only("http2")).start().await;
    let agreed = async |listener: &str, offered: &[&[u8]]| {
        let io = handshake(&server, listener, &Arc::new(client::tls(offered)), "localhost").await.ok()?;
        Some(io.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()))
    };
    let both: &[&[u8]] = &[b"http/1.1", b"h2"];
    assert_eq!(agreed("tls", both).await, Some(Some("h2".into())));
    assert_eq!(agreed("http1", both).await, Some(Some("http/1.1".into())));
    assert_eq!(agreed("http2", both).await, Some(Some("h2".into())));
    assert_eq!(agreed("http1", &[b"h2"]).await, None, "no_application_protocol (RFC 7301, 3.2)");
    assert_eq!(agreed("http2", &[b"http/1.1"]).await, None);
    assert_eq!(agreed("http1", &[]).await, Some(None));
    // Without ALPN a client speaks HTTP/1.1.
    let io = handshake(&server, "http1", &Arc::new(client::tls(&[])), "localhost").await.expect("a handshake");
    assert_eq!(Client::on(Box::new(io), Way::H1).await.fetch(Ask::get("/")).await.status, 200);
    let io = handshake(&server, "http2", &Arc::new(client::tls(&[])), "localhost").await.expect("a handshake");
    assert_eq!(Client::on(Box::new(io), Way::H1).await.fetch(Ask::get("/")).await.status, 0);
    server.is_quiet().await;
}

/// Unusable files are reported at the start and by `check`, with their names.
#[tokio::test]
async fn files_that_do_not_belong_together_are_named() {
    let (one, two) = (certificate(&["one.test"]), certificate(&["two.test"]));
    let (folder, manifest) = Setup::of("hello")
        .and(MANY)
        .file("one.pem", &*one.0)
        .private_file("one-key.pem", &*one.1)
        .file("two.pem", &*two.0)
        .private_file("two-key.pem", &*one.1)
        .write();
    for verb in [&["serve"][..], &["check", "--manifest"]] {
        let mut run = command::roadrunner();
        run.args(verb).arg(Path::new(&manifest)).current_dir(folder.path());
        let done = command::output(run).await;
        assert_eq!(done.code, 1, "{done:?}");
        assert!(done.stderr.contains("two.pem") && done.stderr.contains("many"), "{verb:?}: {}", done.stderr);
    }
}
