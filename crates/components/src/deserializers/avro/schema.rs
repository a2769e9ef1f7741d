//! Avro's schemas, as far as it takes to tell where a datum ends and what its schema is called.
//!
//! The fingerprint is CRC-64-AVRO of the parsing canonical form: names in full, nothing but what
//! reading needs, in a fixed order, without white space.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Map, Value};
use splashdam_core::Malformed;

use crate::avro_file::Reader;

/// How deep data may be nested; schemas are bounded by what JSON may be.
const MOST_DEPTH: usize = 500;

/// Bytes of a canonical form at the most: each mention of a name brings its namespace with it.
const MOST_CANONICAL: usize = 64 << 20;

/// Types that data may be passed by, over and above those that their bytes pay for: a schema can make
/// much of no byte at all.
const FREE_STEPS: u64 = 1_000_000;
/// What a byte pays for.
const STEPS_A_BYTE: u64 = 64;

/// A schema.
#[derive(Clone, Debug)]
pub struct Schema {
    types: Vec<Type>,
    root: usize,
    canonical: String,
}

/// A type, by what its data look like; others are named by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Type {
    /// So many bytes: null, boolean, float, double and fixed.
    Fixed(usize),
    /// int, long and enum.
    Number,
    /// bytes and string.
    Bytes,
    /// Blocks of items.
    Array(usize),
    /// Blocks of texts with items.
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<usize>),
}

/// How many types may still be passed in some data.
#[derive(Clone, Copy, Debug)]
pub struct Steps(u64);

impl Steps {
    /// What so many bytes may take, as one datum or as several.
    pub fn for_bytes(bytes: usize) -> Steps {
        Steps(FREE_STEPS + STEPS_A_BYTE * bytes as u64)
    }

    fn take(&mut self, reader: &Reader) -> Result<(), Malformed> {
        self.0 = self.0.checked_sub(1).ok_or(reader.error("a datum takes too many steps"))?;
        Ok(())
    }
}

/// What is wrong with a schema.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("its schema cannot be read: {0}")]
pub struct SchemaError(String);

impl Schema {
    /// Reads the JSON of a schema.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Schema, SchemaError> {
        let value = serde_json::from_str(text).map_err(|error| SchemaError(error.to_string()))?;
        let mut parsing = Parsing::default();
        let root = parsing.read(&value, "")?;
        Ok(Schema { types: parsing.types, root, canonical: parsing.canonical })
    }

    /// The bytes of the datum at the start of `data`. What that takes of `steps` is gone.
    ///
    /// # Errors
    /// Why it is none; then `steps` are what they were.
    pub fn datum_length(&self, data: &[u8], steps: &mut Steps) -> Result<usize, Malformed> {
        let mut passing = Passing { types: &self.types, reader: Reader::new(data), steps: *steps };
        passing.pass(self.root, 0)?;
        *steps = passing.steps;
        Ok(passing.reader.at())
    }

    /// The fingerprint in hexadecimal, its lowest byte first as Avro's Java has it.
    pub fn fingerprint(&self) -> String {
        let print = crc_64(self.canonical.as_bytes());
        print.to_le_bytes().iter().fold(String::new(), |mut hex, byte| {
            // A string takes all that is written.
            write!(hex, "{byte:02x}").ok();
            hex
        })
    }
}

/// A datum as it is passed over.
struct Passing<'a> {
    types: &'a [Type],
    reader: Reader<'a>,
    steps: Steps,
}

impl Passing<'_> {
    fn pass(&mut self, which: usize, depth: usize) -> Result<(), Malformed> {
        if depth > MOST_DEPTH {
            return Err(self.reader.error("a datum is nested too deep"));
        }
        self.steps.take(&self.reader)?;
        let types = self.types;
        match &types[which] {
            Type::Fixed(bytes) => self.reader.take(*bytes).map(drop),
            Type::Number => self.reader.long().map(drop),
            Type::Bytes => self.reader.bytes().map(drop),
            Type::Record(fields) => {
                fields.iter().try_for_each(|field| self.pass(*field, depth + 1))
            }
            Type::Union(branches) => {
                let branch = usize::try_from(self.reader.long()?).ok();
                let branch = branch.and_then(|branch| branches.get(branch));
                let branch = branch.ok_or(self.reader.error("a union has no such branch"))?;
                self.pass(*branch, depth + 1)
            }
            Type::Array(item) => self.pass_blocks(false, *item, depth + 1),
            Type::Map(item) => self.pass_blocks(true, *item, depth + 1),
        }
    }

    fn pass_blocks(&mut self, keys: bool, item: usize, depth: usize) -> Result<(), Malformed> {
        loop {
            let count = self.reader.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // It tells the bytes of the block, so that they can be passed at once.
                let bytes = usize::try_from(self.reader.long()?);
                let bytes = bytes.map_err(|_| self.reader.error("a block's size is negative"))?;
                self.reader.take(bytes)?;
                continue;
            }
            // Items without a byte could be counted for ever.
            if count.unsigned_abs() > self.reader.left() as u64 {
                return Err(self.reader.error("more items than bytes"));
            }
            for _ in 0..count {
                if keys {
                    self.reader.bytes()?;
                }
                self.pass(item, depth)?;
            }
        }
    }
}

/// A schema as it is read.
#[derive(Default)]
struct Parsing {
    types: Vec<Type>,
    named: HashMap<String, usize>,
    canonical: String,
}

impl Parsing {
    fn read(&mut self, value: &Value, space: &str) -> Result<usize, SchemaError> {
        if self.canonical.len() > MOST_CANONICAL {
            return Err(SchemaError("its names are too long".to_owned()));
        }
        match value {
            Value::String(name) => self.by_name(name, space),
            Value::Array(branches) => {
                let mut read = Vec::new();
                for (number, branch) in branches.iter().enumerate() {
                    self.canonical.push(if number == 0 { '[' } else { ',' });
                    read.push(self.read(branch, space)?);
                }
                self.canonical.push_str(if branches.is_empty() { "[]" } else { "]" });
                Ok(self.add(Type::Union(read)))
            }
            Value::Object(object) => self.object(object, space),
            _ => Err(SchemaError(format!("{value} is no schema"))),
        }
    }

    fn add(&mut self, kind: Type) -> usize {
        self.types.push(kind);
        self.types.len() - 1
    }

    fn by_name(&mut self, name: &str, space: &str) -> Result<usize, SchemaError> {
        if let Some(kind) = primitive(name) {
            self.quoted(name);
            return Ok(self.add(kind));
        }
        let full = full_name(name, space);
        let known = self.named.get(&full).copied();
        self.quoted(&full);
        known.ok_or_else(|| SchemaError(format!("there is no type {full}")))
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str) -> Result<usize, SchemaError> {
        let kind = text(object, "type")?;
        match kind {
            "array" | "map" => {
                let inner = if kind == "array" { "items" } else { "values" };
                let item = object.get(inner);
                let item = item.ok_or_else(|| SchemaError(format!("{kind} without {inner}")))?;
                self.canonical.push_str(&format!("{{\"type\":\"{kind}\",\"{inner}\":"));
                let item = self.read(item, space)?;
                self.canonical.push('}');
                Ok(self.add(if kind == "array" { Type::Array(item) } else { Type::Map(item) }))
            }
            "record" | "error" | "enum" | "fixed" => self.definition(object, kind, space),
            name => self.by_name(name, space),
        }
    }

    fn definition(
        &mut self,
        object: &Map<String, Value>,
        kind: &str,
        space: &str,
    ) -> Result<usize, SchemaError> {
        let space = object.get("namespace").and_then(Value::as_str).unwrap_or(space);
        let full = full_name(text(object, "name")?, space);
        let space = full.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
        // Java knows an error as a record.
        let called = if kind == "error" { "record" } else { kind };
        self.canonical.push_str("{\"name\":");
        self.quoted(&full);
        self.canonical.push_str(&format!(",\"type\":\"{called}\""));
        let place = self.add(Type::Number);
        if self.named.insert(full.clone(), place).is_some() {
            return Err(SchemaError(format!("{full} is defined twice")));
        }
        let list = |key: &str| match object.get(key) {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(SchemaError(format!("{full} has no list of {key}"))),
        };
        match kind {
            "enum" => {
                for (number, symbol) in list("symbols")?.iter().enumerate() {
                    self.canonical.push_str(if number == 0 { ",\"symbols\":[" } else { "," });
                    self.quoted(symbol.as_str().unwrap_or_default());
                }
                self.canonical.push(']');
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| SchemaError(format!("{full} has no size")))?;
                self.canonical.push_str(&format!(",\"size\":{size}"));
                self.types[place] = Type::Fixed(size);
            }
            _ => {
                self.canonical.push_str(",\"fields\":[");
                let mut fields = Vec::new();
                for field in list("fields")? {
                    let wrong = || SchemaError(format!("a field of {full} has no name or no type"));
                    let field = field.as_object().ok_or_else(wrong)?;
                    let kind = field.get("type").ok_or_else(wrong)?;
                    self.canonical.push_str(if fields.is_empty() {
                        "{\"name\":"
                    } else {
                        ",{\"name\":"
                    });
                    self.quoted(text(field, "name")?);
                    self.canonical.push_str(",\"type\":");
                    fields.push(self.read(kind, &space)?);
                    self.canonical.push('}');
                }
                self.canonical.push(']');
                self.types[place] = Type::Record(fields);
            }
        }
        self.canonical.push('}');
        Ok(place)
    }

    fn quoted(&mut self, text: &str) {
        self.canonical.push('"');
        self.canonical.push_str(text);
        self.canonical.push('"');
    }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Fixed(0),
        "boolean" => Type::Fixed(1),
        "float" => Type::Fixed(4),
        "double" => Type::Fixed(8),
        "int" | "long" => Type::Number,
        "bytes" | "string" => Type::Bytes,
        _ => return None,
    })
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str, SchemaError> {
    let value = object.get(key).and_then(Value::as_str);
    value.ok_or_else(|| SchemaError(format!("{key} is missing or no text")))
}

/// A name that has dots in it brings its namespace with it.
fn full_name(name: &str, space: &str) -> String {
    match (name.contains('.'), space) {
        (true, _) | (_, "") => name.to_owned(),
        (false, space) => format!("{space}.{name}"),
    }
}

fn crc_64(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    bytes.iter().fold(EMPTY, |print, byte| {
        let mut entry = (print ^ u64::from(*byte)) & 0xff;
        for _ in 0..8 {
            entry = (entry >> 1) ^ (EMPTY & (entry & 1).wrapping_neg());
        }
        (print >> 8) ^ entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_have_a_canonical_form_and_a_fingerprint() {
        let check = |text: &str, canonical: &str| {
            assert_eq!(Schema::parse(text).unwrap().canonical, canonical, "{text}");
        };
        check("\"int\"", "\"int\"");
        check(r#"{"type":"int","logicalType":"date"}"#, "\"int\"");
        check(
            r#"[ "null" , {"type":"array","items":"long"} ]"#,
            r#"["null",{"type":"array","items":"long"}]"#,
        );
        check(
            r#"{"type":"record","namespace":"a.b","name":"R","doc":"x","fields":[
                {"name":"e","type":{"type":"enum","name":"E","symbols":["X","Y"]},"default":"X"},
                {"name":"next","type":["null","R"]}, {"name":"again","type":"a.b.E"},
                {"name":"f","type":{"type":"fixed","size":3,"name":"c.F"}},
                {"type":{"type":"map","values":"c.F"},"name":"m"}]}"#,
            r#"{"name":"a.b.R","type":"record","fields":[{"name":"e","type":{"name":"a.b.E","type":"enum","symbols":["X","Y"]}},{"name":"next","type":["null","a.b.R"]},{"name":"again","type":"a.b.E"},{"name":"f","type":{"name":"c.F","type":"fixed","size":3}},{"name":"m","type":{"type":"map","values":"c.F"}}]}"#,
        );
        // The number is from Avro's specification of the fingerprint of "null".
        assert_eq!(crc_64(b"\"null\""), 0x63dd_24e7_cc25_8f8a);
        assert_eq!(Schema::parse("\"null\"").unwrap().fingerprint(), "8a8f25cce724dd63");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in [
            "",
            "{",
            "5",
            "\"unknown\"",
            "{}",
            r#"{"type":"record","name":"R"}"#,
            r#"{"type":"record","name":"R","fields":[{"name":"x"}]}"#,
            r#"{"type":"fixed","name":"F"}"#,
            r#"{"type":"enum","name":"E"}"#,
            r#"{"type":"array"}"#,
            r#"[{"type":"fixed","size":1,"name":"F"},{"type":"fixed","size":1,"name":"F"}]"#,
        ] {
            assert!(Schema::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn data_end_where_their_schema_says() {
        let check = |schema: &str, data: &[u8], want: Option<usize>| {
            let schema = Schema::parse(schema).unwrap();
            let mut steps = Steps::for_bytes(data.len());
            assert_eq!(schema.datum_length(data, &mut steps).ok(), want, "{data:?}");
        };
        check("\"long\"", &[0x80, 1, 9], Some(2));
        check("\"string\"", b"\x06abcx", Some(4));
        check("\"string\"", b"\x06ab", None);
        check("\"boolean\"", &[1], Some(1));
        check("[\"null\",\"double\"]", &[0, 1], Some(1));
        check("[\"null\",\"double\"]", &[2, 0, 0, 0, 0, 0, 0, 0, 0], Some(9));
        check("[\"null\",\"double\"]", &[4], None);
        check(r#"{"type":"array","items":"int"}"#, &[4, 2, 2, 2, 2, 0, 7], Some(6));
        check(r#"{"type":"array","items":"int"}"#, &[3, 4, 2, 2, 0], Some(5));
        check(r#"{"type":"array","items":"null"}"#, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0], None);
        check(r#"{"type":"map","values":"bytes"}"#, b"\x02\x02k\x04vv\0", Some(7));
        let endless = r#"{"type":"record","name":"R","fields":[{"name":"r","type":"R"}]}"#;
        check(endless, &[0; 10], None);
        let list = r#"{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"]}]}"#;
        check(list, &[2, 2, 0], Some(3));
        check(list, &vec![2; 100_000], None);
    }

    #[test]
    fn much_made_of_few_bytes_is_refused() {
        let check = |schema: &str, data: &[u8]| {
            let schema = Schema::parse(schema).unwrap();
            let mut steps = Steps::for_bytes(data.len());
            let error = schema.datum_length(data, &mut steps).unwrap_err();
            assert_eq!(error.what, "a datum takes too many steps");
        };
        check(&doubling(40), &[]);
        let nulls = r#"{"type":"array","items":"null"}"#;
        // Blocks of 10,000 items without a byte, one after the other.
        check(nulls, &[0xa0, 0x9c, 0x01].repeat(20_000));
    }

    #[test]
    fn data_of_one_block_share_their_steps() {
        let schema = Schema::parse(&doubling(15)).unwrap();
        let mut steps = Steps::for_bytes(100);
        let passed = (0..100).take_while(|_| schema.datum_length(&[], &mut steps).is_ok()).count();
        assert_eq!(passed, 15, "of 65,535 steps each");
        assert!(schema.datum_length(&[], &mut steps).is_err(), "it stays refused");
    }

    /// A record without a byte that holds two records, each of which holds two, and so on.
    fn doubling(depth: usize) -> String {
        (0..depth).fold(r#"{"type":"record","name":"A0","fields":[]}"#.to_owned(), |inner, n| {
            let (name, same) = (format!("A{}", n + 1), format!("A{n}"));
            format!(
                r#"{{"type":"record","name":"{name}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":"{same}"}}]}}"#
            )
        })
    }
}
