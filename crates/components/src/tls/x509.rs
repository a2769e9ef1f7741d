//! What is read of certificates here rather than by webpki: until when they are valid, and who signed them.

use rustls::pki_types::{SignatureVerificationAlgorithm, UnixTime};

use super::der::{
    BIT_STRING, CONTEXT_0, Der, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, Value,
};

/// A certificate's parts, as slices of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    signed: &'a [u8],
    issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// Seconds since 1970.
    pub(super) not_before: i64,
    /// Seconds since 1970.
    pub(super) not_after: i64,
    key_algorithm: &'a [u8],
    key: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Reads a certificate; `None` when it is none.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = Der(Der(certificate).content(SEQUENCE)?);
        let signed = outer.tagged(SEQUENCE)?;
        let signature_algorithm = outer.content(SEQUENCE)?;
        let signature = bits(outer.content(BIT_STRING)?)?;
        let mut fields = Der(signed.content);
        let _version = fields.tagged(CONTEXT_0);
        fields.tagged(INTEGER)?;
        fields.tagged(SEQUENCE)?;
        let issuer = fields.tagged(SEQUENCE)?.whole;
        let mut validity = Der(fields.content(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.value()?)?, time(validity.value()?)?);
        let subject = fields.tagged(SEQUENCE)?.whole;
        let mut public = Der(fields.content(SEQUENCE)?);
        let key_algorithm = public.content(SEQUENCE)?;
        let key = bits(public.content(BIT_STRING)?)?;
        Some(Parts {
            signed: signed.whole,
            issuer,
            subject,
            not_before,
            not_after,
            key_algorithm,
            key,
            signature_algorithm,
            signature,
        })
    }

    /// Whether `now` lies within its validity.
    pub(super) fn is_valid_at(&self, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether the key of `issuer` signed it.
    pub(super) fn is_signed_by(
        &self,
        issuer: &Parts<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        self.issuer == issuer.subject
            && algorithms.iter().any(|algorithm| {
                algorithm.signature_alg_id().as_ref() == self.signature_algorithm
                    && algorithm.public_key_alg_id().as_ref() == issuer.key_algorithm
                    && algorithm.verify_signature(issuer.key, self.signed, self.signature).is_ok()
            })
    }
}

/// A bit string of whole bytes.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.strip_prefix(&[0])
}

/// `YYMMDDhhmmssZ`, from 1950 to 2049, or `YYYYMMDDhhmmssZ`.
fn time(value: Value<'_>) -> Option<i64> {
    let text = std::str::from_utf8(value.content).ok()?.strip_suffix('Z')?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let (century, text) = match (value.tag, text.len(), digits) {
        (UTC_TIME, 12, true) => (if text < "5" { "20" } else { "19" }, text),
        (GENERALIZED_TIME, 14, true) => text.split_at(2),
        _ => return None,
    };
    let field = |at: usize| text.get(at..at + 2)?.parse::<i8>().ok();
    let year = century.parse::<i16>().ok()? * 100 + i16::from(field(0)?);
    let date =
        jiff::civil::DateTime::new(year, field(2)?, field(4)?, field(6)?, field(8)?, field(10)?, 0);
    Some(date.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}
