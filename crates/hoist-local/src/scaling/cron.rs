//! Schedule expressions: `at(2026-11-23T10:00:00)`, `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)`, in a time zone.
//! See "Schedule recurring scaling actions using cron expressions" of the Application Auto Scaling user guide, and "Schedule types" of
//! that of EventBridge Scheduler.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Millis;

/// A schedule that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Once, at this time.
    At(Millis),
    /// Every so many milliseconds.
    Every(Millis),
    /// At every minute that all fields allow.
    Cron(Box<Fields>),
}

/// The values that each field of a cron expression allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    minutes: Vec<i16>,
    hours: Vec<i16>,
    days: Vec<Days>,
    months: Vec<i16>,
    weekdays: Vec<Days>,
    years: Vec<i16>,
    zone: TimeZone,
}

/// Days that a field allows. Of the week, Sunday is 1.
#[derive(Clone, Debug, PartialEq)]
enum Days {
    /// These numbers.
    Any(Vec<i16>),
    /// `L`: the last of the month.
    Last,
    /// `15W`: the weekday of the month that is nearest to this one.
    Near(i8),
    /// `6L`: the last such day of the month.
    LastOf(i16),
    /// `3#2`: the second such day of the month.
    Nth(i16, i8),
}

impl Days {
    /// Reads one item of the field of days of the month, or of the week.
    fn read(item: &str, of_week: bool) -> Option<Days> {
        let weekday = |text: &str| values(text, 1, 7, &WEEKDAYS).filter(|it| it.len() == 1);
        if !of_week {
            return match item.strip_suffix('W') {
                Some(day) => Some(Days::Near(
                    day.parse().ok().filter(|it| (1..=31).contains(it))?,
                )),
                None if item == "L" => Some(Days::Last),
                None => values(item, 1, 31, &[]).map(Days::Any),
            };
        }
        if let Some((day, nth)) = item.split_once('#') {
            let nth = nth.parse().ok().filter(|it| (1..=5).contains(it))?;
            return Some(Days::Nth(weekday(day)?[0], nth));
        }
        match item.strip_suffix('L') {
            Some("") => Some(Days::Any(vec![7])),
            Some(day) => Some(Days::LastOf(weekday(day)?[0])),
            None => values(item, 1, 7, &WEEKDAYS).map(Days::Any),
        }
    }

    fn allow(&self, day: Date, of_week: bool) -> bool {
        let weekday = i16::from(day.weekday().to_sunday_one_offset());
        match self {
            Days::Any(list) if of_week => list.contains(&weekday),
            Days::Any(list) => list.contains(&i16::from(day.day())),
            Days::Last => day == day.last_of_month(),
            Days::LastOf(wanted) => weekday == *wanted && day.day() + 7 > day.days_in_month(),
            Days::Nth(wanted, nth) => weekday == *wanted && (day.day() - 1) / 7 + 1 == *nth,
            Days::Near(wanted) => near(day, *wanted) == Some(day),
        }
    }
}

/// The weekday nearest to the `wanted` day within the month of `day`.
fn near(day: Date, wanted: i8) -> Option<Date> {
    let last = day.days_in_month();
    let exact = day
        .first_of_month()
        .with()
        .day(wanted.min(last))
        .build()
        .ok()?;
    let moved = match exact.weekday().to_sunday_one_offset() {
        7 if exact.day() == 1 => 2,
        7 => -1,
        1 if exact.day() == last => -2,
        1 => 1,
        _ => 0,
    };
    exact.with().day(exact.day() + moved).build().ok()
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Schedule {
    /// Reads an expression, in UTC; `None` if it is none.
    pub fn parse(text: &str) -> Option<Schedule> {
        Schedule::parse_in(text, &TimeZone::UTC)
    }

    /// Reads an expression, in a time zone; `None` if it is none.
    pub fn parse_in(text: &str, zone: &TimeZone) -> Option<Schedule> {
        let (kind, rest) = text.trim().split_once('(')?;
        let inner = rest.strip_suffix(')')?.trim();
        match kind {
            "at" => {
                let at: DateTime = inner.parse().ok()?;
                let at = at.to_zoned(zone.clone()).ok()?;
                Some(Schedule::At(at.timestamp().as_millisecond()))
            }
            "rate" => {
                let (number, unit) = inner.split_once(' ')?;
                let number: i64 = number.parse().ok().filter(|it| *it > 0)?;
                let unit = match unit.trim() {
                    "minute" | "minutes" => 60_000,
                    "hour" | "hours" => 3_600_000,
                    "day" | "days" => 86_400_000,
                    _ => return None,
                };
                Some(Schedule::Every(number.checked_mul(unit)?))
            }
            "cron" => {
                let parts: Vec<&str> = inner.split_whitespace().collect();
                let [minutes, hours, days, months, weekdays, years] = parts.as_slice() else {
                    return None;
                };
                // One of the two says nothing, and only one.
                if (*days == "?") == (*weekdays == "?") {
                    return None;
                }
                let list = |field: &str, of_week| -> Option<Vec<Days>> {
                    field
                        .split(',')
                        .map(|item| Days::read(item, of_week))
                        .collect()
                };
                Some(Schedule::Cron(Box::new(Fields {
                    minutes: values(minutes, 0, 59, &[])?,
                    hours: values(hours, 0, 23, &[])?,
                    days: list(days, false)?,
                    months: values(months, 1, 12, &MONTHS)?,
                    weekdays: list(weekdays, true)?,
                    years: values(years, 1970, 2199, &[])?,
                    zone: zone.clone(),
                })))
            }
            _ => None,
        }
    }

    /// The first time after `after`; `None` if there is none. A rate counts from `since`.
    pub fn next(&self, since: Millis, after: Millis) -> Option<Millis> {
        match self {
            Schedule::At(at) => Some(*at).filter(|at| *at > after),
            Schedule::Every(length) => {
                let passed = (after - since).max(0) / length;
                Some(since + (passed + 1) * length)
            }
            Schedule::Cron(fields) => fields.next(after),
        }
    }
}

impl Fields {
    fn allows(&self, day: Date) -> bool {
        self.years.contains(&day.year())
            && self.months.contains(&i16::from(day.month()))
            && self.days.iter().any(|it| it.allow(day, false))
            && self.weekdays.iter().any(|it| it.allow(day, true))
    }

    fn next(&self, after: Millis) -> Option<Millis> {
        let start = jiff::Timestamp::from_millisecond(after)
            .ok()?
            .to_zoned(self.zone.clone())
            .datetime();
        let mut day = start.date();
        // A date that comes at all comes within eight years: the 29th of February may be left out once.
        for _ in 0..8 * 366 {
            if self.allows(day) {
                for hour in &self.hours {
                    for minute in &self.minutes {
                        let at =
                            day.at(i8::try_from(*hour).ok()?, i8::try_from(*minute).ok()?, 0, 0);
                        let at = at
                            .to_zoned(self.zone.clone())
                            .ok()?
                            .timestamp()
                            .as_millisecond();
                        if at > after {
                            return Some(at);
                        }
                    }
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }
}

/// The values that a field allows: `*`, `?`, numbers, names, ranges, steps, and lists of these.
fn values(field: &str, low: i16, high: i16, names: &[&str]) -> Option<Vec<i16>> {
    let number = |text: &str| -> Option<i16> {
        let named = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        match named {
            Some(at) => i16::try_from(at + 1).ok(),
            None => text.parse().ok().filter(|it| (low..=high).contains(it)),
        }
    };
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<i16>().ok().filter(|it| *it > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range {
            "*" | "?" => (low, high),
            _ => match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                // `5/15` begins at 5.
                None if part.contains('/') => (number(range)?, high),
                None => (number(range)?, number(range)?),
            },
        };
        all.extend((first..=last).step_by(usize::try_from(step).ok()?));
    }
    all.sort_unstable();
    all.dedup();
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn every_form_of_schedule_has_its_next_time() {
        // A Sunday.
        let now = at("2026-11-22T10:30:00Z");
        for (text, next) in [
            ("at(2026-11-23T01:02:03)", "2026-11-23T01:02:03Z"),
            ("rate(5 minutes)", "2026-11-22T10:35:00Z"),
            ("cron(0 8 ? * MON-FRI *)", "2026-11-23T08:00:00Z"),
            ("cron(0/15 * * * ? *)", "2026-11-22T10:45:00Z"),
            ("cron(0 0 29 FEB ? *)", "2028-02-29T00:00:00Z"),
            ("cron(30 10,11 * * ? *)", "2026-11-22T11:30:00Z"),
            ("cron(0 0 L * ? *)", "2026-11-30T00:00:00Z"),
            ("cron(0 0 28W * ? *)", "2026-11-27T00:00:00Z"),
            ("cron(0 0 ? * 6L *)", "2026-11-27T00:00:00Z"),
            ("cron(0 0 ? * TUE#1 *)", "2026-12-01T00:00:00Z"),
        ] {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.next(now, now), Some(at(next)), "{text}");
        }
        assert_eq!(
            Schedule::parse("at(2020-01-01T00:00:00)")
                .unwrap()
                .next(0, now),
            None
        );
        for bad in [
            "soon",
            "rate(0 minutes)",
            "cron(* * * *)",
            "cron(61 * * * ? *)",
            "cron(0 0 * * * *)",
            "cron(0 0 ? * ? *)",
            "at(never)",
        ] {
            assert_eq!(Schedule::parse(bad), None, "{bad}");
        }
    }
}
