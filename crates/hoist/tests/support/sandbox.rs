//! A home of its own, whose daemon ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// One user's world: `$HOIST_HOME` and the folder of a project.
pub struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        let folder = tempfile::Builder::new()
            .prefix("hoist-test-")
            .tempdir()
            .unwrap();
        std::fs::create_dir_all(folder.path().join("project")).unwrap();
        let sandbox = Sandbox { folder };
        // How tasks run, where it is not as they run by themselves. An engine has room for one home: one test at a time.
        if let Ok(runtime) = std::env::var("HOIST_TEST_RUNTIME") {
            let started = sandbox.run(&["local", "start", "--runtime", &runtime]);
            started.expect(0);
        }
        sandbox
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The binary, in the project's folder, with an environment that knows no AWS and no CI.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(Path::new(env!("CARGO_BIN_EXE_hoist")));
        command.args(arguments);
        command
    }

    /// Another program in the same world.
    pub fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.project()).stdin(Stdio::null());
        for (name, _) in std::env::vars() {
            if ["AWS_", "GITHUB_", "ACTIONS_", "HOIST_"]
                .iter()
                .any(|start| name.starts_with(start))
            {
                command.env_remove(name);
            }
        }
        command
            .env("HOIST_HOME", self.home())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// Deploys to the embedded AWS.
    pub fn deploy(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["deploy", "--local"];
        all.extend(arguments);
        self.run(&all)
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The variables that `hoist local env` prints.
    pub fn aws_env(&self) -> Vec<(String, String)> {
        let run = self.run(&["local", "env"]);
        run.expect(0);
        run.stdout
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Where the embedded AWS answers.
    pub fn endpoint(&self) -> String {
        let all = self.aws_env();
        let found = all.into_iter().find(|(name, _)| name == "AWS_ENDPOINT_URL");
        found.unwrap().1.trim_matches('\'').to_owned()
    }

    /// A real client: a program of the tests' tools, pointed at the embedded AWS.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Run {
        let mut command = Command::new(tool(program));
        command
            .args(arguments)
            .envs(self.aws_env())
            .stdin(Stdio::null())
            .env("AWS_PAGER", "");
        Run::of(command.output().unwrap_or_else(|error| {
            panic!("failed to run {program}: {error}; run scripts/test.sh")
        }))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let stopped = self.run(&["local", "stop"]);
        if std::thread::panicking() {
            let log =
                std::fs::read_to_string(self.home().join("local/daemon.log")).unwrap_or_default();
            let start = log.len().saturating_sub(6_000);
            eprintln!(
                "--- the daemon's log\n{}\n--- stop: {}",
                log.get(start..).unwrap_or(&log),
                stopped.stderr
            );
        }
    }
}

/// Where `scripts/install-test-tools.sh` put a program, else its name for the search path.
pub fn tool(program: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = std::env::var_os("HOIST_TEST_TOOLS")
        .map_or_else(|| root.join("target/tools"), PathBuf::from);
    let path = tools.join("bin").join(program);
    if path.exists() {
        path
    } else {
        PathBuf::from(program)
    }
}

/// A finished program.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Run {
        use std::os::unix::process::ExitStatusExt;
        Run {
            code: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn expect(&self, code: i32) -> &Run {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Run {
        assert!(
            self.stderr.contains(text),
            "`{text}` is not in\n{}",
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Run {
        assert!(
            !self.stderr.contains(text),
            "`{text}` is in\n{}",
            self.stderr
        );
        self
    }

    /// The last line of standard output.
    #[track_caller]
    pub fn url(&self) -> String {
        let url = self.stdout.lines().last().unwrap_or_default().to_owned();
        assert!(
            url.starts_with("http://"),
            "no URL in\n{}\n{}",
            self.stdout,
            self.stderr
        );
        url
    }
}
