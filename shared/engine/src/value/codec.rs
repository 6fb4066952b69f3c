//! Values as bytes: a tag, then lengths and numbers as variable-length integers. Unlike JSON text it keeps
//! bytes that no service stores yet, and is read without a limit that components can reach by nesting.

use std::sync::Arc;

use super::{Binary, Map, Value};

/// Deepest nesting that is read; beyond it the stack would be at stake.
const MAX_DEPTH: usize = 512;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NEGATIVE: u8 = 3;
const POSITIVE: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const LIST: u8 = 7;
const OBJECT: u8 = 8;
const BINARY: u8 = 9;

/// Bytes that are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no stored value")]
pub struct InvalidBytes;

/// Appends a value.
pub fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(positive), _) => {
                out.push(POSITIVE);
                write_number(positive, out);
            }
            (None, Some(negative)) => {
                out.push(NEGATIVE);
                write_number(negative.unsigned_abs(), out);
            }
            (None, None) => {
                out.push(FLOAT);
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
            }
        },
        Value::String(text) => {
            out.push(TEXT);
            write_bytes(text.as_bytes(), out);
        }
        Value::Array(items) => {
            out.push(LIST);
            write_number(items.len() as u64, out);
            items.iter().for_each(|item| write(item, out));
        }
        Value::Object(map) => {
            out.push(OBJECT);
            write_number(map.len() as u64, out);
            for (key, item) in map.iter() {
                write_bytes(key.as_bytes(), out);
                write(item, out);
            }
        }
        Value::Binary(binary) => {
            out.push(BINARY);
            write_bytes(binary.name.as_bytes(), out);
            write_bytes(binary.mimetype.as_bytes(), out);
            write_bytes(&binary.data, out);
        }
    }
}

/// Takes a value off the front.
///
/// # Errors
/// [`InvalidBytes`] if there is none.
pub fn read(from: &mut &[u8]) -> Result<Value, InvalidBytes> {
    read_at(from, 0)
}

fn read_at(from: &mut &[u8], depth: usize) -> Result<Value, InvalidBytes> {
    if depth > MAX_DEPTH {
        return Err(InvalidBytes);
    }
    let (tag, rest) = from.split_first().ok_or(InvalidBytes)?;
    *from = rest;
    Ok(match *tag {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        POSITIVE => Value::Number(read_number(from)?.into()),
        NEGATIVE => {
            let number = 0i64.checked_sub_unsigned(read_number(from)?).ok_or(InvalidBytes)?;
            Value::Number(number.into())
        }
        FLOAT => {
            let (bytes, rest) = from.split_first_chunk::<8>().ok_or(InvalidBytes)?;
            *from = rest;
            let number = serde_json::Number::from_f64(f64::from_le_bytes(*bytes));
            Value::Number(number.ok_or(InvalidBytes)?)
        }
        TEXT => Value::String(read_text(from)?),
        LIST => {
            let count = read_count(from)?;
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                items.push(read_at(from, depth + 1)?);
            }
            Value::array(items)
        }
        OBJECT => {
            let count = read_count(from)?;
            let mut map = Map::with_capacity(count);
            for _ in 0..count {
                let key = read_text(from)?;
                map.insert(key, read_at(from, depth + 1)?);
            }
            Value::object(map)
        }
        BINARY => Value::Binary(Arc::new(Binary {
            name: read_text(from)?,
            mimetype: read_text(from)?,
            data: bytes::Bytes::copy_from_slice(read_bytes(from)?),
        })),
        _ => return Err(InvalidBytes),
    })
}

/// Appends an integer, seven bits a byte.
pub fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes an integer off the front.
///
/// # Errors
/// [`InvalidBytes`] if there is none.
pub fn read_number(from: &mut &[u8]) -> Result<u64, InvalidBytes> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first().ok_or(InvalidBytes)?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(InvalidBytes)
}

/// A count of things of at least a byte each: more than there are bytes cannot be meant.
fn read_count(from: &mut &[u8]) -> Result<usize, InvalidBytes> {
    let count = usize::try_from(read_number(from)?).map_err(|_| InvalidBytes)?;
    if count > from.len() { Err(InvalidBytes) } else { Ok(count) }
}

/// Appends bytes with their length before them.
pub fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_number(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Takes bytes with their length before them off the front.
///
/// # Errors
/// [`InvalidBytes`] if there are none.
pub fn read_bytes<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], InvalidBytes> {
    let count = read_count(from)?;
    let (bytes, rest) = from.split_at(count);
    *from = rest;
    Ok(bytes)
}

fn read_text(from: &mut &[u8]) -> Result<Arc<str>, InvalidBytes> {
    std::str::from_utf8(read_bytes(from)?).map(Arc::from).map_err(|_| InvalidBytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn back(value: &Value) -> Value {
        let mut bytes = Vec::new();
        write(value, &mut bytes);
        let mut rest = bytes.as_slice();
        let read = read(&mut rest).unwrap();
        assert!(rest.is_empty());
        read
    }

    #[test]
    fn every_kind_comes_back() {
        let binary = Value::Binary(Arc::new(Binary {
            name: "f".into(),
            mimetype: "a/b".into(),
            data: vec![0, 255].into(),
        }));
        for value in [
            json!([null, true, false, 0, 1, -1, i64::MIN, i64::MAX, u64::MAX, 1.5, -0.25, 1e300]).into(),
            json!({"a": {"é": ["", "x"]}, "": {}}).into(),
            binary,
        ] {
            assert_eq!(back(&value), value);
        }
        let ordered: Value = json!({"z": 1, "a": 2}).into();
        assert_eq!(back(&ordered).to_json_text(), ordered.to_json_text());
        let deep = (0..500).fold(Value::Null, |inner, _| Value::array(vec![inner]));
        assert_eq!(back(&deep), deep);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&mut bytes.as_slice());
        }
    }
}
