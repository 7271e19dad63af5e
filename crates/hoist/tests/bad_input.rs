//! What is wrong is said with the place and the next step, and nothing is changed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use support::project::{SHORT, write};
use support::sandbox::Sandbox;

/// A project whose files one test spoils.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    write(&sandbox.project(), SHORT, "");
    sandbox
}

#[test]
fn a_folder_without_hoist_yaml_says_how_to_begin() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["deploy", "--local"])
        .expect(3)
        .says("no hoist.yaml")
        .says("= help:");
    assert!(
        !sandbox.home().join("local/daemon.json").exists(),
        "the embedded AWS was started for nothing"
    );
}

#[test]
fn a_malformed_hoist_yaml_is_told_with_line_and_column() {
    let sandbox = sandbox();
    std::fs::write(
        sandbox.project().join("hoist.yaml"),
        "app: shop\nservices:\n  web: { prot: 8080 }\n",
    )
    .unwrap();
    sandbox
        .run(&["check"])
        .expect(3)
        .says("hoist.yaml:3:")
        .says("port");
}

#[test]
fn no_dockerfile_is_named() {
    let sandbox = sandbox();
    std::fs::remove_file(sandbox.project().join("Dockerfile")).unwrap();
    sandbox.run(&["build"]).expect(10).says("Dockerfile");
}

#[test]
fn an_unknown_instruction_is_told_with_its_line() {
    let sandbox = sandbox();
    std::fs::write(
        sandbox.project().join("Dockerfile"),
        "FROM scratch\nCOPPY hello /hello\n",
    )
    .unwrap();
    sandbox
        .run(&["build"])
        .expect(10)
        .says("Dockerfile:2")
        .says("COPY");
}

#[test]
fn an_impossible_size_names_the_sizes_that_exist() {
    let sandbox = sandbox();
    std::fs::write(
        sandbox.project().join("hoist.yaml"),
        SHORT.replace("memory: 512", "memory: 4096"),
    )
    .unwrap();
    sandbox.run(&["check"]).expect(3).says("2048");
}

#[test]
fn a_hook_that_fails_shows_its_output_and_nothing_is_built() {
    let sandbox = sandbox();
    let config = format!("{SHORT}image:\n  before: echo cannot find the compiler; exit 7\n");
    std::fs::write(sandbox.project().join("hoist.yaml"), config).unwrap();
    sandbox
        .deploy(&[])
        .expect(10)
        .says("cannot find the compiler")
        .says("7")
        .never_says("FROM scratch");
}

#[test]
fn without_credentials_it_says_what_was_tried() {
    let sandbox = sandbox();
    let mut command = sandbox.command(&["deploy", "--region", "eu-central-1"]);
    command
        .env("HOME", sandbox.home())
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    let run = support::sandbox::Run::of(command.output().unwrap());
    run.expect(4).says("AWS_ACCESS_KEY_ID");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let sandbox = sandbox();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = sandbox.run(&["local", "start", "--port", &port]);
    assert_ne!(run.code, 0);
    run.says(&port);
}

/// Where the kernel gives out no user namespaces: a namespace of root's own in which their number is 0, and in it an
/// ordinary user.
const WITHOUT_NAMESPACES: &str = r#"
unshare --user sleep 60 & outer=$!
trap 'kill $outer' EXIT
while [ "$(readlink /proc/$outer/ns/user)" = "$(readlink /proc/self/ns/user)" ]; do :; done
echo '0 0 70000' > /proc/$outer/uid_map
echo '0 0 70000' > /proc/$outer/gid_map
nsenter --user --target $outer --setuid 0 --setgid 0 sh -c \
    'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid 1000 --regid 1000 --clear-groups "$@"' - "$@"
"#;

#[test]
fn without_permission_for_namespaces_it_says_which_setting_forbids_them() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may make a namespace that an ordinary user cannot leave");
        return;
    }
    let sandbox = sandbox();
    // The user has a home of their own and a copy of the program that they may read.
    let world = tempfile::tempdir().unwrap();
    let program = world.path().join("hoist");
    std::fs::copy(env!("CARGO_BIN_EXE_hoist"), &program).unwrap();
    write(&world.path().join("project"), SHORT, "");
    let open = std::process::Command::new("chmod")
        .args(["--recursive", "a+rwX"])
        .arg(world.path())
        .status()
        .unwrap();
    assert!(open.success());
    let home = world.path().join("home");
    let mut command = sandbox.program(std::path::Path::new("sh"));
    command
        .args(["-c", WITHOUT_NAMESPACES, "-"])
        .arg(&program)
        .args(["deploy", "--local"])
        .current_dir(world.path().join("project"))
        .env("HOIST_HOME", &home)
        .env("DOCKER_HOST", "unix:///nonexistent");
    let run = support::sandbox::Run::of(command.output().unwrap());
    run.expect(1)
        .says("user.max_user_namespaces")
        .says("= help:")
        .says("--runtime docker");
    assert!(
        !home.join("local/daemon.json").exists(),
        "an embedded AWS runs that can run nothing"
    );
}

#[test]
fn without_git_the_content_names_the_version() {
    let sandbox = sandbox();
    support::project::commit(&sandbox.project(), "first");
    let mut command = sandbox.command(&["deploy", "--local"]);
    command.env("PATH", "/nonexistent");
    let run = support::sandbox::Run::of(command.output().unwrap());
    run.expect(0).says("git is not installed").says("src-");
}

#[test]
fn a_failing_test_keeps_the_image_from_being_pushed() {
    let sandbox = sandbox();
    let config = format!("{SHORT}image:\n  test: {{ command: [/hello, --no-such-mode] }}\n");
    std::fs::write(sandbox.project().join("hoist.yaml"), config).unwrap();
    std::fs::write(
        sandbox.project().join("Dockerfile"),
        "FROM scratch\nCOPY hello /hello\nENV PORT=wrong\nENTRYPOINT [\"/hello\"]\n",
    )
    .unwrap();
    sandbox
        .deploy(&[])
        .expect(11)
        .says("the test")
        .never_says("sent,");
    let images = sandbox.client("aws", &["ecr", "list-images", "--repository-name", "shop"]);
    assert!(
        images.code != 0 || !images.stdout.contains("imageDigest"),
        "{}",
        images.stdout
    );
}

#[test]
fn a_full_disk_is_named_and_a_later_build_is_right() {
    let sandbox = sandbox();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root may mount the small file system that this needs");
        return;
    }
    std::fs::create_dir_all(sandbox.home()).unwrap();
    let mount = |arguments: &[&str]| {
        let status = std::process::Command::new(arguments[0])
            .args(&arguments[1..])
            .status()
            .unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    let home = sandbox.home().display().to_string();
    mount(&["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", &home]);
    let run = sandbox.run(&["build"]);
    mount(&["umount", &home]);
    run.expect(10).says("disk is full");
    sandbox.run(&["build"]).expect(0);
}

/// What a deployment may change, as a real client sees it in one region.
fn everything(sandbox: &Sandbox, region: &str) -> String {
    let script = "import boto3, json, sys\n\
                  ecs, ecr, logs, elb = (boto3.client(it, sys.argv[1]) for it in ['ecs', 'ecr', 'logs', 'elbv2'])\n\
                  clusters = ecs.list_clusters()['clusterArns']\n\
                  services = [ecs.list_services(cluster=it)['serviceArns'] for it in clusters]\n\
                  shown = [ecs.describe_services(cluster=c, services=s)['services'] for c, s in zip(clusters, services) if s]\n\
                  shown = [[it['serviceArn'], it['taskDefinition'], it['desiredCount'], [d['id'] for d in it['deployments']]] for l in shown for it in l]\n\
                  repositories = ecr.describe_repositories()['repositories']\n\
                  images = [ecr.list_images(repositoryName=it['repositoryName'])['imageIds'] for it in repositories]\n\
                  print(json.dumps([clusters, shown, repositories, images, ecs.list_task_definitions()['taskDefinitionArns'],\n\
                      [it['arn'] for it in logs.describe_log_groups()['logGroups']], elb.describe_target_groups()['TargetGroups']], default=str))";
    let run = sandbox.client("python3", &["-c", script, region]);
    run.expect(0);
    run.stdout
}

#[test]
fn an_expired_token_or_a_region_where_nothing_is_changes_nothing() {
    let sandbox = sandbox();
    sandbox.deploy(&["--region", "eu-central-1"]).expect(0);
    // A session that ended a second ago: the shortest that STS gives lasts 15 minutes.
    sandbox.run(&["local", "stop"]).expect(0);
    let path = sandbox.home().join("local/state.redb");
    let expired = hoist_local::keys::Key {
        id: "ASIAEXPIRED000000000".to_owned(),
        secret: "secret".to_owned(),
        session_token: Some("token".to_owned()),
        arn: "arn:aws:sts::000000000000:assumed-role/deploy/ci".to_owned(),
        user_id: "AROA:ci".to_owned(),
        expires: Some(hoist_local::clock::now() - 1000),
    };
    hoist_local::state::State::open(&path)
        .unwrap()
        .table("keys")
        .put("", &expired.id, &expired)
        .unwrap();
    sandbox.run(&["local", "start"]).expect(0);
    let root = sandbox.aws_env();
    let before = (
        everything(&sandbox, "eu-central-1"),
        everything(&sandbox, "us-west-2"),
    );
    write(&sandbox.project(), SHORT, "ENV GREETING=other");

    let mut command = sandbox.command(&["deploy", "--region", "eu-central-1"]);
    command
        .envs(root.clone())
        .env("AWS_ACCESS_KEY_ID", &expired.id)
        .env("AWS_SECRET_ACCESS_KEY", &expired.secret)
        .env("AWS_SESSION_TOKEN", "token");
    support::sandbox::Run::of(command.output().unwrap())
        .expect(4)
        .says("expired")
        .says("= help:");

    let mut command = sandbox.command(&["deploy", "--region", "us-west-2"]);
    command.envs(root);
    support::sandbox::Run::of(command.output().unwrap())
        .expect(14)
        .says("us-west-2")
        .says("= help:");
    let after = (
        everything(&sandbox, "eu-central-1"),
        everything(&sandbox, "us-west-2"),
    );
    assert_eq!(before, after);
}

/// Runs a command at a terminal of 33 lines and 99 columns, types the second argument line by line as the prompt comes, and prints what was seen.
const TERMINAL: &str = r#"
import fcntl, os, pty, struct, sys, termios
lines = sys.argv[1].split(';')
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 33, 99, 0, 0))
seen, told = b'', 0
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    seen += data
    if lines and b'# ' in seen[told:]:
        told = len(seen)
        os.write(terminal, lines.pop(0).encode() + b'\n')
sys.stderr.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

#[test]
fn where_a_step_fails_a_shell_opens_at_the_terminal() {
    let sandbox = sandbox();
    let root = sandbox.home().with_file_name("busybox");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "stty"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let root = root.display().to_string();
    sandbox.run(&["image", "import", &root, "base"]).expect(0);
    std::fs::write(
        sandbox.project().join("Dockerfile"),
        "FROM base\nENV WORD=known\nWORKDIR /srv\nRUN echo written > /file && exit 7\n",
    )
    .unwrap();
    for command in [
        &["build", "--engine", "embedded"][..],
        &["deploy", "--local"],
        &["push", "--local"],
    ] {
        let mut python = sandbox.program("python3".as_ref());
        python
            .args([
                "-c",
                TERMINAL,
                "cat /file && echo $WORD $PWD && stty size;exit",
            ])
            .arg(env!("CARGO_BIN_EXE_hoist"))
            .args(command)
            .arg("--debug-shell");
        let run = support::sandbox::Run::of(python.output().unwrap());
        run.expect(10)
            .says("a shell where the command failed")
            .says("\r\nwritten\r\nknown /srv\r\n33 99\r\n")
            .says("exit code 7")
            .never_says("\u{2801}");
    }
}
