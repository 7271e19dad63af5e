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
    /// Of these, DescribeServices.
    pub heartbeats: u64,
    /// Virtual seconds watched.
    pub seconds: u64,
    /// The longest time, in milliseconds, from the end of a service deployment to the verdict.
    pub worst_lag: u64,
    /// Rollouts that the failure budget ended.
    pub hopeless: u64,
}

impl Tally {
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
        self.heartbeats += other.heartbeats;
        self.seconds += other.seconds;
        self.worst_lag = self.worst_lag.max(other.worst_lag);
        self.hopeless += other.hopeless;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} stories, {} verdicts, {:?}, {} hopeless; {} calls ({} heartbeats) in {} s of watching; worst lag {} ms",
            self.stories,
            self.judged,
            self.ends,
            self.hopeless,
            self.calls,
            self.heartbeats,
            self.seconds,
            self.worst_lag
        )
    }
}
