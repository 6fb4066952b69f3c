//! What was checked, and what came of it.

/// One line of the table.
struct Row {
    part: String,
    what: String,
    figure: String,
    fine: bool,
}

/// The table, and what is wrong.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    wrong: Vec<String>,
    interrupted: bool,
}

/// Mistakes that are shown of one check.
const SHOWN: usize = 5;
/// Characters of one mistake that are shown.
const LENGTH: usize = 600;

impl Report {
    /// A report that says nothing.
    pub fn interrupted() -> Self {
        Self { interrupted: true, ..Self::default() }
    }

    /// A figure that nothing is promised about.
    pub fn figure(&mut self, part: &str, what: &str, figure: impl std::fmt::Display) {
        self.row(part, what, figure.to_string(), true);
    }

    /// A promise, with the mistakes that were found.
    pub fn check(&mut self, part: &str, what: &str, figure: impl std::fmt::Display, mistakes: &[String]) {
        self.row(part, what, figure.to_string(), mistakes.is_empty());
        let shown = mistakes.iter().take(SHOWN).map(|mistake| {
            let start: String = mistake.chars().take(LENGTH).collect();
            format!("{part}: {what}: {start}")
        });
        self.wrong.extend(shown);
        if mistakes.len() > SHOWN {
            self.wrong.push(format!("{part}: {what}: and {} more", mistakes.len() - SHOWN));
        }
    }

    fn row(&mut self, part: &str, what: &str, figure: String, fine: bool) {
        println!("{} {part}: {what}: {figure}", if fine { "  " } else { "!!" });
        self.rows.push(Row { part: part.to_owned(), what: what.to_owned(), figure, fine });
    }

    /// Whether every promise was kept.
    pub fn is_fine(&self) -> bool {
        !self.interrupted && !self.rows.is_empty() && self.rows.iter().all(|row| row.fine)
    }

    /// Prints the table, then the mistakes.
    pub fn print(&self) {
        println!("\n| part | checked | figure | |\n|---|---|---|---|");
        for Row { part, what, figure, fine } in &self.rows {
            println!("| {part} | {what} | {figure} | {} |", if *fine { "ok" } else { "VIOLATED" });
        }
        for wrong in &self.wrong {
            println!("\n{wrong}");
        }
        println!("\n{}", if self.is_fine() { "every promise was kept" } else { "promises were broken" });
    }
}
