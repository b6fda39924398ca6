//! The middleware `basic-auth`: only users with a name and a password pass.

use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher as _, SaltString};
use argon2::{Argon2, Params};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use roadrunner_tests::server::component;
use roadrunner_tests::{Ask, Server, Setup, Way, command, victim};

/// A hash of a password, with the cheapest parameters.
fn hash(password: &str) -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("they are in range");
    let salt = SaltString::encode_b64(b"some salt of it").expect("a salt");
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2.hash_password(password.as_bytes(), &salt).expect("a hash").to_string()
}

fn setup(users: &str) -> Setup {
    Setup::with(
        &(component("answers")
            + "[secret.staff]\nfile = \"users\"\n\
               [middleware.staff]\ntype = \"basic-auth\"\nrealm = \"back office\"\nusers = \"staff\"\n\
               [[route]]\npath = \"/open\"\ncomponent = \"answers\"\n\
               [[route]]\npath = \"/*rest\"\ncomponent = \"answers\"\nmiddlewares = [\"staff\"]\n"),
    )
    .private_file("users", users)
}

async fn start() -> Server {
    setup(&format!("# staff\nann:{}\nbob:{}\n", hash("opensesame"), hash("tr:icky"))).start().await
}

fn basic(text: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(text))
}

#[tokio::test]
async fn only_users_with_their_password_pass() {
    let server = start().await;
    for way in Way::ALL {
        let mut client = server.connect(way).await;
        for right in ["ann:opensesame", "bob:tr:icky", "ann:opensesame"] {
            let answer = client.fetch(Ask::get("/counter").header("authorization", &basic(right))).await;
            assert_eq!((answer.status, &*answer.text()), (200, "1\n"), "{way:?} {right}");
        }
        for wrong in ["ann:tr:icky", "ann:", "eve:opensesame", ":", "ann", "Ann:opensesame"] {
            let answer = client.fetch(Ask::get("/counter").header("authorization", &basic(wrong))).await;
            assert_eq!(answer.status, 401, "{way:?} {wrong}");
            assert_eq!(answer.header("www-authenticate"), "Basic realm=\"back office\", charset=\"UTF-8\"");
        }
        for field in ["Bearer x", "Basic", "Basic !", "basic"] {
            let answer = client.fetch(Ask::get("/counter").header("authorization", field)).await;
            assert_eq!(answer.status, 401, "{way:?} {field}");
        }
        assert_eq!(client.fetch(Ask::get("/counter")).await.status, 401, "{way:?} without a field");
        assert_eq!(client.fetch(Ask::get("/open")).await.status, 404, "{way:?} the guest's own answer");
    }
}

#[tokio::test]
async fn curl_passes() {
    let server = start().await;
    let url = format!("http://{}/counter", server.address("plain"));
    let told = async |user: &str| {
        let mut curl = command::tool("basic-auth", "curl")?;
        curl.args(["-s", "-w", "%{http_code}", "-u", user, &url]);
        Some(command::output(curl).await.stdout)
    };
    let Some(right) = told("ann:opensesame").await else { return };
    assert_eq!(right, "1\n200");
    assert!(told("ann:guess").await.is_some_and(|wrong| wrong.ends_with("401")));
}

#[tokio::test]
async fn a_list_with_a_fault_says_where() {
    let (folder, manifest) = setup("ann:opensesame\n").write();
    let mut program = command::roadrunner();
    program.arg("check").arg("--manifest").arg(&manifest).current_dir(folder.path());
    let done = command::output(program).await;
    let wanted =
        "cannot open the middleware staff: the secret staff has no list of users: line 1 has no hash by Argon2";
    assert!(done.code == 1 && done.stderr.contains(wanted), "{done:?}");
    assert!(!done.stderr.contains("opensesame"), "{done:?}");
}

/// Clients that guess take little from a neighbour, and wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_not_felt() {
    let slow = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IG9mIGl0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let server = setup(&format!("ann:{slow}\n")).alone().start().await;
    let (address, time) = (server.address("plain"), Duration::from_secs(3));
    let quiet = victim::ask(address, "/open", time).await;
    let guessing: Vec<_> = (0..32)
        .map(|guess| {
            tokio::spawn(async move {
                let end = Instant::now() + time;
                let mut client = roadrunner_tests::Client::connect(address, Way::H1).await;
                let mut statuses = Vec::new();
                while Instant::now() < end {
                    let field = basic(&format!("ann:{guess}-{}", statuses.len()));
                    statuses.push(client.fetch(Ask::get("/counter").header("authorization", &field)).await.status);
                }
                statuses
            })
        })
        .collect();
    let loaded = victim::ask(address, "/open", time).await;
    let mut statuses = Vec::new();
    for guesses in guessing {
        statuses.extend(guesses.await.expect("it does not panic"));
    }
    assert!(statuses.iter().all(|status| [401, 503].contains(status)), "{statuses:?}");
    println!("quiet {quiet}; guessed {loaded}");
    assert!(loaded.at(500) <= (4 * quiet.at(500)).max(Duration::from_millis(10)), "{quiet} {loaded}");
}
