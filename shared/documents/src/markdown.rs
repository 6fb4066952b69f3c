//! Markdown: the text as it is, with a section for each heading.

use crate::writer::Writer;

/// The most sections that are told apart.
const MAX_SECTIONS: u32 = 5_000;

pub(crate) fn read(text: &str, writer: &mut Writer) {
    let (mut number, mut fenced) = (0, false);
    for line in text.split_inclusive('\n') {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            fenced = !fenced;
        }
        if let Some(title) = heading(line).filter(|_| !fenced && number < MAX_SECTIONS) {
            number += 1;
            writer.begin(number, title, false);
        }
        writer.push(line);
    }
}

/// The title of a line `# title`.
fn heading(line: &str) -> Option<&str> {
    let level = line.bytes().take_while(|b| *b == b'#').count();
    let title = line.get(level..)?.strip_prefix([' ', '\t'])?;
    (1..=6).contains(&level).then(|| title.trim().trim_end_matches('#').trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_begin_sections_and_code_does_not() {
        let text = "intro\n# One #\na\n```\n# no\n```\n## Two\nb";
        let mut writer = Writer::new(1_000);
        read(text, &mut writer);
        let (written, parts, _) = writer.finish();
        assert_eq!(written, text);
        let found: Vec<_> =
            parts.iter().map(|part| (part.title.as_str(), &text[part.start..part.end])).collect();
        assert_eq!(found, [("One", "# One #\na\n```\n# no\n```\n"), ("Two", "## Two\nb")]);
    }
}
