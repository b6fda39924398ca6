//! Three servers that are one cluster, found by the URL of one of them.

mod support;

use std::time::Duration;

use support::{Broker, Member, Told, free_port, message, settings, until};

async fn cluster() -> Option<Vec<Broker>> {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let urls: Vec<String> = routes.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
    let mut brokers = Vec::new();
    for port in routes {
        let listen = format!("listen: \"127.0.0.1:{port}\"\nroutes: [{}]", urls.join(", "));
        brokers.push(Broker::start(&format!("cluster {{\nname: \"test\"\n{listen}\n}}")).await?);
    }
    for broker in &brokers {
        is_told_of(broker, 3).await;
    }
    Some(brokers)
}

/// Waits until a server names `count` servers.
async fn is_told_of(broker: &Broker, count: usize) {
    let told = || broker.info()["connect_urls"].as_array().is_some_and(|urls| urls.len() == count);
    assert!(until(told).await, "it tells of others: {}", broker.info());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_goes_on_at_another_server_of_the_cluster() {
    let Some(mut brokers) = cluster().await else { return };
    let settings = settings(&[brokers[0].server()]);
    let (here, there) = (Member::connected(settings.clone()).await, Member::connected(settings).await);
    here.hears(&there, "news").await;
    here.take();
    // Only the first was named, so both are at it. Then each in turn dies, after the one before has come back.
    for (round, (dies, back)) in [(0, None), (1, Some(0)), (2, Some(1))].into_iter().enumerate() {
        brokers[dies].kill();
        if let Some(back) = back {
            brokers[back].run().await;
            is_told_of(&brokers[3 - dies - back], 2).await;
        } else {
            here.is_connected(false).await;
            there.is_connected(false).await;
        }
        here.is_connected(true).await;
        there.is_connected(true).await;
        here.heard_again(&there, "news").await;
        there.publish("news", round, b"on").unwrap();
        assert!(until(|| there.client.queued_bytes() == 0).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let told = here.take();
        assert_eq!(told.last(), Some(&message("news", round, b"on")), "{round}");
        assert!(told[..told.len() - 1].iter().all(|told| *told == Told::Gap), "{round}: {told:?}");
    }
    assert!(here.connects() >= 2 && there.connects() >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_at_different_servers_hear_each_other_and_each_loss_is_told() {
    let Some(mut brokers) = cluster().await else { return };
    let at = |index: usize| settings(&[brokers[index].server()]);
    let (here, there) = (Member::connected(at(1)).await, Member::connected(at(2)).await);
    here.hears(&there, "news").await;
    there.hears(&here, "news").await;
    here.take();
    there.take();
    brokers[1].kill();
    here.is_connected(false).await;
    here.is_connected(true).await;
    assert!(there.client.is_connected());
    here.heard_again(&there, "news").await;
    there.heard_again(&here, "news").await;
    assert_eq!(here.take(), [Told::Gap]);
    assert_eq!((there.take(), there.connects()), (vec![], 1), "the other one has lost nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_servers_one_that_is_there_will_do() {
    let Some(broker) = Broker::start("").await else { return };
    let Some(dead) = Broker::stopped("") else { return };
    for _ in 0..5 {
        let member = Member::connected(settings(&[dead.server(), broker.server()])).await;
        assert_eq!(member.connects(), 1);
    }
}
