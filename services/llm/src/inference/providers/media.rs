//! Images, documents, sound and film of a request, as adapters need them: what type they are, and whether a provider
//! takes that type at that size.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sre_proto::llm::v1 as pb;

use crate::inference::error::InferenceError;

/// A kind of media that a provider takes.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its types; one that ends with `/*` stands for all of a family.
    pub types: &'static [&'static str],
    /// The largest, in bytes.
    pub max_bytes: usize,
}

/// The type in its registered spelling; told from the content where nobody says.
pub fn mimetype(media: &pb::Media) -> String {
    let given = media.mimetype.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match given.as_str() {
        "" => sniffed(media).to_owned(),
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        "application/x-pdf" => "application/pdf".to_owned(),
        "audio/mp3" => "audio/mpeg".to_owned(),
        "audio/x-wav" | "audio/wave" => "audio/wav".to_owned(),
        _ => given,
    }
}

fn sniffed(media: &pb::Media) -> &'static str {
    let Some(pb::media::Source::Data(data)) = &media.source else { return of_a_name(media) };
    let at = |place: usize, mark: &[u8]| data.get(place..).is_some_and(|rest| rest.starts_with(mark));
    let marks: [(&[u8], &str); 6] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF8", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"OggS", "audio/ogg"),
        (b"ID3", "audio/mpeg"),
    ];
    if let Some((_, mimetype)) = marks.iter().find(|(mark, _)| at(0, mark)) {
        return mimetype;
    }
    match () {
        () if at(0, b"RIFF") && at(8, b"WEBP") => "image/webp",
        () if at(0, b"RIFF") && at(8, b"WAVE") => "audio/wav",
        () if at(4, b"ftyphei") || at(4, b"ftypmif1") => "image/heic",
        () if at(4, b"ftyp") => "video/mp4",
        () if std::str::from_utf8(data).is_ok() => "text/plain",
        () => "application/octet-stream",
    }
}

/// What the end of a name or an address says.
fn of_a_name(media: &pb::Media) -> &'static str {
    let name = match &media.source {
        Some(pb::media::Source::Url(name) | pb::media::Source::File(name)) => name,
        _ => &media.file_name,
    };
    let path = name.split(['?', '#']).next().unwrap_or_default();
    match path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "mp4" => "video/mp4",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        _ => "application/octet-stream",
    }
}

/// Checks type and size against what a provider takes; gives the place of the kind.
pub fn kind_of(
    media: &pb::Media,
    mimetype: &str,
    provider: &str,
    kinds: &[Kind],
) -> Result<usize, InferenceError> {
    let fits = |known: &str| match known.strip_suffix('*') {
        Some(family) => mimetype.starts_with(family),
        None => known == mimetype,
    };
    let found = kinds.iter().position(|kind| kind.types.iter().any(|known| fits(known)));
    let Some(found) = found else {
        let accepted: Vec<_> = kinds.iter().flat_map(|kind| kind.types).copied().collect();
        let words = format!("{provider} takes no {mimetype}: send one of {}", accepted.join(", "));
        return Err(InferenceError::invalid("messages.parts.media", words));
    };
    let size = match &media.source {
        Some(pb::media::Source::Data(data)) => data.len(),
        _ => 0,
    };
    let limit = kinds.get(found).map_or(usize::MAX, |kind| kind.max_bytes);
    if size > limit {
        let words =
            format!("a {mimetype} of {size} bytes is more than the {limit} that {provider} takes: send less");
        return Err(InferenceError::invalid("messages.parts.media", words));
    }
    Ok(found)
}

/// The bytes as JSON carries them.
pub fn base64(data: &[u8]) -> String {
    STANDARD.encode(data)
}

/// Media without a source, or one that should have been read before.
pub fn nowhere() -> InferenceError {
    InferenceError::invalid("messages.parts.media", "has no content: set data, file or url")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::llm::v1::media::Source;

    fn of(mimetype: &str, source: Source) -> pb::Media {
        pb::Media { mimetype: mimetype.to_owned(), source: Some(source), ..Default::default() }
    }

    #[test]
    fn types_are_spelt_as_registered_and_told_from_content() {
        let data = |bytes: &'static [u8]| Source::Data(bytes.into());
        for (media, expected) in [
            (of("image/jpg", data(b"")), "image/jpeg"),
            (of("IMAGE/PNG; x=1", data(b"")), "image/png"),
            (of("", data(b"\x89PNG\r\n\x1a\n...")), "image/png"),
            (of("", data(b"RIFF....WEBPVP8 ")), "image/webp"),
            (of("", data(b"....ftypheic")), "image/heic"),
            (of("", data(b"%PDF-1.7")), "application/pdf"),
            (of("", data("Grüße".as_bytes())), "text/plain"),
            (of("", data(b"\xff\x00")), "application/octet-stream"),
            (of("", Source::Url("https://x.test/a.JPEG?b=c.pdf".into())), "image/jpeg"),
        ] {
            assert_eq!(mimetype(&media), expected);
        }
    }

    #[test]
    fn what_a_provider_does_not_take_is_refused_with_what_it_takes() {
        let kinds = [Kind { types: &["image/png", "video/*"], max_bytes: 2 }];
        let media = of("image/png", Source::Data(b"abc".as_slice().into()));
        let large = kind_of(&media, "image/png", "P", &kinds).unwrap_err().to_string();
        assert!(large.contains("3 bytes") && large.contains("the 2 that P takes"), "{large}");
        let other = kind_of(&media, "text/html", "P", &kinds).unwrap_err().to_string();
        assert!(other.contains("image/png, video/*"), "{other}");
        assert!(kind_of(&of("", Source::Url("u".into())), "video/mp4", "P", &kinds).is_ok());
    }
}
