// SPDX-License-Identifier: GPL-2.0
//! A bar chart in SVG, by hand: a plotting library would be by far the largest
//! thing this program depends on.

/// One figure: the bar is as long as the ratio, and both are written beside it.
pub struct Bar {
    pub ratio: f64,
    pub value: f64,
}

/// One group of bars.
pub struct Row<'a> {
    pub label: &'a str,
    pub bars: Vec<Option<Bar>>,
}

const COLOURS: &[&str] = &["#9aa5b1", "#e0a458", "#2a6f97", "#5a8f3c"];
const LEFT: f64 = 270.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 14.0;
const GAP: f64 = 16.0;
const TOP: f64 = 76.0;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Draws the rows; 1.0 is marked by a line.
pub fn draw(title: &str, legend: &[&str], rows: &[Row<'_>]) -> String {
    let most = rows
        .iter()
        .flat_map(|row| row.bars.iter().flatten())
        .map(|bar| bar.ratio)
        .fold(1.2, f64::max);
    let x = |value: f64| LEFT + value / most * WIDTH;
    #[expect(clippy::cast_precision_loss, reason = "there are few rows")]
    let n = |count: usize| count as f64;
    let group = BAR * n(legend.len()) + GAP;
    let height = TOP + group * n(rows.len()) + 24.0;

    let mut svg = String::new();
    let mut put = |text: String| svg.push_str(&text);
    put(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{height}\" viewBox=\"0 0 {0} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\">{1}</text>\n",
        LEFT + WIDTH + 90.0,
        escape(title)
    ));
    for (at, name) in legend.iter().enumerate() {
        let left = LEFT + 170.0 * n(at);
        put(format!(
            "<rect x=\"{left}\" y=\"40\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"51\">{}</text>\n",
            COLOURS[at % COLOURS.len()],
            left + 18.0,
            escape(name)
        ));
    }
    for (at, row) in rows.iter().enumerate() {
        let top = TOP + group * n(at);
        put(format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 10.0,
            top + BAR * n(legend.len()) / 2.0 + 4.0,
            escape(row.label)
        ));
        for (index, bar) in row.bars.iter().enumerate() {
            let Some(Bar { ratio, value }) = bar else {
                continue;
            };
            let y = top + BAR * n(index);
            put(format!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{ratio:.2} ({value:.0})</text>\n",
                x(*ratio) - LEFT,
                BAR - 2.0,
                COLOURS[index % COLOURS.len()],
                x(*ratio) + 4.0,
                y + BAR - 4.0
            ));
        }
    }
    put(format!(
        "<line x1=\"{0:.1}\" y1=\"{1}\" x2=\"{0:.1}\" y2=\"{2}\" stroke=\"#333\" stroke-dasharray=\"4 3\"/><text x=\"{0:.1}\" y=\"{3}\" text-anchor=\"middle\">veth TCP = 1</text>\n</svg>\n",
        x(1.0),
        TOP - 8.0,
        height - 22.0,
        height - 8.0
    ));
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_gets_a_bar() {
        let bar = |ratio| Some(Bar { ratio, value: 12.4 });
        let rows = [Row {
            label: "a <b",
            bars: vec![bar(0.5), None, bar(1.5)],
        }];
        let svg = draw("title", &["x", "y", "z"], &rows);
        assert_eq!(svg.matches("<rect").count(), 1 + 3 + 2);
        assert!(svg.contains("a &lt;b"));
        assert!(svg.contains("0.50 (12)"));
    }
}
