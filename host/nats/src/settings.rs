//! Settings of the connection, and the handler of what arrives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roadrunner_names::Share;

use crate::credentials::Credentials;
use crate::servers::Server;
use crate::tls::Tls;

/// Where the servers are, who we are to them, and how much may wait for them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one. Others of its cluster are found by it.
    pub servers: Vec<Server>,
    /// Resolves their names.
    pub names: Share,
    /// How TLS is spoken; none for plaintext.
    pub tls: Option<Tls>,
    /// Who we are.
    pub credentials: Credentials,
    /// What we are called in the server's lists.
    pub name: String,
    /// The header that carries a message's label.
    pub label: &'static str,
    /// Bytes that may wait to be sent, and as many that have arrived. One account may use half of the former.
    pub queue_bytes: usize,
    /// Messages that may wait to be sent. One account may use half of them.
    pub queue_messages: usize,
    /// The largest payload, in either direction, in bytes. The server's own limit holds beside it.
    pub max_payload: usize,
    /// From the first packet until a server has taken the credentials.
    pub connect_timeout: Duration,
    /// How often the server is asked whether it is there. Silent for three times as long, it is taken for dead.
    pub ping_interval: Duration,
    /// The pause after a connection was lost, or every server has failed once; it doubles with every further time that all
    /// of them fail, up to `max_backoff`.
    pub min_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
}

/// What arrives. Called from the driver's task, one call at a time; none may block.
pub trait Handler: Send + Sync + 'static {
    /// What any subscription was for may have passed until now: a server is there, for the first time or again, or
    /// messages were lost that nobody can name.
    fn gap(&self);

    /// Messages of this subscription came faster than they were taken. It is not known how many are lost.
    fn overrun(&self, subject: &Arc<str>);

    /// A message of a subscription, with its label if it has one.
    fn message(&self, subject: &Arc<str>, label: Option<&str>, payload: Bytes);

    /// A message of a subscription was larger than [`Settings::max_payload`] and was dropped.
    fn skipped(&self, subject: &Arc<str>);
}
