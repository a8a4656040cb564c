//! The operations of one cell as a graph, for genotypes and for the strongest operations of a search stage.
//!
//! States stand on a staircase: one row for each source, one column for each node. What a state computes
//! runs to the right along its row; under that line, in the column of the node that takes it, hangs the label
//! of the edge, and from there the edge drops onto its node. So every edge has a place of its own, whichever
//! edges a cell has, and only drops cross rows, at right angles.

use crate::genotype::{CellKind, EDGES_PER_NODE, Genotype, Operation};

use super::svg::{Anchor, Point, Rect, Stroke, Svg, TextStyle, number, point};
use super::theme::{
    self, BACKGROUND, INK, INPUT_BOX, LABEL_SIZE, LINE, MARGIN, MUTED, NODE_BOX, NUM_INPUTS, OUTPUT_BOX, SMALL_SIZE,
};

/// One cell to draw.
#[derive(Clone, Debug)]
pub struct CellGraph {
    pub title: String,
    pub edges: Vec<CellEdge>,
    /// Nodes that the output concatenates, counted with the two inputs: `2..6` for four nodes.
    pub concat: Vec<usize>,
}

impl CellGraph {
    /// A cell that a search has decided on.
    pub fn of_genotype(title: String, genotype: &Genotype, kind: CellKind) -> Self {
        let edge = |(index, &(operation, source)): (usize, &(Operation, usize))| CellEdge {
            source,
            node: index / EDGES_PER_NODE,
            operation: operation.name().to_owned(),
            probability: None,
        };
        Self {
            title,
            edges: genotype.edges(kind).iter().enumerate().map(edge).collect(),
            concat: genotype.concat(kind).to_vec(),
        }
    }
}

/// One edge of a cell with its operation.
#[derive(Clone, Debug)]
pub struct CellEdge {
    /// State it comes from: 0 and 1 are the inputs, `2 + i` is node `i`. Comes before `node`.
    pub source: usize,
    /// Node it leads to, counted without the inputs.
    pub node: usize,
    /// Published name of the operation; gives the colour.
    pub operation: String,
    /// Probability to show beside the name, in `0..=1`.
    pub probability: Option<f64>,
}

impl CellEdge {
    fn label(&self) -> String {
        match self.probability {
            Some(probability) => format!("{} {probability:.2}", self.operation),
            None => self.operation.clone(),
        }
    }

    /// Line width in pixels: the more probable, the wider.
    fn line_width(&self) -> f64 {
        match self.probability {
            Some(probability) if probability.is_finite() => 1.2 + 3.0 * probability.clamp(0.0, 1.0),
            _ => 2.0,
        }
    }
}

/// Draws a cell, left to right, from its two inputs to the concatenated output.
pub fn cell_svg(graph: &CellGraph) -> String {
    let layout = Layout::new(graph);
    let mut svg = Svg::new(&graph.title, layout.width, layout.height);
    for &(start, end) in &layout.rows {
        svg.line(start, end, &Stroke::solid(LINE, 2.0));
    }
    for state in &graph.concat {
        if let Some(&(_, (x, y))) = layout.rows.get(*state) {
            svg.triangle([(x, y), (x - 7.0, y - 4.0), (x - 7.0, y + 4.0)], LINE);
        }
    }
    for (edge, place) in graph.edges.iter().zip(&layout.edges) {
        draw_edge(&mut svg, edge, place);
    }
    let name = TextStyle::sans(14.0, INK, Anchor::Middle).bold();
    for (state, &rect) in layout.states.iter().enumerate() {
        let fill = if state < NUM_INPUTS { INPUT_BOX } else { NODE_BOX };
        svg.boxed(rect, 6.0, fill, 1.0, &Stroke::solid(MUTED, 1.0));
        svg.text(rect.middle(), &theme::state_name(state), &name);
    }
    let output = layout.output;
    let (x, y) = output.middle();
    svg.boxed(output, 6.0, OUTPUT_BOX, 1.0, &Stroke::solid(MUTED, 1.0));
    svg.text((x, y - 8.0), "c_{k}", &name);
    svg.text((x, y + 10.0), "concat", &TextStyle::sans(SMALL_SIZE, MUTED, Anchor::Middle));
    svg.finish()
}

fn draw_edge(svg: &mut Svg, edge: &CellEdge, place: &EdgePlace) {
    let colour = theme::operation_colour(&edge.operation);
    let stroke = Stroke::solid(colour, edge.line_width());
    let label = place.label;
    let y = label.middle().1;

    let bend = 0.6 * LEAD;
    let (x, row_y) = place.branch;
    let [first, second] = [(x + bend, row_y), (label.x - bend, y)].map(point);
    svg.path(&format!("M{} C{first} {second} {}", point(place.branch), point((label.x, y))), &stroke);
    svg.dot(place.branch, 2.5, LINE);

    let (port_x, port_y) = place.port;
    let radius = (port_x - label.right()).min(port_y - ARROW - y);
    let drop = format!(
        "M{} H{} Q{} {} V{}",
        point((label.right(), y)),
        number(port_x - radius),
        point((port_x, y)),
        point((port_x, y + radius)),
        number(port_y - ARROW + 1.0),
    );
    // A background-coloured rim lifts the drop over the rows that it crosses.
    svg.path(&drop, &Stroke::solid(BACKGROUND, stroke.width + 4.0));
    svg.path(&drop, &stroke);
    let base = port_y - ARROW;
    svg.triangle([place.port, (port_x - 4.0, base), (port_x + 4.0, base)], colour);

    svg.boxed(label, LABEL_HEIGHT / 2.0, colour, 0.13, &Stroke::solid(colour, 1.2));
    svg.text(label.middle(), &edge.label(), &TextStyle::mono(LABEL_SIZE, INK, Anchor::Middle));
}

const TOP: f64 = 76.0;
const ROW_PITCH: f64 = 60.0;
const BOX_HEIGHT: f64 = 34.0;
const INPUT_WIDTH: f64 = 58.0;
const OUTPUT_WIDTH: f64 = 66.0;
const LABEL_HEIGHT: f64 = 22.0;
/// From a row to the middle of the first label that hangs under it.
const LABEL_DROP: f64 = 25.0;
/// Between the labels of edges that share source and node.
const LABEL_PITCH: f64 = 26.0;
/// From the start of a column to its labels.
const LEAD: f64 = 26.0;
const PORT_PITCH: f64 = 10.0;
const ARROW: f64 = 7.0;

/// Where everything in a cell graph lies.
struct Layout {
    width: f64,
    height: f64,
    /// Box of each state.
    states: Vec<Rect>,
    output: Rect,
    /// Start and end of the line on which a state's output runs, for each state.
    rows: Vec<(Point, Point)>,
    /// As the edges of the graph.
    edges: Vec<EdgePlace>,
}

struct EdgePlace {
    /// Where it leaves the row of its source.
    branch: Point,
    label: Rect,
    /// Where it enters its node.
    port: Point,
}

impl Layout {
    fn new(graph: &CellGraph) -> Self {
        let edges = &graph.edges;
        let grid = Grid::new(graph);
        let states: Vec<Rect> = (0..grid.row_y.len()).map(|state| grid.state(state)).collect();
        let (first, last) = (states[NUM_INPUTS], states[states.len() - 1]);
        let output = Rect { x: last.right() + 40.0, y: first.y, width: OUTPUT_WIDTH, height: last.bottom() - first.y };

        let row = |(state, rect): (usize, &Rect)| {
            let y = grid.row_y[state];
            let last_node = edges.iter().filter(|edge| edge.source == state).map(|edge| edge.node).max();
            let end = match graph.concat.contains(&state) {
                true => output.x,
                false => last_node.map_or(rect.right(), |node| grid.column_x(node)),
            };
            ((rect.right(), y), (end, y))
        };
        Self {
            width: output.right() + MARGIN,
            height: output.bottom() + MARGIN,
            output,
            rows: states.iter().enumerate().map(row).collect(),
            edges: (0..edges.len()).map(|index| grid.edge(edges, index)).collect(),
            states,
        }
    }
}

/// The rows of the states and the columns of the nodes.
struct Grid {
    row_y: Vec<f64>,
    label_width: f64,
    node_width: f64,
}

impl Grid {
    fn new(graph: &CellGraph) -> Self {
        let edges = &graph.edges;
        let named = edges.iter().flat_map(|edge| [edge.source, edge.node + NUM_INPUTS]);
        let num_states = named.chain(graph.concat.iter().copied()).max().unwrap_or(0).max(NUM_INPUTS) + 1;
        let label_width = edges.iter().map(|edge| theme::mono_width(&edge.label(), LABEL_SIZE)).fold(0.0, f64::max);
        let most_ports = (0..num_states).map(|node| count(edges, |edge| edge.node == node)).max().unwrap_or(0);
        Self {
            row_y: row_positions(edges, num_states),
            label_width: label_width + 16.0,
            node_width: (PORT_PITCH * most_ports as f64 + 12.0).max(44.0),
        }
    }

    /// Where the column of a node starts: where edges leave the rows of their sources.
    fn column_x(&self, node: usize) -> f64 {
        let pitch = LEAD + self.label_width + 4.0 + self.node_width + 16.0;
        MARGIN + INPUT_WIDTH + 16.0 + pitch * node as f64
    }

    fn state(&self, state: usize) -> Rect {
        let (x, width) = match state.checked_sub(NUM_INPUTS) {
            Some(node) => (self.column_x(node) + LEAD + self.label_width + 4.0, self.node_width),
            None => (MARGIN, INPUT_WIDTH),
        };
        Rect { x, y: self.row_y[state] - BOX_HEIGHT / 2.0, width, height: BOX_HEIGHT }
    }

    fn edge(&self, edges: &[CellEdge], index: usize) -> EdgePlace {
        let CellEdge { source, node, .. } = edges[index];
        let branch = (self.column_x(node), self.row_y[source]);
        let above = count(&edges[..index], |other| other.node == node && other.source == source);
        let label = Rect {
            x: branch.0 + LEAD,
            y: branch.1 + LABEL_DROP + LABEL_PITCH * above as f64 - LABEL_HEIGHT / 2.0,
            width: self.label_width,
            height: LABEL_HEIGHT,
        };
        // Edges from top to bottom take the node's ports from right to left, so that drops nest.
        let below = count(edges, |other| other.node == node && other.source > source)
            + count(&edges[index + 1..], |other| other.node == node && other.source == source);
        let num_ports = count(edges, |other| other.node == node);
        let node_box = self.state(node + NUM_INPUTS);
        let port_x = node_box.middle().0 + PORT_PITCH * (below as f64 - (num_ports - 1) as f64 / 2.0);
        EdgePlace { branch, label, port: (port_x, node_box.y) }
    }
}

/// Height of each state's row: apart enough for the labels that hang below.
fn row_positions(edges: &[CellEdge], num_states: usize) -> Vec<f64> {
    let mut y = TOP;
    let mut positions = Vec::with_capacity(num_states);
    for state in 0..num_states {
        positions.push(y);
        let most = (0..num_states).map(|node| count(edges, |edge| edge.source == state && edge.node == node)).max();
        y += ROW_PITCH + LABEL_PITCH * most.unwrap_or(0).saturating_sub(1) as f64;
    }
    positions
}

fn count(edges: &[CellEdge], matches: impl Fn(&CellEdge) -> bool) -> usize {
    edges.iter().filter(|edge| matches(edge)).count()
}

#[cfg(test)]
mod tests {
    use super::super::svg::tests::assert_well_formed;
    use super::*;
    use proptest::prelude::*;

    fn edge(operation: &str, source: usize, node: usize) -> CellEdge {
        CellEdge { source, node, operation: operation.to_owned(), probability: None }
    }

    /// The normal cell that the paper found on CIFAR-10.
    fn published() -> CellGraph {
        let pairs = [
            ("skip_connect", 0),
            ("dil_conv_3x3", 1),
            ("skip_connect", 0),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 3),
            ("sep_conv_3x3", 0),
            ("dil_conv_5x5", 4),
        ];
        let edges = pairs.iter().enumerate().map(|(index, &(name, source))| edge(name, source, index / 2)).collect();
        CellGraph { title: "Normal cell".to_owned(), edges, concat: vec![2, 3, 4, 5] }
    }

    fn all_edges() -> CellGraph {
        let pairs = (0..4).flat_map(|node| (0..node + 2).map(move |source| (source, node)));
        let edges = pairs
            .map(|(source, node)| CellEdge { probability: Some(0.31), ..edge("sep_conv_3x3", source, node) })
            .collect();
        CellGraph { title: "Stage 1".to_owned(), edges, concat: vec![2, 3, 4, 5] }
    }

    fn any_cell() -> impl Strategy<Value = CellGraph> {
        let operations = vec!["none", "sep_conv_3x3", "conv_7x1_1x7", "a much longer name of an operation"];
        let any_edge =
            (0usize..5, any::<prop::sample::Index>(), prop::sample::select(operations), prop::option::of(0.0..=1.0));
        let any_edge = any_edge.prop_map(|(node, source, name, probability)| CellEdge {
            probability,
            ..edge(name, source.index(node + NUM_INPUTS), node)
        });
        let any_edges = prop::collection::vec(any_edge, 0..16);
        (any_edges, prop::sample::subsequence(vec![2, 3, 4, 5], 0..=4)).prop_map(|(edges, concat)| CellGraph {
            title: "Cell".to_owned(),
            edges,
            concat,
        })
    }

    fn intersect(a: &Rect, b: &Rect) -> bool {
        a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
    }

    /// Rows and drops as rectangles of the width of their lines.
    fn lines(layout: &Layout) -> Vec<Rect> {
        let rows = layout.rows.iter();
        let rows = rows.map(|&((x, y), (end, _))| Rect { x, y: y - 2.0, width: end - x, height: 4.0 });
        let drops = layout.edges.iter().map(|place| {
            let ((x, bottom), (_, y)) = (place.port, place.label.middle());
            Rect { x: x - 2.0, y, width: 4.0, height: bottom - y }
        });
        rows.chain(drops).collect()
    }

    fn assert_readable(graph: &CellGraph) {
        let layout = Layout::new(graph);
        let labels = layout.edges.iter().map(|place| place.label);
        let boxes: Vec<Rect> = labels.clone().chain(layout.states.iter().copied()).chain([layout.output]).collect();
        for (index, a) in boxes.iter().enumerate() {
            assert!(a.x >= 0.0 && a.y >= 0.0 && a.right() <= layout.width && a.bottom() <= layout.height);
            assert!(boxes[..index].iter().all(|b| !intersect(a, b)), "boxes intersect at {a:?}");
        }
        for label in labels {
            assert!(lines(&layout).iter().all(|line| !intersect(&label, line)), "a line runs through {label:?}");
        }
        let mut ports: Vec<Point> = layout.edges.iter().map(|place| place.port).collect();
        ports.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(ports.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PORT_PITCH - 1e-6), "edges share a port");
    }

    #[test]
    fn labels_and_states_of_a_genotype_are_present() {
        let svg = cell_svg(&published());
        assert_well_formed(&svg);
        assert_eq!(svg.matches(">sep_conv_3x3<").count(), 4);
        assert_eq!(svg.matches(">skip_connect<").count(), 2);
        for label in ["Normal cell", ">k\u{2212}2<", ">k\u{2212}1<", ">0<", ">1<", ">2<", ">3<", ">k<", ">concat<"] {
            assert!(svg.contains(label), "{label}");
        }
    }

    #[test]
    fn strongest_operations_show_their_probability() {
        assert_eq!(cell_svg(&all_edges()).matches(">sep_conv_3x3 0.31<").count(), 14);
    }

    #[test]
    fn known_cells_are_readable() {
        assert_readable(&published());
        assert_readable(&all_edges());
    }

    #[test]
    fn probability_without_value_leaves_coordinates_intact() {
        let mut graph = published();
        graph.edges[0].probability = Some(f64::NAN);
        graph.edges[1].operation = "<&>".to_owned();
        assert_well_formed(&cell_svg(&graph));
    }

    proptest! {
        #[test]
        fn labels_touch_neither_each_other_nor_boxes_nor_lines(graph in any_cell()) {
            assert_readable(&graph);
            assert_well_formed(&cell_svg(&graph));
        }
    }
}
