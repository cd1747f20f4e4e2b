//! What was measured over the last hours, one point an interval.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// How Redis was at one moment. What could not be known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// When it was measured.
    pub at: DateTime<Utc>,
    /// Of the keys that others looked up since the point before, the share that was there, 0.0 to 1.0.
    pub hit_rate: Option<f64>,
    /// How long it took to answer.
    pub response_seconds: Option<f64>,
    /// Bytes in use.
    pub used_memory_bytes: Option<u64>,
    /// The share of `maxmemory` in use, where there is one.
    pub memory_share: Option<f64>,
    /// Keys evicted a second since the point before.
    pub evicted_keys_per_second: Option<f64>,
    /// Connections of clients.
    pub connected_clients: Option<u64>,
}

/// Points of the last hours, the oldest first.
#[derive(Debug)]
pub(super) struct Window {
    points: VecDeque<Point>,
    length: Duration,
}

/// One measure over all points that have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many points have it.
    pub count: usize,
    /// Their mean.
    pub average: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The one in the middle; of an even number, the mean of the two.
    pub median: f64,
    /// Of the points, not of what they may be a sample of: the sum of squares is divided by their number.
    pub standard_deviation: f64,
}

/// Each measure over the whole window; `None` for one that no point has.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summaries {
    /// See [`Point::hit_rate`].
    pub hit_rate: Option<Summary>,
    /// See [`Point::response_seconds`].
    pub response_seconds: Option<Summary>,
    /// See [`Point::used_memory_bytes`].
    pub used_memory_bytes: Option<Summary>,
    /// See [`Point::memory_share`].
    pub memory_share: Option<Summary>,
    /// See [`Point::evicted_keys_per_second`].
    pub evicted_keys_per_second: Option<Summary>,
    /// See [`Point::connected_clients`].
    pub connected_clients: Option<Summary>,
}

impl Point {
    /// A moment at which nothing could be measured.
    pub(super) fn unknown(at: DateTime<Utc>) -> Self {
        Self {
            at,
            hit_rate: None,
            response_seconds: None,
            used_memory_bytes: None,
            memory_share: None,
            evicted_keys_per_second: None,
            connected_clients: None,
        }
    }
}

impl Window {
    pub fn new(length: Duration) -> Self {
        Self { points: VecDeque::new(), length }
    }

    pub fn set_length(&mut self, length: Duration) {
        self.length = length;
    }

    /// Adds the newest point, and lets go of those that are older than the window is long.
    pub fn add(&mut self, point: Point) {
        let oldest = point.at - TimeDelta::from_std(self.length).unwrap_or(TimeDelta::MAX);
        // Also what a clock that went back has left in the future.
        self.points.retain(|kept| kept.at > oldest && kept.at < point.at);
        self.points.push_back(point);
    }

    pub fn newest(&self) -> Option<Point> {
        self.points.back().copied()
    }

    pub fn summaries(&self) -> Summaries {
        let over = |measure: fn(&Point) -> Option<f64>| Summary::of(self.points.iter().filter_map(measure).collect());
        Summaries {
            hit_rate: over(|point| point.hit_rate),
            response_seconds: over(|point| point.response_seconds),
            used_memory_bytes: over(|point| point.used_memory_bytes.map(|bytes| bytes as f64)),
            memory_share: over(|point| point.memory_share),
            evicted_keys_per_second: over(|point| point.evicted_keys_per_second),
            connected_clients: over(|point| point.connected_clients.map(|clients| clients as f64)),
        }
    }

    /// At most so many points, each the mean of as many neighbours as the others, and of their moment in the middle.
    pub fn points(&self, most: usize) -> Vec<Point> {
        let together = self.points.len().div_ceil(most.max(1)).max(1);
        let points: Vec<Point> = self.points.iter().copied().collect();
        points.chunks(together).map(merged).collect()
    }
}

fn merged(points: &[Point]) -> Point {
    let mean = |measure: fn(&Point) -> Option<f64>| {
        let known: Vec<f64> = points.iter().filter_map(measure).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let whole = |measure: fn(&Point) -> Option<u64>| {
        let known: Vec<u64> = points.iter().filter_map(measure).collect();
        (!known.is_empty()).then(|| known.iter().sum::<u64>() / known.len() as u64)
    };
    Point {
        at: points[points.len() / 2].at,
        hit_rate: mean(|point| point.hit_rate),
        response_seconds: mean(|point| point.response_seconds),
        used_memory_bytes: whole(|point| point.used_memory_bytes),
        memory_share: mean(|point| point.memory_share),
        evicted_keys_per_second: mean(|point| point.evicted_keys_per_second),
        connected_clients: whole(|point| point.connected_clients),
    }
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (count, half) = (values.len(), values.len() / 2);
        let (min, max) = (*values.first()?, *values.last()?);
        let average = values.iter().sum::<f64>() / count as f64;
        let variance = values.iter().map(|value| (value - average).powi(2)).sum::<f64>() / count as f64;
        let median = if count % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { count, average, min, max, median, standard_deviation: variance.sqrt() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: i64, response: f64) -> Point {
        let at = DateTime::from_timestamp(second, 0).unwrap();
        Point { response_seconds: Some(response), ..Point::unknown(at) }
    }

    #[test]
    fn a_summary_is_of_all_points_that_have_the_measure() {
        let mut window = Window::new(Duration::from_secs(3600));
        assert_eq!(window.summaries().response_seconds, None);
        for (second, response) in
            [(0, 2.0), (15, 4.0), (30, 4.0), (45, 4.0), (60, 5.0), (75, 5.0), (90, 7.0), (105, 9.0)]
        {
            window.add(point(second, response));
        }
        window.add(Point::unknown(DateTime::from_timestamp(120, 0).unwrap()));
        let summary = window.summaries().response_seconds.unwrap();
        let expected = Summary { count: 8, average: 5.0, min: 2.0, max: 9.0, median: 4.5, standard_deviation: 2.0 };
        assert_eq!(summary, expected);
        assert_eq!(window.summaries().hit_rate, None);
    }

    #[test]
    fn old_points_and_points_of_a_clock_that_was_wrong_are_let_go() {
        let mut window = Window::new(Duration::from_secs(30));
        for second in [0, 15, 30, 45, 9000] {
            window.add(point(second, 1.0));
        }
        window.add(point(50, 1.0));
        assert_eq!(window.points(10).iter().map(|point| point.at.timestamp()).collect::<Vec<_>>(), [50]);
        window.add(point(60, 1.0));
        window.add(point(81, 1.0));
        assert_eq!(window.points(10).iter().map(|point| point.at.timestamp()).collect::<Vec<_>>(), [60, 81]);
    }

    #[test]
    fn many_points_are_shown_as_means_of_neighbours() {
        let mut window = Window::new(Duration::from_secs(86_400));
        (0..1000).for_each(|n| window.add(point(n * 15, n as f64)));
        let shown = window.points(300);
        assert_eq!(shown.len(), 250);
        assert_eq!(shown[0], Point { response_seconds: Some(1.5), ..point(30, 0.0) });
        assert_eq!(window.points(1000).len(), 1000);
    }
}
