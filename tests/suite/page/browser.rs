//! A real browser, headless, through Debian's chromedriver.
//!
//! The protocol (W3C WebDriver) is JSON over HTTP, and these tests need ten commands of it. Of the clients that there
//! are, one would have the tests run with another serde_json than the program has, and one has a copyleft licence.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{daemon::eventually, servers};

/// A window, and the session that it belongs to.
pub struct Browser {
    client: reqwest::Client,
    session: String,
    _profile: TempDir,
}

/// How the reader's screen is.
#[derive(Clone, Copy)]
pub enum Screen {
    Light,
    Dark,
    Phone,
}

/// Of the key Enter, and others that have no sign of their own.
pub mod keys {
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const TAB: &str = "\u{e004}";
    pub const LEFT: &str = "\u{e012}";
}

impl Browser {
    /// A fresh one that has been nowhere and keeps nothing.
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let driver = servers::chromedriver().await;
        let profile = tempfile::Builder::new().prefix("warmd-").tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            &data,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(120)).build().unwrap();
        let begun = post(&client, &format!("http://127.0.0.1:{}/session", driver.port()), &wanted).await;
        let id = begun["sessionId"].as_str().unwrap();
        let browser =
            Self { session: format!("http://127.0.0.1:{}/session/{id}", driver.port()), client, _profile: profile };
        browser.screen(Screen::Light).await;
        browser
    }

    async fn command(&self, path: &str, body: &Value) -> Value {
        post(&self.client, &format!("{}/{path}", self.session), body).await
    }

    /// A command of the browser's own protocol.
    async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters })).await
    }

    /// Goes to an address and waits until it is there.
    pub async fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url })).await;
    }

    /// Makes the screen another.
    pub async fn screen(&self, screen: Screen) {
        let (width, height, is_phone) = match screen {
            Screen::Light | Screen::Dark => (1280, 900, false),
            Screen::Phone => (390, 844, true),
        };
        let scale = if is_phone { 2 } else { 1 };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if matches!(screen, Screen::Dark) { "dark" } else { "light" };
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// What a function body returns.
    pub async fn script(&self, body: &str) -> Value {
        self.command("execute/sync", &json!({ "script": body, "args": [] })).await
    }

    /// What it hands to its last argument.
    pub async fn script_async(&self, body: &str) -> Value {
        self.command("execute/async", &json!({ "script": body, "args": [] })).await
    }

    /// The text that a reader sees of an element; nothing when there is none.
    pub async fn text(&self, selector: &str) -> String {
        let body = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.script(&body).await.as_str().unwrap().to_owned()
    }

    /// Waits for a text that has these words; gives the whole of it.
    pub async fn until(&self, selector: &str, words: &str) -> String {
        eventually(&format!("`{words}` in {selector}"), async || self.text(selector).await.contains(words)).await;
        self.text(selector).await
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.command("element", &json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().unwrap().values().next().unwrap();
        id.as_str().unwrap().to_owned()
    }

    /// Presses an element with the pointer, which fails when something lies above it.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.command(&format!("element/{element}/click"), &json!({})).await;
    }

    /// Types into whatever has the focus.
    pub async fn type_keys(&self, text: &str) {
        let strokes: Vec<Value> = text
            .chars()
            .flat_map(|key| [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })])
            .collect();
        self.command("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] })).await;
    }

    /// What the browser has written into its console since the last question.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({ "type": "browser" })).await;
        entries.as_array().unwrap().iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// Keeps a picture of the whole page among the artefacts of the tests.
    pub async fn picture(&self, name: &str) {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        let taken = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// Ends it; one that a failed test leaves ends with the driver.
    pub async fn close(self) {
        let ended = self.client.delete(&self.session).send().await.unwrap();
        assert!(ended.status().is_success());
    }
}

/// The value of an answer.
async fn post(client: &reqwest::Client, url: &str, body: &Value) -> Value {
    let answer = client.post(url).body(body.to_string()).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{url}: {text}"));
    let value = answer["value"].take();
    assert!(value.get("error").is_none(), "{url}: {value}");
    value
}
