//! What a lookup costs with 100 and with 10 000 routes: `cargo bench -p roadrunner-manifest`.

use std::hint::black_box;
use std::time::Instant;

use http::Method;
use roadrunner_manifest::{ComponentName, HostPattern, Lookup, Route, RoutePattern, RouteTable, Target};

const ROUNDS: u32 = 2_000_000;

fn main() {
    for count in [100, 10_000] {
        let mut routes = Vec::new();
        for index in 0..count / 4 {
            for pattern in [
                format!("/static/page{index}"),
                format!("/api/v1/resource{index}/:id"),
                format!("/api/v1/resource{index}/:id/items/:item"),
                format!("/files{index}/*path"),
            ] {
                let target = Target::Component(ComponentName::new("c").expect("a name"));
                routes.push(Route::new(RoutePattern::new(&pattern).expect("a pattern"), target));
            }
        }
        let start = Instant::now();
        let table = RouteTable::new(routes.clone()).expect("no conflicts");
        println!("{count} routes, compiled in {:?}", start.elapsed());
        run(&table, None);
        for route in &mut routes {
            route.hosts = vec![HostPattern::new("*.example.com").expect("a host")];
        }
        let table = RouteTable::new(routes).expect("no conflicts");
        println!("{count} routes, of one wildcard host");
        run(&table, Some("www.example.com:8080"));
    }
}

fn run(table: &RouteTable, host: Option<&str>) {
    for (what, path, found) in [
        ("literal", "/static/page17", true),
        ("one capture", "/api/v1/resource17/42", true),
        ("two captures", "/api/v1/resource17/42/items/7", true),
        ("encoded capture", "/api/v1/resource17/a%20b", true),
        ("rest", "/files17/css/site/main.css", true),
        ("miss", "/api/v1/resource17/42/nothing", false),
    ] {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let lookup = table.lookup(black_box(host), &Method::GET, black_box(path));
            assert_eq!(matches!(black_box(&lookup), Lookup::Found { .. }), found);
        }
        println!("  {what:16} {:6.0} ns", start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
}
