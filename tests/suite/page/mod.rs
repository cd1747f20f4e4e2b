//! The status page of a real daemon in a real browser.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    daemon::{eventually, slow},
    http::{Asked, Place, TOKEN, USERS, start, world},
    world::World,
};

mod browser;
mod watched;

use browser::{Browser, Screen, keys};

/// A run of it fails at once.
const BROKEN: &str = "description = \"Nobody has made its table\"\nkey = \"b:{id}\"\nttl = \"1h\"\n\
                      [query]\nsql = \"SELECT 1 AS id FROM nowhere\"\n";

/// A daemon with jobs that have run, one of which fails.
async fn with_runs(more: &[(&str, &str)]) -> (World, Asked) {
    let jobs: Vec<(&str, &str)> = [("users", USERS), ("broken", BROKEN)].iter().chain(more).copied().collect();
    let world = world(&jobs).await;
    let asked = start(&world, "a", &[]);
    for job in ["users", "broken"] {
        assert_eq!(asked.place.run(job).status, 202);
        ended(&asked, job).await;
    }
    (world, asked)
}

/// Waits for the record of a job's first run.
async fn ended(asked: &Asked, job: &str) {
    let path = format!("/api/runs?job={job}");
    eventually("a record", async || !asked.place.get(&path).json()["runs"].as_array().unwrap().is_empty()).await;
}

fn address(asked: &Asked) -> String {
    match &asked.place {
        Place::Tcp(address) => format!("http://{address}/"),
        Place::Unix(_) => panic!("no port"),
    }
}

async fn opened(asked: &Asked) -> Browser {
    let browser = Browser::start().await;
    browser.open(&address(asked)).await;
    browser
}

#[tokio::test]
async fn the_page_shows_jobs_outcomes_and_runs_and_the_browser_has_nothing_to_complain_of() {
    let (_world, asked) = with_runs(&[]).await;
    let browser = opened(&asked).await;
    let users = browser.until("tr[data-job=users]", "ok").await;
    for words in ["users", "idle", "0 0 1 1 *", "in "] {
        assert!(users.contains(words), "`{words}` is not in {users}");
    }
    let broken = browser.until("tr[data-job=broken]", "failed").await;
    for words in ["Nobody has made its table", "by hand only", "no such table: nowhere"] {
        assert!(broken.contains(words), "`{words}` is not in {broken}");
    }
    assert!(browser.until("#summary", "not well").await.contains("2 jobs"));
    browser.until("#runs-list tbody tr:nth-child(2)", "users").await;
    let times = browser.until("[data-plot=plot-times]", "median").await;
    assert!(times.contains("2 runs, 1 not ok"), "{times}");
    assert_eq!(
        browser.script("return document.querySelectorAll('#plot-times circle, #plot-times .cross').length").await,
        2
    );
    assert!(browser.text("[data-plot=plot-keys]").await.contains("5 written"));
    assert!(browser.text("#unlock").await.contains("Run jobs"));
    assert_eq!(browser.script("return document.querySelectorAll('button.run:not([hidden])').length").await, 0);
    assert_eq!(complaints(&browser).await, Vec::<String>::new());
    assert_eq!(asked.daemon.stop(), Some(0));
    browser.until("#notices", "The daemon cannot be reached").await;
    browser.close().await;
}

/// What is wrong with the page in the browser's eyes.
async fn complaints(browser: &Browser) -> Vec<String> {
    browser.console().await
}

#[tokio::test]
async fn the_page_comes_with_a_policy_that_lets_nothing_else_run() {
    let (_world, asked) = with_runs(&[]).await;
    let page = asked.place.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    ] {
        assert!(policy.split("; ").any(|found| found == directive), "{directive}: {policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(asked.place.get("/page/main.js").header("content-type"), Some("text/javascript; charset=utf-8"));

    let browser = opened(&asked).await;
    browser.until("tr[data-job=users]", "ok").await;
    let inline = "const script = document.createElement('script'); \
                  try { script.textContent = 'window.ran = true'; document.body.append(script); } catch {} \
                  try { document.body.innerHTML = '<b>markup</b>'; } catch {} \
                  return [window.ran === true, document.querySelector('b') !== null]";
    assert_eq!(browser.script(inline).await, serde_json::json!([false, false]));
    let refused = browser.console().await;
    assert!(
        refused.iter().any(|entry| entry.contains("Content Security Policy") || entry.contains("TrustedScript")),
        "{refused:?}"
    );
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn progress_grows_while_a_job_runs_without_a_reload() {
    // Half a minute: a page that saw nothing run asks again after five seconds.
    let slow = slow("refresh = \"always\"").replace("< 2000", "< 6000");
    let (_world, asked) = with_runs(&[("slow", &slow)]).await;
    let browser = opened(&asked).await;
    browser.until("tr[data-job=slow]", "idle").await;
    browser.script("window.sameDocument = true").await;
    assert_eq!(asked.place.run("slow").status, 202);
    browser.until("tr[data-job=slow]", "runs, by hand").await;
    let mut seen: Vec<u64> = Vec::new();
    eventually("three counts", async || {
        // The number before "of".
        let counts = browser.text("tr[data-job=slow] .counts").await;
        counts.split(" of ").next().is_some_and(|done| done.replace(',', "").parse::<u64>().is_ok_and(|done| done > 0))
    })
    .await;
    while seen.len() < 3 {
        let counts = browser.text("tr[data-job=slow] .counts").await;
        let done: u64 =
            counts.split(" of ").next().unwrap().replace(',', "").parse().unwrap_or_else(|_| panic!("{counts}"));
        assert!(seen.last().is_none_or(|last| *last <= done), "{seen:?}, then {done}");
        if seen.last() != Some(&done) {
            seen.push(done);
        }
    }
    let told = asked.place.get("/api/jobs").json();
    let job = told["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "slow").unwrap();
    let progress = &job["progress"];
    assert!(progress["done"].as_u64().unwrap() >= seen[2] && progress["run_seconds"].as_f64().unwrap() > 0.0, "{job}");
    assert_eq!(progress["done"], progress["written"], "{job}");
    assert!(told["jobs"].as_array().unwrap().iter().all(|job| job["progress"].is_null() == (job["state"] == "idle")));
    let last = browser.until("tr[data-job=slow] .last", "ok").await;
    assert!(browser.until("tr[data-job=slow] .now", "idle").await.contains("idle"), "{last}");
    browser.until("#runs-list", "6,000").await;
    assert_eq!(browser.script("return window.sameDocument").await, true);
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_run_is_begun_with_the_token_and_the_page_says_why_not_otherwise() {
    let (_world, asked) = with_runs(&[]).await;
    let browser = opened(&asked).await;
    browser.until("tr[data-job=users]", "ok").await;
    browser.click("#unlock").await;
    browser.until("#token-help", "Without it this page only reads").await;
    // The field has the focus.
    browser.type_keys(&format!("{TOKEN}x{}", keys::ENTER)).await;
    browser.click("tr[data-job=users] button.run").await;
    browser.until("#said", "users: the token is not the right one").await;
    browser.until("#token-said", "the token is not the right one").await;
    assert_eq!(browser.script("return sessionStorage.length").await, 0, "the wrong one is not kept");
    browser.type_keys(&format!("{TOKEN}{}", keys::ENTER)).await;
    browser.click("tr[data-job=users] button.run").await;
    browser.until("#said", "users: the run has ended, ok").await;
    browser.until("#runs-list tbody tr:nth-child(3)", "users").await;
    assert_eq!(asked.place.get("/api/runs?job=users").json()["runs"].as_array().unwrap().len(), 2);
    assert_eq!(
        browser.script("return [localStorage.length, sessionStorage.length, document.cookie]").await,
        serde_json::json!([0, 1, ""])
    );
    browser.click("#unlock").await;
    browser.click("#forget").await;
    assert_eq!(browser.script("return document.querySelectorAll('button.run:not([hidden])').length").await, 0);
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn details_are_reached_by_the_keyboard_and_by_their_address() {
    let (_world, asked) = with_runs(&[]).await;
    let browser = opened(&asked).await;
    browser.until("#runs-list tbody tr:nth-child(2)", "users").await;
    let has_focus = async |selector: &str| {
        browser
            .script(&format!("return document.activeElement?.matches({}) ?? false", serde_json::json!(selector)))
            .await
            == true
    };
    let tab_to = async |selector: &str| {
        for _ in 0..60 {
            if has_focus(selector).await {
                return;
            }
            browser.type_keys(keys::TAB).await;
        }
        panic!("{selector} is not reached");
    };
    tab_to("tr[data-job=broken] .name a").await;
    browser.type_keys(keys::ENTER).await;
    let job = browser.until("dialog[open]", "Last runs").await;
    assert!(job.contains("Nobody has made its table") && job.contains("b:{id}"), "{job}");
    browser.until("dialog[open] table", "failed").await;
    browser.type_keys(keys::ESCAPE).await;
    eventually("the focus is back", async || has_focus("tr[data-job=broken] .name a").await).await;
    assert_eq!(browser.script("return location.hash").await, "");
    // The plots have a cursor.
    tab_to("#plot-times").await;
    browser.type_keys(keys::LEFT).await;
    browser.until("[data-plot=plot-times] .readout", "broken, failed").await;
    browser.type_keys(keys::LEFT).await;
    browser.until("[data-plot=plot-times] .readout", "users, ok").await;
    tab_to("#runs-list tbody tr:nth-child(2) a").await;
    browser.type_keys(keys::ENTER).await;
    let run = browser.until("dialog[open]", "Time of all batches").await;
    assert!(run.contains("users: a run") && run.contains("database"), "{run}");
    let hash = browser.script("return location.href").await;
    let other = opened(&asked).await;
    other.open(hash.as_str().unwrap()).await;
    let same = other.until("dialog[open]", "Time of all batches").await;
    assert!(same.contains("users: a run"), "{same}");
    other.open(&format!("{}#run/users/0", address(&asked))).await;
    other.until("dialog[open]", "not among the newest of its job").await;
    other.close().await;
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn names_and_errors_are_text_whatever_they_hold() {
    let hostile = "description = \"<img src=x onerror=alert(1)><script>window.ran=1</script>\"\nkey = \"h:{id}\"\nttl = \"1h\"\n\
                   [query]\nsql = \"SELECT 1 AS id FROM \\\"<b id=markup>\\\"\"\n";
    let name = "Käse.v1-ß";
    let world = world(&[("long_".repeat(20).as_str(), USERS), (name, hostile)]).await;
    let asked = start(&world, "a", &[]);
    assert_eq!(asked.place.run("K%C3%A4se.v1-%C3%9F").status, 202);
    let browser = opened(&asked).await;
    browser.until("#runs-list", "<b id=markup>").await;
    browser.until("#jobs-list", "<img src=x onerror=alert(1)><script>window.ran=1</script>").await;
    browser.script("document.querySelector('#runs-list a').click()").await;
    let detail = browser.until("dialog[open]", "<b id=markup>").await;
    assert!(detail.contains(name), "{detail}");
    assert_eq!(
        browser.script("return [document.querySelectorAll('img, #markup').length, window.ran ?? 0]").await,
        serde_json::json!([0, 0])
    );
    browser.screen(Screen::Phone).await;
    assert_eq!(
        browser.script("return document.documentElement.scrollWidth").await,
        390,
        "nothing is wider than the screen"
    );
    assert_eq!(complaints(&browser).await, Vec::<String>::new());
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn a_history_that_is_off_and_a_failed_reload_are_told() {
    let world = world(&[("users", USERS)]).await;
    let asked = start(&world, "a", &[("WARMD__HISTORY__ENABLED", "false")]);
    let browser = opened(&asked).await;
    browser.until("#runs-list", "No history is kept").await;
    browser.until("[data-plot=plot-times]", "No history is kept").await;
    assert!(browser.text("tr[data-job=users]").await.contains("none is known"));
    crate::cli::write_job(&world, "wrong.toml", "schedule = 3\n");
    asked.daemon.signal("HUP");
    browser.until("#notices", "the last reload failed").await;
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

#[tokio::test]
async fn no_reader_is_kept_out_on_any_screen() {
    // A minute, whose end nobody waits for.
    let slow = slow("refresh = \"always\"").replace("< 2000", "< 12000");
    let (_world, asked) = with_runs(&[("slow", &slow)]).await;
    let browser = opened(&asked).await;
    browser.until("#runs-list", "users").await;
    browser.click("#unlock").await;
    browser.type_keys(&format!("{TOKEN}{}", keys::ENTER)).await;
    assert_eq!(asked.place.run("slow").status, 202);
    browser.until("tr[data-job=slow] .counts", " of ").await;
    for (screen, name) in [(Screen::Light, "light"), (Screen::Dark, "dark"), (Screen::Phone, "phone")] {
        browser.screen(screen).await;
        eventually("the plots are as wide as their places", async || {
            browser.script("return [...document.querySelectorAll('.canvas svg')].every(svg => svg.clientWidth === svg.parentNode.clientWidth)").await == true
        }).await;
        browser.picture(name).await;
        no_violations(&browser, name).await;
    }
    browser.screen(Screen::Light).await;
    browser.script("document.querySelector('#runs-list tbody tr:last-child a').click()").await;
    browser.until("dialog[open]", "Time of all batches").await;
    browser.picture("run").await;
    no_violations(&browser, "a run in detail").await;
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}

/// Asserts that axe finds nothing that keeps readers out.
async fn no_violations(browser: &Browser, what: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("axe/node_modules/axe-core/axe.min.js");
    let Ok(axe) = fs::read_to_string(&file) else {
        println!("SKIPPED: no axe-core at {}, so nobody has checked that {what} is accessible", file.display());
        return;
    };
    browser.script(&format!("{axe}\nwindow.axe = axe")).await;
    let found = browser
        .script_async(
            "const told = arguments[0]; axe.run().then(found => told(found.violations), error => told(String(error)))",
        )
        .await;
    let violations = found.as_array().unwrap_or_else(|| panic!("{found}"));
    let severe: Vec<String> = violations
        .iter()
        .filter(|violation| ["serious", "critical"].contains(&violation["impact"].as_str().unwrap_or_default()))
        .map(described)
        .collect();
    assert!(severe.is_empty(), "{what}: {severe:#?}");
}

fn described(violation: &Value) -> String {
    let places: Vec<&Value> =
        violation["nodes"].as_array().unwrap().iter().map(|node| &node["failureSummary"]).collect();
    format!("{}: {}: {places:?}", violation["id"], violation["help"])
}
