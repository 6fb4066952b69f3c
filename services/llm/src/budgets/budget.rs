//! What a budget says, and when its windows begin and end.

use serde::{Deserialize, Serialize};
use sre_proto::error::invalid_argument;
use sre_proto::llm::v1 as pb;
use tonic::Status;

use super::meters::Millis;
use crate::models::civil;

const MINUTE_MS: Millis = 60_000;
const HOUR_MS: Millis = 60 * MINUTE_MS;
const DAY_MS: Millis = 24 * HOUR_MS;
/// What a run used is counted here for so long after its last call, and then begun again with what the ledger has of
/// it: runs are many.
const RUN_MS: Millis = 2 * HOUR_MS;
/// Ids and models are no longer.
const MOST_BYTES: usize = 200;

/// Whose calls are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All teams of the organisation.
    Organization,
    /// The team.
    Team,
    /// A user.
    User,
    /// An agent.
    Agent,
    /// A run.
    Run,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Calls.
    Requests,
    /// Tokens.
    Tokens,
    /// Money.
    Micros,
    /// Calls at once.
    Concurrent,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Calls at once have none.
    None,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month.
    Month,
    /// A run.
    Run,
}

/// What some calls may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose calls.
    pub subject: Subject,
    /// Only this one; each by itself where empty.
    pub subject_id: String,
    /// Only this entry; all where empty.
    pub model: String,
    /// What is counted.
    pub unit: Unit,
    /// For how long.
    pub window: Window,
    /// How much.
    pub limit: i64,
    /// Calls go on beyond it.
    pub soft: bool,
}

impl Unit {
    /// Its word in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requests => "calls",
            Self::Tokens => "tokens",
            Self::Micros => "millionths of a US dollar",
            Self::Concurrent => "calls at once",
        }
    }
}

impl Window {
    /// When the window around a moment began and ends.
    pub fn around(self, now: Millis) -> (Millis, Millis) {
        let of = |length: Millis| {
            let began = now.div_euclid(length) * length;
            (began, began + length)
        };
        match self {
            Self::Minute => of(MINUTE_MS),
            Self::Hour => of(HOUR_MS),
            Self::Day => of(DAY_MS),
            Self::Month => {
                let (year, month, _) = civil(now.div_euclid(DAY_MS));
                let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                (days_of(year, month) * DAY_MS, days_of(next_year, next) * DAY_MS)
            }
            Self::Run | Self::None => (0, now + RUN_MS),
        }
    }

    /// Whether the ledger says what was used in it: it knows hours and runs.
    pub fn is_seeded(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Month | Self::Run)
    }

    /// A letter for the keys of meters.
    pub fn letter(self) -> char {
        match self {
            Self::None => 'c',
            Self::Minute => 'm',
            Self::Hour => 'h',
            Self::Day => 'd',
            Self::Month => 'M',
            Self::Run => 'r',
        }
    }
}

/// Days since 1970 of the first day of a month.
fn days_of(year: i64, month: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let march = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let of_year = (153 * march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Budget {
    /// From a request, if it makes sense. `of_organization` says whose it is to be.
    pub fn of(message: &pb::Budget, of_organization: bool) -> Result<Self, Status> {
        let wrong = |field: &str, words: &str| Err(invalid_argument(&format!("budget.{field}"), words));
        let subject = match message.subject() {
            pb::BudgetSubject::Unspecified if of_organization => Subject::Organization,
            pb::BudgetSubject::Unspecified => Subject::Team,
            pb::BudgetSubject::Organization => Subject::Organization,
            pb::BudgetSubject::Team => Subject::Team,
            pb::BudgetSubject::User => Subject::User,
            pb::BudgetSubject::Agent => Subject::Agent,
            pb::BudgetSubject::Run => Subject::Run,
        };
        let unit = match message.unit() {
            pb::BudgetUnit::Unspecified => return wrong("unit", "is not set: say what is counted"),
            pb::BudgetUnit::Requests => Unit::Requests,
            pb::BudgetUnit::Tokens => Unit::Tokens,
            pb::BudgetUnit::Micros => Unit::Micros,
            pb::BudgetUnit::Concurrent => Unit::Concurrent,
        };
        let window = match message.window() {
            pb::BudgetWindow::Unspecified => Window::None,
            pb::BudgetWindow::Minute => Window::Minute,
            pb::BudgetWindow::Hour => Window::Hour,
            pb::BudgetWindow::Day => Window::Day,
            pb::BudgetWindow::Month => Window::Month,
            pb::BudgetWindow::Run => Window::Run,
        };
        if (unit == Unit::Concurrent) != (window == Window::None) {
            return wrong(
                "window",
                "belongs to everything but BUDGET_UNIT_CONCURRENT: set it, or leave it out there",
            );
        }
        if (subject == Subject::Run) != (window == Window::Run) && unit != Unit::Concurrent {
            return wrong("window", "of a run is BUDGET_WINDOW_RUN, and of nothing else");
        }
        if (subject == Subject::Organization) != of_organization {
            let words = "is BUDGET_SUBJECT_ORGANIZATION in organisations, and one of the others in teams";
            return wrong("subject", words);
        }
        if message.limit < 0 {
            return wrong("limit", "must not be negative: 0 lets nothing through");
        }
        if message.subject_id.len() > MOST_BYTES || message.model.len() > MOST_BYTES {
            return wrong("subject_id", "and the model are longer than 200 bytes");
        }
        if matches!(subject, Subject::Team | Subject::Organization) && !message.subject_id.is_empty() {
            return wrong("subject_id", "is for users, agents and runs: leave it out");
        }
        if subject == Subject::Run && !message.model.is_empty() {
            return wrong("model", "cannot be told apart within a run: leave it out");
        }
        Ok(Self {
            subject,
            subject_id: message.subject_id.clone(),
            model: message.model.clone(),
            unit,
            window,
            limit: message.limit,
            soft: message.soft,
        })
    }

    /// As an answer has it.
    pub fn message(&self, name: String) -> pb::Budget {
        pb::Budget {
            name,
            subject: match self.subject {
                Subject::Organization => pb::BudgetSubject::Organization,
                Subject::Team => pb::BudgetSubject::Team,
                Subject::User => pb::BudgetSubject::User,
                Subject::Agent => pb::BudgetSubject::Agent,
                Subject::Run => pb::BudgetSubject::Run,
            } as i32,
            subject_id: self.subject_id.clone(),
            model: self.model.clone(),
            unit: match self.unit {
                Unit::Requests => pb::BudgetUnit::Requests,
                Unit::Tokens => pb::BudgetUnit::Tokens,
                Unit::Micros => pb::BudgetUnit::Micros,
                Unit::Concurrent => pb::BudgetUnit::Concurrent,
            } as i32,
            window: match self.window {
                Window::None => pb::BudgetWindow::Unspecified,
                Window::Minute => pb::BudgetWindow::Minute,
                Window::Hour => pb::BudgetWindow::Hour,
                Window::Day => pb::BudgetWindow::Day,
                Window::Month => pb::BudgetWindow::Month,
                Window::Run => pb::BudgetWindow::Run,
            } as i32,
            limit: self.limit,
            soft: self.soft,
            ..pb::Budget::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: i64) -> Millis {
        days * DAY_MS + 5
    }

    #[test]
    fn windows_are_those_of_the_calendar() {
        assert_eq!(Window::Minute.around(61_001), (60_000, 120_000));
        assert_eq!(Window::Day.around(at(3)), (3 * DAY_MS, 4 * DAY_MS));
        // 2026-02-28 and 2024-02-29; 2026-12-31.
        assert_eq!(Window::Month.around(at(20_512)), (20_485 * DAY_MS, 20_513 * DAY_MS));
        assert_eq!(Window::Month.around(at(19_782)), (19_754 * DAY_MS, 19_783 * DAY_MS));
        assert_eq!(Window::Month.around(at(20_818)), (20_788 * DAY_MS, 20_819 * DAY_MS));
        let mut now = 0;
        for _ in 0..2_400 {
            let (began, ends) = Window::Month.around(now);
            assert!(began <= now && now < ends, "{now}");
            now = ends;
        }
        assert_eq!(civil(now / DAY_MS), (2170, 1, 1));
    }

    #[test]
    fn budgets_that_make_no_sense_are_refused() {
        let plain = pb::Budget {
            unit: pb::BudgetUnit::Tokens as i32,
            window: pb::BudgetWindow::Day as i32,
            limit: 5,
            ..pb::Budget::default()
        };
        let budget = Budget::of(&plain, false).unwrap();
        assert_eq!(budget.subject, Subject::Team);
        let told = budget.message("teams/red/budgets/b".into());
        assert_eq!(Budget::of(&told, false).unwrap(), budget);
        let run = pb::BudgetSubject::Run as i32;
        for wrong in [
            pb::Budget { unit: 0, ..plain.clone() },
            pb::Budget { window: 0, ..plain.clone() },
            pb::Budget { unit: pb::BudgetUnit::Concurrent as i32, ..plain.clone() },
            pb::Budget { limit: -1, ..plain.clone() },
            pb::Budget { subject: run, ..plain.clone() },
            pb::Budget { subject_id: "x".into(), ..plain.clone() },
            pb::Budget { subject: pb::BudgetSubject::Organization as i32, ..plain.clone() },
        ] {
            assert!(Budget::of(&wrong, false).is_err(), "{wrong:?}");
        }
        assert!(Budget::of(&told, true).is_err());
    }
}
