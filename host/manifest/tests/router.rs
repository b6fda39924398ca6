//! The router against a matcher that is too slow to be wrong, and reverse URLs against the router.

use std::cmp::Reverse;

use http::Method;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use roadrunner_manifest::{
    ComponentName, HostPattern, Lookup, Methods, Route, RouteName, RoutePattern, RouteTable, Segment, Target, UrlError,
};

fn route(pattern: &str) -> Route {
    let target = Target::Component(ComponentName::new("c").expect("a name"));
    Route::new(RoutePattern::new(pattern).expect(pattern), target)
}

fn table(patterns: &[&str]) -> RouteTable {
    RouteTable::new(patterns.iter().map(|pattern| route(pattern)).collect()).expect("no conflicts")
}

/// The pattern that answers GET, with its captures.
fn get(table: &RouteTable, path: &str) -> Option<(String, Vec<(String, String)>)> {
    match table.lookup(None, &Method::GET, path) {
        Lookup::Found { route, params, .. } => {
            let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            Some((route.pattern.to_string(), params))
        }
        _ => None,
    }
}

fn check(table: &RouteTable, path: &str, pattern: &str, params: &[(&str, &str)]) {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(get(table, path), Some((pattern.to_owned(), params)), "{path}");
}

#[test]
fn literals_go_before_params_and_params_before_rest() {
    let table = table(&["/*rest", "/users/:id", "/users/me", "/users/:id/posts", "/users/*rest"]);
    check(&table, "/users/me", "/users/me", &[]);
    check(&table, "/users/7", "/users/:id", &[("id", "7")]);
    check(&table, "/users/me/posts", "/users/:id/posts", &[("id", "me")]);
    check(&table, "/users/me/likes", "/users/*rest", &[("rest", "me/likes")]);
    check(&table, "/users", "/*rest", &[("rest", "users")]);
    check(&table, "/", "/*rest", &[("rest", "")]);
}

#[test]
fn a_dead_end_leads_back_to_the_next_branch() {
    let table = table(&["/a/b/c", "/a/:x/d", "/:y/b/*rest"]);
    check(&table, "/a/b/c", "/a/b/c", &[]);
    check(&table, "/a/b/d", "/a/:x/d", &[("x", "b")]);
    check(&table, "/a/b/e", "/:y/b/*rest", &[("y", "a"), ("rest", "e")]);
    assert_eq!(get(&table, "/a/c/e"), None);
}

#[test]
fn slashes_count() {
    let table = table(&["/", "/a", "/b/", "/p/:id", "/r/*rest"]);
    check(&table, "/", "/", &[]);
    check(&table, "/a", "/a", &[]);
    check(&table, "/b/", "/b/", &[]);
    check(&table, "/r/", "/r/*rest", &[("rest", "")]);
    check(&table, "/r//x", "/r/*rest", &[("rest", "/x")]);
    check(&table, "/r/../x", "/r/*rest", &[("rest", "../x")]);
    for path in ["//", "/a/", "/b", "/p/", "/p//", "/p/1/", "/r", "/./a", "/p/../a", "/A"] {
        assert_eq!(get(&table, path), None, "{path}");
    }
}

#[test]
fn segments_are_decoded_one_by_one() {
    let table = table(&["/caf%C3%A9", "/a b".replace(' ', "%20").as_str(), "/p/:id", "/r/*rest", "/s/x%2Fy", "/s/x/y"]);
    check(&table, "/caf%c3%a9", "/caf%C3%A9", &[]);
    check(&table, "/café", "/caf%C3%A9", &[]);
    check(&table, "/%61%20b", "/a%20b", &[]);
    check(&table, "/p/a%2Fb", "/p/:id", &[("id", "a/b")]);
    check(&table, "/p/%2e%2e", "/p/:id", &[("id", "..")]);
    check(&table, "/r/a%2Fb/c", "/r/*rest", &[("rest", "a/b/c")]);
    check(&table, "/s/x%2fy", "/s/x%2Fy", &[]);
    check(&table, "/s/x/y", "/s/x/y", &[]);
    for path in ["/p/%", "/p/%4", "/p/%GG", "/%/p", "/nowhere/%", "/p/%FF", "/r/a/%FF", "p/1", "", "*"] {
        assert_eq!(table.lookup(None, &Method::GET, path), Lookup::BadPath, "{path}");
    }
    assert_eq!(table.lookup(None, &Method::GET, "/nowhere/%41"), Lookup::NotFound);
}

fn with(pattern: &str, methods: &[&str], head: bool) -> Route {
    let methods = methods.iter().map(|method| Method::from_bytes(method.as_bytes()).expect("a method"));
    Route { methods: Methods::listed(methods, head), ..route(pattern) }
}

#[test]
fn the_owner_of_the_path_decides_on_the_method() {
    let routes = vec![
        with("/a/:x", &["GET"], true),
        with("/a/:y", &["POST", "PURGE"], true),
        with("/b", &["GET"], false),
        route("/*rest"),
    ];
    let table = RouteTable::new(routes).expect("no conflicts");
    let index = |method: &str, path| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        match table.lookup(None, &method, path) {
            Lookup::Found { index, params, .. } => Ok((index, params.iter().map(|(name, _)| name).collect::<Vec<_>>())),
            Lookup::MethodNotAllowed { allow } => Err(allow.to_str().expect("text").to_owned()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(index("GET", "/a/1"), Ok((0, vec!["x"])));
    assert_eq!(index("HEAD", "/a/1"), Ok((0, vec!["x"])));
    assert_eq!(index("PURGE", "/a/1"), Ok((1, vec!["y"])));
    assert_eq!(index("PUT", "/a/1"), Err("GET, HEAD, POST, PURGE".to_owned()));
    assert_eq!(index("HEAD", "/b"), Err("GET".to_owned()));
    assert_eq!(index("get", "/b"), Err("GET".to_owned()));
    assert_eq!(index("PUT", "/c"), Ok((3, vec!["rest"])));
}

#[test]
fn the_host_comes_first() {
    let host = |text: &str| vec![HostPattern::new(text).expect("a host")];
    let routes = vec![
        Route { hosts: host("a.example.com"), ..route("/x/*rest") },
        Route { hosts: host("*.example.com"), ..route("/x/y") },
        Route { hosts: host("*.com"), ..with("/z", &["GET"], true) },
        route("/z"),
        route("/x/y"),
    ];
    let table = RouteTable::new(routes).expect("no conflicts");
    let index = |host, path| match table.lookup(host, &Method::POST, path) {
        Lookup::Found { index, .. } => Some(index),
        Lookup::MethodNotAllowed { .. } => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(index(Some("A.example.com:80"), "/x/y"), Some(0));
    assert_eq!(index(Some("b.example.com"), "/x/y"), Some(1));
    assert_eq!(index(Some("example.com"), "/x/y"), Some(4));
    assert_eq!(index(Some("b.example.com"), "/z"), None);
    assert_eq!(index(Some("example.net"), "/z"), Some(3));
    assert_eq!(index(None, "/z"), Some(3));
}

#[test]
fn urls_are_refused_rather_than_wrong() {
    let named = |name: &str, pattern| Route { name: Some(RouteName::new(name).expect("a name")), ..route(pattern) };
    let table =
        RouteTable::new(vec![named("user", "/users/:id/*rest"), named("all", "/*rest"), named("home", "/")]).expect("");
    let url = |name, params: &[(&str, &str)]| table.url_for(name, params);
    assert_eq!(url("user", &[("id", "a/b ü"), ("rest", "x/y z?")]).as_deref(), Ok("/users/a%2Fb%20%C3%BC/x/y%20z%3F"));
    assert_eq!(url("home", &[]).as_deref(), Ok("/"));
    assert!(matches!(url("nobody", &[]), Err(UrlError::UnknownRoute(_))));
    assert!(matches!(url("user", &[("id", "1")]), Err(UrlError::Missing { .. })));
    assert!(matches!(url("home", &[("id", "1")]), Err(UrlError::Extra { .. })));
    assert!(matches!(url("user", &[("id", "1"), ("id", "2"), ("rest", "")]), Err(UrlError::Extra { .. })));
    for id in ["", ".", ".."] {
        assert!(matches!(url("user", &[("id", id), ("rest", "")]), Err(UrlError::Value { .. })), "{id}");
    }
    assert!(matches!(url("user", &[("id", "1"), ("rest", "a/../b")]), Err(UrlError::Value { .. })));
    assert!(matches!(url("all", &[("rest", "/evil.example")]), Err(UrlError::Value { .. })));
}

/// What the documentation says, word by word: of all patterns that match, the one whose kinds of segments come
/// first from the left.
fn naive<'r>(routes: &'r [Route], path: &str) -> Option<(&'r Route, Vec<String>)> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("only valid paths are made").into_owned();
    let matches = |route: &Route| {
        let pattern = route.pattern.segments();
        let mut captures = Vec::new();
        for (at, segment) in pattern.iter().enumerate() {
            match segment {
                Segment::Rest(_) if at < segments.len() => {
                    captures.push(decode(&segments[at..].join("/")));
                    return Some(captures);
                }
                Segment::Literal(text) if segments.get(at).is_some_and(|found| decode(found) == *text) => {}
                Segment::Param(_) if segments.get(at).is_some_and(|found| !found.is_empty()) => {
                    captures.push(decode(segments[at]));
                }
                _ => return None,
            }
        }
        (pattern.len() == segments.len()).then_some(captures)
    };
    let rank = |route: &Route| -> Vec<u8> {
        let kinds = route.pattern.segments().iter().map(|segment| match segment {
            Segment::Literal(_) => 2,
            Segment::Param(_) => 1,
            Segment::Rest(_) => 0,
        });
        kinds.collect()
    };
    let found = routes.iter().filter_map(|route| Some((route, matches(route)?)));
    found.min_by_key(|(route, _)| Reverse(rank(route)))
}

/// Few and short words, so that patterns share prefixes and paths hit them.
fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "%41", "a%2Fb", "%C3%BC"]).prop_map(str::to_owned),
        2 => Just(":".to_owned()),
    ];
    let end = prop_oneof![Just(""), Just("/"), Just("/*rest")];
    (prop::collection::vec(segment, 0..5), end).prop_map(|(segments, end)| {
        let mut text = String::new();
        for (index, segment) in segments.iter().enumerate() {
            let segment = if segment == ":" { format!(":p{index}") } else { segment.clone() };
            text.push('/');
            text.push_str(&segment);
        }
        text.push_str(end);
        if text.is_empty() { "/".to_owned() } else { text }
    })
}

fn path() -> impl Strategy<Value = String> {
    let words = vec!["a", "b", "c", "A", "%61", "%41", "a%2Fb", "a%2fb", "ü", "%C3%BC", "", ".", "..", "zz", "%25"];
    prop::collection::vec(prop::sample::select(words), 1..7).prop_map(|segments| format!("/{}", segments.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_table_agrees_with_the_naive_matcher(
        patterns in prop::collection::vec(pattern(), 1..12),
        paths in prop::collection::vec(path(), 1..12),
    ) {
        let mut routes: Vec<Route> = Vec::new();
        for pattern in &patterns {
            // The same pattern twice is a conflict, which is tested elsewhere.
            let new = route(pattern);
            let mut with_new = routes.clone();
            with_new.push(new);
            if RouteTable::new(with_new.clone()).is_ok() {
                routes = with_new;
            }
        }
        let table = RouteTable::new(routes.clone()).expect("conflicts were left out");
        for path in &paths {
            let found = get(&table, path);
            let expected = naive(&routes, path).map(|(route, captures)| {
                let names = route.pattern.captures().map(str::to_owned);
                (route.pattern.to_string(), names.zip(captures).collect())
            });
            prop_assert_eq!(found, expected, "{} in {:?}", path, patterns);
        }
    }

    #[test]
    fn a_conflict_is_found_exactly_for_patterns_that_match_the_same(one in pattern(), other in pattern()) {
        let shape = |text: &str| {
            let segments = RoutePattern::new(text).expect(text).segments().to_vec();
            segments.into_iter().map(|segment| match segment {
                Segment::Param(_) => Segment::Param(String::new()),
                segment => segment,
            }).collect::<Vec<_>>()
        };
        let conflict = RouteTable::new(vec![route(&one), route(&other)]).is_err();
        prop_assert_eq!(conflict, shape(&one) == shape(&other));
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_a_lookup(
        patterns in prop::collection::vec(pattern(), 0..6),
        host in proptest::option::of(".{0,300}"),
        path in "(/|%|%4|%41|\\.|a|ü|\\PC){0,60}",
    ) {
        let mut routes: Vec<Route> = patterns.iter().map(|pattern| route(pattern)).collect();
        if let Some(first) = routes.first_mut() {
            first.hosts = vec![HostPattern::new("*.a").expect("a host"), HostPattern::new("[::1]").expect("a host")];
        }
        if let Ok(table) = RouteTable::new(routes) {
            let _ = table.lookup(host.as_deref(), &Method::GET, &path);
        }
    }

    #[test]
    fn a_url_leads_back_to_its_route_and_values(
        pattern in pattern(),
        values in prop::collection::vec("\\PC{1,8}|[a-z./%:@?#]{1,8}", 6),
    ) {
        let mut named = route(&pattern);
        named.name = Some(RouteName::new("it").expect("a name"));
        let captures: Vec<String> = named.pattern.captures().map(str::to_owned).collect();
        let table = RouteTable::new(vec![named]).expect("one route");
        let params: Vec<(String, String)> = captures.into_iter().zip(values).collect();
        match table.url_for("it", &params) {
            Ok(url) => {
                prop_assert!(url.is_ascii() && !url.contains(['?', '#', ' ']) && !url.starts_with("//"), "{}", url);
                prop_assert_eq!(get(&table, &url), Some((pattern, params)));
            }
            Err(error) => {
                let dots = params.iter().any(|(_, value)| value.split('/').any(|part| part == "." || part == ".."));
                let slash = pattern == "/*rest" && params[0].1.starts_with('/');
                prop_assert!(dots || slash, "{} for {:?}", error, params);
            }
        }
    }
}
