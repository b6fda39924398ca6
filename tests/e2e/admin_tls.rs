//! The admin listener over TLS: with which certificates and tokens, under which names, and with which clients.
//!
//! curl is an independent client; the command line is the other one.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use roadrunner_tests::command::{self, Done, tool};
use roadrunner_tests::{Server, Setup, within};
use std::time::Duration;

use super::deploy::version;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, in PEM.
    fn sign(&self, name: &str, alternatives: &[&str], purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let alternatives: Vec<_> = alternatives.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(alternatives).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }

    fn client(&self, name: &str) -> (String, String) {
        self.sign(name, &[&format!("{name}.test")], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn server(&self) -> (String, String) {
        self.sign("admin", &["admin.test", "localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }
}

/// A host whose admin listener has TLS. Clients find `ca.pem`, and for each of `clients` `NAME.pem` with
/// `NAME-key.pem`.
fn setup(authority: &Authority, more: &str, clients: &[&str]) -> Setup {
    let (certificate, key) = authority.server();
    let mut setup = Setup::with("[component.app]\nfile = \"app.wasm\"\n[deploy]\ndirectory = \"deployed\"\n")
        .and("[[route]]\npath = \"/*rest\"\ncomponent = \"app\"\n")
        .file("app.wasm", version(b'A'))
        .file("b.wasm", version(b'B'))
        .file("ca.pem", authority.pem())
        .file("admin.pem", certificate)
        .private_file("admin-key.pem", key)
        .private_file("token", TOKEN)
        .admin(&format!("address = \"127.0.0.1:0\"\n{more}"));
    for name in clients {
        let (certificate, key) = authority.client(name);
        setup = setup.file(&format!("{name}.pem"), certificate).private_file(&format!("{name}-key.pem"), key);
    }
    setup
}

/// The key `tls` of `[admin]`, with further keys.
fn tls(more: &str) -> String {
    format!("tls = {{ certificate = \"admin.pem\", key = \"admin-key.pem\"{more} }}\n")
}

fn asking(auth: &str) -> String {
    tls(&format!(", client-auth = \"{auth}\", client-ca = \"ca.pem\""))
}

/// Sends one request with curl, and returns the status, 0 if there was no answer, and the body. The host is
/// `admin.test`.
async fn curl(server: &Server, test: &str, path: &str, arguments: &[&str]) -> Option<(u16, String)> {
    let mut curl = tool(test, "curl")?;
    let port = server.admin_port();
    curl.args(["-sS", "--max-time", "60", "--cacert", "ca.pem", "-w", "\n%{http_code}"])
        .args(["--resolve", &format!("admin.test:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://admin.test:{port}{path}"))
        .current_dir(server.folder());
    let done = command::output(curl).await;
    let (body, status) = done.stdout.rsplit_once('\n').unwrap_or_else(|| panic!("{done:?}"));
    let status = status.parse().unwrap_or_else(|_| panic!("{done:?}"));
    assert_eq!(status == 0, done.code != 0, "{done:?}");
    Some((status, if status == 0 { done.stderr } else { body.to_owned() }))
}

/// Does the same, and returns the status only.
async fn status(server: &Server, test: &str, path: &str, arguments: &[&str]) -> Option<u16> {
    Some(curl(server, test, path, arguments).await?.0)
}

/// Runs the command line with the host's address.
async fn roadrunner(server: &Server, arguments: &[&str], more: &[&str]) -> Done {
    let mut command = command::roadrunner();
    let admin = format!("https://localhost:{}", server.admin_port());
    command.args(arguments).args(["--admin", &admin]).args(more).current_dir(server.folder());
    command::output(command).await
}

const OPERATOR: [&str; 4] = ["--cert", "operator.pem", "--key", "operator-key.pem"];

#[tokio::test]
async fn a_certificate_is_required_and_enough() {
    let name = "a_certificate_is_required_and_enough";
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let (certificate, key) = other.client("operator");
    let server = setup(&authority, &asking("required"), &["operator"])
        .file("mallory.pem", certificate)
        .private_file("mallory-key.pem", key)
        .start()
        .await;
    let Some(without) = status(&server, name, "/live", &[]).await else { return };
    assert_eq!(without, 0, "no certificate, no answer");
    let mallory = ["--cert", "mallory.pem", "--key", "mallory-key.pem"];
    assert_eq!(status(&server, name, "/live", &mallory).await, Some(0), "another authority's");
    for (path, arguments, expected) in [
        ("/live", &[][..], 200),
        ("/ready", &[], 200),
        ("/metrics", &[], 200),
        ("/metrics", &["--http2"], 200),
        ("/instances", &[], 200),
        ("/components", &[], 200),
        ("/reload", &["-X", "POST"], 200),
        ("/components/app", &["-T", "b.wasm"], 200),
        ("/components/app/rollback", &["-X", "POST"], 200),
        // A page of any origin, and a name other than that of the handshake.
        ("/reload", &["-X", "POST", "-H", "origin: https://admin.test"], 403),
        ("/metrics", &["-H", "host: rebound.example"], 403),
        ("/live", &["-H", "host: rebound.example"], 403),
        ("/metrics", &["-H", "host: localhost"], 200),
        ("/metrics", &["-H", "authorization: Bearer 0123456789abcdef"], 401),
    ] {
        let answer = status(&server, name, path, &[&OPERATOR[..], arguments].concat()).await;
        assert_eq!(answer, Some(expected), "{path} {arguments:?}");
    }
    // Bytes that are not TLS are not answered.
    let mut plain = tool(name, "curl").expect("it was there before");
    plain.args(["-sS", "--max-time", "10", &format!("http://127.0.0.1:{}/live", server.admin_port())]);
    let done = command::output(plain).await;
    assert!(done.code != 0 && !done.stdout.contains("live"), "{done:?}");
}

#[tokio::test]
async fn the_command_line_shows_a_certificate_or_a_token() {
    let authority = Authority::new("one");
    let server = setup(&authority, &(asking("optional") + "token-file = \"token\"\n"), &["operator"])
        .file("other.pem", Authority::new("other").pem())
        .start()
        .await;
    let certificate = ["--ca-file", "ca.pem", "--certificate", "operator.pem", "--key", "operator-key.pem"];
    let token = ["--ca-file", "ca.pem", "--token-file", "token"];
    for shown in [&certificate[..], &token] {
        for (arguments, expected) in [
            (&["ps"][..], "COMPONENT"),
            (&["components"], "app"),
            (&["deploy", "app", "b.wasm"], "app serves sha256:"),
            (&["rollback", "app"], "(file)"),
            (&["reload"], "reloaded"),
        ] {
            let done = roadrunner(&server, arguments, shown).await;
            assert!(done.code == 0 && done.stdout.contains(expected), "{arguments:?} {shown:?}: {done:?}");
        }
        let done = roadrunner(&server, &["kill", "4000000000"], shown).await;
        assert!(done.code == 1 && done.stderr.contains("no live instance"), "{done:?}");
    }
    for (shown, reason) in [
        (&["--ca-file", "ca.pem"][..], "401"),
        (&["--token-file", "token"], "invalid peer certificate"),
        (&["--ca-file", "other.pem", "--token-file", "token"], "invalid peer certificate"),
        (&["--ca-file", "gone.pem"], "gone.pem"),
        (&["--ca-file", "ca.pem", "--certificate", "operator.pem"], "--key"),
        (&["--ca-file", "ca.pem", "--certificate", "operator.pem", "--key", "admin-key.pem"], "operator.pem"),
    ] {
        let done = roadrunner(&server, &["ps"], shown).await;
        assert!(done.code != 0 && done.stderr.contains(reason), "{shown:?}: {done:?}");
    }
    // With a name that the certificate does not cover, and without the host's address.
    let mut command = command::roadrunner();
    command.args(["ps", "--admin", &format!("https://127.0.0.2:{}", server.admin_port())]).args(certificate);
    assert_ne!(command::output(command).await.code, 0);
    let mut command = command::roadrunner();
    command.arg("ps").current_dir(server.folder());
    let done = command::output(command).await;
    assert!(done.code == 1 && done.stderr.contains("--admin https://"), "{done:?}");
}

#[tokio::test]
async fn a_token_is_enough_over_tls() {
    let name = "a_token_is_enough_over_tls";
    let authority = Authority::new("one");
    let server = setup(&authority, &(tls("") + "token-file = \"token\"\n"), &["operator"]).start().await;
    let shown = format!("authorization: Bearer {TOKEN}");
    for (path, arguments, expected) in [
        ("/live", &[][..], 200),
        ("/metrics", &[], 401),
        // Over HTTP/2, this curl sees no answer that comes before it has sent everything.
        ("/components/app", &["--http1.1", "-T", "b.wasm"], 401),
        ("/metrics", &["-H", &shown], 200),
        ("/components/app", &["-T", "b.wasm", "-H", &shown], 200),
        // This listener asks for no certificates, so they have no effect.
        ("/metrics", &OPERATOR, 401),
    ] {
        let Some((answer, text)) = curl(&server, name, path, arguments).await else { return };
        assert_eq!(answer, expected, "{path} {arguments:?}: {text}");
    }
    drop(server);

    // Encrypted, and open to this machine: everything except deploying.
    let server = setup(&authority, &tls(""), &[]).start().await;
    assert_eq!(status(&server, name, "/metrics", &[]).await, Some(200));
    let (refused, text) =
        curl(&server, name, "/components/app", &["--http1.1", "-T", "b.wasm"]).await.expect("curl is there");
    assert!(refused == 403 && text.contains("token-file"), "{refused} {text}");
}

#[tokio::test]
async fn a_certificate_speaks_for_whom_it_is_named() {
    let name = "a_certificate_speaks_for_whom_it_is_named";
    let authority = Authority::new("one");
    let keys = asking("required") + "subjects = [\"CN=operator\"]\n";
    let server = setup(&authority, &keys, &["operator", "acme", "nobody", "both"])
        .and("[tenant.acme]\nadmin-subjects = [\"CN=acme\", \"both.test\"]\n")
        .and("[tenant.other]\nadmin-subjects = [\"CN=both\"]\n")
        .and("[component.theirs]\nfile = \"b.wasm\"\ntenant = \"acme\"\n")
        .start()
        .await;
    let shown = |client: &str| {
        let cert = ["--cert".to_owned(), format!("{client}.pem"), "--key".to_owned(), format!("{client}-key.pem")];
        let server = &server;
        async move {
            let arguments: Vec<&str> = cert.iter().map(String::as_str).collect();
            curl(server, name, "/components", &arguments).await
        }
    };
    let Some((status, all)) = shown("operator").await else { return };
    assert!(status == 200 && all.contains("\"app\"") && all.contains("\"theirs\""), "{status} {all}");
    let (status, theirs) = shown("acme").await.expect("curl is there");
    assert!(status == 200 && !theirs.contains("\"app\"") && theirs.contains("\"theirs\""), "{status} {theirs}");
    for client in ["nobody", "both"] {
        assert_eq!(shown(client).await.expect("curl is there").0, 401, "{client}");
    }
}

/// Renewed certificates, replaced by a reload and automatically, and authorities with them.
#[tokio::test]
async fn certificates_and_authorities_are_replaced() {
    let name = "certificates_and_authorities_are_replaced";
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let watched = asking("required").replace(" }", ", watch = true }");
    let quiet = asking("required").replace(" }", ", watch = false }");
    for (keys, by_itself) in [(quiet, false), (watched, true)] {
        let (certificate, key) = new.client("newcomer");
        let server = setup(&old, &keys, &["operator"])
            .file("newcomer.pem", certificate)
            .private_file("newcomer-key.pem", key)
            .file("new.pem", new.pem())
            .file("old.pem", old.pem())
            .start()
            .await;
        let newcomer = ["--cert", "newcomer.pem", "--key", "newcomer-key.pem"];
        let by_old = [&OPERATOR[..], &["--cacert", "old.pem"]].concat();
        let by_new = [&newcomer[..], &["--cacert", "new.pem"]].concat();
        let Some(before) = status(&server, name, "/metrics", &by_old).await else { return };
        assert_eq!((before, status(&server, name, "/metrics", &by_new).await), (200, Some(0)));
        let write = |path: &str, text: &str| replace(server.folder(), path, text);
        let (certificate, key) = new.server();
        write("admin-key.pem", &key);
        write("admin.pem", &certificate);
        write("ca.pem", &new.pem());
        if !by_itself {
            assert_eq!(status(&server, name, "/metrics", &by_old).await, Some(200), "nobody looks");
            assert_eq!(status(&server, name, "/reload", &[&by_old[..], &["-X", "POST"]].concat()).await, Some(200));
        }
        let replaced = async || (status(&server, name, "/metrics", &by_new).await == Some(200)).then_some(());
        within(Duration::from_secs(20), replaced).await.unwrap_or_else(|| panic!("watch: {by_itself}\n{}", server.log));
        assert_eq!(status(&server, name, "/metrics", &by_old).await, Some(0));
    }
}

fn replace(folder: &Path, path: &str, text: &str) {
    let (path, new) = (folder.join(path), folder.join(path).with_extension("new"));
    std::fs::write(&new, text).expect("a file");
    std::fs::set_permissions(&new, Permissions::from_mode(0o600)).expect("our own file");
    std::fs::rename(new, path).expect("the same folder");
}

/// The addresses that are allowed for it; nothing is started.
#[tokio::test]
async fn an_address_that_others_reach_needs_encryption_and_a_key() {
    let authority = Authority::new("one");
    for (keys, reason) in [
        (String::new(), Some("is not encrypted")),
        ("token-file = \"token\"\n".to_owned(), Some("is not encrypted")),
        (tls(""), Some("asks for no credentials")),
        (asking("optional"), Some("asks for no credentials")),
        (asking("required"), None),
        (tls("") + "token-file = \"token\"\n", None),
    ] {
        let (folder, manifest) = setup(&authority, "", &[]).write();
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let text =
            text.replace("[admin]\naddress = \"127.0.0.1:0\"\n", &format!("[admin]\naddress = \"0.0.0.0:0\"\n{keys}"));
        std::fs::write(&manifest, text).expect("a file");
        let mut check = command::roadrunner();
        check.arg("check").current_dir(folder.path());
        let done = command::output(check).await;
        match reason {
            Some(reason) => assert!(done.code == 1 && done.stderr.contains(reason), "{keys}: {done:?}"),
            None => assert_eq!(done.code, 0, "{keys}: {done:?}"),
        }
    }
}
