//! The pulse of the scheduler.
//!
//! tokio-cron-scheduler beats, and decides nothing else: its own schedules keep the offset of the day on which they were
//! made, stop for ever after a suspend, and overlap. It asks its store which of its jobs are due; ours knows one, which
//! always is, whatever the clock does.

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio_cron_scheduler::{
    Job, JobScheduler, JobSchedulerError, MetaDataStorage, SimpleJobCode, SimpleMetadataStore, SimpleNotificationCode,
    SimpleNotificationStore,
    job::job_data::{JobAndNextTick, JobStoredData},
    store::{DataStore, InitStore},
};
use uuid::Uuid;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

/// Beats until it is dropped or stopped.
pub(super) struct Heartbeat(JobScheduler);

impl Heartbeat {
    /// Calls `beat` twice a second. What panics in one beat is gone with it.
    pub async fn start(beat: impl Fn() + Clone + Send + Sync + 'static) -> anyhow::Result<Self> {
        let scheduler = JobScheduler::new_with_storage_and_code(
            Box::<AlwaysDue>::default(),
            Box::<SimpleNotificationStore>::default(),
            Box::<SimpleJobCode>::default(),
            Box::<SimpleNotificationCode>::default(),
            // More than ever wait: a full channel drops beats.
            64,
        );
        let scheduler = scheduler.await.context("the scheduler cannot be made")?;
        let job = Job::new_async("* * * * * *", move |_, _| {
            let beat = beat.clone();
            Box::pin(async move { beat() })
        });
        scheduler.add(job.context("the heartbeat cannot be made")?).await.context("the heartbeat cannot be added")?;
        scheduler.start().await.context("the scheduler cannot be started")?;
        Ok(Self(scheduler))
    }

    /// No further beat begins after the one that is under way.
    pub async fn stop(&mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!("the heartbeat did not stop: {error}");
        }
    }
}

#[derive(Default)]
struct AlwaysDue(SimpleMetadataStore);

impl MetaDataStorage for AlwaysDue {
    fn list_next_ticks(&mut self) -> Answer<Vec<JobAndNextTick>> {
        let ticks = self.0.list_next_ticks();
        Box::pin(async move {
            let mut ticks = ticks.await?;
            for tick in &mut ticks {
                // One second after the epoch is always past; 0 would mean "never again".
                (tick.next_tick, tick.last_tick) = (1, None);
            }
            Ok(ticks)
        })
    }

    fn set_next_and_last_tick(&mut self, _: Uuid, _: Option<DateTime<Utc>>, _: Option<DateTime<Utc>>) -> Answer<()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn time_till_next_job(&mut self) -> Answer<Option<Duration>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl DataStore<JobStoredData> for AlwaysDue {
    fn get(&mut self, id: Uuid) -> Answer<Option<JobStoredData>> {
        self.0.get(id)
    }

    fn add_or_update(&mut self, data: JobStoredData) -> Answer<()> {
        self.0.add_or_update(data)
    }

    fn delete(&mut self, id: Uuid) -> Answer<()> {
        self.0.delete(id)
    }
}

impl InitStore for AlwaysDue {
    fn init(&mut self) -> Answer<()> {
        self.0.init()
    }

    fn inited(&mut self) -> Answer<bool> {
        self.0.inited()
    }
}
