//! Redis goes, stands still, is full, refuses, breaks off, talks nonsense, is slow.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    KEYS, LONG_LEASE, Stage, TWO_SECONDS, count, moments, people,
    proxy::{Network, Proxy, Upstream},
    sqlite_and, were_struck,
};
use crate::{daemon::eventually, servers, standstill::undisturbed, world::World};

/// What a run says that Redis left: the batch that noticed, or the lease that could not be renewed.
const GONE: [&str; 2] = ["redis_unreachable", "lease_lost"];

/// Waits until Redis answers.
async fn answers(world: &World) {
    let client = redis::Client::open(world.redis.url.as_str()).unwrap();
    let ask = async || {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await
    };
    eventually("an answer", async || ask().await.is_ok()).await;
}

async fn configure(world: &World, setting: &str, value: &str) {
    world.redis_command::<String>(&["CONFIG", "SET", setting, value]).await;
}

/// A stage whose Redis is behind a network that can break.
async fn behind_a_network(response_timeout: &str) -> (Stage, Proxy) {
    let world = sqlite_and(servers::redis().await).await;
    let proxy = Proxy::before(Upstream::Socket(world.redis.socket.clone()));
    let url = format!("redis://127.0.0.1:{}", proxy.port);
    let variables = [("WARMD__REDIS__URL", url.as_str()), ("WARMD__REDIS__RESPONSE_TIMEOUT", response_timeout)];
    (Stage::set(world, &people("name", TWO_SECONDS), &variables).await, proxy)
}

async fn on(redis: servers::TestRedis, variables: &[(&str, &str)]) -> Stage {
    Stage::set(sqlite_and(redis).await, &people("name", TWO_SECONDS), variables).await
}

#[tokio::test]
async fn redis_killed_and_started_again_within_the_lease_is_waited_for() {
    undisturbed(async || {
        let mut stage = on(servers::durable_redis().await, &[LONG_LEASE]).await;
        stage.world.redis.server.kill();
        stage.eventually_logs(&["people: trying again"]).await;
        stage.world.redis.server.start();
        answers(&stage.world).await;
        let struck = stage.recovered().await;
        assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
    })
    .await;
}

#[tokio::test]
async fn redis_that_is_away_for_longer_than_the_lease_ends_the_run_and_the_next_writes_the_rest() {
    undisturbed(async || {
        let mut stage = on(servers::durable_redis().await, &[]).await;
        stage.world.redis.server.kill();
        stage.run_ends().await;
        stage.eventually_logs(&["people: waiting: Redis at"]).await;
        stage.world.redis.server.start();
        answers(&stage.world).await;
        let survived = stage.written().await as u64;
        let struck = stage.recovered().await;
        let ended = were_struck(&struck, &GONE, "Redis at ");
        assert!(count(ended[0], "written") <= survived, "what is counted is there: {survived} of {ended:#?}");
    })
    .await;
}

#[tokio::test]
async fn redis_that_comes_back_empty_is_filled_by_one_run() {
    undisturbed(async || {
        let mut stage = on(servers::redis().await, &[]).await;
        stage.world.redis.server.kill();
        stage.eventually_logs(&["people: trying again"]).await;
        stage.world.redis.server.start();
        answers(&stage.world).await;
        super::application_writes(&stage.world).await;
        // Their ends are new as well.
        stage.others = super::application_keys(&stage.world).await;
        // With the data the lease is gone.
        were_struck(&stage.recovered().await, &GONE, "");
    })
    .await;
}

#[tokio::test]
async fn redis_that_stands_still_costs_the_run_and_its_lease_and_nothing_else() {
    undisturbed(async || {
        let stage = on(servers::redis().await, &[("WARMD__REDIS__RESPONSE_TIMEOUT", "1s")]).await;
        stage.world.redis.server.signal("STOP");
        // For longer than the lease.
        sleep(Duration::from_secs(moments(8, 15) as u64)).await;
        stage.world.redis.server.signal("CONT");
        answers(&stage.world).await;
        were_struck(&stage.recovered().await, &GONE, "");
    })
    .await;
}

#[tokio::test]
async fn redis_that_stands_still_for_a_moment_costs_nothing() {
    let stage = on(servers::redis().await, &[LONG_LEASE]).await;
    stage.world.redis.server.signal("STOP");
    sleep(Duration::from_secs(1)).await;
    stage.world.redis.server.signal("CONT");
    let struck = stage.recovered().await;
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
}

#[tokio::test]
async fn a_full_redis_is_written_no_more_until_it_has_room() {
    undisturbed(async || {
        let stage = on(servers::redis().await, &[]).await;
        configure(&stage.world, "maxmemory", "1").await;
        stage.run_ends().await;
        configure(&stage.world, "maxmemory", "0").await;
        let struck = stage.recovered().await;
        // Seen before it is written to, or said by it.
        let ended = were_struck(&struck, &["memory", "lease_lost"], "memory");
        assert!(count(ended[0], "unreached") > 0, "{ended:#?}");
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_evicts_is_filled_again_once_it_has_room() {
    undisturbed(async || {
        let stage = on(servers::redis().await, &[]).await;
        configure(&stage.world, "maxmemory-policy", "allkeys-lru").await;
        configure(&stage.world, "maxmemory", &used(&stage.world).await.to_string()).await;
        // A run that looks at the memory writes nothing here, so that it is the application that fills it.
        for session in 0.. {
            if statistic(&stage.world, "evicted_keys").await > 20 {
                break;
            }
            let key = format!("session:{session}");
            stage.world.redis_command::<String>(&["SET", &key, &"x".repeat(1000), "EX", "3600"]).await;
        }
        stage.run_ends().await;
        configure(&stage.world, "maxmemory", "0").await;
        // Which keys go is the server's decision; the application's are not safe on a server that may evict them.
        super::application_writes(&stage.world).await;
        let mut stage = stage;
        stage.others = super::application_keys(&stage.world).await;
        let struck = stage.recovered().await;
        // A lease may be evicted, too.
        let is_told = |run: &serde_json::Value| run["cause"] == "memory" || run["cause"] == "lease_lost";
        assert!(struck.iter().any(is_told), "{struck:#?}");
        assert!(struck.iter().any(|run| count(run, "written") > 0), "{struck:#?}");
    })
    .await;
}

async fn statistic(world: &World, name: &str) -> u64 {
    let info: String = world.redis_command(&["INFO"]).await;
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().parse().unwrap()
}

async fn used(world: &World) -> u64 {
    statistic(world, "used_memory").await
}

#[tokio::test]
async fn a_redis_that_became_a_replica_refuses_and_is_filled_once_it_is_a_master_again() {
    undisturbed(async || {
        let stage = on(servers::redis().await, &[]).await;
        stage.world.redis_command::<String>(&["REPLICAOF", "127.0.0.1", "1"]).await;
        stage.run_ends().await;
        stage.world.redis_command::<String>(&["REPLICAOF", "NO", "ONE"]).await;
        were_struck(&stage.recovered().await, &["targets", "lease_lost"], "READONLY");
    })
    .await;
}

#[tokio::test]
async fn a_redis_without_a_free_connection_is_waited_for() {
    undisturbed(async || {
        let stage = on(servers::redis().await, &[]).await;
        let mut admin = stage.world.client().await;
        let limit: (String, String) =
            redis::cmd("CONFIG").arg(&["GET", "maxclients"]).query_async(&mut admin).await.unwrap();
        let mut order = async |words: &[&str]| {
            redis::cmd(words[0]).arg(&words[1..]).query_async::<()>(&mut admin).await.unwrap();
        };
        order(&["CONFIG", "SET", "maxclients", "1"]).await;
        order(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        // The server hangs up before it is asked anything, so its own words are seldom read.
        stage.eventually_logs(&["people: waiting: Redis at "]).await;
        order(&["CONFIG", "SET", "maxclients", &limit.1]).await;
        drop(admin);
        were_struck(&stage.recovered().await, &GONE, "");
    })
    .await;
}

#[tokio::test]
async fn one_connection_that_is_reset_in_the_middle_of_an_answer_costs_nothing() {
    let (stage, proxy) = behind_a_network("2s").await;
    proxy.becomes(Network::Cuts(7));
    sleep(Duration::from_millis(30)).await;
    proxy.becomes(Network::Sound);
    let struck = stage.recovered().await;
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
    assert!(struck.iter().map(|run| count(run, "written")).sum::<u64>() <= KEYS as u64);
}

#[tokio::test]
async fn connections_that_are_reset_again_and_again_end_the_run() {
    undisturbed(async || {
        let (stage, proxy) = behind_a_network("2s").await;
        // Too little for the answer to a renewal.
        proxy.becomes(Network::Cuts(3));
        stage.run_ends().await;
        proxy.becomes(Network::Sound);
        were_struck(&stage.recovered().await, &GONE, "Redis at 127.0.0.1:");
    })
    .await;
}

#[tokio::test]
async fn answers_that_make_no_sense_end_the_run() {
    undisturbed(async || {
        let (stage, proxy) = behind_a_network("2s").await;
        proxy.becomes(Network::Garbles);
        stage.run_ends().await;
        proxy.becomes(Network::Sound);
        were_struck(&stage.recovered().await, &["redis", "redis_unreachable", "lease_lost"], "Redis at 127.0.0.1:");
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_answers_slowly_is_only_slow() {
    let (stage, proxy) = behind_a_network("2s").await;
    proxy.becomes(Network::Slow(Duration::from_millis(200)));
    sleep(Duration::from_secs(3)).await;
    proxy.becomes(Network::Sound);
    let struck = stage.recovered().await;
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
}

#[tokio::test]
async fn a_connection_that_brings_no_answers_any_more_does_not_cost_the_lease() {
    // Waiting for the answer to a renewal for as long as for any other would.
    let (stage, proxy) = behind_a_network("6s").await;
    proxy.becomes(Network::Forgets);
    let struck = stage.recovered().await;
    assert!(struck.iter().all(|run| run["outcome"] == "ok"), "{struck:#?}");
}
