//! Topics that join the sessions of one component owner. Topics of other owners are out of reach.

use crate::bindings::roadrunner::handler::bus as wit;
use crate::error::Result;

/// Delivers later messages of this topic to this session as [`crate::Event::Message`]. Only a held session (an event
/// loop or a WebSocket) receives them. Subscribing twice has the same effect as once.
///
/// # Errors
/// [`Error::Refused`](crate::Error::Refused) when the host's policy or a limit on subscriptions does not allow it.
pub fn subscribe(topic: &str) -> Result<()> {
    Ok(wit::subscribe(topic)?)
}

/// Ends a subscription.
pub fn unsubscribe(topic: &str) {
    wit::unsubscribe(topic);
}

/// Sends to every session that is subscribed now, and returns how many there are on this host. Never waits: a session
/// whose queue is full misses the message and learns of it with its next one.
///
/// # Errors
/// On an error no session has received the message. [`Error::TooLarge`](crate::Error::TooLarge) for a message beyond
/// the host's limit, [`Error::Refused`](crate::Error::Refused) while too much waits to be sent to other hosts.
pub fn publish(topic: &str, payload: impl AsRef<[u8]>) -> Result<u32> {
    Ok(wit::publish(topic, payload.as_ref())?)
}
