//! Deployments that are killed at each of their calls, deployments through an endpoint that throttles, fails and resets, and a release of
//! many services under the limits of AWS.
//!
//! A tenth here; all of it in `cargo xtask prove kills faults release`: `HOIST_KILLS=all` kills at every call, before it is carried out and
//! after; `HOIST_DEPLOYMENTS=N` sets how many deployments the failing endpoint sees; `HOIST_SERVICES=N` how many services are released, at
//! the pace of Fargate.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::eyes::Eyes;
use support::project::write;
use support::proxy::{Call, Moment, Proxy};
use support::sandbox::{Run, Sandbox};

/// A service behind a load balancer, moved in a second: nothing that leaves is waited for.
const WEB: &str = "app: shop
services:
  web: { port: 8080, cpu: 256, memory: 512, count: 1, health: /healthz, deregistration-delay: 0 }
";
/// One without, whose tasks may be simulated.
const WORKER: &str = "app: shop
services:
  worker: { cpu: 256, memory: 512, count: 2 }
";

/// Does `work` for each of `all`, so many at a time.
fn each<T: Sync>(lanes: usize, all: &[T], work: impl Fn(&T) + Sync) {
    let next = Mutex::new(all.iter());
    std::thread::scope(|scope| {
        for _ in 0..lanes.min(all.len()) {
            scope.spawn(|| {
                loop {
                    let one = next.lock().unwrap().next();
                    match one {
                        Some(one) => work(one),
                        None => return,
                    }
                }
            });
        }
    });
}

/// Whether the deployment that is killed makes the service, or moves it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Story {
    First,
    Change,
}

/// A home in which the deployment is the next thing to do. Returns how many revisions and service deployments there are to be.
fn begin(story: Story) -> (Sandbox, usize) {
    let sandbox = Sandbox::new();
    if story == Story::First {
        sandbox.run(&["local", "start"]).expect(0);
        write(&sandbox.project(), WEB, "ENV GREETING=new");
        return (sandbox, 1);
    }
    write(&sandbox.project(), WEB, "ENV GREETING=old");
    sandbox.deploy(&[]).expect(0);
    write(&sandbox.project(), WEB, "ENV GREETING=new");
    (sandbox, 2)
}

/// The calls of a whole deployment.
fn calls(story: Story) -> Vec<String> {
    let (sandbox, _) = begin(story);
    let proxy = Proxy::before(&sandbox);
    sandbox.deploy(&[]).expect(0);
    proxy.calls()
}

/// Kills a deployment at one call, and has it done again. Returns whether it was still alive by then.
fn kill(story: Story, at: usize, moment: Moment, name: &str) -> bool {
    let (sandbox, count) = begin(story);
    let eyes = Eyes::on(&sandbox);
    let proxy = Proxy::before(&sandbox);
    proxy.begin(Some((Call::Nth(at), moment)));
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    proxy.caller(child.id());
    let killed = Run::of(child.wait_with_output().unwrap());
    assert!([0, 137].contains(&killed.code), "{}", killed.stderr);
    let seen = proxy.calls();
    let was_told = |name: &str| seen.iter().any(|call| call == name);
    proxy.begin(None);
    // Half of them are resumed first: what the journal knows of is brought to its end.
    if at % 2 == 1 {
        let resumed = sandbox.run(&["deploy", "--local", "--resume"]);
        resumed.expect(0);
        if !resumed.stderr.contains("nothing to resume") {
            let serves = sandbox_serves(&sandbox, "new");
            assert!(serves, "resumed, but it does not serve: {}", resumed.stderr);
        }
    }
    let again = sandbox.deploy(&[]);
    let what = format!(
        "{story:?}, killed at call {at} ({name}, {moment:?})\n--- before\n{}\n--- again\n{}",
        killed.stderr, again.stderr
    );
    assert_eq!(again.code, 0, "{what}");
    assert_eq!(eyes.revisions("shop-web"), count, "revisions: {what}");
    let deployments = eyes.deployments("shop-web");
    assert_eq!(deployments.len(), count, "deployments: {what}");
    assert_eq!(deployments[0]["status"], "SUCCESSFUL", "{what}");
    let now = eyes.primary("shop-web");
    assert!(now.serves(count), "{now:?}: {what}");
    assert!(sandbox_serves(&sandbox, "new"), "{what}");
    // What the one that was killed left open is told, unless it was told when it was resumed.
    let asked = was_told("UpdateService") || was_told("CreateService");
    if killed.code == 137 && asked && at.is_multiple_of(2) {
        assert!(again.stderr.contains("ended without a word"), "{what}");
        assert!(!again.stderr.contains("could not be found out"), "{what}");
    }
    killed.code == 137
}

/// Whether the application answers with this greeting.
fn sandbox_serves(sandbox: &Sandbox, greeting: &str) -> bool {
    let url = sandbox.run(&["url", "--local"]);
    url.code == 0
        && support::load::get(&url.url())
            .is_ok_and(|(status, body)| status == 200 && body.trim() == greeting)
}

#[test]
fn killed_at_any_call_and_run_again_there_is_one_revision_and_one_deployment() {
    let is_whole = std::env::var("HOIST_KILLS").is_ok_and(|it| it == "all");
    let mut plan = Vec::new();
    for story in [Story::First, Story::Change] {
        let calls = calls(story);
        eprintln!("{story:?}: {} calls: {}", calls.len(), calls.join(" "));
        for (at, name) in calls.into_iter().enumerate() {
            let is_move = matches!(
                name.as_str(),
                "RegisterTaskDefinition" | "CreateService" | "UpdateService"
            );
            let moment = if at % 4 < 2 {
                Moment::Unanswered
            } else {
                Moment::Unsent
            };
            if is_whole {
                plan.push((story, at, Moment::Unsent, name.clone()));
                plan.push((story, at, Moment::Unanswered, name));
            } else if is_move || at % 10 == 3 {
                plan.push((story, at, moment, name));
            }
        }
    }
    let killed = Mutex::new(0);
    each(4, &plan, |(story, at, moment, name)| {
        if kill(*story, *at, *moment, name) {
            *killed.lock().unwrap() += 1;
        }
    });
    let (killed, planned) = (killed.into_inner().unwrap(), plan.len());
    eprintln!("{killed} of {planned} were killed in time");
    assert!(killed * 10 >= planned * 9, "{killed} of {planned}");
}

/// Four services in two waves.
const FLEET: &str = "app: fleet
services:
  a: { cpu: 256, memory: 512, count: 1 }
  b: { cpu: 256, memory: 512, count: 1 }
  c: { cpu: 256, memory: 512, count: 1 }
  d: { cpu: 256, memory: 512, count: 1 }
release: { parallel: 4, waves: [[a, b], [c, d]] }
";

/// Kills the release of the next version at a call, and brings it to its end. Returns whether it was still alive by then.
fn kill_release(
    world: &(Sandbox, Eyes, Proxy),
    version: usize,
    call: &Call,
    moment: Moment,
) -> bool {
    let (sandbox, eyes, proxy) = world;
    let is_resumed = version.is_multiple_of(2);
    write(&sandbox.project(), FLEET, &format!("ENV VERSION={version}"));
    proxy.begin(Some((call.clone(), moment)));
    let child = sandbox.spawn(&["deploy", "--local", "--output", "plain"]);
    proxy.caller(child.id());
    let killed = Run::of(child.wait_with_output().unwrap());
    assert!([0, 137].contains(&killed.code), "{}", killed.stderr);
    let asked = proxy.calls();
    let moves = asked.iter().filter(|name| *name == "UpdateService").count();
    proxy.begin(None);
    let first = match is_resumed {
        true => sandbox.run(&["deploy", "--local", "--resume"]),
        false => sandbox.deploy(&[]),
    };
    let what = format!(
        "version {version}, killed at {call:?}, {moment:?}\n--- before\n{}\n--- after\n{}",
        killed.stderr, first.stderr
    );
    assert_eq!(first.code, 0, "{what}");
    if killed.code == 137 && moves > 0 {
        let words = match is_resumed {
            true => "goes on with the run of",
            false => "ended without a word",
        };
        assert!(first.stderr.contains(words), "{what}");
        assert!(!first.stderr.contains("could not be found out"), "{what}");
    }
    // What the journal did not know of is deployed by the next one, and nothing else is.
    let resumed = proxy.calls().len();
    let last = sandbox.deploy(&[]);
    assert_eq!(last.code, 0, "{what}");
    if !is_resumed || killed.code == 137 && moves > 0 {
        assert!(
            !proxy.calls()[resumed..]
                .iter()
                .any(|name| name == "UpdateService"),
            "{what}"
        );
        assert!(
            last.stderr.contains("nothing changed"),
            "{what}\n--- last\n{}",
            last.stderr
        );
    }
    for name in ["fleet-a", "fleet-b", "fleet-c", "fleet-d"] {
        assert_eq!(eyes.revisions(name), version, "{name}: revisions: {what}");
        let deployments = eyes.deployments(name);
        assert_eq!(deployments.len(), version, "{name}: deployments: {what}");
        assert_eq!(deployments[0]["status"], "SUCCESSFUL", "{name}: {what}");
        assert!(eyes.primary(name).serves(version), "{name}: {what}");
    }
    killed.code == 137
}

#[test]
fn a_release_killed_at_any_call_goes_on_with_every_service_from_where_it_came() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["local", "start", "--runtime", "simulated"])
        .expect(0);
    write(&sandbox.project(), FLEET, "ENV VERSION=1");
    sandbox.deploy(&[]).expect(0);
    let world = (Eyes::on(&sandbox), Proxy::before(&sandbox));
    let world = (sandbox, world.0, world.1);
    let update = |nth| Call::Of("UpdateService".to_owned(), nth);
    let mut plan = vec![
        // Both of the first wave are on their way.
        (
            Call::Of("ListServiceDeployments".to_owned(), 5),
            Moment::Unsent,
        ),
        (update(0), Moment::Unanswered),
        (update(1), Moment::Unsent),
        (update(2), Moment::Unsent),
        (update(3), Moment::Unanswered),
    ];
    if std::env::var("HOIST_KILLS").is_ok_and(|it| it == "all") {
        write(&world.0.project(), FLEET, "ENV VERSION=2");
        world.2.begin(None);
        world.0.deploy(&[]).expect(0);
        for nth in 0..world.2.calls().len() {
            plan.push((Call::Nth(nth), Moment::Unsent));
            plan.push((Call::Nth(nth), Moment::Unanswered));
        }
    }
    let first = world.1.revisions("fleet-a") + 1;
    let mut killed = 0;
    for (nth, (call, moment)) in plan.iter().enumerate() {
        killed += usize::from(kill_release(&world, first + nth, call, *moment));
    }
    eprintln!("{killed} of {} were killed in time", plan.len());
    assert!(killed * 10 >= plan.len() * 9, "{killed} of {}", plan.len());
}

/// What deployments through a failing endpoint came to.
#[derive(Default, Debug)]
struct Ends {
    served: usize,
    rolled_back: usize,
    /// It said that it could not see, or could not begin.
    gave_up: Vec<i32>,
}

#[test]
fn an_endpoint_that_throttles_fails_and_resets_gets_no_wrong_word_out_of_hoist() {
    let total: usize = std::env::var("HOIST_DEPLOYMENTS").map_or(20, |it| it.parse().unwrap());
    let seed = std::env::var("HOIST_SEED").map_or_else(
        |_| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
        },
        |it| it.parse().unwrap(),
    );
    eprintln!("HOIST_SEED={seed} has the same dice");
    let ends = Mutex::new(Ends::default());
    // They mostly wait, between attempts.
    let lanes: Vec<usize> = (0..10.min(total)).collect();
    each(lanes.len(), &lanes, |lane| {
        let sandbox = Sandbox::new();
        sandbox
            .run(&["local", "start", "--runtime", "simulated"])
            .expect(0);
        write(&sandbox.project(), WORKER, "ENV VERSION=0");
        sandbox.deploy(&[]).expect(0);
        let eyes = Eyes::on(&sandbox);
        for nth in (*lane..total).step_by(lanes.len()) {
            troubled(&sandbox, &eyes, nth, seed, &ends);
        }
    });
    let ends = ends.into_inner().unwrap();
    eprintln!("{ends:?}");
    assert!(ends.served > 0 && ends.rolled_back > 0, "{ends:?}");
    // Dice are dice: a single one of few says nothing.
    assert!(ends.gave_up.len() <= total / 20 + 1, "{ends:?}");
}

/// One deployment while calls fail; of every third one no task can start.
fn troubled(sandbox: &Sandbox, eyes: &Eyes, nth: usize, seed: u32, ends: &Mutex<Ends>) {
    let is_bad = nth % 3 == 2;
    let before = (
        eyes.primary("shop-worker"),
        eyes.revisions("shop-worker"),
        eyes.deployments("shop-worker").len(),
    );
    let version = format!("ENV VERSION={}", nth + 1);
    write(&sandbox.project(), WORKER, &version);
    let pulls = if is_bad { ",pulls=100%" } else { "" };
    let seed = u64::from(seed) + nth as u64;
    let faults = format!("throttling=30%,errors=10%,resets=5%,seed={seed}{pulls}");
    let dial = |faults: &str| {
        sandbox
            .run(&["local", "dials", "--faults", faults])
            .expect(0);
    };
    dial(&faults);
    let run = sandbox.deploy(&[]);
    // What is there now is what was told; a pull that fails no longer would change it.
    let now = eyes_through_faults(sandbox, eyes, is_bad);
    let (revisions, deployments) = (
        eyes.revisions("shop-worker"),
        eyes.deployments("shop-worker"),
    );
    let what = format!(
        "deployment {nth} ({faults}) ended as {}, and it is {now:?}, before {before:?}; {deployments:?}\n{}",
        run.code, run.stderr
    );
    assert!(revisions <= before.1 + 1, "revisions: {what}");
    assert!(deployments.len() <= before.2 + 1, "deployments: {what}");
    let status = deployments[0]["status"].as_str().unwrap();
    let mut ends = ends.lock().unwrap();
    match run.code {
        0 => {
            assert!(!is_bad && status == "SUCCESSFUL", "{what}");
            assert!(revisions == before.1 + 1 && now.serves(revisions), "{what}");
            ends.served += 1;
        }
        20 => {
            assert!(is_bad && status == "ROLLBACK_SUCCESSFUL", "{what}");
            assert!(now.serves(before.0.revision), "{what}");
            ends.rolled_back += 1;
        }
        // It may give up where it cannot see or cannot begin; it says so, and claims nothing.
        1 | 12 | 13 | 14 | 23 => {
            eprintln!("{what}");
            ends.gave_up.push(run.code);
        }
        _ => panic!("{what}"),
    }
    drop(ends);
    dial("none");
    let deadline = Instant::now() + Duration::from_secs(60);
    while eyes.primary("shop-worker").state == "IN_PROGRESS" {
        assert!(Instant::now() < deadline, "never ends: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// PRIMARY with only the pulls failing, if they do: our own look is not to be disturbed, nor to change anything.
fn eyes_through_faults(sandbox: &Sandbox, eyes: &Eyes, is_bad: bool) -> support::eyes::Primary {
    let faults = if is_bad { "pulls=100%" } else { "none" };
    sandbox
        .run(&["local", "dials", "--faults", faults])
        .expect(0);
    eyes.primary("shop-worker")
}

/// The seconds since the epoch of a time in an answer.
fn seconds(moment: &serde_json::Value) -> f64 {
    moment
        .as_f64()
        .unwrap_or_else(|| panic!("no time: {moment}"))
}

#[test]
fn a_release_of_many_services_keeps_to_half_of_what_aws_lets_in() {
    let size = std::env::var("HOIST_SERVICES");
    let is_whole = size.is_ok();
    let services: usize = size.map_or(20, |it| it.parse().unwrap());
    let sandbox = Sandbox::new();
    let pace = if is_whole { "fargate" } else { "fast" };
    let start = [
        "local",
        "start",
        "--runtime",
        "simulated",
        "--limits",
        "aws",
        "--pace",
        pace,
    ];
    sandbox.run(&start).expect(0);
    let mut config = "app: fleet\nrelease: { parallel: 200 }\nservices:\n".to_owned();
    for nth in 0..services {
        config += &format!("  s{nth}: {{ cpu: 256, memory: 512, count: 1 }}\n");
    }
    let keys: Vec<String> = (0..services).map(|nth| format!("s{nth}")).collect();
    config = config.replace(
        "parallel: 200",
        &format!("parallel: 200, waves: [[{}]]", keys.join(", ")),
    );
    write(&sandbox.project(), &config, "ENV VERSION=1");
    sandbox.deploy(&[]).expect(0);

    let (eyes, proxy) = (Eyes::on(&sandbox), Proxy::before(&sandbox));
    write(&sandbox.project(), &config, "ENV VERSION=2");
    let run = sandbox.deploy(&["--output", "json"]);
    run.expect(0);
    let (calls, throttled) = (proxy.calls(), proxy.throttled());

    // When the end of each was told.
    let told: std::collections::BTreeMap<String, f64> = run
        .stderr
        .lines()
        .filter_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            let summary = event["summary"].as_str()?;
            let is_end = event["event"] == "step-finished" && event["step"] == "deploy";
            let at: jiff::Timestamp = event["at"].as_str()?.parse().ok()?;
            let (service, _) = summary.split_once(": ").filter(|_| is_end)?;
            Some((service.to_owned(), at.as_millisecond() as f64 / 1000.0))
        })
        .collect();
    let (mut lags, mut naive, mut first, mut last) = (Vec::new(), 0.0, f64::MAX, f64::MIN);
    for nth in 0..services {
        let name = format!("fleet-s{nth}");
        let newest = &eyes.deployments(&name)[0];
        assert_eq!(newest["status"], "SUCCESSFUL", "{name}");
        let (began, ended) = (
            seconds(&newest["createdAt"]),
            seconds(&newest["finishedAt"]),
        );
        lags.push(told[&format!("s{nth}")] - ended);
        // A loop of its own for each service, which asks once a second from its move to its end.
        naive += (ended - began).ceil() + 1.0;
        (first, last) = (first.min(began), last.max(ended));
    }
    lags.sort_by(f64::total_cmp);
    let count = |name: &str| calls.iter().filter(|call| *call == name).count();
    let mut counts: Vec<(usize, &str)> = Vec::new();
    for call in &calls {
        if !counts.iter().any(|(_, name)| name == call) {
            counts.push((count(call), call));
        }
    }
    counts.sort_unstable_by(|a, b| b.cmp(a));
    eprintln!(
        "{services} services moved in {:.0} s with {} calls ({throttled} throttled); loops of 1 s need {naive} of DescribeServices alone; \
         the end was told {:.1} s late in the middle, {:.1} s at worst; {counts:?}",
        last - first,
        calls.len(),
        lags[lags.len() / 2],
        lags[lags.len() - 1]
    );
    let heartbeats = count("DescribeServices");
    if is_whole {
        // Half of 20 a second, and the look at each service before and after it moves.
        assert!((heartbeats as f64) < 10.0 * (last - first) + 4.0 * services as f64);
        assert!(
            (heartbeats as f64) * 5.0 < naive + 20.0 * services as f64,
            "{heartbeats} of {naive}"
        );
        assert!(lags[lags.len() - 1] < 5.0, "{lags:?}");
    }
    assert!(
        throttled * 50 <= calls.len(),
        "{throttled} of {}",
        calls.len()
    );
}
