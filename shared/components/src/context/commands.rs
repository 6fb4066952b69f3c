//! Programs that components may start: those that the operator listed, under the operator's name for them.

/// A program that was listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedCommand {
    /// The program.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside what every program gets: a path to programs and a home.
    pub environment: Vec<(String, String)>,
}
