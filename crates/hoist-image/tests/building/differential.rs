//! The same Dockerfiles through our engine, Docker's BuildKit and buildah: file trees, configurations and refusals must agree.
//!
//! A tenth of the cases runs with the other tests; `HOIST_PROVE=all` runs all of them, `HOIST_PROVE_ONLY=one;two` those whose names hold
//! one of these texts. Where an engine differs on purpose or does not
//! understand a case, the case says why; what none understands has its result beside it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hoist_image::{BuildRequest, Engine, Secret, SecretSource, Workspace, build, export, import};

use crate::cases::{Case, Group};
use crate::engines::{Buildah, Docker, Verdict};
use crate::snapshot::Snapshot;
use crate::support::busybox;

const GROUPS: [(&str, &str); 10] = [
    ("add", include_str!("cases/add.txt")),
    ("args", include_str!("cases/args.txt")),
    ("config", include_str!("cases/config.txt")),
    ("copy", include_str!("cases/copy.txt")),
    ("expand", include_str!("cases/expand.txt")),
    ("ignore", include_str!("cases/ignore.txt")),
    ("newer", include_str!("cases/newer.txt")),
    ("refused", include_str!("cases/refused.txt")),
    ("run", include_str!("cases/run.txt")),
    ("stages", include_str!("cases/stages.txt")),
];

/// Our own engine, with the base image.
struct Ours {
    folder: tempfile::TempDir,
    workspace: Workspace,
}

impl Ours {
    async fn start() -> Ours {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&folder.path().join("home")).unwrap();
        let root = folder.path().join("busybox");
        busybox(&root);
        symlink("passwd", root.join("etc/linked")).unwrap();
        import(&workspace, &root, "busybox").await.unwrap();
        export(&workspace, "busybox", &folder.path().join("base.tar")).unwrap();
        Ours { folder, workspace }
    }

    async fn build(&self, case: &Case, context: &Path) -> Verdict {
        let mut request = BuildRequest {
            engine: Engine::Embedded,
            target: case.target.clone(),
            build_args: case.args.clone(),
            ..BuildRequest::new(context)
        };
        for (id, value) in &case.secrets {
            let file = self.folder.path().join(format!("secret-{id}"));
            fs::write(&file, value).unwrap();
            request.secrets.push(Secret {
                id: id.clone(),
                source: SecretSource::File(file),
            });
        }
        let built = build(&self.workspace, &request, &|_| {})
            .await
            .map_err(|error| {
                // What is wrong with a file is said with its place.
                format!("{error}")
            })?;
        let store = &self.workspace.store;
        let image = store.image(&built.manifest, &built.platform).unwrap();
        let mut snapshot = Snapshot::default();
        for layer in &image.manifest.layers {
            snapshot.apply(&store.read(&layer.digest).unwrap());
        }
        snapshot.configure(
            &serde_json::from_slice(&store.read(&image.config_digest).unwrap()).unwrap(),
        );
        snapshot.tidy();
        Ok(snapshot)
    }
}

/// What a case should have given, against what it gave.
fn disagreement(ours: &Verdict, theirs: &Verdict, engine: &str) -> Vec<String> {
    match (ours, theirs) {
        (Err(_), Err(_)) => Vec::new(),
        (Err(error), Ok(_)) => vec![format!("we refuse it ({error}), {engine} builds it")],
        (Ok(_), Err(error)) => vec![format!("we build it, {engine} refuses it ({error})")],
        (Ok(ours), Ok(theirs)) => {
            let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
            if engine == "buildah" {
                normal_for_buildah(&mut ours, &mut theirs);
            }
            ours.against(&theirs)
        }
    }
}

/// buildah gives no `PATH` to images from scratch, and writes folders' contents without the folders above them.
fn normal_for_buildah(ours: &mut Snapshot, theirs: &mut Snapshot) {
    for snapshot in [ours, theirs] {
        if let Some(env) = snapshot
            .config
            .get_mut("Env")
            .and_then(|env| env.as_array_mut())
        {
            env.retain(|pair| {
                !pair
                    .as_str()
                    .unwrap_or_default()
                    .starts_with("PATH=/usr/local/sbin:")
            });
            if env.is_empty() {
                snapshot.config.remove("Env");
            }
        }
    }
}

/// Compares a result with lines written by hand: `ENV A=1 B=2` and `KEY json` of the configuration, `path[ mode][ uid:gid] = content`,
/// `path -> target`, `path/` for a folder, `! path` for what must not be there.
fn check_want(verdict: &Verdict, want: &[String]) -> Vec<String> {
    let snapshot = match verdict {
        Err(error) => {
            let wanted = want.first().and_then(|line| line.strip_prefix("refused "));
            return match wanted {
                Some(part) if error.contains(part) => Vec::new(),
                _ => vec![format!("it was refused: {error}")],
            };
        }
        Ok(snapshot) => snapshot,
    };
    let mut wrong = Vec::new();
    let mut files = 0;
    for line in want.iter().filter(|line| !line.trim().is_empty()) {
        let mut fail = |got: String| wrong.push(format!("want {line}, got {got}"));
        if let Some(part) = line.strip_prefix("refused ") {
            fail(format!("an image instead of a refusal with '{part}'"));
        } else if let Some(pairs) = line.strip_prefix("ENV ") {
            let env = snapshot
                .config
                .get("Env")
                .and_then(|env| env.as_array())
                .cloned()
                .unwrap_or_default();
            for pair in pairs.split(' ') {
                if !env.iter().any(|known| known == pair) {
                    fail(format!("{env:?}"));
                }
            }
        } else if let Some((key, json)) = line.split_once(" json ") {
            let wanted: serde_json::Value = serde_json::from_str(json).unwrap();
            if snapshot.config.get(key) != Some(&wanted) {
                fail(format!("{:?}", snapshot.config.get(key)));
            }
        } else if let Some(path) = line.strip_prefix("! ") {
            if snapshot.files.contains_key(path) {
                fail("a file".into());
            }
        } else if let Some((path, target)) = line.split_once(" -> ") {
            files += 1;
            let file = snapshot.files.get(path);
            if !file.is_some_and(|file| file.kind == 'l' && file.content == target) {
                fail(format!("{file:?}"));
            }
        } else {
            let (left, content) = line.split_once(" = ").unwrap_or((line, ""));
            let mut words = left.split(' ');
            let path = words.next().unwrap();
            let is_folder = path.ends_with('/');
            let path = path.trim_end_matches('/').replace('|', " ");
            files += usize::from(!is_folder);
            let Some(file) = snapshot.files.get(&path) else {
                fail(format!("{:?}", snapshot.files.keys().collect::<Vec<_>>()));
                continue;
            };
            let mut right = (file.kind == 'd') == is_folder;
            right &= is_folder || file.content == content.replace("\\n", "\n");
            for word in words {
                right &= match word.split_once(':') {
                    Some((uid, gid)) => file.owner == (uid.parse().unwrap(), gid.parse().unwrap()),
                    None => file.mode == u32::from_str_radix(word, 8).unwrap(),
                };
            }
            if !right {
                fail(format!("{file:?}"));
            }
        }
    }
    // From scratch, nothing else may be there either; a base image has its own files.
    let base = snapshot.files.contains_key("usr/bin/busybox");
    let there: Vec<_> = snapshot
        .files
        .iter()
        .filter(|(_, file)| file.kind != 'd')
        .map(|(path, _)| path)
        .collect();
    if !base && files > 0 && files != there.len() {
        wrong.push(format!("these files are there: {there:?}"));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn three_engines_make_the_same_of_the_same_dockerfiles() {
    let all = std::env::var("HOIST_PROVE").is_ok_and(|value| value == "all");
    let only = std::env::var("HOIST_PROVE_ONLY").unwrap_or_default();
    let ours = Ours::start().await;
    let base = ours.folder.path().join("base.tar");
    let (docker, buildah) = std::thread::scope(|scope| {
        let docker = scope.spawn(|| Docker::start(&base));
        let buildah = scope.spawn(|| Buildah::start(&base));
        (docker.join().unwrap(), buildah.join().unwrap())
    });
    let (mut index, mut compared, mut wrong) = (0, [0, 0, 0], Vec::new());
    for (name, text) in GROUPS {
        let group = Group::read(name, text);
        let context = ours.folder.path().join("contexts").join(name);
        group.fill(&context);
        for case in &group.cases {
            index += 1;
            let chosen = if only.is_empty() {
                all || index % 10 == 4
            } else {
                only.split(';').any(|part| case.name().contains(part))
            };
            if !chosen && case.want.is_none() {
                continue;
            }
            case.write(&context);
            let asked = |engine: &str| chosen && (all || !case.differs.contains_key(engine));
            let (verdict, theirs) = tokio::join!(ours.build(case, &context), async {
                tokio::task::block_in_place(|| {
                    std::thread::scope(|scope| {
                        let docker =
                            asked("docker").then(|| scope.spawn(|| docker.build(case, &context)));
                        let buildah =
                            asked("buildah").then(|| scope.spawn(|| buildah.build(case, &context)));
                        [
                            docker.map(|thread| thread.join().unwrap()),
                            buildah.map(|thread| thread.join().unwrap()),
                        ]
                    })
                })
            });
            let mut complain = |engine: &str, lines: Vec<String>| {
                if !lines.is_empty() {
                    wrong.push(format!(
                        "{} [{engine}]\n    {}",
                        case.name(),
                        lines.join("\n    ")
                    ));
                }
            };
            if let Some(want) = &case.want {
                compared[2] += 1;
                complain("reference", check_want(&verdict, want));
            }
            for (number, (engine, theirs)) in ["docker", "buildah"].iter().zip(theirs).enumerate() {
                let Some(theirs) = theirs else { continue };
                compared[number] += 1;
                let lines = disagreement(&verdict, &theirs, engine);
                match case.differs.get(*engine) {
                    None => complain(engine, lines),
                    // A reason that no longer holds must go.
                    Some(reason) if lines.is_empty() => {
                        complain(
                            engine,
                            vec![format!("it agrees, and yet the case says: {reason}")],
                        );
                    }
                    Some(_) => {}
                }
            }
        }
    }
    let [docker, buildah, reference] = compared;
    assert!(
        wrong.is_empty(),
        "{} of {docker} (docker), {buildah} (buildah), {reference} (reference) comparisons differ; ours | theirs:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        !only.is_empty() || (docker >= 25 && buildah >= 20),
        "{compared:?} is too few"
    );
    if all {
        assert!(docker >= 250, "{compared:?} is too few");
    }
}
