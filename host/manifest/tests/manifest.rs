//! Manifests that are right, and what they mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use roadrunner_manifest::{
    Address, AdminKeys, AnyOr, BodyMode, BrokerCredentials, CertificateFiles, ClientCertificates, ComponentOptions,
    Files, ForwardedField, GrpcService, H2c, HostPattern, Limits, Lookup, Manifest, Methods, Middleware, OciReference,
    Origin, PeerRange, Preopen, Quota, RateLimit, Reuse, SqlTls, Target, TenantName, Tls, WebSocket, WebTransport,
};

fn parse(text: &str) -> Manifest {
    match Manifest::parse(text, Path::new("/srv/app/roadrunner.toml")) {
        Ok(manifest) => manifest,
        Err(error) => panic!("{error}"),
    }
}

const FULL: &str = include_str!("full.toml");

#[test]
fn an_empty_manifest_is_all_defaults() {
    let manifest = parse("");
    assert_eq!(manifest.limits, Limits::default());
    assert_eq!(manifest.limits.memory, 128 << 20);
    assert_eq!(manifest.limits.cpu, Duration::from_secs(1));
    assert_eq!(manifest.limits.idle, None);
    assert_eq!(manifest.caps.pool_size(), 9000);
    assert_eq!(manifest.listeners.len(), 1);
    assert_eq!(manifest.listeners[0].name, "127.0.0.1:8080");
    assert!(manifest.listeners[0].http1 && manifest.listeners[0].http2);
    assert_eq!(manifest.admin, None);
    assert!(manifest.routes.routes().is_empty());
}

#[test]
fn every_section_reaches_its_type() {
    let manifest = parse(FULL);
    assert_eq!(manifest.server.drain, Duration::from_secs(20));
    assert_eq!(manifest.server.cache_dir.as_deref(), Some(Path::new("/srv/app/cache")));
    assert!(!manifest.server.access_log);
    let acme = &manifest.tenants["acme"];
    let host = |text| HostPattern::new(text).expect("a host");
    assert_eq!(acme.hosts, [host("acme.example"), host("*.acme.example")]);
    assert_eq!((acme.caps.instances, acme.caps.held, acme.caps.hibernated), (Some(20), Some(30), Some(40)));
    let quota = Quota {
        memory: Some(1 << 30),
        cpu_per_second: Some(Duration::from_millis(500)),
        requests_per_second: Some(100),
        log_bytes_per_second: Some(16 << 10),
        topics: Some(50),
        disk: Some(2 << 30),
        topic_bytes: Some(4 << 20),
        outbound_connections: Some(6),
        outbound_bytes_per_second: Some(1 << 20),
        deployed_bytes: Some(64 << 20),
        compiled_bytes: Some(256 << 20),
        store_bytes: Some(8 << 20),
    };
    assert_eq!(acme.quota, quota);
    let shop = &manifest.sql["shop"];
    assert_eq!((shop.connections, shop.tenant_connections, shop.rows, shop.result_size), (9, 3, 500, 32 << 10));
    assert_eq!((shop.timeout, shop.transaction_timeout), (Duration::from_secs(2), Duration::from_secs(3)));
    assert_eq!(shop.tls, SqlTls::Authorities("/srv/app/keys/authority.pem".into()));
    assert!(shop.shared && manifest.sql["local"].tls == SqlTls::Off);
    assert_eq!(manifest.components["shop"].tenant.as_ref().map(TenantName::as_str), Some("acme"));
    assert_eq!(manifest.connections.connections, 1000);
    assert_eq!(manifest.connections.connections_per_peer, Some(20));
    assert_eq!(manifest.listeners.len(), 3);
    let plain = &manifest.listeners[0];
    assert_eq!(plain.h2c, H2c::Upgrade);
    assert_eq!((plain.connections, plain.connections_per_peer), (Some(500), Some(10)));
    let proxies = plain.proxy_protocol_from.as_deref().expect("the PROXY protocol is on");
    assert_eq!(proxies[0], PeerRange::Network { address: [10, 0, 0, 0].into(), prefix: 8 });
    assert_eq!(proxies[2], PeerRange::Unix);
    assert_eq!(plain.trusted_proxies, [PeerRange::Network { address: [192, 0, 2, 7].into(), prefix: 32 }]);
    assert_eq!(plain.forwarded_field, ForwardedField::Forwarded);
    let files = |certificate: &str, key: &str| CertificateFiles { certificate: certificate.into(), key: key.into() };
    let tls = Tls::Files {
        default: files("/srv/app/tls/cert.pem", "/etc/key.pem"),
        others: vec![files("/srv/app/tls/other.pem", "/srv/app/tls/other-key.pem")],
        clients: Some(ClientCertificates { required: false, authorities: "/srv/app/tls/clients.pem".into() }),
        watch: false,
    };
    assert_eq!(manifest.listeners[1].tls, Some(tls));
    assert_eq!(manifest.listeners[2].address, Address::Systemd("web".to_owned()));
    assert_eq!(manifest.timeouts.proxy_header, Duration::from_millis(1500));
    assert!(!manifest.listeners[1].http1);
    let admin = manifest.admin.as_ref().expect("there is one");
    assert_eq!(admin.address, Address::Tcp(([10, 0, 0, 5], 9443).into()));
    assert!(admin.clients().is_some_and(|clients| !clients.required));
    let subjects = |keys: &AdminKeys| keys.subjects.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(admin.keys.token.as_deref(), Some(Path::new("/srv/app/admin.token")));
    assert_eq!(subjects(&admin.keys), ["CN=operator,O=Example", "operator.example"]);
    assert_eq!(acme.keys.token.as_deref(), Some(Path::new("/srv/app/acme.token")));
    assert_eq!(subjects(&acme.keys), ["CN=deployer,O=Acme"]);
    assert_eq!(manifest.timeouts.request_head, Duration::from_millis(2500));
    assert_eq!(manifest.http2.max_header_list, 32 << 10);
    let broker = manifest.bus.broker.as_ref().expect("there is a URL");
    let urls: Vec<String> = broker.urls.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["tls://nats.example.com:4223", "tls://[2001:db8::7]:4222"]);
    assert_eq!(broker.prefix, "shop.bus");
    let credentials = BrokerCredentials::User { name: "shop".to_owned(), password: "/srv/app/secrets/nats".into() };
    assert_eq!(broker.credentials, credentials);
    assert_eq!(broker.authorities.as_deref(), Some(Path::new("/srv/app/tls/nats.pem")));
    let shown = broker.certificate.as_ref().expect("there is one");
    let files = (&*shown.certificate, &*shown.key);
    assert_eq!(files, (Path::new("/srv/app/tls/host.pem"), Path::new("/srv/app/tls/host.key")));
    assert_eq!((broker.queue_bytes, broker.queue_messages, manifest.bus.payload), (2 << 20, 500, 100 << 10));
    assert_eq!(broker.connect_timeout, Duration::from_secs(2));
    let dns = &manifest.dns;
    assert_eq!((dns.servers.len(), dns.lookups, dns.lookups_per_tenant), (2, 512, 32));
    assert!(manifest.listeners[1].http3 && !manifest.listeners[0].http3);
    assert_eq!((manifest.http3.max_streams, manifest.http3.qpack_table), (50, 0));
    assert_eq!((manifest.http3.endpoints, manifest.http3.retry_above), (Some(4), Some(500)));
    assert_eq!(manifest.http3.cid_lifetime, Some(Duration::from_secs(600)));
    assert!(!manifest.http3.early_data && !manifest.http3.kernel_steering);
    assert_eq!((manifest.http3.alt_svc_max_age.as_secs(), manifest.http3.alt_svc_port), (3600, Some(443)));
    assert_eq!(manifest.directories["files"].path, Path::new("/srv/app/public"));
    let theirs = &manifest.directories["theirs"];
    assert_eq!(
        (theirs.size, theirs.files, theirs.tenant.as_ref().map(|name| name.as_str())),
        (1 << 30, 500, Some("acme"))
    );
    let shop = &manifest.components["shop"];
    let seen = |preopen: &Preopen| (preopen.directory.to_string(), preopen.path.clone(), preopen.is_writable);
    assert_eq!(
        shop.preopens.iter().map(seen).collect::<Vec<_>>(),
        [("files".into(), "/files".into(), false), ("theirs".into(), "/data/theirs".into(), true)]
    );
    assert_eq!(shop.environment["LANG"], "C.UTF-8");
    assert_eq!(shop.secret_environment["API_TOKEN"].as_str(), "token");
    let api = &manifest.components["api"];
    assert_eq!(api.origin, Origin::File("/srv/app/api.wasm".into()));
    assert_eq!(api.caps.instances, Some(50));
    assert_eq!(api.reuse, Some(Reuse { requests: 100, concurrency: 4, idle: Duration::from_secs(2) }));
    assert_eq!(manifest.middlewares.len(), 8);
    assert_eq!((manifest.caps.queue, manifest.caps.queue_wait), (10, Duration::from_secs(2)));
    assert_eq!(manifest.rate_limit, Some(RateLimit { requests: 50, burst: 80, peers: 1000 }));
    assert_eq!(manifest.listeners[0].requests, Some(500));
    assert_eq!(manifest.timeouts.body_min_rate, 1024);
    let Middleware::SecurityHeaders(careful) = &manifest.middlewares["careful"] else { panic!("{manifest:?}") };
    let names: Vec<&str> = careful.fields.iter().map(|(name, _)| name.as_str()).collect();
    let expected = ["referrer-policy", "cross-origin-opener-policy", "content-security-policy", "permissions-policy"];
    assert_eq!(names, expected);
    assert_eq!(careful.transport.as_ref().unwrap(), "max-age=31536000; includeSubDomains");
    assert!(matches!(&manifest.middlewares["cors"], Middleware::Cors(cors) if cors.credentials));
    let site = manifest.routes.by_name("site").expect("a named route");
    let Target::Static(files) = &site.target else { panic!("{site:?}") };
    assert_eq!(files.files, Files::Captured);
    assert_eq!(site.methods, Methods::Listed(vec![Method::GET, Method::HEAD]));
}

#[test]
fn limits_come_from_the_innermost_section_that_sets_them() {
    let manifest = parse(FULL);
    let limits = |name: &str| manifest.routes.by_name(name).expect(name).limits.clone();
    // Host, component, group, inner group, route set 1s, 2s, 3s, 4s, 5s one after the other.
    assert_eq!(manifest.limits.deadline, Duration::from_secs(1));
    assert_eq!(manifest.components["api"].limits.deadline, Duration::from_secs(2));
    assert_eq!(limits("plain").deadline, Duration::from_secs(2));
    assert_eq!(limits("outer").deadline, Duration::from_secs(3));
    assert_eq!(limits("inner").deadline, Duration::from_secs(4));
    assert_eq!(limits("innermost").deadline, Duration::from_secs(5));
    // What an inner section does not set stays.
    assert_eq!(limits("innermost").memory, 64 << 20);
    assert_eq!(limits("outer").idle, Some(Duration::from_secs(60)));
    assert_eq!(limits("innermost").idle, None);
}

#[test]
fn websocket_settings_come_from_the_innermost_section_that_sets_them() {
    let manifest = parse(FULL);
    let settings = |name: &str| manifest.routes.by_name(name).expect(name).websocket.clone();
    // Host, group, inner group, route set 2, 3, 4, 5 MiB one after the other.
    assert_eq!(manifest.websocket.message_size, 2 << 20);
    assert_eq!(settings("plain"), manifest.websocket);
    assert_eq!(settings("outer").message_size, 3 << 20);
    assert_eq!(settings("inner").message_size, 4 << 20);
    let innermost = settings("innermost");
    assert_eq!(innermost.message_size, 5 << 20);
    assert_eq!((innermost.fragments, innermost.ping_interval, innermost.compression_ratio), (2000, None, None));
    assert_eq!((innermost.origins, innermost.deflate, innermost.deflate_level), (AnyOr::Any, true, 6));
    let listed = ["https://example.com".to_owned(), "http://localhost:3000".to_owned()];
    assert_eq!(settings("inner").origins, AnyOr::List(listed.into()));
    assert_eq!(manifest.deflate_memory, 64 << 20);
    let defaults = parse("").websocket;
    assert_eq!(defaults, WebSocket::default());
    assert_eq!((defaults.origins, defaults.message_rate, defaults.deflate), (AnyOr::Any, None, true));
}

#[test]
fn webtransport_settings_are_inherited_too() {
    let manifest = parse(FULL);
    let settings = |name: &str| manifest.routes.by_name(name).expect(name).webtransport.clone();
    assert_eq!(settings("plain"), manifest.webtransport);
    let streams = ["plain", "outer", "inner", "innermost"].map(|name| settings(name).streams);
    assert_eq!(streams, [20, 15, 10, 5]);
    let innermost = settings("innermost");
    assert_eq!((innermost.origins, innermost.datagram_queue), (AnyOr::Any, 2));
    assert_eq!(settings("inner").origins, AnyOr::List(vec!["https://example.com".to_owned()]));
    assert_eq!((manifest.webtransport_caps.sessions, manifest.webtransport_caps.buffered_streams), (4, 8));
    assert_eq!(parse("").webtransport, WebTransport::default());
}

#[test]
fn groups_add_prefixes_middlewares_and_configuration() {
    let manifest = parse(FULL);
    let route = manifest.routes.by_name("innermost").expect("a named route");
    assert_eq!(route.pattern.as_str(), "/api/:tenant/users/:id");
    let middlewares: Vec<&str> = route.middlewares.iter().map(|name| name.as_str()).collect();
    assert_eq!(middlewares, ["ids", "cors", "security"]);
    let config: Vec<(&str, &str)> = route.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(config, [("a", "component"), ("b", "group"), ("c", "inner"), ("d", "route")]);
    assert_eq!(route.hosts.len(), 1);
    let found = manifest.routes.lookup(Some("api.example.com"), &Method::GET, "/api/t1/users/7");
    let Lookup::Found { params, .. } = found else { panic!("{found:?}") };
    assert_eq!(params.iter().collect::<Vec<_>>(), [("tenant", "t1"), ("id", "7")]);
}

#[test]
fn a_broker_has_defaults_and_may_take_a_secret_of_any_kind() {
    assert_eq!(parse("[bus]\npayload = \"1KiB\"").bus.broker, None);
    let path = PathBuf::from("/srv/app/secret");
    for (key, credentials) in [
        ("token-file", BrokerCredentials::Token(path.clone())),
        ("nkey-file", BrokerCredentials::Nkey(path.clone())),
        ("creds-file", BrokerCredentials::Creds(path)),
    ] {
        let manifest = parse(&format!("[bus]\nurl = \"nats://broker\"\n{key} = \"secret\""));
        let broker = manifest.bus.broker.expect("there is a URL");
        assert_eq!(broker.urls.iter().map(ToString::to_string).collect::<Vec<_>>(), ["nats://broker:4222"]);
        assert_eq!((&*broker.prefix, broker.credentials, broker.certificate), ("roadrunner", credentials, None));
        assert_eq!((broker.queue_bytes, manifest.bus.payload), (8 << 20, 512 << 10));
    }
}

#[test]
fn components_come_from_files_and_registries() {
    let manifest = parse(FULL);
    let shop = OciReference::new("oci://registry.example.com:5000/acme/shop:1.0").expect("a reference");
    assert_eq!(manifest.components["shop"].origin, Origin::Registry(shop.clone()));
    let registry = &manifest.registries[&shop.registry];
    assert_eq!(registry.user.as_ref().map(|(name, secret)| (name.as_str(), secret.as_str())), Some(("shop", "token")));
    assert_eq!(registry.authorities.as_deref(), Some(Path::new("/srv/app/tls/registry.pem")));
    assert_eq!((registry.plaintext, registry.timeout), (false, Duration::from_secs(30)));
    let other = manifest.registries.iter().find(|(name, _)| name.as_str() == "localhost").expect("a registry");
    assert_eq!((other.1.plaintext, other.1.timeout), (true, Duration::from_secs(60)));
}

#[test]
fn keys_are_of_the_component_or_its_tenant_or_of_all() {
    let text = "[signatures]\nkeys = [\"all.pem\"]\n[tenant.t]\nsigned-by = [\"tenant.pem\"]\n[tenant.u]\n\
                [component.a]\nfile = \"a.wasm\"\n[component.b]\nfile = \"b.wasm\"\ntenant = \"t\"\n\
                [component.c]\nfile = \"c.wasm\"\ntenant = \"t\"\nsigned-by = [\"own.pem\", \"other.pem\"]\n\
                [component.d]\nfile = \"d.wasm\"\ntenant = \"u\"\n";
    let keys = |text: &str, name: &str| -> Vec<String> {
        let keys = &parse(text).components[name].keys;
        keys.iter().map(|path| path.strip_prefix("/srv/app").expect("a path").display().to_string()).collect()
    };
    for (name, expected) in
        [("a", &["all.pem"][..]), ("b", &["tenant.pem"]), ("c", &["own.pem", "other.pem"]), ("d", &["all.pem"])]
    {
        assert_eq!(keys(text, name), expected, "{name}");
    }
    assert!(keys(text.split_once('\n').expect("lines").1.split_once('\n').expect("lines").1, "a").is_empty());
}

#[test]
fn one_component_answers_everything() {
    let manifest = Manifest::for_component(Path::new("out/My App.wasm"), ComponentOptions::default());
    let (name, component) = manifest.components.iter().next().expect("a component");
    assert_eq!(name.as_str(), "my-app");
    assert_eq!(component.origin, Origin::File("out/My App.wasm".into()));
    for path in ["/", "/a/b", "//", "/a%2Fb"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            assert!(matches!(manifest.routes.lookup(None, &method, path), Lookup::Found { index: 0, .. }));
        }
    }
    let unnameable = Manifest::for_component(Path::new("日本.wasm"), ComponentOptions::default());
    assert!(unnameable.components.contains_key("app"));
}

#[test]
fn the_full_manifest_has_every_key() {
    // Rows of the reference begin with the key. What is not written in the full manifest is not tested here.
    let reference = roadrunner_manifest::reference();
    let (_, sections) = reference.split_once("## Sections").expect("the tables");
    for row in sections.lines().filter(|line| line.starts_with("| `")) {
        let key = row.split('`').nth(1).expect("a key");
        let written = [format!("{key} = "), format!("[{key}"), format!(".{key}]")];
        assert!(written.iter().any(|form| FULL.contains(form.as_str())), "{key} is not in full.toml");
    }
}

#[test]
fn the_commands_print_what_there_is() {
    let manifest = parse(FULL);
    let routes = roadrunner_manifest::routes_table(&manifest);
    let lines: Vec<&str> = routes.lines().collect();
    assert_eq!(lines.len(), 1 + manifest.routes.routes().len());
    let fields: Vec<&str> = lines[1..]
        .iter()
        .find(|line| line.contains("innermost"))
        .expect("a line for each route")
        .split_whitespace()
        .collect();
    let expected = [
        "api.example.com",
        "/api/:tenant/users/:id",
        "GET,POST,HEAD",
        "api",
        "manual",
        "innermost",
        "ids,cors,security",
    ];
    assert_eq!(fields, expected);
    let starts: Vec<Option<usize>> = vec![lines[0].find("PATH"), lines[2].find("/")];
    assert_eq!(starts[0], starts[1], "columns are aligned:\n{routes}");
    let summary = roadrunner_manifest::summary(&manifest);
    for expected in [
        "3 listeners",
        "2 components,",
        "15 routes",
        "cpu-per-second 500ms",
        "tenant acme, memory",
        "memory 64MiB",
        "[::1]:8080",
        "admin.pem, client certificates optional",
        "/srv/app/public",
    ] {
        assert!(summary.contains(expected), "{expected} is missing:\n{summary}");
    }
    println!("{summary}\n{routes}");
}

#[test]
fn a_tenants_routes_answer_for_its_hosts_alone() {
    let manifest = parse(FULL);
    let lookup = |host, path| match manifest.routes.lookup(Some(host), &Method::GET, path) {
        Lookup::Found { route, .. } => Some((route.pattern.as_str(), route.tenant.as_ref().map(TenantName::as_str))),
        _ => None,
    };
    let shop = Some(("/shop/*rest", Some("acme")));
    assert_eq!(lookup("acme.example", "/shop/cart"), shop);
    assert_eq!(lookup("www.acme.example", "/shop/cart"), shop);
    assert_eq!(lookup("images.acme.example", "/shop/images/a.png"), Some(("/shop/images/*path", Some("acme"))));
    assert_eq!(lookup("other.example", "/shop/cart"), None);
    assert_eq!(lookup("api.example.com", "/shop/cart"), None);
    assert_eq!(lookup("acme.example", "/plain"), Some(("/plain", None)), "the host's own routes answer everywhere");
}

/// The defaults of docs/manifest.md as a manifest: every section that stands at most once, with every key that has a
/// default.
fn documented() -> String {
    let page = include_str!("../../../docs/manifest.md");
    let (_, sections) = page.split_once("\n## Sections\n").expect("the tables");
    let mut text = String::new();
    for section in sections.split("\n### ").skip(1) {
        let (title, rows) = section.split_once('\n').expect("a title");
        let name = title.trim_matches(['`', '[', ']']);
        let is_single = title.starts_with("`[") && !title.starts_with("`[[") && !name.contains('.');
        // `[rate-limit]` changes a host by being there, and the others have required keys.
        if !is_single || ["admin", "deploy", "rate-limit", "signatures"].contains(&name) {
            continue;
        }
        text.push_str(&format!("[{name}]\n"));
        for row in rows.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let key = cells[0].trim_start_matches("| ").trim_matches('`');
            if let Some(default) = cells[2].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) {
                text.push_str(&format!("{key} = {default}\n"));
            }
        }
    }
    text
}

#[test]
fn the_documented_defaults_are_those_of_an_empty_manifest() {
    let text = documented();
    for section in ["[server]", "[limits]", "[timeouts]", "[http2]", "[http3]", "[websocket]", "[webtransport]"] {
        assert!(text.contains(section), "no {section} in {text}");
    }
    assert!(text.lines().count() > 80, "{text}");
    assert_eq!(format!("{:?}", parse(&text)), format!("{:?}", parse("")));
}

#[test]
fn services_of_the_host_are_routes_on_every_host() {
    let text = "[component.a]\nfile = \"a.wasm\"\n[grpc]\nhealth = true\n\
                [[route]]\npath = \"/a.v1.A/:method\"\ncomponent = \"a\"\ngrpc = true\n\
                [[route]]\npath = \"/*rest\"\nhosts = [\"a.test\"]\ncomponent = \"a\"\n";
    let manifest = parse(text);
    for host in ["localhost", "a.test"] {
        let found = manifest.routes.lookup(Some(host), &Method::POST, "/grpc.health.v1.Health/Check");
        let Lookup::Found { route, .. } = found else { panic!("{host}: {found:?}") };
        assert_eq!((&route.target, route.grpc), (&Target::Grpc(GrpcService::Health), true), "{host}");
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let found = manifest.routes.lookup(Some(host), &Method::POST, path);
        let is_the_guests =
            matches!(found, Lookup::Found { route, .. } if route.target != Target::Grpc(GrpcService::Reflection));
        assert!(is_the_guests || found == Lookup::NotFound, "{host}: nobody has asked for it");
    }
    assert_eq!(manifest.grpc.max_message, None);
    let [greeter, ..] = manifest.routes.routes() else { panic!("no routes") };
    assert_eq!((greeter.grpc, greeter.body), (true, BodyMode::Manual));
    let auto = parse(&text.replacen("grpc = true\n[[", "grpc = true\nbody = \"auto\"\n[[", 1));
    assert_eq!(auto.routes.routes()[0].body, BodyMode::Auto);
    let taken = format!("{text}[[route]]\npath = \"/grpc.health.v1.Health/:method\"\ncomponent = \"a\"\n");
    let error = Manifest::parse(&taken, Path::new("roadrunner.toml")).expect_err("two routes for one path");
    assert!(error.to_string().contains("two routes answer"), "{error}");
}
