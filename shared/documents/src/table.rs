//! CSV: a row a line, cells between tabs.

use csv::ReaderBuilder;

use crate::limits::{Clock, DocumentError};
use crate::writer::Writer;

/// How many rows are read between two looks at the clock.
const ROWS: usize = 1_000;

pub(crate) fn read(text: &str, clock: &Clock, writer: &mut Writer) -> Result<(), DocumentError> {
    let mut rows = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    for (at, row) in rows.records().enumerate() {
        if at % ROWS == 0 {
            clock.check()?;
        }
        if writer.is_full() {
            break;
        }
        let row = row.map_err(|error| DocumentError::damaged("CSV", error))?;
        row_of(row.iter(), writer);
    }
    Ok(())
}

/// Writes a row; breaks within a cell are blanks, so that a row stays a line.
pub(crate) fn row_of<'a>(cells: impl Iterator<Item = &'a str>, writer: &mut Writer) {
    writer.lines(1);
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            writer.push("\t");
        }
        writer.push(&cell.trim().replace(['\n', '\r', '\t'], " "));
    }
}

/// What stands most often in the first line.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let count = |c: u8| first.bytes().filter(|b| *b == c).count();
    [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|c| count(*c)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(text: &str) -> String {
        let mut writer = Writer::new(1_000);
        read(text, &Clock::start(Duration::from_secs(5)), &mut writer).unwrap();
        writer.finish().0
    }

    #[test]
    fn rows_are_lines_whatever_parts_cells() {
        assert_eq!(of("a,b\n1,\"x, \"\"y\"\"\nz\"\n2"), "a\tb\n1\tx, \"y\" z\n2");
        assert_eq!(of("a;b\n1,5;2"), "a\tb\n1,5\t2");
        assert_eq!(of("a\tb\r\n1\t2\r\n"), "a\tb\n1\t2");
        assert_eq!(of(""), "");
    }
}
