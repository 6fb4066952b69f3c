//! Documents of the usual makers, and documents that mean harm.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::{Cursor, Write as _};
use std::time::Duration;

use sre_documents::{Document, DocumentError, Format, Limits, extract};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn read(bytes: &[u8], name: &str) -> Document {
    extract(bytes, name, "", &Limits::default()).unwrap()
}

const PDF: &[u8] = include_bytes!("fixtures/two-pages.pdf");
const DOCX: &[u8] = include_bytes!("fixtures/report.docx");
const XLSX: &[u8] = include_bytes!("fixtures/people.xlsx");

fn parts(document: &Document) -> Vec<String> {
    let characters: Vec<char> = document.text.chars().collect();
    let text = |part: &sre_documents::Part| characters[part.start..part.end].iter().collect::<String>();
    document
        .parts
        .iter()
        .map(|part| format!("{} {} {}", part.number, part.title, text(part).trim()))
        .collect()
}

#[test]
fn a_pdf_is_read_page_by_page() {
    let document = read(PDF, "x");
    assert_eq!(document.format, Format::Pdf);
    assert_eq!(
        parts(&document),
        ["1  The first page, with ümlauts.\nAnd a second line. To the right.", "2  The second page."]
    );
    assert!(document.parts.iter().all(|part| part.is_page));
    assert_eq!(
        (document.metadata["title"].as_str(), document.metadata["author"].as_str()),
        ("Two pages", "Ann Écrit")
    );
    assert_eq!(document.metadata["pages"], "2");
}

#[test]
fn a_pdf_with_a_password_is_refused() {
    let protected = include_bytes!("fixtures/protected.pdf");
    assert_eq!(extract(protected, "x", "", &Limits::default()), Err(DocumentError::Encrypted));
}

#[test]
fn a_docx_is_read_with_its_headings_lists_and_tables() {
    let document = read(DOCX, "x");
    assert_eq!(
        document.text,
        "# Overview\n\nPlain and bold <text> & more.\n\n- first\n- second\n\n## Numbers\n\nName\tAge\nAnn\t41\n\nThe end."
    );
    assert_eq!(
        document.parts.iter().map(|part| part.title.as_str()).collect::<Vec<_>>(),
        ["Overview", "Numbers"]
    );
    assert_eq!((document.metadata["title"].as_str(), document.metadata["author"].as_str()), ("A & B", "Ann"));
}

#[test]
fn an_xlsx_is_read_sheet_by_sheet_however_far_its_cells_are() {
    let document = read(XLSX, "x");
    assert_eq!(
        parts(&document),
        [
            "1 People # People\nName\tAge\tBorn\tMember\nAnn\t41\t1983-02-01\tTRUE\nBöb\t7.5\t\tFALSE"
                .to_owned(),
            format!("2 Far # Far\nhere\n{}there", "\t".repeat(100)),
        ]
    );
}

#[test]
fn texts_are_read_as_they_are() {
    assert_eq!(read("a\nb ✓".as_bytes(), "x.txt").text, "a\nb ✓");
    assert_eq!(read(b"{\"a\":1}", "x.json").text, "{\"a\":1}");
    assert_eq!(read(b"a,b\n1,2", "x.csv").text, "a\tb\n1\t2");
    assert_eq!(read(b"# A\nb", "x.md").parts.len(), 1);
}

#[test]
fn what_is_beyond_a_limit_is_left_out() {
    let limits = Limits { pages: 1, ..Limits::default() };
    let document = extract(PDF, "x", "", &limits).unwrap();
    assert!(document.truncated && document.parts.len() == 1 && !document.text.contains("second page"));
    let document = extract(XLSX, "x", "", &limits).unwrap();
    assert!(document.truncated && document.parts.len() == 1);
    for bytes in [PDF, DOCX, XLSX, b"a long text"] {
        let document = extract(bytes, "x", "", &Limits { characters: 5, ..Limits::default() }).unwrap();
        assert!(document.truncated && document.text.chars().count() == 5, "{:?}", document.text);
    }
    let error = extract(PDF, "x", "", &Limits { bytes: 10, ..Limits::default() }).unwrap_err();
    assert!(error.to_string().contains("at most 10 are read"));
}

#[test]
fn a_document_has_its_time() {
    for bytes in [PDF, DOCX, XLSX, b"<p>page</p>" as &[u8]] {
        let limits = Limits { time: Duration::ZERO, ..Limits::default() };
        assert!(matches!(extract(bytes, "x.html", "", &limits), Err(DocumentError::TooLong(_))));
    }
}

/// An archive with one large part beside what makes it a document.
fn archive(marker: &str, large: usize) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(marker, SimpleFileOptions::default()).unwrap();
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..large {
        zip.write_all(&zeros).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn decompression_bombs_are_refused() {
    for marker in ["word/document.xml", "xl/workbook.xml"] {
        let bomb = archive(marker, 300);
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        let error = extract(&bomb, "x", "", &Limits::default()).unwrap_err();
        assert!(matches!(error, DocumentError::Bomb(_)), "{marker}: {error}");
        // The same by size alone.
        let limits = Limits { ratio: 1_000_000, unpacked: 10 << 20, ..Limits::default() };
        assert!(matches!(extract(&bomb, "x", "", &limits), Err(DocumentError::Bomb(_))));
    }
}

#[test]
fn a_bomb_in_a_pdf_is_refused() {
    use lopdf::{Document as Pdf, Object, Stream, dictionary};
    let mut pdf = Pdf::with_version("1.5");
    let pages = pdf.new_object_id();
    let mut stream = Stream::new(dictionary! {}, vec![b' '; 80 << 20]);
    stream.compress().unwrap();
    let content = pdf.add_object(stream);
    let page = pdf.add_object(dictionary! { "Type" => "Page", "Parent" => pages, "Contents" => content });
    let tree = dictionary! { "Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1 };
    pdf.objects.insert(pages, Object::Dictionary(tree));
    let catalog = pdf.add_object(dictionary! { "Type" => "Catalog", "Pages" => pages });
    pdf.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    pdf.save_to(&mut bytes).unwrap();
    assert!(bytes.len() < 1 << 20);
    let error = extract(&bytes, "x", "", &Limits::default()).unwrap_err();
    assert!(matches!(error, DocumentError::Bomb(_)), "{error}");
}

#[test]
fn entities_are_not_expanded() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("word/document.xml", SimpleFileOptions::default()).unwrap();
    zip.write_all(
        br#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY f SYSTEM "file:///etc/passwd">]>
        <w:document xmlns:w="w"><w:body><w:p><w:r><w:t>x&a;&f;&amp;&#65;y</w:t></w:r></w:p></w:body></w:document>"#,
    )
    .unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    assert_eq!(read(&bytes, "x").text, "x&Ay");
}

/// Whatever is cut off or changed, there is an answer.
#[test]
fn damaged_documents_are_answered() {
    let mut state = 1_u64;
    let mut random = move |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most
    };
    let limits = Limits { time: Duration::from_secs(5), ..Limits::default() };
    for original in [PDF, DOCX, XLSX] {
        for _ in 0..60 {
            let mut bytes = original.to_vec();
            for _ in 0..1 + random(8) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            bytes.truncate(1 + random(bytes.len()));
            // A reader of others may panic; nothing may hang or end the process.
            let _ = std::panic::catch_unwind(|| extract(&bytes, "x", "", &limits).is_ok());
        }
    }
}
