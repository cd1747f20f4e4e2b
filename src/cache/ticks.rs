//! Which ticks have had their run, also where the clock has been wrong.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};

/// Ticks of one job, in whole seconds: stretches within which each tick of the schedule has had its run, oldest first.
///
/// One is enough as long as the clock goes on; it ends with the newest tick. Missed ticks begin another, and so does a
/// clock that jumps: those between have not had theirs, should it go back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ticks(Vec<Stretch>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    first: i64,
    last: i64,
}

/// Beyond it, the oldest gap is closed, which holds back ticks that nobody waits for any more and repeats none.
const MOST_STRETCHES: usize = 16;

impl Ticks {
    /// One tick.
    pub fn one(tick: DateTime<Utc>) -> Self {
        Self(vec![Stretch { first: tick.timestamp(), last: tick.timestamp() }])
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a tick has had its run.
    pub fn has(&self, tick: DateTime<Utc>) -> bool {
        self.0.iter().any(|stretch| (stretch.first..=stretch.last).contains(&tick.timestamp()))
    }

    /// The newest; ahead of the clock when that was set back.
    pub fn newest(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.0.last()?.last, 0)
    }

    /// The newest that is not later than `moment`, or a moment between two of them.
    pub fn newest_until(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let before = self.0.iter().rev().find(|stretch| stretch.first <= moment.timestamp())?;
        DateTime::from_timestamp(before.last.min(moment.timestamp()), 0)
    }

    /// Adds the ticks from `first` to `last`. `is_next` tells of two moments whether the second is the tick after the
    /// first, or one before that.
    pub fn add(
        &mut self,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
        is_next: impl Fn(DateTime<Utc>, DateTime<Utc>) -> bool,
    ) {
        let added = Stretch { first: first.timestamp(), last: last.timestamp().max(first.timestamp()) };
        let place = self.0.partition_point(|stretch| stretch.first < added.first);
        self.0.insert(place, added);
        let joins = |before: &Stretch, after: &Stretch| {
            let moment = |seconds| DateTime::from_timestamp(seconds, 0);
            after.first <= before.last
                || moment(before.last).zip(moment(after.first)).is_some_and(|(last, first)| is_next(last, first))
        };
        self.0.dedup_by(|after, before| {
            let is_joined = joins(before, after);
            if is_joined {
                before.last = before.last.max(after.last);
            }
            is_joined
        });
        while self.0.len() > MOST_STRETCHES {
            self.0[0].last = self.0[1].last;
            self.0.remove(1);
        }
    }
}

/// `1795577700-1795578000,1795581600`
impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Stretch { first, last }) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{last}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Ticks {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stretch = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Ok(Stretch { first: first.parse()?, last: last.parse()? })
        };
        text.split(',').map(stretch).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// Every ten seconds.
    fn is_next(before: DateTime<Utc>, after: DateTime<Utc>) -> bool {
        after.timestamp() <= (before.timestamp() / 10 + 1) * 10
    }

    fn of(ticks: &[i64]) -> Ticks {
        let mut all = Ticks::default();
        ticks.iter().for_each(|tick| all.add(at(*tick), at(*tick), is_next));
        all
    }

    #[test]
    fn ticks_without_a_gap_are_one_stretch_in_whatever_order_they_ran() {
        assert_eq!(of(&[10, 20, 30]).to_string(), "10-30");
        assert_eq!(of(&[10, 20, 30, 70, 80]).to_string(), "10-30,70-80");
        // The clock went ahead, and back.
        assert_eq!(of(&[10, 20, 50, 60, 30]).to_string(), "10-30,50-60");
        assert_eq!(of(&[10, 20, 50, 60, 30, 40]).to_string(), "10-60");
        assert_eq!(of(&[30, 30, 30]).to_string(), "30");
        let mut missed = of(&[10]);
        missed.add(at(40), at(90), is_next);
        assert_eq!(missed.to_string(), "10,40-90");
    }

    #[test]
    fn it_knows_which_have_had_their_run_and_which_is_the_newest() {
        let ticks = of(&[10, 20, 50, 60]);
        let has: Vec<i64> = (0..10).map(|place| place * 10).filter(|tick| ticks.has(at(*tick))).collect();
        assert_eq!(has, [10, 20, 50, 60]);
        assert_eq!(ticks.newest(), Some(at(60)));
        let until = |moment| ticks.newest_until(at(moment)).map(|tick| tick.timestamp());
        assert_eq!(
            [until(9), until(10), until(45), until(50), until(99)],
            [None, Some(10), Some(20), Some(50), Some(60)]
        );
        assert_eq!((Ticks::default().newest(), Ticks::default().newest_until(at(99))), (None, None));
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        for text in ["5", "10-30", "10-30,50,70-80", "1795577700-1795578000,1795581600"] {
            assert_eq!(text.parse::<Ticks>().unwrap().to_string(), text);
        }
        for text in ["", "x", "1-", "1,", "1-2-3", "99999999999999999999"] {
            assert!(text.parse::<Ticks>().is_err(), "{text}");
        }
    }

    #[test]
    fn however_many_gaps_there_are_its_size_is_bounded_and_nothing_that_ran_is_forgotten() {
        let ran: Vec<i64> = (0..100).map(|place| place * 100).collect();
        let ticks = of(&ran);
        assert_eq!(ticks.0.len(), MOST_STRETCHES);
        assert!(ran.iter().all(|tick| ticks.has(at(*tick))), "{ticks}");
        assert!(!ticks.has(at(9_850)) && !ticks.has(at(10_000)), "{ticks}");
    }
}
