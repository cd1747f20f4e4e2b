//! How many batches at once a server bears, by how fast it answers.
//!
//! An answer is slow when it takes more than [`SLOW`] times as long as is usual for its statement, and at least
//! [`NOTABLE`] longer. Two slow answers in a row halve the batches at once, down to one, and then to one at a time with a
//! rest as long as the last answer took. While answers are calm, one comes back after the other, so that after
//! [`RECOVERY`] all are back. What is usual is learned from answers at full pace; a server that stays slow becomes the
//! usual in the course of [`MEMORY`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a run backs off from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strain {
    /// The database answers slower than usual.
    Database,
    /// Redis does.
    Redis,
    /// A replica lags behind by more than `max_replica_lag`.
    ReplicaLag,
    /// The database has more than `max_active_connections`.
    ActiveConnections,
}

impl Strain {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "a slow database",
            Self::Redis => "a slow Redis",
            Self::ReplicaLag => "replica lag",
            Self::ActiveConnections => "active connections",
        }
    }
}

/// Seconds backed off, by the reason.
pub type BackedOff = BTreeMap<Strain, f64>;

/// More than this many times as long as usual is slow. Less is what batches at once do to each other.
const SLOW: f64 = 3.0;

/// What is less than this above the usual hurts nobody.
const NOTABLE: Duration = Duration::from_millis(50);

/// Slow answers in a row that halve the pace: one alone may be chance.
const IN_A_ROW: u32 = 2;

/// Answers before anything is usual.
const FEWEST: u32 = 3;

/// The share of a calm answer in what is usual.
const SHARE: f64 = 0.125;

/// After this time a slow answer has about two thirds of a say in what is usual.
const MEMORY: Duration = Duration::from_secs(600);

/// From one batch to all, while answers are calm.
const RECOVERY: Duration = Duration::from_secs(25);

/// The longest time from one step of the recovery to the next, and the longest rest.
const LONGEST: Duration = Duration::from_secs(5);

/// How long a job's statements usually take; outlives its runs.
#[derive(Debug, Default)]
pub struct Usual(Mutex<HashMap<(Strain, u64), Answers>>);

#[derive(Debug)]
struct Answers {
    count: u32,
    seconds: f64,
    at: Instant,
}

impl Usual {
    /// Takes note of an answer; whether it was slow.
    fn is_slow(&self, statement: (Strain, u64), took: Duration, now: Instant, full_pace: bool) -> bool {
        let mut usual = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = took.as_secs_f64();
        let answers = usual.entry(statement).or_insert(Answers { count: 0, seconds, at: now });
        let slow = answers.count >= FEWEST
            && seconds > answers.seconds * SLOW
            && seconds > answers.seconds + NOTABLE.as_secs_f64();
        let share = match slow {
            true => 1.0 - (-now.saturating_duration_since(answers.at).as_secs_f64() / MEMORY.as_secs_f64()).exp(),
            // Fewer batches at once are answered faster, which says nothing about all of them.
            false if full_pace => SHARE,
            false => 0.0,
        };
        answers.seconds += (seconds - answers.seconds) * share;
        answers.count = answers.count.saturating_add(1);
        answers.at = now;
        slow
    }
}

/// The batches at once of one run.
#[derive(Debug)]
pub struct Pace {
    full: u32,
    usual: Arc<Usual>,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Zero is one at a time, with a rest after each.
    allowed: u32,
    /// Slots that are to go when their batches end.
    owed: u32,
    /// Each to what was asked after the one before had come, and when the last of them came: a moment in which nothing
    /// goes on makes all slow that is under way.
    slow_in_a_row: HashMap<Strain, (u32, Instant)>,
    /// The last step down or up, or the last slow answer.
    since: Instant,
    /// When it was last halved: answers to what was asked before say nothing new.
    halved: Option<Instant>,
    rest: Duration,
    /// Why and since when it is not full.
    reduced: Option<(Strain, Instant)>,
    backed_off: BackedOff,
}

/// A place among the batches at once.
pub struct Place<'p> {
    pace: &'p Pace,
    permit: Option<OwnedSemaphorePermit>,
}

impl Pace {
    /// At most `full` batches at once.
    pub fn new(full: u32, usual: Arc<Usual>) -> Self {
        let state = State {
            allowed: full,
            owed: 0,
            slow_in_a_row: HashMap::new(),
            since: Instant::now(),
            halved: None,
            rest: Duration::ZERO,
            reduced: None,
            backed_off: BackedOff::new(),
        };
        Self { full, usual, slots: Arc::new(Semaphore::new(full as usize)), state: Mutex::new(state) }
    }

    /// Waits for a place.
    pub async fn place(&self) -> Place<'_> {
        // The semaphore is never closed, and without a permit there is no limit to keep.
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok();
        let place = Place { pace: self, permit };
        let rest = self.state().rest;
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        place
    }

    /// Takes note of how long an answer took. `statement` tells apart what takes its own time.
    pub fn answered(&self, strain: Strain, statement: u64, asked: Instant, took: Duration) {
        let now = Instant::now();
        let mut state = self.state();
        let slow = self.usual.is_slow((strain, statement), took, now, state.reduced.is_none());
        if !slow {
            state.slow_in_a_row.remove(&strain);
            self.recover(&mut state, now);
            return;
        }
        let (in_a_row, last) = state.slow_in_a_row.entry(strain).or_insert((0, asked));
        if asked >= *last {
            (*in_a_row, *last) = (*in_a_row + 1, now);
        }
        let in_a_row = *in_a_row;
        state.since = now;
        if state.allowed == 0 {
            state.rest = took.min(LONGEST);
        }
        if in_a_row >= IN_A_ROW && state.halved.is_none_or(|halved| asked > halved) {
            self.halve(&mut state, strain, took, now);
        }
    }

    /// Seconds backed off so far.
    pub fn backed_off(&self) -> BackedOff {
        let state = self.state();
        let mut backed_off = state.backed_off.clone();
        if let Some((strain, since)) = state.reduced {
            *backed_off.entry(strain).or_default() += since.elapsed().as_secs_f64();
        }
        backed_off
    }

    fn halve(&self, state: &mut State, strain: Strain, took: Duration, now: Instant) {
        state.halved = Some(now);
        state.reduced.get_or_insert((strain, now));
        let before = state.allowed.max(1);
        state.allowed /= 2;
        if state.allowed == 0 {
            state.rest = took.min(LONGEST);
        }
        let surplus = before - state.allowed.max(1);
        let gone = self.slots.forget_permits(surplus as usize) as u32;
        state.owed += surplus - gone;
    }

    fn recover(&self, state: &mut State, now: Instant) {
        let Some((strain, since)) = state.reduced else { return };
        let step = (RECOVERY / self.full).min(LONGEST);
        while state.allowed < self.full && now.saturating_duration_since(state.since) >= step {
            state.since += step;
            state.allowed += 1;
            state.rest = Duration::ZERO;
            match state.owed {
                // From a rest after each to none.
                _ if state.allowed == 1 => {}
                0 => self.slots.add_permits(1),
                _ => state.owed -= 1,
            }
        }
        if state.allowed == self.full {
            *state.backed_off.entry(strain).or_default() += (now - since).as_secs_f64();
            (state.reduced, state.halved) = (None, None);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state();
        if state.owed > 0
            && let Some(permit) = self.permit.take()
        {
            state.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Duration = Duration::from_millis(20);
    const SLOW_ANSWER: Duration = Duration::from_millis(300);

    impl Pace {
        fn allowed(&self) -> u32 {
            self.state().allowed
        }

        /// As many as can be had at once.
        fn places(&self) -> usize {
            self.slots.available_permits()
        }

        fn answer(&self, took: Duration) {
            self.answered(Strain::Database, 1, Instant::now(), took);
        }

        /// As if all that has been noted had happened earlier.
        fn age(&self, by: Duration) {
            let mut state = self.state();
            state.since -= by;
            state.halved = state.halved.map(|halved| halved - by);
            state.reduced = state.reduced.map(|(strain, since)| (strain, since - by));
        }
    }

    fn learned(full: u32) -> Pace {
        let pace = Pace::new(full, Arc::default());
        (0..FEWEST).for_each(|_| pace.answer(CALM));
        pace
    }

    #[test]
    fn two_slow_answers_in_a_row_halve_the_batches_at_once_and_one_alone_does_not() {
        let pace = learned(8);
        for took in [SLOW_ANSWER, CALM, SLOW_ANSWER, CALM] {
            pace.answer(took);
        }
        assert_eq!((pace.allowed(), pace.places()), (8, 8));
        for expected in [8, 4, 2, 1, 0] {
            pace.answer(SLOW_ANSWER);
            assert_eq!(pace.allowed(), expected);
        }
        assert_eq!(pace.places(), 1, "one batch is always left");
        assert_eq!(pace.state().rest, SLOW_ANSWER);
    }

    #[test]
    fn answers_that_one_moment_made_slow_count_as_one() {
        let pace = learned(8);
        let asked = Instant::now();
        (0..6).for_each(|_| pace.answered(Strain::Database, 1, asked, SLOW_ANSWER));
        assert_eq!(pace.allowed(), 8);
        pace.answer(SLOW_ANSWER);
        assert_eq!(pace.allowed(), 4);
        (0..6).for_each(|_| pace.answered(Strain::Database, 1, asked, SLOW_ANSWER));
        assert_eq!(pace.allowed(), 4, "what was asked before a halving does not halve again");
    }

    #[test]
    fn thirty_calm_seconds_bring_everything_back_step_by_step() {
        for full in [1, 2, 4, 256] {
            let pace = learned(full);
            while pace.allowed() > 0 {
                pace.answer(SLOW_ANSWER);
            }
            let mut steps = vec![0];
            for _ in 0..30 {
                pace.age(Duration::from_secs(1));
                pace.answer(CALM);
                steps.push(pace.allowed());
            }
            assert!(steps.is_sorted() && steps[2] <= full.div_ceil(8).max(1), "{steps:?}");
            assert_eq!((pace.allowed(), pace.places()), (full, full as usize), "{steps:?}");
            let backed_off = pace.backed_off()[&Strain::Database];
            assert!((1.0..30.0).contains(&backed_off), "{backed_off}");
        }
    }

    #[tokio::test]
    async fn a_batch_that_is_under_way_gives_its_place_up_at_its_end() {
        let pace = learned(4);
        let mut under_way = vec![pace.place().await, pace.place().await, pace.place().await, pace.place().await];
        (0..2).for_each(|_| pace.answer(SLOW_ANSWER));
        assert_eq!(pace.allowed(), 2);
        under_way.truncate(2);
        assert_eq!(pace.places(), 0);
        under_way.clear();
        assert_eq!(pace.places(), 2);
    }

    #[test]
    fn what_is_slow_for_long_becomes_the_usual_and_what_is_brief_never_is_slow() {
        let usual = Usual::default();
        let mut now = Instant::now();
        let mut ask = |took: Duration, after: u64| {
            now += Duration::from_secs(after);
            usual.is_slow((Strain::Redis, 0), took, now, true)
        };
        assert!(!(0..3).any(|_| ask(Duration::from_millis(1), 0)));
        assert!(!ask(Duration::from_millis(49), 0), "a hundred times as long, and still brief");
        assert!(!(0..100).any(|_| ask(CALM, 0)));
        assert!(ask(SLOW_ANSWER, 1));
        let slow = (0..60).filter(|_| ask(SLOW_ANSWER, 30)).count();
        assert!((5..30).contains(&slow), "slow for {slow} half minutes");
    }

    #[test]
    fn statements_have_what_is_usual_for_themselves() {
        let pace = learned(4);
        (0..5).for_each(|_| pace.answered(Strain::Database, 2, Instant::now(), SLOW_ANSWER));
        (0..5).for_each(|_| pace.answered(Strain::Redis, 1, Instant::now(), SLOW_ANSWER));
        assert_eq!(pace.allowed(), 4);
    }
}
