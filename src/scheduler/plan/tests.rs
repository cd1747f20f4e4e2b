use super::*;
use crate::problems::Problems;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A valid job with this name and these lines about its schedule.
fn job(name: &str, lines: &str) -> Job {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{name}.toml"));
    let text = format!("{lines}\nkey = \"x:{{id}}\"\nttl = \"1h\"\n[query]\nsql = \"SELECT 1 AS id\"\n");
    std::fs::write(&path, text).unwrap();
    let mut problems = Problems::default();
    let job = crate::job::load_file(&path, &crate::job::Dialects::default(), &mut problems);
    assert_eq!(problems, Problems::default(), "{problems}");
    job.unwrap()
}

fn plan(jobs: &[Job], now: &str) -> Plan {
    let mut plan = Plan::new(at(now));
    assert_eq!(plan.replace(jobs.iter(), at(now)), []);
    plan
}

/// The ticks that a look hands out, as `job time`, with `again` behind those that it has handed out before.
fn look(plan: &mut Plan, now: &str) -> Vec<String> {
    let again = |due: &Due| if due.again { " again" } else { "" };
    let words = |due: Due| format!("{} {}{}", due.job, due.tick.format("%H:%M:%S"), again(&due));
    plan.look(at(now)).into_iter().map(words).collect()
}

#[test]
fn each_tick_is_handed_out_once_at_its_time() {
    let mut plan = plan(&[job("a", "schedule = \"*/5 * * * *\"")], "2026-06-01T10:02:00Z");
    assert_eq!(look(&mut plan, "2026-06-01T10:04:59.9Z"), [""; 0]);
    assert_eq!(look(&mut plan, "2026-06-01T10:05:00Z"), ["a 10:05:00"]);
    assert_eq!(look(&mut plan, "2026-06-01T10:05:00.5Z"), [""; 0]);
    assert_eq!(look(&mut plan, "2026-06-01T10:10:00.4Z"), ["a 10:10:00"]);
}

#[test]
fn after_a_sleep_only_the_newest_missed_tick_runs_unless_catch_up_is_none() {
    let jobs = [
        job("once", "schedule = \"*/5 * * * *\""),
        job("none", "schedule = \"*/5 * * * *\"\ncatch_up = \"none\""),
        job("seconds", "schedule = \"@every 1s\""),
    ];
    let mut plan = plan(&jobs, "2026-06-01T10:02:00Z");
    assert_eq!(look(&mut plan, "2026-06-08T11:03:00Z"), ["once 11:00:00", "seconds 11:03:00"]);
    // All of them go on as if nothing had been.
    assert_eq!(look(&mut plan, "2026-06-08T11:05:00Z"), ["none 11:05:00", "once 11:05:00", "seconds 11:05:00"]);
}

#[test]
fn a_clock_that_goes_back_has_no_tick_run_twice_however_far_it_goes() {
    for back in ["2026-06-01T10:04:00Z", "2026-06-01T09:59:00Z", "2026-05-25T10:00:00Z", "2001-01-01T00:00:00Z"] {
        let jobs = [
            job("a", "schedule = \"*/5 * * * *\""),
            job("daily", "schedule = \"10 10 * * *\""),
            job("none", "schedule = \"*/5 * * * *\"\ncatch_up = \"none\""),
        ];
        let mut plan = plan(&jobs, "2026-06-01T10:02:00Z");
        assert_eq!(look(&mut plan, "2026-06-01T10:05:00Z"), ["a 10:05:00", "none 10:05:00"]);
        assert_eq!(look(&mut plan, "2026-06-01T10:10:00Z"), ["a 10:10:00", "daily 10:10:00", "none 10:10:00"]);
        assert_eq!(look(&mut plan, back), [""; 0]);
        // A tick before the first look has not had its run here.
        let late = if back < "2026-06-01T10:00" { vec!["a 10:00:00", "none 10:00:00"] } else { Vec::new() };
        let mut begun = look(&mut plan, "2026-06-01T10:00:00Z");
        begun.retain(|due| !due.starts_with("daily"));
        assert_eq!(begun, late, "{back}");
        assert_eq!(look(&mut plan, "2026-06-01T10:05:00Z"), ["a 10:05:00 again"], "{back}");
        assert_eq!(look(&mut plan, "2026-06-01T10:05:01Z"), [""; 0]);
        let daily = ["a 10:10:00 again", "daily 10:10:00 again"];
        assert_eq!(look(&mut plan, "2026-06-01T10:10:00Z"), daily, "{back}");
        assert_eq!(look(&mut plan, "2026-06-01T10:15:00Z"), ["a 10:15:00", "none 10:15:00"], "{back}");
    }
}

#[test]
fn a_clock_that_was_wrong_by_an_hour_holds_back_only_what_has_had_its_run() {
    let mut plan = plan(&[job("a", "schedule = \"*/5 * * * *\"")], "2026-06-01T10:02:00Z");
    assert_eq!(look(&mut plan, "2026-06-01T10:05:00Z"), ["a 10:05:00"]);
    // Twelve ticks are missed, of which the newest runs.
    assert_eq!(look(&mut plan, "2026-06-01T11:06:00Z"), ["a 11:05:00"]);
    assert_eq!(look(&mut plan, "2026-06-01T11:10:00Z"), ["a 11:10:00"]);
    assert_eq!(look(&mut plan, "2026-06-01T10:12:00Z"), [""; 0]);
    for tick in (15..60).step_by(5) {
        assert_eq!(look(&mut plan, &format!("2026-06-01T10:{tick}:00Z")), [format!("a 10:{tick}:00")]);
    }
    assert_eq!(look(&mut plan, "2026-06-01T11:00:00Z"), ["a 11:00:00"]);
    assert_eq!(look(&mut plan, "2026-06-01T11:05:00Z"), ["a 11:05:00 again"]);
    assert_eq!(look(&mut plan, "2026-06-01T11:10:00Z"), ["a 11:10:00 again"]);
    assert_eq!(look(&mut plan, "2026-06-01T11:15:00Z"), ["a 11:15:00"]);
}

#[test]
fn a_clock_that_goes_back_changes_nothing_for_a_tick_that_waits_for_its_delay() {
    let jittered = job("a", "schedule = \"0 * * * *\"\nstart_jitter = \"50m\"");
    let delay = TimeDelta::from_std(jittered.start_delay()).unwrap();
    let mut plan = plan(&[jittered], "2026-06-01T10:30:00Z");
    let tick = at("2026-06-01T11:00:00Z");
    assert_eq!(plan.look(tick + delay - TimeDelta::seconds(10)), []);
    assert_eq!(plan.look(tick - TimeDelta::minutes(5)), []);
    assert_eq!(plan.look(tick + delay), [Due { job: "a".to_owned(), tick, again: false }]);
    assert_eq!(plan.look(tick + TimeDelta::seconds(1)), []);
    assert_eq!(plan.look(tick + delay), [Due { job: "a".to_owned(), tick, again: true }]);
}

#[test]
fn what_has_had_its_run_is_known_through_reloads_and_when_it_was_made_up_for() {
    let hourly = job("a", "schedule = \"0 * * * *\"");
    let mut plan = plan(std::slice::from_ref(&hourly), "2026-06-01T10:30:00Z");
    plan.ran("a", at("2026-06-01T10:00:00Z"));
    assert_eq!(look(&mut plan, "2026-06-01T11:00:00Z"), ["a 11:00:00"]);
    let changed = job("a", "schedule = \"*/30 * * * *\"");
    assert_eq!(plan.replace([&changed].into_iter(), at("2026-06-01T11:10:00Z")), []);
    assert_eq!(look(&mut plan, "2026-06-01T09:50:00Z"), [""; 0]);
    assert_eq!(look(&mut plan, "2026-06-01T10:00:00Z"), ["a 10:00:00 again"]);
    assert_eq!(look(&mut plan, "2026-06-01T11:00:00Z"), ["a 11:00:00 again"]);
    assert_eq!(look(&mut plan, "2026-06-01T11:30:00Z"), ["a 11:30:00"]);
}

#[test]
fn local_times_that_a_transition_skips_or_repeats_are_handed_out_once() {
    // What comes out of looking twice a minute through the night, in UTC.
    let through = |zone: &str, pattern: &str, from: &str, hours: i64| {
        let lines = format!("schedule = \"{pattern}\"\ntimezone = \"{zone}\"");
        let mut plan = plan(&[job("a", &lines)], from);
        let moments = (0..hours * 120).map(|half| at(from) + TimeDelta::seconds(30 * half));
        let due = moments.flat_map(|now| plan.look(now)).map(|due| due.tick.format("%d %H:%M").to_string());
        due.collect::<Vec<_>>()
    };
    let berlin = "Europe/Berlin";
    assert_eq!(through(berlin, "30 2 * * *", "2026-03-28T12:00:00Z", 24), ["29 01:00"]);
    assert_eq!(through(berlin, "30 2 * * *", "2026-10-24T12:00:00Z", 24), ["25 00:30"]);
    let york = "America/New_York";
    assert_eq!(through(york, "30 2 * * *", "2026-03-07T12:00:00Z", 24), ["08 07:00"]);
    assert_eq!(through(york, "30 1 * * *", "2026-10-31T12:00:00Z", 24), ["01 05:30"]);
    // Half an hour: 02:00 becomes 02:30 in October, and 02:00 becomes 01:30 in April.
    let howe = "Australia/Lord_Howe";
    assert_eq!(through(howe, "15 2 * * *", "2026-10-03T03:00:00Z", 24), ["03 15:30"]);
    assert_eq!(through(howe, "45 1 * * *", "2026-04-04T03:00:00Z", 24), ["04 14:45"]);
    assert_eq!(through("UTC", "0 12 29 2 *", "2028-02-28T13:00:00Z", 48), ["29 12:00"]);
    assert_eq!(
        through(berlin, "0 * * * *", "2026-10-24T22:30:00Z", 5),
        ["24 23:00", "25 00:00", "25 01:00", "25 02:00", "25 03:00"]
    );
}

#[test]
fn start_jitter_delays_a_job_always_by_the_same_time() {
    let jittered = job("a", "schedule = \"0 * * * *\"\nstart_jitter = \"10m\"");
    let delay = jittered.start_delay();
    assert!(delay > std::time::Duration::from_secs(1) && delay < std::time::Duration::from_secs(600), "{delay:?}");
    let delay = TimeDelta::from_std(delay).unwrap();
    let mut plan = plan(&[jittered], "2026-06-01T10:30:00Z");
    for tick in [at("2026-06-01T11:00:00Z"), at("2026-06-01T12:00:00Z")] {
        assert_eq!(plan.look(tick + delay - TimeDelta::milliseconds(1)), []);
        assert_eq!(plan.look(tick + delay), [Due { job: "a".to_owned(), tick, again: false }]);
    }
}

#[test]
fn a_reload_loses_no_tick_and_repeats_none() {
    let hourly = job("hourly", "schedule = \"0 * * * *\"");
    let mut plan = plan(std::slice::from_ref(&hourly), "2026-06-01T10:30:00Z");
    // The tick became due since the last look.
    let due =
        plan.replace([&hourly, &job("new", "schedule = \"@every 1m\"")].into_iter(), at("2026-06-01T11:00:00.1Z"));
    assert_eq!(due, [Due { job: "hourly".to_owned(), tick: at("2026-06-01T11:00:00Z"), again: false }]);
    assert_eq!(look(&mut plan, "2026-06-01T11:00:30Z"), [""; 0]);
    assert_eq!(look(&mut plan, "2026-06-01T11:01:00Z"), ["new 11:01:00"]);
    // Another schedule counts from now on, and a removed job is gone.
    let changed = job("hourly", "schedule = \"30 * * * *\"");
    assert_eq!(plan.replace([&changed].into_iter(), at("2026-06-01T11:01:30Z")), []);
    assert_eq!(look(&mut plan, "2026-06-01T12:00:00Z"), ["hourly 11:30:00"]);
}

#[test]
fn a_tick_that_waits_for_its_delay_survives_a_change_of_the_schedule() {
    let before = job("trending", "schedule = \"0 * * * *\"\nstart_jitter = \"50m\"");
    assert!(before.start_delay() > std::time::Duration::from_secs(60));
    let mut plan = plan(&[before], "2026-06-01T10:30:00Z");
    let after = job("trending", "schedule = \"30 * * * *\"");
    let due = plan.replace([&after].into_iter(), at("2026-06-01T11:00:10Z"));
    assert_eq!(due, [Due { job: "trending".to_owned(), tick: at("2026-06-01T11:00:00Z"), again: false }]);
}

#[test]
fn a_tick_that_waits_for_its_delay_survives_a_reload_that_leaves_it_alone() {
    let jittered = job("trending", "schedule = \"0 * * * *\"\nstart_jitter = \"50m\"");
    let delay = TimeDelta::from_std(jittered.start_delay()).unwrap();
    let mut plan = plan(std::slice::from_ref(&jittered), "2026-06-01T10:30:00Z");
    assert!(delay > TimeDelta::minutes(1));
    assert_eq!(plan.replace([&jittered].into_iter(), at("2026-06-01T11:00:10Z")), []);
    let tick = at("2026-06-01T11:00:00Z");
    assert_eq!(plan.look(tick + delay), [Due { job: "trending".to_owned(), tick, again: false }]);
}
