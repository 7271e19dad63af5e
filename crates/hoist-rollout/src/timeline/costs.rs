//! The settings that cost a deployment the most, and what others would save.

use serde::Serialize;

use super::{Phase, Timeline};

/// Below this a setting is not worth a word, in seconds.
const WORTH: i64 = 5;
/// What is advised instead: long enough for requests of a web service to end, in seconds.
const GOOD_DELAY: u32 = 10;
/// The shortest interval of a target group's and of a container's health check, in seconds.
const GOOD_INTERVAL: u32 = 5;
/// How much sooner tasks start whose layers are compressed with zstd, in hundredths, up to.
/// Source: AWS, "Reducing AWS Fargate startup times with zstd compressed container images".
const ZSTD: i64 = 27;

/// What of the settings decides how long a deployment takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Tasks wanted.
    pub desired: u32,
    /// `minimumHealthyPercent`.
    pub minimum_percent: u32,
    /// `maximumPercent`.
    pub maximum_percent: u32,
    /// Target groups.
    pub groups: Vec<GroupSettings>,
    /// The longest interval of the containers' health checks, in seconds.
    pub container_interval: Option<u32>,
    /// The longest `stopTimeout` of the containers, in seconds.
    pub stop_timeout: u32,
    /// `bakeTimeInMinutes`.
    pub bake_minutes: f64,
    /// How traffic moves.
    pub shift: Shift,
    /// How the image's layers are compressed, where that is known.
    pub gzip: bool,
}

/// How traffic moves to the new revision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shift {
    /// Task by task.
    Rolling,
    /// All at once.
    BlueGreen,
    /// In equal steps.
    Linear {
        /// Percent of each step.
        percent: f64,
        /// Minutes between two steps.
        minutes: f64,
    },
    /// A first part, then the rest.
    Canary {
        /// Minutes for which the first part is watched.
        minutes: f64,
    },
}

/// What of a target group decides how long a deployment takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its name.
    pub name: String,
    /// `HealthCheckIntervalSeconds`.
    pub interval: u32,
    /// `deregistration_delay.timeout_seconds`.
    pub delay: u32,
}

impl Default for Settings {
    /// The defaults of AWS for a service without load balancer.
    fn default() -> Settings {
        Settings {
            desired: 1,
            minimum_percent: 100,
            maximum_percent: 200,
            groups: Vec::new(),
            container_interval: None,
            stop_timeout: 30,
            bake_minutes: 0.0,
            shift: Shift::Rolling,
            gzip: false,
        }
    }
}

/// A setting that cost time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// The setting, as AWS names it.
    pub setting: &'static str,
    /// What it cost, in seconds.
    pub seconds: i64,
    /// What another value would save, in seconds.
    pub saves: i64,
    /// Both, in words.
    pub words: String,
}

/// What the settings cost that could be others, the largest saving first.
pub fn costs(timeline: &Timeline, settings: &Settings) -> Vec<Cost> {
    let seconds = |phase| (timeline.millis_of(phase) + 500) / 1000;
    let times = |phase| i64::try_from(timeline.times(phase).max(1)).unwrap_or(1);
    let mut found = Vec::new();
    found.extend(draining(
        seconds(Phase::Drain),
        times(Phase::Drain),
        settings,
    ));
    found.extend(checking(
        seconds(Phase::Health),
        times(Phase::Health),
        settings,
    ));
    found.extend(stopping(timeline, settings));
    found.extend(baking(seconds(Phase::Bake), settings));
    found.extend(shifting(seconds(Phase::Shift), settings));
    found.extend(batches(timeline, settings));
    found.extend(pulling(seconds(Phase::Pull), settings));
    found.retain(|cost: &Cost| cost.saves >= WORTH);
    found.sort_by_key(|cost| std::cmp::Reverse(cost.saves));
    found
}

fn draining(seconds: i64, times: i64, settings: &Settings) -> Option<Cost> {
    let slowest = settings.groups.iter().max_by_key(|group| group.delay)?;
    if slowest.delay <= 30 {
        return None;
    }
    Some(Cost {
        setting: "deregistration_delay.timeout_seconds",
        seconds,
        saves: seconds - times * i64::from(GOOD_DELAY),
        words: format!(
            "your deregistration delay of {} s costs {}; {GOOD_DELAY} s would do",
            slowest.delay,
            length(seconds)
        ),
    })
}

fn checking(seconds: i64, times: i64, settings: &Settings) -> Option<Cost> {
    let group = settings.groups.iter().map(|group| group.interval).max();
    let (setting, interval, of) = match (group, settings.container_interval) {
        (Some(group), Some(container)) if container > group => (
            "healthCheck.interval",
            container,
            "a container health interval",
        ),
        (Some(group), _) => ("HealthCheckIntervalSeconds", group, "a health interval"),
        (None, Some(container)) => (
            "healthCheck.interval",
            container,
            "a container health interval",
        ),
        (None, None) => {
            // Nobody looks: ECS waits for 40 s before it believes that a task runs.
            return Some(Cost {
                setting: "healthCheck",
                seconds,
                saves: seconds - times * i64::from(GOOD_INTERVAL),
                words: format!(
                    "no health check: ECS waits 40 s before it takes a task for healthy, which cost {}; a container health check every {GOOD_INTERVAL} s says it sooner",
                    length(seconds)
                ),
            });
        }
    };
    if interval <= 10 {
        return None;
    }
    let most = times * i64::from(interval);
    Some(Cost {
        setting,
        seconds,
        saves: (seconds - times * i64::from(GOOD_INTERVAL))
            .min(most - times * i64::from(GOOD_INTERVAL)),
        words: format!(
            "{of} of {interval} s costs up to {interval} s a batch ({} here); {GOOD_INTERVAL} s up to {GOOD_INTERVAL} s",
            length(seconds)
        ),
    })
}

/// Old tasks whose containers ran until they were killed.
fn stopping(timeline: &Timeline, settings: &Settings) -> Option<Cost> {
    let limit = i64::from(settings.stop_timeout);
    let killed = timeline.lanes.iter().any(|lane| !lane.new && lane.killed);
    if !killed {
        return None;
    }
    let times = i64::try_from(timeline.times(Phase::Stop).max(1)).unwrap_or(1);
    let seconds = (times * limit).min((timeline.millis_of(Phase::Stop) + 500) / 1000);
    Some(Cost {
        setting: "stopTimeout",
        seconds,
        saves: seconds - times,
        words: format!(
            "old tasks did not end on SIGTERM, and were killed after the stopTimeout of {limit} s: a program that ends on it saves {}",
            length(seconds - times)
        ),
    })
}

fn baking(seconds: i64, settings: &Settings) -> Option<Cost> {
    (settings.bake_minutes > 5.0).then(|| Cost {
        setting: "bakeTimeInMinutes",
        seconds,
        saves: seconds - 300,
        words: format!(
            "a bake time of {} min costs {}; 5 min is enough for alarms with periods of 1 min",
            settings.bake_minutes,
            length(seconds)
        ),
    })
}

fn shifting(seconds: i64, settings: &Settings) -> Option<Cost> {
    match settings.shift {
        Shift::Linear { percent, minutes } => {
            let steps = ((100.0 / percent.clamp(3.0, 100.0)).ceil() - 1.0).max(0.0);
            let better = 3.0 * 2.0 * 60.0;
            let costs = steps * minutes * 60.0;
            (costs > better).then(|| Cost {
                setting: "linearConfiguration",
                seconds,
                saves: (seconds.min(costs as i64) - better as i64).max(0),
                words: format!(
                    "steps of {percent} % with {minutes} min between cost {}; steps of 25 % with 2 min cost 6 min",
                    length(seconds)
                ),
            })
        }
        Shift::Canary { minutes } => (minutes > 5.0).then(|| Cost {
            setting: "canaryConfiguration",
            seconds,
            saves: seconds.min((minutes * 60.0) as i64) - 300,
            words: format!(
                "a canary bake time of {minutes} min costs {}; 5 min is enough for alarms with periods of 1 min",
                length(seconds)
            ),
        }),
        Shift::Rolling | Shift::BlueGreen => None,
    }
}

/// Tasks that were replaced a few at a time, though all at once would do.
fn batches(timeline: &Timeline, settings: &Settings) -> Option<Cost> {
    if settings.shift != Shift::Rolling || settings.desired == 0 {
        return None;
    }
    let count = settings.desired;
    let above = (count * settings.maximum_percent / 100).saturating_sub(count);
    let below = count - (count * settings.minimum_percent).div_ceil(100).min(count);
    let room = above.max(below).max(1);
    let batches = i64::from(count.div_ceil(room));
    if batches < 2 {
        return None;
    }
    let seconds: i64 = [
        Phase::Placement,
        Phase::Pull,
        Phase::Start,
        Phase::Health,
        Phase::Drain,
        Phase::Stop,
    ]
    .iter()
    .map(|phase| timeline.millis_of(*phase) / 1000)
    .sum();
    Some(Cost {
        setting: "maximumPercent",
        seconds,
        saves: seconds * (batches - 1) / batches,
        words: format!(
            "minimumHealthyPercent {} and maximumPercent {} replace {count} tasks in {batches} batches, which cost {}; maximumPercent 200 replaces all at once",
            settings.minimum_percent,
            settings.maximum_percent,
            length(seconds)
        ),
    })
}

fn pulling(seconds: i64, settings: &Settings) -> Option<Cost> {
    let saves = seconds * ZSTD / 100;
    settings.gzip.then(|| Cost {
        setting: "image.compression",
        seconds,
        saves,
        words: format!(
            "pulling the image costs {}; `compression: zstd` in hoist.yaml saves up to {ZSTD} % of it, and a smaller image more",
            length(seconds)
        ),
    })
}

/// `45 s`, `5 min`, `6 min 12 s`, `1 h 3 min`.
pub(crate) fn length(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::timeline::{Lane, Span};

    /// A course of these phases, each with its seconds.
    fn course(phases: &[(Phase, i64)]) -> Timeline {
        let mut now = Timestamp::from_second(1_800_000_000).unwrap();
        let began = now;
        let mut course = Vec::new();
        for (phase, seconds) in phases {
            let next = Timestamp::from_second(now.as_second() + seconds).unwrap();
            course.push(Span {
                phase: *phase,
                began: now,
                ended: next,
            });
            now = next;
        }
        Timeline {
            began,
            ended: now,
            over: true,
            lanes: vec![Lane {
                task: "old".into(),
                new: false,
                killed: course.iter().any(|span| span.phase == Phase::Stop),
                spans: course
                    .iter()
                    .filter(|span| span.phase == Phase::Stop)
                    .copied()
                    .collect(),
            }],
            course,
            marks: Vec::new(),
        }
    }

    fn group(interval: u32, delay: u32) -> Settings {
        Settings {
            groups: vec![GroupSettings {
                name: "web".into(),
                interval,
                delay,
            }],
            ..Settings::default()
        }
    }

    fn said(timeline: &Timeline, settings: &Settings) -> Vec<(String, i64)> {
        costs(timeline, settings)
            .into_iter()
            .map(|cost| (cost.words, cost.saves))
            .collect()
    }

    #[test]
    fn a_long_deregistration_delay_is_named_with_what_a_short_one_saves() {
        let timeline = course(&[(Phase::Start, 20), (Phase::Drain, 300)]);
        assert_eq!(
            said(&timeline, &group(5, 300)),
            [(
                "your deregistration delay of 300 s costs 5 min; 10 s would do".to_owned(),
                290
            )]
        );
        let twice = course(&[(Phase::Drain, 300), (Phase::Start, 20), (Phase::Drain, 300)]);
        assert_eq!(said(&twice, &group(5, 300))[0].1, 580);
        assert!(said(&course(&[(Phase::Drain, 10)]), &group(5, 10)).is_empty());
    }

    #[test]
    fn a_slow_health_interval_costs_up_to_itself_a_batch() {
        let timeline = course(&[(Phase::Health, 28)]);
        assert_eq!(
            said(&timeline, &group(30, 10)),
            [(
                "a health interval of 30 s costs up to 30 s a batch (28 s here); 5 s up to 5 s"
                    .to_owned(),
                23
            )]
        );
        // What takes longer than the interval is the application's own time.
        assert_eq!(
            said(&course(&[(Phase::Health, 90)]), &group(30, 10))[0].1,
            25
        );
        assert!(said(&course(&[(Phase::Health, 90)]), &group(5, 10)).is_empty());
        let container = Settings {
            container_interval: Some(30),
            ..group(5, 10)
        };
        assert_eq!(
            costs(&timeline, &container)[0].setting,
            "healthCheck.interval"
        );
    }

    #[test]
    fn without_any_check_the_forty_seconds_are_named() {
        let found = costs(&course(&[(Phase::Health, 40)]), &Settings::default());
        assert_eq!((found[0].setting, found[0].saves), ("healthCheck", 35));
    }

    #[test]
    fn a_program_that_is_killed_costs_its_stop_timeout() {
        let found = costs(&course(&[(Phase::Stop, 55)]), &group(5, 10));
        assert_eq!(
            (found[0].setting, found[0].seconds, found[0].saves),
            ("stopTimeout", 30, 29)
        );
        let mut ended = course(&[(Phase::Stop, 55)]);
        ended.lanes[0].killed = false;
        assert!(costs(&ended, &group(5, 10)).is_empty());
    }

    #[test]
    fn bake_times_and_steps_cost_what_they_last() {
        let settings = Settings {
            bake_minutes: 15.0,
            shift: Shift::Linear {
                percent: 10.0,
                minutes: 6.0,
            },
            ..group(5, 10)
        };
        let timeline = course(&[(Phase::Shift, 3240), (Phase::Bake, 900)]);
        let found = costs(&timeline, &settings);
        assert_eq!(
            found
                .iter()
                .map(|cost| (cost.setting, cost.saves))
                .collect::<Vec<_>>(),
            [("linearConfiguration", 2880), ("bakeTimeInMinutes", 600)]
        );
        let canary = Settings {
            shift: Shift::Canary { minutes: 10.0 },
            ..group(5, 10)
        };
        assert_eq!(
            costs(&course(&[(Phase::Shift, 600)]), &canary)[0].saves,
            300
        );
    }

    #[test]
    fn little_room_costs_a_batch_after_the_other() {
        let settings = Settings {
            desired: 4,
            maximum_percent: 150,
            ..group(5, 10)
        };
        let timeline = course(&[
            (Phase::Pull, 40),
            (Phase::Health, 5),
            (Phase::Pull, 40),
            (Phase::Health, 5),
        ]);
        let found = costs(&timeline, &settings);
        assert_eq!(
            (found[0].setting, found[0].seconds, found[0].saves),
            ("maximumPercent", 90, 45)
        );
        assert!(found[0].words.contains("in 2 batches"), "{found:?}");
    }

    #[test]
    fn a_long_pull_of_gzip_layers_would_be_shorter_with_zstd() {
        let settings = Settings {
            gzip: true,
            ..group(5, 10)
        };
        let found = costs(&course(&[(Phase::Pull, 100)]), &settings);
        assert_eq!(
            (found[0].setting, found[0].saves),
            ("image.compression", 27)
        );
        assert!(costs(&course(&[(Phase::Pull, 100)]), &group(5, 10)).is_empty());
    }

    #[test]
    fn lengths_read_well() {
        assert_eq!(
            [45, 300, 372, 3780].map(length),
            ["45 s", "5 min", "6 min 12 s", "1 h 3 min"]
        );
    }
}
