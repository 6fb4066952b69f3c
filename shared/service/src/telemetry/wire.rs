//! Spans in the wire format of OTLP, written once and as they go: what a span holds stands in its message the moment
//! it is set, so that nothing is left to convert when it is exported, and a span costs one buffer.
//!
//! The numbers are those of the fields of `opentelemetry.proto.trace.v1` and `common.v1`; a test decodes them with the
//! generated messages.

use bytes::BufMut as _;
use opentelemetry::{Array, Value};
use prost::encoding;

use super::trace_context::TraceContext;

/// Attributes of a span or an event, and events of a span, beyond which the rest is left out and counted.
const MOST: u16 = 128;

/// A tag of one byte: a field of a number below 16.
const fn tag(field: u8, kind: u8) -> u8 {
    (field << 3) | kind
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

/// `ScopeSpans.spans`.
pub(super) const SPAN: u8 = tag(2, BYTES);
/// `Span.flags`, field 16, fixed32.
const SPAN_FLAGS: [u8; 2] = [0x85, 0x01];
/// Flags: it is known whether the parent is in another process, and it is.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What a span is to its parent, as OTLP numbers it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// Where a span hangs.
pub(super) struct Parent {
    pub(super) span: [u8; 8],
    /// Whether it came from somewhere else.
    pub(super) remote: bool,
}

/// How a span ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// A span's message, to be ended with [`SpanMessage::end`].
#[derive(Debug)]
pub(super) struct SpanMessage {
    bytes: Vec<u8>,
    attributes: Room,
    events: Room,
    state: State,
    message: String,
}

/// What still has a place, and what had none.
#[derive(Debug, Clone, Copy)]
struct Room {
    left: u16,
    dropped: u32,
}

impl Room {
    const ALL: Self = Self { left: MOST, dropped: 0 };

    fn take(&mut self) -> bool {
        let free = self.left > 0;
        if free {
            self.left -= 1;
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        free
    }
}

impl SpanMessage {
    pub(super) fn begin(
        context: &TraceContext,
        parent: Option<&Parent>,
        name: &str,
        kind: Kind,
        now: u64,
    ) -> Self {
        let mut bytes = Vec::with_capacity(768);
        put_bytes(&mut bytes, tag(1, BYTES), &context.trace);
        put_bytes(&mut bytes, tag(2, BYTES), &context.span);
        if let Some(state) = &context.state {
            put_bytes(&mut bytes, tag(3, BYTES), state.as_bytes());
        }
        if let Some(parent) = parent {
            put_bytes(&mut bytes, tag(4, BYTES), &parent.span);
        }
        let remote = parent.is_some_and(|parent| parent.remote);
        let flags = u32::from(context.sampled) | KNOWS_REMOTE | if remote { IS_REMOTE } else { 0 };
        bytes.put_slice(&SPAN_FLAGS);
        bytes.put_u32_le(flags);
        put_bytes(&mut bytes, tag(5, BYTES), name.as_bytes());
        bytes.put_slice(&[tag(6, VARINT), kind as u8]);
        bytes.put_u8(tag(7, FIXED64));
        bytes.put_u64_le(now);
        Self { bytes, attributes: Room::ALL, events: Room::ALL, state: State::Unset, message: String::new() }
    }

    pub(super) fn attributes(&mut self) -> Attributes<'_> {
        Attributes { out: &mut self.bytes, tag: tag(9, BYTES), room: &mut self.attributes }
    }

    pub(super) fn event(&mut self, name: &str, now: u64, write: impl FnOnce(&mut Attributes<'_>)) {
        if !self.events.take() {
            return;
        }
        // The length stands in front and is known behind: one byte is kept free for it, and room made for more.
        self.bytes.put_slice(&[tag(11, BYTES), 0]);
        let begin = self.bytes.len();
        self.bytes.put_u8(tag(1, FIXED64));
        self.bytes.put_u64_le(now);
        put_bytes(&mut self.bytes, tag(2, BYTES), name.as_bytes());
        let mut room = Room::ALL;
        write(&mut Attributes { out: &mut self.bytes, tag: tag(3, BYTES), room: &mut room });
        put_count(&mut self.bytes, tag(4, VARINT), room.dropped);
        let length = self.bytes.len() - begin;
        if length < 0x80 {
            self.bytes[begin - 1] = length as u8;
        } else {
            let mut prefix = Vec::with_capacity(10);
            encode_varint(length as u64, &mut prefix);
            drop(self.bytes.splice(begin - 1..begin, prefix));
        }
    }

    pub(super) fn state(&mut self, state: State, message: &str) {
        self.state = state;
        message.clone_into(&mut self.message);
    }

    /// The message, whole.
    pub(super) fn end(&mut self, now: u64) -> &[u8] {
        self.bytes.put_u8(tag(8, FIXED64));
        self.bytes.put_u64_le(now);
        put_count(&mut self.bytes, tag(10, VARINT), self.attributes.dropped);
        put_count(&mut self.bytes, tag(12, VARINT), self.events.dropped);
        if self.state != State::Unset {
            let message = match self.message.len() {
                0 => 0,
                length => delimited(length),
            };
            self.bytes.put_u8(tag(15, BYTES));
            encode_varint((message + 2) as u64, &mut self.bytes);
            if message > 0 {
                put_bytes(&mut self.bytes, tag(2, BYTES), self.message.as_bytes());
            }
            self.bytes.put_slice(&[tag(3, VARINT), self.state as u8]);
        }
        &self.bytes
    }
}

/// Attributes that are written once and stand in several spans.
#[derive(Debug, Clone, Default)]
pub struct Block {
    bytes: Vec<u8>,
    count: u16,
}

impl Block {
    /// Those that `write` sets.
    pub fn of(write: impl FnOnce(&mut Attributes<'_>)) -> Self {
        let (mut bytes, mut room) = (Vec::with_capacity(256), Room::ALL);
        write(&mut Attributes { out: &mut bytes, tag: tag(9, BYTES), room: &mut room });
        Self { bytes, count: MOST - room.left }
    }
}

/// The attributes of a span or an event. Nothing here keeps a key from being set twice: set each once.
#[derive(Debug)]
pub struct Attributes<'s> {
    out: &'s mut Vec<u8>,
    tag: u8,
    room: &'s mut Room,
}

impl Attributes<'_> {
    /// A text, where there is something to say.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        if !value.is_empty() && self.pair(key, delimited(value.len())) {
            put_bytes(self.out, tag(1, BYTES), value.as_bytes());
        }
        self
    }

    /// A number.
    pub fn int(&mut self, key: &str, value: i64) -> &mut Self {
        let value = value.cast_unsigned();
        if self.pair(key, 1 + encoded_len_varint(value)) {
            self.out.put_u8(tag(3, VARINT));
            encode_varint(value, self.out);
        }
        self
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        if self.pair(key, 2) {
            self.out.put_slice(&[tag(2, VARINT), u8::from(value)]);
        }
        self
    }

    /// A fraction.
    pub fn float(&mut self, key: &str, value: f64) -> &mut Self {
        if self.pair(key, 9) {
            self.out.put_u8(tag(4, FIXED64));
            self.out.put_f64_le(value);
        }
        self
    }

    /// A list of texts.
    pub fn texts<'t>(&mut self, key: &str, values: impl Iterator<Item = &'t str> + Clone) -> &mut Self {
        let list: usize = values.clone().map(|value| delimited(delimited(value.len()))).sum();
        if self.pair(key, delimited(list)) {
            self.out.put_u8(tag(5, BYTES));
            encode_varint(list as u64, self.out);
            for value in values {
                self.out.put_u8(tag(1, BYTES));
                encode_varint(delimited(value.len()) as u64, self.out);
                put_bytes(self.out, tag(1, BYTES), value.as_bytes());
            }
        }
        self
    }

    /// A value of any of these kinds; of lists, those of texts.
    pub fn value(&mut self, key: &str, value: &Value) -> &mut Self {
        match value {
            Value::Bool(value) => self.flag(key, *value),
            Value::I64(value) => self.int(key, *value),
            Value::F64(value) => self.float(key, *value),
            Value::Array(Array::String(values)) => self.texts(key, values.iter().map(|value| value.as_str())),
            other => self.text(key, &other.as_str()),
        }
    }

    /// Attributes of a span that were written before.
    pub fn block(&mut self, block: &Block) -> &mut Self {
        if self.room.left >= block.count {
            self.room.left -= block.count;
            self.out.put_slice(&block.bytes);
        } else {
            self.room.dropped = self.room.dropped.saturating_add(u32::from(block.count));
        }
        self
    }

    /// The pair up to its value, whose message is so long. False where it has no place.
    fn pair(&mut self, key: &str, value: usize) -> bool {
        if !self.room.take() {
            return false;
        }
        self.out.put_u8(self.tag);
        encode_varint((delimited(key.len()) + delimited(value)) as u64, self.out);
        put_bytes(self.out, tag(1, BYTES), key.as_bytes());
        self.out.put_u8(tag(2, BYTES));
        encode_varint(value as u64, self.out);
        true
    }
}

/// Lengths and numbers are below 128 nearly always.
#[inline]
fn encode_varint(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(small @ 0..0x80) => out.push(small),
        _ => encoding::encode_varint(value, out),
    }
}

#[inline]
fn encoded_len_varint(value: u64) -> usize {
    if value < 0x80 { 1 } else { encoding::encoded_len_varint(value) }
}

/// How long a field of so many bytes is with its tag and length.
fn delimited(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.put_u8(tag);
    encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

fn put_count(out: &mut Vec<u8>, tag: u8, count: u32) {
    if count > 0 {
        out.put_u8(tag);
        encode_varint(u64::from(count), out);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message as _;

    use super::*;

    fn context() -> TraceContext {
        TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap()
    }

    fn value_of(span: &Span, key: &str) -> Option<Wire> {
        let pair = span.attributes.iter().find(|pair| pair.key == key)?;
        pair.value.clone()?.value
    }

    #[test]
    fn a_span_is_read_back_as_it_was_written() {
        let context = context();
        let parent = Parent { span: [7; 8], remote: true };
        let mut message = SpanMessage::begin(&context, Some(&parent), "näme", Kind::Client, 5);
        let long = "x".repeat(300);
        let block = Block::of(|to| {
            to.text("a", "b").flag("c", true);
        });
        message.attributes().text("text", "é").text("empty", "").text("long", &long).int("int", -3);
        message.attributes().float("float", 0.5).block(&block).texts("list", ["p", &long].into_iter());
        message.event("small", 6, |to| {
            to.int("n", 1);
        });
        message.event(&long, 7, |to| {
            to.text("long", &long);
        });
        message.state(State::Error, "why");
        let span = Span::decode(message.end(9)).unwrap();
        assert_eq!(
            (span.trace_id.as_slice(), span.span_id.as_slice()),
            (&context.trace[..], &context.span[..])
        );
        assert_eq!((span.parent_span_id.as_slice(), span.flags), (&[7; 8][..], 0x301));
        assert_eq!((span.name.as_str(), span.kind), ("näme", 3));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (5, 9));
        assert_eq!(value_of(&span, "text"), Some(Wire::StringValue("é".into())));
        assert_eq!(value_of(&span, "empty"), None);
        assert_eq!(value_of(&span, "long"), Some(Wire::StringValue(long.clone())));
        assert_eq!(value_of(&span, "int"), Some(Wire::IntValue(-3)));
        assert_eq!(value_of(&span, "float"), Some(Wire::DoubleValue(0.5)));
        assert_eq!(value_of(&span, "a"), Some(Wire::StringValue("b".into())));
        assert_eq!(value_of(&span, "c"), Some(Wire::BoolValue(true)));
        let Some(Wire::ArrayValue(list)) = value_of(&span, "list") else { panic!("{span:?}") };
        let list: Vec<_> = list.values.into_iter().filter_map(|value| value.value).collect();
        assert_eq!(list, [Wire::StringValue("p".into()), Wire::StringValue(long.clone())]);
        let events: Vec<(&str, u64, usize)> = span
            .events
            .iter()
            .map(|event| (event.name.as_str(), event.time_unix_nano, event.attributes.len()))
            .collect();
        assert_eq!(events, [("small", 6, 1), (long.as_str(), 7, 1)]);
        let status = span.status.unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, "why"));
    }

    #[test]
    fn values_of_the_api_are_written_as_what_they_are() {
        let mut message = SpanMessage::begin(&context(), None, "n", Kind::Internal, 0);
        for (key, value) in [
            ("text", Value::from("t")),
            ("int", Value::from(2_i64)),
            ("flag", Value::from(false)),
            ("float", Value::from(1.5)),
            ("texts", Value::Array(Array::String(vec!["one".into()]))),
            ("numbers", Value::Array(Array::I64(vec![1, 2]))),
        ] {
            message.attributes().value(key, &value);
        }
        let span = Span::decode(message.end(1)).unwrap();
        assert_eq!(value_of(&span, "text"), Some(Wire::StringValue("t".into())));
        assert_eq!(value_of(&span, "int"), Some(Wire::IntValue(2)));
        assert_eq!(value_of(&span, "flag"), Some(Wire::BoolValue(false)));
        assert_eq!(value_of(&span, "float"), Some(Wire::DoubleValue(1.5)));
        assert!(matches!(value_of(&span, "texts"), Some(Wire::ArrayValue(_))));
        assert_eq!(value_of(&span, "numbers"), Some(Wire::StringValue("[1,2]".into())));
        assert!(span.parent_span_id.is_empty() && span.status.is_none());
    }

    #[test]
    fn too_much_is_left_out_and_counted() {
        let mut message = SpanMessage::begin(&context(), None, "n", Kind::Server, 0);
        for n in 0..200 {
            message.attributes().int("n", n);
            message.event("e", 1, |to| {
                for n in 0..if n == 0 { 130 } else { 0 } {
                    to.int("n", n);
                }
            });
        }
        message.attributes().block(&Block::of(|to| {
            to.int("x", 1).int("y", 2);
        }));
        let span = Span::decode(message.end(1)).unwrap();
        assert_eq!((span.attributes.len(), span.dropped_attributes_count), (128, 74));
        assert_eq!((span.events.len(), span.dropped_events_count), (128, 72));
        assert_eq!(span.events[0].dropped_attributes_count, 2);
    }
}
