//! A time line as people read it in a terminal.

use std::fmt;

use hoist_rollout::{Phase, Timeline};

use crate::explain::{Explained, Explanation};

/// Columns of the drawing.
const COLUMNS: i64 = 40;

/// `0.4 s`, `45 s`, `6 min 12 s`, `1 h 3 min`.
pub fn length(seconds: f64) -> String {
    let whole = seconds.round() as i64;
    match whole {
        ..10 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Where in the whole a phase was, as blocks in a row.
fn drawing(timeline: &Timeline, phase: Phase) -> String {
    let all = timeline.millis().max(1);
    let began = timeline.began.as_millisecond();
    let mut cells = vec![' '; COLUMNS as usize];
    for span in timeline.course.iter().filter(|span| span.phase == phase) {
        let from = (span.began.as_millisecond() - began) * COLUMNS / all;
        let to = ((span.ended.as_millisecond() - began) * COLUMNS + all - 1) / all;
        for column in from..to.clamp(from + 1, COLUMNS) {
            if let Some(cell) = usize::try_from(column)
                .ok()
                .and_then(|at| cells.get_mut(at))
            {
                *cell = '\u{2588}';
            }
        }
    }
    cells.into_iter().collect::<String>().trim_end().to_owned()
}

impl fmt::Display for Explained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.timeline.over { "" } else { " so far" };
        writeln!(
            out,
            "{} ({}): {}, {}, {} in {}{over}",
            self.service,
            self.name,
            self.revision,
            self.strategy.to_lowercase().replace('_', "/"),
            self.outcome,
            length(self.seconds),
        )?;
        writeln!(out)?;
        for phase in &self.phases {
            writeln!(
                out,
                "  {:>11}  {:<13}  {}",
                length(phase.seconds),
                phase.phase.name(),
                drawing(&self.timeline, phase.phase)
            )?;
        }
        if self.costs.is_empty() {
            writeln!(out, "\n  no setting costs much that could be another")?;
        } else {
            writeln!(out, "\n  what costs the most")?;
            for cost in &self.costs {
                writeln!(
                    out,
                    "  {:>11}  could be saved: {}",
                    length(cost.saves as f64),
                    cost.words
                )?;
            }
        }
        for note in &self.notes {
            writeln!(out, "\n  note: {note}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, deployment) in self.deployments.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{deployment}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use hoist_rollout::{
        Facts, GroupSettings, Progress, Settings, StepTime, TaskTimes, costs, timeline,
    };
    use jiff::Timestamp;

    use super::*;
    use crate::explain::PhaseTime;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// A deployment with AWS's own defaults behind a load balancer, and a `<` in an event.
    pub fn explained() -> Explained {
        let old = TaskTimes {
            id: "0123456789abcdef0123456789abcdef".into(),
            created: Some(at(-4000)),
            stopping: Some(at(120)),
            execution_stopped: Some(at(425)),
            stopped: Some(at(449)),
            ..TaskTimes::default()
        };
        let new = TaskTimes {
            id: "fedcba9876543210fedcba9876543210".into(),
            address: "10.0.0.7".into(),
            created: Some(at(22)),
            pull_started: Some(at(40)),
            pull_stopped: Some(at(62)),
            started: Some(at(70)),
            ..TaskTimes::default()
        };
        let facts = Facts {
            now: at(900),
            steps: vec![
                StepTime {
                    phase: Phase::Build,
                    began: at(-45),
                    ended: at(-9),
                },
                StepTime {
                    phase: Phase::Push,
                    began: at(-9),
                    ended: at(-2),
                },
            ],
            asked: Some(at(0)),
            created: Some(at(0)),
            finished: Some(at(470)),
            tasks: vec![old, new],
            seen: vec![(
                at(95),
                Progress::Target {
                    target: "10.0.0.7:80".into(),
                    state: "healthy".into(),
                    why: String::new(),
                    at: at(95),
                },
            )],
            events: vec![(at(121), "(service web) has begun <draining> & so on".into())],
            delay: Some(300),
            checked: true,
        };
        let timeline = timeline(&facts).unwrap();
        let settings = Settings {
            groups: vec![GroupSettings {
                name: "web".into(),
                interval: 30,
                delay: 300,
            }],
            ..Settings::default()
        };
        Explained {
            service: "web".into(),
            name: "shop-web".into(),
            revision: "shop-web:7".into(),
            deployment: "arn:aws:ecs:eu-central-1:1:service-deployment/default/shop-web/abc".into(),
            outcome: "SUCCESSFUL".into(),
            strategy: "ROLLING".into(),
            seconds: timeline.millis() as f64 / 1000.0,
            phases: timeline
                .totals()
                .into_iter()
                .map(|(phase, millis)| PhaseTime {
                    phase,
                    what: phase.meaning(),
                    seconds: millis as f64 / 1000.0,
                })
                .collect(),
            costs: costs(&timeline, &settings),
            notes: vec!["a note".into()],
            timeline,
        }
    }

    #[test]
    fn the_phases_stand_below_each_other_and_what_they_cost_below_them() {
        let text = explained().to_string();
        for line in [
            "web (shop-web): shop-web:7, rolling, SUCCESSFUL in 8 min 35 s",
            "        36 s  build          \u{2588}\u{2588}\u{2588}",
            "   4 min 50 s  could be saved: your deregistration delay of 300 s costs 5 min; 10 s would do",
            "         20 s  could be saved: a health interval of 30 s costs up to 30 s a batch (25 s here); 5 s up to 5 s",
            "  note: a note",
        ] {
            assert!(
                text.lines().any(|found| found.trim() == line.trim()),
                "`{line}` in\n{text}"
            );
        }
    }

    #[test]
    fn lengths_have_tenths_only_where_they_matter() {
        assert_eq!(
            [0.44, 9.4, 44.6, 372.0, 3780.0].map(length),
            ["0.4 s", "9.4 s", "45 s", "6 min 12 s", "1 h 3 min"]
        );
    }
}
