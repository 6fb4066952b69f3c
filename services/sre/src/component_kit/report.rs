//! What was found: one line for each check.

use std::future::Future;
use std::time::{Duration, Instant};

use sre_proto::component::v1::Description;

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not; the text says what was seen and what is expected.
    Failed(String),
    /// It is not for this component; the text says why.
    Skipped(String),
}

/// A check and what came of it.
#[derive(Debug)]
pub struct Line {
    /// Its short name.
    pub check: &'static str,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// All checks.
#[derive(Debug, Default)]
pub struct Report {
    /// What was tested.
    pub subject: String,
    /// One line for each check.
    pub lines: Vec<Line>,
}

/// The error of a check is what was seen and what is expected.
pub type Checked = Result<(), String>;

impl Report {
    /// What is tested.
    pub fn name(&mut self, description: &Description) {
        self.subject = format!("{} {}", description.r#type, description.version);
    }

    /// Makes a check.
    pub async fn check(&mut self, check: &'static str, work: impl Future<Output = Checked>) -> bool {
        let began = Instant::now();
        let done = work.await;
        let passed = done.is_ok();
        let verdict = done.map_or_else(Verdict::Failed, |()| Verdict::Passed);
        self.lines.push(Line { check, verdict, took: began.elapsed() });
        passed
    }

    /// Leaves a check out.
    pub fn skip(&mut self, check: &'static str, why: impl Into<String>) {
        self.lines.push(Line { check, verdict: Verdict::Skipped(why.into()), took: Duration::ZERO });
    }

    /// Leaves all others out.
    pub fn skip_rest(&mut self, why: &str) {
        self.skip("everything else", why);
    }

    /// Those that failed.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.lines.iter().filter_map(|line| match &line.verdict {
            Verdict::Failed(why) => Some((line.check, why.as_str())),
            Verdict::Passed | Verdict::Skipped(_) => None,
        })
    }

    /// Whether everything that was checked holds.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }
}
