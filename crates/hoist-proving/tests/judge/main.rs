//! The judge set against the simulator of the embedded AWS: what deploys watches, through the answers of the wire, what plays.
//!
//! `HOIST_SEED=N` replays one story and prints it; `HOIST_STORIES=N` sets how many are played.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod adversary;
mod calls;
mod play;
#[path = "../../../hoist-fargate/tests/scheduler/stage.rs"]
#[allow(dead_code, reason = "the stage of the scheduler's own tests")]
mod stage;
mod tally;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};

use play::{Story, play};
use tally::Tally;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays stories with fresh seeds on all processors; says which seed replays the first that fails.
fn play_many(stories: u64, check: impl Fn(u64) -> Tally + Sync) -> Tally {
    if let Some(seed) = number("HOIST_SEED") {
        return check(seed);
    }
    let first = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
        % 1_000_000_000
        * 1_000_000;
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let check = &check;
    let ends: Vec<Result<Tally, u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut all = Tally::default();
                    for seed in (worker..stories)
                        .step_by(threads as usize)
                        .map(|n| first + n)
                    {
                        match catch_unwind(AssertUnwindSafe(|| check(seed))) {
                            Ok(tally) => all += tally,
                            Err(_) => return Err(seed),
                        }
                    }
                    Ok(all)
                })
            })
            .collect();
        workers.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut all = Tally::default();
    for end in ends {
        match end {
            Ok(tally) => all += tally,
            Err(seed) => panic!("a story failed; HOIST_SEED={seed} replays it"),
        }
    }
    eprintln!("seeds from {first}: {all}");
    all
}

#[test]
fn what_is_said_of_a_rollout_is_what_became_of_it() {
    let stories = number("HOIST_STORIES").unwrap_or(200);
    let all = play_many(stories, |seed| {
        let one = play(seed, Story::Truthful);
        // By the virtual clock, in which a call takes no time.
        assert!(one.lag(1.0) <= 1_000, "the end was told late: {one}");
        one
    });
    if number("HOIST_SEED").is_none() {
        assert!(all.is_varied(), "the stories are too much alike: {all}");
        if stories >= 1_000 {
            // A loop that reads the same once a second makes five calls: service, service deployment, tasks (two), targets.
            assert!(all.pace().0 <= 1.0, "too many calls: {all}");
        }
    }
}

#[test]
fn an_endpoint_that_fails_and_answers_late_is_not_believed_too_soon() {
    let stories = number("HOIST_STORIES").unwrap_or(200);
    play_many(stories, |seed| play(seed, Story::Troubled));
}

#[test]
fn whoever_reorders_drops_and_repeats_what_was_seen_gets_no_false_success() {
    let stories = number("HOIST_STORIES").unwrap_or(200);
    let all = play_many(stories, |seed| play(seed, Story::Scrambled));
    if number("HOIST_SEED").is_none() {
        assert!(all.judged > stories * 100, "{all}");
    }
}
