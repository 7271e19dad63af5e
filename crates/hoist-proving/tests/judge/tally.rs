//! What the stories came to, in numbers.

use std::collections::BTreeMap;

/// Sums over stories.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub stories: u64,
    /// Verdicts asked for.
    pub judged: u64,
    /// Final verdicts by name.
    pub ends: BTreeMap<&'static str, u64>,
    /// Calls made while watching.
    pub calls: u64,
    /// The same by operation.
    pub by_operation: BTreeMap<&'static str, u64>,
    /// Virtual seconds watched.
    pub seconds: u64,
    /// Calls and seconds of the rollouts that came to their end by themselves.
    pub by_themselves: (u64, u64),
    /// How long after the end of each service deployment the verdict was given, in milliseconds.
    pub lags: Vec<u64>,
    /// Rollouts that the failure budget ended.
    pub hopeless: u64,
}

impl Tally {
    /// The lag, in milliseconds, that this share of the verdicts kept below; 0 without any.
    pub fn lag(&self, share: f64) -> u64 {
        let mut all = self.lags.clone();
        all.sort_unstable();
        let nth = (all.len() as f64 * share) as usize;
        all.get(nth.min(all.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// Calls a second of watching: of all rollouts, and of those that came to their end by themselves.
    pub fn pace(&self) -> (f64, f64) {
        let of = |calls: u64, seconds: u64| calls as f64 / seconds.max(1) as f64;
        let (calls, seconds) = self.by_themselves;
        (of(self.calls, self.seconds), of(calls, seconds))
    }

    /// Whether rollouts ended well and badly.
    pub fn is_varied(&self) -> bool {
        self.ends.contains_key("succeeded") && self.ends.len() >= 3
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.stories += other.stories;
        self.judged += other.judged;
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.calls += other.calls;
        for (operation, count) in other.by_operation {
            *self.by_operation.entry(operation).or_default() += count;
        }
        self.seconds += other.seconds;
        self.by_themselves.0 += other.by_themselves.0;
        self.by_themselves.1 += other.by_themselves.1;
        self.lags.extend(other.lags);
        self.hopeless += other.hopeless;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} stories, {} verdicts, {:?}, {} hopeless; {} calls {:?} in {} s of watching ({:.2} a second, {:.2} where all went its way); lags of {}: half below {} ms, 99 % below {} ms, all below {} ms",
            self.stories,
            self.judged,
            self.ends,
            self.hopeless,
            self.calls,
            self.by_operation,
            self.seconds,
            self.pace().0,
            self.pace().1,
            self.lags.len(),
            self.lag(0.5),
            self.lag(0.99),
            self.lag(1.0),
        )
    }
}
