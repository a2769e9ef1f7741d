//! A message, as its sections lie one behind the other (AMQP 1.0, part 3).
//!
//! ```text
//! header 0x70 │ delivery annotations 0x71 │ message annotations 0x72 │ properties 0x73 │
//! application properties 0x74 │ body: data 0x75 …, sequence 0x76 … or value 0x77 │ footer 0x78
//! ```
//!
//! Each may be missing. Text and bytes are slices of the message; a list or a map in the body is left as it is.

use bytes::{Bytes, BytesMut};

use crate::value::{self, Descriptor, Elements, Malformed, Value};

/// Application properties of a message at the most: more make it malformed.
pub const PROPERTIES_LIMIT: usize = 4096;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// How often it was given out before, and came back.
    pub delivery_count: u32,
    /// Who sent it, as the broker vouches for.
    pub user_id: Option<Bytes>,
    /// Such as `text/plain`; empty for none.
    pub content_type: Option<Value>,
    /// The group that it belongs to, as text.
    pub group_id: Option<Value>,
    /// Its place in the group.
    pub group_sequence: Option<u32>,
    /// Names and values that its sender gave, in order.
    pub application_properties: Vec<(Bytes, Value)>,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Body {
    /// Nothing.
    #[default]
    None,
    /// Bytes.
    Data(Bytes),
    /// A value.
    Value(Value),
    /// A list.
    Sequence,
}

impl Message {
    /// Reads the sections of `input`.
    ///
    /// # Errors
    /// [`Malformed`] when it is no message.
    pub fn read(mut input: Bytes) -> Result<Message, Malformed> {
        let mut message = Message::default();
        while !input.is_empty() {
            let section = value::read(&mut input)?;
            let Value::Described(described) = section else {
                return Err(Malformed::new("a section without a name", &input));
            };
            match *described {
                (Descriptor::Code(0x70), Value::List(fields)) => message.header(fields)?,
                (Descriptor::Code(0x73), Value::List(fields)) => message.properties(fields)?,
                (Descriptor::Code(0x74), Value::Map(map)) => message.application(map)?,
                (Descriptor::Code(0x75), Value::Binary(bytes)) => message.data(bytes),
                (Descriptor::Code(0x76), _) => message.body = Body::Sequence,
                (Descriptor::Code(0x77), value) => message.body = Body::Value(value),
                // Annotations and footers are for who is between sender and receiver; sections that are not
                // known cannot be told from garbage.
                (Descriptor::Code(0x71 | 0x72 | 0x78), _) => {}
                _ => return Err(Malformed::new("a section that there is not", &input)),
            }
        }
        Ok(message)
    }

    fn header(&mut self, mut fields: Elements) -> Result<(), Malformed> {
        fields.pass(4)?;
        self.delivery_count = fields.field()?.unsigned().unwrap_or(0);
        Ok(())
    }

    fn properties(&mut self, mut fields: Elements) -> Result<(), Malformed> {
        fields.pass(1)?;
        if let Value::Binary(user) = fields.field()? {
            self.user_id = Some(user);
        }
        fields.pass(4)?;
        self.content_type = Some(fields.field()?).filter(|value| *value != Value::Null);
        fields.pass(3)?;
        self.group_id = Some(fields.field()?).filter(|value| *value != Value::Null);
        self.group_sequence = fields.field()?.unsigned();
        Ok(())
    }

    fn application(&mut self, mut map: Elements) -> Result<(), Malformed> {
        while let Some(name) = map.next_value()? {
            let (Value::Text(name) | Value::Symbol(name)) = name else {
                return Err(Malformed { what: "a property whose name is no text", left: 0 });
            };
            let value = map
                .next_value()?
                .ok_or(Malformed { what: "a property without a value", left: 0 })?;
            if self.application_properties.len() == PROPERTIES_LIMIT {
                return Err(Malformed { what: "more than 4096 properties", left: 0 });
            }
            self.application_properties.push((name, value));
        }
        Ok(())
    }

    /// A body may come in several sections of bytes.
    fn data(&mut self, bytes: Bytes) {
        self.body = match std::mem::take(&mut self.body) {
            Body::Data(before) => {
                // Grows in place while nobody else holds it, so that many small sections cost no more than one.
                let mut all =
                    before.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
                all.extend_from_slice(&bytes);
                Body::Data(all.freeze())
            }
            _ => Body::Data(bytes),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &'static [u8], want: &Message) {
        assert_eq!(Message::read(Bytes::from_static(bytes)).as_ref(), Ok(want), "{bytes:x?}");
    }

    #[test]
    fn sections_are_read_in_any_company() {
        let none = Message::default;
        let text = |text: &'static str| Value::Text(Bytes::from_static(text.as_bytes()));
        check(b"", &none());
        check(
            b"\0\x53\x70\xc0\x07\x05\x41\x40\x40\x40\x52\x02",
            &Message { delivery_count: 2, ..none() },
        );
        check(b"\0\x53\x72\xc1\x01\0", &none());
        check(b"\0\x53\x77\xa1\x02hi", &Message { body: Body::Value(text("hi")), ..none() });
        check(
            b"\0\x53\x75\xa0\x02hi",
            &Message { body: Body::Data(Bytes::from_static(b"hi")), ..none() },
        );
        check(
            b"\0\x53\x75\xa0\x02hi\0\x53\x75\xa0\x01!\0\x53\x75\xa0\x01!",
            &Message { body: Body::Data(Bytes::from_static(b"hi!!")), ..none() },
        );
        check(b"\0\x53\x76\x45\0\x53\x78\xc1\x01\0", &Message { body: Body::Sequence, ..none() });
        check(
            b"\0\x53\x74\xc1\x0b\x04\xa1\x01a\x41\xa1\x01b\xa1\x01c",
            &Message {
                application_properties: vec![
                    (Bytes::from_static(b"a"), Value::Boolean(true)),
                    (Bytes::from_static(b"b"), text("c")),
                ],
                ..none()
            },
        );
        check(
            b"\0\x53\x73\xc0\x15\x0d\x40\xa0\x01u\x40\x40\x40\x40\xa3\x01t\x40\x40\x40\xa1\x01g\x52\x05\x40",
            &Message {
                user_id: Some(Bytes::from_static(b"u")),
                content_type: Some(Value::Symbol(Bytes::from_static(b"t"))),
                group_id: Some(text("g")),
                group_sequence: Some(5),
                ..none()
            },
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let check = |bytes: &[u8], what: &str| {
            let error = Message::read(Bytes::copy_from_slice(bytes)).expect_err("no message");
            assert!(error.to_string().contains(what), "{bytes:x?}: {error}");
        };
        check(b"\x40", "a section without a name");
        check(b"\0\x53\x01\x40", "a section that there is not");
        check(b"\0\x53\x70\x40", "a section that there is not");
        check(b"\0\x53\x74\xc1\x02\x01\x41", "whose name is no text");
        check(b"\0\x53\x74\xc1\x04\x01\xa1\x01a", "without a value");
        check(b"\0\x53\x74\xc1\x04\x02\xa1\x01a", "an end where a value begins");
        let many: Vec<u8> = b"\xa1\x01a\x40".repeat(PROPERTIES_LIMIT + 1);
        let (bytes, count) = (many.len() + 4, 2 * (PROPERTIES_LIMIT + 1));
        let head = [b"\0\x53\x74\xd1".to_vec(), (bytes as u32).to_be_bytes().to_vec()].concat();
        let message = [head, (count as u32).to_be_bytes().to_vec(), many].concat();
        check(&message, "more than 4096 properties");
    }
}
