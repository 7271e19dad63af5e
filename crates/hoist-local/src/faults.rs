//! Faults on purpose: a share of the calls is throttled, fails on the server's side or loses its connection, and a share of the
//! pulls of tasks fails, so that what deploys can be proved against a bad day.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// What goes wrong, and how often; `throttling=10%,errors=0.05,resets=2%,pulls=10%,seed=7,services=ecs+registry`.
///
/// Shares are between 0 and 1, or percentages. Without `services` every API and the registry are meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FaultSpec {
    /// Share of the calls that are answered with the service's throttling error.
    pub throttling: f64,
    /// Share of the calls that are answered with a 5xx.
    pub errors: f64,
    /// Share of the calls whose connection ends without an answer: every second one only after the call has been carried out.
    pub resets: f64,
    /// Share of the image pulls of tasks that fail.
    pub pulls: f64,
    /// Where the dice start; one is drawn, and logged, if it is not given.
    pub seed: Option<u64>,
    /// Signing names of the services concerned, and `registry` for `/v2/`; empty means all.
    pub services: Vec<String>,
}

/// Why a text is no [`FaultSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultSpecError {
    /// A part without `=`, or with a name that is none of the known ones.
    #[error(
        "`{0}` is no fault; write NAME=VALUE with throttling, errors, resets, pulls, seed or services"
    )]
    Name(String),
    /// A value that is no share.
    #[error("`{0}` is no share; write 0.05 or 5%")]
    Share(String),
    /// A value that is no seed.
    #[error("`{0}` is no seed; write a whole number")]
    Seed(String),
    /// More than everything.
    #[error("throttling, errors and resets are more than 100 % together")]
    TooMuch,
}

impl FaultSpec {
    /// Whether anything goes wrong at all.
    pub fn is_none(&self) -> bool {
        [self.throttling, self.errors, self.resets, self.pulls]
            .iter()
            .all(|share| *share == 0.0)
    }
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(text: &str) -> Result<FaultSpec, FaultSpecError> {
        let mut spec = FaultSpec::default();
        if matches!(text.trim(), "" | "none" | "off") {
            return Ok(spec);
        }
        for part in text.split(',').map(str::trim) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| FaultSpecError::Name(part.to_owned()))?;
            match name {
                "throttling" => spec.throttling = share(value)?,
                "errors" => spec.errors = share(value)?,
                "resets" => spec.resets = share(value)?,
                "pulls" => spec.pulls = share(value)?,
                "seed" => {
                    let seed = value.parse();
                    spec.seed = Some(seed.map_err(|_| FaultSpecError::Seed(value.to_owned()))?);
                }
                "services" => spec.services = value.split('+').map(str::to_owned).collect(),
                other => return Err(FaultSpecError::Name(other.to_owned())),
            }
        }
        if spec.throttling + spec.errors + spec.resets > 1.0 + f64::EPSILON {
            return Err(FaultSpecError::TooMuch);
        }
        Ok(spec)
    }
}

fn share(text: &str) -> Result<f64, FaultSpecError> {
    let wrong = || FaultSpecError::Share(text.to_owned());
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| wrong())? / 100.0,
        None => text.parse().map_err(|_| wrong())?,
    };
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(wrong())
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("none");
        }
        let shares = [
            ("throttling", self.throttling),
            ("errors", self.errors),
            ("resets", self.resets),
            ("pulls", self.pulls),
        ];
        let mut parts: Vec<String> = shares
            .iter()
            .filter(|(_, share)| *share > 0.0)
            .map(|(name, share)| format!("{name}={share}"))
            .collect();
        parts.extend(self.seed.map(|seed| format!("seed={seed}")));
        if !self.services.is_empty() {
            parts.push(format!("services={}", self.services.join("+")));
        }
        f.write_str(&parts.join(","))
    }
}

impl TryFrom<String> for FaultSpec {
    type Error = FaultSpecError;

    fn try_from(text: String) -> Result<FaultSpec, FaultSpecError> {
        text.parse()
    }
}

impl From<FaultSpec> for String {
    fn from(spec: FaultSpec) -> String {
        spec.to_string()
    }
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with the throttling error.
    Throttled,
    /// It is answered with a 5xx.
    Error,
    /// Its connection ends before it is carried out.
    ResetBefore,
    /// It is carried out, and its connection ends before the answer.
    ResetAfter,
}

/// The faults of a running instance. Cheap to clone; they may change at any time.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<Dice>>);

#[derive(Debug)]
struct Dice {
    spec: FaultSpec,
    random: fastrand::Rng,
    late: bool,
}

impl Dice {
    fn new(mut spec: FaultSpec) -> Dice {
        if !spec.is_none() {
            let seed = *spec.seed.get_or_insert_with(|| fastrand::u64(..));
            tracing::warn!(%spec, "faults on purpose");
            let random = fastrand::Rng::with_seed(seed);
            return Dice {
                spec,
                random,
                late: false,
            };
        }
        Dice {
            spec: FaultSpec::default(),
            random: fastrand::Rng::with_seed(0),
            late: false,
        }
    }
}

impl Faults {
    /// Faults as the settings have them.
    pub fn new(spec: FaultSpec) -> Faults {
        Faults(Arc::new(Mutex::new(Dice::new(spec))))
    }

    /// Other faults from now on; returns them with the seed that was drawn.
    pub fn set(&self, spec: FaultSpec) -> FaultSpec {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *dice = Dice::new(spec);
        dice.spec.clone()
    }

    /// What goes wrong now.
    pub fn spec(&self) -> FaultSpec {
        let dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dice.spec.clone()
    }

    /// Whether anything goes wrong on purpose.
    pub fn any(&self) -> bool {
        let dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !dice.spec.is_none()
    }

    /// What happens to a call of a service (its signing name, or `registry`).
    pub fn call(&self, service: &str) -> Option<Fault> {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spec = &dice.spec;
        if spec.is_none()
            || !(spec.services.is_empty() || spec.services.iter().any(|name| name == service))
        {
            return None;
        }
        let (throttling, errors, resets) = (spec.throttling, spec.errors, spec.resets);
        let throw = dice.random.f64();
        if throw < throttling {
            Some(Fault::Throttled)
        } else if throw < throttling + errors {
            Some(Fault::Error)
        } else if throw < throttling + errors + resets {
            dice.late = !dice.late;
            Some(if dice.late {
                Fault::ResetBefore
            } else {
                Fault::ResetAfter
            })
        } else {
            None
        }
    }

    /// Whether a pull of a task fails.
    pub fn pull(&self) -> bool {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dice.spec.pulls > 0.0 && dice.random.f64() < dice.spec.pulls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_back_and_says_what_is_wrong_with_another() {
        let text = "throttling=0.1,errors=0.05,resets=0.02,pulls=0.25,seed=7,services=ecs+registry";
        let spec: FaultSpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        assert_eq!(
            "throttling=10%".parse::<FaultSpec>().unwrap().throttling,
            0.1
        );
        assert!("none".parse::<FaultSpec>().unwrap().is_none());
        for (text, error) in [
            ("chaos=1", FaultSpecError::Name("chaos".to_owned())),
            ("10%", FaultSpecError::Name("10%".to_owned())),
            ("errors=2", FaultSpecError::Share("2".to_owned())),
            ("seed=x", FaultSpecError::Seed("x".to_owned())),
            ("errors=0.6,resets=0.6", FaultSpecError::TooMuch),
        ] {
            assert_eq!(text.parse::<FaultSpec>(), Err(error));
        }
    }

    #[test]
    fn the_same_seed_has_the_same_faults_in_about_the_shares_asked_for() {
        let spec: FaultSpec = "throttling=0.2,errors=0.1,resets=0.1,seed=3,services=ecs"
            .parse()
            .unwrap();
        let throw = || {
            let faults = Faults::new(spec.clone());
            (0..10_000).map(|_| faults.call("ecs")).collect::<Vec<_>>()
        };
        let seen = throw();
        assert_eq!(seen, throw());
        let count = |fault| seen.iter().filter(|it| **it == Some(fault)).count();
        assert!((1_800..2_200).contains(&count(Fault::Throttled)));
        assert!((850..1_150).contains(&count(Fault::Error)));
        assert!(count(Fault::ResetBefore).abs_diff(count(Fault::ResetAfter)) <= 1);
        let faults = Faults::new(spec);
        assert!((0..100).all(|_| faults.call("ecr").is_none() && !faults.pull()));
    }
}
