//! Names and passwords in front of a route (RFC 7617).
//!
//! A password is hashed by Argon2, which is slow on purpose. So it is done on one thread for each middleware, with a low
//! priority and a short queue: clients that guess passwords wait for each other, and take little from anybody else. A
//! name and password that were right are known again by a keyed hash, and cost nothing from then on.
//!
//! The time of an answer does not tell whether a name is known: an unknown name is checked against a hash that no
//! password has. What is compared is compared in constant time.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result, ensure};
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Request};
use parking_lot::Mutex;
use roadrunner_account::{Digest, Outcome};
use roadrunner_manifest::BasicAuth;
use roadrunner_sandbox::Secret;
use roadrunner_wire::RequestBody;
use tokio::sync::oneshot;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use zeroize::Zeroizing;

use super::layer::{Middleware, RouteService};
use crate::answer::{Reason, refuse};

/// Checks that wait for the thread. More are refused.
const QUEUE: usize = 16;

/// The longest value of `authorization` that is looked at, in bytes.
const LONGEST: usize = 1024;

/// Names and passwords that were right, and are remembered.
const KNOWN: usize = 1024;

/// The priority of the thread.
const NICENESS: i32 = 10;

/// A hash that no password has, with the usual parameters.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(super) struct BasicAuthMiddleware(Arc<Gatekeeper>);

/// A name and a password, and the place for the answer.
type Check = (Zeroizing<String>, oneshot::Sender<bool>);

struct Gatekeeper {
    settings: BasicAuth,
    users: Digest,
    challenge: HeaderValue,
    key: [u8; 32],
    /// Keyed hashes of what was right.
    known: Mutex<Vec<Digest>>,
    checks: SyncSender<Check>,
}

impl BasicAuthMiddleware {
    pub(super) fn new(settings: BasicAuth, secrets: &BTreeMap<String, Secret>) -> Result<Self> {
        let name = &settings.users;
        let secret = secrets.get(name.as_str()).with_context(|| format!("there is no secret {name}"))?;
        let users = users(secret).with_context(|| format!("the secret {name} has no list of users"))?;
        let (checks, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new().name("passwords".into()).spawn(move || check(&users, &waiting))?;
        let mut key = [0; 32];
        getrandom::fill(&mut key).ok().context("the kernel has no random bytes")?;
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{}\", charset=\"UTF-8\"", settings.realm))?;
        let users = Digest::of(secret.expose());
        Ok(Self(Arc::new(Gatekeeper { settings, users, challenge, key, known: Mutex::default(), checks })))
    }
}

impl Middleware for BasicAuthMiddleware {
    fn wrap(&self, inner: RouteService) -> RouteService {
        let gatekeeper = self.0.clone();
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let (gatekeeper, inner) = (gatekeeper.clone(), inner.clone());
            async move {
                match gatekeeper.admits(request.headers()).await {
                    Ok(true) => inner.oneshot(request).await,
                    Ok(false) => Ok(refuse(Reason::Unauthorized(gatekeeper.challenge.clone()))),
                    Err(outcome) => Ok(refuse(outcome)),
                }
            }
        });
        BoxCloneSyncService::new(service)
    }

    /// Keeps what was right, as long as the users stay.
    fn keep(&mut self, before: &dyn Middleware) {
        let before: &dyn Any = before;
        let same = |before: &Gatekeeper| before.settings == self.0.settings && before.users == self.0.users;
        if let Some(Self(before)) = before.downcast_ref().filter(|Self(before)| same(before)) {
            self.0 = before.clone();
        }
    }
}

impl Gatekeeper {
    async fn admits(&self, headers: &HeaderMap) -> Result<bool, Outcome> {
        let Some(given) = given(headers) else { return Ok(false) };
        let hash = self.hash(&given);
        if self.known.lock().contains(&hash) {
            return Ok(true);
        }
        let (answer, told) = oneshot::channel();
        self.checks.try_send((given, answer)).map_err(|_| Outcome::Overloaded)?;
        let is_right = told.await.unwrap_or(false);
        if is_right {
            let mut known = self.known.lock();
            if known.len() >= KNOWN {
                known.clear();
            }
            known.push(hash);
        }
        Ok(is_right)
    }

    /// A hash that nobody else can make, so that comparing it tells nothing.
    fn hash(&self, given: &str) -> Digest {
        let keyed = Zeroizing::new([&self.key[..], given.as_bytes()].concat());
        Digest::of(&keyed)
    }
}

/// The name and password of a request, with a colon between them; none where there is no valid one.
fn given(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, encoded) = value.to_str().ok().filter(|value| value.len() <= LONGEST)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim_matches(' ')).ok()?;
    let text = Zeroizing::new(String::from_utf8(decoded).ok()?);
    let is_valid = text.contains(':') && !text.chars().any(char::is_control);
    is_valid.then_some(text)
}

/// The users of a secret: the hash of the password for each name.
fn users(secret: &Secret) -> Result<HashMap<String, String>> {
    let text = std::str::from_utf8(secret.expose()).context("it is not UTF-8")?;
    let mut users = HashMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    for (number, line) in lines {
        let number = number + 1;
        let (name, hash) = line.trim().split_once(':').with_context(|| format!("line {number} has no colon"))?;
        let is_hash = PasswordHash::new(hash).is_ok_and(|hash| hash.algorithm.as_str().starts_with("argon2"));
        ensure!(is_hash, "line {number} has no hash by Argon2 behind the colon: write `$argon2id$...`");
        ensure!(!name.is_empty(), "line {number} has no name before the colon");
        ensure!(users.insert(name.to_owned(), hash.to_owned()).is_none(), "line {number} names a user twice");
    }
    ensure!(!users.is_empty(), "it is empty: write a line `name:$argon2id$...` for each user");
    Ok(users)
}

/// Checks names and passwords until the middleware is gone.
fn check(users: &HashMap<String, String>, waiting: &Receiver<Check>) {
    // A host that may not do this checks with its own priority.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
    while let Ok((given, answer)) = waiting.recv() {
        // Nobody waits for the answer when the client has left.
        if answer.is_closed() {
            continue;
        }
        let (name, password) = given.split_once(':').unwrap_or((&given, ""));
        let hash = users.get(name);
        let is_right = PasswordHash::new(hash.map_or(NOBODY, String::as_str))
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        let _ = answer.send(is_right && hash.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(Zeroizing::new(text.as_bytes().to_vec()))
    }

    fn fault(text: &str) -> String {
        format!("{:#}", users(&secret(text)).expect_err("a fault"))
    }

    #[test]
    fn a_list_of_users_is_read_or_says_what_is_wrong() {
        let users = users(&secret(&format!("# staff\nann:{NOBODY}\n\nbob:{NOBODY}"))).expect("two users");
        assert_eq!(users.len(), 2);
        assert!(fault("ann").contains("line 1 has no colon"));
        assert!(fault("ann:secret").contains("line 1 has no hash by Argon2"));
        assert!(fault(&format!(":{NOBODY}")).contains("no name"));
        assert!(fault(&format!("a:{NOBODY}\na:{NOBODY}")).contains("line 2 names a user twice"));
        assert!(fault("# nobody").contains("is empty"));
    }

    #[test]
    fn only_one_valid_field_counts() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a value"));
            }
            given(&headers).map(|given| given.to_string())
        };
        assert_eq!(headers(&["Basic YW5uOnB3"]).as_deref(), Some("ann:pw"));
        assert_eq!(headers(&["basic  YW5uOnB3 "]).as_deref(), Some("ann:pw"));
        assert_eq!(headers(&["Basic YW5u"]), None, "no colon");
        assert_eq!(headers(&["Basic YW5uOnB3", "Basic YW5uOnB3"]), None, "two fields");
        assert_eq!(headers(&["Bearer YW5uOnB3"]), None);
        assert_eq!(headers(&["Basic YW5uOgA="]), None, "a control character");
        assert_eq!(headers(&[]), None);
    }
}
