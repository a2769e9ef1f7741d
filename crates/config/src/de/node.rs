//! The deserializer: a node of the section that is read, and the keys that were asked for.

use std::cell::{Cell, RefCell};

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::error::ReadError;
use super::placeholder::Placeholder;
use super::wrappers::{ANY_CASE, Handed, LENIENT, SECTION, SPANNED, hand};
use super::{Course, Notes, scalar};
use crate::diagnostic::Diagnostic;
use crate::text::Located;
use crate::tree::Section;

/// One pass over a section.
pub(super) struct Attempt<'a> {
    section: &'a Section,
    course: &'a Course,
    notes: RefCell<Notes>,
}

/// What stands at one key: a value, keys below, or both.
pub(super) struct Node<'a> {
    attempt: &'a Attempt<'a>,
    /// Dotted key relative to the section; empty for the section itself.
    path: String,
    value: Option<Located>,
    /// False for a word of a list, which has nothing below.
    keyed: bool,
}

/// `parent.key`, or `key` where there is no parent.
pub(super) fn joined(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

impl<'a> Attempt<'a> {
    pub(super) fn new(section: &'a Section, course: &'a Course) -> Self {
        Attempt { section, course, notes: RefCell::default() }
    }

    pub(super) fn into_notes(self) -> Notes {
        self.notes.into_inner()
    }

    fn is_written(&self, path: &str) -> bool {
        let at_or_below = |key: &str| {
            key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        !self.course.skipped.contains(path)
            && !self.course.absent.contains(path)
            && self.section.keys().any(at_or_below)
    }

    fn claim(&self, key: &str) {
        self.notes.borrow_mut().claimed.insert(key.to_owned());
    }
}

impl<'a> Node<'a> {
    pub(super) fn root(attempt: &'a Attempt<'a>) -> Self {
        Node {
            attempt,
            path: String::new(),
            value: attempt.section.located_value().cloned(),
            keyed: true,
        }
    }

    fn at(attempt: &'a Attempt<'a>, path: String) -> Self {
        let value = attempt.section.entry(&path).map(|entry| entry.value.clone());
        Node { attempt, path, value, keyed: true }
    }

    /// The node that `field` of a struct reads: below, or this one again for `.name`.
    fn field(&self, field: &str) -> Self {
        if field.starts_with('.') {
            return Node {
                attempt: self.attempt,
                path: self.path.clone(),
                value: self.value.clone(),
                keyed: true,
            };
        }
        Node::at(self.attempt, joined(&self.path, field))
    }

    fn word(&self, value: Located) -> Self {
        Node { attempt: self.attempt, path: self.path.clone(), value: Some(value), keyed: false }
    }

    /// The value, which somebody takes hereby.
    fn take(&self) -> Result<&Located, ReadError> {
        self.attempt.claim(&self.path);
        self.value.as_ref().ok_or_else(ReadError::absent)
    }

    fn text(&self) -> Result<&str, ReadError> {
        self.take().map(Located::text)
    }

    /// Says where a value stands that could not be read.
    fn blame(&self, mut error: ReadError) -> ReadError {
        if error.span.is_none() {
            error.span = self.value.as_ref().map(Located::span);
        }
        error
    }

    fn integer(&self, min: i128, max: i128) -> Result<i128, ReadError> {
        scalar::integer(self.text()?, min, max).map_err(|error| self.blame(error))
    }

    /// Keys of the entries below, relative to this node.
    fn keys_below(&self) -> Vec<String> {
        if !self.keyed {
            return Vec::new();
        }
        let below = |key: &str| match self.path.as_str() {
            "" => Some(key.to_owned()),
            path => Some(key.strip_prefix(path)?.strip_prefix('.')?.to_owned()),
        };
        self.attempt.section.keys().filter_map(below).collect()
    }

    fn words(&self) -> Result<Vec<Located>, ReadError> {
        Ok(self.take()?.words())
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            let value = self.integer(i128::from(<$type>::MIN), i128::from(<$type>::MAX))?;
            let value = <$type>::try_from(value).map_err(de::Error::custom)?;
            visitor.$visit(value).map_err(|error| self.blame(error))
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = ReadError;

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.value.is_some() {
            self.deserialize_str(visitor)
        } else {
            self.deserialize_map(visitor)
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let (value, plain) = scalar::boolean(self.text()?);
        if !plain {
            let text = scalar::shown(self.text()?);
            let finding = Diagnostic::warning(
                "not-boolean",
                format!("`{}`: `{text}` means false", self.path),
            )
            .at(self.value.as_ref().map(Located::span))
            .help("write `true` or `false`; all but `true` is false, as in Flume");
            self.attempt.notes.borrow_mut().findings.push(finding);
        }
        visitor.visit_bool(value)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let value = scalar::float(self.text()?).map_err(|error| self.blame(error))?;
        visitor.visit_f64(value).map_err(|error| self.blame(error))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let text = self.text()?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => visitor.visit_char(c),
            _ => {
                let message = format!("`{}` is not one character", scalar::shown(text));
                Err(self.blame(ReadError::bad("bad-value", message, None)))
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_str(self.text()?).map_err(|error| self.blame(error))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_bytes(self.text()?.as_bytes()).map_err(|error| self.blame(error))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.attempt.notes.borrow_mut().asked = true;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match name {
            SECTION => {
                for key in self.keys_below() {
                    self.attempt.claim(&joined(&self.path, &key));
                }
                self.attempt.claim(&self.path);
                hand(Handed::Section(self.attempt.section.section(&self.path)));
                visitor.visit_newtype_struct(self)
            }
            SPANNED => {
                hand(Handed::Span(self.value.as_ref().map(Located::span)));
                visitor.visit_newtype_struct(self)
            }
            LENIENT if self.attempt.course.lenient.contains(&self.path) => {
                self.attempt.claim(&self.path);
                visitor.visit_none()
            }
            LENIENT => {
                let path = self.path.clone();
                visitor.visit_newtype_struct(self).map_err(|mut error| {
                    error.lenient = true;
                    error.path.get_or_insert(path);
                    error
                })
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let words = self.words()?.into_iter();
        visitor.visit_seq(WordAccess { node: &self, words }).map_err(|error| self.blame(error))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let keys = self.keys_below().into_iter();
        visitor.visit_map(KeyAccess { node: &self, keys, key: String::new() })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let mut order: Vec<&'static str> = fields.to_vec();
        let course = self.attempt.course;
        order.sort_by_key(|field| !course.preferred.contains(&joined(&self.path, field)));
        let mut notes = self.attempt.notes.borrow_mut();
        notes.asked = true;
        let names = order.iter().filter(|field| !field.starts_with('.'));
        notes.known.extend(names.map(|field| joined(&self.path, field)));
        drop(notes);
        let field = Cell::new("");
        let access = FieldAccess { node: &self, fields: order.into_iter(), field: &field };
        visitor.visit_map(access).map_err(|error| error.untwinned(&self.path, field.get()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let text = self.text()?;
        let exact = variants.iter().find(|variant| **variant == text);
        let any_case = || {
            variants.iter().find(|variant| name == ANY_CASE && variant.eq_ignore_ascii_case(text))
        };
        let Some(&variant) = exact.or_else(any_case) else {
            return Err(self.blame(de::Error::unknown_variant(&scalar::shown(text), variants)));
        };
        visitor.visit_enum(Choice { node: self, variant })
    }
}

struct FieldAccess<'n, 'a> {
    node: &'n Node<'a>,
    fields: std::vec::IntoIter<&'static str>,
    /// The one that was read last.
    field: &'n Cell<&'static str>,
}

impl<'de> MapAccess<'de> for FieldAccess<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let attempt = self.node.attempt;
        let next = self.fields.find(|field| {
            let path = joined(&self.node.path, field);
            attempt.course.placeholders.contains(&path)
                || attempt.is_written(&path)
                || (field.starts_with('.') && !attempt.course.skipped.contains(&path))
        });
        let Some(field) = next else { return Ok(None) };
        self.field.set(field);
        let name: StrDeserializer<'_, ReadError> = field.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let field = self.field.get();
        let path = joined(&self.node.path, field);
        if self.node.attempt.course.placeholders.contains(&path) {
            let value = seed.deserialize(Placeholder);
            return value.map_err(|error| error.located(&self.node.path, field));
        }
        let node = self.node.field(field);
        seed.deserialize(node).map_err(|error| error.located(&self.node.path, field))
    }
}

struct KeyAccess<'n, 'a> {
    node: &'n Node<'a>,
    keys: std::vec::IntoIter<String>,
    key: String,
}

impl<'de> MapAccess<'de> for KeyAccess<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let course = self.node.attempt.course;
        let next = self.keys.find(|key| !course.skipped.contains(&joined(&self.node.path, key)));
        let Some(key) = next else { return Ok(None) };
        self.key.clone_from(&key);
        let name: StringDeserializer<ReadError> = key.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let mut node = Node::at(self.node.attempt, joined(&self.node.path, &self.key));
        node.keyed = false;
        seed.deserialize(node).map_err(|error| error.located(&self.node.path, &self.key))
    }
}

struct WordAccess<'n, 'a> {
    node: &'n Node<'a>,
    words: std::vec::IntoIter<Located>,
}

impl<'de> SeqAccess<'de> for WordAccess<'_, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        let Some(word) = self.words.next() else {
            return Ok(None);
        };
        seed.deserialize(self.node.word(word)).map(Some)
    }
}

struct Choice<'a> {
    node: Node<'a>,
    variant: &'static str,
}

impl<'de, 'a> EnumAccess<'de> for Choice<'a> {
    type Error = ReadError;
    type Variant = Content<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'a>), ReadError> {
        let name: StrDeserializer<'_, ReadError> = self.variant.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.node)))
    }
}

/// The content of an enum's variant: the keys below the one that chose it.
struct Content<'a>(Node<'a>);

impl<'de> VariantAccess<'de> for Content<'_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.0.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.0.deserialize_struct("", fields, visitor)
    }
}
