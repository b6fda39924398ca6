//! A store on a Redis server.
//!
//! All operations share one connection, which the first of them makes. If it is lost, another one is made, and unsent
//! commands are sent on it. Of the commands that were sent but not answered, only reads are repeated, since a write may
//! have taken effect. An operation that is not answered in time takes the connection out of use, so that no other
//! operation waits for a hanging one. A server that refuses connections is tried again after a short pause, and
//! operations fail at once until then.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisFuture, Value, cmd,
};
use roadrunner_names::Share;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::error::{Error, OpenError};
use crate::page::Page;
use crate::tables::millis;

/// How long an unreachable server is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// The most commands that wait for their answers on one connection. Buckets allow fewer, except for commands whose
/// caller has left.
const PIPELINE: usize = 4096;

/// The fewest entries that one SCAN examines; most of them may belong to other namespaces.
const SCAN: usize = 100;

/// Returns the value, nil, or the length of a value that is longer than the second argument allows, so that no longer
/// value is ever read into memory.
const GET: &str = "local n = redis.call('STRLEN', KEYS[1]) \
                   if n > tonumber(ARGV[1]) then return n end \
                   return redis.call('GET', KEYS[1])";

/// Compares and sets. A time to live of 0 means none.
const SET_IF: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
                      if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) \
                      else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end \
                      return 1";

/// A Redis server.
#[derive(Clone, Debug)]
pub(crate) struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Arc<str>,
    client: Client,
    names: Share,
    link: Mutex<Link>,
    /// Held while a connection is made.
    making: tokio::sync::Mutex<()>,
    /// The last operation reached the server.
    is_reachable: AtomicBool,
}

/// The connection, and how many connections came before it.
#[derive(Debug, Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    made: u64,
    failed: Option<(Instant, String)>,
}

impl Redis {
    pub(crate) fn new(
        name: &str,
        url: &str,
        password: Option<Arc<Zeroizing<String>>>,
        names: Share,
    ) -> Result<Self, OpenError> {
        let wrong = |error: RedisError| OpenError::Url(name.into(), error.to_string());
        let mut info = url.into_connection_info().map_err(wrong)?;
        if let Some(password) = password {
            let settings = info.redis_settings().clone().set_password(password.as_str());
            info = info.set_redis_settings(settings);
        }
        let client = Client::open(info).map_err(wrong)?;
        // The client uses the process's own provider, which may not be installed yet. An existing one is just as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            client,
            names,
            link: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            is_reachable: AtomicBool::new(true),
        })))
    }

    pub(crate) async fn get(&self, key: &[u8], most: usize, ends: Instant) -> Result<Option<Vec<u8>>, Error> {
        match self.run(cmd("EVAL").arg(GET).arg(1).arg(key).arg(most), Kind::Read, ends).await? {
            Value::Nil => Ok(None),
            Value::BulkString(value) => Ok(Some(value)),
            Value::Int(_) => Err(Error::ValueTooLong(most as u64)),
            _ => Err(self.failed("GET has another answer than it should")),
        }
    }

    pub(crate) async fn set(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
        ends: Instant,
    ) -> Result<(), Error> {
        let mut set = cmd("SET");
        set.arg(key).arg(value);
        if let Some(ttl) = ttl {
            set.arg("PX").arg(millis(ttl));
        }
        self.run(&set, Kind::Write, ends).await
    }

    pub(crate) async fn set_if(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Option<Duration>,
        ends: Instant,
    ) -> Result<bool, Error> {
        let Some(expected) = expected else {
            let mut set = cmd("SET");
            set.arg(key).arg(value).arg("NX");
            if let Some(ttl) = ttl {
                set.arg("PX").arg(millis(ttl));
            }
            let done: Option<String> = self.run(&set, Kind::Write, ends).await?;
            return Ok(done.is_some());
        };
        let ttl = ttl.map_or(0, millis);
        let mut set = cmd("EVAL");
        set.arg(SET_IF).arg(1).arg(key).arg(expected).arg(value).arg(ttl);
        self.run(&set, Kind::Write, ends).await
    }

    pub(crate) async fn delete(&self, key: &[u8], ends: Instant) -> Result<bool, Error> {
        self.run(cmd("DEL").arg(key), Kind::Write, ends).await
    }

    pub(crate) async fn exists(&self, key: &[u8], ends: Instant) -> Result<bool, Error> {
        self.run(cmd("EXISTS").arg(key), Kind::Read, ends).await
    }

    pub(crate) async fn increment(&self, key: &[u8], delta: i64, ends: Instant) -> Result<i64, Error> {
        self.run(cmd("INCRBY").arg(key).arg(delta), Kind::Write, ends).await
    }

    /// Runs one or more steps of SCAN: until there are enough keys, or half of the time has passed.
    pub(crate) async fn keys(
        &self,
        prefix: &[u8],
        mut cursor: u64,
        most: usize,
        skip: usize,
        ends: Instant,
    ) -> Result<Page, Error> {
        let pattern = pattern(prefix);
        let half = Instant::now() + ends.saturating_duration_since(Instant::now()) / 2;
        let mut page = Page::default();
        loop {
            let count = (most - page.keys.len()).max(SCAN.min(most));
            let scan = cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(count).clone();
            let (next, found): (u64, Vec<Vec<u8>>) = self.run(&scan, Kind::Read, ends).await?;
            // A key that is not text does not come from a bucket.
            let keys = found.into_iter().filter_map(|key| String::from_utf8(key.get(skip..)?.to_owned()).ok());
            page.keys.extend(keys);
            cursor = next;
            if cursor == 0 || page.keys.len() >= most || Instant::now() >= half {
                break;
            }
        }
        page.next = (cursor != 0).then(|| cursor.to_string());
        Ok(page)
    }

    /// Sends one command and waits for its answer.
    async fn run<T: FromRedisValue>(&self, command: &Cmd, kind: Kind, ends: Instant) -> Result<T, Error> {
        let result = timeout_at(ends, async {
            let mut is_first = true;
            loop {
                let (mut connection, made) = self.connection().await?;
                if is_lost(&connection) {
                    // No command was sent on it; the next one is new.
                    self.discard(made);
                    if std::mem::take(&mut is_first) {
                        continue;
                    }
                }
                let answer: Result<T, RedisError> = match timeout_at(ends, command.query_async(&mut connection)).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        self.discard(made);
                        return Err(Error::Timeout);
                    }
                };
                let Err(error) = answer else { return answer.map_err(|error| self.meaning(&error)) };
                if error.is_unrecoverable_error() || error.is_io_error() {
                    self.discard(made);
                    if kind == Kind::Read && std::mem::take(&mut is_first) {
                        continue;
                    }
                }
                return Err(self.meaning(&error));
            }
        });
        let result = result.await.unwrap_or(Err(Error::Timeout));
        self.note(&result);
        result
    }

    /// The shared connection, and its number.
    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Error> {
        if let Some(known) = self.known()? {
            return Ok(known);
        }
        let _making = self.0.making.lock().await;
        if let Some(known) = self.known()? {
            return Ok(known);
        }
        // Each operation has its own timeout for both the connection and the answer.
        let config = AsyncConnectionConfig::new()
            .set_dns_resolver(Names(self.0.names.clone()))
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_concurrency_limit(PIPELINE);
        let made = self.0.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut link = self.0.link.lock();
        match made {
            Ok(connection) => {
                link.made += 1;
                link.failed = None;
                link.connection = Some(connection.clone());
                Ok((connection, link.made))
            }
            Err(error) => {
                link.failed = Some((Instant::now(), error.to_string()));
                Err(self.failed(&error.to_string()))
            }
        }
    }

    fn known(&self) -> Result<Option<(MultiplexedConnection, u64)>, Error> {
        let link = self.0.link.lock();
        if let Some(connection) = &link.connection {
            return Ok(Some((connection.clone(), link.made)));
        }
        match &link.failed {
            Some((at, reason)) if at.elapsed() < PAUSE => Err(self.failed(reason)),
            _ => Ok(None),
        }
    }

    /// Makes the next operation open another connection, unless one was already opened.
    fn discard(&self, made: u64) {
        let mut link = self.0.link.lock();
        if link.made == made {
            link.connection = None;
        }
    }

    fn meaning(&self, error: &RedisError) -> Error {
        let detail = error.detail().unwrap_or_default();
        if detail.contains("not an integer") {
            return Error::NO_NUMBER;
        }
        if detail.contains("would overflow") {
            return Error::OVERFLOW;
        }
        self.failed(&error.to_string())
    }

    /// Logs when the server becomes unreachable or reachable, and not each operation in between.
    fn note<T>(&self, result: &Result<T, Error>) {
        match result {
            Err(error @ (Error::Failed { .. } | Error::Timeout)) => {
                if self.0.is_reachable.swap(false, Relaxed) {
                    tracing::warn!(store = %self.0.name, "a store has ceased to answer: {error}");
                }
            }
            _ => {
                if !self.0.is_reachable.load(Relaxed) && !self.0.is_reachable.swap(true, Relaxed) {
                    tracing::info!(store = %self.0.name, "a store answers again");
                }
            }
        }
    }

    fn failed(&self, reason: &str) -> Error {
        Error::Failed { store: self.0.name.clone(), reason: reason.to_owned() }
    }
}

/// Resolves the name of the server in the same way as all names of the host.
struct Names(Share);

impl AsyncDNSResolver for Names {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = self.0.resolve(host).await.map_err(io::Error::other)?;
            let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(*address, port)).collect();
            Ok(Box::new(addresses.into_iter()) as _)
        })
    }
}

/// Whether a connection is known to be lost. A command on it then fails at once, before it is sent. On another
/// connection it would wait for its answer, but it is not sent if its caller has left.
fn is_lost(connection: &MultiplexedConnection) -> bool {
    let mut connection = connection.clone();
    let ping = cmd("PING");
    // Unless the runtime's budget for one turn, which channels keep, hides it.
    let mut asked = pin!(tokio::task::unconstrained(ping.query_async::<Value>(&mut connection)));
    matches!(asked.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
}

/// Whether a command can be repeated after it may have taken effect.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Read,
    Write,
}

/// The glob pattern for all keys that begin with these bytes.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 8);
    for byte in prefix {
        if b"\\*?[]".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_as_it_is() {
        assert_eq!(pattern(b"a*[b]?\\"), b"a\\*\\[b\\]\\?\\\\*");
    }
}
