//! The address of a listener.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::scalar::{Fault, Text};

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A listening socket that systemd has opened, by its name or by its index, from 0.
    Systemd(String),
    /// An IP address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The same address, with a relative socket path resolved from the manifest's folder.
    pub(crate) fn resolve(self, folder: &Path) -> Self {
        match self {
            Self::Systemd(_) | Self::Tcp(_) => self,
            Self::Unix(path) => Self::Unix(folder.join(path)),
        }
    }
}

impl Text for Address {
    const KIND: &'static str = "an address: \"127.0.0.1:8080\", \"[::1]:8080\", \"unix:PATH\" or \"systemd:NAME\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(Fault::new("has no socket path", "write \"unix:PATH\""));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // systemd.socket(5), FileDescriptorName=.
            if name.is_empty() || name.len() > 255 || name.contains(|c: char| c == ':' || c.is_control()) {
                let fix = "write \"systemd:NAME\" with the socket's FileDescriptorName, or \"systemd:0\" for the first";
                return Err(Fault::new("names no socket", fix));
            }
            return Ok(Self::Systemd(name.to_owned()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        Err(Fault::new(format!("is \"{text}\", not an address"), address_fix(text)))
    }
}

fn address_fix(text: &str) -> String {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return format!("add a port: \"{}\"", SocketAddr::new(ip, 8080));
    }
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some(port) = port(text.trim_start_matches(':')) {
        return format!("write \"127.0.0.1:{port}\" for this machine only, \"0.0.0.0:{port}\" for every interface");
    }
    match text.rsplit_once(':') {
        Some(("localhost", number)) if port(number).is_some() => format!("write \"127.0.0.1:{number}\""),
        Some(("*", number)) if port(number).is_some() => format!("write \"0.0.0.0:{number}\" or \"[::]:{number}\""),
        Some((_, number)) if port(number).is_none() => "the port is a number from 0 to 65535".to_owned(),
        _ => "write an IP address and a port, such as \"127.0.0.1:8080\"".to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert!(matches!(Address::parse("[::1]:80"), Ok(Address::Tcp(_))));
        assert!(matches!(Address::parse("unix:/run/x"), Ok(Address::Unix(_))));
        assert_eq!(Address::parse("systemd:web"), Ok(Address::Systemd("web".to_owned())));
        assert!(Address::parse("systemd:").is_err() && Address::parse("systemd:a:b").is_err());
        let fix = |text| Address::parse(text).expect_err(text).fix;
        assert!(fix("localhost:80").contains("127.0.0.1:80"));
        assert!(fix(":80").contains("0.0.0.0:80"));
        assert!(fix("8080").contains("127.0.0.1:8080"));
        assert!(fix("127.0.0.1").contains("127.0.0.1:8080"));
        assert!(fix("::1").contains("[::1]:8080"));
        assert!(fix("1.2.3.4:99999").contains("65535"));
        assert!(fix("unix:").contains("PATH"));
    }
}
