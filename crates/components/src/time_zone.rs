//! The time zone in which names and escapes are written when none is configured.

use jiff::tz::TimeZone;
use splashdam_core::World;

/// The local zone as a JVM finds it: the property `user.timezone`, the variable `TZ`, then what the
/// machine is set to. A name that is not known is passed over; UTC is the last resort.
pub(crate) fn local(world: &dyn World) -> TimeZone {
    let named = |name: String| zone(name.trim_start_matches(':'));
    let property = world.property("user.timezone").and_then(named);
    property.or_else(|| world.variable("TZ").and_then(named)).unwrap_or_else(TimeZone::system)
}

/// A zone by its name, as `Europe/Berlin`, or by a POSIX rule, as `CET-1CEST,M3.5.0,M10.5.0/3`.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() {
        return None;
    }
    TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use splashdam_testkit::FakeWorld;

    #[test]
    fn the_property_comes_before_the_variable() {
        let check = |property: &str, variable: &str, hour: i8| {
            let world = FakeWorld::default()
                .with_property("user.timezone", property)
                .with_variable("TZ", variable);
            let noon: Timestamp = "2024-01-01T12:00:00Z".parse().unwrap();
            let local = noon.to_zoned(local(&world));
            assert_eq!(local.hour(), hour, "{property} {variable}");
        };
        check("Asia/Tokyo", "Europe/Berlin", 21);
        check("", "Europe/Berlin", 13);
        check("Nowhere/Land", ":Europe/Berlin", 13);
        check("", "CET-1CEST,M3.5.0,M10.5.0/3", 13);
    }
}
