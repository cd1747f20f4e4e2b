//! What the daemon watches beside its runs, as the page shows it.

use super::{complaints, ended, opened};
use crate::{
    daemon::{eventually, until},
    http::{
        health::{ANY_SPEED, OFTEN},
        start, world,
    },
};

/// Two thousand keys, all of which each run renews; half of each batch is looked at.
const PEOPLE: &str = "schedule = \"0 0 1 1 *\"\ncatch_up = \"none\"\nkey = \"people:{id}\"\nttl = \"10m\"\nrefresh = \"always\"\n\
    [query]\nsql = \"WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 2000) SELECT id, 1 AS one FROM n\"\n\
    [limits]\nbatch = 100\n";

/// The number before the sign.
fn percent(text: &str) -> f64 {
    text.split_once('%').and_then(|(number, _)| number.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[tokio::test]
async fn coverage_what_is_read_alerts_and_the_course_of_redis_are_shown_without_a_reload() {
    let world = world(&[("people", PEOPLE)]).await;
    let asked = start(&world, "a", &[OFTEN, ANY_SPEED]);
    assert_eq!(asked.place.run("people").status, 202);
    ended(&asked, "people").await;
    let browser = opened(&asked).await;
    let row = "tr[data-job=people]";
    let (coverage, reads) = (format!("{row} [data-title=Coverage]"), format!("{row} [data-title=Read]"));
    browser.until(&coverage, "100 %").await;
    browser.until("#alerts", "Nothing is wrong.").await;
    browser.until("[data-plot=plot-memory]", "no maxmemory is set").await;

    // What nobody reads, also what was written last, is idle for longer than Redis's clock is coarse by then.
    let idle = async || world.redis_command::<u64>(&["OBJECT", "IDLETIME", "t:people:2000"]).await;
    eventually("some age", async || idle().await >= 4).await;
    let mut commands = redis::pipe();
    (1..=2000).step_by(2).for_each(|id| _ = commands.get(format!("t:people:{id}")).ignore());
    commands.query_async::<()>(&mut world.client().await).await.unwrap();
    assert_eq!(asked.place.run("people").status, 202);
    until(&world, "the second run", |records| records.len() == 2).await;
    browser.until(&reads, "%").await;
    let share = percent(&browser.text(&reads).await);
    assert!((45.0..=55.0).contains(&share), "{share} % read");
    browser.until("[data-plot=plot-hit-rate]", "average 100 %").await;

    let mut commands = redis::pipe();
    // A look finds all of them or none.
    commands.atomic();
    (1..=500).for_each(|id| _ = commands.del(format!("t:people:{id}")).ignore());
    commands.query_async::<()>(&mut world.client().await).await.unwrap();
    eventually("less coverage", async || percent(&browser.text(&coverage).await) < 100.0).await;
    let there = percent(&browser.text(&coverage).await);
    assert!((67.0..=83.0).contains(&there), "{there} % of a sample, and three quarters of all are there");
    let alert = browser.until("#alerts", "less than 95 %").await;
    assert!(alert.contains("warning") && alert.contains("% of its keys are there"), "{alert}");
    browser.until("#summary", "1 alert").await;
    assert_eq!(asked.place.run("people").status, 202);
    browser.until("#alerts", "1 alert resolved").await;
    assert_eq!(complaints(&browser).await, Vec::<String>::new());
    browser.close().await;
    assert_eq!(asked.daemon.stop(), Some(0));
}
