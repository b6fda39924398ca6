//! examples/chat, with its own manifest, in a browser.

use roadrunner_tests::chromium::{Chromium, Tab};
use roadrunner_tests::{Ask, Server, Setup, Way, command};

/// Starts the example's manifest, with the test's own listeners.
async fn start() -> Server {
    let path = command::workspace().join("examples/chat/roadrunner.toml");
    let text = std::fs::read_to_string(path).expect("the example has a manifest");
    let (_, sections) = text.split_once("[component.chat]").expect("it has a component");
    let sections = sections.replace("../../guests/target/wasm32-wasip2/release", "{guests}");
    Setup::with(&format!("[component.chat]{sections}")).start().await
}

fn said(name: &str, text: &str) -> String {
    format!("[...document.querySelectorAll('#log li')].some((line) => line.innerText === '{name}{text}')")
}

async fn say(browser: &mut Chromium, tab: &Tab, text: &str) {
    let script = format!("document.getElementById('text').value = '{text}'; document.getElementById('send').click();");
    browser.evaluate(tab, &script).await;
}

/// Two tabs in one room and one in another, over the protocol that the browser chooses.
async fn talk(mut browser: Chromium, page: &str, protocol: &str) {
    let connected = format!("document.getElementById('state').innerText === 'connected, {protocol}'");
    let ann = browser.open(&format!("{page}name=ann#den")).await;
    browser.until(&ann, &connected).await;
    let bob = browser.open(&format!("{page}name=bob#den")).await;
    browser.until(&bob, &connected).await;
    let eve = browser.open(&format!("{page}name=eve#attic")).await;
    browser.until(&eve, &connected).await;
    browser.until(&ann, &said("", "bob is here")).await;

    say(&mut browser, &ann, "hello, bob").await;
    browser.until(&bob, &said("ann", "hello, bob")).await;
    say(&mut browser, &bob, "<b>hello</b>, ann").await;
    browser.until(&ann, &said("bob", "<b>hello</b>, ann")).await;
    browser.until(&bob, &said("bob", "<b>hello</b>, ann")).await;

    // eve's message comes after any message that she might have heard.
    say(&mut browser, &eve, "anybody?").await;
    browser.until(&eve, &said("eve", "anybody?")).await;
    let heard = browser.evaluate(&eve, "document.getElementById('log').innerText").await;
    assert!(!heard.to_string().contains("hello"), "rooms are apart: {heard}");

    browser.evaluate(&bob, "location.href = 'about:blank'").await;
    browser.until(&ann, &said("", "bob has gone")).await;
}

#[tokio::test]
async fn tabs_talk_over_http1() {
    let server = start().await;
    let Some(browser) = Chromium::start("chat") else { return };
    talk(browser, &format!("http://localhost:{}/?", server.address("plain").port()), "HTTP/1.1").await;
}

#[tokio::test]
async fn tabs_talk_over_http2() {
    let server = start().await;
    let Some(browser) = Chromium::start("chat") else { return };
    talk(browser, &format!("https://localhost:{}/?h2&", server.address("tls").port()), "HTTP/2").await;
    // It ends with the browser.
    let line = server.log.wait(|line| line["uri"].as_str().is_some_and(|uri| uri.contains("/rooms/attic"))).await;
    let line = line.unwrap_or_else(|| panic!("no socket in the access log:\n{}", server.log));
    assert_eq!(line["protocol"], "http2", "{line}");
}

#[tokio::test]
async fn tabs_talk_over_http3() {
    let server = start().await;
    let port = server.address("tls").port();
    let Some(browser) = Chromium::start_http3("chat", port) else { return };
    talk(browser, &format!("https://localhost:{port}/?h3&"), "HTTP/3").await;
}

#[tokio::test]
async fn a_room_takes_only_sockets() {
    let server = start().await;
    let answer = server.fetch(Way::H1, Ask::get("/rooms/den?name=ann")).await;
    assert_eq!(answer.status, 426, "{answer:?}");
}
