//! A topology in boxes and lines: sources, channels and sinks in three columns.
//!
//! Between two columns each node on the left has a vertical track of its own. Where lines of
//! different nodes cross, the horizontal one passes beneath: `─│─`.

use std::collections::HashMap;

use super::{Edge, Graph, Node};

/// Rows from one box to the next.
const GAP_ROWS: usize = 1;

/// A grid of characters that grows as it is drawn on.
#[derive(Default)]
struct Canvas(Vec<Vec<char>>);

/// A box: where its rows are.
struct Place {
    top: usize,
    height: usize,
}

/// Sides by which a line enters a cell.
const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

/// Draws the whole.
pub(super) fn draw(graph: &Graph) -> String {
    let columns = [&graph.sources[..], &graph.channels[..], &graph.sinks[..]];
    let places = columns.map(places);
    let mut canvas = Canvas::default();
    let mut left = 0;
    for (index, (nodes, places)) in columns.iter().zip(&places).enumerate() {
        let width = nodes.iter().flat_map(super::Node::lines).map(|l| l.chars().count()).max();
        let width = width.unwrap_or(0) + 4;
        for (node, place) in nodes.iter().zip(places) {
            canvas.frame(node, place, left, width);
        }
        left += width;
        let edges = match index {
            0 => &graph.puts,
            1 => &graph.takes,
            _ => break,
        };
        left += gutter(&mut canvas, edges, places, &self::places(columns[index + 1]), left);
    }
    let mut text = format!("agent {}\n\n{}", graph.agent, canvas.text());
    for edge in graph.puts.iter().filter(|edge| edge.label.is_some() || edge.optional) {
        let (from, to) = (&graph.sources[edge.from].name, &graph.channels[edge.to].name);
        let optional = edge.optional.then_some("optional");
        let label: Vec<&str> = edge.label.as_deref().into_iter().chain(optional).collect();
        text += &format!("\n{from} → {to}: {}", label.join(", "));
    }
    text.trim_end().to_owned() + "\n"
}

/// Boxes of one column, from the top.
fn places(nodes: &[Node]) -> Vec<Place> {
    let mut top = 0;
    let place = |node: &Node| {
        let place = Place { top, height: node.lines().count() + 2 };
        top += place.height + GAP_ROWS;
        place
    };
    nodes.iter().map(place).collect()
}

/// Draws the lines between two columns from `left` on; answers how wide they are.
fn gutter(canvas: &mut Canvas, edges: &[Edge], from: &[Place], to: &[Place], left: usize) -> usize {
    let mut starts: Vec<usize> = edges.iter().map(|edge| edge.from).collect();
    starts.sort_unstable();
    starts.dedup();
    // A line leaves on the second row of a box; it arrives on the second where no other line that
    // leaves there could be taken for it, else on the third.
    let straight = starts.iter().all(|start| {
        let leaves = from[*start].top + 1;
        edges.iter().all(|edge| {
            let mine = edges.iter().any(|e| e.from == *start && e.to == edge.to);
            to[edge.to].top + 1 != leaves || mine
        })
    });
    let enters = |edge: &Edge| to[edge.to].top + if straight { 1 } else { 2 };
    let width = 2 * starts.len() + 4;
    let mut cells: HashMap<(usize, usize), (usize, u8, bool)> = HashMap::new();
    for (track, start) in starts.iter().enumerate() {
        let column = left + 1 + 2 * track;
        let leaves = from[*start].top + 1;
        let rows: Vec<usize> =
            edges.iter().filter(|edge| edge.from == *start).map(enters).collect();
        let mut line = |row: usize, column: usize, sides: u8, joins: bool| {
            lay(&mut cells, (row, column), *start, sides, joins);
        };
        for at in left..column {
            line(leaves, at, LEFT | RIGHT, false);
        }
        line(leaves, column, LEFT, false);
        for row in rows {
            let (low, high) = (leaves.min(row), leaves.max(row));
            for at in low..high {
                line(at, column, DOWN, false);
                line(at + 1, column, UP, false);
            }
            line(row, column, RIGHT, true);
            for at in column + 1..left + width {
                line(row, at, LEFT | RIGHT, true);
            }
        }
    }
    for ((row, column), (_, sides, _)) in &cells {
        canvas.put(*row, *column, glyph(*sides));
    }
    for edge in edges {
        canvas.put(enters(edge), left + width - 1, '▶');
    }
    for start in starts {
        // The line begins in the frame.
        canvas.put(from[start].top + 1, left - 1, '├');
    }
    width
}

/// Adds a piece of the line of node `start` to a cell. Pieces of one line join, and so do those of
/// lines that run to the same box; else the vertical one stays on top.
fn lay(
    cells: &mut HashMap<(usize, usize), (usize, u8, bool)>,
    at: (usize, usize),
    start: usize,
    sides: u8,
    joins: bool,
) {
    let cell = cells.entry(at).or_insert((start, 0, joins));
    let vertical = |sides: u8| sides & (UP | DOWN) != 0;
    if cell.0 == start || (cell.2 && joins) {
        *cell = (start, cell.1 | sides, cell.2 || joins);
    } else if vertical(sides) && !vertical(cell.1) {
        *cell = (start, sides, joins);
    }
}

fn glyph(sides: u8) -> char {
    const GLYPHS: [char; 16] =
        [' ', '│', '│', '│', '─', '┘', '┐', '┤', '─', '└', '┌', '├', '─', '┴', '┬', '┼'];
    GLYPHS[usize::from(sides & 15)]
}

impl Canvas {
    fn put(&mut self, row: usize, column: usize, c: char) {
        if self.0.len() <= row {
            self.0.resize(row + 1, Vec::new());
        }
        let line = &mut self.0[row];
        if line.len() <= column {
            line.resize(column + 1, ' ');
        }
        line[column] = c;
    }

    fn frame(&mut self, node: &Node, place: &Place, left: usize, width: usize) {
        let (right, bottom) = (left + width - 1, place.top + place.height - 1);
        for column in left + 1..right {
            self.put(place.top, column, '─');
            self.put(bottom, column, '─');
        }
        for row in place.top + 1..bottom {
            self.put(row, left, '│');
            self.put(row, right, '│');
        }
        let corners = [
            (place.top, left, '┌'),
            (place.top, right, '┐'),
            (bottom, left, '└'),
            (bottom, right, '┘'),
        ];
        for (row, column, c) in corners {
            self.put(row, column, c);
        }
        for (row, line) in (place.top + 1..).zip(node.lines()) {
            for (column, c) in (left + 2..).zip(line.chars()) {
                self.put(row, column, if c.is_control() { '?' } else { c });
            }
        }
    }

    fn text(&self) -> String {
        let line = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned() + "\n";
        self.0.iter().map(line).collect()
    }
}
