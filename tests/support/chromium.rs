//! A browser: headless Chromium, driven by the DevTools protocol over a pipe, so that there is no port to find and no
//! driver to install.

use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::command::tool;
use crate::server::certificate;
use crate::soon;

/// Chromium reads commands from descriptor 3 and answers on descriptor 4; here they are its standard input and output.
const PIPES: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// The flags. The certificates of these tests are self-signed, and no other hosts are contacted.
const FLAGS: [&str; 11] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--no-proxy-server",
];

/// How long a page may take to reach the state that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with its own profile. It is killed when this is dropped.
#[derive(Debug)]
pub struct Chromium {
    _child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    last: u64,
    _profile: TempDir,
}

/// A page of a browser.
#[derive(Clone, Debug)]
pub struct Tab(String);

impl Chromium {
    /// Starts a browser, if one is installed. Otherwise prints that the test is skipped.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &["--disable-quic"])
    }

    /// Starts a browser that uses HTTP/3 to this port of localhost from the start, without waiting for `Alt-Svc`, and
    /// WebSocket over it. QUIC does not ignore certificate errors, so the browser is given the accepted key.
    pub fn start_http3(test: &str, port: u16) -> Option<Self> {
        let key = rcgen::KeyPair::from_pem(&certificate().1).expect("our own key");
        let key = BASE64_STANDARD.encode(Sha256::digest(key.subject_public_key_info()));
        Self::start_with(
            test,
            &[
                "--enable-quic",
                "--enable-features=EnableWebsocketsOverHttp3",
                "--host-resolver-rules=MAP localhost 127.0.0.1",
                &format!("--origin-to-force-quic-on=localhost:{port}"),
                &format!("--ignore-certificate-errors-spki-list={key}"),
            ],
        )
    }

    /// Starts a browser as it is installed, apart from the needs of all tests: for a page that names its server's
    /// certificate itself.
    pub fn start_stock(test: &str) -> Option<Self> {
        Self::start_with(test, &["--host-resolver-rules=MAP localhost 127.0.0.1"])
    }

    fn start_with(test: &str, more: &[&str]) -> Option<Self> {
        let program = tool(test, "chromium")?;
        let profile = TempDir::with_prefix("chromium-").expect("a temporary folder");
        let mut command = Command::new("sh");
        command.args(["-c", PIPES]).arg(program.get_program()).args(FLAGS).args(more);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("a shell can be started");
        let commands = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Some(Self { _child: child, commands, answers, last: 0, _profile: profile })
    }

    /// Opens a page.
    pub async fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({ "url": url })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach).await;
        Tab(session["sessionId"].as_str().expect("a session has an id").to_owned())
    }

    /// Evaluates an expression in a page.
    ///
    /// # Panics
    /// When it throws.
    pub async fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call(Some(tab), "Runtime.evaluate", parameters).await;
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression in a page is true.
    ///
    /// # Panics
    /// When it does not become true, with the page's text.
    pub async fn until(&mut self, tab: &Tab, expression: &str) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            // While the page is loading there is no document, and the expression throws.
            let guarded = format!("(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()");
            if self.evaluate(tab, &guarded).await == true {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let text = self.evaluate(tab, "document.body && document.body.innerText").await;
        panic!("not so within {PATIENCE:?}: {expression}; the page says {text}");
    }

    async fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(Tab(session)) = tab {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        soon(self.commands.write_all(&bytes)).await.expect("the browser takes commands");
        loop {
            let mut bytes = Vec::new();
            soon(self.answers.read_until(0, &mut bytes)).await.expect("the browser answers");
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let answer: Value = serde_json::from_slice(&bytes).expect("the browser answers in JSON");
            // Anything else is an event.
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}
