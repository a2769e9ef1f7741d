//! A few numbers of the same thing: their middle and their ends.

/// Values of one quantity over the rounds, at least one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of nothing. Of an even number of values the median is the mean of the middle two.
    pub(crate) fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { least, median, most })
    }
}

/// The median, the 99th and the 99.9th percentile of at least one time.
pub(crate) fn percentiles(times: &mut [f64]) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    [2, 100, 1000].map(|of| times[times.len() - 1 - times.len() / of])
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn middle_and_ends() {
        let check = |values: &[f64], wanted: Option<(f64, f64, f64)>| {
            let wanted = wanted.map(|(least, median, most)| Spread { least, median, most });
            assert_eq!(Spread::of(values), wanted, "{values:?}");
        };
        check(&[], None);
        check(&[4.0], Some((4.0, 4.0, 4.0)));
        check(&[9.0, 1.0, 4.0], Some((1.0, 4.0, 9.0)));
        check(&[9.0, 1.0, 4.0, 6.0], Some((1.0, 5.0, 9.0)));
    }
}
