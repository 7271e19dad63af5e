//! An adversary between what was seen and the judge.

use hoist_rollout::{Intent, Observation, Rollout, Verdict, judge};
use jiff::Timestamp;

use crate::stage::Dice;

/// Times that each story is told anew.
const TELLINGS: u64 = 8;

/// Reorders, drops and repeats `seen`, and has it judged after every few observations. Returns the number of verdicts.
pub fn scramble(
    seed: u64,
    intent: &Intent,
    seen: &[Observation],
    now: Timestamp,
    is_success: bool,
) -> u64 {
    let mut judged = 0;
    for telling in 0..TELLINGS {
        let mut dice = Dice::new(seed.wrapping_mul(31).wrapping_add(telling));
        let dropped = dice.between((0, 60));
        let repeated = dice.between((0, 30));
        let mut told: Vec<&Observation> = Vec::new();
        for one in seen {
            if dice.percent(dropped) {
                continue;
            }
            told.push(one);
            while dice.percent(repeated) {
                told.push(one);
            }
        }
        // Half of them come anywhere, the others a little late or early.
        let reach = if telling % 2 == 0 { told.len() } else { 12 };
        for at in 0..told.len() {
            let other = (at + dice.next() as usize % reach.max(1)).min(told.len() - 1);
            told.swap(at, other);
        }
        let mut rollout = Rollout::new(intent.clone());
        for some in told.chunks(5) {
            for one in some {
                rollout.see(std::slice::from_ref(*one));
            }
            judged += 1;
            let verdict = judge(&rollout, now);
            assert!(
                verdict != Verdict::Succeeded || is_success,
                "called a success, which it never was, in telling {telling}"
            );
        }
        let late = intent.started + intent.timeout;
        assert!(
            judge(&rollout, late).is_final(),
            "never ends, in telling {telling}"
        );
    }
    judged
}
