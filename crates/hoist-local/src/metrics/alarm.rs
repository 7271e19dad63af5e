use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::store::{Metrics, Series, Window};
use crate::clock::Millis;
use crate::state::StateError;

/// What an alarm says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AlarmState {
    Ok,
    Alarm,
    #[default]
    InsufficientData,
}

impl AlarmState {
    /// As answers show it.
    pub fn as_str(self) -> &'static str {
        match self {
            AlarmState::Ok => "OK",
            AlarmState::Alarm => "ALARM",
            AlarmState::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// An alarm on one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub name: String,
    pub arn: String,
    pub description: Option<String>,
    pub series: Series,
    pub statistic: String,
    /// Seconds.
    pub period: i64,
    pub evaluation_periods: usize,
    pub datapoints_to_alarm: usize,
    pub threshold: f64,
    /// Such as `GreaterThanThreshold`.
    pub comparison: String,
    /// `missing`, `notBreaching`, `breaching` or `ignore`.
    pub missing: String,
    pub actions_enabled: bool,
    pub alarm_actions: Vec<String>,
    pub ok_actions: Vec<String>,
    pub insufficient_actions: Vec<String>,
    pub updated: Millis,
    pub state: AlarmState,
    pub reason: String,
    pub state_updated: Millis,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What an alarm comes to now, and the value of the newest period.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub state: AlarmState,
    pub reason: String,
    pub newest: Option<f64>,
}

impl Alarm {
    fn breaches(&self, value: f64) -> bool {
        match self.comparison.as_str() {
            "GreaterThanThreshold" => value > self.threshold,
            "GreaterThanOrEqualToThreshold" => value >= self.threshold,
            "LessThanThreshold" => value < self.threshold,
            _ => value <= self.threshold,
        }
    }

    /// Judges values of its periods, the newest last, as "Evaluating an alarm" of the CloudWatch user guide says.
    fn judge(&self, values: &[Option<f64>]) -> Judged {
        let newest = values.iter().rev().find_map(|value| *value);
        let seen = values.iter().filter(|value| value.is_some()).count();
        let breaching = values
            .iter()
            .filter(|value| match value {
                Some(value) => self.breaches(*value),
                None => self.missing == "breaching",
            })
            .count();
        if seen == 0 && !matches!(self.missing.as_str(), "breaching" | "notBreaching") {
            let state = match self.missing.as_str() {
                "ignore" => self.state,
                _ => AlarmState::InsufficientData,
            };
            let reason = format!(
                "Insufficient Data: {} datapoints were unknown.",
                values.len()
            );
            return Judged {
                state,
                reason,
                newest,
            };
        }
        let shown: Vec<String> = values
            .iter()
            .rev()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let state = if breaching >= self.datapoints_to_alarm {
            AlarmState::Alarm
        } else {
            AlarmState::Ok
        };
        let reason = format!(
            "Threshold Crossed: {breaching} out of the last {} datapoints [{}] breached the threshold ({}).",
            values.len(),
            shown.join(", "),
            self.threshold
        );
        Judged {
            state,
            reason,
            newest,
        }
    }
}

impl Metrics {
    /// Judges every alarm at `now`, keeps what changed, and returns each that is in alarm with the newest value.
    ///
    /// # Errors
    /// When the state cannot be read or written.
    pub fn judge_all(&self, now: Millis) -> Result<Vec<(String, Alarm, f64)>, StateError> {
        let _changing = self
            .changing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut ringing = Vec::new();
        for (region, name, mut alarm) in self.alarms.all()? {
            let length = self.period(alarm.period);
            let end = now - now.rem_euclid(self.minute());
            let values: Vec<Option<f64>> = (0..alarm.evaluation_periods)
                .rev()
                .map(|back| {
                    let to = end - i64::try_from(back).unwrap_or(0) * length;
                    let window = Window {
                        from: to - length,
                        to,
                    };
                    self.within(&region, &alarm.series, window)
                        .and_then(|point| point.statistic(&alarm.statistic))
                })
                .collect();
            let Judged {
                state,
                reason,
                newest,
            } = alarm.judge(&values);
            if state != alarm.state {
                (alarm.state, alarm.reason, alarm.state_updated) = (state, reason, now);
                self.alarms.put(&region, &name, &alarm)?;
            }
            if let (AlarmState::Alarm, true, Some(newest)) = (state, alarm.actions_enabled, newest)
            {
                ringing.push((region, alarm, newest));
            }
        }
        Ok(ringing)
    }

    /// What an alarm says now; `None` if there is none of that name.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn alarm_state(&self, region: &str, name: &str) -> Result<Option<AlarmState>, StateError> {
        Ok(self.alarms.get(region, name)?.map(|alarm| alarm.state))
    }

    /// Keeps an alarm that another service needs.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn put_alarm(&self, region: &str, alarm: &Alarm) -> Result<(), StateError> {
        self.alarms.put(region, &alarm.name, alarm)
    }

    /// Forgets an alarm; true if it was there.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn delete_alarm(&self, region: &str, name: &str) -> Result<bool, StateError> {
        self.alarms.delete(region, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(missing: &str) -> Alarm {
        Alarm {
            name: "a".into(),
            arn: String::new(),
            description: None,
            series: Series::new("N", "M", &[]),
            statistic: "Average".into(),
            period: 60,
            evaluation_periods: 3,
            datapoints_to_alarm: 2,
            threshold: 50.0,
            comparison: "GreaterThanThreshold".into(),
            missing: missing.into(),
            actions_enabled: true,
            alarm_actions: Vec::new(),
            ok_actions: Vec::new(),
            insufficient_actions: Vec::new(),
            updated: 0,
            state: AlarmState::Ok,
            reason: String::new(),
            state_updated: 0,
            tags: Default::default(),
        }
    }

    #[test]
    fn an_alarm_needs_its_datapoints_and_knows_what_missing_ones_mean() {
        let state = |missing: &str, values: &[Option<f64>]| alarm(missing).judge(values).state;
        let (high, low) = (Some(60.0), Some(50.0));
        assert_eq!(state("missing", &[low, high, high]), AlarmState::Alarm);
        assert_eq!(state("missing", &[high, low, low]), AlarmState::Ok);
        assert_eq!(state("missing", &[None, None, high]), AlarmState::Ok);
        assert_eq!(state("breaching", &[None, None, high]), AlarmState::Alarm);
        assert_eq!(
            state("missing", &[None, None, None]),
            AlarmState::InsufficientData
        );
        assert_eq!(state("ignore", &[None, None, None]), AlarmState::Ok);
        assert_eq!(state("notBreaching", &[None, None, None]), AlarmState::Ok);
    }

    #[test]
    fn a_ringing_alarm_is_told_with_its_newest_value() {
        let metrics = Metrics::open(
            &crate::state::State::in_memory().unwrap(),
            crate::settings::Pace::Fast,
        );
        metrics.put_alarm("r", &alarm("missing")).unwrap();
        for (at, value) in [(0, 10.0), (1000, 70.0), (2000, 80.0)] {
            metrics.put(
                "r",
                Series::new("N", "M", &[]),
                super::super::Point::of(at, value),
            );
        }
        let ringing = metrics.judge_all(3_100).unwrap();
        assert_eq!(ringing.len(), 1);
        assert_eq!(ringing[0].2, 80.0);
        assert_eq!(
            metrics.alarm_state("r", "a").unwrap(),
            Some(AlarmState::Alarm)
        );
        assert!(metrics.judge_all(60_000).unwrap().is_empty());
    }
}
