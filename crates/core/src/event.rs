//! An event: a byte payload with headers. Cloning one never copies a byte.

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// A payload and what is said about it. There is no size limit in the model itself
/// (`org.apache.flume.Event`); limits belong to sources and channels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Names and values, names unique.
    pub headers: Headers,
    /// The payload, opaque to the agent.
    pub body: Bytes,
}

impl Event {
    /// An event without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Event { headers: Headers::default(), body: body.into() }
    }

    /// Copies body and headers to the end of `copies`, where they stay as slices of it.
    pub(crate) fn move_into(&mut self, copies: &mut BytesMut) {
        let mut copy = |bytes: &mut Bytes| {
            copies.extend_from_slice(bytes);
            *bytes = copies.split().freeze();
        };
        copy(&mut self.body);
        if let Some(list) = &mut self.headers.0 {
            for (name, value) in Arc::make_mut(list) {
                copy(&mut name.0);
                copy(&mut value.0);
            }
        }
    }

    /// Bytes of body and headers together, as limits count them.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.headers.bytes()
    }
}

/// A few header names and values, names unique, in the order in which they were first set.
///
/// Clones share one allocation until one of them is changed.
#[derive(Clone, Default)]
pub struct Headers(Option<Arc<Vec<(Text, Text)>>>);

impl Headers {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.iter().find(|(n, _)| n.is(name)).map(|(_, value)| value)
    }

    /// Whether `name` is set.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets `name` to `value` and returns what it was before.
    pub fn insert(&mut self, name: impl Into<Text>, value: impl Into<Text>) -> Option<Text> {
        let (name, value) = (name.into(), value.into());
        let list = Arc::make_mut(self.0.get_or_insert_default());
        match list.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                list.push((name, value));
                None
            }
        }
    }

    /// Removes `name` and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Text> {
        let index = self.iter().position(|(n, _)| n.is(name))?;
        let list = Arc::make_mut(self.0.as_mut()?);
        let (_, value) = list.remove(index);
        if list.is_empty() {
            self.0 = None;
        }
        Some(value)
    }

    /// Keeps the headers for which `keep` says true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let Some(list) = &mut self.0 else { return };
        if list.iter().all(|(n, v)| keep(n, v)) {
            return;
        }
        Arc::make_mut(list).retain(|(n, v)| keep(n, v));
        if list.is_empty() {
            self.0 = None;
        }
    }

    /// Names and values in the order in which they were first set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> {
        self.0.as_deref().map(Vec::as_slice).unwrap_or_default().iter().map(|(n, v)| (n, v))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_deref().map_or(0, Vec::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes of all names and values together.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            None => 0,
            Some(list) => list.iter().map(|(n, v)| n.0.len() + v.0.len()).sum(),
        }
    }
}

/// Two sets are equal when they hold the same names and values, in whatever order.
impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(n, v)| other.get(n) == Some(v))
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: Into<Text>, V: Into<Text>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(iter: I) -> Self {
        // A few are compared with each other; many, as a hostile sender may give, are looked up.
        const FEW: usize = 16;
        let mut list: Vec<(Text, Text)> = Vec::new();
        let mut places = HashMap::new();
        for (name, value) in iter {
            let (name, value) = (name.into(), value.into());
            let place = match list.len() {
                0..FEW => list.iter().position(|(known, _)| *known == name),
                _ => places.get(&name).copied(),
            };
            match place {
                Some(place) => list[place].1 = value,
                None => {
                    list.push((name, value));
                    let new = if list.len() == FEW { 0 } else { list.len() - 1 };
                    if list.len() >= FEW {
                        places
                            .extend((new..).zip(&list[new..]).map(|(at, (n, _))| (n.clone(), at)));
                    }
                }
            }
        }
        Headers((!list.is_empty()).then(|| Arc::new(list)))
    }
}

/// Bytes known to be UTF-8; a slice of a larger buffer where that is where they came from.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

/// The bytes were not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not UTF-8 at byte {valid_up_to}")]
pub struct NotUtf8 {
    /// Bytes before the first that is not UTF-8.
    pub valid_up_to: usize,
}

impl Text {
    /// A text that lives as long as the program, without an allocation.
    pub const fn from_static(text: &'static str) -> Self {
        Text(Bytes::from_static(text.as_bytes()))
    }

    /// Checks `bytes` and takes them over without a copy.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, NotUtf8> {
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Text(bytes)),
            Err(e) => Err(NotUtf8 { valid_up_to: e.valid_up_to() }),
        }
    }

    /// The text. The check was made when it was built; it is made again here because the type
    /// is built without `unsafe`, and is cheap for the few short texts that headers are.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Compares bytes, which needs no check.
    fn is(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }

    /// The bytes, shared.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Bytes::from(text))
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collected_headers_are_those_that_are_inserted() {
        for (count, names) in [(0, 1), (10, 3), (16, 16), (17, 16), (100, 17), (100, 50)] {
            let pairs = || (0..count).map(|n| ((n * 7 % names).to_string(), n.to_string()));
            let mut inserted = Headers::default();
            pairs().for_each(|(name, value)| drop(inserted.insert(name, value)));
            let collected: Headers = pairs().collect();
            let all = |headers: &Headers| format!("{headers:?}");
            assert_eq!(all(&collected), all(&inserted), "{count} of {names} names");
            assert_eq!(collected.is_empty(), count == 0);
        }
    }

    #[test]
    fn headers_keep_names_unique_and_clones_apart() {
        let mut a: Headers = [("x", "1"), ("y", "2")].into_iter().collect();
        let b = a.clone();
        assert_eq!(a.insert("x", "3"), Some("1".into()));
        assert_eq!(a.get("x").unwrap().as_str(), "3");
        assert_eq!(b.get("x").unwrap().as_str(), "1");
        assert_eq!((a.len(), a.bytes()), (2, 4));
        assert_eq!(a.remove("x"), Some("3".into()));
        assert_eq!(a.remove("x"), None);
        a.retain(|name, _| name != "y");
        assert!(a.is_empty());
        assert_eq!(a, Headers::default());
    }

    #[test]
    fn equality_ignores_order() {
        let a: Headers = [("x", "1"), ("y", "2")].into_iter().collect();
        let b: Headers = [("y", "2"), ("x", "1")].into_iter().collect();
        let c: Headers = [("y", "2"), ("x", "2")].into_iter().collect();
        assert_eq!(a, b);
        assert_ne!(a, c);
    }

    #[test]
    fn text_refuses_what_is_not_utf8() {
        assert_eq!(Text::from_utf8(Bytes::from_static(b"ab\xff")), Err(NotUtf8 { valid_up_to: 2 }));
        assert_eq!(
            Text::from_utf8(Bytes::from_static("grün".as_bytes())).unwrap().as_str(),
            "grün"
        );
    }
}
