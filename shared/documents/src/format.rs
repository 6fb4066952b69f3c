//! What a document is.

use crate::DocumentError;

/// A format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Portable Document Format.
    Pdf,
    /// A text of Word and others.
    Docx,
    /// A workbook of Excel and others.
    Xlsx,
    /// A page.
    Html,
    /// A table between commas, semicolons or tabs.
    Csv,
    /// Text with headings.
    Markdown,
    /// Any other text.
    Text,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Docx => "docx",
            Self::Xlsx => "xlsx",
            Self::Html => "html",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Text => "text",
        }
    }
}

/// Text of these types is text; what else is not known is not.
const TEXT_TYPES: [&str; 8] = [
    "application/json",
    "application/xml",
    "application/yaml",
    "application/x-yaml",
    "application/javascript",
    "application/sql",
    "application/toml",
    "application/octet-stream",
];

/// The format of a document.
pub(crate) fn of(bytes: &[u8], name: &str, mimetype: &str) -> Result<Format, DocumentError> {
    let head = &bytes[..bytes.len().min(1024)];
    if contains(head, b"%PDF-") {
        return Ok(Format::Pdf);
    }
    if head.starts_with(b"\xD0\xCF\x11\xE0") {
        let words = "an old or protected Office file: save it as .docx or .xlsx, without a password";
        return Err(DocumentError::Unsupported(words.to_owned()));
    }
    if head.starts_with(b"PK\x03\x04") {
        if contains(bytes, b"word/document") {
            return Ok(Format::Docx);
        }
        if contains(bytes, b"xl/workbook") {
            return Ok(Format::Xlsx);
        }
        return Err(DocumentError::Unsupported("a ZIP archive that is neither DOCX nor XLSX".to_owned()));
    }
    let is_utf16 = head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF");
    if head.contains(&0) && !is_utf16 {
        return Err(DocumentError::Unsupported(essence(mimetype).to_owned()));
    }
    let essence = essence(mimetype);
    match of_type(essence).or_else(|| of_name(name)).or_else(|| looks_like(head)) {
        Some(format) => Ok(format),
        None if is_text(essence) => Ok(Format::Text),
        None => Err(DocumentError::Unsupported(essence.to_owned())),
    }
}

/// A media type without its parameters.
pub(crate) fn essence(mimetype: &str) -> &str {
    mimetype.split(';').next().unwrap_or_default().trim()
}

fn of_type(essence: &str) -> Option<Format> {
    match essence {
        "text/html" | "application/xhtml+xml" => Some(Format::Html),
        "text/csv" | "text/tab-separated-values" | "application/csv" => Some(Format::Csv),
        "text/markdown" | "text/x-markdown" => Some(Format::Markdown),
        _ => None,
    }
}

fn of_name(name: &str) -> Option<Format> {
    let (_, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "html" | "htm" | "xhtml" => Some(Format::Html),
        "csv" | "tsv" => Some(Format::Csv),
        "md" | "markdown" => Some(Format::Markdown),
        _ => None,
    }
}

fn looks_like(head: &[u8]) -> Option<Format> {
    let start: String = String::from_utf8_lossy(head).trim_start().chars().take(15).collect();
    let start = start.to_ascii_lowercase();
    (start.starts_with("<!doctype html") || start.starts_with("<html")).then_some(Format::Html)
}

fn is_text(essence: &str) -> bool {
    essence.is_empty()
        || essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || TEXT_TYPES.contains(&essence)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_bytes_type_and_name() {
        for (bytes, name, mimetype, format) in [
            (&b"%PDF-1.7"[..], "x.txt", "text/plain", Format::Pdf),
            (b"PK\x03\x04 word/document.xml", "x", "application/zip", Format::Docx),
            (b"PK\x03\x04 xl/workbook.xml", "x", "", Format::Xlsx),
            (b"<b>", "x", "text/html; charset=utf-8", Format::Html),
            (b" <!DOCTYPE html>", "x", "text/plain", Format::Html),
            (b"a;b", "x.csv", "text/plain", Format::Csv),
            (b"# a", "x.md", "", Format::Markdown),
            (b"# a", "x", "application/octet-stream", Format::Text),
            (b"\xFF\xFEa\0", "x", "text/plain", Format::Text),
            (b"{}", "x", "application/problem+json", Format::Text),
        ] {
            assert_eq!(of(bytes, name, mimetype), Ok(format), "{name} {mimetype}");
        }
        for (bytes, mimetype, words) in [
            (&b"\x89PNG\0\0"[..], "image/png", "image/png"),
            (b"\xD0\xCF\x11\xE0", "application/msword", "save it as .docx"),
            (b"PK\x03\x04", "application/zip", "neither DOCX nor XLSX"),
            (b"GIF89a", "image/gif", "image/gif"),
        ] {
            assert!(of(bytes, "x", mimetype).unwrap_err().to_string().contains(words), "{mimetype}");
        }
    }
}
