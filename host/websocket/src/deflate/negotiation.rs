//! Offers and answers of permessage-deflate (RFC 7692, 5 and 7.1).

use std::fmt::Write;

use super::{DeflateConfig, Deflater, Inflater, WindowBits};
use crate::config::Role;
use crate::handshake::Extension;

/// The parameters that both sides agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeflateParams {
    /// The server forgets its window after each message (7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client forgets its window after each message (7.1.1.2).
    pub client_no_context_takeover: bool,
    /// The server's window (7.1.2.1).
    pub server_max_window_bits: WindowBits,
    /// The client's window (7.1.2.2).
    pub client_max_window_bits: WindowBits,
    /// Whether the answer names the client's window; it must not if the offer did not (7.1.2.2).
    pub(crate) name_client_window: bool,
    /// Whether the answer names the server's window; it must if the offer did (7.1.2.1).
    pub(crate) name_server_window: bool,
}

/// An answer in which a server agrees to something that the client did not offer, or that does not exist (RFC 7692,
/// 5.1). The client must fail the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the server's answer does not fit the offer of permessage-deflate")]
pub struct InvalidAnswer;

impl DeflateConfig {
    /// The server's side: agrees to the first acceptable offer, in the client's order of preference. An offer with an
    /// unknown, repeated or misused parameter is declined, and the next one is tried (7).
    pub fn accept(&self, offers: &[Extension]) -> Option<DeflateParams> {
        offers.iter().filter(|offer| offer.name == NAME).find_map(|offer| self.accept_one(&Params::read(offer)?))
    }

    fn accept_one(&self, offer: &Params) -> Option<DeflateParams> {
        let offered_server = match offer.server_window {
            Window::Absent => WindowBits::MAX,
            // 7.1.2.1: in an offer, this parameter has a value.
            Window::Open => return None,
            Window::Bits(bits) => bits,
        };
        let server_max_window_bits = offered_server.min(self.server_window);
        if server_max_window_bits == WindowBits::MIN {
            return None;
        }
        let (client_max_window_bits, name_client_window) = match offer.client_window {
            // 7.1.2.2: a client that does not name it cannot be asked for a smaller window.
            Window::Absent => (WindowBits::MAX, false),
            Window::Open => (self.client_window, self.client_window < WindowBits::MAX),
            Window::Bits(bits) => (bits.min(self.client_window), true),
        };
        Some(DeflateParams {
            server_no_context_takeover: offer.server_no_takeover || !self.server_context_takeover,
            // 7.1.1.2: in an offer this is a hint; agreeing to it saves this side the window.
            client_no_context_takeover: offer.client_no_takeover || !self.client_context_takeover,
            server_max_window_bits,
            client_max_window_bits,
            name_client_window,
            name_server_window: offer.server_window != Window::Absent || server_max_window_bits < WindowBits::MAX,
        })
    }

    /// The client's side: the value of its `Sec-WebSocket-Extensions`.
    pub fn offer(&self) -> String {
        let mut offer = NAME.to_owned();
        if !self.server_context_takeover {
            offer.push_str("; server_no_context_takeover");
        }
        if !self.client_context_takeover {
            offer.push_str("; client_no_context_takeover");
        }
        if self.server_window < WindowBits::MAX {
            push_bits(&mut offer, "server_max_window_bits", self.server_window);
        }
        if self.client_window < WindowBits::MAX {
            push_bits(&mut offer, "client_max_window_bits", self.client_window);
        } else {
            offer.push_str("; client_max_window_bits");
        }
        offer
    }

    /// The client's side: checks the server's answer to [`Self::offer`].
    pub fn agree(&self, answer: &Extension) -> Result<DeflateParams, InvalidAnswer> {
        let answer = Params::read(answer).ok_or(InvalidAnswer)?;
        let bits = |window, most| match window {
            Window::Absent => Ok(WindowBits::MAX),
            Window::Bits(bits) if bits <= most => Ok(bits),
            // 7.1.2: in an answer, both windows have a value, and it is not larger than the offered one.
            Window::Bits(_) | Window::Open => Err(InvalidAnswer),
        };
        // 7.1.1.1, 7.1.2.1: the answer must confirm the client's requests to the server.
        let unconfirmed = !self.server_context_takeover && !answer.server_no_takeover
            || self.server_window < WindowBits::MAX && answer.server_window == Window::Absent;
        if unconfirmed {
            return Err(InvalidAnswer);
        }
        Ok(DeflateParams {
            server_no_context_takeover: answer.server_no_takeover,
            client_no_context_takeover: answer.client_no_takeover || !self.client_context_takeover,
            server_max_window_bits: bits(answer.server_window, self.server_window)?,
            client_max_window_bits: bits(answer.client_window, self.client_window)?.min(self.client_window),
            name_client_window: answer.client_window != Window::Absent,
            name_server_window: answer.server_window != Window::Absent,
        })
    }
}

impl DeflateParams {
    /// The server's side: the value of its `Sec-WebSocket-Extensions`.
    pub fn answer(&self) -> String {
        let mut answer = NAME.to_owned();
        if self.server_no_context_takeover {
            answer.push_str("; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            answer.push_str("; client_no_context_takeover");
        }
        if self.name_server_window {
            push_bits(&mut answer, "server_max_window_bits", self.server_max_window_bits);
        }
        if self.name_client_window {
            push_bits(&mut answer, "client_max_window_bits", self.client_max_window_bits);
        }
        answer
    }

    /// An estimate of the bytes that a session of the side `role` holds for both streams once it has used them.
    pub fn memory(&self, role: Role) -> usize {
        Inflater::COST + Deflater::cost(self.sending(role).0)
    }

    /// The part of [`Self::memory`] that a session may hold while it waits for its peer, to limit a total: a stream
    /// without context exists only inside a message, and an outgoing message is never half done.
    pub fn held_memory(&self, role: Role) -> usize {
        let (window, kept) = self.sending(role);
        Inflater::COST + if kept { Deflater::cost(window) } else { 0 }
    }

    /// How this side compresses: the window, and whether it is kept between messages.
    pub(crate) fn sending(&self, role: Role) -> (WindowBits, bool) {
        match role {
            Role::Client => (self.client_max_window_bits, !self.client_no_context_takeover),
            Role::Server => (self.server_max_window_bits, !self.server_no_context_takeover),
        }
    }

    /// How the peer compresses.
    pub(crate) fn receiving(&self, role: Role) -> (WindowBits, bool) {
        match role {
            Role::Client => self.sending(Role::Server),
            Role::Server => self.sending(Role::Client),
        }
    }
}

/// The parameters as they were sent.
#[derive(Default)]
struct Params {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_window: Window,
    client_window: Window,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Window {
    #[default]
    Absent,
    /// Named without a value.
    Open,
    Bits(WindowBits),
}

impl Params {
    /// Reads the parameters. `None` if a parameter is unknown, repeated, or has an invalid value (7, 7.1).
    fn read(extension: &Extension) -> Option<Self> {
        let mut params = Self::default();
        for (name, value) in &extension.params {
            let value = value.as_deref();
            match name.as_str() {
                "server_no_context_takeover" => flag(&mut params.server_no_takeover, value)?,
                "client_no_context_takeover" => flag(&mut params.client_no_takeover, value)?,
                "server_max_window_bits" => window(&mut params.server_window, value)?,
                "client_max_window_bits" => window(&mut params.client_window, value)?,
                _ => return None,
            }
        }
        Some(params)
    }
}

fn flag(seen: &mut bool, value: Option<&str>) -> Option<()> {
    let first = !std::mem::replace(seen, true);
    (first && value.is_none()).then_some(())
}

fn window(seen: &mut Window, value: Option<&str>) -> Option<()> {
    let window = match value {
        None => Window::Open,
        // 7.1.2: a decimal integer without leading zeroes, 8 to 15.
        Some(value) if value.starts_with('0') || !value.bytes().all(|b| b.is_ascii_digit()) => {
            return None;
        }
        Some(value) => Window::Bits(WindowBits::new(value.parse().ok()?)?),
    };
    (std::mem::replace(seen, window) == Window::Absent).then_some(())
}

fn push_bits(header: &mut String, name: &str, bits: WindowBits) {
    // Writing to a string cannot fail.
    let _ = write!(header, "; {name}={}", bits.get());
}

const NAME: &str = "permessage-deflate";

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(config: &DeflateConfig, offer: &str) -> Option<String> {
        let offers = Extension::parse(offer.as_bytes()).unwrap();
        config.accept(&offers).map(|params| params.answer())
    }

    fn accepts(offer: &str) -> Option<String> {
        accept(&willing(), offer)
    }

    /// A configuration that agrees to context takeover.
    fn willing() -> DeflateConfig {
        DeflateConfig { server_context_takeover: true, client_context_takeover: true, ..DeflateConfig::default() }
    }

    fn bits(bits: u8) -> WindowBits {
        WindowBits::new(bits).unwrap()
    }

    #[test]
    fn rfc7692_7_1_answers() {
        for (offer, answer) in [
            ("permessage-deflate", Some("permessage-deflate")),
            ("permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
            ("permessage-deflate; client_max_window_bits=10", Some("permessage-deflate; client_max_window_bits=10")),
            ("permessage-deflate; client_max_window_bits=8", Some("permessage-deflate; client_max_window_bits=8")),
            (
                "permessage-deflate; server_max_window_bits=\"10\"",
                Some("permessage-deflate; server_max_window_bits=10"),
            ),
            ("permessage-deflate; server_max_window_bits=15", Some("permessage-deflate; server_max_window_bits=15")),
            (
                "permessage-deflate;server_no_context_takeover ; client_no_context_takeover",
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
            ),
            ("x-webkit-deflate-frame", None),
            ("permessage-deflate; server_max_window_bits=8", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=7", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; server_max_window_bits=010", None),
            ("permessage-deflate; server_max_window_bits=+9", None),
            ("permessage-deflate; client_max_window_bits=300", None),
            ("permessage-deflate; server_no_context_takeover=true", None),
            ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
            ("permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", None),
            ("permessage-deflate; level=9", None),
        ] {
            assert_eq!(accepts(offer).as_deref(), answer, "{offer}");
        }
    }

    #[test]
    fn rfc7692_5_1_the_next_offer_follows_a_declined_one() {
        let offers = "permessage-deflate; what=this, permessage-bzip2, \
                      permessage-deflate; server_max_window_bits=8, \
                      permessage-deflate; server_max_window_bits=11, permessage-deflate";
        assert_eq!(accepts(offers).unwrap(), "permessage-deflate; server_max_window_bits=11");
    }

    #[test]
    fn the_configuration_narrows_what_is_offered() {
        let config = DeflateConfig {
            server_context_takeover: false,
            client_context_takeover: false,
            server_window: bits(11),
            client_window: bits(10),
            ..DeflateConfig::default()
        };
        assert_eq!(
            accept(&config, "permessage-deflate; client_max_window_bits").unwrap(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=11; client_max_window_bits=10"
        );
        assert_eq!(
            accept(&config, "permessage-deflate; server_max_window_bits=9").unwrap(),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=9",
            "a client that does not offer it cannot be asked for a window"
        );
    }

    #[test]
    fn every_offer_agrees_with_its_answer() {
        for setting in 0..64u32 {
            let choose = |bit: u32, narrow| {
                if (setting >> bit) & 1 == 1 { bits(narrow) } else { WindowBits::MAX }
            };
            let client = DeflateConfig {
                server_context_takeover: setting & 1 == 0,
                client_context_takeover: setting & 2 == 0,
                server_window: choose(2, 10),
                client_window: choose(3, 12),
                ..DeflateConfig::default()
            };
            let server = DeflateConfig { server_window: choose(4, 9), client_window: choose(5, 9), ..willing() };
            let offers = Extension::parse(client.offer().as_bytes()).unwrap();
            let accepted = server.accept(&offers).unwrap();
            let answer = Extension::parse(accepted.answer().as_bytes()).unwrap();
            assert_eq!(client.agree(&answer[0]).unwrap(), accepted);
        }
    }

    #[test]
    fn a_client_refuses_an_answer_that_it_did_not_offer() {
        let client = DeflateConfig { server_window: bits(10), ..willing() };
        for answer in [
            "permessage-deflate",
            "permessage-deflate; server_max_window_bits=11",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; unknown",
        ] {
            let answer = Extension::parse(answer.as_bytes()).unwrap();
            assert_eq!(client.agree(&answer[0]), Err(InvalidAnswer), "{answer:?}");
        }
    }
}
