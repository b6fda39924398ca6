//! Who a client is to its server: users, tokens, nkeys and JWTs, each right and wrong.

mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use roadrunner_nats::{Credentials, Settings};
use serde_json::{Value, json};
use support::{Member, Nats, settings};

/// Those who are right get in, and the others never do.
async fn only(broker: &Nats, right: Credentials, wrong: &[Credentials]) {
    let of = |credentials: &Credentials| Settings { credentials: credentials.clone(), ..settings(&[broker.server()]) };
    let wrong: Vec<Member> = wrong.iter().map(|credentials| Member::start(of(credentials))).collect();
    let (here, there) = (Member::connected(of(&right)).await, Member::connected(of(&right)).await);
    here.hears(&there, "news").await;
    assert!(there.client.flush(Duration::from_secs(5)).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (index, member) in wrong.iter().enumerate() {
        assert_eq!(member.connects(), 0, "the wrong one {index} got in");
    }
}

fn user(name: &str, password: &str) -> Credentials {
    Credentials::User { name: name.to_owned(), password: password.to_owned() }
}

fn nkey(pair: &KeyPair) -> Credentials {
    Credentials::nkey(&pair.seed().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_password() {
    let Some(broker) =
        Nats::start("credentials::a_user_with_a_password", "authorization: { user: \"host\", password: \"se cret\" }")
            .await
    else {
        return;
    };
    only(&broker, user("host", "se cret"), &[user("host", "guess"), user("guest", "se cret"), Credentials::None]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token() {
    let Some(broker) = Nats::start("credentials::a_token", "authorization: { token: \"abc\" }").await else { return };
    only(&broker, Credentials::Token("abc".to_owned()), &[Credentials::Token("ab".to_owned())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nkey() {
    let (own, other) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!("authorization: {{ users: [{{ nkey: {} }}] }}", own.public_key());
    let Some(broker) = Nats::start("credentials::an_nkey", &config).await else { return };
    only(&broker, nkey(&own), &[nkey(&other), user("host", "x"), Credentials::None]).await;
}

/// A JWT as the servers of NATS take it, signed by its issuer.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: Value) -> String {
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encoded(json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let body = encoded(json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name,
        "nats": claims,
    }));
    let signed = format!("{head}.{body}");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap()))
}

/// What `nsc` writes for a user.
fn creds(account: &KeyPair, name: &str) -> Credentials {
    let user = KeyPair::new_user();
    let claims = json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
    let jwt = jwt(account, &user, name, claims);
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         NKEY Seed printed below can be used to sign and prove identity.\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    Credentials::creds(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_credentials() {
    let (operator, account, stranger) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
    let of_operator = jwt(&operator, &operator, "operator", json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let of_account = jwt(&operator, &account, "bus", json!({ "type": "account", "version": 2, "limits": limits }));
    let config = format!(
        "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}",
        account.public_key()
    );
    let Some(broker) = Nats::start("credentials::a_file_of_credentials", &config).await else { return };
    only(&broker, creds(&account, "host"), &[creds(&stranger, "host"), user("host", "x"), Credentials::None]).await;
}

/// What the operator is told to do: the hosts may speak in the subjects of the bus and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_restricted_to_the_bus_will_do() {
    let config = "authorization: { users: [{ user: \"host\", password: \"x\", \
                  permissions: { publish: \"bus.>\", subscribe: \"bus.>\" } }] }";
    let Some(broker) = Nats::start("credentials::an_account_that_is_restricted", config).await else { return };
    let settings = Settings { credentials: user("host", "x"), ..settings(&[broker.server()]) };
    let (here, there) = (Member::connected(settings.clone()).await, Member::connected(settings).await);
    here.hears(&there, "bus.news").await;
    assert!(there.client.flush(Duration::from_secs(5)).await);
    let errors = || there.client.counters().errors.load(Relaxed);
    assert_eq!(errors(), 0, "what flushing asks is no complaint");
    there.publish("elsewhere", 1, b"").unwrap();
    assert!(support::until(|| errors() == 1).await);
    here.heard_again(&there, "bus.news").await;
    assert_eq!(there.connects(), 1);
}
