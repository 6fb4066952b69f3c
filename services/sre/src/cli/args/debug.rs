//! `sre debug`.

use clap::Subcommand;

/// `sre debug`.
#[derive(Debug, Subcommand)]
pub enum Debug {
    /// Starts a session and runs the skill's endpoint; without a skill nothing is active yet.
    Start {
        /// The agent's id.
        agent: String,
        /// The skill.
        skill: Option<String>,
        /// Input of the skill: key=value; values that are JSON are taken as such.
        #[arg(value_name = "KEY=VALUE")]
        input: Vec<String>,
        /// The session's id [default: a new one].
        #[arg(long, default_value = "", hide_default_value = true)]
        id: String,
        /// A component before which `continue` stops; may be given several times.
        #[arg(long = "break", value_name = "COMPONENT")]
        breakpoints: Vec<String>,
        /// An output that stands for a component's executions; may be given several times.
        #[arg(long = "mock", value_name = "COMPONENT=JSON")]
        mocks: Vec<String>,
        /// The version to run [default: as for any run].
        #[arg(long, default_value = "", hide_default_value = true)]
        version: String,
    },
    /// Runs one cycle: every component that is ready runs once.
    Step {
        /// The session's name.
        session: String,
    },
    /// Runs until a component is about to run, a breakpoint is reached, or nothing is left to run.
    Continue {
        /// The session's name.
        session: String,
        /// Stop before this component.
        #[arg(long, value_name = "COMPONENT", default_value = "", hide_default_value = true)]
        until: String,
        /// At most so many cycles [default: 1000].
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        max_steps: i32,
    },
    /// Puts inputs or an output into a component, and runs it.
    Inject {
        /// The session's name.
        session: String,
        /// The component's id.
        component: String,
        /// Inputs, which replace what it holds: key=value; values that are JSON are taken as such.
        #[arg(value_name = "KEY=VALUE")]
        input: Vec<String>,
        /// An output, which stands for the execution.
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
        /// Put the values there, and do not make the component active.
        #[arg(long)]
        inactive: bool,
    },
    /// Shows a session: components, what they hold, what they gave.
    State {
        /// The session's name.
        session: String,
    },
    /// Replaces the breakpoints; none removes them all.
    Breakpoints {
        /// The session's name.
        session: String,
        /// Components before which `continue` stops.
        #[arg(value_name = "COMPONENT")]
        components: Vec<String>,
    },
    /// Replaces the mocked outputs; none removes them all.
    Mock {
        /// The session's name.
        session: String,
        /// Outputs that stand for executions.
        #[arg(value_name = "COMPONENT=JSON")]
        mocks: Vec<String>,
    },
    /// Lists the open sessions of an agent.
    List {
        /// The agent's id.
        agent: String,
    },
    /// Ends a session.
    Stop {
        /// The session's name.
        session: String,
    },
}
