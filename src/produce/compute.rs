//! Heavy work on threads of its own, so that the runtime's go on serving connections.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use tokio::sync::oneshot;

use crate::record::{Cause, Failure, Meter};

/// Runs `work` on the compute threads and waits for it. A panic in it is a failure of this run alone.
pub(super) async fn on_threads<T: Send + 'static>(
    meter: &Meter,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (done, result) = oneshot::channel();
    let began = Instant::now();
    rayon::spawn(move || {
        // Nobody listens when the run has ended meanwhile.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    });
    let outcome = result.await;
    meter.compute.add_time(began.elapsed());
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => {
            let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Failure { cause: Cause::Internal, message: format!("a defect in the computation: {words}") })
        }
        Err(_) => Err(Failure { cause: Cause::Internal, message: "the compute threads are gone".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure() {
        let meter = Meter::default();
        assert_eq!(on_threads(&meter, || 6 * 7).await.unwrap(), 42);
        let failure = on_threads(&meter, || -> u32 { panic!("no such row") }).await.unwrap_err();
        assert_eq!(failure.message, "a defect in the computation: no such row");
    }
}
