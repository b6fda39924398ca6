//! Cookies: lenient to read, strict to write (RFC 6265, sections 4.1 and 4.2, with the attributes of its successor
//! draft: `SameSite`, `Partitioned`, and the prefixes `__Host-`, `__Secure-`, `__Http-` and `__Host-Http-`).
//!
//! Written cookies follow the grammar of RFC 6265, 4.1.1, and browsers keep them unchanged: a cookie that browsers
//! would drop or read differently is an error, too.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Rejection;
use crate::response::{IntoResponse, Response};

/// The cookies of a request in the order in which they were sent, including repeated ones.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cookies(Vec<(String, String)>);

impl Cookies {
    /// Parses the values of `cookie` header fields. Parts without `=` are left out; quotes belong to the value (RFC
    /// 6265, 5.2). Bytes that are not UTF-8 become U+FFFD.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut cookies = Vec::new();
        for value in values {
            for pair in String::from_utf8_lossy(value).split(';') {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                let name = name.trim_matches([' ', '\t']);
                if !name.is_empty() {
                    cookies.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
                }
            }
        }
        Self(cookies)
    }

    /// The first cookie of this name. Names are case-sensitive.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(present, _)| *present == name).map(|(_, value)| value)
    }

    /// Every cookie, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// When a cookie is sent with cross-site requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SameSite {
    /// With top-level navigation only.
    Lax,
    /// Always; browsers require `Secure` with it.
    None,
    /// Never.
    Strict,
}

/// A cookie to set. [`SetCookie::to_header`] checks all of it, so that no foreign value can add an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetCookie {
    name: String,
    value: String,
    domain: Option<String>,
    expires: Option<SystemTime>,
    extensions: Vec<String>,
    http_only: bool,
    max_age: Option<Duration>,
    partitioned: bool,
    path: Option<String>,
    same_site: Option<SameSite>,
    secure: bool,
}

impl SetCookie {
    /// Makes a cookie that lasts as long as the browser's session, for this host and this path.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            domain: None,
            expires: None,
            extensions: Vec::new(),
            http_only: false,
            max_age: None,
            partitioned: false,
            path: None,
            same_site: None,
            secure: false,
        }
    }

    /// Makes the browser forget a cookie, which must have been set with the same domain and path.
    pub fn removal(name: impl Into<String>) -> Self {
        Self::new(name, "").expires(UNIX_EPOCH)
    }

    /// Sends the cookie also to the subdomains of this domain, which has no leading dot.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// Keeps the cookie until a point in time, to the second.
    #[must_use]
    pub fn expires(mut self, at: SystemTime) -> Self {
        self.expires = Some(at);
        self
    }

    /// Adds an attribute that has no method here: `Priority=High`. Each call writes one.
    #[must_use]
    pub fn extension(mut self, attribute: impl Into<String>) -> Self {
        self.extensions.push(attribute.into());
        self
    }

    /// Hides the cookie from scripts.
    #[must_use]
    pub fn http_only(mut self) -> Self {
        self.http_only = true;
        self
    }

    /// Keeps the cookie this long, in whole seconds and at least one; takes precedence over [`SetCookie::expires`].
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Keeps a separate cookie under each top-level site; requires [`SetCookie::secure`].
    #[must_use]
    pub fn partitioned(mut self) -> Self {
        self.partitioned = true;
        self
    }

    /// Restricts the cookie to this path and all paths below it.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Sets whether cross-site requests carry it.
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = Some(same_site);
        self
    }

    /// Restricts the cookie to TLS.
    #[must_use]
    pub fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// The value of the `set-cookie` field.
    ///
    /// # Errors
    /// The violated rule, and the part that violates it.
    pub fn to_header(&self) -> Result<String, CookieError> {
        self.check()?;
        let mut header = format!("{}={}", self.name, self.value);
        if let Some(expires) = self.expires {
            header.push_str("; Expires=");
            header.push_str(&imf_fixdate(expires)?);
        }
        if let Some(age) = self.max_age {
            header.push_str(&format!("; Max-Age={}", age.as_secs()));
        }
        if let Some(domain) = &self.domain {
            header.push_str("; Domain=");
            header.push_str(domain);
        }
        if let Some(path) = &self.path {
            header.push_str("; Path=");
            header.push_str(path);
        }
        if self.secure {
            header.push_str("; Secure");
        }
        if self.http_only {
            header.push_str("; HttpOnly");
        }
        if let Some(same_site) = self.same_site {
            header.push_str(match same_site {
                SameSite::Lax => "; SameSite=Lax",
                SameSite::None => "; SameSite=None",
                SameSite::Strict => "; SameSite=Strict",
            });
        }
        if self.partitioned {
            header.push_str("; Partitioned");
        }
        for extension in &self.extensions {
            header.push_str("; ");
            header.push_str(extension);
        }
        Ok(header)
    }

    fn check(&self) -> Result<(), CookieError> {
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            return Err(CookieError::Name);
        }
        if !is_cookie_value(&self.value) {
            return Err(CookieError::Value);
        }
        if self.name.len() + self.value.len() > MAX_PAIR {
            return Err(CookieError::TooLarge);
        }
        if self.domain.as_deref().is_some_and(|domain| !is_domain(domain)) {
            return Err(CookieError::Domain);
        }
        if self.max_age.is_some_and(|age| age.as_secs() == 0) {
            return Err(CookieError::MaxAge);
        }
        if self.path.as_deref().is_some_and(|path| !path.starts_with('/') || !is_attribute(path)) {
            return Err(CookieError::Path);
        }
        if !self.extensions.iter().all(|extension| is_extension(extension)) {
            return Err(CookieError::Extension);
        }
        if !self.secure && (self.same_site == Some(SameSite::None) || self.partitioned) {
            return Err(CookieError::NotSecure);
        }
        self.check_prefix()
    }

    /// Checks the prefix of the name. Browsers compare prefixes without regard to case.
    fn check_prefix(&self) -> Result<(), CookieError> {
        let prefixed =
            |prefix: &str| self.name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let for_host = self.domain.is_none() && self.path.as_deref() == Some("/");
        let kept = self.secure
            && (!prefixed("__Host-") || for_host)
            && (!(prefixed("__Http-") || prefixed("__Host-Http-")) || self.http_only);
        let any = ["__Host-", "__Http-", "__Secure-"].into_iter().any(prefixed);
        if any && !kept { Err(CookieError::Prefix) } else { Ok(()) }
    }
}

/// The most bytes of a name and its value together that browsers keep (the draft that succeeds RFC 6265, 5.6).
const MAX_PAIR: usize = 4096;

/// The most bytes of an attribute's value that browsers accept (the same section).
const MAX_ATTRIBUTE: usize = 1024;

/// The time from 1970 to the year 10000.
const END_OF_YEARS: Duration = Duration::from_secs(253_402_300_800);

/// The rule that a cookie violates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CookieError {
    /// `Domain` is not a host name, or has a leading dot, which RFC 6265 does not permit.
    Domain,
    /// `Expires` is outside of the years 1970 to 9999.
    Expires,
    /// An extension is empty, longer than 1024 bytes, begins or ends with a space, contains a control character, a
    /// semicolon, or a byte outside of ASCII, or is an attribute that has its own method.
    Extension,
    /// `Max-Age` is less than a second: [`SetCookie::removal`] makes a browser forget a cookie.
    MaxAge,
    /// The name is not a token (RFC 9110, 5.6.2).
    Name,
    /// `SameSite=None` or `Partitioned` without `Secure`, which browsers refuse.
    NotSecure,
    /// `Path` does not begin with `/`, is longer than 1024 bytes, ends with a space, or contains a control character, a
    /// semicolon, or a byte outside of ASCII.
    Path,
    /// `__Secure-` requires `Secure`; `__Host-` requires `Secure`, `Path=/` and no `Domain`; `__Http-` requires
    /// `Secure` and `HttpOnly`; `__Host-Http-` requires all of these.
    Prefix,
    /// Name and value together have more than 4096 bytes; browsers drop such cookies.
    TooLarge,
    /// The value contains a byte that RFC 6265, 4.1.1 does not allow: encode it, for example as Base64.
    Value,
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Domain => "the cookie's domain is not a host name without a dot in front",
            Self::Expires => "the cookie's expiry lies outside of the years 1970 to 9999",
            Self::Extension => "an extension of the cookie is no attribute, or one that has a function of its own",
            Self::MaxAge => "the cookie's age must be at least a second: use `removal` to make a browser forget it",
            Self::Name => "the cookie's name is not a token",
            Self::NotSecure => "a cookie with SameSite=None or Partitioned must be Secure",
            Self::Path => {
                "the cookie's path must begin with `/`, have at most 1024 bytes of ASCII, no control characters, \
                           no `;` and no space at its end"
            }
            Self::Prefix => "the prefix of the cookie's name asks for attributes that it does not have",
            Self::TooLarge => "the cookie's name and value have more than 4096 bytes together",
            Self::Value => "the cookie's value contains a byte that cookies cannot carry",
        })
    }
}

impl std::error::Error for CookieError {}

/// Answers 500, without the text: the guest made the mistake.
impl IntoResponse for CookieError {
    fn into_response(self) -> Response {
        Rejection::from(self).into_response()
    }
}

impl From<CookieError> for Rejection {
    fn from(error: CookieError) -> Self {
        crate::log::write(crate::log::Level::Error, &error.to_string());
        Self::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal error")
    }
}

/// Whether the byte is a `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether this is a `cookie-value` of RFC 6265, 4.1.1: octets, or octets between two quotes.
fn is_cookie_value(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    inner.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e))
}

/// Whether these are octets of an `av` (RFC 6265, 4.1.1): any character except controls and the semicolon. Browsers
/// strip spaces at its ends, so there must be none.
fn is_attribute(attribute: &str) -> bool {
    attribute.len() <= MAX_ATTRIBUTE
        && attribute.trim_matches(' ') == attribute
        && attribute.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b';')
}

/// Whether this is an `extension-av` of RFC 6265, 4.1.1, that contradicts none of the other attributes.
fn is_extension(extension: &str) -> bool {
    const OTHERS: [&str; 8] = ["Domain", "Expires", "HttpOnly", "Max-Age", "Partitioned", "Path", "SameSite", "Secure"];
    let name = extension.split_once('=').map_or(extension, |(name, _)| name).trim_end_matches(' ');
    !name.is_empty() && is_attribute(extension) && !OTHERS.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// Whether this is a host name (RFC 6265, 4.1.1, which refers to RFC 1034, 3.5, and RFC 1123, 2.1).
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.len() <= 253 && domain.split('.').all(is_label)
}

/// Formats a `sane-cookie-date` of RFC 6265, 4.1.1, which is `IMF-fixdate` of RFC 9110, 5.6.7: its years have four
/// digits.
fn imf_fixdate(at: SystemTime) -> Result<String, CookieError> {
    let is_writable = (UNIX_EPOCH..UNIX_EPOCH + END_OF_YEARS).contains(&at);
    is_writable.then(|| httpdate::fmt_http_date(at)).ok_or(CookieError::Expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_clients_send() {
        let cookies = Cookies::parse([&b"a=1; b=\"2\";c=x=y"[..], b" d = 4 ;novalue; =5;a=6"]);
        let seen: Vec<_> = cookies.iter().collect();
        assert_eq!(seen, [("a", "1"), ("b", "\"2\""), ("c", "x=y"), ("d", "4"), ("a", "6")]);
        assert_eq!(cookies.get("a"), Some("1"));
        assert_eq!(cookies.get("A"), None);
    }

    #[test]
    fn writes_every_attribute() {
        let cookie = SetCookie::new("id", "a-1")
            .expires(UNIX_EPOCH + Duration::from_secs(784_111_777))
            .max_age(Duration::from_millis(90_500))
            .domain("example.com")
            .path("/a b")
            .secure()
            .http_only()
            .same_site(SameSite::Lax)
            .partitioned()
            .extension("Priority=High");
        assert_eq!(
            cookie.to_header().unwrap(),
            "id=a-1; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Max-Age=90; Domain=example.com; Path=/a b; Secure; HttpOnly; SameSite=Lax; Partitioned; Priority=High"
        );
        let removal = SetCookie::removal("id").path("/").to_header();
        assert_eq!(removal.unwrap(), "id=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/");
        assert_eq!(SetCookie::new("q", "\"quoted\"").to_header().unwrap(), "q=\"quoted\"");
    }

    #[test]
    fn refuses_whatever_could_smuggle() {
        for bad in ["", "a b", "a=b", "a;b", "a\r\nb", "é", "a,b", "(a)"] {
            assert_eq!(SetCookie::new(bad, "").to_header(), Err(CookieError::Name), "{bad:?}");
        }
        for bad in ["a b", "a;b", "a,b", "a\"b", "\"", "\"a", "a\\b", "a\nb", "a\0", "é", "\u{7f}"] {
            assert_eq!(SetCookie::new("a", bad).to_header(), Err(CookieError::Value), "{bad:?}");
        }
        for bad in ["", "a", "/a;b", "/a\r", "/é", "; Secure", "/a "] {
            assert_eq!(SetCookie::new("a", "").path(bad).to_header(), Err(CookieError::Path), "{bad:?}");
        }
        for bad in ["", ".", "a..b", "a b", "a;b", "-a.com", "a-.com", "a_b.com", "a.com.", ".a.com", "é.com"] {
            assert_eq!(SetCookie::new("a", "").domain(bad).to_header(), Err(CookieError::Domain), "{bad:?}");
        }
        for bad in ["", "=a", " a", "a ", "a;b", "a\rb", "é", "path=/", "Secure", "MAX-AGE =1", "samesite"] {
            assert_eq!(SetCookie::new("a", "").extension(bad).to_header(), Err(CookieError::Extension), "{bad:?}");
        }
    }

    #[test]
    fn refuses_what_browsers_drop() {
        let sized = |bytes: usize| SetCookie::new("a", "b".repeat(bytes - 1));
        assert!(sized(4096).to_header().is_ok());
        assert_eq!(sized(4097).to_header(), Err(CookieError::TooLarge));
        let path = |bytes: usize| SetCookie::new("a", "").path("/".repeat(bytes)).to_header();
        assert!(path(1024).is_ok());
        assert_eq!(path(1025), Err(CookieError::Path));
        let age = |millis| SetCookie::new("a", "").max_age(Duration::from_millis(millis)).to_header();
        assert_eq!(age(0), Err(CookieError::MaxAge));
        assert_eq!(age(999), Err(CookieError::MaxAge));
        assert_eq!(age(1000).unwrap(), "a=; Max-Age=1");
    }

    #[test]
    fn prefixes_and_cross_site_cookies_ask_for_their_attributes() {
        assert_eq!(SetCookie::new("__Secure-a", "").to_header(), Err(CookieError::Prefix));
        assert_eq!(SetCookie::new("__host-a", "").secure().to_header(), Err(CookieError::Prefix));
        assert_eq!(
            SetCookie::new("__Host-a", "").secure().path("/").domain("a.com").to_header(),
            Err(CookieError::Prefix)
        );
        assert!(SetCookie::new("__Host-a", "").secure().path("/").to_header().is_ok());
        assert_eq!(SetCookie::new("__Http-a", "").secure().to_header(), Err(CookieError::Prefix));
        assert_eq!(SetCookie::new("__Http-a", "").http_only().to_header(), Err(CookieError::Prefix));
        assert!(SetCookie::new("__Http-a", "").secure().http_only().to_header().is_ok());
        assert_eq!(SetCookie::new("__Host-Http-a", "").secure().path("/").to_header(), Err(CookieError::Prefix));
        assert_eq!(SetCookie::new("__Host-Http-a", "").secure().http_only().to_header(), Err(CookieError::Prefix));
        assert!(SetCookie::new("__Host-Http-a", "").secure().http_only().path("/").to_header().is_ok());
        assert_eq!(SetCookie::new("a", "").same_site(SameSite::None).to_header(), Err(CookieError::NotSecure));
        assert_eq!(SetCookie::new("a", "").partitioned().to_header(), Err(CookieError::NotSecure));
    }

    #[test]
    fn dates_are_right_at_the_calendar_s_edges() {
        let date = |seconds| imf_fixdate(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(date(0).unwrap(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(951_782_400).unwrap(), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(1_078_012_799).unwrap(), "Sat, 28 Feb 2004 23:59:59 GMT");
        assert_eq!(date(4_107_542_400).unwrap(), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(date(253_402_300_799).unwrap(), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(date(253_402_300_800), Err(CookieError::Expires));
        assert_eq!(imf_fixdate(UNIX_EPOCH - Duration::from_secs(1)), Err(CookieError::Expires));
    }
}
