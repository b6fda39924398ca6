//! Three servers that are one cluster, found by the URL of one of them.

mod support;

use std::time::Duration;

use support::{Member, Nats, Told, message, settings, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_goes_on_at_another_server_of_the_cluster() {
    let Some(mut brokers) = Nats::cluster("cluster::the_bus_goes_on", 3, "").await else { return };
    let settings = settings(&[brokers[0].server()]);
    let (here, there) = (Member::connected(settings.clone()).await, Member::connected(settings).await);
    here.hears(&there, "news").await;
    here.take();
    // Only the first was named, so both are at it. Then each in turn dies, after the one before has come back.
    for (round, (dies, back)) in [(0, None), (1, Some(0)), (2, Some(1))].into_iter().enumerate() {
        brokers[dies].kill();
        if let Some(back) = back {
            brokers[back].run().await;
            brokers[3 - dies - back].is_told_of(2).await;
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
    let Some(mut brokers) = Nats::cluster("cluster::different_servers", 3, "").await else { return };
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
    let Some(broker) = Nats::start("cluster::of_several_servers", "").await else { return };
    let Some(dead) = Nats::stopped("cluster::of_several_servers", "") else { return };
    for _ in 0..5 {
        let member = Member::connected(settings(&[dead.server(), broker.server()])).await;
        assert_eq!(member.connects(), 1);
    }
}
