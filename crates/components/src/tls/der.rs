//! As much of DER as key stores and certificates need here: a walk over values, one after the other, that copies
//! nothing.

/// Tags.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, around the version of a certificate.
pub(super) const CONTEXT_0: u8 = 0xa0;

/// Values that are still to be read.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    /// With tag and length.
    pub(super) whole: &'a [u8],
    pub(super) content: &'a [u8],
}

impl<'a> Der<'a> {
    /// The next value; `None` at the end and when what follows is none.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, content) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // Up to four bytes of length; 0x80 alone, an unknown length, is not DER.
            let bytes = usize::from(first & 0x7f);
            let (length, content) = rest.split_at_checked(bytes)?;
            (1..=4).contains(&bytes).then_some(())?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), content)
        };
        let (content, rest) = content.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Value { tag, whole, content })
    }

    /// The next value, if it has this tag; else it stays.
    pub(super) fn tagged(&mut self, tag: u8) -> Option<Value<'a>> {
        if *self.0.first()? != tag {
            return None;
        }
        self.value()
    }

    /// What is in the next value, which has this tag.
    pub(super) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.tagged(tag).map(|value| value.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_each_other_and_lies_are_refused() {
        let check = |bytes: &[u8], want: &[(u8, usize)], rest: usize| {
            let mut der = Der(bytes);
            let mut seen = Vec::new();
            while let Some(value) = der.value() {
                seen.push((value.tag, value.content.len()));
            }
            assert_eq!((seen.as_slice(), der.0.len()), (want, rest), "{bytes:?}");
        };
        check(&[], &[], 0);
        check(&[2, 1, 7, 4, 0], &[(2, 1), (4, 0)], 0);
        check(&[4, 0x81, 2, 1, 2], &[(4, 2)], 0);
        check(&[4, 0x84, 0, 0, 0, 1, 9, 5], &[(4, 1)], 1);
        check(&[4, 3, 1, 2], &[], 4);
        check(&[4, 0x80, 0, 0], &[], 4);
        check(&[4, 0x85, 0, 0, 0, 0, 0], &[], 7);
        check(&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 0], &[], 7);
        let mut der = Der(&[2, 1, 7]);
        assert_eq!((der.content(4), der.content(2)), (None, Some(&[7][..])));
    }
}
