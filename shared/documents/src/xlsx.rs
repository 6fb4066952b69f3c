//! XLSX: a sheet a page, a row a line, cells between tabs. Cells are read as they come, so that one far away costs
//! nothing.

use std::io::Cursor;

use calamine::{DataRef, Reader as _, Xlsx, XlsxError};

use crate::archive::Archive;
use crate::limits::{Clock, DocumentError, Limits};
use crate::writer::Writer;

const NAME: &str = "XLSX";
/// How many cells are read between two looks at the clock.
const CELLS: usize = 10_000;
/// More empty cells between two of a row are not written.
const MAX_GAP: u32 = 100;

pub(crate) fn read(
    bytes: &[u8],
    limits: &Limits,
    clock: &Clock,
    writer: &mut Writer,
) -> Result<(), DocumentError> {
    // The library unpacks what it reads without asking: it gets only what has been weighed.
    drop(Archive::open(bytes, NAME, limits, clock)?);
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(damaged)?;
    let names = book.sheet_names();
    for (number, name) in (1..).zip(&names) {
        if writer.is_full() {
            break;
        }
        if number as usize > limits.pages {
            writer.cut();
            break;
        }
        writer.lines(2);
        writer.begin(number, name, true);
        writer.push(&format!("# {name}"));
        sheet(&mut book, name, clock, writer)?;
    }
    Ok(())
}

fn sheet(
    book: &mut Xlsx<Cursor<&[u8]>>,
    name: &str,
    clock: &Clock,
    writer: &mut Writer,
) -> Result<(), DocumentError> {
    let mut cells = match book.worksheet_cells_reader(name) {
        Ok(cells) => cells,
        // A chart has no cells.
        Err(XlsxError::NotAWorksheet(_)) => return Ok(()),
        Err(error) => return Err(damaged(error)),
    };
    let mut last: Option<(u32, u32)> = None;
    for count in 0_usize.. {
        if count % CELLS == 0 {
            clock.check()?;
        }
        let Some(cell) = cells.next_cell().map_err(damaged)? else { break };
        if writer.is_full() {
            break;
        }
        let text = text(cell.get_value());
        if text.is_empty() {
            continue;
        }
        let (row, column) = cell.get_position();
        let before = match last {
            Some((last_row, last_column)) if last_row == row => last_column,
            _ => {
                writer.lines(1);
                0
            }
        };
        let gap = column.saturating_sub(before).min(MAX_GAP);
        writer.push(&"\t".repeat(gap as usize));
        writer.push(&text.trim().replace(['\n', '\r', '\t'], " "));
        last = Some((row, column));
    }
    Ok(())
}

fn text(value: &DataRef<'_>) -> String {
    match value {
        DataRef::Empty => String::new(),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number.to_string(),
        DataRef::Bool(flag) => if *flag { "TRUE" } else { "FALSE" }.to_owned(),
        DataRef::Error(error) => error.to_string(),
        DataRef::DateTime(time) if time.is_duration() => time.as_f64().to_string(),
        DataRef::DateTime(time) => {
            let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
            let date = format!("{year:04}-{month:02}-{day:02}");
            match (hour, minute, second) {
                (0, 0, 0) => date,
                _ => format!("{date} {hour:02}:{minute:02}:{second:02}"),
            }
        }
    }
}

fn damaged(error: XlsxError) -> DocumentError {
    match error {
        XlsxError::Password => DocumentError::Encrypted,
        other => DocumentError::damaged(NAME, other),
    }
}
