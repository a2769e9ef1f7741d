//! A bar chart as SVG: two bars per quantity, each pair on a scale of its own, with the spread as a whisker.

use std::fmt::Write as _;

use crate::spread::Spread;
use crate::workload::{Better, Quantity};

/// One quantity of both agents.
pub(crate) struct Bars<'a> {
    pub(crate) quantity: &'a Quantity,
    pub(crate) flume: Spread,
    pub(crate) ours: Spread,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 100.0;
/// The longest bar or whisker; the rest of the width is for its label.
const LONGEST: f64 = 520.0;
const BAR: f64 = 20.0;
const GROUP: f64 = 84.0;
const TOP: f64 = 56.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:16px;font-weight:600}\
    .name{font-weight:600}.flume{fill:#8c959f}.ours{fill:#0969da}.whisker{stroke:#24292f;stroke-width:1.5}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.whisker{stroke:#e6edf3}}";

/// The whole picture.
pub(crate) fn svg(title: &str, bars: &[Bars<'_>]) -> String {
    let height = TOP + GROUP * bars.len() as f64;
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"16\" y=\"28\">{0}</text>\n",
        escaped(title)
    );
    let mut top = TOP;
    for pair in bars {
        let better = if pair.quantity.better == Better::Higher {
            "more is better"
        } else {
            "less is better"
        };
        let name = escaped(pair.quantity.name);
        line(
            &mut picture,
            &format!("<text class=\"name\" x=\"16\" y=\"{}\">{name} ({better})</text>", top + 10.0),
        );
        let scale = LONGEST / pair.flume.most.max(pair.ours.most).max(f64::MIN_POSITIVE);
        bar(&mut picture, pair, "Flume 1.11", "flume", &pair.flume, top + 18.0, scale);
        bar(&mut picture, pair, "splashdam", "ours", &pair.ours, top + 18.0 + BAR + 4.0, scale);
        top += GROUP;
    }
    picture + "</svg>\n"
}

fn bar(
    picture: &mut String,
    pair: &Bars<'_>,
    who: &str,
    class: &str,
    spread: &Spread,
    top: f64,
    scale: f64,
) {
    let (middle, text) = (top + BAR / 2.0, top + BAR / 2.0 + 4.5);
    let (least, median, most) = (spread.least * scale, spread.median * scale, spread.most * scale);
    let (from, to) = (LEFT + least, LEFT + most);
    line(picture, &format!("<text x=\"16\" y=\"{text:.1}\">{who}</text>"));
    line(
        picture,
        &format!(
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            median.max(1.0)
        ),
    );
    line(
        picture,
        &format!(
            "<path class=\"whisker\" d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {0:.1}v8M{to:.1} {0:.1}v8\"/>",
            middle - 4.0
        ),
    );
    let label = pair.quantity.unit.show(spread.median);
    line(picture, &format!("<text x=\"{:.1}\" y=\"{text:.1}\">{label}</text>", to + 8.0));
}

fn line(picture: &mut String, element: &str) {
    // Writing to a string does not fail.
    writeln!(picture, "{element}").ok();
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Bars, svg};
    use crate::spread::Spread;
    use crate::workload::{Better, Quantity, Unit};

    #[test]
    fn longest_bar_fills_its_scale_and_text_is_escaped() {
        let quantity = Quantity { name: "a < b & c", unit: Unit::Seconds, better: Better::Lower };
        let flume = Spread { least: 4.0, median: 4.0, most: 4.0 };
        let ours = Spread { least: 1.0, median: 1.0, most: 2.0 };
        let picture = svg("t", &[Bars { quantity: &quantity, flume, ours }]);
        assert!(picture.contains("a &lt; b &amp; c (less is better)"), "{picture}");
        assert!(picture.contains("width=\"520.0\""), "{picture}");
        assert!(picture.contains("width=\"130.0\""), "{picture}");
        assert_eq!(picture.matches("<rect").count(), 2);
    }
}
