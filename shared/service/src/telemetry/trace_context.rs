//! What others know of a span: its children, its log lines, and other processes, over W3C's `traceparent`.

use std::str::FromStr as _;

use http::HeaderValue;
use opentelemetry::trace::TraceState;

/// The length of `00-<trace>-<span>-<flags>`.
const WHOLE: usize = 55;

/// A span's place in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    /// Whether spans of this trace are exported.
    pub(crate) sampled: bool,
    /// Vendors' additions, handed on as they came.
    pub(crate) state: Option<HeaderValue>,
}

impl TraceContext {
    /// What a caller sent. A malformed context counts as none, malformed additions too.
    pub(crate) fn of_headers(parent: Option<&HeaderValue>, state: Option<&HeaderValue>) -> Option<Self> {
        let mut context = Self::parse(parent?.to_str().ok()?.trim())?;
        let known = |state: &&HeaderValue| {
            state.to_str().is_ok_and(|text| !text.is_empty() && TraceState::from_str(text).is_ok())
        };
        context.state = state.filter(known).cloned();
        Some(context)
    }

    /// Reads `traceparent`: lower case only, neither id all zeros, and of a later version what this one has.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let [version] = digits(bytes.get(..2)?)?;
        let further = bytes.get(WHOLE);
        if version == 0xff || further.is_some_and(|&next| version == 0 || next != b'-') {
            return None;
        }
        if [2, 35, 52].iter().any(|&at| bytes.get(at) != Some(&b'-')) {
            return None;
        }
        let trace: [u8; 16] = digits(bytes.get(3..35)?)?;
        let span: [u8; 8] = digits(bytes.get(36..52)?)?;
        let [flags] = digits(bytes.get(53..WHOLE)?)?;
        let valid = trace != [0; 16] && span != [0; 8];
        valid.then_some(Self { trace, span, sampled: flags & 1 == 1, state: None })
    }

    /// The beginning of a trace.
    pub(crate) fn root(sampler: Sampler) -> Self {
        let trace = rand::random::<[u8; 16]>();
        Self { trace, span: new_span(), sampled: sampler.takes(trace), state: None }
    }

    /// A new span below this one.
    pub(crate) fn below(&self) -> Self {
        Self { span: new_span(), ..self.clone() }
    }

    /// As `traceparent` says it.
    pub(crate) fn to_bytes(&self) -> [u8; WHOLE] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace);
        write_hex(&mut text[36..52], &self.span);
        text[54] += u8::from(self.sampled);
        text
    }

    /// The same as a text.
    pub(crate) fn to_text(&self) -> String {
        self.to_bytes().map(char::from).iter().collect()
    }
}

/// Which traces that begin here are exported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampler {
    below: u64,
}

impl Sampler {
    /// So many of all, 0 to 1. What one process takes, another with the same share takes as well.
    pub(crate) fn share(ratio: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^63")]
        let below = (ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self { below }
    }

    fn takes(self, trace: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1 < self.below
    }
}

fn new_span() -> [u8; 8] {
    loop {
        let id = rand::random::<[u8; 8]>();
        if id != [0; 8] {
            return id;
        }
    }
}

/// Writes bytes as hex digits into twice as many.
pub(crate) fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, &byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// What each byte is worth as a lower-case hex digit; 16 and more where it is none.
const WORTH: [u8; 256] = {
    let mut worth = [0xff; 256];
    let mut digit = 0;
    while digit < 16 {
        worth[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digit += 1;
    }
    worth
};

/// Lower-case hex digits as bytes.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let (mut bytes, mut seen) = ([0; N], 0);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (WORTH[usize::from(pair[0])], WORTH[usize::from(pair[1])]);
        seen |= high | low;
        *byte = (high << 4) | (low & 15);
    }
    (seen < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE_TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_is_read_and_written() {
        let context = TraceContext::parse(WHOLE_TEXT).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_text(), WHOLE_TEXT);
        let below = context.below();
        assert_eq!(below.trace, context.trace);
        assert_ne!(below.span, context.span);
        let off = TraceContext::parse(&WHOLE_TEXT.replace("-01", "-02")).unwrap();
        assert!(!off.sampled, "only the first flag counts");
        let later = WHOLE_TEXT.replacen("00", "01", 1);
        assert!(
            TraceContext::parse(&later).is_some() && TraceContext::parse(&format!("{later}-x")).is_some()
        );
    }

    #[test]
    fn malformed_contexts_are_none() {
        let wrong = [
            "",
            "00",
            &WHOLE_TEXT[..54],
            &format!("{WHOLE_TEXT}-x"),
            &WHOLE_TEXT.to_uppercase(),
            &WHOLE_TEXT.replacen("00", "ff", 1),
            &WHOLE_TEXT.replace('-', "_"),
            &WHOLE_TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &WHOLE_TEXT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &WHOLE_TEXT.replace("0af7", "0äf"),
            &WHOLE_TEXT.replace("0af7", "+af7"),
        ];
        for text in wrong {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }

    #[test]
    fn additions_of_vendors_go_along_where_they_are_well_formed() {
        let parent = HeaderValue::from_static(WHOLE_TEXT);
        for (state, kept) in [("a=b,c=d", true), ("no pairs", false), ("", false)] {
            let state = HeaderValue::from_static(state);
            let context = TraceContext::of_headers(Some(&parent), Some(&state)).unwrap();
            assert_eq!(context.below().state.is_some(), kept, "{state:?}");
        }
    }

    #[test]
    fn a_share_of_traces_is_taken() {
        let taken = |ratio: f64| {
            let sampler = Sampler::share(ratio);
            (0..10_000).filter(|_| TraceContext::root(sampler).sampled).count()
        };
        assert_eq!(taken(1.0), 10_000);
        assert_eq!(taken(0.0), 0);
        let quarter = taken(0.25);
        assert!((2_000..3_000).contains(&quarter), "{quarter}");
    }
}
