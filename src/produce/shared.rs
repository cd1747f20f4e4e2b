//! What several runs need is loaded once: the first that needs it loads it, the others wait for it, and it is dropped
//! with the last of them.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::time::timeout_at;

use crate::record::{Cause, Failure};

/// Things by what they are for; those that nobody holds are forgotten.
pub(super) struct Shared<K, T>(Mutex<Vec<(K, Weak<T>)>>);

impl<K, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq, T> Shared<K, T> {
    /// What is for `key`, one for all who hold it at the same time; made by `make` where nobody does.
    pub fn hold(&self, key: K, make: impl FnOnce() -> T) -> Arc<T> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|(_, one)| one.strong_count() > 0);
        // As many as there are jobs: not worth a hash.
        let known = held.iter().find(|(known, _)| *known == key).and_then(|(_, one)| one.upgrade());
        known.unwrap_or_else(|| {
            let made = Arc::new(make());
            held.push((key, Arc::downgrade(&made)));
            made
        })
    }
}

/// Where something is loaded to, once it is needed.
pub(super) struct Place<T> {
    /// Held while somebody loads.
    state: tokio::sync::Mutex<State<T>>,
    /// Attempts that failed because the database was out of reach.
    out_of_reach: AtomicU64,
}

enum State<T> {
    Empty,
    Loaded(Arc<T>),
    /// The last attempt, which all who waited for it are told of.
    OutOfReach(Failure),
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { state: tokio::sync::Mutex::new(State::Empty), out_of_reach: AtomicU64::new(0) }
    }
}

impl<T> Place<T> {
    /// What is here, loaded by `load` if nothing is. Of all who ask at the same time one loads; when it fails or gives
    /// up, the next one does. Only a database out of reach is told to all who waited: each would find it so in turn.
    /// Nobody waits for another longer than until `deadline`.
    pub async fn get(
        &self,
        deadline: Instant,
        load: impl AsyncFnOnce() -> Result<T, Failure>,
    ) -> Result<Arc<T>, Failure> {
        let seen = self.out_of_reach.load(Ordering::Relaxed);
        let Ok(mut state) = timeout_at(deadline.into(), self.state.lock()).await else {
            let message = "another run has not read the events in time".to_owned();
            return Err(Failure { cause: Cause::Timeout, message });
        };
        match &*state {
            State::Loaded(loaded) => return Ok(Arc::clone(loaded)),
            State::OutOfReach(failure) if self.out_of_reach.load(Ordering::Relaxed) > seen => {
                return Err(failure.clone());
            }
            State::Empty | State::OutOfReach(_) => {}
        }
        match load().await {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                *state = State::Loaded(Arc::clone(&loaded));
                Ok(loaded)
            }
            Err(failure) => {
                if failure.cause == Cause::DatabaseUnreachable {
                    *state = State::OutOfReach(failure.clone());
                    self.out_of_reach.fetch_add(1, Ordering::Relaxed);
                }
                Err(failure)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
        time::Duration,
    };

    use tokio::{join, sync::oneshot};

    use super::*;

    fn failure(cause: Cause) -> Failure {
        Failure { cause, message: "so it is".to_owned() }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn begin<F: Future>(future: std::pin::Pin<&mut F>) {
        assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }

    #[tokio::test]
    async fn who_asks_while_another_loads_gets_the_same() {
        let shared = Shared::default();
        let place = |of| shared.hold(of, Place::default);
        let (first, second) = (place("events"), place("events"));
        assert!(!Arc::ptr_eq(&first, &place("views")));
        let (go, gone) = oneshot::channel();
        let loaded = first.get(soon(), async || {
            gone.await.unwrap();
            Ok(vec![1, 2, 3])
        });
        let waited = second.get(soon(), async || panic!("loaded a second time"));
        let (loaded, waited, ()) = join!(loaded, waited, async { go.send(()).unwrap() });
        assert!(Arc::ptr_eq(&loaded.unwrap(), &waited.unwrap()));
    }

    #[tokio::test]
    async fn what_nobody_holds_any_more_is_gone() {
        let shared = Shared::default();
        let hold = |key| shared.hold(key, Place::default);
        let place = hold(1);
        let loaded = place.get(soon(), async || Ok("large")).await.unwrap();
        assert_eq!(*hold(1).get(soon(), async || panic!("it is there")).await.unwrap(), "large");
        drop(place);
        assert_eq!(Arc::strong_count(&loaded), 1);
        assert_eq!(*hold(1).get(soon(), async || Ok("anew")).await.unwrap(), "anew");
        drop(hold(2));
        assert_eq!(shared.0.lock().unwrap().len(), 1, "only what was asked for last is remembered");
    }

    #[tokio::test]
    async fn when_loading_fails_or_is_given_up_the_next_one_loads() {
        for cause in [Cause::Statement, Cause::Timeout, Cause::Data] {
            let place = Place::default();
            let (go, gone) = oneshot::channel();
            let failed = place.get(soon(), async || {
                gone.await.unwrap();
                Err(failure(cause))
            });
            let waited = place.get(soon(), async || Ok("mine"));
            let (failed, waited, ()) = join!(failed, waited, async { go.send(()).unwrap() });
            assert_eq!(failed.unwrap_err().cause, cause);
            assert_eq!(*waited.unwrap(), "mine");
            assert_eq!(*place.get(soon(), async || panic!("it is there")).await.unwrap(), "mine");
        }
        let place = Place::default();
        let mut given_up = Box::pin(place.get(soon(), async || std::future::pending().await));
        begin(given_up.as_mut());
        let mut waiting = pin!(place.get(soon(), async || Ok("mine")));
        begin(waiting.as_mut());
        drop(given_up);
        assert_eq!(*waiting.await.unwrap(), "mine");
    }

    #[tokio::test]
    async fn that_the_database_is_out_of_reach_is_told_to_all_who_waited_and_to_nobody_later() {
        let place = Place::default();
        let (go, gone) = oneshot::channel();
        let away = place.get(soon(), async || {
            gone.await.unwrap();
            Err(failure(Cause::DatabaseUnreachable))
        });
        let waiting = place.get(soon(), async || panic!("asked a server that was just found to be away"));
        let (failed, waited, ()) = join!(away, waiting, async { go.send(()).unwrap() });
        assert_eq!(failed.unwrap_err().cause, Cause::DatabaseUnreachable);
        assert_eq!(waited.unwrap_err().message, "so it is");
        assert_eq!(*place.get(soon(), async || Ok("back")).await.unwrap(), "back");
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_own_deadline() {
        let place = Place::<&str>::default();
        let mut slow = pin!(place.get(soon(), async || std::future::pending().await));
        begin(slow.as_mut());
        let waited = place.get(Instant::now(), async || panic!("another loads")).await;
        assert_eq!(waited.unwrap_err().cause, Cause::Timeout);
    }
}
