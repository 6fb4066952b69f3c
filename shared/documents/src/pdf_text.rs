//! The text of a PDF's page, from the instructions that draw it. Where the pen moves to another line, a line ends;
//! where it moves along the line further than letters do, there is a blank.

use std::collections::BTreeMap;

use lopdf::content::{Content, Operation};
use lopdf::{Document, Encoding, Object, ObjectId};

use crate::limits::{Clock, DocumentError};
use crate::pdf::failed;
use crate::writer::Writer;

/// How many instructions are followed between two looks at the clock.
const STEPS: usize = 10_000;
/// A gap in a line, in thousandths of the letter size, that stands for a blank.
const BLANK: f32 = 180.0;
/// Another height by this part of the letter size is another line.
const LINE: f32 = 0.4;
/// Texts of so few letters may be parts of a word, each put in its place: there is a blank where the next one is
/// further away than so many letter sizes for each.
const FEW: usize = 2;
const WIDE: f32 = 0.95;
/// How often the page's place is kept.
const MAX_PAGES: usize = 64;

/// Writes the text of a page.
pub(crate) fn write(
    document: &Document,
    page: ObjectId,
    content: &[u8],
    most: usize,
    clock: &Clock,
    writer: &mut Writer,
) -> Result<(), DocumentError> {
    let fonts = document.get_page_fonts(page).map_err(failed)?;
    // A font that cannot be read leaves its text out, not the page's.
    let encodings: BTreeMap<Vec<u8>, Encoding<'_>> = fonts
        .into_iter()
        .filter_map(|(name, font)| Some((name, font.get_font_encoding_with_limit(document, most).ok()?)))
        .collect();
    let content = Content::decode(content).map_err(failed)?;
    let mut pen = Pen::new(&encodings, writer);
    for (count, operation) in content.operations.iter().enumerate() {
        if count % STEPS == 0 {
            clock.check()?;
        }
        if pen.writer.is_full() {
            break;
        }
        pen.follow(operation);
    }
    Ok(())
}

struct Pen<'a> {
    encodings: &'a BTreeMap<Vec<u8>, Encoding<'a>>,
    font: Option<&'a Encoding<'a>>,
    /// Letter size and the distance of lines, as they were set.
    size: f32,
    leading: f32,
    /// How the page lies, and how it lay before it was moved.
    page: Matrix,
    pages: Vec<Matrix>,
    /// Where the line begins.
    line: Matrix,
    /// Where the last text was shown, and how many letters it had.
    last: Option<(f32, f32, usize)>,
    /// The pen was moved since.
    moved: bool,
    writer: &'a mut Writer,
}

/// `a b c d e f` of PDF: a point (x, y) goes to (ax + cy + e, bx + dy + f).
#[derive(Clone, Copy)]
struct Matrix([f32; 6]);

impl Matrix {
    const SAME: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + c * y + e, b * x + d * y + f)
    }

    /// This one, and then another.
    fn then(&self, other: &Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let direction = |x: f32, y: f32| {
            let (to_x, to_y) = other.apply(x, y);
            (to_x - other.0[4], to_y - other.0[5])
        };
        let ((a, b), (c, d), (e, f)) = (direction(a, b), direction(c, d), other.apply(e, f));
        Self([a, b, c, d, e, f])
    }
}

impl<'a> Pen<'a> {
    fn new(encodings: &'a BTreeMap<Vec<u8>, Encoding<'a>>, writer: &'a mut Writer) -> Self {
        Self {
            encodings,
            font: None,
            size: 1.0,
            leading: 0.0,
            page: Matrix::SAME,
            pages: Vec::new(),
            line: Matrix::SAME,
            last: None,
            moved: false,
            writer,
        }
    }

    fn follow(&mut self, operation: &Operation) {
        let operands = operation.operands.as_slice();
        let number = |at: usize| operands.get(at).and_then(|operand| operand.as_float().ok()).unwrap_or(0.0);
        let matrix = || Matrix([0, 1, 2, 3, 4, 5].map(number));
        match operation.operator.as_str() {
            "q" if self.pages.len() < MAX_PAGES => self.pages.push(self.page),
            "Q" => self.page = self.pages.pop().unwrap_or(self.page),
            "cm" => self.page = matrix().then(&self.page),
            "BT" => self.place(Matrix::SAME),
            "Tm" => self.place(matrix()),
            "TL" => self.leading = number(0),
            "Td" => self.next(number(0), number(1)),
            "TD" => {
                self.leading = -number(1);
                self.next(number(0), number(1));
            }
            "T*" => self.next(0.0, -self.leading),
            "Tf" => {
                let name = operands.first().and_then(|operand| operand.as_name().ok());
                self.font = name.and_then(|name| self.encodings.get(name));
                self.size = number(1);
            }
            "Tj" => self.show(operands),
            "TJ" => {
                let pieces = operands.first().and_then(|operand| operand.as_array().ok());
                self.show(pieces.map_or(&[], Vec::as_slice));
            }
            "'" | "\"" => {
                self.next(0.0, -self.leading);
                self.show(operands.last().map_or(&[], std::slice::from_ref));
            }
            _ => {}
        }
    }

    fn place(&mut self, line: Matrix) {
        self.line = line;
        self.moved = true;
    }

    fn next(&mut self, x: f32, y: f32) {
        self.place(Matrix([1.0, 0.0, 0.0, 1.0, x, y]).then(&self.line));
    }

    /// A line break or a blank, by where the pen has gone since it last showed something.
    fn space(&mut self) {
        if !self.moved && self.last.is_some() {
            return;
        }
        let [.., x, y] = self.line.0;
        let (x, y) = self.page.apply(x, y);
        if let Some((last_x, last_y, letters)) = self.last {
            let size = (self.size * self.line.0[3] * self.page.0[3]).abs().max(1.0);
            if (y - last_y).abs() > size * LINE {
                self.writer.lines(1);
            } else if letters > FEW || x - last_x > letters as f32 * size * WIDE || x < last_x {
                self.writer.push_words(" ");
            }
        }
        self.moved = false;
        self.last = Some((x, y, 0));
    }

    fn show(&mut self, pieces: &[Object]) {
        self.space();
        for piece in pieces {
            match piece {
                Object::String(bytes, _) => {
                    if let Some(text) = self.font.and_then(|font| Document::decode_text(font, bytes).ok()) {
                        let text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
                        if let Some((.., letters)) = &mut self.last {
                            *letters += text.chars().count();
                        }
                        self.writer.push(&text);
                    }
                }
                // To the left is positive.
                gap => {
                    if gap.as_float().is_ok_and(|gap| -gap > BLANK) {
                        self.writer.push_words(" ");
                    }
                }
            }
        }
    }
}
