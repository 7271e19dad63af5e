//! Options of `hoist local`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Local {
    /// Start it; returns when it answers, also if it already runs
    Start(LocalStart),
    /// Stop it and its containers; its state stays
    Stop,
    /// Say whether it runs, and where
    Status,
    /// Print the lines that point a shell's AWS tools at it
    #[command(after_help = "Example:\n  eval \"$(hoist local env)\" && aws ecs list-clusters")]
    Env,
    /// Change its limits and faults while it runs, and for its next start; without options, say how they stand
    #[command(
        after_help = "Examples:\n  hoist local dials --limits aws\n  hoist local dials --faults throttling=10%,errors=5%,resets=2%,pulls=10%,seed=7\n  hoist local dials --faults errors=50%,services=ecs+registry\n  hoist local dials --faults none"
    )]
    Dials(LocalDials),
    /// Take the capacity of a FARGATE_SPOT task back, as AWS may at any time
    #[command(after_help = "Examples:\n  hoist local interrupt 0123456789abcdef0123456789abcdef")]
    Interrupt {
        /// The task's ARN or id
        task: String,
    },
    /// Put a CloudWatch alarm into ALARM, or back: deployments that watch it fail
    #[command(
        after_help = "Examples:\n  hoist local alarm too-many-errors\n  hoist local alarm too-many-errors --ok"
    )]
    Alarm {
        /// The alarm's name
        name: String,
        /// Out of ALARM again
        #[arg(long)]
        ok: bool,
        /// The region of the alarm
        #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
        region: String,
    },
    /// Stop it and forget everything it holds
    Reset,
    /// Run it in the foreground
    #[command(hide = true)]
    Serve(LocalStart),
}

#[derive(Args, Clone, Debug)]
pub struct LocalStart {
    /// Loopback port; else the one of the last start, else a free one
    #[arg(long)]
    pub port: Option<u16>,
    /// How long things take that nobody can set
    #[arg(long)]
    pub pace: Option<hoist_local::Pace>,
    /// How containers run
    #[arg(long, value_name = "native|docker|simulated")]
    pub runtime: Option<String>,
    /// How many calls are answered: as many as come, or by AWS's published rates
    #[arg(long, value_name = "none|aws")]
    pub limits: Option<hoist_local::Limiting>,
    /// Faults on purpose, such as throttling=10%,errors=5%,resets=2%,pulls=10%,seed=7; `none` ends them
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<hoist_local::FaultSpec>,
}

#[derive(Args, Clone, Debug)]
pub struct LocalDials {
    /// How many calls are answered: as many as come, or by AWS's published rates
    #[arg(long, value_name = "none|aws")]
    pub limits: Option<hoist_local::Limiting>,
    /// Faults on purpose: shares of throttling, errors (5xx), resets and pulls that fail, a seed, the services meant
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<hoist_local::FaultSpec>,
}
