//! Every written cookie follows the grammar of RFC 6265, and other programs read back the same contents; every other
//! cookie is an error.
#![cfg(not(target_family = "wasm"))]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cookie::Cookie;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use regex_lite::Regex;
use roadrunner_guest::{Cookies, SameSite, SetCookie};

/// Seconds since 1970 at the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// The parts of a cookie; each field says whether its method is called, and with which value.
#[derive(Clone, Debug)]
struct Parts {
    name: String,
    value: String,
    domain: Option<String>,
    path: Option<String>,
    expires: Option<u64>,
    max_age: Option<u64>,
    same_site: Option<SameSite>,
    flags: (bool, bool, bool),
    extensions: Vec<String>,
}

impl Parts {
    fn cookie(&self) -> SetCookie {
        let (secure, http_only, partitioned) = self.flags;
        let mut cookie = SetCookie::new(&self.name, &self.value);
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        cookie = self.domain.iter().fold(cookie, |cookie, domain| cookie.domain(domain));
        cookie = self.path.iter().fold(cookie, |cookie, path| cookie.path(path));
        cookie = self.expires.iter().fold(cookie, |cookie, seconds| cookie.expires(at(*seconds)));
        cookie = self.max_age.iter().fold(cookie, |cookie, seconds| cookie.max_age(Duration::from_secs(*seconds)));
        cookie = self.same_site.iter().fold(cookie, |cookie, same_site| cookie.same_site(*same_site));
        cookie = self.extensions.iter().fold(cookie, |cookie, extension| cookie.extension(extension));
        cookie = if secure { cookie.secure() } else { cookie };
        cookie = if http_only { cookie.http_only() } else { cookie };
        if partitioned { cookie.partitioned() } else { cookie }
    }
}

/// Valid cookies.
fn right() -> impl Strategy<Value = Parts> {
    let label = "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?";
    let domain = vec(label, 1..4).prop_map(|labels| labels.join("."));
    let same_site = prop_oneof![Just(SameSite::Lax), Just(SameSite::None), Just(SameSite::Strict)];
    (
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}",
        "[!#-+\\x2d-:<-\\[\\]-~]{0,40}|\"[!#-+\\x2d-:<-\\[\\]-~]{0,40}\"",
        proptest::option::of(domain),
        proptest::option::of("/([ -:<-~]{0,30}[!-:<-~])?"),
        proptest::option::of(0..=LAST),
        proptest::option::of(1..u64::from(u32::MAX)),
        proptest::option::of(same_site),
        any::<(bool, bool, bool)>(),
        vec("X-[A-Za-z]{1,8}(=[!-:<-~]{0,10})?", 0..3),
    )
        .prop_map(|(name, value, domain, path, expires, max_age, same_site, flags, extensions)| {
            let (secure, http_only, partitioned) = flags;
            let secure = secure || partitioned || same_site == Some(SameSite::None);
            let flags = (secure, http_only, partitioned);
            Parts { name, value, domain, path, expires, max_age, same_site, flags, extensions }
        })
}

/// Cookies with arbitrary parts.
fn any_parts() -> impl Strategy<Value = Parts> {
    let text = || {
        prop_oneof![any::<String>(), "[ -~]{0,12}", "(__(Host|Secure|Http|Host-Http)-)?[a-z]{0,3}[;=,\" \\\\\r\n\t]?"]
    };
    (right(), text(), text(), text(), text(), text(), any::<u64>(), any::<u64>(), 0..32_u8).prop_map(
        |(mut parts, name, value, domain, path, extension, expires, max_age, which)| {
            // The parts that stay valid, so that an invalid part meets valid ones.
            let wrong = |bit: u8| which >> bit & 1 == 1;
            if wrong(0) {
                parts.name = name;
            }
            if wrong(1) {
                parts.value = value;
            }
            if wrong(2) {
                (parts.domain, parts.path) = (Some(domain), Some(path));
            }
            if wrong(3) {
                parts.extensions.push(extension);
            }
            if wrong(4) {
                (parts.expires, parts.max_age) = (Some(expires % (1 << 40)), Some(max_age));
                parts.flags.0 = false;
            }
            parts
        },
    )
}

/// `set-cookie-string` of RFC 6265, 4.1.1, with `domain-value` as in RFC 1034, 3.5.
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
    let octets = r"[!#-+\x2d-:<-\[\]-~]*";
    let date = "(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} \
                [0-9]{2}:[0-9]{2}:[0-9]{2} GMT";
    let label = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?";
    let octet = "[ -:<-~]";
    let grammar = format!(
        "^{token}=({octets}|\"{octets}\")(; Expires={date})?(; Max-Age=[1-9][0-9]*)?(; Domain={label}([.]{label})*)?\
         (; Path=/{octet}*)?(; Secure)?(; HttpOnly)?(; SameSite=(Lax|None|Strict))?(; Partitioned)?(; {octet}+)*$"
    );
    Regex::new(&grammar).expect("the grammar is a regular expression")
});

/// Checks that the crate `cookie` reads the same contents from a header.
fn is_read_alike(parts: &Parts, header: &str) {
    let read = Cookie::parse(header).unwrap_or_else(|error| panic!("{header:?}: {error}"));
    assert_eq!((read.name(), read.value()), (parts.name.as_str(), parts.value.as_str()), "{header:?}");
    assert_eq!(read.domain(), parts.domain.as_deref(), "{header:?}");
    assert_eq!(read.path(), parts.path.as_deref(), "{header:?}");
    assert_eq!(read.max_age().map(|age| age.whole_seconds() as u64), parts.max_age, "{header:?}");
    let expires = read.expires_datetime().map(|at| SystemTime::from(at).duration_since(UNIX_EPOCH).unwrap().as_secs());
    assert_eq!(expires, parts.expires, "{header:?}");
    let same_site = parts.same_site.map(|same_site| match same_site {
        SameSite::Lax => cookie::SameSite::Lax,
        SameSite::None => cookie::SameSite::None,
        SameSite::Strict => cookie::SameSite::Strict,
    });
    assert_eq!(read.same_site(), same_site, "{header:?}");
    let flags = [read.secure(), read.http_only(), read.partitioned()].map(|flag| flag == Some(true));
    assert_eq!(flags, [parts.flags.0, parts.flags.1, parts.flags.2], "{header:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_right_is_written_and_read_alike(parts in right()) {
        let header = parts.cookie().to_header().unwrap_or_else(|error| panic!("{parts:?}: {error}"));
        prop_assert!(GRAMMAR.is_match(&header), "{header:?}");
        is_read_alike(&parts, &header);
        // As a browser sends it back.
        let pair = header.split_once(';').map_or(header.as_str(), |(pair, _)| pair);
        let cookies = Cookies::parse([pair.as_bytes()]);
        prop_assert_eq!(cookies.iter().collect::<Vec<_>>(), [(parts.name.as_str(), parts.value.as_str())]);
    }

    #[test]
    fn whatever_is_put_in_what_is_written_is_right(parts in any_parts()) {
        if let Ok(header) = parts.cookie().to_header() {
            prop_assert!(GRAMMAR.is_match(&header), "{header:?}");
            let attributes = header.split("; ").skip(1).count();
            let given = [parts.domain.is_some(), parts.path.is_some(), parts.expires.is_some(), parts.max_age.is_some()];
            let flags = [parts.same_site.is_some(), parts.flags.0, parts.flags.1, parts.flags.2];
            let wanted = given.into_iter().chain(flags).filter(|given| *given).count() + parts.extensions.len();
            prop_assert_eq!(attributes, wanted, "{:?}", header);
        }
    }
}

/// Does the same with the reader of Python's standard library, which accepts no space within a value.
#[test]
fn python_reads_what_was_put_in() {
    const SCRIPT: &str = "\
import sys
from http.cookies import SimpleCookie
for line in sys.stdin:
    for name, read in SimpleCookie(line.rstrip('\\n')).items():
        flags = [str(bool(read[flag])) for flag in ('secure', 'httponly')]
        print(name, read.coded_value, read['domain'], read['path'], read['max-age'], read['samesite'], *flags, sep='\\t')
";
    let mut runner = TestRunner::deterministic();
    let mut cookies = Vec::new();
    while cookies.len() < 500 {
        let mut parts = right().new_tree(&mut runner).expect("there are some").current();
        // Attributes that Python 3.13 and older do not know.
        (parts.flags.2, parts.extensions) = (false, Vec::new());
        let path = parts.path.as_deref().unwrap_or_default();
        // Names that begin with `$` are attributes of RFC 2109.
        if !path.contains([' ', '"', '\\']) && !parts.name.starts_with('$') {
            cookies.push(parts);
        }
    }
    let spawned = Command::new("python3").args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = spawned else {
        println!("SKIPPED: cookies::python_reads_what_was_put_in: python3 is not installed");
        return;
    };
    let lines: String = cookies.iter().map(|parts| parts.cookie().to_header().expect("it is right") + "\n").collect();
    let mut input = python.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().expect("it ends");
    writer.join().expect("it does not panic").expect("it reads all of it");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(text.lines().count(), cookies.len(), "{text}");
    for (read, parts) in text.lines().zip(&cookies) {
        let title = |flag: bool| if flag { "True" } else { "False" };
        let wanted = [
            parts.name.clone(),
            parts.value.clone(),
            parts.domain.clone().unwrap_or_default(),
            parts.path.clone().unwrap_or_default(),
            parts.max_age.map(|age| age.to_string()).unwrap_or_default(),
            parts.same_site.map(|same_site| format!("{same_site:?}")).unwrap_or_default(),
            title(parts.flags.0).to_owned(),
            title(parts.flags.1).to_owned(),
        ];
        assert_eq!(read, wanted.join("\t"));
    }
}
