//! Any bytes as a request to the HTTP source's JSON handler.

use bytes::Bytes;
use splashdam_core::Event;
use splashdam_wire::http_json::{Charset, is_json, read_events};

/// Reads the input in each charset: what is read holds no more than was there, and text that JSON's
/// strict grammar refuses is no event of lines.
pub fn request(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    for charset in [Charset::Utf8, Charset::Utf16, Charset::Utf32] {
        let text = charset.decode(input.clone());
        // Each unit of two or four bytes becomes three at the most, each byte three.
        assert!(text.len() <= 3 * input.len() + 3);
        let Ok(batch) = read_events(&text, charset) else { continue };
        let bytes: usize = batch.events().iter().map(Event::bytes).sum();
        assert!(bytes <= 4 * text.len() + 2 * batch.len());
        assert!(batch.len() <= text.len());
    }
    assert!(!is_json(&input) || std::str::from_utf8(&input).is_ok());
}
