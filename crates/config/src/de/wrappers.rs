//! Field types with a meaning of their own.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, Visitor};

use crate::source::Span;
use crate::text::is_word_blank;
use crate::tree::Section;

pub(super) const SECTION: &str = "$splashdam::Section";
pub(super) const SPANNED: &str = "$splashdam::Spanned";
pub(super) const LENIENT: &str = "$splashdam::Lenient";

/// Name of an enum, given by `#[serde(rename = "any case")]`, whose variants match in any case.
pub(super) const ANY_CASE: &str = "any case";

/// Words between blanks, as `sources` and `filegroups` are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

/// Parts between commas, trimmed, empty ones left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommaList(pub Vec<String>);

/// A value, or nothing and a warning where the text will not do: for keys whose default Flume
/// falls back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lenient<T>(pub Option<T>);

/// A value and its place. Two are equal when their values are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands; unset for one that was not written.
    pub span: Option<Span>,
}

thread_local! {
    /// serde can carry texts and numbers only. A section or a span goes from the deserializer to
    /// the visitor it calls next through here, and never stays.
    static HANDED: RefCell<Option<Handed>> = const { RefCell::new(None) };
}

pub(super) enum Handed {
    Section(Section),
    Span(Option<Span>),
}

pub(super) fn hand(what: Handed) {
    HANDED.set(Some(what));
}

fn taken() -> Option<Handed> {
    HANDED.take()
}

impl<T> Spanned<T> {
    /// A value that was written at `span`.
    pub fn new(value: T, span: impl Into<Option<Span>>) -> Self {
        Spanned { value, span: span.into() }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Spanned { value, span: None }
    }
}

impl<T> Lenient<T> {
    /// The value, or the default that the caller knows.
    pub fn unwrap_or(self, default: T) -> T {
        self.0.unwrap_or(default)
    }
}

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Lenient(None)
    }
}

impl Deref for Words {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Deref for CommaList {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Words(
            text.split(is_word_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        ))
    }
}

impl<'de> Deserialize<'de> for CommaList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(CommaList(parts.map(str::to_owned).collect()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                inner: D,
            ) -> Result<Spanned<T>, D::Error> {
                let span = match taken() {
                    Some(Handed::Span(span)) => span,
                    _ => None,
                };
                Ok(Spanned { value: T::deserialize(inner)?, span })
            }
        }

        deserializer.deserialize_newtype_struct(SPANNED, SpannedVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LenientVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for LenientVisitor<T> {
            type Value = Lenient<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                inner: D,
            ) -> Result<Lenient<T>, D::Error> {
                Ok(Lenient(Some(T::deserialize(inner)?)))
            }

            fn visit_none<E: Error>(self) -> Result<Lenient<T>, E> {
                Ok(Lenient(None))
            }
        }

        deserializer.deserialize_newtype_struct(LENIENT, LenientVisitor(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SectionVisitor;

        impl<'de> Visitor<'de> for SectionVisitor {
            type Value = Section;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a section")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                inner: D,
            ) -> Result<Section, D::Error> {
                let handed = taken();
                IgnoredAny::deserialize(inner)?;
                match handed {
                    Some(Handed::Section(section)) => Ok(section),
                    _ => Ok(Section::empty()),
                }
            }
        }

        deserializer.deserialize_newtype_struct(SECTION, SectionVisitor)
    }
}
