//! `cargo xtask prove`: the long proofs, with the last result of each in `docs/proof.md`.
//!
//! A campaign is a test that also runs in `cargo test` or with the other clients, at a size that takes minutes or hours. To add one: a line
//! in [`CAMPAIGNS`].

use std::fmt::Write as _;
use std::process::Command;
use std::time::Instant;

/// Where the results are kept, seen from the root of the workspace.
const REPORT: &str = "docs/proof.md";

/// A long proof.
struct Campaign {
    name: &'static str,
    /// What it shows, as a sentence without its full stop.
    shows: &'static str,
    work: Work,
    /// What sets its size, and the size of a campaign.
    size: (&'static str, &'static str),
}

/// How it is run.
enum Work {
    /// By `cargo test`: package, test binary and filter.
    Test(&'static str, &'static str, &'static str),
    /// By `tests/clients/run.sh`, as root, on `hoist-local`: the test.
    Clients(&'static str),
}

const CAMPAIGNS: &[Campaign] = &[
    Campaign {
        name: "scheduler",
        shows: "random schedules of the local ECS scheduler keep its invariants",
        work: Work::Test("hoist-fargate", "scheduler", "simulation::whatever_happens"),
        size: ("HOIST_SCHEDULES", "1000000"),
    },
    Campaign {
        name: "strategies",
        shows: "so do schedules that shift traffic",
        work: Work::Test(
            "hoist-fargate",
            "scheduler",
            "simulation::whatever_the_strategy",
        ),
        size: ("HOIST_SCHEDULES", "1000000"),
    },
    Campaign {
        name: "judge",
        shows: "the judge of rollouts is right about what the simulator plays, also when observations are lost, doubled and out of order",
        work: Work::Test("hoist-proving", "judge", ""),
        size: ("HOIST_STORIES", "2000"),
    },
    Campaign {
        name: "kills",
        shows: "a deployment killed at any of its calls and run again makes one revision and one service deployment, and says what became of it",
        work: Work::Test("hoist", "campaign", "killed_at_any_call"),
        size: ("HOIST_KILLS", "all"),
    },
    Campaign {
        name: "faults",
        shows: "with 30 % of the calls throttled, 10 % failing and 5 % reset no deployment ends with a wrong word",
        work: Work::Test("hoist", "campaign", "an_endpoint_that_throttles"),
        size: ("HOIST_DEPLOYMENTS", "200"),
    },
    Campaign {
        name: "release",
        shows: "a release of many services keeps to half of what the published limits let in, and tells each end within 5 s",
        work: Work::Test("hoist", "campaign", "a_release_of_many"),
        size: ("HOIST_SERVICES", "200"),
    },
    Campaign {
        name: "dockerfiles",
        shows: "hoist's engine, BuildKit and buildah make the same images of the same Dockerfiles",
        work: Work::Test("hoist-image", "building", "three_engines"),
        size: ("HOIST_PROVE", "all"),
    },
    Campaign {
        name: "killed-builds",
        shows: "builds that are killed at random moments leave nothing that makes a later one wrong",
        work: Work::Test("hoist-image", "building", "killed::"),
        size: ("HOIST_KILLS", "200"),
    },
    Campaign {
        name: "killed-daemons",
        shows: "killed at random moments with its containers, the embedded AWS loses nothing that it acknowledged, leaves no container behind, starts none twice, and its services converge",
        work: Work::Clients("test_persistence.Killed"),
        size: ("HOIST_KILL_ROUNDS", "200"),
    },
    Campaign {
        name: "readers",
        shows: "mutated Dockerfiles, ignore files, manifests and layers make no reader panic, and no layer reaches outside; seconds for each reader",
        work: Work::Test("hoist-image", "building", "fuzz::"),
        size: ("HOIST_FUZZ_SECONDS", "3600"),
    },
];

/// Runs the campaigns of those names, or all; a size that the environment sets is kept.
///
/// # Errors
/// A name that there is none of, a campaign that failed, or a report that cannot be written.
pub fn prove(names: &[&str]) -> Result<(), String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !CAMPAIGNS.iter().any(|it| it.name == **name))
    {
        let known: Vec<_> = CAMPAIGNS.iter().map(|it| it.name).collect();
        return Err(format!(
            "no campaign {unknown}; there are: {}",
            known.join(", ")
        ));
    }
    let chosen = CAMPAIGNS
        .iter()
        .filter(|it| names.is_empty() || names.contains(&it.name));
    let mut failed = Vec::new();
    for campaign in chosen {
        let line = run(campaign)?;
        record(campaign, &line)?;
        if !line.contains("| passed |") {
            failed.push(campaign.name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

/// Runs one campaign; returns its line of the report.
fn run(campaign: &Campaign) -> Result<String, String> {
    let (variable, default) = campaign.size;
    let size = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let mut command = command(&campaign.work)?;
    let start = Instant::now();
    let status = command
        .env(variable, &size)
        .status()
        .map_err(|error| format!("cannot start the campaign {}: {error}", campaign.name))?;
    let seconds = start.elapsed().as_secs();
    let result = if status.success() { "passed" } else { "failed" };
    Ok(format!(
        "| {} | {} | {size} | {result} | {seconds} s | {} |",
        campaign.name,
        campaign.shows,
        commit()
    ))
}

/// What runs it; what that takes is built.
fn command(work: &Work) -> Result<Command, String> {
    let test = match work {
        Work::Test(package, binary, filter) => {
            let mut cargo = cargo();
            cargo
                .args(["test", "--release", "-p", package, "--test", binary])
                .args(["--", "--nocapture", filter]);
            return Ok(cargo);
        }
        Work::Clients(test) => test,
    };
    let built = cargo()
        .args(["build", "--release", "-p", "hoist-local", "--bins"])
        .status();
    if !built.is_ok_and(|it| it.success()) {
        return Err("cannot build hoist-local".to_owned());
    }
    // It lies where this program does.
    let own = std::env::current_exe().map_err(|error| format!("cannot find myself: {error}"))?;
    let mut run = Command::new("tests/clients/run.sh");
    run.arg(own.with_file_name("hoist-local")).arg(test);
    if let (None, Some(tools)) = (
        std::env::var_os("CLIENTS_VENV"),
        std::env::var_os("HOIST_TEST_TOOLS"),
    ) {
        run.env("CLIENTS_VENV", tools);
    }
    Ok(run)
}

/// Cargo, without what it told this program about itself: build scripts would run again because of it, and all that stands on them be compiled again.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The commit that is proved, with `-dirty` where the tree differs from it.
fn commit() -> String {
    let described = Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .output();
    match described {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Puts the line of a campaign into the report, in place of its last one.
fn record(campaign: &Campaign, line: &str) -> Result<(), String> {
    let old = std::fs::read_to_string(REPORT).unwrap_or_default();
    std::fs::write(REPORT, report(&old, campaign.name, line))
        .map_err(|error| format!("cannot write {REPORT}: {error}"))
}

fn report(old: &str, name: &str, line: &str) -> String {
    let own = format!("| {name} |");
    let mut lines: Vec<&str> = old
        .lines()
        .filter(|it| it.starts_with("| ") && !it.starts_with("| campaign |"))
        .filter(|it| !it.starts_with(&own))
        .collect();
    lines.push(line);
    lines.sort_unstable();
    let mut text = String::from(
        "# Proof\n\nWhat `cargo xtask prove [CAMPAIGN...]` came to last; it writes this page. A failing seed is printed, and replays.\n\n\
         | campaign | what it shows | size | result | took | commit |\n|---|---|---|---|---|---|\n",
    );
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_result_takes_the_place_of_the_last_one_of_its_campaign() {
        let first = report("", "b", "| b | … | 1 | passed | 1 s | x |");
        let second = report(&first, "a", "| a | … | 1 | passed | 1 s | x |");
        let third = report(&second, "b", "| b | … | 2 | failed | 1 s | y |");
        let lines: Vec<&str> = third.lines().skip(6).collect();
        assert_eq!(
            lines,
            [
                "| a | … | 1 | passed | 1 s | x |",
                "| b | … | 2 | failed | 1 s | y |"
            ]
        );
    }
}
