//! Look-ups against the test's own DNS server, and connections to the addresses in its answers.

#[path = "support/deaf.rs"]
mod deaf;
#[path = "support/dns.rs"]
mod dns;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use deaf::Deaf;
use dns::{Dns, Entry};
use roadrunner_names::{Error, Resolver, Settings, connect};
use tokio::net::TcpListener;

fn resolver(dns: &Dns) -> Resolver {
    Resolver::new(Settings { servers: vec![dns.address()], most: 8, most_of_share: 4 })
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

#[tokio::test]
async fn both_families_are_asked_for() {
    let dns = Dns::start().await;
    dns.says("both.test", &["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
    dns.says("a_b.test", &["192.0.2.3"]);
    let many: Vec<String> = (1..=60).map(|last| format!("192.0.2.{last}")).collect();
    dns.says("many.test", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let names = resolver(&dns).share("acme");
    let mut found = names.resolve("both.test").await.unwrap().to_vec();
    found.sort();
    assert_eq!(found, addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    assert_eq!(*names.resolve("a_b.test").await.unwrap(), *addresses(&["192.0.2.3"]));
    assert_eq!(names.resolve("many.test").await.unwrap().len(), 60, "over TCP");
    assert_eq!(names.resolve("none.test").await, Err(Error::NotFound));
    assert_eq!(*names.resolve("192.0.2.9").await.unwrap(), *addresses(&["192.0.2.9"]));
    assert_eq!(names.resolve("no name").await, Err(Error::NoName));
    assert!(names.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    assert_eq!(dns.asked("localhost") + dns.asked("192.0.2.9"), 0);
}

#[tokio::test]
async fn a_family_that_is_not_answered_holds_up_nothing() {
    let dns = Dns::start().await;
    dns.knows("four.test", Entry::OnlyIpv4(addresses(&["192.0.2.4"])));
    let names = resolver(&dns).own();
    let found = within(Duration::from_secs(3), names.resolve("four.test")).await.expect("soon").unwrap();
    assert_eq!(*found, *addresses(&["192.0.2.4"]));
}

#[tokio::test]
async fn answers_are_kept_for_as_long_as_they_hold() {
    let dns = Dns::start().await;
    dns.knows("short.test", Entry::Addresses(addresses(&["192.0.2.1"]), 1));
    dns.knows("never.test", Entry::Addresses(addresses(&["192.0.2.1"]), 0));
    let names = resolver(&dns).share("acme");
    for _ in 0..5 {
        names.resolve("short.test").await.unwrap();
        names.resolve("never.test").await.unwrap();
    }
    assert_eq!((dns.asked("short.test"), dns.asked("never.test")), (2, 10));
    dns.says("short.test", &["192.0.2.2"]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(*names.resolve("short.test").await.unwrap(), *addresses(&["192.0.2.2"]));
}

#[tokio::test]
async fn names_that_nobody_answers_hold_up_their_own_share() {
    let dns = Dns::start().await;
    dns.knows(".silent.test", Entry::Silence);
    dns.says("good.test", &["192.0.2.1"]);
    let resolver = resolver(&dns);
    let (hung, other) = (resolver.share("hung"), resolver.share("other"));
    let waiting: Vec<_> = (0..20)
        .map(|number| {
            let hung = resolver.share("hung");
            tokio::spawn(async move { hung.resolve(&format!("{number}.silent.test")).await })
        })
        .collect();
    while resolver.under_way() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(resolver.under_way(), 4, "those of one share");
    let start = Instant::now();
    assert!(other.resolve("good.test").await.is_ok() && start.elapsed() < Duration::from_secs(1));
    assert!(within(Duration::from_millis(200), hung.resolve("fresh.test")).await.is_none(), "it waits for its own");
    assert!(hung.resolve("good.test").await.is_ok(), "what is known needs no place");
    assert!(
        within(Duration::from_secs(1), resolver.own().resolve("none.test")).await.is_some(),
        "the host waits for none"
    );
    for task in waiting {
        task.abort();
        let _ = task.await;
    }
    assert_eq!(resolver.under_way(), 0, "places are free when nobody waits");
    assert!(within(Duration::from_secs(1), hung.resolve("none.test")).await.is_some());
}

#[tokio::test]
async fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
    let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let live = live.local_addr().unwrap();
    let dead = Deaf::start(0).await;
    let start = Instant::now();
    let stream = connect(&[dead.address, live]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), live);
    let took = start.elapsed();
    assert!((Duration::from_millis(240)..Duration::from_secs(2)).contains(&took), "{took:?}");
    // An address that refuses costs nothing.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let start = Instant::now();
    connect(&[gone, live]).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(240), "{:?}", start.elapsed());
    assert!(connect(&[gone]).await.is_err() && connect(&[]).await.is_err());
}
