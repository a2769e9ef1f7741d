//! Texts with places for what an event has: row keys, and columns that are made of several parts.
//!
//! | written | stands for |
//! |---|---|
//! | `%{name}` | a header |
//! | `%[body]` | the body |
//! | `%[1]`, `%[.a.b]` | what the serializer found in the body: a group of its pattern, a member of its JSON |
//! | `%[sequence]` | the event's number in its channel, in 20 digits |
//! | `%[place]` | the channel's identity and that number: a key that no other event ever has |
//! | `%[uuid]` | a random UUID |
//! | `%[salt:16]` | CRC-32 of all the rest, modulo 16, in as many digits as 15 has |
//! | `%Y` `%m` `%d` `%H` … | the time in the header `timestamp`, as Flume and `strftime` write it |
//! | `%s`, `%t` | that time in seconds, in milliseconds |
//! | `%%` | a percent sign |

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, de::Error as _};
use splashdam_core::{Event, Random};
use uuid::Builder;

use super::serializer::EventPlace;

/// More servers than this nobody spreads rows over.
const MOST_SALTS: u32 = 65_536;

/// A text with places.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Header(String),
    Body,
    /// What the serializer found, under the name that it knows it by.
    Found(String),
    Sequence,
    Place,
    Uuid,
    Salt(u32),
    /// A conversion of `strftime`.
    Time(String),
    Seconds,
    Millis,
}

/// What there is to put into the places.
pub(super) struct Filling<'a> {
    pub(super) event: &'a Event,
    pub(super) place: Option<EventPlace>,
    pub(super) zone: &'a TimeZone,
    pub(super) random: &'a Random,
    /// Looks up what the serializer found in the body.
    pub(super) found: &'a dyn Fn(&str) -> Option<Bytes>,
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            let mut chars = after.chars();
            let Some(first) = chars.next() else {
                return Err("a `%` at the end; write `%%` for a percent sign".to_owned());
            };
            rest = chars.as_str();
            if first == '%' {
                plain.push('%');
                continue;
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(match first {
                '{' => Part::Header(up_to(&mut rest, '}')?.to_owned()),
                '[' => Part::named(up_to(&mut rest, ']')?)?,
                's' => Part::Seconds,
                't' => Part::Millis,
                letter => Part::time(letter)?,
            });
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template { parts })
    }

    /// Why an event does not fill it the same whenever it is tried, or nothing.
    pub(super) fn unrepeatable(&self) -> Option<&'static str> {
        let random = self.parts.iter().any(|part| matches!(part, Part::Uuid));
        random.then_some("`%[uuid]` differs from try to try; `%[place]` is as unique")
    }

    /// Whether two events may fill it alike.
    pub(super) fn repeats(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Place | Part::Uuid))
    }

    /// Whether events must tell where they lie.
    pub(super) fn uses_place(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Place | Part::Sequence))
    }

    /// The names that the serializer has to know.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Found(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The text for an event, or what it lacks.
    pub(super) fn fill(&self, filling: &Filling<'_>) -> Result<Bytes, String> {
        if let [part] = &self.parts[..]
            && !matches!(part, Part::Salt(_))
        {
            return part.fill(filling);
        }
        let mut filled = Vec::with_capacity(self.parts.len());
        let mut sum = crc32fast::Hasher::new();
        for part in &self.parts {
            let bytes = match part {
                Part::Salt(_) => Bytes::new(),
                part => part.fill(filling)?,
            };
            sum.update(&bytes);
            filled.push(bytes);
        }
        let sum = sum.finalize();
        let mut text = BytesMut::with_capacity(filled.iter().map(Bytes::len).sum::<usize>() + 8);
        for (part, bytes) in self.parts.iter().zip(filled) {
            match part {
                Part::Salt(of) => text.extend_from_slice(salt(sum, *of).as_bytes()),
                _ => text.extend_from_slice(&bytes),
            }
        }
        Ok(text.freeze())
    }
}

impl Part {
    fn named(name: &str) -> Result<Part, String> {
        if let Some(of) = name.strip_prefix("salt:") {
            let number = of.parse().ok().filter(|of| (2..=MOST_SALTS).contains(of));
            let wrong = || format!("`%[{name}]` needs a number from 2 to {MOST_SALTS}");
            return number.map(Part::Salt).ok_or_else(wrong);
        }
        Ok(match name {
            "body" => Part::Body,
            "sequence" => Part::Sequence,
            "place" => Part::Place,
            "uuid" => Part::Uuid,
            _ if name.starts_with('.') && name.len() > 1 || name.parse::<usize>().is_ok() => {
                Part::Found(name.to_owned())
            }
            _ => {
                return Err(format!(
                    "nothing is called `%[{name}]`; there are body, sequence, place, uuid, salt:N, a number for a group and .name for a member"
                ));
            }
        })
    }

    fn time(letter: char) -> Result<Part, String> {
        const LETTERS: &str = "aAbBcdDeFHIjklmMpSyYzZT";
        let conversion = format!("%{letter}");
        let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        if LETTERS.contains(letter) && jiff::fmt::strtime::format(&conversion, &sample).is_ok() {
            return Ok(Part::Time(conversion));
        }
        Err(format!(
            "`%{letter}` is nothing; write `%%` for a percent sign, `%{{{letter}}}` for a header"
        ))
    }

    fn fill(&self, filling: &Filling<'_>) -> Result<Bytes, String> {
        let no_place = || super::serializer::NO_PLACE.to_owned();
        Ok(match self {
            Part::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Part::Header(name) => {
                let value = filling.event.headers.get(name);
                value.ok_or_else(|| format!("an event has no header `{name}`"))?.as_bytes().clone()
            }
            Part::Body => filling.event.body.clone(),
            Part::Found(name) => (filling.found)(name)
                .ok_or_else(|| format!("an event has nothing for `%[{name}]`"))?,
            Part::Sequence => filling.place.ok_or_else(no_place)?.sequence().into(),
            Part::Place => filling.place.ok_or_else(no_place)?.key().into(),
            Part::Uuid => {
                let halves = [filling.random.next(), filling.random.next()];
                let bytes = (u128::from(halves[0]) << 64 | u128::from(halves[1])).to_be_bytes();
                Builder::from_random_bytes(bytes).into_uuid().to_string().into()
            }
            // Filled when all the rest is known.
            Part::Salt(_) => Bytes::new(),
            Part::Millis => millis(filling.event)?.to_string().into(),
            Part::Seconds => millis(filling.event)?.div_euclid(1000).to_string().into(),
            Part::Time(conversion) => {
                let millis = millis(filling.event)?;
                let time = Timestamp::from_millisecond(millis);
                let time = time.map_err(|_| format!("{millis} is no time that people write"))?;
                let zoned = time.to_zoned(filling.zone.clone());
                let text = jiff::fmt::strtime::format(conversion, &zoned);
                text.map_err(|error| format!("{millis} cannot be written: {error}"))?.into()
            }
        })
    }
}

/// The time in an event's header.
pub(super) fn millis(event: &Event) -> Result<i64, String> {
    let header = event.headers.get("timestamp").ok_or("an event has no header `timestamp`")?;
    let text = header.as_str();
    text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(50).collect();
        format!("the header `timestamp` of an event is `{shown}`, not milliseconds")
    })
}

fn salt(sum: u32, of: u32) -> String {
    let digits = (of - 1).to_string().len();
    format!("{:0digits$}", sum % of)
}

/// Takes the text up to `end` off the front, and `end` with it.
fn up_to<'t>(rest: &mut &'t str, end: char) -> Result<&'t str, String> {
    let (name, after) = rest.split_once(end).ok_or_else(|| format!("a `{end}` is missing"))?;
    *rest = after;
    if name.is_empty() {
        return Err(format!("nothing stands before `{end}`"));
    }
    Ok(name)
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Template::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use splashdam_core::Place;

    use super::*;

    fn fill(template: &str) -> Result<String, String> {
        let seven = 7..8;
        let place =
            Place { queue: [0xab; 16], low: 0, began: 0, ranges: vec![seven], lasting: true };
        let headers = [("host", "web-1"), ("timestamp", "1700000000123")];
        let event = Event { headers: headers.into_iter().collect(), body: "the body".into() };
        let found = |name: &str| (name == "1" || name == ".a.b").then(|| Bytes::from("found"));
        let filling = Filling {
            event: &event,
            place: EventPlace::of(Some(&place)).next(),
            zone: &TimeZone::UTC,
            random: &Random::new(1),
            found: &found,
        };
        let filled = Template::parse(template)?.fill(&filling)?;
        Ok(String::from_utf8_lossy(&filled).into_owned())
    }

    #[test]
    fn templates_are_filled() {
        let check = |template: &str, want: &str| assert_eq!(fill(template).as_deref(), Ok(want));
        check("", "");
        check("a%%b", "a%b");
        check("%{host}/%[body]", "web-1/the body");
        check("%[1]%[.a.b]", "foundfound");
        check("%Y-%m-%d %H:%M:%S", "2023-11-14 22:13:20");
        check("%t %s", "1700000000123 1700000000");
        check("%[sequence]", "00000000000000000007");
        check("%[place]", "abababababababab-00000000000000000007");
        // CRC-32 of "-web-1" is 0x775dc93e.
        let rest = 0x775d_c93e_u32;
        check("%[salt:16]-%{host}", &format!("{:02}-web-1", rest % 16));
        check("%[salt:2]-%{host}", &format!("{}-web-1", rest % 2));
        assert_eq!(fill("%[uuid]").unwrap().len(), 36);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |template: &str, want: &str| {
            let error = fill(template).unwrap_err();
            assert!(error.contains(want), "{template}: {error}");
        };
        check("%", "at the end");
        check("%{host", "`}` is missing");
        check("%[]", "nothing stands before `]`");
        check("%[x]", "nothing is called `%[x]`");
        check("%[salt:1]", "from 2 to");
        check("%[salt:x]", "from 2 to");
        check("%Q", "`%Q` is nothing");
        check("%{nobody}", "no header `nobody`");
        check("%[2]", "nothing for `%[2]`");
    }

    #[test]
    fn times_come_from_a_header() {
        let check = |value: Option<&str>, want: &str| {
            let mut event = Event::new("");
            value.map(|value| event.headers.insert("timestamp", value.to_owned()));
            match millis(&event) {
                Ok(millis) => assert_eq!(millis.to_string(), want),
                Err(error) => assert!(error.contains(want), "{error}"),
            }
        };
        check(Some("5"), "5");
        check(Some("soon"), "`soon`, not milliseconds");
        check(None, "no header `timestamp`");
    }

    #[test]
    fn whether_keys_repeat_and_of_what_they_are_is_known() {
        let check = |template: &str, repeats: bool, repeatable: bool, uses_place: bool| {
            let template = Template::parse(template).unwrap();
            let got = (template.repeats(), template.unrepeatable().is_none());
            assert_eq!((got, template.uses_place()), ((repeats, repeatable), uses_place));
        };
        check("%{host}", true, true, false);
        check("%[sequence]", true, true, true);
        check("%[place]", false, true, true);
        check("%[uuid]", false, false, false);
    }
}
