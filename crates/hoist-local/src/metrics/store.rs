use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use crate::clock::Millis;
use crate::settings::Pace;
use crate::state::{State, Table};

/// Minutes that are kept of every series.
const KEPT: usize = 3 * 60;

/// What a series of numbers is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series {
    pub namespace: String,
    pub metric: String,
    pub dimensions: BTreeMap<String, String>,
}

impl Series {
    /// A series with these dimensions.
    pub fn new(namespace: &str, metric: &str, dimensions: &[(&str, &str)]) -> Series {
        Series {
            namespace: namespace.to_owned(),
            metric: metric.to_owned(),
            dimensions: dimensions
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }
}

/// What was seen in one minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When the minute began.
    pub at: Millis,
    pub sum: f64,
    pub count: f64,
    pub least: f64,
    pub most: f64,
}

impl Point {
    /// One value.
    pub fn of(at: Millis, value: f64) -> Point {
        Point {
            at,
            sum: value,
            count: 1.0,
            least: value,
            most: value,
        }
    }

    fn add(&mut self, other: &Point) {
        self.sum += other.sum;
        self.count += other.count;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// A statistic by its name: `Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount`.
    pub fn statistic(&self, name: &str) -> Option<f64> {
        match name {
            "Average" => Some(self.sum / self.count),
            "Sum" => Some(self.sum),
            "Minimum" => Some(self.least),
            "Maximum" => Some(self.most),
            "SampleCount" => Some(self.count),
            _ => None,
        }
    }
}

/// A stretch of time that a statistic is taken of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub from: Millis,
    pub to: Millis,
}

/// The metrics and alarms of an instance. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    series: Arc<Mutex<Held>>,
    pub(super) alarms: Table<Alarm>,
    /// Held while an alarm changes.
    pub(super) changing: Arc<Mutex<()>>,
    minute: Millis,
}

type Held = HashMap<(String, Series), VecDeque<Point>>;

impl Metrics {
    /// No metrics yet; the alarms that `state` keeps.
    pub fn open(state: &State, pace: Pace) -> Metrics {
        Metrics {
            series: Arc::default(),
            alarms: state.table("cloudwatch-alarms"),
            changing: Arc::default(),
            minute: match pace {
                Pace::Fast => 1_000,
                Pace::Fargate => 60_000,
            },
        }
    }

    /// How long a minute of CloudWatch lasts, in milliseconds.
    pub fn minute(&self) -> Millis {
        self.minute
    }

    /// How long a period of so many seconds lasts, in milliseconds.
    pub fn period(&self, seconds: i64) -> Millis {
        (seconds * self.minute / 60).max(self.minute)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was seen; it counts to the minute that its time lies in.
    pub fn put(&self, region: &str, series: Series, mut point: Point) {
        point.at -= point.at.rem_euclid(self.minute);
        let mut held = self.held();
        let points = held.entry((region.to_owned(), series)).or_default();
        let place = points.partition_point(|it| it.at < point.at);
        match points.get_mut(place) {
            Some(known) if known.at == point.at => known.add(&point),
            _ => points.insert(place, point),
        }
        if points.len() > KEPT {
            points.pop_front();
        }
    }

    /// What was seen of a series within a window; `None` if nothing was.
    pub fn within(&self, region: &str, series: &Series, window: Window) -> Option<Point> {
        let held = self.held();
        let points = held.get(&(region.to_owned(), series.clone()))?;
        let start = points.partition_point(|it| it.at < window.from);
        let mut seen = points.iter().skip(start).take_while(|it| it.at < window.to);
        let mut whole = *seen.next()?;
        seen.for_each(|it| whole.add(it));
        Some(whole)
    }

    /// Every series of a region.
    pub fn all(&self, region: &str) -> Vec<Series> {
        let held = self.held();
        let mut all: Vec<Series> = held
            .keys()
            .filter(|(it, _)| it == region)
            .map(|(_, series)| series.clone())
            .collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_in_one_minute_is_one_point() {
        let metrics = Metrics::open(&State::in_memory().unwrap(), Pace::Fargate);
        let series = Series::new("N", "M", &[("D", "1")]);
        for (at, value) in [(60_000, 1.0), (119_999, 3.0), (120_000, 10.0)] {
            metrics.put("r", series.clone(), Point::of(at, value));
        }
        let within = |from, to| metrics.within("r", &series, Window { from, to });
        let first = within(60_000, 120_000).unwrap();
        assert_eq!(
            (first.statistic("Average"), first.most, first.count),
            (Some(2.0), 3.0, 2.0)
        );
        assert_eq!(within(60_000, 180_000).unwrap().sum, 14.0);
        assert_eq!(within(180_000, 240_000), None);
        assert_eq!(metrics.all("other"), []);
        assert_eq!(metrics.period(10), 60_000);
    }
}
